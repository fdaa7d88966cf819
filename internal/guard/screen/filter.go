package screen

import (
	"unicode/utf8"
)

// Bounds of one sequence, in bytes. A program that begins one and never ends it
// loses that much output and no more.
const (
	maxString  = 1 << 20 // an OSC, DCS, APC, PM or SOS is skipped up to here, then text goes on
	maxKept    = 4 << 10 // what is remembered of an OSC; a longer one is never passed
	maxControl = 4 << 10 // a CSI is skipped up to here
	maxSeq     = 128     // what is remembered of a CSI; a longer one is never passed
)

const (
	bel = 0x07
	can = 0x18
	sub = 0x1a
	esc = 0x1b
	del = 0x7f
)

// state is where in a sequence the parser is.
type state uint8

const (
	ground state = iota
	escape
	escapeInter
	control
	stringBody
	stringEscape // ESC inside a string: its end if a backslash follows
)

// Filter makes the output of a program that is not trusted fit for a person's
// terminal. The zero value is ready; it is for one stream and one goroutine.
// The package documentation lists what passes.
type Filter struct {
	out    []byte
	state  state
	rune   [utf8.UTFMax]byte // an unfinished rune
	runes  int               // its bytes
	seq    [maxSeq]byte
	n      int    // bytes in seq
	skip   int    // bytes of the sequence so far
	kind   byte   // of a string: ] P X ^ _ k
	str    []byte // the head of an OSC
	csi    csi
	counts Counts
	modes  modes
	// touched says that a sequence was seen, so that something may need to be
	// undone.
	touched bool
	stage   *stage // keeps the program off a reserved row; nil: the terminal is all its own
}

// Append filters src and appends what may be shown to dst. How a stream is cut
// into calls makes no difference. It only ever appends whole sequences, so the
// caller may write its own between two calls.
func (f *Filter) Append(dst, src []byte) []byte {
	f.out = dst
	for len(src) > 0 {
		src = src[f.step(src):]
	}
	dst, f.out = f.out, nil
	return dst
}

// Flush appends what an unfinished rune at the end of the stream becomes.
func (f *Filter) Flush(dst []byte) []byte {
	f.out = dst
	if f.state == ground {
		f.broken()
	} else {
		f.abandon()
	}
	dst, f.out = f.out, nil
	return dst
}

// Counts tells what was held back so far.
func (f *Filter) Counts() Counts { return f.counts }

// Restore appends what undoes every mode the program has switched on: mouse,
// paste, focus, keyboard, alternate screen, hidden cursor, colours, charset.
func (f *Filter) Restore(dst []byte) []byte {
	f.state, f.runes = ground, 0
	return f.modes.restore(dst)
}

// step takes at least one byte, unless the state has changed.
func (f *Filter) step(src []byte) int {
	c := src[0]
	switch f.state {
	case ground:
		return f.text(src)
	case escape, escapeInter:
		return f.escape(c)
	case control:
		return f.control(c)
	case stringEscape:
		if c == '\\' {
			f.endString()
			return 1
		}
		// Any other sequence ends the string without effect.
		f.counts[Unfinished]++
		f.state = escape
		return 0
	default:
		return f.inString(src)
	}
}

// text takes text and controls outside of any sequence.
func (f *Filter) text(src []byte) int {
	if f.runes > 0 {
		return f.continueRune(src[0])
	}
	n := 0
	for n < len(src) && src[n] >= 0x20 && src[n] < del {
		n++
	}
	if n > 0 {
		f.out = append(f.out, src[:n]...)
		f.stage.ascii(n)
		return n
	}
	c := src[0]
	if c < utf8.RuneSelf {
		f.c0(c)
		return 1
	}
	if r, n := utf8.DecodeRune(src); n > 1 {
		f.put(r)
		return n
	}
	return f.continueRune(c)
}

// continueRune takes one byte of a rune that came in pieces or is broken. What
// is no UTF-8 becomes one replacement character per broken piece.
func (f *Filter) continueRune(c byte) int {
	f.rune[f.runes] = c
	whole := f.rune[:f.runes+1]
	if !utf8.FullRune(whole) {
		f.runes++
		return 1
	}
	if r, n := utf8.DecodeRune(whole); n == len(whole) && r != utf8.RuneError || n == 3 {
		f.runes = 0
		f.put(r)
		return 1
	}
	if f.runes == 0 {
		f.runes = 1
		f.broken()
		return 1
	}
	f.broken()
	return 0 // c may begin something of its own
}

