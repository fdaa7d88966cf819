package store_test

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

const secret = "sk-canary-41d7"

// hide replaces the secret in every string, as a masker would.
func hide(v any) any {
	switch v := v.(type) {
	case string:
		return strings.ReplaceAll(v, secret, "[masked]")
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = hide(e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = hide(e)
		}
		return out
	}
	return v
}

// tell lets the secret into everything that a store is told but asks.
func tell(t *testing.T, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	spawn(t, s, "bob", "c1")
	text := "before " + secret + " after"
	// It straddles the place where a long text is cut.
	long := strings.Repeat("x", 64<<10-5) + secret + strings.Repeat("y", 9000)
	allowed := func(kind action.Kind, target string, args map[string]any) record.Intent {
		in := intent(t, s, kind, "bob", "c1", 5, 1000)
		in.Action.Target, in.Action.Args = target, args
		in.Decision.Because, in.Decision.Advice = text, []record.Finding{{Rule: "r", Severity: 1, Detail: text}}
		return in
	}
	for _, in := range []record.Intent{
		allowed(action.HTTPRequest, "https://host/?key="+secret, map[string]any{"headers": map[string]any{"a": []string{text}}, "n": int64(7), "ok": true}),
		allowed(action.ModelCall, "m", map[string]any{"messages": []any{map[string]any{"content": []any{map[string]any{"text": text}}}}}),
		allowed(action.Exec, "t", map[string]any{"script": long}),
	} {
		in.Revision = snapshot(t, s, "bob", "c1").Revision // its label rose
		r, err := s.Intend(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		out := record.Result{Output: long, Findings: in.Decision.Advice, Data: map[string]any{"stop": text, "list": []record.Finding{{Detail: text}}}}
		if err := s.Settle(ctx, record.Outcome{Intent: r.ID, Status: record.Failed, Err: text, Result: out}); err != nil {
			t.Fatal(err)
		}
	}
	dear := allowed(action.Exec, "t", map[string]any{"script": text})
	dear.Reserve.Micros, dear.Revision = 2000, snapshot(t, s, "bob", "c1").Revision
	if _, err := s.Intend(ctx, dear); err == nil {
		t.Fatal("it was not refused")
	}
	_, err := s.Append(ctx, record.Event{Type: "session.comment", Alert: "dangerous", Data: map[string]any{"text": text, "n": 3.5}})
	if err == nil {
		err = s.SaveMemory(ctx, "bob", text, label.Bottom, internalForeign)
	}
	var id string
	if err == nil {
		id, _, err = s.RaiseAlert(ctx, record.Alert{Rule: "r", Title: text, Subject: text, Note: text, Sinks: []string{"log"}})
	}
	if err == nil {
		err = s.Delivered(ctx, record.Delivery{Alert: id, Sink: "log", State: record.DeliveryFailed, Error: text})
	}
	if err == nil {
		err = s.SetAlert(ctx, id, record.AlertResolved, text, "op")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestMask: with a mask nothing of what it hides reaches the disk, but what
// people are asked to sign; without one everything does.
func TestMask(t *testing.T) {
	plainDir, dir := t.TempDir(), t.TempDir()
	tell(t, open(t, plainDir))
	if in := diskHas(t, plainDir, []byte(secret)); len(in) == 0 {
		t.Fatal("the secret does not reach the disk anyhow: the test shows nothing")
	}
	s := open(t, dir, func(o *store.Options) { o.Mask = hide })
	tell(t, s)
	if in := diskHas(t, dir, []byte(secret[:5])); len(in) > 0 { // not even the half of it before a cut
		t.Fatalf("%v hold what was masked:\n%s", in, where(t, dir, secret[:5]))
	}
	events, err := s.Events(t.Context(), store.Filter{Types: []string{"session.comment", "http.request.start"}})
	if err != nil || len(events) != 2 {
		t.Fatal(events, err)
	}
	var data []map[string]any
	for _, e := range events {
		var m map[string]any
		if err := json.Unmarshal(e.Data, &m); err != nil {
			t.Fatal(err)
		}
		data = append(data, m)
	}
	args, _ := data[0]["args"].(map[string]any)
	if args["n"] != 7.0 || args["ok"] != true || data[0]["target"] != "https://host/?key=[masked]" || data[1]["n"] != 3.5 || data[1]["alert"] != "dangerous" {
		t.Errorf("types changed: %v", data)
	}
	long, err := s.Events(t.Context(), store.Filter{Types: []string{"exec.start"}, Limit: 1})
	if err != nil || !strings.Contains(string(long[0].Data), `"truncated":{"args.script":74545}`) || len(long[0].Data) > 66<<10 {
		t.Errorf("%d bytes, %.200s … %v", len(long[0].Data), long[0].Data[max(0, len(long[0].Data)-200):], err)
	}
	if _, err := s.PutAsk(t.Context(), record.AskRow{Expires: time.Now().Add(time.Minute), Agent: "bob", Kind: action.Exec, Target: "t", Nonce: "aa", Payload: []byte(secret)}); err != nil {
		t.Fatal(err)
	}
	if got := where(t, dir, secret); got != "asks.payload" {
		t.Errorf("the secret is in %s", got)
	}
	if err := checkAll(t, dir); err != nil {
		t.Fatal(err)
	}
}

// TestMaskLosesShape: a mask that gives something else leaves nothing of the
// data rather than all of it.
func TestMaskLosesShape(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, func(o *store.Options) { o.Mask = func(any) any { return secret } })
	if _, err := s.Append(t.Context(), record.Event{Type: "x", Alert: "suspicious", Data: map[string]any{"text": secret}}); err != nil {
		t.Fatal(err)
	}
	events, err := s.Events(t.Context(), store.Filter{Alert: "suspicious"})
	if err != nil || len(events) != 1 || !strings.Contains(string(events[0].Data), "omitted") || len(diskHas(t, dir, []byte(secret))) > 0 {
		t.Errorf("%v %v", events, err)
	}
}

// where names the columns that hold a text.
func where(t *testing.T, dir, text string) string {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	columns, err := db.QueryContext(t.Context(), `SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type='table'`)
	if err != nil {
		t.Fatal(err)
	}
	defer columns.Close()
	var names [][2]string
	for columns.Next() {
		var n [2]string
		if err := columns.Scan(&n[0], &n[1]); err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	if err := columns.Err(); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, n := range names {
		var hits int
		if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM "`+n[0]+`" WHERE instr(CAST("`+n[1]+`" AS TEXT), ?) > 0`, text).Scan(&hits); err != nil {
			t.Fatal(err)
		}
		if hits > 0 {
			out = append(out, n[0]+"."+n[1])
		}
	}
	return strings.Join(out, " ")
}
