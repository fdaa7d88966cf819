//go:build unix

package screen

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"sallyport/internal/fault"
)

func TestAttach(t *testing.T) {
	b := newBench(t, 10, 40, Options{Color: true})
	b.shows("ours")
	if got, err := pty.GetsizeFull(b.program); err != nil || got.Rows != 9 || got.Cols != 40 {
		t.Errorf("the program sees %+v, %v", got, err)
	}
	b.prints("\x1b[2J\x1b[99;1Hlowest\x1b]52;c;?\a\x1b[99Bx")
	b.until("text", func() bool { return b.vt.line(8) == "lowestx" })
	b.shows("ours")
	b.types("ls\r\x03\x1b[A")
	b.receives("ls\r\x03\x1b[A")
	b.types("\x1d\x1d!")
	b.receives("\x1d!")
	b.types("\x1d?")
	b.shows("close this help")
	b.types("\x1d?")
	b.shows("ours")
	if b.s.Counts()[Clipboard] != 1 {
		t.Errorf("counted %v", b.s.Counts().Map())
	}
	if bytes.Contains(b.seen, []byte("\x1b]52")) {
		t.Error("the clipboard was asked for")
	}
}

func allow(text string) Question {
	return Question{Text: text, Keys: []Choice{{'y', "allow"}, {'n', "deny"}}}
}

// answers asks in the background.
func (b *bench) asks(ctx context.Context, q Question) <-chan string {
	out := make(chan string, 1)
	go func() {
		answer, ok, err := b.s.Ask(ctx, q)
		out <- fmt.Sprint(answer, " ", ok, " ", err)
	}()
	return out
}

