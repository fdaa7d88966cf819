package stream

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// unescape gives the text of a string's inside; whole is false if a surrogate
// stands alone, which readers treat differently.
func unescape(b []byte) (s string, whole bool) {
	out := make([]byte, 0, len(b))
	whole = true
	for p := 0; p < len(b); {
		c := b[p]
		if c != '\\' {
			next := bytes.IndexByte(b[p:], '\\')
			if next < 0 {
				next = len(b) - p
			}
			out = append(out, b[p:p+next]...)
			p += next
			continue
		}
		if i := strings.IndexByte("bfnrt", b[p+1]); i >= 0 {
			out = append(out, "\b\f\n\r\t"[i])
			p += 2
			continue
		}
		if b[p+1] != 'u' {
			out = append(out, b[p+1])
			p += 2
			continue
		}
		r, _ := hex4(b, p+2)
		p += 6
		if utf16.IsSurrogate(r) {
			low, ok := rune(0), false
			if p+1 < len(b) && b[p] == '\\' && b[p+1] == 'u' {
				low, ok = hex4(b, p+2)
			}
			if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
				p += 6
			} else {
				r, whole = utf8.RuneError, false
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out), whole
}

// quote writes s as a JSON string.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""` // a string always marshals
	}
	return string(b)
}
