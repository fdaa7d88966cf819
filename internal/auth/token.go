package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"hash/crc32"
	"strings"
)

// Prefix begins every API key, so that people and scanners recognise one.
const Prefix = "sallyport_"

// A token is the prefix, 32 random bytes and the CRC-32 of both, in base32:
// 52 and 7 characters. The checksum is no secret; it tells a mistyped key from
// an unknown one, and lets scanners be sure.
const (
	randomBytes = 32
	randomChars = 52
	checkChars  = 7
)

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewToken makes a key. The token is shown once; only its hash is kept.
func NewToken() (token string, hash [sha256.Size]byte) {
	var b [randomBytes]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	body := Prefix + encoding.EncodeToString(b[:])
	token = body + check(body)
	return token, Hash(token)
}

// Hash is what is kept of a token. 256 random bits need neither salt nor a slow
// function.
func Hash(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// WellFormed tells whether a text can be a key at all.
func WellFormed(token string) bool {
	rest, ok := strings.CutPrefix(token, Prefix)
	if !ok || len(rest) != randomChars+checkChars {
		return false
	}
	body := token[:len(token)-checkChars]
	return token[len(body):] == check(body)
}

func check(body string) string {
	return encoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body))))
}
