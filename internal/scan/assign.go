package scan

import (
	"bytes"
	"strings"
)

// fillers are the words that may stand between a word for a secret and the
// value: "api key token is ...".
var fillers = func() map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq("key keys token tokens secret secrets private access api app auth code value is id s the my new client service bearer basic user string env prod live test default for pat password") {
		m[w] = true
	}
	return m
}()

// announcedWithin is how far behind its word a value may begin.
const announcedWithin = 40

// named looks behind a word for a secret for a value that looks drawn by lot,
// whatever the vendor: name KEY value, name_token = "value", name-secret: value.
func (s *Scanner) named(v *view, c *contextRule, at, end int) {
	i, assigned := announcedAt(v.text, end)
	text := v.text
	if i < 0 || i == end || i >= len(text) || !isAlnum(text[i]) {
		return
	}
	to := i
	for to < len(text) && to-i < 512 && valueByte[text[to]] {
		to++
	}
	if !s.spend(to-end+8) || to < len(text) && (text[to] == '(' || text[to] == '[' || text[to] >= 0x80) {
		return
	}
	if next := bytes.TrimLeft(text[to:min(len(text), to+16)], " \t\""); !assigned && len(next) > 0 && (next[0] == '=' || next[0] == ':') {
		return // what was read is the rest of a longer name
	}
	loud := text[at]-'A' < 26 && text[end-1]-'A' < 26
	if value := trimValue(text[i:to]); drawn(value, assigned, loud) && !placeholder(value) {
		s.emit(v, c.rule, i, i+len(value), "")
	}
}

// announcedAt gives where the value behind a word begins and whether a sign of
// assignment or a quote stands between; -1 if no value follows.
func announcedAt(text []byte, i int) (at int, assigned bool) {
	lines, strange, from := 0, 0, i
	for limit := min(len(text), i+announcedWithin); i < limit; {
		b := text[i]
		if isAlnum(b) {
			to := wordEnd(text[:limit], i)
			if to > i && to < limit && text[to] == ':' && strange == 0 && i > from { // key=vendor:value
				strange++
			} else if !filler(text[i:to]) || to < len(text) && text[to]-'0' < 10 {
				return i, assigned
			}
			i = to
			continue
		}
		switch {
		case b == '-' && i-from > 1 && text[i-1] == '-' && text[i-2] == '-': // the frame of a public key, or a rule
			return -1, false
		case b == '=' || b == ':' || b == '"' || b == '\'' || b == '`' || b == '>':
			assigned = true
		case b == '\n' || b == '\\' && i+1 < limit && (text[i+1] == 'n' || text[i+1] == 't'):
			if lines++; lines > 2 {
				return -1, false
			}
			if b == '\\' {
				i++
			}
		case strings.IndexByte(" \t\r-_,([{|<*/\\.", b) < 0:
			return -1, false
		}
		i++
	}
	return i, assigned
}

// wordEnd gives the end of the letters that begin at a place.
func wordEnd(text []byte, i int) int {
	for i < len(text) && text[i]|0x20-'a' < 26 {
		i++
	}
	return i
}

// filler reports one of the fillers, in any case.
func filler(b []byte) bool {
	var word [10]byte
	if len(b) == 0 || len(b) > len(word) {
		return false
	}
	for i, c := range b {
		word[i] = lower(c)
	}
	return fillers[string(word[:len(b)])]
}

// valueByte are the bytes of tokens in any usual alphabet.
var valueByte = func() (t [256]bool) {
	for c := range 256 {
		t[c] = isAlnum(byte(c)) || strings.IndexByte("+/_.~=-", byte(c)) >= 0
	}
	return t
}()

func trimValue(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == '.' || b[len(b)-1] == '-' || b[len(b)-1] == '/') {
		b = b[:len(b)-1]
	}
	return b
}

// drawn reports that a value looks drawn by lot: most of it is pieces between
// separators that no word and no name in a program looks like.
func drawn(b []byte, assigned, loud bool) bool {
	least := 20
	if assigned || loud {
		least = 10
	}
	if len(b) < least || entropy(b) < 2.4 || len(b) <= 18 && b[0] == '0' && b[1]|0x20 == 'x' { // the last is a number
		return false
	}
	odd, all := 0, 0
	if likeUUID(b) {
		return true
	}
	for i := 0; i < len(b); {
		to := i
		for to < len(b) && (isAlnum(b[to]) || b[to] == '+') {
			to++
		}
		piece := b[i:to]
		all += len(piece)
		if oddPiece(piece, assigned || loud) {
			odd += len(piece)
		}
		i = to + 1
	}
	return odd >= 8 && odd*5 >= all*3
}

// likeUUID reports letters and digits in groups of eight, four, four and more.
func likeUUID(b []byte) bool {
	if len(b) < 32 || b[8] != '-' || b[13] != '-' || b[18] != '-' {
		return false
	}
	for i, c := range b {
		if !isAlnum(c) && (c != '-' || b[i-1] == '-') {
			return false
		}
	}
	return hasBoth(b)
}

const letterKinds = kindDigit | kindUpper | kindLower

// oddPiece judges letters and digits without a separator between.
func oddPiece(b []byte, announced bool) bool { //nolint:gocognit // one count per kind of byte
	if len(b) < 4 {
		return false
	}
	digits, groups, turns, hard, run, noHex := 0, 0, 0, 0, 0, 0
	for i, c := range b {
		digit := c-'0' < 10
		if digit {
			digits++
			if i == 0 || b[i-1]-'0' > 9 {
				groups++
			}
		} else if c|0x20-'a' > 5 {
			noHex++
		}
		if i > 0 && kinds[c]&letterKinds != kinds[b[i-1]]&letterKinds {
			turns++
		}
		if digit || isVowel(c) || c == '+' {
			run = 0
		} else if run++; run > hard {
			hard = run
		}
	}
	switch {
	case digits == len(b):
		return announced && len(b) >= 4 && (len(b) >= 20 || len(b) <= 12)
	case noHex == 0 && (digits > 0 || announced && len(b) >= 32):
		return true
	case digits == 0:
		return announced && len(b) >= 16 && hard >= 5
	}
	// Words and names change between large, small and digit twice a word; what
	// is drawn from all of them changes at every second place or more.
	return groups >= 3 || groups == 2 && (digits*5 >= len(b) || hard >= 4) || turns*2 >= len(b) && (announced || len(b) >= 8) || digits*4 >= len(b) && len(b) >= 8 || hard >= 5 || announced && len(b) <= 12 && digits*4 >= len(b)
}

func isVowel(c byte) bool {
	switch c | 0x20 {
	case 'a', 'e', 'i', 'o', 'u', 'y':
		return true
	}
	return false
}
