package gate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// world is a ledger, a policy, an approver and an executor that write down the
// order in which the gate calls them. The real ledger is tested with the gate
// in app.
type world struct {
	trace     []string
	snapshot  record.Snapshot
	conflicts int // Intend answers Conflict this many times
	intendErr error
	settleErr error
	decide    func(q record.Question) record.Decision
	awaitErr  error
	approvals []record.Approval // what Find gives once Await was called
	awaited   bool
	asked     record.ApprovalRequest
	perform   func(ctx context.Context, a action.Action) (record.Result, error)
	intents   []record.Intent
	outcomes  []record.Outcome
}

func (w *world) step(s string) { w.trace = append(w.trace, s) }

func (w *world) Snapshot(context.Context, record.Scope) (record.Snapshot, error) {
	w.step("snapshot")
	return w.snapshot, nil
}

func (w *world) Intend(_ context.Context, in record.Intent) (record.Receipt, error) {
	w.step("intend " + in.Decision.Verdict.String())
	if w.conflicts > 0 {
		w.conflicts--
		return record.Receipt{}, fault.New("test", fault.Conflict, "moved")
	}
	w.intents = append(w.intents, in)
	return record.Receipt{ID: int64(len(w.intents))}, w.intendErr
}

func (w *world) Settle(ctx context.Context, out record.Outcome) error {
	w.step("settle " + string(out.Status))
	w.outcomes = append(w.outcomes, out)
	return errors.Join(w.settleErr, ctx.Err())
}

func (w *world) Decide(q record.Question) record.Decision { w.step("decide"); return w.decide(q) }
func (w *world) SetDigest() string                        { return "set" }

func (w *world) Find(context.Context, action.Digest) ([]record.Approval, error) {
	if w.awaited {
		return w.approvals, nil
	}
	return nil, nil
}

func (w *world) Await(_ context.Context, req record.ApprovalRequest) ([]record.Approval, error) {
	w.step("await")
	w.awaited, w.asked = true, req
	return w.approvals, w.awaitErr
}

func (w *world) Perform(ctx context.Context, p *gate.Permit) (record.Result, error) {
	a, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	w.step("perform")
	return w.perform(ctx, a)
}

func allow(record.Question) record.Decision {
	return record.Decision{Verdict: record.Allow, Rules: []string{"r"}, ResultLabel: label.New(label.Internal, label.Foreign, 0)}
}

func askOwner(q record.Question) record.Decision {
	d := allow(q)
	if q.Approvals["owner"] < 1 {
		d.Verdict, d.Because, d.Needs = record.Ask, "the owner decides", []record.Need{{Count: 1, Group: "owner"}}
	}
	return d
}

func newWorld() *world {
	return &world{
		decide:  allow,
		perform: func(context.Context, action.Action) (record.Result, error) { return record.Result{Output: "ok"}, nil },
	}
}

