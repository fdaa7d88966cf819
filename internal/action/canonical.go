package action

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxExact is the largest integer magnitude that IEEE double carries exactly.
const maxExact = 1 << 53

// maxDepth bounds nesting, for canonicalisation and parsing alike.
const maxDepth = 64

// Canonical renders a JSON value as RFC 8785 (JCS) does. It refuses what two
// readers could understand differently: integers beyond 2^53, NaN, infinities,
// invalid UTF-8, nesting beyond 64 and types JSON lacks.
func Canonical(v any) ([]byte, error) { return appendCanonical(make([]byte, 0, 512), v, 0) }

func appendCanonical(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nesting beyond %d", maxDepth)
	}
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case string:
		return appendString(b, v)
	case int:
		return appendInt(b, int64(v))
	case int64:
		return appendInt(b, v)
	case float64:
		return appendFloat(b, v)
	case []string:
		return appendSlice(b, v, depth)
	case []any:
		return appendSlice(b, v, depth)
	case map[string]any:
		return appendObject(b, v, depth)
	}
	return nil, fmt.Errorf("type %T is not a JSON value", v)
}

func appendSlice[T any](b []byte, vs []T, depth int) ([]byte, error) {
	b = append(b, '[')
	var err error
	for i, v := range vs {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendCanonical(b, v, depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendObject(b []byte, m map[string]any, depth int) ([]byte, error) {
	keys := slices.SortedFunc(maps.Keys(m), compareUTF16)
	b = append(b, '{')
	var err error
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendString(b, k); err != nil {
			return nil, err
		}
		b = append(b, ':')
		if b, err = appendCanonical(b, m[k], depth+1); err != nil {
			return nil, fmt.Errorf("%q: %w", k, err)
		}
	}
	return append(b, '}'), nil
}

// compareUTF16 orders keys by UTF-16 code units, as RFC 8785 §3.2.3 demands.
// For ASCII, the usual case, that is the order of the bytes.
func compareUTF16(a, b string) int {
	if ascii(a) && ascii(b) {
		return strings.Compare(a, b)
	}
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func appendInt(b []byte, n int64) ([]byte, error) {
	if n > maxExact || n < -maxExact {
		return nil, fmt.Errorf("integer %d is not exact in IEEE double", n)
	}
	return strconv.AppendInt(b, n, 10), nil
}

// appendFloat relies on encoding/json, which formats as ECMAScript does.
func appendFloat(b []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%v is not a JSON number", f)
	}
	if f == 0 { // RFC 8785: negative zero becomes 0
		return append(b, '0'), nil
	}
	s, err := json.Marshal(f)
	return append(b, s...), err
}

func appendString(b []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, fmt.Errorf("string %.40q is not valid UTF-8", s)
	}
	b = append(b, '"')
	start := 0 // of the run that needs no escape
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' {
			b = append(b, s[start:i]...)
			b = appendEscape(b, c)
			start = i + 1
		}
	}
	b = append(b, s[start:]...)
	return append(b, '"'), nil
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, `\b`...)
	case '\t':
		return append(b, `\t`...)
	case '\n':
		return append(b, `\n`...)
	case '\f':
		return append(b, `\f`...)
	case '\r':
		return append(b, `\r`...)
	}
	return append(b, '\\', 'u', '0', '0', '0'+c>>4, "0123456789abcdef"[c&15])
}
