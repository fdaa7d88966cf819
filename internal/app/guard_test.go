package app

import (
	"bytes"
	"strings"
	"testing"

	"sallyport/internal/record"
)

// TestOpenedIsPlain: what an agent may have named cannot write to the
// operator's terminal.
func TestOpenedIsPlain(t *testing.T) {
	var notes bytes.Buffer
	g := &guarded{boxOf: boxOf{dir: "/src/\x1b]52;c;x\a", program: program{Path: "/src/a\x1b[2Jb"}}, opts: GuardOptions{Notes: &notes}}
	g.opened(record.Result{Data: map[string]any{"tier": "full"}})
	if got := notes.String(); strings.Contains(got, "\x1b") || !strings.Contains(got, `/src/\x1b]52`) {
		t.Errorf("%q", got)
	}
}
