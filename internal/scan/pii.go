package scan

import (
	"encoding/binary"
	"math/bits"
)

// The constants say of each byte of eight whether it is a digit.
const (
	tops     = 0x8080808080808080
	ones     = 0x0101010101010101
	zeroes   = 0x3030303030303030
	overNine = 0x7676767676767676 // lifts 10 and more into the top bit
)

// digits sets the top bit of every byte that is a digit.
func digits(w uint64) uint64 {
	x := w ^ zeroes
	return ^((x&^tops + overNine) | x) & tops
}

// numbers goes through a view 32 bytes at a time: it reports whether any byte
// is not ASCII, and lets places with digits in a row be judged.
func (s *Scanner) numbers(v *view) (high bool) {
	text, done := v.text, 0
	i := 0
	acc := uint64(0)
	for ; i+32 <= len(text) && s.steps >= 0; i += 32 {
		b := text[i : i+32 : i+32]
		w0, w1 := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		w2, w3 := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
		acc |= w0 | w1 | w2 | w3
		if bits.OnesCount64(digits(w0)|digits(w1)|digits(w2)|digits(w3)) >= 4 && s.e.pii {
			done = s.numbersIn(v, i, i+32, done)
		}
	}
	for ; i+8 <= len(text); i += 8 {
		acc |= binary.LittleEndian.Uint64(text[i:])
		if s.e.pii {
			done = s.numbersIn(v, i, i+8, done)
		}
	}
	if s.e.pii && s.steps >= 0 && i >= done && len(text) > 8 {
		s.number(v, max(0, len(text)-8))
	}
	for ; i < len(text); i++ {
		acc |= uint64(text[i])
	}
	return acc&tops != 0
}

// numbersIn judges those eights of a stretch that have four digits or more and
// begin behind what was judged before.
func (s *Scanner) numbersIn(v *view, from, to, done int) int {
	for i := from; i < to && s.steps >= 0; i += 8 {
		if i >= done && bits.OnesCount64(digits(binary.LittleEndian.Uint64(v.text[i:]))) >= 4 {
			done = s.number(v, i)
		}
	}
	return done
}

// number judges the digits around a place and gives where they end.
func (s *Scanner) number(v *view, at int) int {
	text := v.text
	for at < len(text) && text[at]-'0' > 9 {
		at++
	}
	if !s.spend(40) {
		return at
	}
	// Digits in groups, with one separator between.
	start := at
	for start > 0 && at-start < 64 {
		c := text[start-1]
		if c-'0' < 10 || (c == ' ' || c == '-' || c == '.') && start > 1 && text[start-2]-'0' < 10 {
			start--
			continue
		}
		break
	}
	end := at
	for end < len(text) && end-start < 128 {
		c := text[end]
		if c-'0' < 10 || (c == ' ' || c == '-' || c == '.') && end+1 < len(text) && text[end+1]-'0' < 10 {
			end++
			continue
		}
		break
	}
	s.groups(v, start, end)
	s.iban(v, start, end)
	return end
}

// groups tries a run of digits as a card and as a social security number.
func (s *Scanner) groups(v *view, start, end int) { //nolint:gocognit // one loop over a row of digits
	text := v.text
	whole := true
	if start > 0 && (isAlnum(text[start-1]) && !escapedBefore(text, start) || text[start-1] == '_') {
		whole = false // the first group is a piece of a word
		for start < end && text[start]-'0' < 10 {
			start++
		}
	}
	if end < len(text) && (isAlnum(text[end]) || text[end] == '_') {
		whole = false // and so the last
		for end > start && text[end-1]-'0' < 10 {
			end--
		}
	}
	var digits [20]byte
	// A card may stand in a longer row of groups: try each group's beginning.
	for from := start; from < end; from++ {
		if text[from]-'0' > 9 || from > start && (text[from-1]-'0' < 10 || text[from-1] == '.') {
			continue // inside a group, or the fraction of a number
		}
		n := 0
		sep := byte(0)
		even := true
		for i := from; i < end && n < len(digits); i++ {
			if c := text[i]; c-'0' < 10 {
				digits[n] = c
				n++
			} else {
				even = even && (sep == 0 || sep == c) && c != '.'
				sep = c
			}
			if n < 13 || i+1 < end && text[i+1]-'0' < 10 || !even || !card(digits[:n]) || !grouped(text[from:i+1]) {
				continue
			}
			s.emit(v, s.e.fixed("pii.card"), from, i+1, "")
			break
		}
		if !s.spend(24) {
			return
		}
	}
	if whole && end-start == 11 && text[start+3] == '-' && text[start+6] == '-' && ssn(text[start:end]) {
		s.emit(v, s.e.fixed("pii.us-ssn"), start, end, "")
	}
}

// grouped reports one row of digits, or groups as cards have them: fours, or
// four, six and five or four.
func grouped(b []byte) bool {
	var sizes [8]int
	n := 0
	for _, c := range b {
		if c-'0' < 10 {
			sizes[n]++
		} else if n++; n == len(sizes) {
			return false
		}
	}
	if n == 0 {
		return true
	}
	if n == 2 {
		return sizes[0] == 4 && sizes[1] == 6 && (sizes[2] == 5 || sizes[2] == 4)
	}
	for i := range n {
		if sizes[i] != 4 {
			return false
		}
	}
	return sizes[n] <= 4
}

