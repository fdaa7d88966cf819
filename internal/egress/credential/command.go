package credential

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"sallyport/internal/fault"
)

// commandEnv is what a password manager's client needs to find its files, its
// service and its locale; it is given nothing else.
var commandEnv = []string{"PATH", "HOME", "USER", "LANG", "LC_ALL", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS"}

// errTooLong ends a command that prints too much.
var errTooLong = errors.New("too much output")

// bounded takes at most maxSecret bytes. It embeds no buffer: the buffer's
// other methods would take more.
type bounded struct {
	buf  []byte
	over bool // more came
}

// Write refuses what no longer fits.
func (b *bounded) Write(p []byte) (int, error) {
	if len(b.buf)+len(p) > maxSecret {
		b.over = true
		return 0, errTooLong
	}
	b.buf = append(b.buf, p...)
	return len(p), nil
}

// readCommand runs the operator's own program and takes what it prints. Its
// standard error is dropped: a password manager may repeat the secret there.
func readCommand(ctx context.Context, argv []string, lookup func(string) (string, bool)) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:forbidigo // the operator's own command
	var out bounded
	cmd.Stdout = &out
	cmd.Env = []string{} // nil would mean: everything
	for _, name := range commandEnv {
		if v, ok := lookup(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	endWithChildren(cmd)
	cmd.WaitDelay = time.Second // a grandchild that keeps the pipe open
	err := cmd.Run()
	if err == nil {
		return out.buf, nil
	}
	clear(out.buf)
	refuse := func(kind fault.Kind, why string) error {
		return &fault.Error{Op: opRead, Kind: kind, Public: fmt.Sprintf("the secret's command %s %s", argv[0], why), Err: err}
	}
	var exit *exec.ExitError
	switch {
	case out.over: // the command, cut off, may end in any way
		return nil, tooLong("the command " + argv[0])
	case ctx.Err() != nil || errors.Is(err, exec.ErrWaitDelay):
		return nil, refuse(fault.Unavailable, fmt.Sprintf("did not end within %s; it must not ask questions, so unlock it before", commandLimit))
	case errors.As(err, &exit):
		return nil, refuse(fault.Unavailable, fmt.Sprintf("ended with %s; run it by hand to see why", exit.ProcessState))
	}
	return nil, refuse(fault.Config, "cannot be started; give a program and its arguments as a list, there is no shell")
}
