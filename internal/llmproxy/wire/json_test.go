package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/internal/fault"
)

// tree turns the nodes into what encoding/json would give.
func (d *doc) tree(n int) any {
	switch d.kind(n) {
	case null:
		return nil
	case boolFalse, boolTrue:
		return d.kind(n) == boolTrue
	case number:
		return json.Number(d.raw(n))
	case text:
		return string(d.name(n))
	case array:
		out := []any{}
		for e := range d.elements(n) {
			out = append(out, d.tree(e))
		}
		return out
	default:
		out := map[string]any{}
		for k := range d.members(n) {
			out[string(d.name(k))] = d.tree(k + 1)
		}
		return out
	}
}

// reference reads with encoding/json and reports whether a key came twice or a
// string was mended, which our reader refuses.
func reference(body []byte) (v any, strange bool, err error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, false, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, false, fmt.Errorf("trailing data")
	}
	return v, bytes.ContainsRune(body, '\uFFFD') || repeated(json.NewDecoder(bytes.NewReader(body))) || mended(v), nil
}

// mended reports a replacement character: encoding/json puts one where UTF-8 or
// a surrogate is broken.
func mended(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.ContainsRune(v, '\uFFFD')
	case []any:
		return slices.ContainsFunc(v, mended)
	case map[string]any:
		for k, e := range v {
			if mended(k) || mended(e) {
				return true
			}
		}
	}
	return false
}

func repeated(dec *json.Decoder) bool {
	tok, err := dec.Token()
	if err != nil {
		return false
	}
	switch tok {
	case json.Delim('['):
		for dec.More() {
			if repeated(dec) {
				return true
			}
		}
		_, _ = dec.Token()
	case json.Delim('{'):
		seen := map[string]bool{}
		for dec.More() {
			key, err := dec.Token()
			k, ok := key.(string)
			if err != nil || !ok || seen[k] {
				return true
			}
			if seen[k] = true; repeated(dec) {
				return true
			}
		}
		_, _ = dec.Token()
	}
	return false
}

func deep(body []byte) bool {
	depth, most, quoted := 0, 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '{' || c == '['):
			depth++
			most = max(most, depth)
		case !quoted && (c == '}' || c == ']'):
			depth--
		}
	}
	return most > maxDepth
}

