package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/internal/action"
	"sallyport/internal/audit"
	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// The test binary is also the child that gets killed.
const (
	childDir  = "SALLYPORT_TEST_STORE"
	childMode = "SALLYPORT_TEST_MODE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir, os.Getenv(childMode)))
	}
	os.Exit(m.Run())
}

// child writes until it is killed, or as often as its mode says, and prints
// what was acknowledged.
func child(dir, mode string) int {
	fail := func(err error) int {
		fmt.Println("error", fault.KindOf(err), fault.PublicText(err), err)
		return 1
	}
	if rest, ok := strings.CutPrefix(mode, "limit:"); ok { // a file may not grow further
		n, _ := strconv.ParseUint(rest, 10, 64)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return fail(err)
		}
	}
	k, err := audit.OpenKeys(filepath.Join(dir, "keys"), instance)
	if err != nil {
		return fail(err)
	}
	s, err := store.Open(context.Background(), store.Options{Dir: dir, Tree: k, Instance: instance})
	if err != nil {
		return fail(err)
	}
	if mode == "erase" {
		if err := eraser(s); err != nil {
			return fail(err)
		}
		return 0
	}
	count := 1 << 30
	if n, err := strconv.Atoi(mode); err == nil {
		count = n
	}
	ctx := context.Background()
	for i := range count {
		a := action.Action{Kind: action.ModelCall, Target: "m", Agent: "kid", Session: "s"}
		r, err := s.Intend(ctx, record.Intent{Action: a, Decision: record.Decision{Verdict: record.Allow}, Reserve: record.Reservation{Account: "kid", Micros: 5, Limit: -1}})
		if err != nil {
			return fail(err)
		}
		fmt.Println("intent", r.ID, r.Leaf)
		if i%3 == 2 {
			continue // in flight when the process dies
		}
		if err := s.Settle(ctx, record.Outcome{Intent: r.ID, Status: record.Done, Result: record.Result{Cost: 2, Output: strings.Repeat("x", 2000)}}); err != nil {
			return fail(err)
		}
		fmt.Println("settled", r.ID)
	}
	if err := s.Close(); err != nil {
		return fail(err)
	}
	return 0
}

