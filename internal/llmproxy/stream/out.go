package stream

import (
	"slices"
	"strings"

	"sallyport/internal/llmproxy/wire"
)

// edit replaces the bytes from a to b of an event's data.
type edit struct {
	a, b int32
	s    string
}

// change notes an edit for the event that is passed on next.
func (m *Machine) change(a, b int32, s string) { m.edits = append(m.edits, edit{a, b, s}) }

// value notes that a value is written anew.
func (m *Machine) value(i int, s string) { m.change(m.doc.tape[i].v0, m.doc.tape[i].v1, s) }

// remove notes that a member of an object goes, with one of the commas around.
func (m *Machine) remove(obj, i int) {
	d := &m.doc
	start, end := d.tape[i].k0-1, d.tape[i].v1
	switch prev := d.before(obj, i); {
	case prev != 0:
		start = d.tape[prev].v1
	case d.tape[i].next < d.tape[obj].next:
		end = d.tape[d.tape[i].next].k0 - 1
	}
	m.change(start, end, "")
}

// before gives the member in front of i, 0 if there is none.
func (d *doc) before(obj, i int) int {
	prev := 0
	for j := obj + 1; j < i; j = int(d.tape[j].next) {
		prev = j
	}
	return prev
}

// edited hands an event on with what was noted.
func (m *Machine) edited(e *event) {
	if len(m.edits) == 0 {
		m.put(e.raw)
		return
	}
	slices.SortStableFunc(m.edits, func(x, y edit) int { return int(x.a) - int(y.a) })
	b, at := make([]byte, 0, len(e.raw)+256), 0
	for _, x := range m.edits {
		b = append(b, e.raw[at:e.d0+int(x.a)]...)
		b = append(b, x.s...)
		at = e.d0 + int(x.b)
	}
	m.put(append(b, e.raw[at:]...))
	m.edits = m.edits[:0]
}

// put hands bytes on. Neighbours in the upstream's bytes are not copied.
func (m *Machine) put(b []byte) {
	n := len(m.run)
	switch {
	case len(b) == 0:
	case n == 0:
		m.run = b
	case m.gather == nil && cap(m.run) > n && &m.run[:n+1][n] == &b[0]:
		m.run = m.run[:n+len(b)]
	default:
		if m.gather == nil {
			m.gather = append(make([]byte, 0, 2*(n+len(b))), m.run...)
		}
		m.gather = append(m.gather, b...)
		m.run = m.gather
	}
}

// flush calls Out.
func (m *Machine) flush() error {
	b := m.run
	m.run, m.gather = nil, nil
	if len(b) == 0 {
		return nil
	}
	m.any = true
	if err := m.o.Out(b); err != nil {
		return outError{err}
	}
	return nil
}

// putEvent hands on an event of our own.
func (m *Machine) putEvent(name, data string) {
	if name == "" {
		m.put([]byte("data: " + data + "\n\n"))
		return
	}
	m.put([]byte("event: " + name + "\ndata: " + data + "\n\n"))
}

// escapeBreaks writes the characters that end a line for some readers of event
// streams as escapes: the same JSON, and one line for everybody. They are legal
// inside strings only.
func escapeBreaks(b []byte) []byte {
	return []byte(strings.NewReplacer("\u0085", `\u0085`, "\u2028", `\u2028`, "\u2029", `\u2029`).Replace(string(b)))
}

// figures takes usage that a server reported. One figure that is not plausible
// makes all of the reply's figures unknown.
func (m *Machine) figures(u wire.Usage) {
	for _, n := range []int64{u.Input, u.Output, u.CacheRead, u.CacheWrite, u.Reasoning} {
		if n < 0 || n > maxFigure {
			m.liar = true
		}
	}
	m.liar = m.liar || u.Reasoning > u.Output
	m.sum.Usage = u
}

// count reads a token count: 0 if it is absent, implausible if it is no whole
// number.
func (m *Machine) count(i int) int64 {
	if m.doc.null(i) {
		return 0
	}
	n, ok := m.doc.integer(i)
	if !ok || n < 0 || n > maxFigure {
		m.liar = true
		return 0
	}
	return n
}
