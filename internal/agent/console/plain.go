package console

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"sallyport/internal/agent"
)

// maxLine bounds a line of input, in bytes.
const maxLine = 1 << 20

// Plain writes lines without colour or movement and reads lines from a pipe.
// Several runs may share a writer through Shared.
type Plain struct {
	out    io.Writer
	prefix string

	start sync.Once
	in    io.Reader
	lines chan string
	fail  error // why lines was closed; set before
}

// NewPlain makes a console that reads in, which may be nil if nobody answers,
// and writes out. A prefix, such as an agent's name, begins each line of
// output.
func NewPlain(in io.Reader, out io.Writer, prefix string) *Plain {
	return &Plain{in: in, out: out, prefix: prefix, lines: make(chan string)}
}

// read feeds lines; it ends with the input.
func (p *Plain) read() {
	defer close(p.lines)
	if p.in == nil {
		return
	}
	s := bufio.NewScanner(p.in)
	s.Buffer(make([]byte, 4096), maxLine)
	for s.Scan() {
		p.lines <- s.Text()
	}
	p.fail = s.Err()
}

// Prompt implements agent.Console.
func (p *Plain) Prompt(ctx context.Context, text string, timeout *time.Duration, wake <-chan struct{}) (string, agent.Answer, error) {
	p.start.Do(func() { go p.read() })
	p.write(text)
	var due <-chan time.Time
	if timeout != nil {
		t := time.NewTimer(*timeout)
		defer t.Stop()
		due = t.C
	}
	select {
	case line, open := <-p.lines:
		switch {
		case open:
			return line, agent.Line, nil
		case p.fail != nil:
			return "", agent.EOF, fmt.Errorf("console.read: %w", p.fail)
		}
		return "", agent.EOF, nil
	case <-due:
		return "", agent.Timeout, nil
	case <-wake:
		return "", agent.Wake, nil
	case <-ctx.Done():
		return "", agent.EOF, context.Cause(ctx)
	}
}

// Print implements agent.Console.
func (p *Plain) Print(v agent.Voice, text string) {
	if text == "" {
		return
	}
	switch v {
	case agent.FromError:
		text = "error: " + text
	case agent.FromSystem:
		text = "# " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n# ")
	default:
	}
	p.write(text)
}

// Status implements agent.Console: one line when something has ended or a pause
// begins.
func (p *Plain) Status(s agent.Status) {
	if s.Phase != agent.Idle && s.Phase != agent.Waiting {
		return
	}
	p.write("# " + line(s))
}

func (p *Plain) write(text string) {
	var b strings.Builder
	for l := range strings.SplitSeq(strings.TrimSuffix(Escape(text), "\n"), "\n") {
		if p.prefix != "" {
			b.WriteString("[" + p.prefix + "] ")
		}
		b.WriteString(l + "\n")
	}
	io.WriteString(p.out, b.String()) //nolint:errcheck // a reader that went away must not stop the run
}

// line renders a status: who, what, how long, tokens, money.
func line(s agent.Status) string {
	what := map[agent.Phase]string{agent.Thinking: "thinking", agent.Running: "running", agent.Waiting: "waiting", agent.Idle: "done"}[s.Phase]
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", s.Agent, what)
	if s.Detail != "" {
		b.WriteString(": " + strings.ReplaceAll(s.Detail, "\n", " "))
	}
	fmt.Fprintf(&b, " · %.1fs · turn %d · %d/%d tokens · $%.4f", s.Took.Seconds(), s.Turn, s.Tokens, s.TokenMax, s.Cost.Dollars())
	return b.String()
}

// Shared makes a writer that several consoles may write to: each Write is whole.
func Shared(w io.Writer) io.Writer { return &shared{w: w} }

type shared struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

// Confirm asks a yes-or-no question; everything but an explicit yes is no.
// answered is false if the input ended or ctx was cancelled. The answer is the
// next line of the input, so only give it an input that a person is at.
func (p *Plain) Confirm(ctx context.Context, question string) (yes, answered bool, err error) {
	return verdict(p.Prompt(ctx, question+choice, nil, nil))
}

// choice ends a question; the default is no.
const choice = " [y/N] "

// verdict reads what was answered to a question.
func verdict(text string, answer agent.Answer, err error) (yes, answered bool, _ error) {
	if err != nil || answer != agent.Line {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
		return false, false, err
	}
	text = strings.ToLower(strings.TrimSpace(text))
	return text == "y" || text == "yes", true, nil
}

var _ agent.Console = (*Plain)(nil)
