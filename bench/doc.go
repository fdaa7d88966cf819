// Package bench measures what Sallyport promises about speed and size. It holds
// benchmarks only: nothing in it passes or fails by the clock, because a busy
// machine would then decide about a change. `make bench` runs all of them in a
// few minutes; docs/performance.md holds the table that came out of them.
//
// Invariants: what is measured is the real thing (the policy that the shipped
// settings compile to, the real store on a real disk, the real sandbox, the
// built binary); what is compared with something else is measured in turns with
// it in one run, so that the ratio holds on a machine whose speed drifts;
// latencies are percentiles over single calls, not means.
//
// The state directories are made below TMPDIR: point it to the file system that
// is to be measured, since one whose sync does nothing makes every log fast.
//
// Environment: BENCH_ENTRIES is the size of the export that is verified
// (default 200,000), BENCH_AGENTS the agent counts whose memory is measured
// (default "1,10,100"), BENCH_HOLD how long silent streams through the model proxy
// are held (default 10s), SALLYPORT_AGENTS the node_modules directory in which the
// sandboxes of other agents are looked for (default ../.tools/agents/node_modules).
//
// Nothing imports this package; its tests may import every room.
package bench
