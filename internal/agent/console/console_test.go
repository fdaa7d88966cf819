package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/term"

	"sallyport/internal/agent"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\n":               "plain\ttext\n",
		"\x1b]0;title\x07":            "^[]0;title^G",
		"\x1b[2J\x1b[31mred":          "^[[2J^[[31mred",
		"one\r\ntwo\rthree":           "one\ntwo^Mthree",
		"back\b\bspace\x7f":           "back^H^Hspace^?",
		"c1 \u009b31m":                `c1 \x9b31m`,
		"raw \x9b31m":                 `raw \x9b31m`,
		"rtl \u202e\u2066 zero\u200b": `rtl \u202e\u2066 zero\u200b`,
		"grüße 世界":                    "grüße 世界",
	} {
		if got := Escape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzEscape: nothing that drives a terminal is left, in any text.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"\x1b[31m", "\u009b", "\xc2", "\x9b", "a\r\n", "\u202e", "\x1b\\\xc2\x9b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := Escape(s)
		if !utf8.ValidString(out) {
			t.Fatalf("%q is not valid", out)
		}
		for _, r := range out {
			if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r <= 0x9f || agent.Deceptive(r) {
				t.Fatalf("%q still has %U", out, r)
			}
		}
		if again := Escape(out); again != out {
			t.Fatalf("%q is escaped twice to %q", out, again)
		}
	})
}

func TestEditor(t *testing.T) {
	tests := map[string]struct {
		keys   string
		line   string
		answer agent.Answer
		open   bool // the line is not over
		fresh  bool // nothing counts as typed
	}{
		"a line":                 {keys: "ls -la\r", line: "ls -la"},
		"line feed":              {keys: "x\n", line: "x"},
		"blank":                  {keys: "\r", fresh: true},
		"backspace":              {keys: "lx\x7fs\r", line: "ls"},
		"backspace over a rune":  {keys: "é\x7fe\r", line: "e"},
		"backspace at the start": {keys: "\x7f\x7fx\r", line: "x"},
		"kill":                   {keys: "abc\x15d\r", line: "d"},
		"word":                   {keys: "one two  \x17three\r", line: "one three"},
		"arrow":                  {keys: "\x1b[A", open: true, fresh: true},
		"modified key":           {keys: "\x1b[1;5C", open: true, fresh: true},
		"application arrow":      {keys: "\x1bOA\r", fresh: true},
		"alt key":                {keys: "\x1bx\r", fresh: true},
		"text after an arrow":    {keys: "\x1b[Ax\r", line: "x"},
		"end":                    {keys: "\x04", answer: agent.EOF, fresh: true},
		"end inside a line":      {keys: "a\x04", line: "a", open: true},
		"interrupt":              {keys: "\x03", answer: agent.Interrupt, fresh: true},
		"interrupt clears first": {keys: "abc\x03\x03", answer: agent.Interrupt},
		"broken UTF-8":           {keys: "a\xffb\r", line: "ab"},
		"control keys":           {keys: "\x01\x0b\x00\x1ax\r", line: ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var e editor
			over := false
			for i := range len(tt.keys) {
				if over {
					t.Fatalf("the line was over before key %d", i)
				}
				_, over = e.key(tt.keys[i])
			}
			if name == "control keys" { // the unfinished escape swallows x
				return
			}
			if over == tt.open || e.line() != tt.line || e.answer != tt.answer || e.touched == tt.fresh {
				t.Errorf("over %v, line %q, answer %v, touched %v", over, e.line(), e.answer, e.touched)
			}
		})
	}
}

func FuzzEditor(f *testing.F) {
	for _, s := range []string{"ls\r", "\x1b[A\x7f\x17\x15é\x7f\r", "\xff\x7f\x7f\x7f"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, keys []byte) {
		var e editor
		for _, c := range keys {
			echo, over := e.key(c)
			if strings.Contains(echo, "\x1b") {
				t.Fatalf("%q echoes %q", keys, echo)
			}
			if over {
				break
			}
		}
		if l := e.line(); strings.ContainsAny(l, "\x1b\x00\r\n") || !utf8.ValidString(l) {
			t.Fatalf("%q gives %q", keys, l)
		}
	})
}

