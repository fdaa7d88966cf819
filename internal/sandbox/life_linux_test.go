package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/fault"
)

// running counts host processes with the mark in their command line.
func running(mark string) int {
	n := 0
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if bytes.Contains(b, []byte(mark)) && !bytes.Contains(b, []byte("supervise")) {
			n++
		}
	}
	return n
}

func gone(t *testing.T, mark string, within time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(within); running(mark) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d processes marked %s live on after %s", running(mark), mark, within)
		}
	}
}

// daemons leaves processes that have left their session and ignore signals.
func daemons(mark string) string {
	return "for i in 1 2 3; do setsid bash -c 'trap \"\" HUP INT TERM; while :; do sleep " + mark + "; done' </dev/null >/dev/null 2>&1 & done; " +
		"until [ $(ps -e -o args= | grep -c '^[s]leep " + mark + "') = 3 ]; do :; done"
}

var everyView = []struct {
	view string
	tier Tier
}{{ViewAuditor, TierFull}, {ViewWorkspace, TierFull}, {ViewAuditor, TierLandlock}, {ViewWorkspace, TierLandlock}}

func TestKillEndsDaemons(t *testing.T) {
	x := newTarget(t)
	for i, v := range everyView {
		mark := fmt.Sprintf("1%d%03d", os.Getpid(), i)
		sb := open(t, x.spec(v.view), v.tier)
		sh, err := sb.Shell(t.Context(), ShellOptions{})
		must(t, err)
		runOK(t, sh, daemons(mark))
		if n := running(mark); n < 3 {
			t.Fatalf("%d daemons run, the test proves nothing", n)
		}
		began := time.Now()
		sb.Kill()
		select {
		case <-sb.Done():
		case <-time.After(2 * time.Second):
			t.Fatalf("%s/%s did not end", v.view, v.tier)
		}
		gone(t, mark, time.Second)
		if d := time.Since(began); d > time.Second {
			t.Errorf("%s/%s took %s to end", v.view, v.tier, d)
		}
		if r, err := sh.Run(t.Context(), "true", time.Second); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s/%s: a command ran after Kill: %+v", v.view, v.tier, r)
		}
	}
}

