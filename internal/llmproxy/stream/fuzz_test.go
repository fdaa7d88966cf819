package stream

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sallyport/internal/llmproxy/wire"
	"sallyport/test/fakes/modelserver"
)

// long is a reply with something of everything.
var long = modelserver.Reply{
	Think: "hm", Text: "Text mit Umläuten äöü and \"quotes\" \U0001F600.", Pieces: 20,
	Calls: []modelserver.Call{
		{ID: "c1", Name: "bash", Args: `{"command":"ls -l","why":"ä\n"}`},
		{ID: "c2", Name: "deny2", Args: `{"command":"touch pwned"}`},
		{ID: "c3", Name: "read", Args: `{}`},
	},
	Interleave: true, ArgPieces: 16, Comments: true, Between: future,
	Usage: &modelserver.Usage{Input: 3, Output: 4},
}

// TestFragments: how the bytes are cut changes neither a decision nor a byte:
// sizes of pieces up to 4096, all of the small ones, and every place to cut once.
func TestFragments(t *testing.T) {
	for _, form := range formNames {
		for _, crlf := range []bool{false, true} {
			reply := long
			reply.CRLF = crlf
			in := render(t, form, reply)
			want := run(options(form), in, len(in))
			if want.Err != "" || len(want.Calls) != 3 || want.Sum.Replaced != 1 {
				t.Fatalf("%s: %q %+v", form, want.Err, want.Sum)
			}
			for n := 1; n <= 4096; n++ {
				if n > 64 && n%37 != 0 && n < 4090 || raced && n > 8 && n%509 != 0 {
					continue // with the race detector a sample: one goroutine runs here
				}
				if got := run(options(form), in, n); !reflect.DeepEqual(want, got) {
					t.Fatalf("%s, pieces of %d (-want +got)\n%s", form, n, cmp.Diff(want, got))
				}
			}
			for at := 0; at < len(in) && !crlf; at++ {
				if raced && at%23 != 0 {
					continue
				}
				if got := cut(options(form), in, []int{at}); got.Out != want.Out || !slices.Equal(got.Calls, want.Calls) {
					t.Fatalf("%s, cut at %d:\n%s", form, at, cmp.Diff(want, got))
				}
			}
		}
	}
}

// cut feeds in in pieces that end at the given places.
func cut(o Options, in string, at []int) result {
	var r result
	o.Out = func(p []byte) error { r.Out += string(p); return nil }
	o.Judge = func(c wire.Call) Verdict { r.Calls = append(r.Calls, c); return honest(c) }
	m := New(o)
	var err error
	last := 0
	for _, a := range append(at, len(in)) {
		if a = min(max(a, last), len(in)); err == nil {
			_, err = m.Write([]byte(in[last:a]))
		}
		last = a
	}
	s, cerr := m.Close()
	if err == nil {
		err = cerr
	}
	r.Sum = s
	if err != nil {
		r.Err = err.Error()
	}
	return r
}

func seeds(f *testing.F, add func(form byte, in string)) {
	for i, form := range formNames {
		add(byte(i), render(f, form, modelserver.Reply{Text: "a b c d e\n\"f\"", Pieces: 1, Usage: &modelserver.Usage{Input: 1}}))
		for _, crlf := range []bool{false, true} {
			r := long
			r.CRLF, r.Text = crlf, "a\u2028b"
			add(byte(i), render(f, form, r))
		}
	}
	for _, l := range [][]hostile{messagesAttacks(), chatAttacks(), responsesAttacks(), geminiAttacks(), framingAttacks()} {
		for _, h := range l {
			add(byte(slices.Index(formNames, h.form)), h.in)
		}
	}
}

func FuzzFragments(f *testing.F) {
	seeds(f, func(form byte, in string) { f.Add(form, in, uint16(7), uint16(100)) })
	f.Fuzz(func(t *testing.T, form byte, in string, n, m uint16) {
		o := options(formNames[int(form)%len(formNames)])
		o.MaxEvent, o.MaxHeld, o.MaxCalls = 4096, 16384, 20
		want := cut(o, in, nil)
		got := run(o, in, 1+int(n)%4096)
		got.Text = ""
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("pieces of %d (-whole +cut)\n%s", 1+int(n)%4096, d)
		}
		unhurried(t, o, in, want)
		if d := cmp.Diff(want, cut(o, in, []int{int(n), int(n) + int(m)})); d != "" {
			t.Fatalf("cut at %d and %d (-whole +cut)\n%s", n, int(n)+int(m), d)
		}
	})
}

