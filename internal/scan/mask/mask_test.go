package mask

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sallyport/internal/scan"
)

const (
	canary = "canary-7Hq2vXz9LmP4rTw8"
	token  = "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"
)

// seed are the patterns of the monitor's configuration, as it writes them.
func seed() []Pattern {
	return []Pattern{
		{"credit_card", `\b(?:\d{4}[- ]?){3}\d{4}\b`, "[CREDIT_CARD]"},
		{"ssn", `\b\d{3}-\d{2}-\d{4}\b`, "[SSN]"},
		{"email", `\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Z|a-z]{2,}\b`, "[EMAIL]"},
		{"phone", `\b(?:\+\d{1,2}\s?)?\(?\d{3}\)?[\s.-]?\d{3}[\s.-]?\d{4}\b`, "[PHONE]"},
		{"ip_address", `\b(?:\d{1,3}\.){3}\d{1,3}\b`, "[IP_ADDRESS]"},
	}
}

func masker(t testing.TB, p []Pattern, o Options) *Masker {
	t.Helper()
	m, err := New(p, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func known() Options { return Options{Secrets: []scan.Secret{{Name: "canary", Value: canary}}} }

func TestString(t *testing.T) {
	m := masker(t, seed(), known())
	for text, want := range map[string]string{
		"nothing to see, in 2024 at 10:30":                    "nothing to see, in 2024 at 10:30",
		"card 4111-1111-1111-1111.":                           "card [CREDIT_CARD].",
		"card 4111111111111111":                               "card [CREDIT_CARD]",
		"ssn 078-05-1120, mail a.b+c@d-e.example and b@c.org": "ssn [SSN], mail [EMAIL] and [EMAIL]",
		"call (415) 555-2671 or +1 415.555.2671":              "call ([PHONE] or +1 [PHONE]",
		"from 10.0.0.1 to 192.168.17.254:80":                  "from [IP_ADDRESS] to [IP_ADDRESS]:80",
		"the key is " + token:                                 "the key is [secret.github-pat]",
		"so " + canary + " it is":                             "so [secret.known] it is",
		`{"q":"mail a@b.example"}`:                            `{"q":"mail [EMAIL]"}`,
		`{"q":"mail a\u0040b.example", "n" : 1700000000}`:     `{"q":"mail [EMAIL]", "n" : 1700000000}`,
		`{"n": [4111111111111111, -3.5e2]}`:                   `{"n": [0, -3.5e2]}`,
		`{"a":"{\"b\":\"{\\\"c\\\":\\\"x@y.example\\\"}\"}"}`: `{"a":"{\"b\":\"{\\\"c\\\":\\\"[EMAIL]\\\"}\"}"}`,
		`{"x@y.example":"1"}`:                                 `{"[EMAIL]":"1"}`,
		`{"n": 1700000000} and x@y.example`:                   `{"n": [PHONE]} and [EMAIL]`,
		"":                                                    "",
	} {
		if diff := cmp.Diff(want, m.String(text)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

// TestSecretsWithoutPatterns: the empty list still hides secrets, in codings
// and under telling names.
func TestSecretsWithoutPatterns(t *testing.T) {
	m := masker(t, nil, known())
	coded := base64.StdEncoding.EncodeToString([]byte(canary))
	for _, text := range []string{token, canary, coded, `password = "hT7#kLq92mXz"`, "postgres://app:Tr0ub4dor@db.internal/x", `{"k":"` + canary[:8] + `\u0071` + canary[9:] + `"}`} {
		got := m.String("see " + text + " here")
		for _, s := range []string{token, canary, coded, "hT7#kLq92mXz", "Tr0ub4dor"} {
			if strings.Contains(got, s) {
				t.Errorf("%q: %q", text, got)
			}
		}
	}
	got := m.Value(map[string]any{"db_password": "hT7#kLq92mXz", "note": "hT7#kLq92mXz", "smtp_password": `hT7"k\Lq92mXz`, "api_key": []any{"Zq8wN3vLx7Rt2Kd9Mf4B"}})
	want := map[string]any{"db_password": "[secret.env-password]", "note": "hT7#kLq92mXz", "smtp_password": "[secret.env-password]", "api_key": []any{"[secret.assigned]"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"[secret.github-pat] key": "harmless words"}, m.Value(map[string]any{token + " key": "harmless words"})); diff != "" {
		t.Errorf("a secret in a name: %s", diff)
	}
	pin := masker(t, nil, Options{Secrets: []scan.Secret{{Name: "pin", Value: "918273645546"}}})
	if got := pin.Value([]any{918273645546, 918273645547}); !cmp.Equal(got, []any{0, 918273645547}) {
		t.Errorf("a secret number: %v", got)
	}
	if got := m.String("a@b.example 4111 1111 1111 1111"); got != "a@b.example 4111 1111 1111 1111" {
		t.Errorf("more than secrets: %q", got)
	}
}

func TestBuiltin(t *testing.T) {
	m := masker(t, nil, Options{Builtin: []string{"pii"}})
	for text, want := range map[string]string{
		"card 4111 1111 1111 1111.":        "card [pii.card 1111].",
		"to DE89 3704 0044 0532 0130 00":   "to [pii.iban 3000]",
		"mail a@b.example":                 "mail [pii.email]",
		`{"card": 4111111111111111}`:       `{"card": 0}`,
		`{"m":"a@b.example","n":12345678}`: `{"m":"[pii.email]","n":12345678}`,
	} {
		if diff := cmp.Diff(want, m.String(text)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	only := masker(t, nil, Options{Builtin: []string{"pii.card"}})
	if got := only.String("a@b.example 4111 1111 1111 1111"); got != "a@b.example [pii.card 1111]" {
		t.Error(got)
	}
}

type named string

func TestValue(t *testing.T) {
	m := masker(t, seed(), known())
	in := map[string]any{
		"s": "x@y.example", "n": json.Number("4111111111111111"), "f": 4111111111111111.0, "i": 4111111111111111, "u": uint64(4111111111111111),
		"time": 1700000000, "timef": 1700000000.0, "b": true, "nil": nil, "empty": []any{}, "none": map[string]any(nil),
		"list": []any{"x@y.example", 3, []string{"10.0.0.1", "ok"}}, "map": map[string]string{"a": "078-05-1120"},
		"raw": json.RawMessage(`{"a": "x@y.example"}`), "bytes": []byte("x@y.example"), "named": named("x@y.example"),
		"struct":      struct{ Mail string }{"x@y.example"},
		"x@y.example": 1, "z@y.example": 2, "f32": float32(1.5), "bad": func() {},
		"rawtext": json.RawMessage(`"x@y.example"`),
	}
	copyOf := fmt.Sprint(in["list"], in["map"])
	want := map[string]any{
		"s": "[EMAIL]", "n": json.Number("0"), "f": 0.0, "i": 0, "u": uint64(0),
		"time": 1700000000, "timef": 1700000000.0, "b": true, "nil": nil, "empty": []any{}, "none": map[string]any(nil),
		"list": []any{"[EMAIL]", 3, []string{"[IP_ADDRESS]", "ok"}}, "map": map[string]string{"a": "[SSN]"},
		"raw": json.RawMessage(`{"a": "[EMAIL]"}`), "bytes": []byte("[EMAIL]"), "named": named("[EMAIL]"),
		"struct":  map[string]any{"Mail": "[EMAIL]"},
		"[EMAIL]": 1, "[EMAIL] 2": 2, "f32": float32(1.5), "bad": "[masked]",
		"rawtext": json.RawMessage(`"[EMAIL]"`),
	}
	got := m.Value(in)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(got, m.Value(got)); diff != "" {
		t.Errorf("masked twice: %s", diff)
	}
	if fmt.Sprint(in["list"], in["map"]) != copyOf {
		t.Error("the value itself was changed")
	}
	var deep any = "x@y.example"
	for range 100 {
		deep = []any{deep}
	}
	if text := fmt.Sprint(m.Value(deep)); strings.Contains(text, "example") {
		t.Errorf("too deep: %s", text)
	}
}

func TestReplacement(t *testing.T) {
	for _, c := range []struct{ regex, with, text, want string }{
		{`\b(\d{4})-(\d{4})\b`, `****-\2`, "1234-5678", "****-5678"},
		{`\b(\d{4})-(\d{4})\b`, `****-$2x`, "1234-5678", "****-5678x"},
		{`\b(?P<a>\d{4})-(\d{4})\b`, `${a}/${2}`, "1234-5678", "1234/5678"},
		{`secretword`, `$$5 \ $`, "a secretword", `a $5 \ $`},
		{`(?i)kelvin|(x)y`, `<$1>`, "\u212aelvin xy", "<> <x>"},
		{`[^a-z ]{3,}`, `-`, "abc \u00e9\xff\u00e9 d", "abc - d"},
		{`(?m)^top.*$`, `T`, "x top\ntop 12\ny", "x top\nT\ny"},
		{`(?s)a.+z`, `T`, "b a\n\nz c", "b T c"},
		{`ab|cd`, ``, "1ab2cd3", "123"},
		{`\Aabc\z`, `T`, "abc", "T"},
		{`\Aabc\z`, `T`, "abc abc", "abc abc"},
		{`\Babc`, `T`, "abc xabc", "abc xT"},
	} {
		m := masker(t, []Pattern{{"p", c.regex, c.with}}, Options{})
		if got := m.String(c.text); got != c.want {
			t.Errorf("%s -> %s: %q, want %q", c.regex, c.with, got, c.want)
		}
	}
}

func TestNew(t *testing.T) {
	for name, p := range map[string]Pattern{
		"syntax":    {"syntax", `(`, ""},
		"look":      {"look", `(?=x)`, ""},
		"empty":     {"empty", `x*`, "y"},
		"nothing":   {"nothing", ``, "y"},
		"edge":      {"edge", `\b`, "y"},
		"size":      {"size", `((((\pL{50}){5}){5})){5}`, "y"},
		"long":      {"long", strings.Repeat("x", 2001), "y"},
		"written":   {"written", `x`, strings.Repeat("y", 257)},
		"group":     {"group", `(x)`, "$2"},
		"unnamed":   {"unnamed", `(x)`, "${y}"},
		"groups":    {"groups", `(x)`, strings.Repeat("$1", 9)},
		"for ever":  {"for ever", `m`, "mm"},
		"alternate": {"alternate", `a|b*`, "y"},
	} {
		if _, err := New([]Pattern{p}, Options{}); err == nil || !strings.Contains(err.Error(), p.Name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(nil, Options{Builtin: []string{"pii.nothing"}}); err == nil {
		t.Error("an unknown rule is taken")
	}
	if _, err := New(nil, Options{Secrets: []scan.Secret{{Name: "k", Value: "short"}}}); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("a short secret: %v", err)
	}
	if _, err := New(slices.Repeat(seed(), 13), Options{}); err == nil {
		t.Error("65 patterns are taken")
	}
}

// TestGrowth: replacing cannot make a text much longer.
func TestGrowth(t *testing.T) {
	m := masker(t, []Pattern{{"x", `q`, strings.Repeat("[X]", 80)}}, Options{})
	for _, n := range []int{1, 4, 1000} {
		text := strings.Repeat("q", n)
		if got := m.String(text); len(got) > 4*len(text)+1024 || strings.Contains(got, "q") {
			t.Errorf("%d bytes become %d", n, len(got))
		}
	}
	loop := masker(t, []Pattern{{"pairs", `aa`, "a"}}, Options{})
	if got := loop.String(strings.Repeat("a", 1<<14)); got != "[masked]" {
		t.Errorf("what does not settle is kept: %.40q", got)
	}
	if got := loop.String(strings.Repeat("a", 1<<10)); got != "a" {
		t.Errorf("what settles is lost: %.40q", got)
	}
}

// TestUnread: more findings than the engine keeps are still all hidden.
func TestUnread(t *testing.T) {
	m := masker(t, nil, Options{Builtin: []string{"pii.email"}})
	text := strings.Repeat("someone@example.org, ", 2000)
	got := m.String(text)
	if strings.Contains(got, "@") || strings.Count(got, "[pii.email]") < 1990 {
		t.Errorf("%d of 2000 addresses, %d unread, %d left", strings.Count(got, "[pii.email]"), strings.Count(got, unreadMark), strings.Count(got, "@"))
	}
	if got := m.String(strings.Repeat("someone@example.org,", 2000)); strings.Contains(got, "@") || !strings.Contains(got, unreadMark) {
		t.Errorf("without a place to cut: %.200q", got)
	}
	if got := m.String(strings.Repeat("a@b.example@", 3000)); strings.Contains(got, "a@b.example") {
		t.Errorf("left: %.100q", got)
	}
}

// TestSameAsRegexp: the filter changes nothing: one pattern gives what the
// expression gives on the whole text.
func TestSameAsRegexp(t *testing.T) {
	list := append(seed(),
		Pattern{"alternatives", `(?i)\b(?:kelvin|so)-?\d+`, "<K>"}, Pattern{"any", `<.{1,9}>`, "<T>"}, Pattern{"lines", `(?m)^-+$`, "="},
		Pattern{"wide", `[\p{Greek}x]{2}\d`, "<G>"}, Pattern{"optional", `a?b+c{2,}d`, "<O>"}, Pattern{"class", `[^\d\s]{12,}`, "<C>"}, Pattern{"dot all", `(?s)"".+?""`, "<D>"})
	var all []*pattern
	for _, p := range list {
		c, err := compile(p)
		if err != nil {
			t.Fatal(err)
		}
		c.bits = newFilter([]*pattern{c})
		all = append(all, c)
	}
	filter := newFilter(all)
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.SampledFrom([]string{"", "x ", "\n"}).Draw(r, "head") + strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts()), 0, 12).Draw(r, "parts"), "")
		hits := filter.hits(text)
		for i, p := range all {
			want := p.re.ReplaceAllLiteralString(text, list[i].Replacement)
			if got := p.apply(text); got != want {
				r.Fatalf("%s on %q: %q, want %q", p.name, text, got, want)
			}
			if want != text && hits>>i&1 == 0 {
				r.Fatalf("%s: the filter misses %q", p.name, text)
			}
		}
	})
}

func parts() []string {
	return []string{
		"4111", "1111", "-", " ", ".", "555", "12", "1", "@", "b.example", "a", "10.0.0.1", "(415)", "+1", "\n", "\t", "kelvin", "\u212aelvin", "so", "\u017fo", "<", ">", "\u03b1\u03b2", "x", "\xff", "\u00e9",
		"abbccd", "bccc", "\"\"", "078-05-1120", "4111 1111 1111 1111", token, canary, "\\", "\"", "{", "}", "[", "]", ":", ",", `"k":`, `{"a":"x@y.example","password":"hT7#kLq92mXz"}`, "password = ", "hT7#kLq92mXz", "\\u0040", "0", "_",
	}
}

func TestProperties(t *testing.T) {
	maskers := []*Masker{masker(t, seed(), known()), masker(t, seed(), Options{Builtin: []string{"pii"}}), masker(t, nil, known())}
	text := rapid.Custom(func(r *rapid.T) string {
		s := strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts()), 0, 14).Draw(r, "parts"), "")
		if rapid.Bool().Draw(r, "in JSON") {
			return quote(s)
		}
		return s
	})
	rapid.Check(t, func(r *rapid.T) {
		v := map[string]any{
			text.Draw(r, "name"): text.Draw(r, "value"), "list": []any{text.Draw(r, "first"), 1.5, nil, map[string]any{"password": text.Draw(r, "password")}},
			"doc": `{"a":` + quote(text.Draw(r, "in doc")) + `,"n":4111111111111111}`,
		}
		for i, m := range maskers {
			once := m.Value(v)
			if diff := cmp.Diff(once, m.Value(once)); diff != "" {
				r.Fatalf("masker %d twice: %s\n%q", i, diff, v)
			}
			if diff := cmp.Diff(once, m.Value(v)); diff != "" {
				r.Fatalf("masker %d differs: %s", i, diff)
			}
			if shape(once) != shape(v) {
				r.Fatalf("masker %d: %s of %s", i, shape(once), shape(v))
			}
			left := fmt.Sprintf("%q", once)
			if i != 1 && strings.Contains(left, canary) || strings.Contains(left, " "+token+" ") {
				r.Fatalf("masker %d: %s", i, left)
			}
		}
	})
}

