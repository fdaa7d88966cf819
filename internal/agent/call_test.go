package agent_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/agent"
)

func TestCall(t *testing.T) {
	type read struct {
		Words []string
		Flags map[string]string
		Text  string
		Bad   bool
	}
	tests := map[string]read{
		"":                                 {Flags: map[string]string{}},
		"a  b\tc":                          {Words: []string{"a", "b", "c"}, Flags: map[string]string{}},
		`a "x y"`:                          {Words: []string{"a"}, Flags: map[string]string{}, Text: "x y"},
		`"say \"no\" and \\"`:              {Flags: map[string]string{}, Text: `say "no" and \`},
		"a \"two\nlines\"":                 {Words: []string{"a"}, Flags: map[string]string{}, Text: "two\nlines"},
		`a"b`:                              {Words: []string{`a"b`}, Flags: map[string]string{}},
		`r --taint x`:                      {Words: []string{"r", "x"}, Flags: map[string]string{"taint": ""}},
		`r --bits 3 --ceiling=secret{a} x`: {Words: []string{"r", "x"}, Flags: map[string]string{"bits": "3", "ceiling": "secret{a}"}},
		`a "x" b`:                          {Bad: true},
		`a "x`:                             {Bad: true},
		`a "x\"`:                           {Bad: true},
		"--bits":                           {Bad: true},
		"--bool --bool":                    {Bad: true},
		strings.Repeat("a", 5000):          {Bad: true},
		"$(touch x) `id` ;rm && *":         {Words: []string{"$(touch", "x)", "`id`", ";rm", "&&", "*"}, Flags: map[string]string{}},
	}
	for in, want := range tests {
		words, flags, text, err := agent.Call(in)
		got := read{words, flags, text, err != nil}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
}

func TestSplitHouse(t *testing.T) {
	tests := map[string][]string{
		"read x\nread y": {"read x", "read y"},
		"keep \"two\nlines\"\nsend scout \"x\" ; ls": {"keep \"two\nlines\"", "send scout \"x\"", "ls"},
		"spawn scout --bits 2 \"a\nb\" && index":     {"spawn scout --bits 2 \"a\nb\"", "index"},
		"send scout no quote\nls":                    {"send scout no quote", "ls"},
		"send scout \"never closed\nls":              {"send scout \"never closed", "ls"},
		"ls -la\nkeep \"x\"":                         {"ls -la\nkeep \"x\""},
	}
	for in, want := range tests {
		var got []string
		for rest := in; ; {
			p := agent.SplitHouse(rest, "sarah", "/")
			if p.Kind != "command" {
				break
			}
			got, rest = append(got, p.Text), p.Rest
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
}

// FuzzHouse: whatever a model writes, splitting it ends, every piece was in it,
// and reading a call never gives more than was written.
func FuzzHouse(f *testing.F) {
	for _, s := range []string{
		"read --taint o-1", "keep \"a\nb\"\nls", `spawn scout --bits 3 --ceiling=public "x \" y"`, `extract a --choices b,c "d"`,
		`send "`, "read\x00\xff", `keep "\`, "lower a b \"c\" d", "index \"\"", "sarah@sallyport:/ [Tokens: 1/2]$ read x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		rest := reply
		for n := 0; ; n++ {
			if n > len(reply)+1 {
				t.Fatalf("%q never ends", reply)
			}
			p := agent.SplitHouse(rest, "sarah", "/")
			if p.Kind == "none" || p.Kind == "stray" {
				break
			}
			if !strings.Contains(reply, p.Text) {
				t.Fatalf("%q gave %q", reply, p.Text)
			}
			rest = p.Rest
			words, flags, text, err := agent.Call(p.Text)
			size := len(text)
			for _, w := range words {
				size += len(w)
			}
			for name, v := range flags {
				size += len(name) + len(v)
			}
			if err == nil && size > len(p.Text) {
				t.Fatalf("%q was read as %q %q %q", p.Text, words, flags, text)
			}
		}
	})
}
