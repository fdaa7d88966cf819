package mask

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Value masks every string in nested maps and lists, names of members too, and
// gives a copy of the same types and nesting; nothing of v is changed.
//
// A number stays a number: one that is a payment card's (issuer, length, Luhn)
// becomes 0 if a pattern finds it or pii.card is among the built-in rules, and
// so does one that holds a known secret. Patterns alone do not touch numbers:
// every ten digits would be a telephone's. Two names that become one are told
// apart by a number behind the second. json.RawMessage is masked as a document,
// []byte as text. What is none of these is masked as encoding/json writes it
// and comes back as its maps and lists; what it cannot write, and what is
// nested deeper than 64, becomes a text that says so.
func (m *Masker) Value(v any) any { return m.value("", v, 0) }

func (m *Masker) value(key string, v any, depth int) any {
	if depth > maxDepth {
		return m.whole
	}
	switch v := v.(type) {
	case nil, bool:
		return v
	case string:
		return m.leaf(key, v, 0)
	case json.Number:
		if m.number(v.String()) {
			return json.Number("0")
		}
		return v
	case float64:
		if m.number(strconv.FormatFloat(v, 'f', -1, 64)) {
			return float64(0)
		}
		return v
	case map[string]any:
		return members(m, v, func(k string, x any) any { return m.value(k, x, depth+1) })
	case map[string]string:
		return members(m, v, func(k, x string) string { return m.leaf(k, x, 0) })
	case []any:
		return elements(v, func(x any) any { return m.value(key, x, depth+1) })
	case []string:
		return elements(v, func(x string) string { return m.leaf(key, x, 0) })
	case json.RawMessage:
		if masked := m.String(string(v)); json.Valid([]byte(masked)) {
			return json.RawMessage(masked)
		}
		return json.RawMessage(quote(m.leaf(key, string(v), 0)))
	case []byte:
		if v == nil {
			return v
		}
		return []byte(m.leaf(key, string(v), 0))
	}
	return m.other(key, v, depth)
}

// other masks numbers of other types, types made of string, and the rest as
// JSON.
func (m *Masker) other(key string, v any, depth int) any {
	r := reflect.ValueOf(v)
	zero := reflect.Zero(r.Type()).Interface()
	switch {
	case r.CanInt():
		if m.number(strconv.FormatInt(r.Int(), 10)) {
			return zero
		}
		return v
	case r.CanUint():
		if m.number(strconv.FormatUint(r.Uint(), 10)) {
			return zero
		}
		return v
	case r.CanFloat():
		if m.number(strconv.FormatFloat(r.Float(), 'f', -1, 32)) {
			return zero
		}
		return v
	case r.Kind() == reflect.String:
		out := reflect.New(r.Type()).Elem()
		out.SetString(m.leaf(key, r.String(), 0))
		return out.Interface()
	case r.Kind() == reflect.Bool:
		return v
	}
	text, err := json.Marshal(v)
	if err != nil {
		return m.whole
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var plain any
	if d.Decode(&plain) != nil {
		return m.whole
	}
	return m.value(key, plain, depth+1)
}

func members[T any](m *Masker, in map[string]T, each func(string, T) T) map[string]T {
	if in == nil {
		return nil
	}
	out := make(map[string]T, len(in))
	for _, k := range slices.Sorted(maps.Keys(in)) {
		name := m.String(k)
		for n := 2; ; n++ {
			if _, taken := out[name]; !taken {
				break
			}
			name = m.String(k) + " " + strconv.Itoa(n)
		}
		if out[name] = each(k, in[k]); name != k { // as masking again would see it
			out[name] = each(name, out[name])
		}
	}
	return out
}

func elements[T any](in []T, each func(T) T) []T {
	if in == nil {
		return nil
	}
	out := make([]T, len(in))
	for i, x := range in {
		out[i] = each(x)
	}
	return out
}

// number reports that the digits of a number must not be stored.
func (m *Masker) number(text string) bool {
	if len(text) < 8 { // shorter than any card or secret
		return false
	}
	r := m.cards.Scan([]byte(text))
	for i := range r.Findings {
		switch r.Findings[i].Rule {
		case "secret.known":
			return true
		case "pii.card":
			if m.kinds["pii.card"] || slices.ContainsFunc(m.patterns, func(p *pattern) bool { return p.re.MatchString(text) }) {
				return true
			}
		}
	}
	return false
}
