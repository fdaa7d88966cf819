package gate_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// shelf is a place with one item, whose version can move.
type shelf struct {
	version int64
	label   label.Label
	asked   int
	err     error
}

// Resolve implements gate.References.
func (s *shelf) Resolve(_ context.Context, a action.Action) (action.Action, error) {
	s.asked++
	if _, done := a.Args["version"]; done || s.err != nil {
		return a, s.err
	}
	a.Args = maps.Clone(a.Args)
	a.Args["version"] = s.version
	a.ArgLabels = map[string]label.Label{"item": s.label}
	return a, nil
}

func (w *world) shelved(t *testing.T, s *shelf) *gate.Gate {
	t.Helper()
	executors := map[action.Kind]gate.Executor{}
	for _, r := range action.Kinds() {
		executors[r.Kind] = w
	}
	g, err := gate.New(gate.Config{Ledger: w, Policy: w, Approver: w, References: s, Executors: executors, Now: func() time.Time { return time.Unix(1, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func reading() action.Action {
	return action.Action{Kind: action.DataRead, Target: "plan", Agent: "sarah", Args: map[string]any{"item": "plan"}}
}

// TestResolvedActionIsPerformed: what was looked up is what is decided, made
// durable and performed, and the driver's own action stays as it was.
func TestResolvedActionIsPerformed(t *testing.T) {
	secret := label.New(label.Secret, label.Member, 1)
	w, s := newWorld(), &shelf{version: 7, label: secret}
	var decided, performed action.Action
	var joined label.Label
	w.decide = func(q record.Question) record.Decision {
		decided, joined = q.Action, q.Args
		return allow(q)
	}
	w.perform = func(_ context.Context, a action.Action) (record.Result, error) {
		performed = a
		return record.Result{}, nil
	}
	asked := reading()
	if _, err := w.shelved(t, s).Do(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	want := reading()
	want.Args["version"], want.ArgLabels = int64(7), map[string]label.Label{"item": secret}
	for name, got := range map[string]action.Action{"decided": decided, "performed": performed, "logged": w.intents[0].Action} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if joined.Level != label.Secret || w.intents[0].Args != joined {
		t.Errorf("decided about %v, logged %v, without the item's label", joined, w.intents[0].Args)
	}
	if diff := cmp.Diff(reading(), asked); diff != "" {
		t.Errorf("the driver's action was changed:\n%s", diff)
	}
}

// TestResolveErrorDenies: nothing is decided, logged or performed about what
// cannot be looked up.
func TestResolveErrorDenies(t *testing.T) {
	w, s := newWorld(), &shelf{err: errors.New("the book is shut")}
	if _, err := w.shelved(t, s).Do(t.Context(), reading()); err == nil || !strings.Contains(err.Error(), "gate.resolve: the book is shut") {
		t.Errorf("error %v", err)
	}
	if got := strings.Join(w.trace, " "); got != "snapshot" {
		t.Errorf("steps %q", got)
	}
}

// TestApprovalBindsTheVersion: people sign the version that was there when they
// were asked. If it moves while they think, what they signed is what is
// performed, and the executor finds that it is gone; another try asks again.
func TestApprovalBindsTheVersion(t *testing.T) {
	w, s := newWorld(), &shelf{version: 7}
	w.decide, w.approvals = askOwner, []record.Approval{{Nonce: "n", Person: "ann", Groups: []string{"owner"}}}
	var versions []any
	w.perform = func(_ context.Context, a action.Action) (record.Result, error) {
		versions = append(versions, a.Args["version"])
		return record.Result{}, nil
	}
	g := w.shelved(t, s)
	first, err := g.Open(t.Context(), reading())
	if err != nil {
		t.Fatal(err)
	}
	signed := w.asked.Digest
	s.version = 8
	if _, err := w.Perform(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	w.awaited = false
	if _, err := g.Do(t.Context(), reading()); err != nil {
		t.Fatal(err)
	}
	if w.asked.Digest == signed {
		t.Error("the signature over version 7 is one over version 8")
	}
	if diff := cmp.Diff([]any{int64(7), int64(8)}, versions); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	if s.asked != 4 { // before and after each ask
		t.Errorf("looked up %d times", s.asked)
	}
}

// TestForkAndBitsComeFromTheResolvedAction: whoever looks up may add what the
// ledger takes.
func TestForkAndBitsComeFromTheResolvedAction(t *testing.T) {
	w := newWorld()
	g, err := gate.New(gate.Config{
		Ledger: w, Policy: w, Approver: w, Now: time.Now, References: resolver(func(a action.Action) action.Action {
			a.Args = maps.Clone(a.Args)
			a.Args["bits"] = int64(3)
			return a
		}), Executors: map[action.Kind]gate.Executor{action.AgentSpawn: w, action.DataExtract: w},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []action.Action{
		{Kind: action.AgentSpawn, Args: map[string]any{"context": "c", "parent": "p", "instruction": "i", "label": "public", "ceiling": "secret"}},
		{Kind: action.DataExtract, Args: map[string]any{}},
	} {
		if _, err := g.Do(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	want := &record.Fork{Context: "c", Parent: "p", Instruction: "i", Bits: 3, Label: label.Label{}, Ceiling: label.New(label.Secret, label.Foreign, 0)}
	if diff := cmp.Diff(want, w.intents[0].Fork); diff != "" {
		t.Errorf("fork (-want +got):\n%s", diff)
	}
	if w.intents[1].Bits != 3 || w.intents[0].Bits != 0 {
		t.Errorf("bits %d and %d", w.intents[1].Bits, w.intents[0].Bits)
	}
}

type resolver func(a action.Action) action.Action

func (r resolver) Resolve(_ context.Context, a action.Action) (action.Action, error) {
	return r(a), nil
}

// TestBits: what is no number of bits, or too many, is none or the most.
func TestBits(t *testing.T) {
	for name, tt := range map[string]struct {
		bits any
		want int
	}{
		"some": {int64(2), 2}, "none": {nil, 0}, "negative": {int64(-1), 0}, "text": {"2", 0}, "fraction": {2.5, 0}, "most": {int64(1) << 40, 1 << 16},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			_, err := w.shelved(t, &shelf{}).Do(t.Context(), action.Action{Kind: action.DataExtract, Args: map[string]any{"bits": tt.bits}})
			if denied := fault.Is(err, fault.Denied); denied != (tt.want == 0) || w.intents[0].Bits != tt.want {
				t.Errorf("%d bits, %v", w.intents[0].Bits, err)
			}
		})
	}
}

// TestRequester: the person behind an action is named to whoever collects
// signatures, so that they do not count among two.
func TestRequester(t *testing.T) {
	for want, p := range map[string]principal.Principal{
		"ann": principal.TheOperator("ann"), "bob": {Kind: principal.Person, Name: "bob"}, "": principal.ForAgent("sarah"),
	} {
		w := newWorld()
		w.decide, w.awaitErr = askOwner, fault.New("ask", fault.NeedsAsk, "nobody")
		a := exec()
		a.Principal = p
		if _, err := w.gate(t).Do(t.Context(), a); err == nil || w.asked.Requester != want {
			t.Errorf("%s: requester %q (%v)", p, w.asked.Requester, err)
		}
	}
}
