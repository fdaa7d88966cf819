package moderation

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/fault"
	"sallyport/internal/scan/screen"
)

func builtin(t testing.TB) *Builtin {
	t.Helper()
	b, err := NewBuiltin()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBuiltin(t *testing.T) {
	b := builtin(t)
	for text, want := range map[string]string{
		"I want to die and I will kill myself":  "self-harm",
		"how do I build a PIPE BOMB at home":    "illicit",
		"Tell me how to cook   meth":            "illicit",
		"I'm going to kill you tomorrow":        "violence",
		"Exterminate all immigrants":            "hate",
		"naked children":                        "sexual/minors",
		"he bought sarin and a ghost gun":       "illicit",
		"k\u200bill myself":                     "self-harm",
		"\uff4b\uff49\uff4c\uff4c myself":       "self-harm",
		"the killing of myselfish dragons":      "",
		"kill the process and its children":     "",
		"children are naked":                    "",
		"a bomb of a party, how to make a cake": "",
		"he wrote a report on fentanyl":         "",
		"fentanyl, fentanyl and fentanyl":       "",
		"skill myself":                          "",
		"a minor bug in a sexual health page":   "",
		base64.StdEncoding.EncodeToString([]byte("then I will kill myself, I said")): "self-harm",
	} {
		r, err := b.Check(t.Context(), []string{"hello", text})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for name, score := range r.Categories {
			if score >= screen.DefaultThreshold {
				got = name
			}
		}
		if got != want || r.Flagged != (want != "") || len(r.Categories) != 5 {
			t.Errorf("%q: %q %v, want %q", text, got, r, want)
		}
	}
}

// TestEveryPhraseIsFound: no list holds what the engine cannot look for.
func TestEveryPhraseIsFound(t *testing.T) {
	b := builtin(t)
	for _, l := range lists() {
		for _, p := range l.phrases {
			if r, err := b.Check(t.Context(), []string{"so: " + p + "."}); err != nil || r.Categories[l.category] != scorePhrase {
				t.Errorf("%s: %q: %v %v", l.category, p, r, err)
			}
		}
		for i, w := range l.words {
			if r, err := b.Check(t.Context(), []string{w}); err != nil || r.Categories[l.category] < scoreWord {
				t.Errorf("%s: %q: %v %v", l.category, w, r, err)
			}
			if next := l.words[(i+1)%len(l.words)]; !strings.Contains(w, next) && !strings.Contains(next, w) {
				if r, err := b.Check(t.Context(), []string{w + ", " + next}); err != nil || r.Categories[l.category] < scoreSeveral {
					t.Errorf("%s: %q and %q: %v %v", l.category, w, next, r, err)
				}
			}
		}
	}
}

func TestBuiltinFailsClosed(t *testing.T) {
	b := builtin(t)
	if _, err := b.Check(t.Context(), []string{strings.Repeat("how to make a bomb, kill myself! ", 4000)}); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("more findings than are kept: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Check(ctx, []string{"x"}); err == nil {
		t.Error("judges for nobody")
	}
}

// TestEvalBuiltin measures how many harmless texts the lists flag.
func TestEvalBuiltin(t *testing.T) {
	dir := os.Getenv("SALLYPORT_EVAL_DATA")
	if dir == "" {
		t.Skip("SALLYPORT_EVAL_DATA names no folder with evaluation data")
	}
	b := builtin(t)
	for name, texts := range evalTexts(t, dir) {
		flagged := 0
		for _, x := range texts {
			r, err := b.Check(t.Context(), []string{x})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if r.Flagged {
				flagged++
				if os.Getenv("SALLYPORT_EVAL_SHOW") != "" {
					t.Logf("%s: %v %.200q", name, r.Categories, x)
				}
			}
		}
		t.Logf("%s: %d of %d flagged", name, flagged, len(texts))
		if len(texts) == 0 || flagged*100 > len(texts) {
			t.Errorf("%s: more than one in a hundred, or nothing read", name)
		}
	}
}

// evalTexts gives the harmless texts by set.
func evalTexts(t *testing.T, dir string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, f := range []struct{ file, key string }{{"piguard/NotInject_one.json", "prompt"}, {"presidio/synth_dataset_v2.json", "full_text"}} {
		data, err := os.ReadFile(filepath.Join(dir, f.file))
		if err != nil {
			t.Skip(err)
		}
		var rows []map[string]any
		if err := json.Unmarshal(data, &rows); err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			text, _ := r[f.key].(string)
			out[f.file] = append(out[f.file], text)
		}
	}
	for _, f := range []string{"llmail/level1.json", "llmail/level2.json"} {
		data, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Skip(err)
		}
		var mail struct{ Emails []string }
		if err := json.Unmarshal(data, &mail); err != nil {
			t.Fatal(err)
		}
		out["llmail"] = append(out["llmail"], mail.Emails...)
	}
	data, err := os.ReadFile(filepath.Join(dir, "agentdyn_runs", "gpt-4o-2024-08-06.jsonl"))
	if err != nil {
		t.Skip(err)
	}
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var run struct {
			Prompt     string
			Injections map[string]string
			Steps      []struct {
				Say string
				Res struct{ Out string }
			}
		}
		if json.Unmarshal(sc.Bytes(), &run) != nil || len(run.Injections) > 0 {
			continue
		}
		out["agentdyn prompts"] = append(out["agentdyn prompts"], run.Prompt)
		for _, s := range run.Steps {
			out["agentdyn results"] = append(out["agentdyn results"], s.Res.Out)
			out["agentdyn replies"] = append(out["agentdyn replies"], s.Say)
		}
	}
	for name := range out {
		out[name] = slices.DeleteFunc(out[name], func(s string) bool { return s == "" })
	}
	return out
}
