package store_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

func TestUnknownScopes(t *testing.T) {
	s := open(t, t.TempDir())
	for _, tc := range []struct {
		scope record.Scope
		want  label.Label
	}{
		{record.Scope{}, label.Bottom},
		{record.Scope{Agent: "bob"}, label.Unlabelled},
		{record.Scope{Agent: "bob", Context: "nowhere"}, label.Unlabelled},
		{record.Scope{Context: "nowhere"}, label.Unlabelled},
	} {
		snap, err := s.Snapshot(t.Context(), tc.scope)
		if err != nil || snap.Context != tc.want {
			t.Errorf("%+v: %s %v", tc.scope, snap.Context, err)
		}
	}
}

func TestForkOnce(t *testing.T) {
	s := open(t, t.TempDir())
	spawn(t, s, "bob", "c1")
	in := intent(t, s, action.AgentSpawn, "", "", 0, -1)
	in.Fork = &record.Fork{Context: "c1", Label: label.Bottom, Ceiling: label.Unlabelled}
	_, err := s.Intend(t.Context(), in)
	wantKind(t, err, fault.Denied, "made once")
	if got := snapshot(t, s, "bob", "c1"); got.Context != label.New(label.Public, label.Member, 0) {
		t.Fatalf("the label fell to %s", got.Context)
	}
}

