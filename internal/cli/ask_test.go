package cli

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"testing"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// TestInterruptedQuestion: Ctrl-C leaves a question that nobody has answered,
// and it is not taken for an answer.
func TestInterruptedQuestion(t *testing.T) {
	never, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var tree commands
	c := &call{ctx: ctx, in: never, out: &output{w: &bytes.Buffer{}}, err: io.Discard, flags: &tree.globals}
	list := []app.Change{{Path: "a", Kind: "added"}, {Path: "b", Kind: "added"}}
	out, confirmed, err := c.choose(nil, app.ChangeSet{}, list)
	if !fault.Is(err, fault.Canceled) || exitCode(err) != exitInterrupted || len(out)+len(confirmed) > 0 {
		t.Errorf("%v, %v, %v", out, confirmed, err)
	}
	if text, err := c.line(bufio.NewReader(never)); text != "" || !fault.Is(err, fault.Canceled) {
		t.Errorf("%q, %v", text, err)
	}
}

// TestQuestionAtTheEnd: the end of the input stops the choosing, and what was
// chosen before stays chosen.
func TestQuestionAtTheEnd(t *testing.T) {
	var tree commands
	c := &call{ctx: t.Context(), in: bytes.NewBufferString("y\n"), out: &output{w: &bytes.Buffer{}}, err: io.Discard, flags: &tree.globals}
	out, _, err := c.choose(nil, app.ChangeSet{}, []app.Change{{Path: "a", Kind: "added"}, {Path: "b", Kind: "added"}})
	if err != nil || len(out) != 1 || out[0].Path != "a" {
		t.Errorf("%v, %v", out, err)
	}
}
