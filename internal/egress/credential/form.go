package credential

import (
	"encoding/hex"
	"math/bits"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// class is a set of bytes.
type class [4]uint64

func (k *class) has(c byte) bool { return k[c>>6]&(1<<(c&63)) != 0 }

func (k *class) each(f func(c byte)) {
	for i, word := range k {
		for ; word != 0; word &= word - 1 {
			f(byte(64*i + bits.TrailingZeros64(word))) //nolint:gosec // below 256
		}
	}
}

func classOf(chars string) *class {
	var k class
	for i := range len(chars) {
		k[chars[i]>>6] |= 1 << (chars[i] & 63)
	}
	return &k
}

// unit is one step of a form: the ways in which one character of a value, or
// one character of its encoding, may be written.
type unit struct{ ways [][]*class }

// encoding says how a form's text stands for the value, so that a placeholder
// can stand there in the same way.
type encoding uint8

const (
	plain    encoding = iota // as it is, percent-encoded, or with escapes
	hexadec                  // two digits a byte
	sextets0                 // base64, the value beginning at a byte 0, 1 or 2 of a group
	sextets1
	sextets2
)

// form is one encoding of one word. Units are shared between forms.
type form struct {
	units    []*unit
	encoding encoding
	word     string
	instead  string // what is written for it
}

// speller makes forms; it shares equal units, so that the forms of a long
// value cost a pointer a character.
type speller struct {
	runes  map[rune]*unit
	bytes  map[byte]*unit
	nibble [16]*unit
	chars  map[string]*unit
}

func newSpeller() *speller {
	s := &speller{runes: map[rune]*unit{}, bytes: map[byte]*unit{}, chars: map[string]*unit{}}
	for i := range s.nibble {
		s.nibble[i] = &unit{[][]*class{{hexDigit(i)}}}
	}
	return s
}

func hexDigit(n int) *class {
	c := "0123456789abcdef"[n : n+1]
	return classOf(c + strings.ToUpper(c))
}

// spell gives all forms of a word.
func (s *speller) spell(word, instead string) []form {
	out := []form{
		{s.escapes(word), plain, word, instead},
		{s.hex(word), hexadec, word, instead},
	}
	for phase := range 3 {
		out = append(out, form{s.base64(word, phase), sextets0 + encoding(phase), word, instead})
	}
	return out
}

// escapes: each character as it is, as %XX, \xXX, \uXXXX or a short escape.
func (s *speller) escapes(word string) []*unit {
	var out []*unit
	for i := 0; i < len(word); {
		r, n := utf8.DecodeRuneInString(word[i:])
		if r == utf8.RuneError && n == 1 {
			c := word[i]
			if s.bytes[c] == nil {
				s.bytes[c] = &unit{escapeBytes(word[i : i+1])}
			}
			out = append(out, s.bytes[c])
		} else {
			if s.runes[r] == nil {
				s.runes[r] = &unit{append(escapeBytes(word[i:i+n]), escapeRune(r)...)}
			}
			out = append(out, s.runes[r])
		}
		i += n
	}
	return out
}

// escapeBytes gives the ways that write every byte by itself.
func escapeBytes(raw string) [][]*class {
	var same, percent, slash []*class
	for i := range len(raw) {
		c := raw[i]
		digits := []*class{hexDigit(int(c >> 4)), hexDigit(int(c & 15))}
		same = append(same, classOf(raw[i:i+1]))
		percent = append(append(percent, classOf("%")), digits...)
		slash = append(append(slash, classOf(`\`), classOf("x")), digits...)
	}
	return [][]*class{same, percent, slash}
}

// shortEscapes are those of JSON, C and of forms.
var shortEscapes = map[rune]string{
	'"': `\"`, '\\': `\\`, '/': `\/`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\'': `\'`, ' ': "+",
}

func escapeRune(r rune) [][]*class {
	var long []*class
	codes := []uint16{uint16(r)} //nolint:gosec // overwritten where it does not fit
	if r > 0xffff {
		hi, lo := utf16.EncodeRune(r)
		codes = []uint16{uint16(hi), uint16(lo)} //nolint:gosec // surrogates fit
	}
	for _, code := range codes {
		long = append(long, classOf(`\`), classOf("u"))
		for shift := 12; shift >= 0; shift -= 4 {
			long = append(long, hexDigit(int(code>>shift&15)))
		}
	}
	ways := [][]*class{long}
	if short, ok := shortEscapes[r]; ok {
		var way []*class
		for i := range len(short) {
			way = append(way, classOf(short[i:i+1]))
		}
		ways = append(ways, way)
	}
	return ways
}

func (s *speller) hex(word string) []*unit {
	out := make([]*unit, 0, 2*len(word))
	for i := range len(word) {
		out = append(out, s.nibble[word[i]>>4], s.nibble[word[i]&15])
	}
	return out
}

const (
	sextets    = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	sextetsURL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

// base64 gives the characters that hold bits of the word when it begins at
// byte phase of a group of three. The first and the last may hold bits of its
// neighbours too, which may be anything.
func (s *speller) base64(word string, phase int) []*unit {
	from, to := 8*phase, 8*(phase+len(word)) // in bits of the stream
	padded := append(append(make([]byte, phase, phase+len(word)+2), word...), 0, 0)
	var out []*unit
	for char := from / 6; char*6 < to; char++ {
		known := 0 // the bits of this character that are the word's
		for bit := range 6 {
			if at := char*6 + bit; at >= from && at < to {
				known |= 1 << (5 - bit)
			}
		}
		out = append(out, s.sextet(sextetAt(padded, char)&known, known))
	}
	return out
}

// sextetAt gives 6 bits of b, the char-th.
func sextetAt(b []byte, char int) int {
	bit := char * 6
	pair := int(b[bit/8]) << 8
	if bit/8+1 < len(b) {
		pair |= int(b[bit/8+1])
	}
	return pair >> (10 - bit%8) & 63
}

func (s *speller) sextet(value, known int) *unit {
	var chars []byte
	for i := range 64 {
		if i&known == value {
			chars = append(chars, sextets[i])
			if sextetsURL[i] != sextets[i] {
				chars = append(chars, sextetsURL[i])
			}
		}
	}
	key := string(chars)
	if s.chars[key] == nil {
		s.chars[key] = &unit{[][]*class{{classOf(key)}}}
	}
	return s.chars[key]
}

// replacement gives what is written instead of found, which the form matched.
func (f *form) replacement(found []byte) []byte {
	switch f.encoding {
	case plain:
		return []byte(f.instead)
	case hexadec:
		return hex.AppendEncode(nil, []byte(f.instead))
	default:
		return f.splice(found, int(f.encoding-sextets0))
	}
}

// splice writes the placeholder in base64 at the same place of a group and
// keeps the bits of the neighbours, so that they decode as before. Where the
// lengths differ in what remains of three, "_" fills the placeholder up.
func (f *form) splice(found []byte, phase int) []byte {
	instead := f.instead + strings.Repeat("_", ((len(f.word)-len(f.instead))%3+3)%3)
	alphabet := sextets
	if strings.ContainsAny(string(found), "-_") {
		alphabet = sextetsURL
	}
	first, last := number(found[0]), number(found[len(found)-1])
	end := 8 * (phase + len(instead))
	// The stream: the bits before the word, the word, the bits behind it.
	stream := append(append(make([]byte, phase, phase+len(instead)+2), instead...), 0, 0)
	out := make([]byte, 0, len(found))
	from := 8 * phase
	for char := from / 6; char*6 < end; char++ {
		v := sextetAt(stream, char)
		if before := from - char*6; before > 0 {
			v |= first &^ (63 >> before)
		}
		if behind := char*6 + 6 - end; behind > 0 {
			v |= last & (1<<behind - 1)
		}
		out = append(out, alphabet[v])
	}
	return out
}

// number gives what a base64 character of either alphabet stands for.
func number(c byte) int {
	i := strings.IndexByte(sextets, c)
	if i < 0 {
		i = strings.IndexByte(sextetsURL, c)
	}
	return i // not negative: only matched characters come here
}
