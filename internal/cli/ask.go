package cli

import (
	"bufio"
	"context"

	"sallyport/internal/fault"
)

// line reads what a person types, up to the end of the line. Ctrl-C ends the
// waiting at once with fault.Canceled; the read itself cannot be taken back, so
// in must not be used after that.
func (c *call) line(in *bufio.Reader) (string, error) {
	type typed struct {
		text string
		err  error
	}
	got := make(chan typed, 1)
	go func() {
		text, err := in.ReadString('\n')
		got <- typed{text, err}
	}()
	select {
	case t := <-got:
		return t.text, t.err
	case <-c.ctx.Done():
		return "", fault.Wrap("ask", fault.Canceled, context.Cause(c.ctx))
	}
}
