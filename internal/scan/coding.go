package scan

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

type runKinds struct{ hex, upper, lower, digit, other bool }

const (
	kindDigit = 1 << iota
	kindUpper
	kindLower
	kindOther
	kindNoHex
)

// kinds says what each byte of a run tells about it.
var kinds = func() (t [256]uint8) {
	for i := range 256 {
		switch c := byte(i); {
		case c-'0' < 10:
			t[i] = kindDigit
		case c-'a' < 26:
			t[i] = kindLower
		case c-'A' < 26:
			t[i] = kindUpper
		case c != '=' && c != '\n' && c != '\r' && c != '\\': // what stands between lines, see wrapped
			t[i] = kindOther | kindNoHex
		}
		if isAlnum(byte(i)) && digitOf(byte(i), hexBits) < 0 {
			t[i] |= kindNoHex
		}
	}
	return t
}()

func kindsOf(run []byte) runKinds {
	k := uint8(0)
	for more := true; more; {
		var part []byte
		part, run, more = bytes.Cut(run, []byte{'\\'})
		for _, c := range part {
			k |= kinds[c]
		}
		run = bytes.TrimPrefix(run, []byte{'n'}) // of an escaped end of line
	}
	return runKinds{k&kindNoHex == 0, k&kindUpper != 0, k&kindLower != 0, k&kindDigit != 0, k&kindOther != 0}
}

const (
	hexBits    = 4
	base32Bits = 5
	base64Bits = 6
)

// digitOf gives a character's value in a coding, -1 for none.
func digitOf(c byte, bits int) int {
	switch bits {
	case hexBits:
		switch {
		case c-'0' < 10:
			return int(c - '0')
		case c|0x20-'a' < 6:
			return int(c|0x20-'a') + 10
		}
	case base32Bits:
		switch {
		case c|0x20-'a' < 26:
			return int(c | 0x20 - 'a')
		case c-'2' < 6:
			return int(c-'2') + 26
		}
	default:
		switch {
		case c-'A' < 26:
			return int(c - 'A')
		case c-'a' < 26:
			return int(c-'a') + 26
		case c-'0' < 10:
			return int(c-'0') + 52
		case c == '+' || c == '-':
			return 62
		case c == '/' || c == '_':
			return 63
		}
	}
	return -1
}

// sextets are the values of base64's characters, in both alphabets; 0x80 for
// what is none.
var sextets = func() (t [256]uint8) {
	for c := range 256 {
		t[c] = uint8(digitOf(byte(c), base64Bits)) & 0xBF // -1 becomes all bits but one
	}
	return t
}()

// decoded reads a run in a coding of so many bits per character.
func (s *Scanner) decoded(v *view, start, end, bits int, how string) {
	if start >= end || !promising(v.text[start:end], bits) || !s.spend(4*(end-start)) {
		return
	}
	w := s.below(v, how)
	w.text, w.pos = slices.Grow(w.text, end-start), slices.Grow(w.pos, end-start+1)
	acc, have, from := 0, 0, 0
	for i := start; i < end; i++ {
		if bits == base64Bits && have == 0 {
			if i = w.quads(v, i, end); i == end {
				break
			}
		}
		d := digitOf(v.text[i], bits)
		if d < 0 {
			if c := v.text[i]; c == '\n' || c == '\r' || c == '\\' || c == 'n' && v.text[i-1] == '\\' {
				continue
			}
			break
		}
		if have == 0 {
			from = i
		}
		acc = acc<<bits | d
		if have += bits; have >= 8 {
			have -= 8
			w.push(byte(acc>>have), v, from) //nolint:gosec // the low eight bits
			acc &= 1<<have - 1
			from = i
		}
	}
	w.end(v, end)
	s.descend(w)
}

// quads decodes four characters of base64 at a time and gives where it had to
// stop.
func (v *view) quads(from *view, at, end int) int {
	text := from.text[:end]
	for ; at+4 <= len(text); at += 4 {
		q := text[at : at+4 : at+4]
		a, b, c, d := sextets[q[0]], sextets[q[1]], sextets[q[2]], sextets[q[3]]
		if (a|b|c|d)&0x80 != 0 {
			break
		}
		v.text = append(v.text, a<<2|b>>4, b<<4|c>>2, c<<6|d)
		if p := from.pos; p != nil {
			v.pos = append(v.pos, p[at], p[at+1], p[at+2])
		} else {
			i := int32(at) //nolint:gosec // below the window's size
			v.pos = append(v.pos, i, i+1, i+2)
		}
	}
	return at
}

// promising decodes the first bytes and asks whether they could be text.
func promising(run []byte, bits int) bool {
	var head [24]byte
	acc, have, n := 0, 0, 0
	if bits == base64Bits {
		n, run = firstQuads(&head, run)
	}
	for _, c := range run {
		d := digitOf(c, bits)
		if d < 0 || n == len(head) {
			break
		}
		acc = acc<<bits | d
		if have += bits; have >= 8 {
			have -= 8
			head[n] = byte(acc >> have) //nolint:gosec // the low eight bits
			n++
			acc &= 1<<have - 1
		}
	}
	if n < 8 {
		return false
	}
	return readable(head[:n])
}

// firstQuads decodes four characters of base64 at a time; it gives how many
// bytes they make and what is left of the run.
func firstQuads(head *[24]byte, run []byte) (n int, rest []byte) {
	for n+3 <= len(head) && len(run) >= 4 {
		a, b, c, d := sextets[run[0]], sextets[run[1]], sextets[run[2]], sextets[run[3]]
		if (a|b|c|d)&0x80 != 0 {
			break
		}
		head[n], head[n+1], head[n+2] = a<<2|b>>4, b<<4|c>>2, c<<6|d
		n, run = n+3, run[4:]
	}
	return n, run
}

// readable reports text, in UTF-8 or 16, or compressed data.
func readable(b []byte) bool {
	if len(b) > 3 && b[0] == 0x1f && b[1] == 0x8b && b[2] == 8 {
		return true
	}
	odd, zero := 0, 0
	for i := 0; i < len(b); {
		c := b[i]
		switch {
		case c == 0:
			zero++
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && len(b)-i >= utf8.UTFMax {
				odd++
			}
			i += n
			continue
		case c < ' ' && c != '\n' && c != '\r' && c != '\t' && c != 0x1b:
			odd++
		}
		i++
	}
	return odd*8 <= len(b) && (zero == 0 || zero*5 >= len(b)*2)
}
