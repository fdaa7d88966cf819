package stream

import (
	"bytes"
	"slices"
)

// maxComment bounds a comment line that is passed on.
const maxComment = 1024

// event is one event of the upstream: a Server-Sent Event with its closing
// blank line, or an element of a JSON array with what separates it from the one
// before.
type event struct {
	raw    []byte
	d0, d1 int    // the data in raw
	name   string // of the event field
	data   bool   // there is data
	last   bool   // the end of the array
	calls  []*call
	ahead  bool // it may pass what is held
	look   bool // something in it besides calls may have to be changed
	text   bool // held, it carries text that later text must not overtake
}

// framer cuts the upstream's bytes into events. It keeps what is not whole yet.
type framer struct {
	array bool
	buf   []byte
	seen  int // bytes of buf that were looked at
	line  int // start of the line that seen is in
	begun bool

	depth         int // array: open brackets of the element
	elem          int // array: where it starts
	quoted, slash bool
	open, comma   bool // array: "[" was read, "," was read
	closed        bool
}

var bom = []byte("\xef\xbb\xbf")

// Held gives the bytes that wait in the machine: for the rest of their event, or
// for a call to be judged.
func (m *Machine) Held() int { return m.held + len(m.f.buf) }

// next finds the end of the event that starts b; 0 means more is needed and
// negative that the bytes are no event.
func (f *framer) next(b []byte) int {
	if f.array {
		return f.element(b)
	}
	lf := -1
	for {
		if lf < f.seen {
			if lf = bytes.IndexByte(b[f.seen:], '\n'); lf < 0 {
				lf = len(b)
			} else {
				lf += f.seen
			}
		}
		end, stop := lf, lf+1
		if cr := bytes.IndexByte(b[f.seen:lf], '\r'); cr >= 0 {
			end = f.seen + cr
			stop = end + 1
			if stop == len(b) {
				f.seen = end // a LF may follow and belong to it
				return 0
			}
			if b[stop] == '\n' {
				stop++
			}
		} else if lf == len(b) {
			f.seen = lf
			return 0
		}
		blank := end == f.line || !f.begun && f.line == 0 && bytes.Equal(b[:end], bom)
		f.line, f.seen = stop, stop
		if blank {
			f.line, f.seen = 0, 0
			return stop
		}
	}
}

// element finds the end of an array's next element, or of its closing bracket.
func (f *framer) element(b []byte) int {
	for p := f.seen; p < len(b); p++ {
		c := b[p]
		switch {
		case f.depth == 0:
			if !f.between(c, p) {
				return -1
			}
			if c == ']' {
				f.seen = 0
				return p + 1
			}
		case f.slash:
			f.slash = false
		case f.quoted:
			f.slash, f.quoted = c == '\\', c != '"'
		case c == '"':
			f.quoted = true
		case c == '{' || c == '[':
			f.depth++
		case c == '}' || c == ']':
			if f.depth--; f.depth == 0 {
				f.comma, f.seen = false, 0
				return p + 1
			}
		}
	}
	f.seen = len(b)
	return 0
}

// between takes a byte outside the elements.
func (f *framer) between(c byte, p int) bool {
	switch {
	case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		return true
	case f.closed:
		return false
	case c == '[' && !f.open:
		f.open, f.comma = true, true
		return true
	case c == ',' && f.open && f.begun && !f.comma:
		f.comma = true
		return true
	case c == ']' && f.open && (!f.comma || !f.begun):
		f.closed = true
		return true
	case c == '{' && f.comma:
		f.depth, f.elem = 1, p
		return true
	}
	return false
}

// cut makes an event of the bytes that next found. The original bytes are kept
// if every reader of event streams sees the same in them; otherwise, and if
// they hold more than events need, the event is written anew.
func (f *framer) cut(raw []byte) event {
	first := !f.begun
	f.begun = true
	if f.array {
		if raw[len(raw)-1] == ']' && f.closed {
			return event{raw: raw, last: true}
		}
		return event{raw: raw, d0: f.elem, d1: len(raw), data: true}
	}
	l := lines{e: event{raw: raw}, plain: true}
	lf := -1
	for p := 0; p < len(raw); {
		end, next := lineEnd(raw, p, &lf)
		line, at := raw[p:end], p
		if first && p == 0 && bytes.HasPrefix(line, bom) {
			line, at = line[len(bom):], len(bom)
		}
		l.plain = l.plain && raw[next-1] == '\n'
		l.take(line, at)
		p = next
	}
	switch {
	case l.plain && l.datas < 2 && l.names < 2:
		return l.e
	case l.datas == 0:
		return event{} // nothing is left of it
	}
	return rewritten(l.kept, l.e.name, l.joined)
}

// lines collects what the lines of an event say.
type lines struct {
	e            event
	joined, kept []byte
	plain        bool // every reader sees the same lines
	names, datas int
}

// take reads one line, which is at that place in the event.
func (l *lines) take(line []byte, at int) {
	field, value, colon := bytes.Cut(line, []byte{':'})
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	switch f := string(field); {
	case f == "data" && l.datas == 0:
		l.datas++
		l.joined = slices.Clip(value)
		l.e.d0, l.e.d1, l.e.data = at+len(line)-len(value), at+len(line), true
	case f == "data":
		l.datas++
		l.joined = append(append(l.joined, '\n'), value...)
	case f == "event" && printable(value):
		l.names++
		l.e.name = string(value)
	case f == "" && colon:
		l.plain = l.plain && len(line) <= maxComment && printable(line)
	case (f == "id" || f == "retry") && printable(value):
		l.kept = append(append(l.kept, line...), '\n')
	default:
		l.plain = l.plain && len(line) == 0
	}
}

// rewritten writes an event anew: lines that are kept, its name, its data.
func rewritten(kept []byte, name string, data []byte) event {
	e := event{name: name, data: true, raw: append([]byte(nil), kept...)}
	if name != "" {
		e.raw = append(append(append(e.raw, "event: "...), name...), '\n')
	}
	e.raw = append(e.raw, "data: "...)
	e.d0 = len(e.raw)
	for _, c := range data {
		if c == '\n' {
			c = ' ' // between JSON's words only: inside a string the data would be refused
		}
		e.raw = append(e.raw, c)
	}
	e.d1 = len(e.raw)
	e.raw = append(e.raw, "\n\n"...)
	return e
}

// lineEnd gives the end of the line at p and the start of the next one. The
// line has an end. lf is where the next LF was found the last time, so that
// lines without one do not cost their square.
func lineEnd(b []byte, p int, lf *int) (end, next int) {
	if *lf < p {
		if *lf = bytes.IndexByte(b[p:], '\n'); *lf < 0 {
			*lf = len(b)
		} else {
			*lf += p
		}
	}
	if cr := bytes.IndexByte(b[p:*lf], '\r'); cr >= 0 {
		if p+cr+1 == *lf && *lf < len(b) {
			return p + cr, *lf + 1
		}
		return p + cr, p + cr + 1
	}
	return *lf, *lf + 1
}

// printable tells that every reader sees one line in b.
func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}
