//go:build unix

package screen

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"sallyport/internal/fault"
)

// tty is the person's terminal in raw mode.
type tty struct {
	in, out int // descriptors; the files below keep them open
	file    *os.File
	old     *term.State
	wakeR   *os.File // readable when the reader is to stop
	wakeW   *os.File
	once    sync.Once
	owes    bool // an answer about the cursor may still come
}

func openTTY(in, out *os.File) (*tty, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fault.Wrap("screen.attach", fault.Unavailable, err)
	}
	t := &tty{in: int(in.Fd()), out: int(out.Fd()), file: out, wakeR: r, wakeW: w}
	if t.old, err = term.MakeRaw(t.in); err != nil {
		return nil, errors.Join(fault.Wrap("screen.attach", fault.Unavailable, err), r.Close(), w.Close())
	}
	return t, nil
}

func (t *tty) size() (rows, cols int, err error) {
	cols, rows, err = term.GetSize(t.out)
	if err != nil {
		return 0, 0, fault.Wrap("screen.size", fault.Unavailable, err)
	}
	if rows < 1 || cols < 1 {
		rows, cols = 24, 80 // a serial line does not know
	}
	return rows, cols, nil
}

func (t *tty) write(b []byte) error {
	if _, err := t.file.Write(b); err != nil {
		return fault.Wrap("screen.write", fault.Unavailable, err)
	}
	return nil
}

// writeSoon writes the last words; a terminal that stalls does not hear them.
func (t *tty) writeSoon(b []byte) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = t.write(b) // nobody is left to hear of it
	}()
	select {
	case <-done:
	case <-time.After(graceful):
	}
}

// restore ends raw mode and stops the reader.
func (t *tty) restore() {
	t.once.Do(func() {
		_ = t.wakeW.Close()           // a pipe of our own
		_ = term.Restore(t.in, t.old) // the terminal may be gone by now
	})
}

// errHangup is the end of the person's terminal.
var errHangup = fault.New("screen.read", fault.Unavailable, "the terminal was closed; what ran on it goes on only if its owner lets it")

// read reads keys. It gives 0 without error after wait, if that is not 0, and
// when over is closed.
func (t *tty) read(buf []byte, wait time.Duration, over <-chan struct{}) (int, error) {
	timeout := -1
	if wait > 0 {
		timeout = int(wait / time.Millisecond)
	}
	fds := []unix.PollFd{{Fd: int32(t.in), Events: unix.POLLIN}, {Fd: int32(t.wakeR.Fd()), Events: unix.POLLIN}} //nolint:gosec // descriptors are small
	for {
		n, err := unix.Poll(fds, timeout)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fault.Wrap("screen.read", fault.Unavailable, err)
		case n == 0 || fds[1].Revents != 0:
			return 0, nil
		}
		select {
		case <-over:
			return 0, nil // what was typed after the end is the shell's
		default:
		}
		n, err = unix.Read(t.in, buf)
		switch {
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
			continue
		case err != nil || n == 0:
			return 0, errHangup
		}
		return n, nil
	}
}

var cursorReport = regexp.MustCompile(`\x1b\[(\d{1,5});(\d{1,5})R`)

// cursor waits for the terminal to tell where its cursor is; 0 if it does not.
// rest is what was typed meanwhile.
func (t *tty) cursor(patience time.Duration) (row, col int, rest []byte) {
	buf := make([]byte, 256)
	for end := time.Now().Add(patience); time.Now().Before(end) && len(rest) < 4<<10; {
		n, err := t.read(buf, max(time.Until(end), time.Millisecond), nil)
		if err != nil || n == 0 {
			break
		}
		rest = append(rest, buf[:n]...)
		if m := cursorReport.FindSubmatchIndex(rest); m != nil {
			row, _ = strconv.Atoi(string(rest[m[2]:m[3]])) // digits
			col, _ = strconv.Atoi(string(rest[m[4]:m[5]]))
			return row, col, bytes.Join([][]byte{rest[:m[0]], rest[m[1]:]}, nil)
		}
	}
	t.owes = true
	return 0, 0, rest
}
