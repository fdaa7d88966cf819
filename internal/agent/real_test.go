package agent_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/agent"
	"sallyport/internal/audit"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/policy"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// TestRealRooms runs a patrol with the real gate, policy, store and a real
// bash (not sandboxed here: that is the sandbox's own matter), twice: the
// second run begins with the first one's note.
func TestRealRooms(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	keys, err := audit.OpenKeys(filepath.Join(dir, "keys"), "test-instance")
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), store.Options{Dir: dir, Tree: keys, Instance: "test-instance"})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	host := label.New(label.Internal, label.Foreign, 0)
	rules, err := policy.New(policy.Settings{
		Profiles: map[string]policy.Profile{"auditor": {Exec: true, View: host}},
		Agents:   map[string]policy.Agent{"sarah": {Profile: "auditor", Ceiling: host, Clearance: host, Endpoint: host}},
		Sinks:    []policy.Sink{{Kind: action.ModelCall, Target: "fake/*", Clearance: host}},
	})
	if err != nil {
		t.Fatal(err)
	}
	run := func(replies ...any) (*lab, agent.Summary) {
		l := newLab(t, replies...)
		l.now, l.cwd = time.Now, home
		l.shell = bash(l, home)
		execs := map[action.Kind]gate.Executor{}
		for _, k := range []action.Kind{action.ModelCall, action.Exec, action.SessionStart, action.AgentSpawn} {
			execs[k] = l
		}
		g, err := gate.New(gate.Config{Ledger: st, Policy: rules, Approver: l, Executors: execs, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		d := l.deps()
		d.Gate, d.Journal, d.Notes = g, st, st
		s := spec()
		s.Memory = host
		s.Home, s.Label, s.Ceiling = home, label.New(label.Public, label.Member, 0), host
		l.screen.answers = []any{"echo by the operator", "", "", "", "", "exit"}
		sum, err := agent.Run(t.Context(), s, d, agent.Options{Attended: true})
		if err != nil || sum.Ended != agent.EndedExit {
			t.Fatalf("%+v, %v\n%s", sum, err, l.screen.text())
		}
		return l, sum
	}
	l, sum := run("cd /\necho one > "+home+"/x; cat "+home+"/x", "sarah@sallyport:/ [Tokens: 1/6000]$ pwd; false", `endsession "note one"`, "echo two")
	if got := l.last(1); !strings.Contains(got, "\none\nsarah@sallyport:/ [Tokens: ") && !strings.HasPrefix(got, "one\nsarah@sallyport:/ [") {
		t.Errorf("the model read %q", got)
	}
	if !strings.Contains(l.screen.text(), "by the operator") || sum.Sessions != 2 || sum.Denied != 0 {
		t.Errorf("%+v\n%s", sum, l.screen.text())
	}
	if note, ok, err := st.Memory(t.Context(), "sarah", host); err != nil || !ok || !strings.Contains(note, "note one") {
		t.Errorf("the slot of the host's view holds %q, %v", note, err)
	}
	l, _ = run("echo three", "echo four", "echo five", "echo six")
	if got := l.last(0); !strings.Contains(got, "Earlier note: note one") {
		t.Errorf("the second run begins with %q", got)
	}
	if err := st.CheckTree(t.Context()); err != nil {
		t.Errorf("the log does not verify: %v", err)
	}
	if err := st.RequestStop(t.Context(), "sarah", "ann"); err != nil {
		t.Fatal(err)
	}
	l = newLab(t, "echo never")
	g, err := gate.New(gate.Config{Ledger: st, Policy: rules, Approver: l, Now: time.Now, Executors: map[action.Kind]gate.Executor{
		action.AgentSpawn: l, action.SessionStart: l, action.ModelCall: l, action.Exec: l,
	}})
	if err != nil {
		t.Fatal(err)
	}
	d := l.deps()
	d.Gate, d.Journal, d.Notes = g, st, st
	s := spec()
	s.Ceiling = host
	got, err := agent.Run(t.Context(), s, d, agent.Options{Once: true})
	if got.Ended != agent.EndedStopped || !fault.Is(err, fault.Denied) || len(l.requests) != 0 {
		t.Errorf("a stopped agent: %+v, %v", got, err)
	}
}

// bash runs each script in a bash of its own that ends by telling its
// directory on a descriptor that the script does not know.
func bash(l *lab, home string) func(context.Context, string) (string, record.ExecResult, error) {
	return func(ctx context.Context, script string) (string, record.ExecResult, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return "", record.ExecResult{}, err
		}
		defer r.Close()
		c := exec.CommandContext(ctx, "bash", "-c", script+"\ns=$?; pwd >&3; exit $s")
		c.Dir, c.Env = l.cwd, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
		c.ExtraFiles = []*os.File{w}
		out, _ := c.CombinedOutput()
		w.Close()
		cwd := ""
		if _, err := fmt.Fscanln(r, &cwd); err == nil {
			l.cwd = cwd
		}
		return string(out), record.ExecResult{Exit: c.ProcessState.ExitCode(), Cwd: l.cwd, Total: int64(len(out))}, nil
	}
}