// screenBuffer is a writer that two goroutines may use.
type screenBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screenBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screenBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestTerminalWaits(t *testing.T) {
	five := 5 * time.Second
	for name, tt := range map[string]struct {
		typing func(w io.Writer, wake chan struct{})
		line   string
		answer agent.Answer
		took   time.Duration
	}{
		"timeout":            {func(io.Writer, chan struct{}) {}, "", agent.Timeout, five},
		"typing holds":       {func(w io.Writer, _ chan struct{}) { fmt.Fprint(w, "a"); time.Sleep(time.Hour); fmt.Fprint(w, "\r") }, "a", agent.Line, time.Hour},
		"erased still holds": {func(w io.Writer, _ chan struct{}) { fmt.Fprint(w, "a\x7f"); time.Sleep(time.Hour); fmt.Fprint(w, "\r") }, "", agent.Line, time.Hour},
		"an arrow does not":  {func(w io.Writer, _ chan struct{}) { fmt.Fprint(w, "\x1b[B") }, "", agent.Timeout, five},
		"wake":               {func(_ io.Writer, wake chan struct{}) { time.Sleep(time.Second); wake <- struct{}{} }, "", agent.Wake, time.Second},
		"end of input":       {func(w io.Writer, _ chan struct{}) { time.Sleep(time.Second); w.(io.Closer).Close() }, "", agent.EOF, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				keys, typist := io.Pipe()
				term := NewTerminal(Settings{In: keys, Out: io.Discard})
				wake := make(chan struct{})
				began := time.Now()
				go tt.typing(typist, wake)
				line, answer, err := term.Prompt(t.Context(), "# ", &five, wake)
				if line != tt.line || answer != tt.answer || err != nil || time.Since(began) != tt.took {
					t.Errorf("%q, %v, %v after %v", line, answer, err, time.Since(began))
				}
				typist.Close()
			})
		})
	}
}

func TestTerminalCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, typist := io.Pipe()
		defer typist.Close()
		term := NewTerminal(Settings{In: keys, Out: io.Discard})
		ctx, cancel := context.WithCancelCause(t.Context())
		boom := errors.New("boom")
		go cancel(boom)
		if _, _, err := term.Prompt(ctx, "# ", nil, nil); !errors.Is(err, boom) {
			t.Errorf("error %v", err)
		}
	})
}

// TestTerminalStatus: progress counts on one line and leaves nothing behind;
// without colour there is no colour; what a model wrote drives nothing.
func TestTerminalStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &screenBuffer{}
		term := NewTerminal(Settings{In: strings.NewReader(""), Out: out})
		term.Status(agent.Status{Agent: "sarah", Phase: agent.Thinking, Detail: "fake/model\x1b[2J", Turn: 2, Tokens: 812, TokenMax: 6000, Cost: 12300})
		time.Sleep(1100 * time.Millisecond)
		term.Print(agent.FromCommand, "out\x1b[31m")
		term.Status(agent.Status{Phase: agent.Idle})
		term.Close()
		got := out.String()
		for _, want := range []string{"sarah thinking: fake/model^[[2J · 0.2s · turn 2 · 812/60", "· 1.0s ·", "\r\x1b[Kout^[[31m\n"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in %q", want, got)
			}
		}
		if rest := strings.ReplaceAll(got, "\r\x1b[K", ""); strings.Contains(rest, "\x1b") {
			t.Errorf("control sequences in %q", rest)
		}
	})
}

func TestColour(t *testing.T) {
	out := &screenBuffer{}
	term := NewTerminal(Settings{In: strings.NewReader(""), Out: out, Color: true})
	term.Print(agent.FromModel, "ls")
	if got := out.String(); got != "\x1b[35mls\n\x1b[0m" {
		t.Errorf("%q", got)
	}
}

// TestRealTerminal uses a pseudo-terminal: keys arrive one by one, nothing is
// echoed twice and the mode is restored after the prompt.
func TestRealTerminal(t *testing.T) {
	master, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminal here: %v", err)
	}
	defer master.Close()
	defer tty.Close()
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	c := NewTerminal(Settings{In: tty, Out: tty, Raw: RawMode(tty), Width: Width(tty)})
	seen := make(chan string, 1)
	go func() {
		var b strings.Builder
		buf := make([]byte, 256)
		for !strings.Contains(b.String(), "# ") {
			n, err := master.Read(buf)
			if err != nil {
				break
			}
			b.Write(buf[:n])
		}
		io.WriteString(master, "echo h\x7fhi\r")
		for !strings.Contains(b.String(), "\r\n") {
			n, err := master.Read(buf)
			if err != nil {
				break
			}
			b.Write(buf[:n])
		}
		seen <- b.String()
	}()
	line, answer, err := c.Prompt(t.Context(), "debug# ", nil, nil)
	if line != "echo hi" || answer != agent.Line || err != nil {
		t.Errorf("%q, %v, %v", line, answer, err)
	}
	if diff := cmp.Diff("debug# echo h\b \bhi\r\n", <-seen); diff != "" {
		t.Errorf("on the screen:\n%s", diff)
	}
	after, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%+v", before) != fmt.Sprintf("%+v", after) {
		t.Error("the terminal's mode was not restored")
	}
	if !IsTerminal(tty) || IsTerminal(os.NewFile(^uintptr(0), "none")) {
		t.Error("IsTerminal is wrong")
	}
}

func TestPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewPlain(strings.NewReader("one\r\ntwo\n"), &out, "sarah")
		for _, want := range []string{"one", "two"} {
			if line, answer, err := p.Prompt(t.Context(), "# ", nil, nil); strings.TrimRight(line, "\r") != want || answer != agent.Line || err != nil {
				t.Errorf("%q, %v, %v", line, answer, err)
			}
		}
		if _, answer, err := p.Prompt(t.Context(), "# ", nil, nil); answer != agent.EOF || err != nil {
			t.Errorf("%v, %v", answer, err)
		}
		p.Print(agent.FromCommand, "a\x1b[2J\nb\n")
		p.Print(agent.FromError, "bad")
		p.Print(agent.FromSystem, "x\ny")
		p.Print(agent.FromSystem, "")
		p.Status(agent.Status{Agent: "sarah", Phase: agent.Thinking})
		p.Status(agent.Status{Agent: "sarah", Phase: agent.Idle, Detail: "echo", Took: 1500 * time.Millisecond, Turn: 1, Tokens: 5, TokenMax: 10})
		want := "[sarah] # \n[sarah] # \n[sarah] # \n[sarah] a^[[2J\n[sarah] b\n[sarah] error: bad\n[sarah] # x\n[sarah] # y\n" +
			"[sarah] # sarah done: echo · 1.5s · turn 1 · 5/10 tokens · $0.0000\n"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestPlainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, w := io.Pipe()
		defer w.Close()
		p := NewPlain(in, io.Discard, "")
		wait := 3 * time.Second
		if _, answer, err := p.Prompt(t.Context(), "# ", &wait, nil); answer != agent.Timeout || err != nil {
			t.Errorf("%v, %v", answer, err)
		}
		nobody := NewPlain(nil, io.Discard, "")
		if _, answer, _ := nobody.Prompt(t.Context(), "# ", nil, nil); answer != agent.EOF {
			t.Errorf("%v", answer)
		}
	})
}

func TestConfirm(t *testing.T) {
	for in, want := range map[string][2]bool{
		"y\n": {true, true}, "YES\n": {true, true}, "\n": {false, true}, "n\n": {false, true}, "yeah\n": {false, true}, "": {false, false},
	} {
		yes, answered, err := NewPlain(strings.NewReader(in), io.Discard, "").Confirm(t.Context(), "run it?")
		if yes != want[0] || answered != want[1] || err != nil {
			t.Errorf("%q: %v, %v, %v", in, yes, answered, err)
		}
	}
}

// TestConfirmForgetsTypeAhead: a yes that was typed before the question was
// shown is no answer to it.
func TestConfirmForgetsTypeAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, typist := io.Pipe()
		defer typist.Close()
		term := NewTerminal(Settings{In: keys, Out: io.Discard})
		go func() {
			fmt.Fprint(typist, "y\r")
			time.Sleep(50 * time.Millisecond)
			fmt.Fprint(typist, "y\r")
			time.Sleep(time.Minute)
			fmt.Fprint(typist, "n\r")
			time.Sleep(time.Minute)
			fmt.Fprint(typist, "yes\r")
			time.Sleep(time.Minute)
			fmt.Fprint(typist, "\x03")
		}()
		for i, want := range [][2]bool{{false, true}, {true, true}, {false, false}} {
			yes, answered, err := term.Confirm(t.Context(), "run it?")
			if yes != want[0] || answered != want[1] || err != nil {
				t.Errorf("question %d: %v, %v, %v", i, yes, answered, err)
			}
		}
	})
}

func TestShared(t *testing.T) {
	var out bytes.Buffer
	w := Shared(&out)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { NewPlain(nil, w, fmt.Sprint(i)).Print(agent.FromCommand, strings.Repeat("x\n", 50)) })
	}
	wg.Wait()
	for line := range strings.SplitSeq(strings.TrimSpace(out.String()), "\n") {
		if !strings.HasSuffix(line, "] x") {
			t.Fatalf("torn line %q", line)
		}
	}
}
