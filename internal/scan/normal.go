package scan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// What a reading changes is read with its neighbourhood: no rule reaches farther
// than reach before a change and sees it, but for what holds no blank; none that
// begins near behind one, or ends half of reach before it, needs it.
const (
	reach = 1 << 10
	near  = 256
	after = longest + reach // what a match that begins before a change may take
)

// normalised reads a view again as a person would see it: compatibility forms
// folded, marks and invisible characters left out, look-alikes replaced by the
// Latin letters they imitate, lower case. Text in tag characters becomes plain.
// What would stay as it is, and is far from what would not, is not read twice.
func (s *Scanner) normalised(v *view) {
	if !s.spend(len(v.text)) {
		return
	}
	for i := plainTo(v.text, 0); i < len(v.text); {
		w := &s.scratch[v.depth]
		from := unbroken(v.text, i, max(0, i-after))
		*w = view{text: w.text[:0], pos: w.pos[:0], depth: v.depth, how: v.how, hard: v.hard, plain: true}
		w.take(v, from, i)
		w.from = i - from - reach/2
		for {
			r, n := utf8.DecodeRune(v.text[i:])
			w.rune(r, v.text[i:i+n], v, i)
			next := plainTo(v.text, i+n)
			if i += n; next == len(v.text) || next-i > after+2*reach {
				end := min(len(v.text), i+after)
				w.to = len(w.text) + near
				w.take(v, i, end)
				w.end(v, end)
				i = next
				break
			}
			w.take(v, i, next)
			i = next
		}
		if !s.spend(4 * len(w.text)) {
			return
		}
		s.read(w)
	}
}

// unbroken gives the beginning of the neighbourhood of a place: where the word
// begins that stands reach before it, but not before floor.
func unbroken(text []byte, at, floor int) int {
	from := max(floor, at-reach)
	for from > floor && !blank(text[from-1]) {
		from--
	}
	return from
}

// plainTo gives the end of the characters, from a place on, that are read as
// themselves.
func plainTo(text []byte, at int) int {
	own := ownForms()
	for {
		if at = nextHigh(text, at); at == len(text) {
			break
		}
		r, n := utf8.DecodeRune(text[at:])
		if r > 0xFFFF || own[r>>6]>>(r&63)&1 == 0 && n > 1 {
			break
		}
		at += n
	}
	return at
}

// nextHigh gives the next byte, from a place on, that is not ASCII.
func nextHigh(text []byte, at int) int {
	for ; at+8 <= len(text); at += 8 {
		if m := binary.LittleEndian.Uint64(text[at:]) & tops; m != 0 {
			return at + bits.TrailingZeros64(m)/8
		}
	}
	for at < len(text) && text[at] < utf8.RuneSelf {
		at++
	}
	return at
}

// ownForms says of each character of the basic plane whether it is read as
// itself.
var ownForms = sync.OnceValue(func() *[1024]uint64 {
	var own [1024]uint64
	var raw view
	var w view
	for r := rune(utf8.RuneSelf); r <= 0xFFFF; r++ {
		raw.text = utf8.AppendRune(raw.text[:0], r)
		w.text, w.pos = w.text[:0], w.pos[:0]
		if !w.rune(r, raw.text, &raw, 0) {
			own[r>>6] |= 1 << (r & 63)
		}
	}
	return &own
})

// take appends bytes of the view below as they are.
func (v *view) take(from *view, a, b int) {
	v.text = append(v.text, from.text[a:b]...)
	if from.pos != nil {
		v.pos = append(v.pos, from.pos[a:b]...)
		return
	}
	v.pos = slices.Grow(v.pos, b-a)
	for i := a; i < b; i++ {
		v.pos = append(v.pos, int32(i)) //nolint:gosec // below the window's size
	}
}

// push appends one byte that comes from place i of the view below.
func (v *view) push(c byte, from *view, i int) {
	v.text = append(v.text, c)
	if from.pos != nil {
		v.pos = append(v.pos, from.pos[i])
	} else {
		v.pos = append(v.pos, int32(i)) //nolint:gosec // below the window's size
	}
}

// end closes the map of places.
func (v *view) end(from *view, i int) {
	if from.pos != nil {
		v.pos = append(v.pos, from.pos[i])
	} else {
		v.pos = append(v.pos, int32(i)) //nolint:gosec // below the window's size
	}
}

// rune appends what one character is read as and says whether that is another
// text.
func (v *view) rune(r rune, raw []byte, from *view, i int) bool {
	switch {
	case r == utf8.RuneError && len(raw) == 1:
		v.push(raw[0], from, i)
		return false
	case r >= 0xE0020 && r <= 0xE007E:
		v.push(byte(r-0xE0000), from, i)
		return true
	case unseen(r):
		return true
	}
	if d := norm.NFKD.Properties(raw).Decomposition(); d != nil {
		for len(d) > 0 {
			q, n := utf8.DecodeRune(d)
			if !unicode.Is(unicode.Mn, q) && !unseen(q) {
				v.folded(q, from, i)
			}
			d = d[n:]
		}
		return true
	}
	if unicode.Is(unicode.Mn, r) {
		return true
	}
	return v.folded(r, from, i)
}