// broken replaces an unfinished rune.
func (f *Filter) broken() {
	if f.runes == 0 {
		return
	}
	kind := Encoding
	if c := f.rune[0]; c >= 0x80 && c <= 0x9f {
		kind = C1
	}
	f.counts[kind]++
	f.runes = 0
	f.glyph(utf8.RuneError)
}

// put writes a rune beyond ASCII.
func (f *Filter) put(r rune) {
	if r <= 0x9f {
		f.counts[C1]++
		r = utf8.RuneError
	}
	f.glyph(r)
}

func (f *Filter) glyph(r rune) {
	f.out = utf8.AppendRune(f.out, r)
	f.stage.wide(r)
}

// c0 takes a control character.
func (f *Filter) c0(c byte) {
	switch c {
	case esc:
		f.touched = true
		f.begin(escape)
	case bel:
		f.out = append(f.out, bel)
	case '\b':
		f.out = append(f.out, c)
		f.stage.left(1)
	case '\t':
		f.out = append(f.out, c)
		f.stage.tab(1)
	case '\r':
		f.out = append(f.out, c)
		f.stage.carriage()
	case '\n', '\v', '\f': // all three are a line feed to every terminal
		f.lineFeed()
	case 0x0e, 0x0f:
		f.out = append(f.out, c)
		f.modes.shifted = c == 0x0e
	case 0: // padding
	default:
		f.counts[Control]++
	}
}

func (f *Filter) begin(s state) { f.state, f.n, f.skip = s, 0, 0 }

// abandon leaves a sequence that has no proper end.
func (f *Filter) abandon() {
	f.counts[Unfinished]++
	f.state = ground
}

// inside handles the bytes that mean the same within every sequence; more
// reports that c is none of them.
func (f *Filter) inside(c byte) (taken int, more bool) {
	switch {
	case c == esc:
		f.counts[Unfinished]++
		f.begin(escape)
	case c == can || c == sub:
		f.abandon()
	case c < 0x20 || c == del:
		f.c0(c) // terminals obey a control within a sequence and go on
	case c >= utf8.RuneSelf:
		f.abandon()
		return 0, false
	default:
		return 0, true
	}
	return 1, false
}

// escape takes what follows ESC.
func (f *Filter) escape(c byte) int {
	if taken, more := f.inside(c); !more {
		return taken
	}
	switch {
	case c < 0x30:
		if f.n++; f.n == 1 {
			f.seq[0] = c
		}
		f.state = escapeInter
		if f.skip++; f.skip > maxControl {
			f.abandon()
		}
	case f.state == escapeInter:
		f.state = ground
		f.designate(c)
	case c == '[':
		f.begin(control)
	case c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_' || c == 'k':
		f.begin(stringBody)
		f.kind, f.str = c, f.str[:0]
	default:
		f.state = ground
		f.simple(c)
	}
	return 1
}

// control takes the bytes of a CSI sequence.
func (f *Filter) control(c byte) int {
	if taken, more := f.inside(c); !more {
		return taken
	}
	if c >= 0x40 {
		f.state = ground
		f.dispatch(c)
		return 1
	}
	if f.n < maxSeq {
		f.seq[f.n] = c
		f.n++
	}
	if f.skip++; f.skip > maxControl {
		f.abandon()
	}
	return 1
}

// inString skips a string; of an OSC it keeps the head.
func (f *Filter) inString(src []byte) int {
	for i, c := range src {
		switch {
		case c == esc:
			f.state = stringEscape
			return i + 1
		case c == can || c == sub, c == '\n' && f.kind == ']':
			// No OSC holds a line feed: one that was never ended costs a line.
			f.abandon()
			if c == '\n' {
				return i
			}
			return i + 1
		case c == bel && f.kind == ']':
			f.endString()
			return i + 1
		}
		if f.kind == ']' && len(f.str) <= maxKept {
			f.str = append(f.str, c)
		}
		if f.skip++; f.skip >= maxString {
			f.abandon()
			return i + 1
		}
	}
	return len(src)
}

// endString judges a string that came to its end.
func (f *Filter) endString() {
	f.state = ground
	switch f.kind {
	case ']':
		f.osc()
	case 'P':
		f.counts[Device]++
	default:
		f.counts[Message]++
	}
}
