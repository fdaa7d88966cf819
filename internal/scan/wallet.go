package scan

import (
	"crypto/sha256"
	_ "embed"
	"strings"
	"sync"
)

//go:embed rules/bip39.txt
var bip39 string

// seedWords gives each word of BIP-39's English list its number.
var seedWords = sync.OnceValue(func() map[string]uint16 {
	m := make(map[string]uint16, 2048)
	for w := range strings.FieldsSeq(bip39) {
		m[w] = uint16(len(m))
	}
	return m
})

const (
	longestSeed = 24 // words
	longestWord = 8  // letters of BIP-39's
	seedBits    = 11 // of a word
)

// seedPhrase finds the first row of words that is a wallet's seed: 12, 15, 18,
// 21 or 24 of the list, whose last bits are a checksum of the others. Numbers,
// commas and ends of lines may stand between.
func seedPhrase(text []byte) (start, end int, ok bool) {
	words := seedWords()
	var numbers [longestSeed]uint16
	var places [longestSeed][2]int
	n := 0
	for i := 0; i < len(text); {
		gap := i
		for i < len(text) && text[i]|0x20-'a' > 25 {
			i++
		}
		at := i
		i = wordEnd(text, i)
		var low [longestWord]byte
		number, known := uint16(0), false
		if i-at <= longestWord {
			for k, c := range text[at:i] {
				low[k] = lower(c)
			}
			number, known = words[string(low[:i-at])]
		}
		if !known || at-gap > 6 {
			n = 0
		}
		if !known {
			continue
		}
		if n == longestSeed {
			copy(numbers[:], numbers[1:])
			copy(places[:], places[1:])
			n--
		}
		numbers[n], places[n] = number, [2]int{at, i}
		n++
		for most := n / 3 * 3; most >= 12; most -= 3 {
			if seedHolds(numbers[n-most : n]) {
				return places[n-most][0], i, true
			}
		}
	}
	return 0, 0, false
}

// seedHolds checks the bits of a seed's words: of every 33, 32 are the secret
// and one is of its digest.
func seedHolds(numbers []uint16) bool {
	bits := len(numbers) * seedBits
	var b [(longestSeed*seedBits + 7) / 8]byte
	for i := range bits {
		if numbers[i/seedBits]>>(seedBits-1-i%seedBits)&1 != 0 {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	secret := bits * 32 / 33
	sum := sha256.Sum256(b[:secret/8])
	for i := secret; i < bits; i++ {
		if (b[i/8]>>(7-i%8)^sum[(i-secret)/8]>>(7-(i-secret)%8))&1 != 0 {
			return false
		}
	}
	return true
}

// seedWithin is how far behind a word for a wallet its seed is looked for.
const seedWithin = 512

// seed looks behind a word for a wallet.
func (s *Scanner) seed(v *view, rule int32, end int) {
	near := v.text[end:min(len(v.text), end+seedWithin)]
	if !s.spend(4 * len(near)) {
		return
	}
	if start, to, ok := seedPhrase(near); ok {
		s.emit(v, rule, end+start, end+to, "")
	}
}

const base58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// isWIF checks a wallet's private key in Bitcoin's import format: base 58 of a
// network's byte, 32 bytes, perhaps a mark, and four bytes of a digest.
func isWIF(text []byte) bool {
	var b [38]byte
	for _, c := range text {
		carry := strings.IndexByte(base58, c)
		if carry < 0 {
			return false
		}
		for i := len(b) - 1; i >= 0; i-- {
			carry += 58 * int(b[i])
			b[i] = byte(carry) //nolint:gosec // the low eight bits
			carry >>= 8
		}
		if carry != 0 {
			return false
		}
	}
	raw := b[:]
	if raw[0] == 0 { // without the mark of a compressed key
		raw = raw[1:]
	}
	if raw[0] != 0x80 && raw[0] != 0xEF {
		return false
	}
	n := len(raw) - 4
	once := sha256.Sum256(raw[:n])
	twice := sha256.Sum256(once[:])
	return string(twice[:4]) == string(raw[n:])
}
