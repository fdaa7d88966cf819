package store

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// TestOwnWordsAreNotMasked: a mask sees every text that somebody else chose,
// and none of the fields that are this program's own words.
func TestOwnWordsAreNotMasked(t *testing.T) {
	var saw []string
	s := &Store{opt: Options{Mask: func(v any) any {
		for _, text := range textsOf(v) {
			if text != "none" { // the alert
				saw = append(saw, text)
			}
		}
		return v
	}}}
	in := record.Intent{
		Action: action.Action{Kind: "k", Target: "target", Context: "context", Args: map[string]any{"a": "argument"}}, PolicySet: "set",
		Decision: record.Decision{Verdict: record.Allow, Rules: []string{"rule"}, Because: "because"},
		Reserve:  record.Reservation{Key: "key"}, Grant: "grant",
	}
	intent := s.intentData(in, s.viewOf(in), "target", false)
	outcome := s.outcomeData(record.Outcome{Status: record.Done, Err: "error", Result: record.Result{Output: "output", Data: map[string]any{"d": "detail"}}})
	slices.Sort(saw)
	want := []string{"argument", "because", "context", "detail", "error", "grant", "k", "key", "output", "rule", "target", in.Action.Principal.String()}
	slices.Sort(want)
	if diff := cmp.Diff(want, saw); diff != "" {
		t.Errorf("masked (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		data []byte
		own  map[string]any
	}{
		{intent, map[string]any{"decision": "allow", "policy": "set", "context_label": label.Label{}.String(), "args_label": label.Label{}.String(), "digest": in.Digest.String()}},
		{outcome, map[string]any{"status": "done", "label": label.Label{}.String()}},
	} {
		var got map[string]any
		if err := json.Unmarshal(tt.data, &got); err != nil {
			t.Fatal(err)
		}
		for name, value := range tt.own {
			if got[name] != value {
				t.Errorf("%s is %v, want %v", name, got[name], value)
			}
		}
	}
}

// textsOf lists the strings of a value.
func textsOf(v any) []string {
	var out []string
	switch v := v.(type) {
	case string:
		out = append(out, v)
	case []any:
		for _, e := range v {
			out = append(out, textsOf(e)...)
		}
	case map[string]any:
		for _, e := range v {
			out = append(out, textsOf(e)...)
		}
	}
	return out
}
