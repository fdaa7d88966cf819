// Package sse reads Server-Sent Events from an untrusted source.
//
// Invariants: the events do not depend on how the bytes are fragmented; CR, LF
// and CRLF end a line; a line, an event and the whole stream are bounded;
// whatever the bytes are, Next returns an event or an error and never panics.
//
// It imports the standard library only; llm and the proxies may import it.
package sse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Default bounds. A line holds one JSON document of a model's reply; the
// largest seen in practice is a response object that repeats the prompt.
const (
	DefaultMaxLine  = 4 << 20
	DefaultMaxEvent = 8 << 20
	DefaultMaxTotal = 64 << 20
)

// ErrTooLarge is wrapped by the error that tells which bound was exceeded.
var ErrTooLarge = errors.New("event stream too large")

// Limits bounds a stream, in bytes; zero means the default of that field.
type Limits struct {
	Line, Event int
	Total       int64
}

// Event is one dispatched event. Data is valid until the next call of Next.
type Event struct {
	Name string // the event field, "" when absent
	ID   string // the id field of this event, "" when absent
	Data []byte // data lines joined by LF, may be empty only if Name is set
}

// Reader splits a stream into events. It is for one goroutine.
type Reader struct {
	src    io.Reader
	lim    Limits
	buf    []byte // unread bytes are buf[r:w]
	r, w   int
	total  int64
	skipLF bool // the last line ended with CR: a following LF belongs to it
	first  bool // no line was read: a byte order mark may follow
	err    error
	data   []byte
}

// NewReader reads events from src within lim.
func NewReader(src io.Reader, lim Limits) *Reader {
	if lim.Line <= 0 {
		lim.Line = DefaultMaxLine
	}
	if lim.Event <= 0 {
		lim.Event = DefaultMaxEvent
	}
	if lim.Total <= 0 {
		lim.Total = DefaultMaxTotal
	}
	return &Reader{src: src, lim: lim, first: true, buf: make([]byte, 4096)}
}

// Total is the number of bytes taken from the source so far.
func (r *Reader) Total() int64 { return r.total }

// Next gives the next event. io.EOF means the stream ended between lines: an
// event whose lines are complete but whose closing blank line is missing is
// still given first. io.ErrUnexpectedEOF means it ended inside a line. Errors
// that wrap ErrTooLarge name the bound.
func (r *Reader) Next() (Event, error) {
	var ev Event
	r.data = r.data[:0]
	hasData := false
	for {
		line, err := r.line()
		if err != nil {
			if errors.Is(err, io.EOF) && (hasData || ev.Name != "") {
				ev.Data = r.data
				return ev, nil
			}
			return Event{}, err
		}
		if len(line) == 0 {
			if hasData || ev.Name != "" {
				ev.Data = r.data
				return ev, nil
			}
			ev = Event{}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(field) {
		case "data":
			if len(r.data)+len(value)+1 > r.lim.Event {
				return Event{}, fmt.Errorf("sse: an event exceeds %d bytes: %w", r.lim.Event, ErrTooLarge)
			}
			if hasData {
				r.data = append(r.data, '\n')
			}
			r.data = append(r.data, value...)
			hasData = true
		case "event":
			ev.Name = string(value)
		case "id":
			if bytes.IndexByte(value, 0) < 0 {
				ev.ID = string(value)
			}
		}
	}
}

// line gives the next line without its end. The bytes are valid until the next
// call.
func (r *Reader) line() ([]byte, error) {
	for scanned := 0; ; {
		if r.skipLF && r.r < r.w {
			if r.buf[r.r] == '\n' {
				r.r++
			}
			r.skipLF = false
		}
		if i := bytes.IndexAny(r.buf[r.r+scanned:r.w], "\r\n"); i >= 0 {
			end := r.r + scanned + i
			line := r.buf[r.r:end]
			r.skipLF = r.buf[end] == '\r'
			r.r = end + 1
			if r.first {
				r.first = false
				line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
			}
			if len(line) > r.lim.Line {
				return nil, r.lineTooLong()
			}
			return line, nil
		}
		scanned = r.w - r.r
		if scanned > r.lim.Line {
			return nil, r.lineTooLong()
		}
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) && scanned > 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

func (r *Reader) lineTooLong() error {
	return fmt.Errorf("sse: a line exceeds %d bytes: %w", r.lim.Line, ErrTooLarge)
}

// fill reads at least one more byte behind the unread ones.
func (r *Reader) fill() error {
	if r.err != nil {
		return r.err
	}
	if r.r > 0 {
		copy(r.buf, r.buf[r.r:r.w])
		r.w -= r.r
		r.r = 0
	}
	if r.w == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	// A source that returns nothing and no error for ever would spin here.
	for range 100 {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		r.total += int64(n)
		if r.total > r.lim.Total {
			r.err = fmt.Errorf("sse: the stream exceeds %d bytes: %w", r.lim.Total, ErrTooLarge)
			return r.err
		}
		if err != nil {
			r.err = err
			if n == 0 {
				return err
			}
			return nil
		}
		if n > 0 {
			return nil
		}
	}
	r.err = io.ErrNoProgress
	return r.err
}
