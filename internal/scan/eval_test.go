package scan

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dataDir is the folder of evaluation data; without it these tests have
// nothing to measure and say so.
func dataDir(t *testing.T) string {
	dir := os.Getenv("SALLYPORT_EVAL_DATA")
	if dir == "" {
		t.Skip("SALLYPORT_EVAL_DATA names no folder with evaluation data")
	}
	return dir
}

func readFile(t *testing.T, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Skip(err)
	}
	return data
}

// has reports a finding of one of the classes.
func has(r Result, class ...string) bool {
	for _, f := range r.Findings {
		for _, c := range class {
			if classOf(f.Rule) == c {
				return true
			}
		}
	}
	return false
}

func TestEvalSecretExamples(t *testing.T) {
	dir := dataDir(t)
	e := compile(t, Options{Classes: []string{"secret"}})
	found, all, bad, negatives := 0, 0, 0, 0
	var missed []string
	sc := bufio.NewScanner(bytes.NewReader(readFile(t, dir, "secret_rules", "kingfisher_rule_examples.jsonl")))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var row struct {
			ID                  string
			Examples, Negatives []string
			Negative            []string `json:"negative_examples"`
		}
		if err := json.Unmarshal(sc.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		for _, x := range row.Examples {
			all++
			if has(e.Scan([]byte(x)), "secret") {
				found++
			} else {
				missed = append(missed, row.ID+": "+x)
			}
		}
		for _, x := range row.Negative {
			negatives++
			if has(e.Scan([]byte(x)), "secret") {
				bad++
			}
		}
	}
	t.Logf("%d of %d examples found (%.1f %%), %d of %d negatives", found, all, 100*float64(found)/float64(all), bad, negatives)
	if os.Getenv("SALLYPORT_EVAL_SHOW") != "" {
		for _, m := range missed {
			t.Logf("missed %.160q", m)
		}
	}
	if bad > 0 || found*10 < all*9 {
		t.Errorf("%d negatives are found; of the examples %.1f %%, 90 %% are due", bad, 100*float64(found)/float64(all))
	}
}

// texts collects every string below the given keys of a file of JSON.
func texts(v any, keys ...string) []string {
	var out []string
	switch v := v.(type) {
	case string:
		if len(keys) == 0 {
			out = append(out, v)
		}
	case []any:
		for _, x := range v {
			out = append(out, texts(x, keys...)...)
		}
	case map[string]any:
		for k, x := range v {
			if s, ok := x.(string); ok && len(keys) > 0 {
				for _, key := range keys {
					if k == key {
						out = append(out, s)
					}
				}
			} else {
				out = append(out, texts(x, keys...)...)
			}
		}
	}
	return out
}

func TestEvalHarmlessTexts(t *testing.T) {
	dir := dataDir(t)
	e := compile(t, Options{})
	for _, c := range []struct {
		file string
		keys []string
	}{
		{"piguard/NotInject_one.json", []string{"prompt"}},
		{"llmail/level1.json", nil},
		{"llmail/level2.json", nil},
		{"presidio/synth_dataset_v2.json", []string{"full_text"}},
		{"cyberseceval/prompt_injection.json", []string{"user_input"}},
		{"bipia/text_attack_train.json", nil},
	} {
		var v any
		if err := json.Unmarshal(readFile(t, dir, c.file), &v); err != nil {
			t.Fatal(err)
		}
		list := texts(v, c.keys...)
		classesHit, blocked := map[string]int{}, 0
		for _, x := range list {
			r := e.Scan([]byte(x))
			for _, cl := range classes {
				if has(r, cl) {
					classesHit[cl]++
				}
			}
			for _, f := range r.Findings {
				if f.Block {
					blocked++
					if os.Getenv("SALLYPORT_EVAL_SHOW") != "" && !strings.HasPrefix(c.file, "presidio") {
						t.Logf("%s: %s %q", c.file, f.Rule, x[f.Start:f.End])
					}
					break
				}
			}
			if os.Getenv("SALLYPORT_EVAL_SHOW") != "" && strings.HasPrefix(c.file, "piguard") && len(r.Findings) > 0 {
				t.Logf("%s %q", rulesOf(r), x)
			}
		}
		t.Logf("%s: %d texts, with findings per class %v, with one that may block %d", c.file, len(list), classesHit, blocked)
		if strings.HasPrefix(c.file, "piguard") && blocked > 0 {
			t.Errorf("%d harmless texts could be blocked", blocked)
		}
	}
}

func TestEvalTraces(t *testing.T) {
	dir := dataDir(t)
	e := compile(t, Options{})
	benign, flagged, blocked, attacked, caught := 0, 0, 0, 0, 0
	rules := map[string]int{}
	sc := bufio.NewScanner(bytes.NewReader(readFile(t, dir, "agentdyn_runs", "gpt-4o-2024-08-06.jsonl")))
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var run struct {
			Injections map[string]string
			Attack     string
			Steps      []struct{ Res struct{ Out string } }
		}
		if json.Unmarshal(sc.Bytes(), &run) != nil {
			continue
		}
		for _, s := range run.Injections {
			attacked++
			if has(e.Scan([]byte(s)), "injection") {
				caught++
			}
		}
		for _, s := range run.Steps {
			if len(run.Injections) > 0 || s.Res.Out == "" {
				continue
			}
			benign++
			r := e.Scan([]byte(s.Res.Out))
			if has(r, "injection", "secret", "invisible", "terminal", "exfil") {
				flagged++
				for _, f := range r.Findings {
					rules[f.Rule]++
					if show := os.Getenv("SALLYPORT_EVAL_SHOW"); show != "" && strings.HasPrefix(f.Rule, show) {
						t.Logf("%s %q", f.Rule, s.Res.Out[max(0, f.Start-60):f.End])
					}
				}
			}
			for _, f := range r.Findings {
				if f.Block {
					blocked++
					rules["block "+f.Rule]++
					break
				}
			}
		}
	}
	t.Logf("%d of %d injected texts flagged; of %d honest tool results %d flagged, %d blockable: %v", caught, attacked, benign, flagged, blocked, rules)
}
