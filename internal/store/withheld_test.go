package store_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// canary is what a secret context knows.
const canary = "CANARY-77f3"

var hr = label.New(label.Secret, label.Member, 2)

// spawnAt makes a context with a label and bits, as the operator does.
func spawnAt(t testing.TB, s *store.Store, agent string, f record.Fork) {
	t.Helper()
	in := intent(t, s, action.AgentSpawn, "", "", 0, -1)
	in.Action.Target, in.Action.Session, in.Fork = agent, agent+"-s", &f
	r, err := s.Intend(t.Context(), in)
	must(t, err)
	must(t, s.Settle(t.Context(), record.Outcome{Intent: r.ID, Status: record.Done, Result: record.Result{Label: label.Bottom}}))
}

// leak puts the canary into everything that an agent in context c1 can put
// something into.
func leak(t *testing.T, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	finding := []record.Finding{{Rule: "r", Severity: 2, Confidence: 0.5, Detail: canary}}
	attempt := func(kind action.Kind, target string, change func(*record.Intent)) {
		t.Helper()
		in := intent(t, s, kind, "bob", "c1", 5, 1000)
		in.Context = in.Args
		in.Action.Target = target
		in.Action.Args = map[string]any{
			"script": canary, "item": canary, "label": canary, canary: 1, "deep": map[string]any{canary: []any{canary}},
			"messages": []any{map[string]any{"content": canary}},
		}
		in.Decision.Because, in.Decision.Advice = "because of "+canary, finding
		in.Decision.Obligations = []record.Obligation{{Kind: "redact", Value: canary}}
		in.Decision.ResultLabel = in.Args
		var err error
		if in.Digest, err = in.Action.Digest(in.Context, "set"); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&in)
		}
		r, err := s.Intend(ctx, in)
		if fault.Is(err, fault.Budget) {
			return
		}
		must(t, err)
		if in.Decision.Verdict != record.Allow {
			return
		}
		must(t, s.Settle(ctx, record.Outcome{Intent: r.ID, Status: record.Failed, Err: "no " + canary, Result: record.Result{
			Output: canary, Label: in.Decision.ResultLabel, Findings: finding, Cost: 1,
			Data: map[string]any{"alert": "dangerous", "usage": map[string]int64{"input_tokens": 7}, "why": canary, canary: true},
		}}))
	}
	deny := func(in *record.Intent) { in.Decision.Verdict = record.Deny }
	for _, row := range action.Kinds() {
		if row.Kind == action.AgentSpawn || row.Kind == action.SessionStart || row.Kind == action.AgentStop {
			continue // their targets are names of the configuration
		}
		attempt(row.Kind, canary, nil)
		attempt(row.Kind, "local/"+canary, nil)
	}
	for _, row := range action.Kinds() {
		attempt(row.Kind, canary, deny)
	}
	attempt(action.Exec, canary, func(in *record.Intent) { in.Reserve.Micros = 5000 }) // refused
	_, err := s.Append(ctx, record.Event{Type: "session.comment", Agent: "bob", Session: "bob-s", Alert: "suspicious", Data: map[string]any{"text": canary, canary: 1}})
	must(t, err)
	_, err = s.Append(ctx, record.Event{Type: "session.note", Agent: "eve", Data: map[string]any{"note": canary, "label": hr.String()}})
	must(t, err)
}

// TestWithheld: what a secret context writes is nowhere in the files, and what
// happened there still is.
func TestWithheld(t *testing.T) {
	for name, tt := range map[string]struct {
		born  label.Label
		clear label.Label
		found bool
	}{
		"internal":                   {label.New(label.Internal, label.Member, 0), label.Label{}, true},
		"secret":                     {hr, label.Label{}, false},
		"a compartment":              {label.New(label.Public, label.Member, 4), label.Label{}, false},
		"a compartment that is kept": {label.New(label.Internal, label.Member, 4), label.New(label.Internal, label.Signed, 4), true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, func(o *store.Options) { o.Clear = tt.clear })
			spawnAt(t, s, "bob", record.Fork{Context: "c1", Label: tt.born, Ceiling: label.Unlabelled, Bits: 4})
			leak(t, s)
			if got := contains(t, dir, canary); got != tt.found {
				t.Errorf("the canary is in the files: %t", got)
			}
			if costs, err := s.Costs(t.Context(), store.ByModel, time.Time{}); err != nil || len(costs) == 0 || costs[0].Input == 0 {
				t.Errorf("what was used is not known: %+v %v", costs, err)
			}
			must(t, s.Close())
			must(t, checkAll(t, dir))
		})
	}
}

func contains(t *testing.T, dir, text string) bool {
	t.Helper()
	for _, name := range []string{"state.db", "state.db-wal"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		if bytes.Contains(raw, []byte(text)) {
			return true
		}
	}
	return false
}