// shape gives the types and the nesting of a value, without names and texts.
func shape(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var out []string
		for _, x := range v {
			out = append(out, shape(x))
		}
		slices.Sort(out)
		return fmt.Sprint(out)
	case []any:
		out := ""
		for _, x := range v {
			out += shape(x) + ","
		}
		return "[" + out + "]"
	}
	return fmt.Sprintf("%T", v)
}

func FuzzMask(f *testing.F) {
	m := masker(f, seed(), Options{Builtin: []string{"pii"}, Secrets: known().Secrets})
	for _, p := range parts() {
		f.Add(p + p)
		f.Add(`{"a":` + quote(p) + `,"b":[1,{"token":` + quote(p) + `}]}`)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once := m.String(text)
		if twice := m.String(once); twice != once {
			t.Fatalf("%q: %q, then %q", text, once, twice)
		}
		if len(once) > 4*len(text)+1024 || strings.Contains(once, canary) {
			t.Fatalf("%q: %q", text, once)
		}
		if isDocument(text) != isDocument(once) && !regexp.MustCompile(`\[(secret|masked|unread|pii)`).MatchString(once) {
			t.Fatalf("%q is no document any more: %q", text, once)
		}
	})
}

// busy gives the processor time of this process.
func busy(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func BenchmarkString(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("the harbour was quiet when boats came home and nobody spoke of weather because everyone had seen it change before noon in 2024 at 10:30 or version 1.2.3")
	var prose, doc strings.Builder
	for prose.Len() < 1<<20 {
		prose.WriteString(words[r.IntN(len(words))])
		prose.WriteByte(" \n"[r.IntN(12)/11])
	}
	doc.WriteString(`{"items":[`)
	for doc.Len() < 1<<20 {
		fmt.Fprintf(&doc, `{"id":%d,"text":"%s \n %s"},`, r.IntN(1e6), words[r.IntN(len(words))], strings.Join(words[:10], " "))
	}
	doc.WriteString(`{}]}`)
	m := masker(b, seed(), known())
	for name, text := range map[string]string{"prose": prose.String(), "document": doc.String(), "mail": strings.Repeat("a@b.example 10.0.0.1 ", 1<<20/21)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			before := busy(b)
			for b.Loop() {
				m.String(text)
			}
			// What the machine does beside does not count.
			b.ReportMetric(float64(len(text))*float64(b.N)/1e6/(busy(b)-before).Seconds(), "MB/cpu-s")
		})
	}
}
