package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/internal/action"
	"sallyport/internal/app"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// seedCmd fills the state directory as a run would, through the real ledger:
// `seed SESSION`.
func seedCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: seed SESSION")
	}
	ctx := context.Background()
	a, err := app.Open(ctx, app.Options{Home: ts.Getenv("SALLYPORT_HOME"), Environ: []string{"HOME=" + ts.Getenv("HOME")}, Create: true})
	ts.Check(err)
	st, err := a.Store(ctx)
	ts.Check(err)
	ts.Check(seed(ctx, st, args[0]))
	ts.Check(a.Close())
}

func seed(ctx context.Context, st *store.Store, session string) error {
	s := seeder{ctx: ctx, st: st, session: session, transcript: "ctx-" + session}
	s.event("session.begin", "SYSTEM", map[string]any{"model": "builtin/auditor"})
	l := label.New(label.Internal, label.Foreign, 0)
	s.do(action.Action{Kind: action.AgentSpawn, Target: "sarah", Args: map[string]any{"agent": "sarah"}, Principal: principal.TheOperator("op")},
		record.Decision{Verdict: record.Allow, Rules: []string{"agent.spawn.operator"}, ResultLabel: label.Bottom},
		&record.Fork{Context: s.transcript, Label: label.New(label.Public, label.Member, 0), Ceiling: label.New(label.Secret, label.Foreign, 0)}, record.Result{})
	allow := record.Decision{Verdict: record.Allow, Rules: []string{"model.call.allowed"}, ResultLabel: l}
	s.do(s.act(action.ModelCall, "anthropic/claude", map[string]any{"messages": []any{map[string]any{"role": "user", "text": "what is up?"}}}), allow, nil,
		record.Result{Output: "uname -a", Cost: 12_345})
	s.do(s.act(action.Exec, session, map[string]any{"script": "uname -a"}), allow, nil,
		record.Result{Output: "Linux \x1b[31mred\x1b[0m <script>alert(1)</script>\u202e"})
	s.do(s.act(action.Exec, session, map[string]any{"script": "rm -rf /"}),
		record.Decision{Verdict: record.Deny, Rules: []string{"blocked_commands"}, Because: "rm -rf is blocked by security.blocked_commands"}, nil, record.Result{})
	s.event("session.comment", "LLM", map[string]any{"text": "all is well", "alert": "suspicious"})
	s.event("session.end", "SYSTEM", map[string]any{"reason": "pause"})
	return s.err
}

type seeder struct {
	ctx                 context.Context
	st                  *store.Store
	session, transcript string
	err                 error
}

func (s *seeder) act(k action.Kind, target string, args map[string]any) action.Action {
	return action.Action{Kind: k, Target: target, Args: args, Agent: "sarah", Session: s.session, Context: s.transcript, Principal: principal.ForAgent("sarah")}
}

func (s *seeder) event(kind, channel string, data map[string]any) {
	if s.err != nil {
		return
	}
	alert, _ := data["alert"].(string)
	if alert == "" {
		alert = "none"
	}
	_, s.err = s.st.Append(s.ctx, record.Event{Type: kind, Agent: "sarah", Session: s.session, Channel: channel, Level: "info", Alert: alert, Data: data})
}

func (s *seeder) do(a action.Action, d record.Decision, fork *record.Fork, res record.Result) {
	if s.err != nil {
		return
	}
	snap, err := s.st.Snapshot(s.ctx, record.Scope{Agent: a.Agent, Session: a.Session, Context: a.Context})
	if err != nil {
		s.err = err
		return
	}
	digest, err := a.Digest(snap.Context, "test")
	if err != nil {
		s.err = err
		return
	}
	rec, err := s.st.Intend(s.ctx, record.Intent{
		Action: a, Digest: digest, Decision: d, Context: snap.Context, Args: snap.Context, Revision: snap.Revision, PolicySet: "test", Fork: fork,
		Reserve: record.Reservation{Account: "sarah", Micros: res.Cost, Limit: -1},
	})
	if err != nil || d.Verdict == record.Deny {
		s.err = err
		return
	}
	res.Label = d.ResultLabel
	s.err = s.st.Settle(s.ctx, record.Outcome{Intent: rec.ID, Status: record.Done, Result: res, Elapsed: 1200 * time.Millisecond})
}

