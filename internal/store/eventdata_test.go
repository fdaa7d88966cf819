package store

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"sallyport/internal/action"
	"sallyport/internal/record"
)

// FuzzEventData holds every event's data to what its readers need: valid JSON
// in valid UTF-8, with an alert, of bounded size.
func FuzzEventData(f *testing.F) {
	f.Add("exec", "t", "k", "v\xff", 3, 0.5, "dangerous")
	f.Add("model.call", "", "messages", strings.Repeat("<&>", 30000), 0, math.Inf(1), "x")
	f.Fuzz(func(t *testing.T, kind, target, key, value string, severity int, number float64, alert string) {
		in := record.Intent{Action: action.Action{
			Kind: action.Kind(kind), Target: target,
			Args: map[string]any{key: value, "list": []any{value, number, map[string]any{key: []string{value}}}, "messages": []any{value, key}},
		}}
		in.Decision.Advice = []record.Finding{{Rule: key, Severity: severity, Confidence: number}}
		out := record.Outcome{Err: value, Result: record.Result{Output: value, Findings: in.Decision.Advice, Data: map[string]any{key: number, "alert": alert}}}
		s := &Store{}
		event := s.rowOf(record.Event{Type: kind, Agent: key, Alert: alert, Data: map[string]any{key: value, "n": number}})
		for _, b := range [][]byte{s.wordsOf(in, false).data, s.outcomeData(out), event.data} {
			more, err := with(b, map[string]any{"intent": 1, "target": valid(target)})
			if err != nil {
				t.Fatal(err)
			}
			var m map[string]any
			if err := json.Unmarshal(more, &m); err != nil || !utf8.Valid(more) || len(more) > maxData+8*len(target)+64 {
				t.Fatalf("%v in %d bytes: %.200q", err, len(more), more)
			}
			if a, ok := m["alert"].(string); !ok || a != validAlert(a) {
				t.Fatalf("alert %v", m["alert"])
			}
			if _, err := rowValue("t", eventRow{typ: valid(kind), agent: valid(key), data: more}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