// card checks issuer range, length and Luhn.
func card(d []byte) bool {
	p := 0
	for _, c := range d[:4] {
		p = p*10 + int(c-'0')
	}
	n := len(d)
	known := false
	switch {
	case p/1000 == 4:
		known = n == 13 || n == 16 || n == 19
	case p/100 >= 51 && p/100 <= 55, p >= 2221 && p <= 2720:
		known = n == 16
	case p/100 == 34, p/100 == 37:
		known = n == 15
	case p == 6011, p/100 == 65, p/10 >= 644 && p/10 <= 649:
		known = n == 16 || n == 19
	case p/10 >= 300 && p/10 <= 305, p/100 == 36, p/100 == 38, p/100 == 39:
		known = n == 14 || n == 16
	case p >= 3528 && p <= 3589:
		known = n == 16 || n == 19
	case p/100 == 62:
		known = n >= 16 && n <= 19
	case p/100 == 81:
		known = n == 16
	case p == 5018, p == 5020, p == 5038, p == 6304, p == 6759, p == 6761, p == 6763:
		known = n >= 13 && n <= 19
	}
	if !known || !luhn(d) {
		return false
	}
	for _, c := range d[1:] {
		if c != d[0] {
			return true
		}
	}
	return false
}

// ssn checks the ranges that are given out.
func ssn(b []byte) bool {
	area := int(b[0]-'0')*100 + int(b[1]-'0')*10 + int(b[2]-'0')
	for i, c := range b {
		if (i == 3 || i == 6) != (c == '-') {
			return false
		}
	}
	return area != 0 && area != 666 && area < 900 && string(b[4:6]) != "00" && string(b[7:]) != "0000"
}

// ibanLengths are the lengths per country.
var ibanLengths = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21,
	"CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27,
	"GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
	"IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27,
	"MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
	"QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28,
	"TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}

// headsOfEight marks those of eight places where two capitals and two digits
// stand; it may mark others, whose bytes are not ASCII.
func headsOfEight(b []byte) uint64 {
	at := func(i int) uint64 { return binary.LittleEndian.Uint64(b[i : i+8]) }
	return capitals(at(0)) & capitals(at(1)) & digits(at(2)) & digits(at(3))
}

// capitals sets the top bit of every byte that is a capital letter.
func capitals(w uint64) uint64 {
	x := w &^ tops
	return (x + (0x80-'A')*ones) &^ (x + (0x7F-'Z')*ones) & tops
}

// iban tries account numbers that begin shortly before a run of digits.
func (s *Scanner) iban(v *view, start, end int) {
	text := v.text
	for at := max(0, start-34); at <= start && at+4 <= len(text); at++ {
		for at+11 <= len(text) && at <= start && headsOfEight(text[at:at+11]) == 0 {
			at += 8
		}
		if at > start || at+4 > len(text) {
			return
		}
		if text[at]-'A' > 25 || text[at+1]-'A' > 25 || text[at+2]-'0' > 9 || text[at+3]-'0' > 9 || at > 0 && isAlnum(text[at-1]) && !escapedBefore(text, at) {
			continue
		}
		want := ibanLengths[string(text[at:at+2])]
		if want == 0 || !s.spend(64) {
			continue
		}
		if i := account(text, at, want); i >= min(end, start+2) {
			s.emit(v, s.e.fixed("pii.iban"), at, i, "")
			return
		}
	}
}

// account gives the end of an account number of a length that begins at a
// place, -1 if there is none.
func account(text []byte, at, want int) int {
	var code [34]byte
	n, i := 0, at
	for ; i < len(text) && n < want; i++ {
		if c := text[i]; c-'0' < 10 || c-'A' < 26 {
			code[n] = c
			n++
		} else if c != ' ' || n%4 != 0 {
			break
		}
	}
	if n != want || i < len(text) && isAlnum(text[i]) || !mod97(code[:n]) {
		return -1
	}
	return i
}

func mod97(code []byte) bool {
	r := 0
	for i := range code {
		switch c := code[(i+4)%len(code)]; {
		case c-'0' < 10:
			r = (r*10 + int(c-'0')) % 97
		default:
			r = (r*100 + int(c-'A') + 10) % 97
		}
	}
	return r == 1
}

// escapedBefore reports that the letter before a place belongs to an escape
// like \n.
func escapedBefore(text []byte, at int) bool {
	return at >= 2 && text[at-2] == '\\' && (text[at-1] == 'n' || text[at-1] == 'r' || text[at-1] == 't')
}

// email judges the text around an at sign.
func (s *Scanner) email(v *view, at int) { //nolint:gocognit // conditions of one form, in order
	text := v.text
	start := at
	for start > 0 && at-start < 64 && (isAlnum(text[start-1]) || isOneOf(text[start-1], "._%+-'")) {
		start--
	}
	if start > 0 && start < at && escapedBefore(text, start+1) {
		start++
	}
	for start < at && !isAlnum(text[start]) {
		start++
	}
	end, dot := at+1, 0
	for end < len(text) && end-at < 254 && (isAlnum(text[end]) || text[end] == '-' || text[end] == '.') {
		if text[end] == '.' {
			dot = end
		}
		end++
	}
	for end > at+1 && !isAlnum(text[end-1]) {
		if end--; end == dot {
			for dot--; dot > at && text[dot] != '.'; {
				dot--
			}
		}
	}
	if start == at || dot <= at+1 || end-dot < 3 || end-dot > 25 || text[at-1] == '.' {
		return
	}
	for _, c := range text[dot+1 : end] {
		if c|0x20-'a' > 25 {
			return
		}
	}
	for i := start; i > 2 && start-i < 80 && !blank(text[i-1]); i-- {
		if text[i-1] == '/' && text[i-2] == '/' && text[i-3] == ':' {
			return // the password of an address
		}
	}
	s.emit(v, s.e.fixed("pii.email"), start, end, "")
}

func isOneOf(c byte, of string) bool {
	for i := range len(of) {
		if of[i] == c {
			return true
		}
	}
	return false
}