var strictCases = []struct {
	body, want string // want: part of the refusal, "" for accepted
}{
	{`{}`, ""},
	{" {\"a\" : [ 1 , -0.5e+3, true, false, null, \"\" ] }\r\n", ""},
	{`{"a":"é 😀 \ud83d\ude00 \u0000 \/ \" \\ \b\f\n\r\t"}`, ""},
	{`{"a":1,"a":2}`, "a key is there twice at byte 7"},
	{`{"a":1,"\u0061":2}`, "a key is there twice"},
	{`[{"x":{"b":1,"c":{"d":1,"d":1}}}]`, "a key is there twice"},
	{"{\"a\":\"\xff\"}", "not valid UTF-8"},
	{"{\"a\":\"\xed\xa0\x80\"}", "not valid UTF-8"},
	{"{\"a\":\"\xc0\x80\"}", "not valid UTF-8"},
	{`{"a":"\ud800"}`, "half a surrogate"},
	{`{"a":"\ud800\ud800"}`, "half a surrogate"},
	{`{"a":"\udc00"}`, "half a surrogate"},
	{`{"a":"\ud83dx\ude00"}`, "half a surrogate"},
	{"{\"a\":\"\n\"}", "control character"},
	{"{\"aaaaaaaaaaaaaaaaaaa\x1f\":1}", "control character"},
	{`{"a":1}{}`, "something follows"},
	{`{"a":1} x`, "something follows"},
	{"\ufeff{}", "no value"},
	{`{"a":01}`, "no value"},
	{`{"a":+1}`, "no value"},
	{`{"a":1.}`, "no digits after its point"},
	{`{"a":1e}`, "no exponent"},
	{`{"a":NaN}`, "no value"},
	{`{"a":nulL}`, "no value"},
	{`{"a":"\x41"}`, "an escape is unknown"},
	{`{"a":"\u00g0"}`, "not four hexadecimal"},
	{`{"a"}`, "a colon"},
	{`{"a":1,}`, "a key is missing"},
	{`[1,]`, "no value"},
	{`{a:1}`, "a key is missing"},
	{`{'a':1}`, "a key is missing"},
	{`{"a":1 "b":2}`, "a comma or a brace"},
	{`[1 2]`, "a comma or a bracket"},
	{`{"a":"`, "has no end"},
	{`{"a":"x\`, "has no end"},
	{`{"a":`, "ends early"},
	{`[`, "ends early"},
	{``, "ends early"},
	{strings.Repeat("[", 128) + strings.Repeat("]", 128), ""},
	{strings.Repeat("[", 129) + strings.Repeat("]", 129), "nested deeper"},
	{"/* c */{}", "no value"},
}

func TestStrict(t *testing.T) {
	for _, c := range strictCases {
		err := Check([]byte(c.body))
		if c.want == "" {
			if err != nil {
				t.Errorf("%.60q: %v", c.body, err)
			}
			continue
		}
		if !fault.Is(err, fault.Usage) || !strings.Contains(fault.PublicText(err), c.want) {
			t.Errorf("%.60q: got %v, want a refusal with %q", c.body, err, c.want)
		}
	}
}

// TestManyKeys: duplicates are found in objects too large to compare each key
// with each, and the work stays linear.
func TestManyKeys(t *testing.T) {
	for _, n := range []int{1, 15, 16, 17, 18, 40, 200_000} {
		var b strings.Builder
		b.WriteString(`{"k0":{"k0":1}`)
		for i := 1; i <= n; i++ {
			fmt.Fprintf(&b, `,"k%d":{"k1":0}`, i)
		}
		whole := b.String()
		if err := Check([]byte(whole + "}")); err != nil {
			t.Errorf("%d keys: %v", n, err)
		}
		for _, again := range []string{"k0", `\u006b0`, fmt.Sprintf("k%d", n)} {
			if err := Check([]byte(whole + `,"` + again + `":1}`)); err == nil {
				t.Errorf("%d keys and %q again: accepted", n, again)
			}
		}
	}
}

func TestTooManyValues(t *testing.T) {
	body := []byte("[" + strings.Repeat("0,", maxValues-2) + "0]")
	if err := Check(body); err != nil {
		t.Errorf("%d values: %v", maxValues, err)
	}
	if err := Check([]byte("[0," + string(body[1:]))); err == nil {
		t.Errorf("%d values: accepted", maxValues+1)
	}
}

// FuzzStrict compares with encoding/json: what we accept it reads the same;
// what only it accepts has a key twice, broken text or too much depth.
func FuzzStrict(f *testing.F) {
	for _, c := range strictCases {
		f.Add([]byte(c.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want, strange, err := reference(body)
		d, refusal := open(body)
		if refusal != nil {
			if err == nil && !strange && !deep(body) {
				t.Fatalf("%q: refused: %v", body, refusal)
			}
			return
		}
		defer d.free()
		if err != nil {
			t.Fatalf("%q: accepted, encoding/json says %v", body, err)
		}
		if repeated(json.NewDecoder(bytes.NewReader(body))) {
			t.Fatalf("%q: a key twice was accepted", body)
		}
		// Not cmp: its work doubles with each level of nesting.
		if got := d.tree(0); !reflect.DeepEqual(want, got) {
			t.Fatalf("%q: %v, want %v", body, got, want)
		}
		for i := range d.nodes {
			if s := d.span(i); s.Start >= s.End || s.End > len(body) || int(d.nodes[i].next) <= i {
				t.Fatalf("%q: node %d is %+v", body, i, d.nodes[i])
			}
		}
	})
}

// history makes an agent's request of about size bytes: turns of prose and
// arguments, each answered by a part of a source file.
func history(size int) []byte {
	source, err := os.ReadFile("json.go")
	if err != nil {
		panic(err)
	}
	code := string(source[:3000])
	turn := map[string]any{"role": "assistant", "content": []any{
		map[string]any{"type": "text", "text": "Now I read the file and look at the part that matters to us."},
		map[string]any{"type": "tool_use", "id": "toolu_01", "name": "Read", "input": map[string]any{"file_path": "/src/main.go", "limit": 200}},
	}}
	answer := map[string]any{"role": "user", "content": []any{
		map[string]any{"type": "tool_result", "tool_use_id": "toolu_01", "content": code},
	}}
	one := len(encode(turn)) + len(encode(answer))
	body := map[string]any{"model": "claude", "max_tokens": 4096, "stream": true, "system": strings.Repeat("Be kind. ", 20)}
	var messages []any
	for n := 0; n*one < size; n++ {
		messages = append(messages, turn, answer)
	}
	body["messages"] = messages
	return encode(body)
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// BenchmarkParse compares with encoding/json over the same bytes in one run;
// best-ns is the fastest of all runs, which other work on the machine disturbs
// least.
func BenchmarkParse(b *testing.B) {
	for _, size := range []int{2 << 10, 50 << 10, 1 << 20} {
		body := history(size)
		for _, reader := range []struct {
			name string
			read func() error
		}{
			{"wire", func() error { _, err := ParseRequest(Route{API: Messages}, body); return err }},
			{"strict-only", func() error { return Check(body) }},
			{"encoding-json", func() error { var v any; return json.Unmarshal(body, &v) }},
		} {
			b.Run(fmt.Sprintf("%s/%dKB", reader.name, size>>10), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				best := time.Hour
				for b.Loop() {
					start := time.Now()
					if err := reader.read(); err != nil {
						b.Fatal(err)
					}
					best = min(best, time.Since(start))
				}
				b.ReportMetric(float64(best), "best-ns")
			})
		}
	}
}
