// Package selftest makes the known attacks on a sandbox against the sandbox of
// this machine, and says of each whether it was stopped, and by what.
//
// It may be imported by app and cli only. It imports sandbox, fault and the
// system call package.
//
// # How a probe is made
//
// A probe is a small function in a process of its own: this program, executed
// again as a probe (MaybeProbe). It is run twice, with the same target:
// once outside any sandbox, as the control, and once inside. The control shows
// that the attack works on this machine; without that its failure inside would
// show nothing, and the probe is reported as not shown, never as held.
//
// # Invariants
//
//   - Nothing of the host is attacked. Files, sockets, processes, keys and
//     descriptors to reach for are planted in a scratch directory or under
//     names of this run's own, and are removed. What would change the machine
//     is made outside in namespaces of its own, or with arguments that the
//     kernel refuses after it has granted the right.
//   - Every probe is bounded in time, processes, memory and disk.
//   - What is expected to succeed in a tier is data (Misses); a success that is
//     not among it fails, and so does one of the list that did not happen.
//   - What a probe prints inside is believed: it is this program, not an agent.
//     What it claims to have changed on the host is looked up on the host.
package selftest
