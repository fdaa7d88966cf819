package credential

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const (
	secret      = `sk-ant-api03-Qx7/Zt+9"&Lm\2 Vé=`
	placeholder = "sk-ant-api03-sallyport0123456789abcdef0123456789abcdef"
)

// bound makes a set with one secret in the Authorization header.
func bound(t testing.TB, value, instead string) *Set {
	t.Helper()
	s, err := NewSet([]Binding{{
		Name: "model", Host: "api.example.com", Value: newValue([]byte(value)), Placeholder: instead,
		Places: []Place{{In: Query, Name: "k"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fills up a placeholder the way splice does.
func filled(instead, value string) string {
	for len(instead)%3 != len(value)%3 {
		instead += "_"
	}
	return instead
}

func escaped(format string, s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

func unicoded(s string) string {
	var b strings.Builder
	for _, code := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, `\u%04X`, code)
	}
	return b.String()
}

func marshal(s string) string {
	b, _ := json.Marshal(s)
	return string(b[1 : len(b)-1])
}

// writings are the forms in which a value must be found, with what stands
// there afterwards.
func writings(value, instead string) map[string][2]string {
	hexed, std := hex.EncodeToString([]byte(value)), base64.StdEncoding
	full := filled(instead, value)
	forms := map[string][2]string{
		"plain":       {value, instead},
		"query":       {url.QueryEscape(value), instead},
		"path":        {url.PathEscape(value), instead},
		"percent":     {escaped("%%%02x", value), instead},
		"percent up":  {escaped("%%%02X", value), instead},
		"json":        {marshal(value), instead},
		"json slash":  {strings.ReplaceAll(marshal(value), "/", `\/`), instead},
		"json all":    {unicoded(value), instead},
		"c":           {escaped(`\x%02x`, value), instead},
		"hex":         {hexed, hex.EncodeToString([]byte(instead))},
		"HEX":         {strings.ToUpper(hexed), hex.EncodeToString([]byte(instead))},
		"base64":      {std.EncodeToString([]byte(value)), std.EncodeToString([]byte(full))},
		"base64url":   {base64.RawURLEncoding.EncodeToString([]byte(value)), ""},
		"base64 at 1": {std.EncodeToString([]byte("u" + value + "tail")), std.EncodeToString([]byte("u" + full + "tail"))},
		"base64 at 2": {std.EncodeToString([]byte("u:" + value + "t")), std.EncodeToString([]byte("u:" + full + "t"))},
	}
	for name, f := range forms {
		if f[1] == "" {
			forms[name] = [2]string{f[0], base64.RawURLEncoding.EncodeToString([]byte(full))}
		}
	}
	return forms
}

func TestScrubForms(t *testing.T) {
	s := bound(t, secret, placeholder)
	for name, w := range writings(secret, placeholder) {
		for _, frame := range [][2]string{{"", ""}, {"before ", " after"}, {`{"e":"`, `","f":1}`}, {"%41\\", "%"}} {
			got := string(s.Scrub([]byte(frame[0] + w[0] + frame[1])))
			if diff := cmp.Diff(frame[0]+w[1]+frame[1], got); diff != "" {
				// The last characters of base64url and of base64 may differ in their alphabet only.
				if strings.NewReplacer("-", "+", "_", "/").Replace(got) != strings.NewReplacer("-", "+", "_", "/").Replace(frame[0]+w[1]+frame[1]) {
					t.Errorf("%s in %q (-want +got):\n%s", name, frame, diff)
				}
			}
		}
	}
}

// TestScrubRuns: one after another, and mixed character by character.
func TestScrubRuns(t *testing.T) {
	s := bound(t, "abcdefgh%25", "PLACEHOLDER-0000")
	for in, want := range map[string]string{
		"abcdefgh%25abcdefgh%25":                  "PLACEHOLDER-0000PLACEHOLDER-0000",
		"abcdefgh%2525x":                          "PLACEHOLDER-0000x", // the longest: %25 and 25
		`a%62\u0063\x64efg\u0068%25` + "25":       "PLACEHOLDER-0000",
		"abcdefgabcdefgh%25":                      "abcdefgPLACEHOLDER-0000",
		"abcdefgh%2":                              "abcdefgh%2",
		"ABCDEFGH%25":                             "ABCDEFGH%25",
		`aab\u0062bc\u00`:                         `aab\u0062bc\u00`,
		strings.Repeat("abcdefgh%2", 100) + "5..": strings.Repeat("abcdefgh%2", 99) + "PLACEHOLDER-0000..",
	} {
		if got := string(s.Scrub([]byte(in))); got != want {
			t.Errorf("Scrub(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestScrubSeveral(t *testing.T) {
	s, err := NewSet([]Binding{
		{Name: "a", Host: "a.example", Value: newValue([]byte("shortkey")), Placeholder: "PLACEHOLDER-AAAA", Places: []Place{{Name: "X-A"}}},
		{Name: "b", Host: "b.example", Value: newValue([]byte("shortkey-and-more")), Placeholder: "PLACEHOLDER-BBBB", Places: []Place{{Name: "X-B"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := string(s.Scrub([]byte("shortkey, shortkey-and-mor, shortkey-and-more")))
	if want := "PLACEHOLDER-AAAA, PLACEHOLDER-AAAA-and-mor, PLACEHOLDER-BBBB"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestScrubIsZeroCopyWhenClean(t *testing.T) {
	s := bound(t, secret, placeholder)
	text := []byte(strings.Repeat("nothing to see here, sk-ant-api03-Qx ", 1000))
	got := s.Scrub(text)
	if len(got) != len(text) || &got[0] != &text[0] {
		t.Error("clean text was copied")
	}
	if n := testing.AllocsPerRun(10, func() { s.Scrub(text) }); n != 0 {
		t.Errorf("clean text costs %v allocations", n)
	}
	w := s.Writer(io.Discard)
	if n := testing.AllocsPerRun(10, func() { _, _ = w.Write(text) }); n > 1 {
		t.Errorf("writing clean text costs %v allocations", n)
	}
	dirty := []byte("x" + secret)
	before := bytes.Clone(dirty)
	s.Scrub(dirty)
	if !bytes.Equal(before, dirty) {
		t.Error("the text given was changed")
	}
}

// chunked passes text through a Writer in pieces.
func chunked(t *rapid.T, s *Set, text string) string {
	var out strings.Builder
	w := s.Writer(&out)
	for rest := text; rest != ""; {
		n := rapid.IntRange(0, len(rest)).Draw(t, "chunk")
		if _, err := io.WriteString(w, rest[:n]); err != nil {
			t.Fatal(err)
		}
		if rest = rest[n:]; n == 0 { // an empty write changes nothing
			_, _ = io.WriteString(w, rest[:1])
			rest = rest[1:]
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestScrubProperty: whatever the value, what is around it and how it is
// chunked, no form of it remains and everything else stays.
func TestScrubProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(
			rapid.StringMatching(`[a-zA-Z0-9_+/=.-]{8,60}`),
			rapid.StringMatching(`[ -~\x{e0}-\x{ff}\x{1f600}]{8,20}`),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 8, 40), func(b []byte) string { return string(b) }),
		).Draw(t, "value")
		s, err := NewSet([]Binding{{
			Name: "v", Host: "a.example", Value: newValue([]byte(value)), Placeholder: placeholder, Places: []Place{{In: Query, Name: "k"}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		forms := writings(value, placeholder)
		names := make([]string, 0, len(forms))
		for name := range forms {
			names = append(names, name)
		}
		// Spaces and tildes around keep neighbours out of the forms.
		var text, want strings.Builder
		for range rapid.IntRange(1, 6).Draw(t, "parts") {
			noise := rapid.StringMatching(`[a-zA-Z0-9%\\+/= ]{0,30}`).Draw(t, "noise")
			if len(s.Scrub([]byte(noise))) != len(noise) {
				t.Skip("the noise holds the value")
			}
			name := rapid.SampledFrom(sorted(names)).Draw(t, "form")
			if strings.HasPrefix(name, "json") && !validText(value) {
				name = "plain"
			}
			text.WriteString("~" + noise + "~ " + forms[name][0] + " ~")
			want.WriteString("~" + noise + "~ " + forms[name][1] + " ~")
		}
		got := chunked(t, s, text.String())
		alike := strings.NewReplacer("-", "+", "_", "/")
		if diff := cmp.Diff(alike.Replace(want.String()), alike.Replace(got)); diff != "" {
			t.Fatalf("value %q (-want +got):\n%s", value, diff)
		}
		for name, w := range forms {
			if strings.Contains(got, w[0]) && len(value) > 0 {
				t.Fatalf("the value is left as %s", name)
			}
		}
		if whole := string(s.Scrub([]byte(text.String()))); whole != got {
			t.Fatalf("chunks change the result: %q, whole %q", got, whole)
		}
		r := &reader{m: s.values, src: iotest.HalfReader(strings.NewReader(text.String()))}
		if read, err := io.ReadAll(iotest.OneByteReader(r)); err != nil || string(read) != got {
			t.Fatalf("reading gives %q (%v), writing %q", read, err, got)
		}
	})
}

// TestReaderBreaksOff: the beginning of a value is not given when the source
// fails, since it may be all but one byte.
func TestReaderBreaksOff(t *testing.T) {
	s := bound(t, secret, placeholder)
	broken := errors.New("broken")
	r := &reader{m: s.values, src: io.MultiReader(strings.NewReader("text "+secret[:len(secret)-1]), iotest.ErrReader(broken))}
	got, err := io.ReadAll(r)
	if string(got) != "text " || !errors.Is(err, broken) {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestReaderDoesNotWait: what cannot be a value is given at once, so streams
// keep their pace.
func TestReaderDoesNotWait(t *testing.T) {
	s := bound(t, secret, placeholder)
	pr, pw := io.Pipe()
	r := &reader{m: s.values, src: pr}
	go func() { _, _ = io.WriteString(pw, "data: {\"text\":\"hello\"}\n\n") }()
	got := make([]byte, 100)
	n, err := io.ReadAtLeast(r, got, 24)
	if err != nil || string(got[:n]) != "data: {\"text\":\"hello\"}\n\n" {
		t.Errorf("got %q, %v", got[:n], err)
	}
}

func TestWriterClosed(t *testing.T) {
	s := bound(t, secret, placeholder)
	var out strings.Builder
	w := s.Writer(&out)
	_, _ = io.WriteString(w, "x"+secret[:5])
	if out.String() != "x" {
		t.Errorf("before Close: %q", out.String())
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Error(err)
	}
	if out.String() != "x"+secret[:5] {
		t.Errorf("after Close: %q", out.String())
	}
	if _, err := w.Write([]byte("y")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write after Close: %v", err)
	}
}

// FuzzScrub: any text in any two pieces is scrubbed alike, and a second time
// changes nothing.
func FuzzScrub(f *testing.F) {
	s := bound(f, secret, placeholder)
	for _, w := range writings(secret, placeholder) {
		f.Add([]byte("a"+w[0]+"b"+w[0]), 7)
	}
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		whole := s.Scrub(text)
		if bytes.Contains(whole, []byte(secret)) {
			t.Fatal("the value is left")
		}
		if again := s.Scrub(whole); !bytes.Equal(again, whole) {
			t.Fatalf("again %q, once %q", again, whole)
		}
		cut = min(max(cut, 0), len(text))
		var out bytes.Buffer
		w := s.Writer(&out)
		_, _ = w.Write(text[:cut])
		_, _ = w.Write(text[cut:])
		_ = w.Close()
		if !bytes.Equal(out.Bytes(), whole) {
			t.Fatalf("in pieces %q, whole %q", out.Bytes(), whole)
		}
	})
}