func (w *world) gate(t *testing.T) *gate.Gate {
	t.Helper()
	g, err := gate.New(gate.Config{
		Ledger: w, Policy: w, Approver: w, Now: func() time.Time { return time.Unix(1, 0) },
		Executors: map[action.Kind]gate.Executor{action.Exec: w, action.AgentSpawn: w},
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func exec() action.Action {
	return action.Action{Kind: action.Exec, Target: "s", Agent: "sarah", Args: map[string]any{"script": "ls"}}
}

func TestDo(t *testing.T) {
	boom := errors.New("boom")
	owner := []record.Approval{{Nonce: "n", Person: "ann", Groups: []string{"owner"}}}
	tests := map[string]struct {
		change func(*world)
		act    action.Action
		trace  string
		kind   fault.Kind // of the error
		ok     bool
		text   string // in the error
	}{
		"allow": {act: exec(), trace: "snapshot decide intend allow perform settle done", ok: true},
		"deny is recorded and nothing performed": {
			change: func(w *world) {
				w.decide = func(record.Question) record.Decision { return record.Decision{Rules: []string{"r9"}, Because: "no"} }
			}, act: exec(), trace: "snapshot decide intend deny", kind: fault.Denied, text: "denied by r9: no",
		},
		"cannot log, cannot act": {
			change: func(w *world) { w.intendErr = fault.New("store", fault.Unavailable, "disk full") },
			act:    exec(), trace: "snapshot decide intend allow", kind: fault.Unavailable, text: "disk full",
		},
		"a moved snapshot is decided again": {
			change: func(w *world) { w.conflicts = 2 }, act: exec(), ok: true,
			trace: "snapshot decide intend allow snapshot decide intend allow snapshot decide intend allow perform settle done",
		},
		"a snapshot that never holds": {
			change: func(w *world) { w.conflicts = 99 }, act: exec(), kind: fault.Conflict,
			trace: strings.TrimSpace(strings.Repeat("snapshot decide intend allow ", 8)),
		},
		"ask without answer is a deny": {
			change: func(w *world) {
				w.decide = askOwner
				w.awaitErr = fault.New("ask", fault.NeedsAsk, "nobody is at the terminal")
			}, act: exec(), trace: "snapshot decide await intend deny", kind: fault.Denied, text: "nobody is at the terminal",
		},
		"ask answered with no": {
			change: func(w *world) {
				w.decide = askOwner
				w.awaitErr = fault.New("ask", fault.Denied, "ann said no")
			}, act: exec(), trace: "snapshot decide await intend deny", kind: fault.Denied, text: "denied by r, ask.denied: ann said no",
		},
		"ask answered is judged again": {
			change: func(w *world) { w.decide = askOwner; w.approvals = owner },
			act:    exec(), ok: true, trace: "snapshot decide await snapshot decide decide intend allow perform settle done",
		},
		"answered with the wrong group": {
			change: func(w *world) {
				w.decide = askOwner
				w.approvals = []record.Approval{{Person: "bob", Groups: []string{"finance"}}}
			},
			act: exec(), trace: "snapshot decide await snapshot decide intend deny", kind: fault.Denied, text: "no longer fits",
		},
		"stopped": {
			change: func(w *world) { w.snapshot.Stopped = "ann" }, act: exec(),
			trace: "snapshot intend deny", kind: fault.Denied, text: "stopped by ann",
		},
		"no capability": {act: action.Action{Kind: "fly"}, trace: "snapshot intend deny", kind: fault.Denied, text: "not a capability"},
		"no executor":   {act: action.Action{Kind: action.FileRead}, trace: "snapshot intend deny", kind: fault.Denied, text: "nothing here performs"},
		"arguments nobody could verify": {
			act:   action.Action{Kind: action.Exec, Args: map[string]any{"n": int64(1) << 60}},
			trace: "snapshot", kind: fault.Denied, text: "exact JSON",
		},
		"a failing executor is settled": {
			change: func(w *world) {
				w.perform = func(context.Context, action.Action) (record.Result, error) { return record.Result{}, boom }
			}, act: exec(), trace: "snapshot decide intend allow perform settle failed", kind: fault.Internal, text: "boom",
		},
		"a panicking executor is settled": {
			change: func(w *world) {
				w.perform = func(context.Context, action.Action) (record.Result, error) { panic("boom") }
			}, act: exec(), trace: "snapshot decide intend allow perform settle failed", kind: fault.Internal, text: "panic: boom",
		},
		"an outcome that cannot be logged is an error": {
			change: func(w *world) { w.settleErr = boom },
			act:    exec(), trace: "snapshot decide intend allow perform settle done", kind: fault.Internal, text: "boom",
		},
		"a child above its ceiling": {
			act: action.Action{Kind: action.AgentSpawn, Args: map[string]any{
				"context": "c", "label": "secret/foreign", "ceiling": "internal/foreign",
			}},
			trace: "snapshot decide intend deny", kind: fault.Denied, text: "above the ceiling",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			if tt.change != nil {
				tt.change(w)
			}
			_, err := w.gate(t).Do(t.Context(), tt.act)
			if diff := cmp.Diff(tt.trace, strings.Join(w.trace, " ")); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			switch {
			case tt.ok && err != nil:
				t.Errorf("error %v", err)
			case !tt.ok && (fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.text)):
				t.Errorf("error %v of kind %v, want kind %v with %q", err, fault.KindOf(err), tt.kind, tt.text)
			}
		})
	}
}

// TestApprovalsAreConsumedOnlyWhenNeeded keeps a valid approval from being
// burnt by an action that was allowed anyway.
func TestApprovalsAreConsumedOnlyWhenNeeded(t *testing.T) {
	w := newWorld()
	w.awaited, w.approvals = true, []record.Approval{{Nonce: "n", Person: "ann", Groups: []string{"owner"}}}
	if _, err := w.gate(t).Do(t.Context(), exec()); err != nil {
		t.Fatal(err)
	}
	if n := len(w.intents[0].Approvals); n != 0 {
		t.Errorf("an allowed action consumed %d approvals", n)
	}
	w.decide = askOwner
	if _, err := w.gate(t).Do(t.Context(), exec()); err != nil {
		t.Fatal(err)
	}
	if n := len(w.intents[1].Approvals); n != 1 {
		t.Errorf("an approved action consumed %d approvals, want 1", n)
	}
}

func TestCancelledEffectIsSettled(t *testing.T) {
	w := newWorld()
	ctx, cancel := context.WithCancel(t.Context())
	w.perform = func(ctx context.Context, _ action.Action) (record.Result, error) {
		cancel()
		return record.Result{Output: "half"}, ctx.Err()
	}
	res, err := w.gate(t).Do(ctx, exec())
	if !errors.Is(err, context.Canceled) || res.Output != "half" {
		t.Errorf("got %q, %v", res.Output, err)
	}
	if len(w.outcomes) != 1 || w.outcomes[0].Status != record.Canceled {
		t.Errorf("outcomes %+v", w.outcomes)
	}
}

func TestPermitIsSingleUse(t *testing.T) {
	w := newWorld()
	g := w.gate(t)
	p, err := g.Open(t.Context(), exec())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Take(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Take(); !fault.Is(err, fault.Denied) {
		t.Errorf("second take: %v", err)
	}
	if _, err := g.Settle(t.Context(), p, record.Result{}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Settle(t.Context(), p, record.Result{}, nil); err == nil {
		t.Error("second settle succeeded")
	}
	var none *gate.Permit
	if _, err := none.Take(); err == nil {
		t.Error("a nil permit was taken")
	}
}

// TestRelease: what was handed to somebody else is settled once more, when its
// result is seen or nobody will ever see it, and never twice.
func TestRelease(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(g *gate.Gate, p *gate.Permit) error
		want record.Status
	}{
		"result": {func(g *gate.Gate, p *gate.Permit) error {
			_, err := g.Settle(t.Context(), p, record.Result{Output: "x"}, nil)
			return err
		}, record.Done},
		"lost": {func(g *gate.Gate, p *gate.Permit) error { return g.Lost(t.Context(), p, "no result came") }, record.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			g := w.gate(t)
			p, err := g.Open(t.Context(), exec())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.Release(t.Context(), p, record.Result{}); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Release(t.Context(), p, record.Result{}); err == nil {
				t.Error("released twice")
			}
			if err := tt.end(g, p); err != nil {
				t.Fatal(err)
			}
			if err := tt.end(g, p); err == nil {
				t.Error("ended twice")
			}
			if _, err := g.Release(t.Context(), p, record.Result{}); err == nil {
				t.Error("released after its end")
			}
			if len(w.outcomes) != 2 || w.outcomes[0].Status != record.Released || w.outcomes[1].Status != tt.want {
				t.Errorf("outcomes %+v", w.outcomes)
			}
		})
	}
}

// TestExecutorCannotRelabel: the result's label is the intent's, whatever the
// executor claims.
func TestExecutorCannotRelabel(t *testing.T) {
	w := newWorld()
	w.perform = func(context.Context, action.Action) (record.Result, error) {
		return record.Result{Label: label.Bottom}, nil
	}
	res, err := w.gate(t).Do(t.Context(), exec())
	if err != nil {
		t.Fatal(err)
	}
	if want := label.New(label.Internal, label.Foreign, 0); res.Label != want {
		t.Errorf("label %v, want %v", res.Label, want)
	}
}

func TestNewNeedsEverything(t *testing.T) {
	if _, err := gate.New(gate.Config{}); err == nil {
		t.Error("an empty gate was made")
	}
}

// TestGrantIsCharged: an action that a grant allowed names it in its intent, so
// that the ledger can count the use.
func TestGrantIsCharged(t *testing.T) {
	w := newWorld()
	w.decide = func(q record.Question) record.Decision {
		d := allow(q)
		d.Obligations = []record.Obligation{{Kind: record.ObligationGrant, Value: "g1"}}
		return d
	}
	if _, err := w.gate(t).Do(t.Context(), exec()); err != nil {
		t.Fatal(err)
	}
	if got := w.intents[0].Grant; got != "g1" {
		t.Errorf("charged grant %q, want g1", got)
	}
}

// TestGrantOrApprovalIsCharged: where a grant and an approval both cover an
// action, one of them is used up. The policy prefers an approval that is there,
// and without it falls back on the grant.
func TestGrantOrApprovalIsCharged(t *testing.T) {
	w := newWorld()
	w.decide = func(q record.Question) record.Decision {
		d := allow(q)
		if q.Approvals["owner"] == 0 {
			d.Obligations = []record.Obligation{{Kind: record.ObligationGrant, Value: "g1"}}
		}
		return d
	}
	w.awaited, w.approvals = true, []record.Approval{{Nonce: "n", Person: "ann", Groups: []string{"owner"}}}
	if _, err := w.gate(t).Do(t.Context(), exec()); err != nil {
		t.Fatal(err)
	}
	if in := w.intents[0]; in.Grant != "g1" || len(in.Approvals) > 0 {
		t.Errorf("charged grant %q and approvals %v, want the grant alone", in.Grant, in.Approvals)
	}
}

// TestAskIsAboutTheDigest: what people sign is the digest over the context's
// label, whatever the labels of the arguments are; otherwise no answer could
// ever be found again.
func TestAskIsAboutTheDigest(t *testing.T) {
	w := newWorld()
	w.decide, w.snapshot.Context = askOwner, label.New(label.Internal, label.Foreign, 0)
	w.approvals = []record.Approval{{Nonce: "n", Person: "ann", Groups: []string{"owner"}}}
	a := exec()
	a.ArgLabels = map[string]label.Label{"script": label.New(label.Secret, label.Foreign, 0)}
	if _, err := w.gate(t).Do(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	want, err := a.Digest(w.snapshot.Context, "set")
	if err != nil {
		t.Fatal(err)
	}
	if w.asked.Digest != want || w.asked.Context != w.snapshot.Context {
		t.Errorf("asked about digest %v with context %v, want %v with %v", w.asked.Digest, w.asked.Context, want, w.snapshot.Context)
	}
}
