package screen

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/term"

	"sallyport/internal/fault"
)

// Pipes are the ends of a program that has no terminal.
type Pipes struct {
	In       io.WriteCloser // closed when the input ends; nil: the program has none
	Out, Err io.Reader      // nil: none
}

// Relay copies between a program's pipes and ours until the program has closed
// its output or ctx has ended. A reader that is slow slows the program down.
// When nobody reads our output any more the program's is closed, as in a
// pipeline; the caller must take SIGPIPE, which would end it before that.
// Output to a terminal is filtered, to anything else it passes unchanged. The
// input may still be read when Relay returns: a read cannot be taken back.
func Relay(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, p Pipes) error {
	if p.In != nil {
		go feedPipe(p.In, stdin)
	}
	results := make(chan error, 2)
	n := 0
	for _, way := range []struct {
		w io.Writer
		r io.Reader
	}{{stdout, p.Out}, {stderr, p.Err}} {
		if way.r != nil {
			n++
			go func() { results <- drainPipe(way.w, way.r) }()
		}
	}
	var first error
	for range n {
		select {
		case err := <-results:
			if first == nil {
				first = err
			}
		case <-ctx.Done():
			return fault.Wrap("screen.relay", fault.Canceled, context.Cause(ctx))
		}
	}
	return first
}

// feedPipe copies input. Its errors are the program's end, which the output
// tells too.
func feedPipe(w io.WriteCloser, r io.Reader) {
	if r != nil {
		_, _ = io.Copy(w, r)
	}
	_ = w.Close()
}

func drainPipe(w io.Writer, r io.Reader) error {
	file, ok := w.(*os.File)
	var err error
	if !ok || !term.IsTerminal(int(file.Fd())) {
		_, err = io.Copy(w, r)
	} else {
		err = filterPipe(w, r)
	}
	if c, ok := r.(io.Closer); ok && errors.Is(err, syscall.EPIPE) {
		return pipeError(c.Close()) // nobody reads us, so nobody reads the program: that is its to notice
	}
	return pipeError(err)
}

// filterPipe copies through a Filter and restores the terminal.
func filterPipe(w io.Writer, r io.Reader) error {
	var f Filter
	var out []byte
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		out = f.Append(out[:0], buf[:n])
		if err != nil {
			out = f.Flush(out)
			if f.touched {
				out = f.Restore(out)
			}
		}
		if _, werr := w.Write(out); werr != nil {
			return werr
		}
		if err != nil {
			return err
		}
	}
}

func pipeError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return fault.Wrap("screen.relay", fault.Unavailable, err)
}
