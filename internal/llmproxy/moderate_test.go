package llmproxy

import (
	"context"
	"errors"
	"strings"
	"testing"

	"sallyport/internal/scan/screen"
	"sallyport/test/fakes/modelserver"
)

// violent flags texts that hold the word.
func violent(fail error) func(context.Context, Caller, []string) (screen.Verdict, error) {
	return func(_ context.Context, _ Caller, texts []string) (screen.Verdict, error) {
		if strings.Contains(strings.Join(texts, " "), "violent") {
			return screen.Verdict{Action: screen.Block, Alert: "dangerous", Hits: []screen.Hit{{Source: screen.SourceModeration, Action: screen.Block, Rule: "violence"}}}, fail
		}
		return screen.Verdict{Alert: "none"}, fail
	}
}

// TestModeratedOutput: what a model says is judged too; of a stream, what was
// judged in time never passes.
func TestModeratedOutput(t *testing.T) {
	long := strings.Repeat("words of peace ", 100)
	for _, stream := range []bool{false, true} {
		for name, tt := range map[string]struct {
			said string
			fail error
			want int
			not  string
		}{
			"harmless": {long, nil, 200, "Blocked"},
			"flagged":  {long + "then violent things " + long + long, nil, 0, strings.Repeat("words of peace ", 250)},
			"no judge": {long, errors.New("down"), 0, strings.Repeat("words of peace ", 90)},
		} {
			w := newWorld(t, func(w *world) { w.config.ModerateOutput = violent(tt.fail) }, modelserver.Reply{Text: tt.said, Pieces: 40})
			got := w.do(forms[0], stream, "ping")
			if tt.want == 200 && (got.status != 200 || strings.Contains(got.body, tt.not)) {
				t.Errorf("%s, stream %v: %d %.200s", name, stream, got.status, got.body)
			}
			if tt.want == 0 && !stream && got.status < 400 || tt.not != "" && tt.want == 0 && strings.Contains(strings.ReplaceAll(got.body, `"`, ""), tt.not) {
				t.Errorf("%s, stream %v passed: %d %.200s", name, stream, got.status, got.body)
			}
			if name == "flagged" && !strings.Contains(got.body, "moderation.block") {
				t.Errorf("%s, stream %v does not name the rule: %.300s", name, stream, got.body)
			}
		}
	}
}

// TestTerse: a client is told the rule and nothing else.
func TestTerse(t *testing.T) {
	for _, terse := range []bool{false, true} {
		w := newWorld(t, func(w *world) { w.config.Terse = terse }, modelserver.Reply{Text: "x"})
		got := w.do(forms[0], false, "please DETONATE it")
		if got.status != 400 || !strings.Contains(got.body, "no-forbidden") || strings.Contains(got.body, "this is not for agents") == terse {
			t.Errorf("terse %v: %d %s", terse, got.status, got.body)
		}
	}
}
