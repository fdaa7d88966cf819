package store_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/audit"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

var (
	_ gate.Ledger = (*store.Store)(nil)
	_ store.Tree  = (*audit.Signer)(nil)
)

const instance = "sallyport-test"

// open opens the store of a directory with real keys.
func open(t testing.TB, dir string, with ...func(*store.Options)) *store.Store {
	t.Helper()
	keys, err := audit.OpenKeys(filepath.Join(dir, "keys"), instance)
	if err != nil {
		t.Fatal(err)
	}
	o := store.Options{Dir: dir, Tree: keys, Instance: instance}
	for _, w := range with {
		w(&o)
	}
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func clock(now *time.Time) func(*store.Options) {
	return func(o *store.Options) { o.Now = func() time.Time { return *now } }
}

var internalForeign = label.New(label.Internal, label.Foreign, 0)

// intent makes an allowed intent of the scope at the store's present revision.
func intent(t testing.TB, s *store.Store, kind action.Kind, agent, ctxID string, micros, limit record.Micros) record.Intent {
	t.Helper()
	a := action.Action{Kind: kind, Target: "t", Agent: agent, Session: agent + "-s", Context: ctxID, Args: map[string]any{"script": "uptime"}}
	snap, err := s.Snapshot(t.Context(), record.Scope{Agent: agent, Session: a.Session, Context: ctxID})
	if err != nil {
		t.Fatal(err)
	}
	d, err := a.Digest(snap.Context, "set")
	if err != nil {
		t.Fatal(err)
	}
	return record.Intent{
		Action: a, Digest: d, Args: snap.Context, Revision: snap.Revision, PolicySet: "set",
		Decision: record.Decision{Verdict: record.Allow, Rules: []string{"r1"}, ResultLabel: internalForeign},
		Reserve:  record.Reservation{Account: agent, Micros: micros, Limit: limit},
	}
}

// spawn makes a context for an agent as the operator does.
func spawn(t testing.TB, s *store.Store, agent, ctxID string) {
	t.Helper()
	in := intent(t, s, action.AgentSpawn, "", "", 0, -1)
	in.Action.Target = agent
	in.Decision.ResultLabel = label.Bottom
	in.Fork = &record.Fork{Context: ctxID, Label: label.New(label.Public, label.Member, 0), Ceiling: label.New(label.Confidential, label.Foreign, 0)}
	r, err := s.Intend(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(t.Context(), record.Outcome{Intent: r.ID, Status: record.Done}); err != nil {
		t.Fatal(err)
	}
}

func snapshot(t testing.TB, s *store.Store, agent, ctxID string) record.Snapshot {
	t.Helper()
	snap, err := s.Snapshot(t.Context(), record.Scope{Agent: agent, Session: agent + "-s", Context: ctxID})
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func wantKind(t testing.TB, err error, kind fault.Kind, text string) {
	t.Helper()
	if !fault.Is(err, kind) || !strings.Contains(fault.PublicText(err), text) {
		t.Fatalf("got %v (%s), want %s with %q", err, fault.KindOf(err), kind, text)
	}
}

func TestLedger(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := context.Background()
	spawn(t, s, "bob", "c1")
	before := snapshot(t, s, "bob", "c1")
	if before.Context != label.New(label.Public, label.Member, 0) {
		t.Fatalf("label %s", before.Context)
	}
	in := intent(t, s, action.Exec, "bob", "c1", 600, 1000)
	r, err := s.Intend(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	after := snapshot(t, s, "bob", "c1")
	if after.Context != internalForeign || after.Revision == before.Revision || after.Spent != 600 || after.Calls["exec"] != 1 {
		t.Fatalf("after the intent: %+v", after)
	}
	_, err = s.Intend(ctx, in)
	wantKind(t, err, fault.Conflict, "moved")
	_, err = s.Intend(ctx, intent(t, s, action.Exec, "bob", "c1", 600, 1000))
	wantKind(t, err, fault.Budget, "spendLimitDollars")
	if err := s.Settle(ctx, record.Outcome{Intent: r.ID, Status: record.Done, Result: record.Result{Cost: 700, Output: "up"}}); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.Settle(ctx, record.Outcome{Intent: r.ID, Status: record.Done}), fault.Conflict, "ends once")
	wantKind(t, s.Settle(ctx, record.Outcome{Intent: 999, Status: record.Done}), fault.NotFound, "999")
	if got := snapshot(t, s, "bob", "c1"); got.Spent != 700 || got.Denials != 1 {
		t.Fatalf("after settling: %+v", got)
	}
}