func TestGrants(t *testing.T) {
	s := open(t, t.TempDir())
	ctx, now := t.Context(), time.Now()
	spawn(t, s, "bob", "c1")
	g := record.Grant{ID: "g1", Agent: "bob", Kind: action.Exec, Target: "t*", Expires: now.Add(time.Hour), Uses: 2}
	if _, err := s.PutGrant(ctx, g, "op"); err != nil {
		t.Fatal(err)
	}
	child := g
	child.ID, child.Parent, child.Target, child.Uses = "", "g1", "t", 2
	id, err := s.PutGrant(ctx, child, "op")
	if err != nil || len(id) != 8 {
		t.Fatal(id, err)
	}
	wide := child
	wide.Uses = 3
	_, err = s.PutGrant(ctx, wide, "op")
	wantKind(t, err, fault.Denied, "wider")
	use := func(id string) error {
		in := intent(t, s, action.Exec, "bob", "c1", 0, -1)
		in.Grant = id
		_, err := s.Intend(ctx, in)
		return err
	}
	if err := use(id); err != nil { // uses the parent too
		t.Fatal(err)
	}
	if err := use("g1"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, use("g1"), fault.Denied, "used up")
	wantKind(t, use(id), fault.Denied, "used up")
	wantKind(t, use("nothing"), fault.Denied, "nothing")
	if snap := snapshot(t, s, "bob", "c1"); len(snap.Grants) != 0 {
		t.Fatalf("still live: %+v", snap.Grants)
	}
	g.ID, g.Uses = "g2", 0
	if _, err := s.PutGrant(ctx, g, "op"); err != nil {
		t.Fatal(err)
	}
	in := intent(t, s, action.Exec, "bob", "c1", 0, -1)
	in.Grant = "g2"
	if snap := snapshot(t, s, "bob", "c1"); len(snap.Grants) != 1 || snap.Grants[0].Uses != 0 {
		t.Fatalf("%+v", snap.Grants)
	}
	if err := s.Revoke(ctx, "g2", "op"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Intend(ctx, in)
	wantKind(t, err, fault.Conflict, "moved") // decided before the grant was revoked
	if live, err := s.Grants(ctx, "bob", now); err != nil || len(live) != 0 {
		t.Fatalf("%+v %v", live, err)
	}
	if all, err := s.Grants(ctx, "", now); err != nil || len(all) != 3 {
		t.Fatalf("%+v %v", all, err)
	}
	wantKind(t, s.Revoke(ctx, "none", "op"), fault.NotFound, "none")
}

func TestStopReachesEverybody(t *testing.T) {
	dir := t.TempDir()
	s, other := open(t, dir), open(t, dir) // as two processes would
	spawn(t, s, "bob", "c1")
	in := intent(t, s, action.Exec, "bob", "c1", 0, -1)
	watch := s.WatchStop(t.Context(), "bob")
	if err := other.RequestStop(t.Context(), "", "op"); err != nil {
		t.Fatal(err)
	}
	<-watch
	_, err := s.Intend(t.Context(), in)
	wantKind(t, err, fault.Conflict, "stop flag")
	_, err = s.Intend(t.Context(), intent(t, s, action.Exec, "bob", "c1", 0, -1))
	wantKind(t, err, fault.Denied, "stopped by op")
	if _, err := s.Intend(t.Context(), intent(t, s, action.AgentStop, "", "", 0, -1)); err != nil {
		t.Fatalf("the operator is never stopped: %v", err)
	}
	if err := s.ClearStop(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Intend(t.Context(), intent(t, s, action.Exec, "bob", "c1", 0, -1)); err != nil {
		t.Fatal(err)
	}
}

func TestAsksAndStatements(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	d := action.Digest{1, 2}
	row := record.AskRow{Digest: d, Expires: time.Now().Add(time.Minute), Agent: "bob", Kind: action.Exec, Target: "x", Nonce: "aa", Payload: []byte("{}")}
	id, err := s.PutAsk(ctx, row)
	if err != nil || len(id) != 6 {
		t.Fatal(id, err)
	}
	got, err := s.Ask(ctx, id)
	if err != nil || got.Digest != d || got.State != "open" || string(got.Payload) != "{}" {
		t.Fatalf("%+v %v", got, err)
	}
	row.ID, row.Nonce = id, "bb"
	_, err = s.PutAsk(ctx, row)
	wantKind(t, err, fault.Conflict, id)
	if err := s.PutStatement(ctx, d, []byte("envelope"), record.StatementApprove); err != nil {
		t.Fatal(err)
	}
	st, err := s.Statements(ctx, d)
	if err != nil || len(st) != 1 || st[0].Kind != record.StatementApprove || string(st[0].Envelope) != "envelope" {
		t.Fatalf("%+v %v", st, err)
	}
	if open, err := s.Asks(ctx, true); err != nil || len(open) != 1 {
		t.Fatalf("%+v %v", open, err)
	}
	other := record.AskRow{Digest: action.Digest{3}, Expires: row.Expires, Agent: "eve", Kind: action.Exec, Target: "y", Nonce: "cc", Payload: []byte("{}")}
	if _, err := s.PutAsk(ctx, other); err != nil {
		t.Fatal(err)
	}
	if about, err := s.AsksAbout(ctx, other.Digest); err != nil || len(about) != 1 || about[0].Agent != "eve" {
		t.Fatalf("%+v %v", about, err)
	}
	if err := s.CloseAsk(ctx, id, "approved"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.CloseAsk(ctx, id, "denied"), fault.NotFound, id)
	if about, err := s.AsksAbout(ctx, d); err != nil || len(about) != 1 || about[0].State != "approved" {
		t.Fatalf("%+v %v", about, err)
	}
	if open, err := s.Asks(ctx, true); err != nil || len(open) != 1 {
		t.Fatalf("%+v %v", open, err)
	}
	_, err = s.Ask(ctx, "zzz")
	wantKind(t, err, fault.NotFound, "approvals")
}

func TestNotesAndRuns(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	if _, ok, err := s.Memory(ctx, "bob", internalForeign); ok || err != nil {
		t.Fatal(ok, err)
	}
	for _, n := range []string{"one", "two"} {
		if err := s.SaveMemory(ctx, "bob", n, internalForeign, internalForeign); err != nil {
			t.Fatal(err)
		}
	}
	if n, ok, err := s.Memory(ctx, "bob", internalForeign); n != "two" || !ok || err != nil {
		t.Fatal(n, ok, err)
	}
	id, err := s.StartRun(ctx, []string{"bob"}, "s1")
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Status(ctx)
	if err != nil || len(st.Runs) != 1 || !st.Runs[0].Alive || st.Bytes == 0 || st.Checkpoint == nil {
		t.Fatalf("%+v %v", st, err)
	}
	if err := s.EndRun(ctx, id); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.EndRun(ctx, id), fault.NotFound, "run")
}

func TestEventData(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	long := strings.Repeat("é", 50000)
	in := record.Intent{
		Action: action.Action{Kind: action.ModelCall, Target: "local/m", Agent: "bob\xff", Session: "s", Args: map[string]any{
			"messages": []any{map[string]any{"role": "user", "content": "first"}, map[string]any{"role": "user", "content": long}}, "max": int64(3),
		}},
		Decision: record.Decision{Verdict: record.Allow, Advice: []record.Finding{{Rule: "f", Severity: 2}}},
		Reserve:  record.Reservation{Account: "bob", Micros: 10, Limit: -1},
	}
	r, err := s.Intend(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(ctx, record.Outcome{Intent: r.ID, Status: record.Failed, Err: "half a stream", Result: record.Result{
		Cost:   4,
		Output: "\x00\xffbinary", Findings: []record.Finding{{Severity: 5}}, Data: map[string]any{"f": func() {}, "usage": map[string]int{"in": 3}},
	}}); err != nil {
		t.Fatal(err)
	}
	events, err := s.Events(ctx, store.Filter{Types: []string{"LLM_call_*"}})
	if err != nil || len(events) != 2 {
		t.Fatalf("%v %v", events, err)
	}
	var start, end map[string]any
	if err := json.Unmarshal(events[0].Data, &start); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(events[1].Data, &end); err != nil {
		t.Fatal(err)
	}
	args, _ := start["args"].(map[string]any)
	if start["alert"] != "suspicious" || args["messages_count"] != 2.0 || args["messages"] != nil || args["max"] != 3.0 ||
		start["gen_ai.request.model"] != "local/m" || len(start["truncated"].(map[string]any)) != 1 {
		t.Errorf("start: %v", start)
	}
	if end["alert"] != "dangerous" || end["status"] != "failed" || end["error"] != "half a stream" || end["output"] != "\x00\uFFFDbinary" || end["intent"] != float64(r.ID) {
		t.Errorf("end: %v", end)
	}
	for name, f := range map[string]store.Filter{
		"alert": {Alert: "any"}, "text": {Text: "local/m"}, "session": {Session: "s"}, "until": {Until: time.Now().Add(time.Hour)},
	} {
		if got, err := s.Events(ctx, f); err != nil || len(got) != 2 {
			t.Errorf("%s: %d events %v", name, len(got), err)
		}
	}
	if got, err := s.Events(ctx, store.Filter{AfterID: events[0].ID, Newest: true, Limit: 1}); err != nil || len(got) != 1 || got[0].ID != events[1].ID {
		t.Errorf("%v %v", got, err)
	}
	if got, err := s.SessionEvents(ctx, "s"); err != nil || len(got) != 2 {
		t.Errorf("%v %v", got, err)
	}
	sessions, err := s.Sessions(ctx, time.Time{}, 10)
	if err != nil || len(sessions) != 1 || sessions[0].Cost != 4 || sessions[0].Alerts != 2 {
		t.Errorf("%+v %v", sessions, err)
	}
	for by, key := range map[string]string{store.ByAgent: "bob\xff", store.ByModel: "local/m", store.ByDay: time.Now().UTC().Format("2006-01-02")} {
		got, err := s.Costs(ctx, by, time.Time{})
		if d := cmp.Diff([]store.CostRow{{Key: key, Calls: 1, Cost: 4}}, got); d != "" || err != nil {
			t.Errorf("%s: %s %v", by, d, err)
		}
	}
	_, err = s.Costs(ctx, "moon", time.Time{})
	wantKind(t, err, fault.Usage, "moon")
}

// TestGroupCommit has many writers at once, some of whose writes must fail
// without taking the others along.
func TestGroupCommit(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for range 10 {
				if i%4 == 0 {
					if err := s.Settle(t.Context(), record.Outcome{Intent: 999}); !fault.Is(err, fault.NotFound) {
						t.Error(err)
					}
				} else if _, err := s.Append(t.Context(), record.Event{Type: "x", Agent: "a"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if st, err := s.Status(t.Context()); err != nil || st.Entries != 240 {
		t.Fatalf("%d entries %v", st.Entries, err)
	}
	if err := checkAll(t, dir); err != nil {
		t.Fatal(err)
	}
}
