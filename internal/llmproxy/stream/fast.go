package stream

import "bytes"

// template is the last event, if all it did was to pass a piece of text on. The
// next event is most often the same but for that text, for its number and for
// padding: then it means the same, and is not parsed again. Any other event
// replaces the template, so that the state is always the one after its event.
type template struct {
	buf   []byte
	holes [3]hole // in order; unused ones are zero
	n     int
}

// hole is a part of the template that may differ.
type hole struct {
	start, end int
	what       holeKind
}

type holeKind uint8

const (
	textHole    holeKind = iota // plain ASCII inside a string, handed to Text
	paddingHole                 // the same, said by nobody
	numberHole                  // a sequence number
)

// learn makes e the template if it may be one.
func (m *Machine) learn(e *event) {
	t, d := &m.fast, &m.doc
	t.n = 0
	if m.says != 1 || m.spoken == 0 || m.f.array || len(e.calls) > 0 || e.look || len(m.queue) > 0 {
		return
	}
	t.buf = append(t.buf[:0], e.raw...)
	t.add(e, d.tape[m.spoken].v0+1, d.tape[m.spoken].v1-1, textHole)
	if i := d.get(0, "sequence_number"); i != 0 {
		t.add(e, d.tape[i].v0, d.tape[i].v1, numberHole)
	}
	if i := d.get(0, "obfuscation"); i != 0 && d.tape[i].kind == str {
		t.add(e, d.tape[i].v0+1, d.tape[i].v1-1, paddingHole)
	}
}

// add keeps the holes in order.
func (t *template) add(e *event, start, end int32, what holeKind) {
	h := hole{e.d0 + int(start), e.d0 + int(end), what}
	i := t.n
	for ; i > 0 && t.holes[i-1].start > h.start; i-- {
		t.holes[i] = t.holes[i-1]
	}
	t.holes[i] = h
	t.n++
}

// maxHole bounds the text of an event that is not parsed again: an event that
// comes in many pieces is looked at with each of its lines.
const maxHole = 4096

// match tells whether b begins with the template's event, and how long it is.
func (t *template) match(b []byte) (size int, text []byte, number int64) {
	p, at := 0, 0
	for _, h := range t.holes[:t.n] {
		lit := t.buf[at:h.start]
		if !bytes.HasPrefix(b[p:], lit) {
			return 0, nil, 0
		}
		p += len(lit)
		start := p
		if h.what == numberHole {
			for p < len(b) && p-start < 18 && b[p] >= '0' && b[p] <= '9' {
				number = number*10 + int64(b[p]-'0')
				p++
			}
			if p == start || b[start] == '0' && p > start+1 {
				return 0, nil, 0
			}
		} else {
			for p < len(b) && p-start < maxHole && class[b[p]] == 0 {
				p++
			}
			if h.what == textHole {
				text = b[start:p]
			}
		}
		at = h.end
	}
	if !bytes.HasPrefix(b[p:], t.buf[at:]) {
		return 0, nil, 0
	}
	return p + len(t.buf) - at, text, number
}

// again passes on the event that b begins with, if it is the template's but for
// its holes; 0 if it is not. Its first old bytes were looked at before.
func (m *Machine) again(b []byte, old int) (int, error) {
	if m.fast.n == 0 || old > 0 && bytes.IndexByte(b[old:], '\n') < 0 {
		return 0, nil
	}
	n, text, number := m.fast.match(b)
	if n == 0 || n > m.o.MaxEvent {
		return 0, nil
	}
	s := string(text)
	if !m.api.repeat(s) {
		return 0, nil
	}
	if err := m.say(s); err != nil {
		return 0, err
	}
	m.at.Next = number + 1
	m.put(b[:n])
	m.f.line, m.f.seen = 0, 0
	return n, nil
}

// repeat is told of another text at the same place; false has the event parsed.
// Most forms keep nothing about it.
func (m *Machine) repeat(string) bool { return true }

// speak hands a piece of text on that stands in a string of the document.
func (m *Machine) speak(i int) error {
	m.spoken = i
	return m.say(m.doc.str(i))
}