func (b *bench) expect(answer <-chan string, want string) {
	b.t.Helper()
	select {
	case got := <-answer:
		if got != want {
			b.t.Fatalf("answer %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		b.t.Fatalf("no answer, want %q", want)
	}
}

func (b *bench) unanswered(answer <-chan string) {
	b.t.Helper()
	select {
	case got := <-answer:
		b.t.Fatalf("answered %q", got)
	default:
	}
}

// TestAskOnlyAnsweredByThePerson tries to answer with what is typed for the
// program, what it prints, what its terminal replies, what is pasted and what
// was typed before the question was there.
func TestAskOnlyAnsweredByThePerson(t *testing.T) {
	b := newBench(t, 10, 60, Options{})
	b.shows("ours")
	b.types("\x1d") // ahead of the question
	b.shows("for help")
	first := b.asks(t.Context(), allow("run make?"))
	b.shows("for help")
	b.until("asked", func() bool { b.s.desk.mu.Lock(); defer b.s.desk.mu.Unlock(); return len(b.s.desk.queue) == 1 })
	b.types("y")
	b.shows("run make?  ^] then: [y] allow [n] deny")
	b.unanswered(first)
	b.prints("\x1dy\x1b[6n\x1b[c\x05\x1bP$q\x1dy\x1b\\\x1b]0;\x1dy\a\x1b[21t\x1b[200~")
	b.types("y\ryes\r\x1b[200~\x1dy\x1b[201~\x1b[M !\x1d\x1b]11;rgb:\x1dy\x1b\\\x1b[1;1R.")
	b.receives("\x1b]11;rgb:\x1dy\x1b\\\x1b[1;1R.")
	b.unanswered(first)
	second := b.asks(t.Context(), allow("second"))
	b.shows("(1 of 2) run make?")
	b.types("\x1d\x1b[5;5R\x1b[Iy") // replies in between do not disturb
	b.expect(first, "allow true <nil>")
	b.shows("second")
	b.types("\x1dx\x1dn")
	b.expect(second, "deny true <nil>")
	b.shows("ours")
	if strings.Contains(string(b.got), "\x1b[200~") {
		t.Error("a program that did not ask for them got marks of a paste")
	}
}

// TestAskReplaced: a program takes a question back and asks another while the
// person is about to answer the first.
func TestAskReplaced(t *testing.T) {
	b := newBench(t, 10, 70, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	first := b.asks(ctx, allow("harmless?"))
	b.shows("harmless?")
	cancel()
	b.expect(first, " false <nil>")
	b.shows("ours")
	second := b.asks(t.Context(), allow("evil?"))
	b.shows("another question, press twice: evil?")
	b.types("\x1dy") // meant for the first
	b.shows("evil?  ^] then: [y] allow [n] deny")
	b.until("one press less", func() bool { return !strings.Contains(b.last(), "twice") })
	b.unanswered(second)
	b.types("\x1dn")
	b.expect(second, "deny true <nil>")
	third := b.asks(t.Context(), allow("third?"))
	b.shows("third?")
	b.types("\x1dy")
	b.expect(third, "allow true <nil>")
}

// TestAskKeyboardProtocol: a program that switches the keyboard to sequences
// does not hide the prefix key.
func TestAskKeyboardProtocol(t *testing.T) {
	b := newBench(t, 10, 60, Options{})
	for _, keys := range []string{"\x1b[93;5uy", "\x1b[93;5:1u\x1b[93;5:3u\x1b[121u", "\x1b[27;5;93~y", "\x1b[93;69uy"} {
		answer := b.asks(t.Context(), allow("run?"))
		b.shows("run?")
		b.types(keys)
		b.expect(answer, "allow true <nil>")
		b.shows("ours")
	}
	b.types("\x1b[93;1u\x1b[13;5u")
	b.receives("\x1b[93;1u\x1b[13;5u")
}

// TestAskLong: a question that does not fit is answered only after its end was
// shown.
func TestAskLong(t *testing.T) {
	b := newBench(t, 10, 60, Options{})
	answer := b.asks(t.Context(), allow("run ls"+strings.Repeat(" ", 40)+"; rm -rf \u202e\n~"))
	b.shows("1/")
	for !strings.Contains(b.screenLast(), "deny") {
		before := b.screenLast()
		b.types("\x1dy")
		b.until("next page", func() bool {
			return b.last() != before && strings.Contains(b.last(), "space") && !strings.Contains(b.last(), "for help")
		})
		b.unanswered(answer)
	}
	b.mu.Lock()
	if !bytes.Contains(b.seen, []byte(`\u202e`)) {
		t.Error("the override is not shown")
	}
	b.mu.Unlock()
	b.types("\x1dy")
	b.expect(answer, "allow true <nil>")
}

func (b *bench) screenLast() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last()
}

func TestAskEnds(t *testing.T) {
	b := newBench(t, 10, 60, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	answer := b.asks(ctx, allow("run?"))
	b.shows("run?")
	cancel()
	b.expect(answer, " false <nil>")
	b.shows("ours")
	for _, q := range []Question{{Text: "x"}, {Text: "x", Keys: []Choice{{'?', "a"}}}, {Text: "x", Keys: []Choice{{'a', "a"}, {'a', "b"}}}, {Text: "x", Keys: []Choice{{'\r', "a"}}}} {
		if _, ok, err := b.s.Ask(t.Context(), q); ok || !fault.Is(err, fault.Usage) {
			t.Errorf("%v: %v, %v", q.Keys, ok, err)
		}
	}
	answer = b.asks(t.Context(), allow("last?"))
	b.shows("last?")
	b.s.Close()
	select {
	case got := <-answer:
		if !strings.HasPrefix(got, " false screen.ask") {
			t.Errorf("answer %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("the question outlives the screen")
	}
}

// TestFlood: a program that prints without end and reads nothing leaves the
// keys and the status line to the person.
func TestFlood(t *testing.T) {
	commands := make(chan byte, 1)
	b := newBench(t, 10, 60, Options{Commands: func(key byte) { commands <- key }, Help: "k ends it"})
	b.prints("\x1b[?2004h")
	go func() {
		text := []byte(strings.Repeat("y\x1b[2J\x1b[99;99Hy\r\n", 500))
		for {
			if _, err := b.program.Write(text); err != nil {
				return
			}
		}
	}()
	b.until("output", func() bool { return len(b.seen) > 1<<16 })
	answer := b.asks(t.Context(), allow("stop it?"))
	b.shows("stop it?")
	b.types("\x1dn")
	b.expect(answer, "deny true <nil>")
	b.types("\x1d?")
	b.shows("then: k ends it, ? close this help")
	b.types("\x1d?\x1dk")
	select {
	case key := <-commands:
		if key != 'k' {
			t.Errorf("command %q", key)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the command was not heard")
	}
}

func TestResize(t *testing.T) {
	b := newBench(t, 10, 40, Options{})
	b.shows("ours")
	for _, to := range []size{{14, 50}, {7, 20}, {3, 30}, {12, 30}} {
		b.mu.Lock()
		b.vt.resize(to.rows, to.cols, to.rows-1)
		b.mu.Unlock()
		b.size(to.rows, to.cols)
		syscall.Kill(os.Getpid(), syscall.SIGWINCH)
		if to.rows < leastRows {
			answer := b.asks(t.Context(), allow("small?"))
			b.until("question", func() bool { return strings.Contains(strings.Join(b.lines(), "|"), "small?") })
			b.prints("waits")
			b.types("\x1dy")
			b.expect(answer, "allow true <nil>")
			b.until("output after the question", func() bool { return strings.Contains(strings.Join(b.lines(), "|"), "waits") })
			continue
		}
		b.shows("ours")
		b.prints("\x1b[99;1Hlow")
		b.until("text above the row", func() bool { return strings.HasPrefix(b.vt.line(to.rows-2), "low") })
		if got, err := pty.GetsizeFull(b.program); err != nil || int(got.Rows) != to.rows-1 || int(got.Cols) != to.cols {
			t.Errorf("the program sees %+v, %v", got, err)
		}
	}
}

func (b *bench) lines() (all []string) {
	for i := range b.vt.rows {
		all = append(all, b.vt.line(i))
	}
	return all
}

// TestClose: whatever the program has switched on, the terminal is as it was.
func TestClose(t *testing.T) {
	for name, end := range map[string]func(b *bench, cancel func()) (fault.Kind, bool){
		"close":   func(b *bench, _ func()) (fault.Kind, bool) { b.s.Close(); return 0, false },
		"program": func(b *bench, _ func()) (fault.Kind, bool) { b.program.Close(); return 0, false },
		"context": func(_ *bench, cancel func()) (fault.Kind, bool) { cancel(); return fault.Canceled, true },
		"panic": func(b *bench, _ func()) (kind fault.Kind, fails bool) {
			defer func() { _ = recover() }()
			defer b.s.Close()
			panic("a defect")
		},
	} {
		t.Run(name, func(t *testing.T) {
			terminal, tty := open(t)
			b := &bench{t: t, terminal: terminal, tty: tty, vt: newVT(10, 40)}
			b.news = sync.NewCond(&b.mu)
			b.size(10, 40)
			b.master, b.program = open(t)
			before, err := term.GetState(int(tty.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			go b.emulate()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if b.s, err = Attach(ctx, real{b.master}, Options{In: tty, Out: tty, Status: func() string { return "ours" }}); err != nil {
				t.Fatal(err)
			}
			b.prints("\x1b[?1049h\x1b[?1003h\x1b[?1006h\x1b[?25l\x1b[>1u\x1b[31m\x1b[2;5r\x1b[?2026hdone")
			b.until("output", func() bool { return strings.Contains(strings.Join(b.lines(), ""), "done") })
			kind, fails := end(b, cancel)
			if err := b.s.Wait(); fails != (err != nil) || fails && !fault.Is(err, kind) {
				t.Errorf("ended with %v", err)
			}
			after, err := term.GetState(int(tty.Fd()))
			if err != nil || fmt.Sprintf("%+v", before) != fmt.Sprintf("%+v", after) {
				t.Errorf("the terminal's mode was not restored: %v", err)
			}
			for _, want := range []string{"\x1b[?1049l", "\x1b[?1003l", "\x1b[?1006l", "\x1b[?25h", "\x1b[<1u", "\x1b[?2004l", "\x1b[?2026l", "\x1b[m", "\x1b[r", "\x1b[23;2t"} {
				b.until(want, func() bool { return bytes.Contains(b.seen, []byte(want)) })
			}
			b.until("our row is gone", func() bool { return b.last() == "" })
			if b.vt.bottom != 9 || b.vt.alt {
				t.Error("margins or screen are left behind")
			}
		})
	}
}

// TestHangup: when the person's terminal goes away Attach ends.
func TestHangup(t *testing.T) {
	b := newBench(t, 10, 40, Options{})
	b.shows("ours")
	b.terminal.Close()
	if err := b.s.Wait(); !fault.Is(err, fault.Unavailable) {
		t.Errorf("ended with %v", err)
	}
}

func TestAttachRefuses(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	_, tty := open(t)
	master, _ := open(t)
	for name, o := range map[string]Options{"pipes": {In: r, Out: w}, "nothing": {}, "output": {In: tty, Out: w}, "prefix": {In: tty, Out: tty, Prefix: 'a'}} {
		if _, err := Attach(t.Context(), real{master}, o); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
