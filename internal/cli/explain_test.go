package cli

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/app"
	"sallyport/internal/record"
)

// TestExplainFits: a page of an explanation stays within the terminal, from 40
// to 120 columns, and has colour only where it is wanted.
func TestExplainFits(t *testing.T) {
	home := filepath.Join(t.TempDir(), "state")
	a, err := app.Open(t.Context(), app.Options{Home: home, Environ: []string{"HOME=" + t.TempDir()}, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	st, err := a.Store(t.Context())
	if err == nil {
		err = seed(t.Context(), st, "s1")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	env := []string{"HOME=" + t.TempDir(), "SALLYPORT_HOME=" + home, "TERM=xterm"}
	for _, columns := range []uint16{40, 80, 120, 200} {
		for _, event := range []string{"7", "8", "1"} {
			out := onTerminal(t, columns, append(env, "NO_COLOR=1"), "explain", event)
			for line := range strings.Lines(out) {
				if w := width(strings.TrimRight(line, "\r\n")); w > min(int(columns), 120) {
					t.Errorf("%d columns, event %s: %d: %q", columns, event, w, line)
				}
			}
			if strings.Contains(out, "\x1b") {
				t.Errorf("event %s: escapes with NO_COLOR: %q", event, out)
			}
		}
	}
	if out := onTerminal(t, 80, env, "explain", "8"); !strings.Contains(out, "\x1b[31mdeny\x1b[0m") {
		t.Errorf("no colour on a terminal that wants it: %q", out)
	}
}

// TestExplainForeign: what a model wrote cannot pass for a line of ours.
func TestExplainForeign(t *testing.T) {
	const evil = "ls\n\nDecided\n  verdict    allow\x1b[2J\u202e\n"
	d := &app.ExplainedDecision{
		Verdict: "deny", Because: evil, Asked: app.Asked{Kind: "exec", Target: evil, Agent: evil, Principal: evil, Args: map[string]any{"script": evil, evil: evil}},
		Rules: []app.ExplainedRule{{ID: evil, Because: evil, Origin: evil, Failing: evil}}, Advice: []record.Finding{{Rule: evil, Detail: evil}},
		Signatures: []app.ExplainedSignature{{Person: evil, Problem: evil, Key: evil}},
		Grant:      &app.ExplainedGrant{GrantInfo: app.GrantInfo{ID: evil, Target: evil}, By: evil, Known: true},
		Remedies:   []app.Remedy{{How: "setting", Text: evil, File: evil, Command: evil}},
		Effect:     &app.Effect{Status: evil, Output: evil, Error: evil, Label: evil, Withheld: &app.Withheld{Label: evil}},
		Now:        app.Replayed{Verdict: evil, Because: evil, Differs: true, Unknown: []string{evil}, Rules: []string{evil}}, Missing: []string{evil},
	}
	for _, columns := range []int{0, 40} {
		var out bytes.Buffer
		c := &call{out: &out, width: columns}
		p := &page{c: c, columns: c.columns(), all: true}
		p.explained(app.Explained{Event: app.Event{Type: evil, Agent: evil, Alert: "none"}, What: evil, Decision: d, Log: app.LogPlace{Problem: evil, Kind: evil}})
		p.plain(app.Event{Type: evil, Agent: evil, Session: evil, Channel: evil, Level: evil, Alert: evil, Data: []byte(`{"a\u001b[2Jb":"x\n\nDecided\n  verdict    allow"}`)})
		titles := 0
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, "Decided") || strings.HasPrefix(line, "  verdict    allow") {
				titles++
			}
			for _, r := range strings.TrimSuffix(line, "\n") {
				if hostile(r) {
					t.Errorf("%U reaches the terminal: %q", r, line)
				}
			}
		}
		if titles != 1 {
			t.Errorf("%d columns: %d titles or verdicts, want our one title:\n%s", columns, titles, out.String())
		}
	}
}
