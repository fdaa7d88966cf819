package screen

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"time"

	"sallyport/internal/fault"
)

// Bounds of a recording that is read; it may come from anybody.
const (
	maxLine      = 1 << 20 // bytes of one event
	maxRecording = 1 << 30 // bytes in all
)

// event is one line of a recording.
type event struct {
	at   time.Duration
	kind string // "o" output, "r" size, others
	text string
}

// cast reads an asciicast of version 2.
type cast struct {
	in   *bufio.Reader
	left int64
	head header
}

func corrupt(what string) error {
	return fault.New("screen.recording", fault.Corrupt, "the recording cannot be read: %s; it must be an asciicast of version 2", what)
}

func openCast(r io.Reader) (*cast, error) {
	c := &cast{in: bufio.NewReaderSize(r, 64<<10), left: maxRecording}
	line, err := c.line()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = corrupt("it is empty")
		}
		return nil, err
	}
	if err := json.Unmarshal(line, &c.head); err != nil {
		return nil, corrupt("its first line is no header")
	}
	if c.head.Version != 2 || c.head.Width < 1 || c.head.Height < 1 || c.head.Width > maxParam || c.head.Height > maxParam {
		return nil, corrupt("its header has another version or no size")
	}
	return c, nil
}

// line reads a line of bounded size. A last line that was torn by the death of
// its writer is no line.
func (c *cast) line() ([]byte, error) {
	var line []byte
	for {
		part, err := c.in.ReadSlice('\n')
		line = append(line, part...)
		c.left -= int64(len(part))
		switch {
		case len(line) > maxLine:
			return nil, corrupt("an event is larger than 1 MiB")
		case c.left < 0:
			return nil, corrupt("it is larger than 1 GiB")
		case err == nil:
			return bytes.TrimSpace(line), nil
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fault.Wrap("screen.recording", fault.Unavailable, err)
		}
	}
}

// next gives the next event; io.EOF at the end.
func (c *cast) next() (event, error) {
	for {
		line, err := c.line()
		if err != nil {
			return event{}, err
		}
		if len(line) == 0 {
			continue
		}
		var fields []json.RawMessage
		if err := json.Unmarshal(line, &fields); err != nil || len(fields) != 3 {
			return event{}, corrupt("a line is no event")
		}
		var seconds float64
		var e event
		if json.Unmarshal(fields[0], &seconds) != nil || json.Unmarshal(fields[1], &e.kind) != nil || json.Unmarshal(fields[2], &e.text) != nil ||
			math.IsNaN(seconds) || seconds < 0 || seconds > 1e9 {
			return event{}, corrupt("an event has no time, kind and text")
		}
		e.at = time.Duration(seconds * float64(time.Second))
		return e, nil
	}
}

// PlayOptions say how fast a recording is played.
type PlayOptions struct {
	Speed     float64       // 2 is twice as fast; 0 or less: 1
	IdleLimit time.Duration // longest pause, before Speed; 0: as recorded
}

// Play shows a recording on a terminal in its own time. The recording is
// trusted as little as the program was: what is shown passes the Filter. The
// terminal is restored at the end, also when ctx ends, which is no error.
func Play(ctx context.Context, r io.Reader, w io.Writer, o PlayOptions) error {
	c, err := openCast(r)
	if err != nil {
		return err
	}
	if o.Speed <= 0 {
		o.Speed = 1
	}
	var f Filter
	show := func(b []byte) error {
		if _, err := w.Write(b); err != nil {
			return fault.Wrap("screen.play", fault.Unavailable, err)
		}
		return nil
	}
	err = c.play(ctx, o, func(e event) error { return show(f.Append(nil, []byte(e.text))) })
	if last := show(f.Restore(nil)); err == nil {
		err = last
	}
	return err
}

func (c *cast) play(ctx context.Context, o PlayOptions, show func(event) error) error {
	var before time.Duration
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		e, err := c.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if e.kind != "o" {
			continue
		}
		pause := max(e.at-before, 0)
		if o.IdleLimit > 0 {
			pause = min(pause, o.IdleLimit)
		}
		before = max(e.at, before)
		timer.Reset(time.Duration(float64(pause) / o.Speed))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		if err := show(e); err != nil {
			return err
		}
	}
}

// Text writes what a recording shows as plain lines, without colours and
// movement: a line that was drawn over by a carriage return counts once, what
// was placed elsewhere begins a line of its own.
func Text(r io.Reader, w io.Writer) error {
	c, err := openCast(r)
	if err != nil {
		return err
	}
	var f Filter
	out := bufio.NewWriter(w)
	t := lines{out: out}
	for {
		e, err := c.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(err, out.Flush())
		}
		if e.kind == "o" {
			t.take(f.Append(nil, []byte(e.text)))
		}
	}
	t.end()
	return fault.Wrap("screen.text", fault.Unavailable, out.Flush())
}

// maxTextLine bounds a line of Text, in bytes; a longer one is broken.
const maxTextLine = 64 << 10

// lines makes lines of filtered output.
type lines struct {
	out   *bufio.Writer // keeps its first error for Flush
	line  []byte
	begin bool // a carriage return came
}

func (l *lines) take(b []byte) {
	for len(b) > 0 {
		switch c := b[0]; {
		case c == esc:
			n := sequenceLen(b)
			switch b[n-1] {
			case 'H', 'f', 'd', 'A', 'B', 'E', 'F', 'J':
				if b[1] == '[' {
					l.end()
				}
			}
			b = b[n:]
			continue
		case c == '\n':
			l.newline()
		case c == '\r':
			l.begin = true
		case c == '\b':
			if n := len(l.line); n > 0 {
				l.line = l.line[:n-1]
			}
		case c == '\t' || c >= 0x20:
			if l.begin {
				l.line, l.begin = l.line[:0], false
			}
			if l.line = append(l.line, c); len(l.line) >= maxTextLine {
				l.newline()
			}
		}
		b = b[1:]
	}
}

// end writes a line that has text.
func (l *lines) end() {
	if len(l.line) > 0 {
		l.newline()
	}
}

func (l *lines) newline() {
	l.out.Write(bytes.ToValidUTF8(bytes.TrimRight(l.line, " "), []byte("\ufffd"))) //nolint:errcheck // Flush tells
	l.out.WriteByte('\n')                                                          //nolint:errcheck // Flush tells
	l.line, l.begin = l.line[:0], false
}

// sequenceLen is the length of the sequence that filtered output begins with.
func sequenceLen(b []byte) int {
	switch {
	case len(b) < 2:
		return len(b)
	case b[1] == ']':
		if i := bytes.Index(b, []byte("\x1b\\")); i >= 0 {
			return i + 2
		}
		return len(b)
	case b[1] == '(' || b[1] == ')':
		return min(3, len(b))
	case b[1] != '[':
		return 2
	}
	for i := 2; i < len(b); i++ {
		if b[i] >= 0x40 {
			return i + 1
		}
	}
	return len(b)
}