func (v *view) folded(r rune, from *view, i int) bool {
	q := lookAlike(unicode.ToLower(r))
	if q == r && r < utf8.RuneSelf {
		v.push(byte(q), from, i) //nolint:gosec // it is ASCII
		return false
	}
	if unicode.IsSpace(q) {
		q = ' '
	}
	var b [4]byte
	for _, c := range b[:utf8.EncodeRune(b[:], q)] {
		v.push(c, from, i)
	}
	return q != r
}

// unseen reports characters that take no place on a screen.
func unseen(r rune) bool {
	switch {
	case r == 0xAD, r == 0x34F, r == 0x61C, r == 0x180E, r == 0xFEFF,
		r >= 0x115F && r <= 0x1160, r >= 0x17B4 && r <= 0x17B5, r >= 0x180B && r <= 0x180D,
		r >= 0x200B && r <= 0x200F, r >= 0x202A && r <= 0x202E, r >= 0x2060 && r <= 0x206F,
		r == 0x3164, r >= 0xFE00 && r <= 0xFE0F, r == 0xFFA0, r >= 0xFFF9 && r <= 0xFFFB,
		r >= 0x1BCA0 && r <= 0x1BCA3, r >= 0x1D173 && r <= 0x1D17A, r >= 0xE0000 && r <= 0xE0FFF:
		return true
	}
	return false
}

// lookAlikes maps letters of other scripts, lower case, and punctuation to the
// Latin ones they are drawn like.
var lookAlikes = map[rune]rune{
	0x0430: 'a', 0x0441: 'c', 0x0435: 'e', 0x043E: 'o', 0x0440: 'p', 0x0445: 'x', 0x0443: 'y', 0x0456: 'i',
	0x0458: 'j', 0x0455: 's', 0x0501: 'd', 0x04BB: 'h', 0x043A: 'k', 0x043C: 'm', 0x0442: 't', 0x043D: 'h',
	0x0432: 'b', 0x0433: 'r', 0x04CF: 'l', 0x051B: 'q', 0x051D: 'w', 0x0475: 'v', 0x0461: 'w', 0x04AF: 'y',
	0x0491: 'r', 0x03B1: 'a', 0x03BF: 'o', 0x03C1: 'p', 0x03BD: 'v', 0x03C4: 't', 0x03B9: 'i', 0x03BA: 'k',
	0x03C5: 'u', 0x03C7: 'x', 0x03B5: 'e', 0x03B7: 'n', 0x03B2: 'b', 0x03B3: 'y', 0x03B6: 'z', 0x03BC: 'u',
	0x03F2: 'c', 0x03F3: 'j', 0x0131: 'i', 0x0142: 'l', 0x00F8: 'o', 0x0111: 'd', 0x0127: 'h', 0x0167: 't',
	0x0261: 'g', 0x0251: 'a', 0x1D00: 'a', 0x0299: 'b', 0x1D04: 'c', 0x1D05: 'd', 0x1D07: 'e', 0xA730: 'f',
	0x0262: 'g', 0x029C: 'h', 0x026A: 'i', 0x1D0A: 'j', 0x1D0B: 'k', 0x029F: 'l', 0x1D0D: 'm', 0x0274: 'n',
	0x1D0F: 'o', 0x1D18: 'p', 0x0280: 'r', 0xA731: 's', 0x1D1B: 't', 0x1D1C: 'u', 0x1D20: 'v', 0x1D21: 'w',
	0x028F: 'y', 0x1D22: 'z', 0x0578: 'n', 0x057D: 'u', 0x0585: 'o', 0x0581: 'g', 0x0566: 'q', 0x0570: 'h',
	0x2013: '-', 0x2014: '-', 0x2010: '-', 0x2011: '-', 0x2012: '-', 0x2212: '-', 0x2018: '\'', 0x2019: '\'',
	0x201C: '"', 0x201D: '"', 0x2044: '/', 0x2215: '/', 0x02D0: ':', 0x2236: ':', 0xA789: ':', 0x2024: '.',
}

func lookAlike(r rune) rune {
	if q, ok := lookAlikes[r]; ok {
		return q
	}
	return r
}

// plainly gives a text of the operator's in the form that normalised views
// have.
func plainly(text string) string {
	raw := view{text: []byte(text)}
	var w view
	for i := 0; i < len(raw.text); {
		r, n := utf8.DecodeRune(raw.text[i:])
		if r < utf8.RuneSelf {
			w.push(lower(byte(r)), &raw, i) //nolint:gosec // it is ASCII
		} else {
			w.rune(r, raw.text[i:i+n], &raw, i)
		}
		i += n
	}
	return string(bytes.TrimSpace(w.text))
}