// supervise is the other half of TestSupervisorDeath: a process that starts a
// sandbox with daemons in it and waits to be killed.
func supervise(arg string) int {
	view, rest, _ := strings.Cut(arg, ",")
	tier, rest, _ := strings.Cut(rest, ",")
	dir, mark, _ := strings.Cut(rest, ",")
	spec := Spec{View: view, Home: dir, Workdir: dir, Env: []string{"PATH=/usr/bin:/bin"}}
	want := TierFull
	if tier == "landlock" {
		want = TierLandlock
	} else if view == ViewWorkspace {
		spec.Network = NetworkHandoff
	}
	spec, err := spec.normalise()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	sb, err := startTier(context.Background(), spec, want)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	sh, err := sb.Shell(context.Background(), ShellOptions{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	r, err := sh.Run(context.Background(), daemons(mark), 10*time.Second)
	if err == nil {
		_, err = sb.Exec(context.Background(), Command{Argv: []string{"setsid", "--fork", "sleep", mark}})
	}
	fmt.Println("up", r.Exit, err)
	_, _ = sh.Run(context.Background(), "sleep "+mark, time.Hour)
	return 0
}

func TestSupervisorDeath(t *testing.T) {
	for i, v := range everyView {
		x := newTarget(t)
		mark := fmt.Sprintf("2%d%03d", os.Getpid(), i)
		cmd := exec.Command("/proc/self/exe", "supervise", strings.Join([]string{v.view, v.tier.String(), x.home, mark}, ","))
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		line, _ := bufio.NewReader(out).ReadString('\n')
		if !strings.HasPrefix(line, "up 0 <nil>") || running(mark) < 4 {
			t.Fatalf("%s/%s: supervisor says %q", v.view, v.tier, line)
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		gone(t, mark, 2*time.Second)
	}
}

// TestStageDeath kills the process between: everything below must end.
func TestStageDeath(t *testing.T) {
	x := newTarget(t)
	for i, v := range everyView[:2] {
		mark := fmt.Sprintf("3%d%03d", os.Getpid(), i)
		sb := open(t, x.spec(v.view), v.tier)
		sh, err := sb.Shell(t.Context(), ShellOptions{})
		must(t, err)
		runOK(t, sh, daemons(mark))
		must(t, sb.proc.Kill()) // as the kernel's out-of-memory killer would
		gone(t, mark, time.Second)
		<-sb.Done()
	}
}

func TestForkBombIsBounded(t *testing.T) {
	x := newTarget(t)
	for _, v := range []struct {
		view string
		tier Tier
	}{everyView[0], everyView[1], everyView[3]} {
		sh := openShell(t, x.spec(v.view), v.tier)
		r, err := sh.Run(t.Context(), "bomb() { bomb | bomb & }; bomb; sleep 100", 400*time.Millisecond)
		must(t, err)
		if r := runOK(t, sh, "echo alive"); string(r.Head) != "alive\n" {
			t.Errorf("%s/%s: after the bomb: %q", v.view, v.tier, r.Head)
		}
		t.Logf("%s/%s: %v died=%v %s", v.view, v.tier, r.TimedOut, r.ShellDied, r.Elapsed)
	}
}

func TestMemoryAndDiskAreBounded(t *testing.T) {
	x := newTarget(t)
	spec := x.spec(ViewAuditor)
	spec.Limits.Memory = 64 << 20
	sb := open(t, spec, TierFull)
	sh, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	r := runOK(t, sh, "head -c 100M /dev/zero > /tmp/big; ls -s --block-size=1 /tmp/big | cut -d' ' -f1")
	if !bytes.Contains(r.Head, []byte("No space left")) {
		t.Errorf("the private /tmp is not bounded: %s", r.Head)
	}
	r = runOK(t, sh, "head -c 40M /dev/zero > ~/big; stat -c %s ~/big; rm ~/big /tmp/big")
	if !bytes.Contains(r.Head, []byte("33554432")) {
		t.Errorf("the largest file is not bounded: %s", r.Head)
	}
	r = runOK(t, sh, "head -c 300M /dev/zero | tail -c 300M | wc -c")
	if bytes.Contains(r.Head, []byte("314572800")) {
		t.Errorf("memory is not bounded: %s; %v", r.Head, sb.Limits())
	}
	if r := runOK(t, sh, "echo alive"); string(r.Head) != "alive\n" {
		t.Errorf("the shell did not survive: %q", r.Head)
	}
	if len(sb.Limits()) < 8 {
		t.Errorf("limits say too little: %q", sb.Limits())
	}
}

func TestWallTime(t *testing.T) {
	x := newTarget(t)
	spec := x.spec(ViewAuditor)
	spec.Limits.Wall = 200 * time.Millisecond
	sb := open(t, spec, TierFull)
	select {
	case <-sb.Done():
	case <-time.After(3 * time.Second):
		t.Error("the sandbox outlived its time")
	}
}

func TestCgroupsAreRemoved(t *testing.T) {
	x := newTarget(t)
	sb := open(t, x.spec(ViewAuditor), TierFull)
	dirs := sb.cg.dirs
	if len(dirs) > 0 {
		// of a supervisor that is no more: no process has this number
		stale := filepath.Join(filepath.Dir(dirs[0]), "sallyport-4194304-dead")
		must(t, os.MkdirAll(stale, 0o755))
		open(t, x.spec(ViewAuditor), TierFull)
		if _, err := os.Stat(stale); err == nil {
			t.Errorf("the stale cgroup %s is left", stale)
		}
	}
	must(t, sb.Close())
	for _, d := range dirs {
		if _, err := os.Stat(d); err == nil {
			t.Errorf("cgroup %s is left", d)
		}
	}
	t.Logf("%v %s", dirs, sb.cg.why)
}
