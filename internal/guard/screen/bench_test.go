//go:build unix

package screen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// real is a program's side of a kernel pseudo-terminal.
type real struct{ *os.File }

func (r real) Resize(rows, cols uint16) error {
	return resizePTY(r.File, rows, cols)
}

func resizePTY(f *os.File, rows, cols uint16) error {
	c, err := f.SyscallConn() // Fd would make the file block
	if err != nil {
		return err
	}
	failed := c.Control(func(fd uintptr) {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
	return errors.Join(failed, err)
}

// bench is a person's terminal (a model behind a kernel pseudo-terminal), a
// program's, and a Screen between them.
type bench struct {
	t        *testing.T
	s        *Screen
	terminal *os.File // what the person's emulator holds
	tty      *os.File // the other side, given to Attach
	program  *os.File // what a program would have as its terminal
	master   *os.File

	mu   sync.Mutex
	news *sync.Cond
	vt   *vt
	seen []byte // all that came to the person's terminal
	got  []byte // all that came to the program
}

func open(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatalf("no pseudo-terminal: %v", err)
	}
	fd, err := unix.Dup(int(master.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	master.Close()
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "master") // Close ends a Read now
	t.Cleanup(func() { master.Close(); tty.Close() })
	return master, tty
}

func newBench(t *testing.T, rows, cols int, o Options) *bench {
	b := &bench{t: t, vt: newVT(rows, cols)}
	b.news = sync.NewCond(&b.mu)
	b.terminal, b.tty = open(t)
	b.master, b.program = open(t)
	if _, err := term.MakeRaw(int(b.program.Fd())); err != nil {
		t.Fatal(err)
	}
	b.size(rows, cols)
	go b.emulate()
	go b.collect()
	o.In, o.Out = b.tty, b.tty
	if o.Status == nil {
		o.Status = func() string { return "ours" }
	}
	s, err := Attach(t.Context(), real{b.master}, o)
	if err != nil {
		t.Fatal(err)
	}
	b.s = s
	t.Cleanup(func() { b.program.Close(); b.master.Close(); s.Close() })
	return b
}

func (b *bench) size(rows, cols int) {
	if err := (real{b.terminal}).Resize(uint16(rows), uint16(cols)); err != nil {
		b.t.Fatal(err)
	}
}

// emulate is the person's emulator: it draws and answers where its cursor is.
func (b *bench) emulate() {
	var rest []byte
	buf := make([]byte, 4096)
	for {
		n, err := b.terminal.Read(buf)
		if err != nil {
			return
		}
		b.mu.Lock()
		b.seen = append(b.seen, buf[:n]...)
		rest = append(rest, buf[:n]...)
		answer := ""
		for len(rest) > 0 && whole(rest) {
			if bytes.HasPrefix(rest, []byte("\x1b[6n")) {
				answer += fmt.Sprintf("\x1b[%d;%dR", b.vt.row+1, min(b.vt.col, b.vt.cols-1)+1)
			}
			rest = rest[b.vt.one(rest):]
		}
		b.news.Broadcast()
		b.mu.Unlock()
		io.WriteString(b.terminal, answer)
	}
}

// whole tells whether b begins with something complete.
func whole(b []byte) bool {
	if b[0] != esc {
		return b[0] < 0x80 || len(b) >= 4 || len([]rune(string(b))) > 0 && !strings.HasPrefix(string(b), "\ufffd")
	}
	n := sequenceLen(b)
	switch {
	case len(b) < 2:
		return false
	case b[1] == ']':
		return bytes.Contains(b, []byte("\x1b\\"))
	case b[1] == '[':
		return n > 2 && b[n-1] >= 0x40
	case b[1] == '(' || b[1] == ')':
		return len(b) >= 3
	}
	return true
}

func (b *bench) collect() {
	buf := make([]byte, 4096)
	for {
		n, err := b.program.Read(buf)
		if err != nil {
			return
		}
		b.mu.Lock()
		b.got = append(b.got, buf[:n]...)
		b.news.Broadcast()
		b.mu.Unlock()
	}
}

// until waits until the person's terminal or the program has what is expected.
func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	late := time.AfterFunc(10*time.Second, func() { b.mu.Lock(); b.news.Broadcast(); b.mu.Unlock() })
	defer late.Stop()
	began := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for !ok() {
		if time.Since(began) > 9*time.Second {
			var rows []string
			for i := range b.vt.rows {
				rows = append(rows, b.vt.line(i))
			}
			b.t.Fatalf("never came: %s\nscreen:\n%s\nprogram got %q", what, strings.Join(rows, "\n"), b.got)
		}
		b.news.Wait()
	}
}

func (b *bench) last() string { return b.vt.line(b.vt.rows - 1) }

func (b *bench) shows(text string) {
	b.t.Helper()
	b.until("last row "+text, func() bool { return strings.Contains(b.last(), text) })
}

func (b *bench) receives(text string) {
	b.t.Helper()
	b.until("input "+text, func() bool { return strings.Contains(string(b.got), text) })
}

func (b *bench) types(keys string)  { io.WriteString(b.terminal, keys) }
func (b *bench) prints(text string) { io.WriteString(b.program, text) }
