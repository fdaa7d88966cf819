package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// keyboard is a run whose operator sits at a terminal.
type keyboard struct {
	*proc
	l    *lab
	tty  *os.File
	from int // what was shown before was already looked at
}

// sit starts a run on a terminal.
func (l *lab) sit(args ...string) *keyboard {
	l.t.Helper()
	l.prepare()
	p := l.command(args...)
	tty, err := pty.StartWithSize(p.cmd, &pty.Winsize{Rows: 50, Cols: 200})
	if err != nil {
		l.t.Fatal(err)
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			_, _ = p.out.Write(buf[:n]) // it never fails
			if err != nil {
				return
			}
		}
	}()
	l.watch(p)
	l.t.Cleanup(func() { _ = tty.Close(); <-copied })
	return &keyboard{proc: p, l: l, tty: tty}
}

// sees waits until the terminal shows a text that was not looked at before.
func (k *keyboard) sees(text string) {
	k.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		out := k.out.String()
		if i := strings.Index(out[k.from:], text); i >= 0 {
			k.from += i + len(text)
			return
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("the terminal does not show %q after\n%s\n=== but\n%s\n%s", text, tail(out[:k.from]), tail(out[k.from:]), k.l.asked())
		}
		time.Sleep(10 * time.Millisecond) // another process has no event to wait for
	}
}

func (k *keyboard) types(text string) {
	k.t.Helper()
	if _, err := k.tty.WriteString(text); err != nil {
		k.t.Fatal(err)
	}
}

// TestTerminalAnswers: at a terminal the operator gives the turns, answers the
// questions and ends the run.
func TestTerminalAnswers(t *testing.T) {
	t.Parallel()
	l := newLab(t, say("echo ran >> ledger"), say("echo ran >> ledger"), say("echo third >> ledger"))
	l.protection, l.pause = "manual", "0"
	k := l.sit("run", l.file("ada.yaml"))
	k.sees("debug@")
	k.types("echo by-the-operator-$((1+1))\r")
	k.sees("by-the-operator-2")
	k.sees("debug@")
	k.types("\r") // the model's turn
	k.sees("| echo ran >> ledger")
	k.sees("[y/N]")
	if l.made("ledger") {
		t.Error("it ran before it was answered")
	}
	k.types("y\r")
	k.sees("debug@")
	if n := l.lines("ledger"); n != 1 {
		t.Errorf("after a yes it ran %d times", n)
	}
	k.types("\r")
	k.sees("[y/N]") // the yes counted once
	k.types("n\r")
	k.sees("said no")
	k.sees("debug@")
	k.types("\r")
	k.sees("[y/N]")
	k.types("yes please\r") // only a plain yes is one
	k.sees("debug@")
	k.types("exit\r")
	r := k.wait(10 * time.Second)
	if r.code != codeOK {
		t.Errorf("exit %d\n%s", r.code, tail(r.out))
	}
	if n := l.lines("ledger"); n != 1 {
		t.Errorf("it ran %d times, one yes was given\n%s", n, tail(r.out))
	}
	l.verify()
}
