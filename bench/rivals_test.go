package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/sandbox"
)

// rival is another sandbox.
type rival struct {
	name string
	from string   // where it comes from, for whoever lacks it
	argv []string // the program, and what comes before /bin/true
}

// The sandboxes that are compared, each as its own documentation or the agents
// that use it start it. They do not promise the same.
var (
	bubble = rival{"bwrap", "Debian: bubblewrap", strings.Fields(
		"bwrap --unshare-all --die-with-parent --new-session --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp --",
	)}
	rivals = []rival{
		bubble,
		{"firejail-noprofile", "Debian: firejail", []string{"firejail", "--quiet", "--noprofile", "--"}},
		{"firejail", "Debian: firejail", []string{"firejail", "--quiet", "--"}},
		{"nsjail", "no package in Debian 12; build it from source", strings.Fields("nsjail -Mo --quiet --chroot / --")},
		{"codex", "npm: @openai/codex, found by SALLYPORT_AGENTS", []string{"codex", "sandbox", "--"}},
		{"srt", "npm: @anthropic-ai/sandbox-runtime, found by SALLYPORT_AGENTS", []string{"srt"}},
	}
)

// find gives a function that runs /bin/true in the rival, or says why there is
// none. It gets an empty home, and an empty project to be in; not below /tmp,
// where some refuse to work.
func (r rival) find(b *testing.B) (run func(*testing.B) time.Duration, why string) {
	b.Helper()
	path := lookup(r.argv[0])
	if path == "" {
		return nil, fmt.Sprintf("%s is not installed (%s)", r.argv[0], r.from)
	}
	home, err := os.MkdirTemp("/var/tmp", "sallyport-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(home) })
	dir := filepath.Join(home, "project")
	if err := os.Mkdir(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	once := func() (time.Duration, error) {
		ctx, cancel := context.WithTimeout(b.Context(), 20*time.Second)
		defer cancel()
		c := exec.CommandContext(ctx, path, append(r.argv[1:len(r.argv):len(r.argv)], "/bin/true")...)
		c.Dir, c.Env = dir, append(os.Environ(), "HOME="+home)
		start := time.Now()
		out, err := c.CombinedOutput()
		took := time.Since(start)
		if err != nil {
			err = fmt.Errorf("%s does not work here: %w: %s", r.name, err, strings.TrimSpace(string(out)))
		}
		return took, err
	}
	if _, err := once(); err != nil { // which also fills its caches
		return nil, err.Error()
	}
	return func(b *testing.B) time.Duration {
		took, err := once()
		if err != nil {
			b.Fatal(err)
		}
		return took
	}, ""
}

// lookup finds a program: on the PATH, or among the agents' packages. Of codex
// it finds the program itself, not the script that starts it with node: an agent
// that runs has paid for that once.
func lookup(name string) string {
	dir := os.Getenv("SALLYPORT_AGENTS")
	if dir == "" {
		dir = filepath.Join("..", ".tools", "agents", "node_modules")
	}
	own, _ := filepath.Glob(filepath.Join(dir, "@openai", "codex-*", "vendor", "*", "bin", name))
	for _, path := range append(own, filepath.Join(dir, ".bin", name)) {
		if abs, err := filepath.Abs(path); err == nil {
			if path, err := exec.LookPath(abs); err == nil {
				return path
			}
		}
	}
	path, _ := exec.LookPath(name)
	return path
}

// BenchmarkRivals is the time until /bin/true has run and nothing of its sandbox
// is left, in turns: without a sandbox, in ours, in others. Ours starts and ends
// inside this program, as a session's does; the others are programs.
func BenchmarkRivals(b *testing.B) {
	const (
		rounds = 20
		slow   = 200 * time.Millisecond // measured in every fourth round
	)
	type runner struct {
		name string
		run  func(*testing.B) time.Duration
		took samples
	}
	network := workspace(b)
	network.Network = sandbox.NetworkHandoff
	whole := func(spec sandbox.Spec) func(*testing.B) time.Duration {
		return func(b *testing.B) time.Duration {
			start := time.Now()
			boxed(b, spec)
			return time.Since(start)
		}
	}
	runners := []*runner{
		{name: "none", run: func(b *testing.B) time.Duration {
			start := time.Now()
			if err := exec.Command("/bin/true").Run(); err != nil {
				b.Fatal(err)
			}
			return time.Since(start)
		}},
		{name: "sallyport", run: whole(workspace(b))},
		{name: "sallyport-network", run: whole(network)},
	}
	for _, r := range rivals {
		run, why := r.find(b)
		if why != "" {
			b.Logf("SKIPPED: %s: %s", r.name, why)
			continue
		}
		runners = append(runners, &runner{name: r.name, run: run})
	}
	for b.Loop() {
		for i := range rounds {
			for _, r := range runners {
				if i%4 == 0 || r.took.at(.5) < slow {
					r.took = append(r.took, r.run(b))
				}
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, r := range runners {
		b.ReportMetric(millis(r.took), r.name+"-ms")
	}
}
