package screen

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is a harmless text and the way it is judged.
type sample struct {
	text string
	args bool // arguments of a tool call
}

// TestEvalHarmless measures what the default actions with the seed's lists do
// to harmless texts: docs/monitor-rules.md has the numbers.
func TestEvalHarmless(t *testing.T) {
	dir := os.Getenv("SALLYPORT_EVAL_DATA")
	if dir == "" {
		t.Skip("SALLYPORT_EVAL_DATA names no folder with evaluation data")
	}
	s := compile(t, seed())
	for _, set := range []struct {
		name  string
		list  []sample
		block int // at most
	}{
		{"NotInject", rows(t, dir, "piguard/NotInject_one.json", "prompt"), 0},
		{"llmail", rows(t, dir, "llmail/level1.json", "emails", "llmail/level2.json", "emails"), 0},
		{"Presidio", rows(t, dir, "presidio/synth_dataset_v2.json", "full_text"), 5}, // one template says "transfer all funds", as listed
		{"AgentDyn prompts", traces(t, dir, "prompt"), 0},
		{"AgentDyn results", traces(t, dir, "out"), 0},
		{"AgentDyn replies", traces(t, dir, "say"), 0},
		{"AgentDyn calls", traces(t, dir, "args"), 0},
	} {
		count, hits := map[Action]int{}, map[string]int{}
		for _, x := range set.list {
			v := s.Text([]byte(x.text))
			if x.args {
				v = s.Arguments([]byte(x.text))
			}
			count[v.Action]++
			for _, h := range v.Hits {
				if h.Action >= Alert {
					hits[h.Rule+" "+h.Detail]++
				}
			}
			if w := stream(s, []byte(x.text), 5); !x.args && (w.Action != v.Action || w.Alert != v.Alert) {
				t.Errorf("%s: %v as a whole, %v in pieces: %.300q", set.name, v.Action, w.Action, x.text)
			}
			if v.Action >= Alert && os.Getenv("SALLYPORT_EVAL_SHOW") != "" {
				t.Logf("%s: %v %.300q", set.name, v.Hits, x.text)
			}
		}
		t.Logf("%s: %d texts, pass %d, log %d, alert %d, ask %d, block %d; %v", set.name, len(set.list), count[Pass], count[Log], count[Alert], count[Ask], count[Block], hits)
		if len(set.list) == 0 || count[Block]+count[Ask] > set.block {
			t.Errorf("%s: %d of %d are stopped", set.name, count[Block]+count[Ask], len(set.list))
		}
	}
}

// rows reads one key of every row of files of JSON.
func rows(t *testing.T, dir string, pairs ...string) (out []sample) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		data, err := os.ReadFile(filepath.Join(dir, pairs[i]))
		if err != nil {
			t.Skip(err)
		}
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, row := range list {
			switch x := row.(map[string]any)[pairs[i+1]].(type) {
			case string:
				out = append(out, sample{text: x})
			case []any:
				for _, y := range x {
					out = append(out, sample{text: y.(string)})
				}
			}
		}
	}
	return out
}

// traces reads what is in runs without an attack.
func traces(t *testing.T, dir, what string) (out []sample) {
	t.Helper()
	for _, f := range []string{"gpt-4o-2024-08-06.jsonl", "gpt-4o-mini-2024-07-18.jsonl"} {
		data, err := os.ReadFile(filepath.Join(dir, "agentdyn_runs", f))
		if err != nil {
			t.Skip(err)
		}
		sc := bufio.NewScanner(bytes.NewReader(data))
		sc.Buffer(nil, 16<<20)
		for sc.Scan() {
			var run struct {
				Prompt     string
				User       string `json:"user_task"`
				Injections map[string]string
				Steps      []struct {
					Say   string
					Calls []struct{ Args json.RawMessage }
					Res   struct{ Out string }
				}
			}
			if json.Unmarshal(sc.Bytes(), &run) != nil || len(run.Injections) > 0 || strings.HasPrefix(run.User, "injection") {
				continue
			}
			if what == "prompt" {
				out = append(out, sample{text: run.Prompt})
				continue
			}
			for _, s := range run.Steps {
				if what == "out" && s.Res.Out != "" {
					out = append(out, sample{text: s.Res.Out})
				}
				if what == "say" && s.Say != "" {
					out = append(out, sample{text: s.Say})
				}
				for _, c := range s.Calls {
					if what == "args" {
						out = append(out, sample{string(c.Args), true})
					}
				}
			}
		}
	}
	return out
}
