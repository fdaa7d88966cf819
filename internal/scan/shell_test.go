package scan

import (
	_ "embed"
	"strings"
	"testing"
)

// shellHidden are destructive scripts, one a line, as somebody would write them
// who hides them from a reader of words; shellWorkaday are scripts of ordinary
// work with the same programs and words.
var (
	//go:embed testdata/shell_hidden.txt
	shellHidden string
	//go:embed testdata/shell_workaday.txt
	shellWorkaday string
)

// TestShellEvaluation states both rates: what is hidden is seen at severity
// High or above, and ordinary work is left alone.
func TestShellEvaluation(t *testing.T) {
	e := compile(t, Options{})
	missed, wrong := 0, 0
	hidden, workaday := strings.Split(strings.TrimSpace(shellHidden), "\n"), strings.Split(strings.TrimSpace(shellWorkaday), "\n")
	for _, line := range hidden {
		if got := argued(t, e, map[string]any{"command": line}); got == "" {
			missed++
			t.Logf("missed: %s", line)
		}
	}
	for _, line := range workaday {
		if got := argued(t, e, map[string]any{"command": line}); got != "" {
			wrong++
			t.Errorf("wrongly found: %s: %s", line, got)
		}
	}
	if missed > 1 { // what xargs is handed is not followed
		t.Errorf("%d hidden scripts are missed", missed)
	}
	t.Logf("%d of %d hidden scripts seen, %d of %d ordinary ones flagged", len(hidden)-missed, len(hidden), wrong, len(workaday))
}
