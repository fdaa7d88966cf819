package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"sallyport/internal/agent"
)

// Settings of a Terminal.
type Settings struct {
	In  io.Reader // read in one goroutine as long as the program lives
	Out io.Writer
	// Raw puts the terminal into raw mode and gives the way back; nil leaves the
	// mode alone (tests). See RawMode.
	Raw   func() (restore func(), err error)
	Width func() int // columns; nil = 80
	Color bool       // false honours NO_COLOR
}

// Terminal is the console of a person: a key stops the timer of a prompt, the
// status line shows who thinks, for how long, tokens and money.
type Terminal struct {
	set   Settings
	start sync.Once
	keys  chan byte
	fail  error // why keys was closed; set before

	mu      sync.Mutex
	ticking chan struct{} // closed to stop the status line
	ticked  sync.WaitGroup
	drawn   bool // a status line is on the screen
}

// NewTerminal makes a Terminal.
func NewTerminal(s Settings) *Terminal {
	if s.Width == nil {
		s.Width = func() int { return 80 }
	}
	return &Terminal{set: s, keys: make(chan byte, 256)}
}

func (t *Terminal) read() {
	defer close(t.keys)
	buf := make([]byte, 256)
	for {
		n, err := t.set.In.Read(buf)
		for _, c := range buf[:n] {
			t.keys <- c
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.fail = err
			}
			return
		}
	}
}

// Prompt implements agent.Console.
func (t *Terminal) Prompt(ctx context.Context, text string, timeout *time.Duration, wake <-chan struct{}) (string, agent.Answer, error) {
	restore, err := t.listen()
	if err != nil {
		return "", agent.EOF, err
	}
	defer restore()
	return t.edit(ctx, text, timeout, wake)
}

// listen makes the terminal ready for single keys.
func (t *Terminal) listen() (restore func(), err error) {
	t.start.Do(func() { go t.read() })
	t.stopStatus()
	if t.set.Raw == nil {
		return func() {}, nil
	}
	if restore, err = t.set.Raw(); err != nil {
		return nil, fmt.Errorf("console.raw: %w", err)
	}
	return restore, nil
}

// quiet is how long no key may come before a question is asked.
const quiet = 100 * time.Millisecond

// forget drops what was typed before now: a question is answered by what is
// typed after it was read, never by type-ahead.
func (t *Terminal) forget(ctx context.Context) {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		select {
		case _, open := <-t.keys:
			if !open {
				return
			}
			timer.Reset(quiet)
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// edit shows a prompt and serves keys until the line is over.
func (t *Terminal) edit(ctx context.Context, text string, timeout *time.Duration, wake <-chan struct{}) (string, agent.Answer, error) {
	t.draw(t.paint(agent.FromPrompt, Escape(text)))
	var due <-chan time.Time
	if timeout != nil {
		timer := time.NewTimer(*timeout)
		defer timer.Stop()
		due = timer.C
	}
	var e editor
	for {
		select {
		case c, open := <-t.keys:
			if !open {
				t.draw("\r\n")
				return "", agent.EOF, t.fail
			}
			echo, done := e.key(c)
			t.draw(echo)
			if done {
				return e.line(), e.answer, nil
			}
			if e.touched {
				due, wake = nil, nil // only Enter ends it now
			}
		case <-due:
			t.draw("\r\n")
			return "", agent.Timeout, nil
		case <-wake:
			t.draw("\r\n")
			return "", agent.Wake, nil
		case <-ctx.Done():
			t.draw("\r\n")
			return "", agent.EOF, context.Cause(ctx)
		}
	}
}

// draw writes text as it is; in raw mode a line feed needs its carriage return.
func (t *Terminal) draw(s string) {
	if t.set.Raw != nil {
		s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
	}
	io.WriteString(t.set.Out, s) //nolint:errcheck // a terminal that went away ends the input too
}

// Print implements agent.Console.
func (t *Terminal) Print(v agent.Voice, text string) {
	if text == "" {
		return
	}
	text = Escape(text)
	if v == agent.FromPrompt {
		text = strings.TrimSuffix(text, "\n")
	} else if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wipe()
	io.WriteString(t.set.Out, t.paint(v, text)) //nolint:errcheck // see draw
}

// paint colours text by whose it is.
func (t *Terminal) paint(v agent.Voice, text string) string {
	code := map[agent.Voice]string{agent.FromSystem: "2", agent.FromPrompt: "32", agent.FromModel: "35", agent.FromError: "31"}[v]
	if !t.set.Color || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Status implements agent.Console: a line that counts while something is in
// flight and is gone afterwards.
func (t *Terminal) Status(s agent.Status) {
	t.stopStatus()
	if s.Phase == agent.Idle {
		return
	}
	stop := make(chan struct{})
	t.mu.Lock()
	t.ticking = stop
	t.mu.Unlock()
	began := time.Now()
	t.ticked.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case now := <-tick.C:
				s.Took = now.Sub(began)
				t.mu.Lock()
				t.wipe()
				io.WriteString(t.set.Out, t.paint(agent.FromSystem, fit(Escape(line(s)), t.set.Width()-1))) //nolint:errcheck // see draw
				t.drawn = true
				t.mu.Unlock()
			}
		}
	})
}

func (t *Terminal) stopStatus() {
	t.mu.Lock()
	stop := t.ticking
	t.ticking = nil
	t.mu.Unlock()
	if stop == nil {
		return
	}
	close(stop)
	t.ticked.Wait()
	t.mu.Lock()
	t.wipe()
	t.mu.Unlock()
}

// wipe removes the status line; the caller holds mu.
func (t *Terminal) wipe() {
	if t.drawn {
		io.WriteString(t.set.Out, "\r\x1b[K") //nolint:errcheck // see draw
		t.drawn = false
	}
}

// Close removes the status line.
func (t *Terminal) Close() { t.stopStatus() }

// Confirm asks a yes-or-no question; everything but an explicit yes is no, and
// keys pressed before the question was shown do not count. answered is false if
// the input ended, Ctrl-C was pressed or ctx was cancelled. It may be called
// while a run uses the terminal, between two of its prompts.
func (t *Terminal) Confirm(ctx context.Context, question string) (yes, answered bool, err error) {
	restore, err := t.listen()
	if err != nil {
		return false, false, err
	}
	defer restore()
	t.forget(ctx)
	return verdict(t.edit(ctx, question+choice, nil, nil))
}

// fit cuts a line to n columns, counting runes.
func fit(s string, n int) string {
	s = strings.ReplaceAll(s, "\n", " ")
	if n < 1 || utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n])
}

var _ agent.Console = (*Terminal)(nil)