// events gives the data of the events of a type.
func events(t *testing.T, s *store.Store, typ string) []map[string]any {
	t.Helper()
	rows, err := s.Events(t.Context(), store.Filter{Types: []string{typ}})
	must(t, err)
	var out []map[string]any
	for _, r := range rows {
		var m map[string]any
		must(t, json.Unmarshal(r.Data, &m))
		out = append(out, m)
	}
	return out
}

// TestWithheldStays is the closed list of what an event still says.
func TestWithheldStays(t *testing.T) {
	s := open(t, t.TempDir())
	spawnAt(t, s, "bob", record.Fork{Context: "c1", Label: hr, Ceiling: label.Unlabelled})
	must(t, s.PutObject(t.Context(), record.Object{ID: "o-1", Version: 1, Label: hr, Made: hr}))
	in := intent(t, s, action.DataRead, "bob", "c1", 0, -1)
	in.Context, in.Decision.ResultLabel, in.Action.Target = in.Args, hr, "o-1"
	in.Action.Args = map[string]any{"item": "o-1"}
	in.Decision.Because, in.Decision.Advice = "because", []record.Finding{{Rule: "r", Severity: 1, Confidence: 0.5, Detail: "xy"}}
	r, err := s.Intend(t.Context(), in)
	must(t, err)
	must(t, s.Settle(t.Context(), record.Outcome{Intent: r.ID, Status: record.Done, Result: record.Result{Label: hr, Output: "four"}}))
	want := map[string]any{
		"alert": "suspicious", "kind": "data.read", "target": "o-1", "principal": "unknown:", "decision": "allow", "intent": 2.0, "context": "c1",
		"labels": map[string]any{"args": hr.String(), "result": hr.String()}, "context_label": hr.String(), "args_label": hr.String(),
		"policy": "set", "rules": []any{"r1"}, "advice": []any{map[string]any{"rule": "r", "severity": 1.0, "confidence": 0.5}},
		"withheld": hr.String(), "bytes": 14.0,
	}
	if diff := cmp.Diff([]map[string]any{want}, events(t, s, "data.read.start")); diff != "" {
		t.Error(diff)
	}
	want = map[string]any{
		"alert": "none", "kind": "data.read", "target": "o-1", "intent": 2.0, "status": "done", "label": hr.String(),
		"cost_micros": 0.0, "seconds": 0.0, "withheld": hr.String(), "bytes": 4.0,
	}
	if diff := cmp.Diff([]map[string]any{want}, events(t, s, "data.read.finish")); diff != "" {
		t.Error(diff)
	}
}

// TestReferenceFromBelow: that a clear context asked for something secret may be
// told, what the answer was may not.
func TestReferenceFromBelow(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	spawn(t, s, "bob", "c1")
	in := intent(t, s, action.DataExtract, "bob", "c1", 0, -1)
	in.Context, in.Args, in.Decision.ResultLabel = in.Args, in.Args.Join(hr), hr
	in.Action.Target = "o-9"
	in.Action.Args = map[string]any{"item": "o-9", "schema": "enum:a,b", "value": canary}
	in.Action.ArgLabels = map[string]label.Label{"item": hr}
	_, err := s.Intend(t.Context(), in)
	must(t, err)
	got := events(t, s, "data.extract.start")[0]
	if diff := cmp.Diff(map[string]any{"item": "o-9", "schema": "enum:a,b"}, got["args"]); diff != "" || got["target"] != "o-9" || got["digest"] != nil {
		t.Errorf("%s %v", diff, got)
	}
	if contains(t, dir, canary) {
		t.Error("the answer is in the files")
	}
}

// TestEvidence: an intent's event says all that it takes to explain it.
func TestEvidence(t *testing.T) {
	s := open(t, t.TempDir())
	spawn(t, s, "bob", "c1")
	in := intent(t, s, action.Exec, "bob", "c1", 0, -1)
	in.Context = in.Args
	in.Decision.Needs = []record.Need{{Count: 2, Group: "owner"}}
	in.Approvals = []record.Approval{{Nonce: "aa", Person: "ann", Groups: []string{"owner"}, KeyID: "SHA256:x"}, {Nonce: "aa", Person: "eve", KeyID: "SHA256:y"}}
	_, err := s.Intend(t.Context(), in)
	must(t, err)
	got := events(t, s, "exec.start")[0]
	want := map[string]any{
		"approvals": []any{
			map[string]any{"person": "ann", "fingerprint": "SHA256:x", "nonce": "aa", "groups": []any{"owner"}},
			map[string]any{"person": "eve", "fingerprint": "SHA256:y", "nonce": "aa", "groups": []any{}},
		},
		"needs": []any{map[string]any{"count": 2.0, "group": "owner"}}, "digest": in.Digest.String(),
		"policy": "set", "context_label": "public/member", "args_label": "public/member",
	}
	for k, v := range want {
		if diff := cmp.Diff(v, got[k]); diff != "" {
			t.Errorf("%s: %s", k, diff)
		}
	}
}