// unhurried puts a comment behind each event, so that none is taken for a
// repetition of the one before: nothing else may change.
func unhurried(t *testing.T, o Options, in string, want result) {
	const comment = ": between\n\n"
	if o.Array || strings.ContainsAny(in, "\r") || strings.Contains(in, comment) {
		return
	}
	got := cut(o, strings.ReplaceAll(in, "\n\n", "\n\n"+comment), nil)
	got.Out = strings.ReplaceAll(got.Out, comment, "")
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("(-as it came +each event parsed)\n%s", d)
	}
}

// FuzzRefused: if everything is refused, no client finds a call in what comes
// out; if everything is released, it finds those that were judged.
func FuzzRefused(f *testing.F) {
	seeds(f, func(form byte, in string) { f.Add(form, in) })
	f.Fuzz(func(t *testing.T, form byte, in string) {
		name := formNames[int(form)%len(formNames)]
		o := options(name)
		o.Judge = func(wire.Call) Verdict { return Verdict{Notice: "no"} }
		r := run(o, in, 4096)
		if name == "gemini.array" && !json.Valid([]byte(r.Out)) {
			if r.Err != "" || r.Sum.Complete {
				t.Fatalf("the output is no array: %q", r.Out)
			}
			return
		}
		if got := read(t, name, r.Out); len(got.calls) > 0 {
			t.Fatalf("refused calls %v reach the client:\n%s", got.calls, r.Out)
		}
		o.Judge = func(wire.Call) Verdict { return Verdict{Release: true} }
		r = run(o, in, 4096)
		if name == "gemini.array" && !json.Valid([]byte(r.Out)) {
			return
		}
		left := map[string]int{}
		for _, c := range r.Calls {
			if c.Type == "function" || c.Type == "custom" {
				left[c.Name+"\x00"+plain(name, c.Arguments)]++
			}
		}
		for _, c := range read(t, name, r.Out).calls {
			k := c.Name + "\x00" + plain(name, c.Args)
			if left[k]--; left[k] < 0 {
				t.Fatalf("the client runs %q, judged was %+v:\n%s", c, r.Calls, r.Out)
			}
		}
	})
}

// plain writes arguments of forms that have JSON in them in one way.
func plain(form, args string) string {
	if form != "anthropic" && form != "gemini" && form != "gemini.array" {
		return args
	}
	var v any
	if json.Unmarshal([]byte(args), &v) != nil {
		return args
	}
	if m, ok := v.(map[string]any); v == nil || ok && len(m) == 0 {
		return ""
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// TestProperty: of any scripted reply, refused calls leave nothing and released
// ones arrive once, in order and unchanged.
func TestProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		form := rapid.SampledFrom(formNames).Draw(t, "form")
		word := rapid.StringMatching(`[a-z "\\äé\x{1F600}]{0,12}`)
		r := modelserver.Reply{
			Text: word.Draw(t, "text"), Think: rapid.StringMatching(`[a-z]{0,4}`).Draw(t, "think"),
			Interleave: rapid.Bool().Draw(t, "interleave"), ArgPieces: rapid.IntRange(1, 9).Draw(t, "args"),
			CRLF: rapid.Bool().Draw(t, "crlf"), Comments: rapid.Bool().Draw(t, "comments"),
		}
		var want []seenCall
		for i := range rapid.IntRange(0, 5).Draw(t, "calls") {
			name := rapid.SampledFrom([]string{"ok", "deny"}).Draw(t, "name") + fmt.Sprint(i)
			args, _ := json.Marshal(map[string]string{"mark": name + "m", "x": word.Draw(t, "x")})
			r.Calls = append(r.Calls, modelserver.Call{ID: fmt.Sprint("c", i), Name: name, Args: string(args)})
			if name[0] == 'o' {
				want = append(want, seenCall{name, string(args)})
			}
		}
		in, err := modelserver.Render(form, r, true)
		if err != nil {
			t.Fatal(err)
		}
		got := run(options(form), string(in), rapid.IntRange(1, 300).Draw(t, "pieces"))
		if got.Err != "" || !got.Sum.Complete || got.Sum.Released != len(want) {
			t.Fatalf("%q %+v\n%s", got.Err, got.Sum, in)
		}
		if strings.Contains(got.Out, "deny") {
			t.Fatalf("a refused call leaks:\n%s", got.Out)
		}
		c := read(t, form, got.Out)
		// Calls that were mixed are in the order in which they ended.
		byName := func(a, b seenCall) int { return strings.Compare(a.Name, b.Name) }
		slices.SortFunc(c.calls, byName)
		if d := cmp.Diff(want, c.calls); d != "" {
			t.Fatalf("(-want +got)\n%s\n%s", d, got.Out)
		}
		if !strings.HasPrefix(c.text, r.Text) || strings.Count(c.text, "# blocked") != len(r.Calls)-len(want) {
			t.Fatalf("text %q", c.text)
		}
	})
}
