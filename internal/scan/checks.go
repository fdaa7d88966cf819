package scan

import (
	"encoding/base64"
	"encoding/json"
	"hash/crc32"
	"slices"
	"strings"
)

// checks are the checksums and structures that a rule file may name.
var checks = map[string]func([]byte) bool{
	"base62-crc32": base62CRC,
	"jwt":          isJWT,
	"key-material": hasKeyMaterial,
	"url-password": hasURLPassword,
	"luhn":         luhn,
	"wif":          isWIF,
	"drawn":        func(b []byte) bool { return drawn(b, true, false) },
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// base62CRC checks a token whose last six characters are the CRC-32 of the
// characters between its prefix and them, in base 62.
func base62CRC(token []byte) bool {
	i := strings.LastIndexByte(string(token), '_')
	body := token[i+1:]
	if len(body) < 7 {
		return false
	}
	n := len(body) - 6
	want := crc32.ChecksumIEEE(body[:n])
	var sum [6]byte
	for k := 5; k >= 0; k-- {
		sum[k] = base62[want%62]
		want /= 62
	}
	return string(sum[:]) == string(body[n:])
}

// isJWT checks that the first part of a token is a JSON object with an
// algorithm or a type.
func isJWT(token []byte) bool {
	head, _, _ := strings.Cut(string(token), ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return false
	}
	var h map[string]any
	if json.Unmarshal(raw, &h) != nil {
		return false
	}
	return h["alg"] != nil || h["typ"] != nil || h["enc"] != nil
}

// hasKeyMaterial checks that base64 follows the first line of a key, so that
// the mere mention of the line is none.
func hasKeyMaterial(key []byte) bool {
	_, body, _ := strings.Cut(string(key), "-----") // the first line's head
	_, body, _ = strings.Cut(body, "-----")
	body, _, _ = strings.Cut(body, "-----") // and the last line, if it was read
	n := 0
	for _, c := range []byte(body) {
		if isAlnum(c) || c == '+' || c == '/' {
			n++
		}
	}
	return n >= 40
}

// hasURLPassword checks that the password of an address is no placeholder.
func hasURLPassword(address []byte) bool {
	_, rest, _ := strings.Cut(string(address), "://")
	rest, _, _ = strings.Cut(rest, "@")
	_, pass, ok := strings.Cut(rest, ":")
	if !ok || len(pass) < 3 || placeholder([]byte(pass)) {
		return false
	}
	switch strings.ToLower(pass) {
	case "password", "pass", "pwd", "secret", "passwd":
		return false
	}
	return !strings.HasPrefix(pass, "$") && !strings.HasPrefix(pass, "[") && !strings.HasPrefix(pass, "%s")
}

// luhn checks the digits among some bytes.
func luhn(b []byte) bool {
	sum, n := 0, 0
	for _, c := range slices.Backward(b) {
		d := int(c) - '0'
		if d < 0 || d > 9 {
			continue
		}
		if n%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		n++
	}
	return n > 0 && sum%10 == 0
}
