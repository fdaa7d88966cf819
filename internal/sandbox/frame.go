package sandbox

import (
	"bytes"
	"strconv"
	"strings"
)

// A frame is what bash writes on its private pipe when a command is over: three
// fields, each ended by NUL, which neither a path nor a declaration can contain.
//
//	tag ' ' nonce ' ' status ' ' line NUL cwd NUL state NUL
//
// The bytes come from a process the agent controls, so they are parsed as
// untrusted: a frame whose nonce is not the one just sent is dropped, and a
// state beyond maxState is dropped while the frame is kept.
type frame struct {
	tag    byte // 'S' script begins, 'N' it ended, 'X' the shell is exiting
	nonce  string
	status int
	line   int
	cwd    string
	state  string // lines of declare, to be evaluated by a shell inside
}

const (
	maxHeader = 256
	maxCwd    = 8192
	maxState  = 4 << 20 // a shell with more variables than this starts anew without them
)

// frameParser splits a stream into frames, in memory bounded by the limits above.
type frameParser struct {
	field [3]bytes.Buffer
	over  [3]bool
	at    int
}

var fieldLimit = [3]int{maxHeader, maxCwd, maxState}

// feed consumes b and calls emit for every complete well-formed frame.
func (p *frameParser) feed(b []byte, emit func(frame)) {
	for len(b) > 0 {
		end := bytes.IndexByte(b, 0)
		part := b
		if end >= 0 {
			part = b[:end]
		}
		if room := fieldLimit[p.at] - p.field[p.at].Len(); len(part) > room {
			p.over[p.at] = true
			part = part[:room]
		}
		p.field[p.at].Write(part)
		if end < 0 {
			return
		}
		b = b[end+1:]
		p.endField(emit)
	}
}

// endField moves to the next field. A first field that is no header cannot
// start a frame; it is dropped alone, so that stray bytes written before a
// frame do not shift every frame after them.
func (p *frameParser) endField(emit func(frame)) {
	if p.at == 0 {
		if _, ok := parseHeader(p.field[0].String()); !ok || p.over[0] {
			p.reset()
			return
		}
	}
	if p.at < 2 {
		p.at++
		return
	}
	f, _ := parseHeader(p.field[0].String())
	if !p.over[1] && strings.HasPrefix(p.field[1].String(), "/") {
		f.cwd = p.field[1].String()
	}
	if !p.over[2] {
		f.state = p.field[2].String()
	}
	p.reset()
	emit(f)
}

func (p *frameParser) reset() {
	for i := range p.field {
		p.field[i].Reset()
	}
	// A large environment should not stay in memory for the shell's life.
	if p.field[2].Cap() > 64<<10 {
		p.field[2] = bytes.Buffer{}
	}
	p.over = [3]bool{}
	p.at = 0
}

// parseHeader reads the first field: four words separated by single spaces.
func parseHeader(s string) (frame, bool) {
	w := strings.Split(s, " ")
	if len(w) != 4 || len(w[0]) != 1 || !strings.Contains("SNX", w[0]) {
		return frame{}, false
	}
	status, err := strconv.ParseUint(w[2], 10, 8)
	if err != nil {
		return frame{}, false
	}
	line, err := strconv.ParseUint(w[3], 10, 31)
	if err != nil {
		line = 0
	}
	return frame{tag: w[0][0], nonce: w[1], status: int(status), line: int(line)}, true
}

// outputBuffer keeps the beginning and the end of a stream and counts all of it.
type outputBuffer struct {
	half  int
	head  []byte
	ring  []byte // the last bytes after head; grows to half, then wraps
	next  int    // where the next byte goes once ring is full
	total int64
	lines int64
}

func newOutputBuffer(size int) *outputBuffer { return &outputBuffer{half: size / 2} }

// write takes b in; it keeps no reference to it.
func (o *outputBuffer) write(b []byte) {
	o.total += int64(len(b))
	o.lines += int64(bytes.Count(b, []byte{'\n'}))
	if room := o.half - len(o.head); room > 0 {
		n := min(room, len(b))
		o.head = append(o.head, b[:n]...)
		b = b[n:]
	}
	if len(b) > o.half {
		b = b[len(b)-o.half:]
	}
	if room := o.half - len(o.ring); room > 0 {
		n := min(room, len(b))
		o.ring = append(o.ring, b[:n]...)
		b = b[n:]
	}
	for len(b) > 0 {
		n := copy(o.ring[o.next:], b)
		o.next = (o.next + n) % o.half
		b = b[n:]
	}
}

// fill puts what was kept and counted into r.
func (o *outputBuffer) fill(r *Result) {
	r.Head = o.head
	if len(o.ring) > 0 {
		r.Tail = append(append(make([]byte, 0, len(o.ring)), o.ring[o.next:]...), o.ring[:o.next]...)
	}
	r.TotalBytes, r.TotalLines = o.total, o.lines
	r.DroppedBytes = o.total - int64(len(o.head)) - int64(len(o.ring))
}
