package action

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// ParseObject reads one JSON object from untrusted bytes into the types that
// Canonical accepts. It refuses duplicate keys, numbers that IEEE double does
// not carry exactly, invalid UTF-8, unpaired surrogates, nesting beyond 64 and
// trailing bytes, because two parsers could disagree on each of them.
func ParseObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("action: parse: not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		return nil, fmt.Errorf("action: parse: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("action: parse: bytes after the object")
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("action: parse: not an object")
	}
	return m, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nesting beyond %d", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return parseMembers(d, depth)
		}
		return parseElements(d, depth)
	case json.Number:
		return parseNumber(t)
	case string:
		return t, checkText(t)
	default: // nil, bool
		return t, nil
	}
}

// checkText refuses the replacement character: encoding/json puts it where an
// escape was an unpaired surrogate, and the original can no longer be told.
func checkText(s string) error {
	for _, r := range s {
		if r == utf8.RuneError {
			return errors.New("string with an unpaired surrogate or U+FFFD")
		}
	}
	return nil
}

func parseMembers(d *json.Decoder, depth int) (map[string]any, error) {
	m := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, ok := t.(string)
		if !ok {
			return nil, errors.New("key is not a string")
		}
		if err := checkText(key); err != nil {
			return nil, err
		}
		if _, dup := m[key]; dup {
			return nil, fmt.Errorf("duplicate key %q", key)
		}
		if m[key], err = parseValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return m, err
}

func parseElements(d *json.Decoder, depth int) ([]any, error) {
	s := []any{}
	for d.More() {
		v, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		s = append(s, v)
	}
	_, err := d.Token()
	return s, err
}

func parseNumber(n json.Number) (any, error) {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		if i > maxExact || i < -maxExact {
			return nil, fmt.Errorf("integer %s is not exact in IEEE double", n)
		}
		return i, nil
	}
	f, err := n.Float64()
	if err != nil {
		return nil, fmt.Errorf("number %s is out of range", n)
	}
	if f >= maxExact || f <= -maxExact {
		return nil, fmt.Errorf("number %s is not exact in IEEE double", n)
	}
	return f, nil
}
