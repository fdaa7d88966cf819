package alert

import (
	"context"
	"path/filepath"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// Run starts a program with arguments, a clean environment and stdin, waits for
// its end and gives an error unless it exits with 0. It is never a shell's
// matter, and the program must be gone when Run returns.
type Run func(ctx context.Context, argv []string, stdin []byte) error

// Command hands an alert to a program: a Message as JSON on standard input.
type Command struct {
	name string
	argv []string
	run  Run
}

// NewCommand makes a command sink. The program is an absolute path, because
// what PATH would find may be somebody else's.
func NewCommand(name string, argv []string, run Run) (*Command, error) {
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return nil, fault.New("alert.command", fault.Config, "the command of alert sink %q must begin with the absolute path of a program", name)
	}
	return &Command{name: name, argv: argv, run: run}, nil
}

// Name implements Sink.
func (c *Command) Name() string { return c.name }

// Send implements Sink.
func (c *Command) Send(ctx context.Context, a record.Alert, d Detail) error {
	body, err := encodeMessage(a, d)
	if err != nil {
		return fault.Wrap("alert.command", fault.Internal, err)
	}
	if err := c.run(ctx, c.argv, append(body, '\n')); err != nil {
		return &fault.Error{Op: "alert.command", Kind: fault.Unavailable, Public: "the command of alert sink " + c.name + " failed", Err: err}
	}
	return nil
}