func startChild(t testing.TB, dir, mode string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childMode+"="+mode)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// TestKill kills a writing process again and again: nothing that it was told is
// lost, the log verifies against a checkpoint from before, and what was in
// flight is told and counted as spent.
func TestKill(t *testing.T) {
	kills := 20
	if n, err := strconv.Atoi(os.Getenv("SALLYPORT_TEST_KILLS")); err == nil {
		kills = n
	}
	dir := t.TempDir()
	keys(t, dir)
	intents, settled := map[int64]int64{}, map[int64]bool{}
	var anchors [][]byte
	for k := range kills {
		cmd, lines := startChild(t, dir, "")
		for n := 0; lines.Scan(); n++ {
			var id, leaf int64
			if c, _ := fmt.Sscanf(lines.Text(), "intent %d %d", &id, &leaf); c == 2 {
				intents[id] = leaf
			} else if c, _ := fmt.Sscanf(lines.Text(), "settled %d", &id); c == 1 {
				settled[id] = true
			} else {
				t.Fatalf("child: %s", lines.Text())
			}
			if n == 5+k*7%40 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		if k%5 == 0 { // a restart between, that remembers where the log was
			s := open(t, dir)
			_, note, err := s.Latest(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			anchors = append(anchors, note)
		}
	}
	s := open(t, dir)
	flying, err := s.Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unknown := map[int64]bool{}
	for _, f := range flying {
		unknown[f.Intent] = true
		if settled[f.Intent] || f.Reserved != 5 || f.Agent != "kid" {
			t.Errorf("in flight: %+v (settled: %t)", f, settled[f.Intent])
		}
	}
	for id := range intents {
		if !settled[id] && !unknown[id] {
			// The kill may have come between commit and acknowledgement.
			if err := s.Settle(t.Context(), record.Outcome{Intent: id, Status: record.Done}); !fault.Is(err, fault.Conflict) {
				t.Errorf("intent %d was acknowledged and is lost: %v", id, err)
			}
		}
	}
	spent, reserved, err := s.Budget(t.Context(), "kid")
	if err != nil || reserved != 0 {
		t.Fatalf("reserved %d %v", reserved, err)
	}
	if low, high := 2*len(settled)+5*len(flying), 2*(len(settled)+kills)+5*len(flying); int(spent) < low || int(spent) > high {
		t.Errorf("spent %d, want %d to %d", spent, low, high)
	}
	if again, err := s.Recover(t.Context()); err != nil || len(again) != 0 {
		t.Errorf("recovered twice: %v %v", again, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := checkAll(t, dir, anchors...); err != nil {
		t.Fatal(err)
	}
}

// TestThreeProcesses lets three processes write at once: all finish and the
// tree verifies.
func TestThreeProcesses(t *testing.T) {
	dir := t.TempDir()
	keys(t, dir)
	const each = 60
	var cmds []*exec.Cmd
	var outs []*bufio.Scanner
	for range 3 {
		cmd, out := startChild(t, dir, strconv.Itoa(each))
		cmds, outs = append(cmds, cmd), append(outs, out)
	}
	for i, cmd := range cmds {
		n := 0
		for outs[i].Scan() {
			if strings.HasPrefix(outs[i].Text(), "error") {
				t.Error(outs[i].Text())
			}
			n++
		}
		if err := cmd.Wait(); err != nil || n != each+each*2/3 {
			t.Errorf("process %d: %d lines, %v", i, n, err)
		}
	}
	s := open(t, dir)
	if st, err := s.Status(t.Context()); err != nil || st.Entries != 3*(each+each*2/3) || st.InFlight != each {
		t.Fatalf("%+v %v", st, err)
	}
	if err := checkAll(t, dir); err != nil {
		t.Fatal(err)
	}
}

// TestFileLimit lets the disk refuse in the middle of writing: the process is
// told, and what was acknowledged is there.
func TestFileLimit(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	cmd, out := startChild(t, dir, "limit:600000")
	var last int64 = -1
	told := ""
	for out.Scan() {
		var id int64
		if c, _ := fmt.Sscanf(out.Text(), "intent %d %d", &id, &last); c != 2 && strings.HasPrefix(out.Text(), "error") {
			told = out.Text()
		}
	}
	_ = cmd.Wait()
	if last < 3 || !strings.Contains(told, "nothing may be done") {
		t.Fatalf("last entry %d, told %q", last, told)
	}
	s := open(t, dir)
	if st, err := s.Status(t.Context()); err != nil || st.Entries <= last {
		t.Fatalf("%+v %v", st, err)
	}
	if err := checkAll(t, dir); err != nil {
		t.Fatal(err)
	}
}

// TestDiskFull fills a small file system, frees it and goes on.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED LOUDLY: mounting a small tmpfs needs root; TestFileLimit covers a refusing disk")
	}
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("SKIPPED LOUDLY: a tmpfs cannot be mounted here (%v); TestFileLimit covers a refusing disk", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mnt, unix.MNT_DETACH) })
	dir := filepath.Join(mnt, "state")
	s := open(t, dir)
	n := int64(0)
	big := record.Event{Type: "fill", Data: map[string]any{"text": strings.Repeat("y", 8000)}}
	var err error
	for range 2000 {
		if _, err = s.Append(t.Context(), big); err != nil {
			break
		}
		n++
	}
	wantKind(t, err, fault.Unavailable, "full")
	_, err = s.Intend(t.Context(), record.Intent{Decision: record.Decision{Verdict: record.Allow}, Action: action.Action{
		Kind: action.Exec,
		Args: map[string]any{"script": strings.Repeat("z", 60000)},
	}})
	wantKind(t, err, fault.Unavailable, "nothing may be done")
	if err := s.Close(); err != nil && !errors.Is(err, io.EOF) {
		t.Log(err)
	}
	if err := unix.Mount("tmpfs", mnt, "tmpfs", unix.MS_REMOUNT, "size=30m"); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	leaf, err := s.Append(t.Context(), big)
	if err != nil || leaf < n {
		t.Fatalf("entry %d after %d: %v", leaf, n, err)
	}
	if err := checkAll(t, dir); err != nil {
		t.Fatal(err)
	}
}

func TestHeldDatabase(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Append(t.Context(), record.Event{Type: "x"}); err != nil {
		t.Fatal(err)
	}
	alterLock(t, dir, func() {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := s.Append(ctx, record.Event{Type: "held"})
		wantKind(t, err, fault.Unavailable, "another program holds the database")
	})
	if _, err := s.Append(t.Context(), record.Event{Type: "y"}); err != nil {
		t.Fatal(err)
	}
}
