package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDirectory: one broken agent file does not stop the good one.
func TestDirectory(t *testing.T) {
	t.Parallel()
	l := newLab(t, say("echo good-one"), say("pause 1"))
	l.prepare()
	l.write("broken.yaml", "username: broken\ntitle: [unclosed\n")
	r := l.call("run", l.dir, "--once", "--unattended")
	if r.code == codeOK {
		t.Errorf("exit %d", r.code)
	}
	l.has("the output", r.text(), "broken.yaml:", "Agent ada", "Summary of ada")
	l.has("the second request", l.body(1), "good-one")
	l.verify()
	t.Logf("exit %d: %s", r.code, tail(r.err))
}

// TestTwoAgents: two agents in one process, one of which fails in its run.
func TestTwoAgents(t *testing.T) {
	t.Parallel()
	l := newLab(t,
		reply("You are ada", "echo ada-$((1+1))"), reply("You are bob", "echo bob-$((1+1))"),
		reply("You are ada", "pause 1"), reply("You are bob", "pause 1"))
	l.prepare()
	l.write("bob.yaml", l.agent("bob"))
	r := l.ok("run", l.dir, "--once", "--unattended")
	l.has("the output", r.text(), "Summary of ada", "Summary of bob")
	for i := range l.server.Requests() {
		if text := l.body(i); strings.Contains(text, "You are ada") == strings.Contains(text, "You are bob") ||
			strings.Contains(text, "ada-2") && strings.Contains(text, "You are bob") {
			t.Errorf("request %d mixes the agents:\n%s", i, text)
		}
	}
	l.verify()
}

// TestMalformed: a configuration that cannot be right refuses to start and says
// where.
func TestMalformed(t *testing.T) {
	for name, c := range map[string]struct{ yaml, at string }{
		"syntax":      {"models:\n  a: {provider: openai\n", "sallyport.yaml:"},
		"unknown key": {"modles: {}\n", "sallyport.yaml:1:1"},
		"wrong type":  {"tools:\n  command_timeout: soon\n", "sallyport.yaml:2:20"},
		"not a list":  {"security:\n  blocked_commands: rm\n", "sallyport.yaml:2:21"},
		"tabs":        {"tools:\n\tcommand_timeout: 3\n", "sallyport.yaml:2:"},
		"binary":      {"\x00\x01\x02", "sallyport.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, say("pause 1"))
			l.prepare()
			l.write("sallyport.yaml", c.yaml)
			r := l.patrol(codeConfig)
			l.has("the refusal", r.err, c.at)
			if n := len(l.server.Requests()); n != 0 {
				t.Errorf("the provider was asked %d times", n)
			}
		})
	}
}

// TestMissingKey names the variable and starts nothing.
func TestMissingKey(t *testing.T) {
	t.Parallel()
	l := newLab(t, say("pause 1"))
	l.key = ""
	l.has("the refusal", l.patrol(codeConfig).err, "FAKE_PROVIDER_KEY")
}

// TestOpenHome refuses a state directory that others may read.
func TestOpenHome(t *testing.T) {
	t.Parallel()
	l := newLab(t, say("pause 1"))
	if err := os.Chmod(l.home, 0o755); err != nil {
		t.Fatal(err)
	}
	l.has("the refusal", l.patrol(codeConfig).err, "chmod 700")
}

// TestDiskFull: what cannot be recorded is not done; with space again all goes
// on and verifies.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT PASSED: a small file system needs root to mount")
	}
	l := newLab(t)
	l.server = newLoop(t, "echo again >> done; seq 1 3000")
	if err := syscall.Mount("tmpfs", l.home, "tmpfs", 0, "size=8m,mode=0700"); err != nil {
		t.Skipf("SKIPPED, NOT PASSED: no tmpfs can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(l.home, syscall.MNT_DETACH) })
	l.patrol(codeOK, "--turns", "1")
	l.verify()
	before, done := l.eventLines(), l.lines("done")
	fill(t, filepath.Join(l.home, "filler"), 1<<20)
	r := l.patrol(codeUnavailable)
	l.has("the error", r.err, "disk", "full")
	ran := l.lines("done")
	if ran <= done {
		t.Error("the disk was full before anything ran, so its filling up in the middle was not met")
	}
	calls := len(l.server.Requests())
	if again := l.patrol(codeUnavailable); len(l.server.Requests()) > calls || l.lines("done") > ran {
		t.Errorf("on a full disk something was done:\n%s", tail(again.text()))
	}
	if err := os.Remove(filepath.Join(l.home, "filler")); err != nil {
		t.Fatal(err)
	}
	l.verify()
	now := l.eventLines()
	prefix(t, before, now)
	if n := strings.Count(strings.Join(now, "\n"), `echo again \u003e\u003e done`) + strings.Count(strings.Join(now, "\n"), `echo again >> done`); n < ran {
		t.Errorf("%d commands ran, %d are in the record", ran, n)
	}
	t.Logf("ran %d, then %d; %d events, then %d", done, ran, len(before), len(now))
	l.patrol(codeOK, "--turns", "1")
	l.verify()
}

// fill takes all but some bytes of a file system.
func fill(t *testing.T, name string, leave uint64) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // its content does not matter
	var fs syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(name), &fs); err != nil {
		t.Fatal(err)
	}
	free := fs.Bavail * uint64(fs.Bsize)
	if free < leave {
		t.Fatalf("only %d bytes are free", free)
	}
	if _, err := io.CopyN(f, zeros{}, int64(free-leave)); err != nil {
		t.Fatal(fmt.Errorf("fill: %w", err))
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
