package bench

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/sandbox"
	"sallyport/internal/sandbox/changes"
)

// workspace is a project with a home beside it. The caller may change the Spec.
func workspace(tb testing.TB) sandbox.Spec {
	tb.Helper()
	home, work := tb.TempDir(), tb.TempDir()
	for _, d := range []string{home, work} {
		if err := os.Chmod(d, 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	return sandbox.Spec{
		View: sandbox.ViewWorkspace, MinTier: sandbox.TierFull, Home: home, Workdir: work,
		Env: []string{"PATH=/usr/bin:/bin", "HOME=" + home},
	}
}

// BenchmarkSandboxStart starts a sandbox in the full tier, runs /bin/true in it
// without a shell and ends it, in turns with bubblewrap doing the same. An
// overlay's store is new each time, as it is for a session.
func BenchmarkSandboxStart(b *testing.B) {
	bwrap, why := bubble.find(b)
	if why != "" {
		b.Log("SKIPPED: the ratio to bubblewrap, because " + why)
	}
	for _, v := range []struct {
		name             string
		network, overlay bool
	}{
		{"view=workspace", false, false},
		{"view=workspace+network", true, false},
		{"view=workspace+overlay", false, true},
		{"view=workspace+network+overlay", true, true},
		{"view=auditor", false, false},
	} {
		b.Run(v.name, func(b *testing.B) {
			spec := workspace(b)
			if v.name == "view=auditor" {
				spec.View, spec.Workdir = sandbox.ViewAuditor, ""
			}
			if v.network {
				spec.Network = sandbox.NetworkHandoff
			}
			var ready, whole, theirs samples
			for b.Loop() {
				for range 10 { // so that a slow machine gives more than a few samples
					if v.overlay {
						spec.Overlays = []sandbox.Overlay{{Dir: spec.Workdir, Store: private(b)}}
					}
					start := time.Now()
					ready = append(ready, boxed(b, spec))
					whole.since(start)
					if why == "" {
						theirs = append(theirs, bwrap(b))
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(millis(ready), "start-and-true-ms")
			b.ReportMetric(millis(whole), "until-gone-ms")
			if why == "" {
				b.ReportMetric(millis(theirs), "bwrap-ms")
				ratio(b, "x-bwrap", ready, theirs)
				ratio(b, "until-gone-x-bwrap", whole, theirs)
			}
		})
	}
}

func millis(s samples) float64 { return float64(s.at(.5)) / float64(time.Millisecond) }

// private is a new directory that nobody else may enter.
func private(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp(tb.TempDir(), "store-") // mode 0700
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// boxed starts a sandbox, runs /bin/true and ends it. It gives the time until
// the command had ended.
func boxed(b *testing.B, spec sandbox.Spec) time.Duration {
	b.Helper()
	start := time.Now()
	box, err := sandbox.Start(context.Background(), spec)
	if err != nil {
		b.Fatal(err)
	}
	p, err := box.Exec(context.Background(), sandbox.Command{Argv: []string{"/bin/true"}})
	if err != nil {
		b.Fatal(err)
	}
	st, err := p.Wait(context.Background())
	took := time.Since(start)
	if err != nil || st.Code != 0 {
		b.Fatalf("%+v, %v", st, err)
	}
	if err := box.Close(); err != nil {
		b.Fatal(err)
	}
	p.Stdin.Close()
	p.Stdout.Close()
	p.Stderr.Close()
	return took
}

const created = 5000 // files, by one program

// BenchmarkOverlayCreate makes 5,000 files in a copy-on-write working directory
// and, in turns, the same program does so outside; then those of one round are
// listed and committed, each durable before the next batch.
func BenchmarkOverlayCreate(b *testing.B) {
	const rounds = 5
	var ours, plain, listed, committed samples
	for b.Loop() {
		spec := workspace(b)
		set, err := changes.Create(private(b), changes.Meta{Session: "bench", Agent: "sarah", Dir: spec.Workdir})
		if err != nil {
			b.Fatal(err)
		}
		spec.Overlays = []sandbox.Overlay{{Dir: spec.Workdir, Store: set.Store()}}
		outside := b.TempDir()
		box, in := inside(b, spec)
		out := outsider(b)
		if mode := box.Overlays()[0].Mode; mode != "overlay" {
			b.Skipf("SKIPPED: this machine keeps changes by %s, not by an overlay", mode)
		}
		if err := set.Began(changes.ModeOverlay); err != nil {
			b.Fatal(err)
		}
		for i := range rounds {
			name := string(rune('a' + i))
			plain = append(plain, out.ask("create", filepath.Join(outside, name))...)
			ours = append(ours, in.ask("create", filepath.Join(spec.Workdir, name))...)
		}
		in.close()
		out.close()
		if err := box.Close(); err != nil {
			b.Fatal(err)
		}
		if err := set.End(); err != nil {
			b.Fatal(err)
		}
		l, c := commit(b, set)
		listed, committed = append(listed, l), append(committed, c)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(millis(plain), "direct-ms")
	b.ReportMetric(millis(ours), "overlay-ms")
	ratio(b, "x-direct", ours, plain)
	b.ReportMetric(millis(listed)/rounds, "list-5000-ms")
	b.ReportMetric(millis(committed), "commit-5000-ms")
}

// commit lists all changes and commits those of the first round.
func commit(b *testing.B, set *changes.Set) (listed, committed time.Duration) {
	b.Helper()
	start := time.Now()
	all, err := set.List(context.Background())
	listed = time.Since(start)
	if err != nil {
		b.Fatal(err)
	}
	var first []changes.Change
	for _, c := range all {
		if c.Path == "a" || strings.HasPrefix(c.Path, "a/") {
			first = append(first, c)
		}
	}
	start = time.Now()
	res, err := set.Commit(context.Background(), first, changes.CommitOptions{})
	if err != nil || len(res.Committed) < created || len(res.Skipped) > 0 {
		b.Fatalf("%d committed, %d skipped, %v", len(res.Committed), len(res.Skipped), err)
	}
	return listed, time.Since(start)
}