// fakeRun is a process that says it runs agents: `fakerun polite|rude|frozen AGENT…`.
// A polite one ends when it is stopped.
func fakeRun() {
	ctx := context.Background()
	if err := fakeRunErr(ctx, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func fakeRunErr(ctx context.Context, manner string, agents []string) error {
	a, err := app.Open(ctx, app.Options{Environ: os.Environ(), Create: true})
	if err != nil {
		return err
	}
	st, err := a.Store(ctx)
	if err != nil {
		return err
	}
	run, err := st.StartRun(ctx, agents, "")
	if err != nil {
		return err
	}
	child := exec.CommandContext(ctx, "sleep", "60")
	if err := child.Start(); err != nil {
		return err
	}
	if err := os.WriteFile("running", fmt.Appendln(nil, child.Process.Pid), 0o600); err != nil {
		return err
	}
	switch manner {
	case "frozen":
		if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
			return err
		}
		select {}
	case "rude":
		select {}
	}
	<-st.WatchStop(ctx, agents[0])
	if err := child.Process.Kill(); err != nil {
		return err
	}
	_ = child.Wait()
	if _, err := st.Append(ctx, record.Event{Type: "session.end", Agent: agents[0], Channel: "SYSTEM", Level: "info"}); err != nil {
		return err
	}
	if err := st.EndRun(ctx, run); err != nil {
		return err
	}
	return a.Close()
}

// awaitCmd waits for a file to hold a whole line with a text: `await FILE [TEXT]`.
func awaitCmd(ts *testscript.TestScript, _ bool, args []string) {
	text := "\n"
	if len(args) > 1 {
		text = args[1]
	}
	for range 400 {
		if b, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(b), text) && strings.HasSuffix(string(b), "\n") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%q did not appear in %s", text, args[0])
}

// goneCmd checks that the process whose number is in a file has ended: `gone FILE`.
func goneCmd(ts *testscript.TestScript, _ bool, args []string) {
	pid := strings.TrimSpace(ts.ReadFile(args[0]))
	for range 200 {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("process %s is still there", pid)
}

// askCmd publishes a question as the gate does when nobody is at a terminal:
// `ask SCRIPT`; its id goes to the file "ask".
func askCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ask SCRIPT")
	}
	ctx := context.Background()
	a, err := app.Open(ctx, app.Options{Home: ts.Getenv("SALLYPORT_HOME"), Environ: []string{"HOME=" + ts.Getenv("HOME")}, Create: true})
	ts.Check(err)
	svc, _, err := a.People(ctx, nil)
	ts.Check(err)
	act := action.Action{
		Kind: action.Exec, Target: "s1", Args: map[string]any{"script": args[0]}, Agent: "sarah", Session: "s1", Context: "c1",
		Principal: principal.ForAgent("sarah"),
	}
	l := label.New(label.Internal, label.Foreign, 0)
	digest, err := act.Digest(l, "set")
	ts.Check(err)
	_, err = svc.Await(ctx, record.ApprovalRequest{
		Action: act, Digest: digest, Context: l, PolicySet: "set", Needs: []record.Need{{Count: 1, Group: "owner"}}, Because: "commandProtection is manual",
	})
	if !fault.Is(err, fault.NeedsAsk) {
		ts.Fatalf("unattended ask: %v", err)
	}
	asks, err := a.Asks(ctx, false)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("ask"), []byte(asks[len(asks)-1].ID), 0o600))
	ts.Setenv("ASK", asks[len(asks)-1].ID)
	ts.Check(a.Close())
}
