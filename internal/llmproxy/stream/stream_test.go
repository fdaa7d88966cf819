package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/llm"
	"sallyport/internal/llm/sse"
	"sallyport/internal/llmproxy/wire"
	"sallyport/test/fakes/modelserver"
)

// formNames are the fakes' names of the forms under test.
var formNames = []string{"openai", "responses", "anthropic", "gemini", "gemini.array"}

func options(form string) Options {
	api := map[string]wire.API{
		"openai": wire.Chat, "responses": wire.Responses, "anthropic": wire.Messages, "gemini": wire.Gemini, "gemini.array": wire.Gemini,
	}[form]
	return Options{API: api, Array: form == "gemini.array"}
}

// result is what a machine did.
type result struct {
	Out   string
	Calls []wire.Call
	Text  string
	Sum   Summary
	Err   string
}

// honest releases what is not called deny….
func honest(c wire.Call) Verdict {
	if strings.HasPrefix(c.Name, "deny") || strings.Contains(c.Arguments, "pwned") {
		return Verdict{Notice: "# blocked (rule r1): not here"}
	}
	return Verdict{Release: true}
}

// run feeds in through a machine, cut into pieces of n bytes.
func run(o Options, in string, n int) result {
	var r result
	judge := o.Judge
	if judge == nil {
		judge = honest
	}
	o.Out = func(p []byte) error { r.Out += string(p); return nil }
	o.Judge = func(c wire.Call) Verdict { r.Calls = append(r.Calls, c); return judge(c) }
	if text := o.Text; true {
		o.Text = func(s string) error {
			r.Text += s
			if text != nil {
				return text(s)
			}
			return nil
		}
	}
	m := New(o)
	var err error
	for len(in) > 0 && err == nil {
		k := min(n, len(in))
		_, err = m.Write([]byte(in[:k]))
		in = in[k:]
	}
	var cerr error
	r.Sum, cerr = m.Close()
	if err == nil {
		err = cerr
	}
	if err != nil {
		r.Err = err.Error()
	}
	return r
}

func render(t testing.TB, form string, r modelserver.Reply) string {
	t.Helper()
	b, err := modelserver.Render(form, r, true)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// seenCall is a call that a client would run.
type seenCall struct{ Name, Args string }

// client reads a reply as a lenient client does and gives what it would run and
// show. It is written apart from the machine on purpose.
type client struct {
	form  string
	calls []seenCall
	text  string
	stop  string
	err   string
	slots map[string]*seenCall
	order []string
	kinds map[string]string
}

func read(t interface {
	Helper()
	Fatalf(string, ...any)
}, form, out string,
) *client {
	t.Helper()
	c := &client{form: form, slots: map[string]*seenCall{}, kinds: map[string]string{}}
	if form == "gemini.array" {
		var list []map[string]any
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatalf("the output is no array: %v\n%s", err, out)
		}
		for _, v := range list {
			c.gemini(v)
		}
		return c
	}
	r := sse.NewReader(strings.NewReader(out), sse.Limits{})
	for {
		ev, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the output is no event stream: %v\n%s", err, out)
		}
		if s := strings.TrimSpace(string(ev.Data)); s == "" || s == "[DONE]" {
			continue
		}
		var v map[string]any
		if err := json.Unmarshal(ev.Data, &v); err != nil {
			t.Fatalf("an event of the output is no JSON: %v\n%s", err, ev.Data)
		}
		switch form {
		case "openai":
			c.chat(v)
		case "responses":
			c.responses(v)
		case "anthropic":
			c.messages(v)
		default:
			c.gemini(v)
		}
	}
	for _, k := range c.order {
		c.calls = append(c.calls, *c.slots[k])
	}
	return c
}

func (c *client) slot(key string) *seenCall {
	s := c.slots[key]
	if s == nil {
		s = &seenCall{}
		c.slots[key] = s
		c.order = append(c.order, key)
	}
	return s
}

func obj(v any) map[string]any { m, _ := v.(map[string]any); return m }
func list(v any) []any         { l, _ := v.([]any); return l }
func text(v any) string        { s, _ := v.(string); return s }

func (c *client) chat(v map[string]any) {
	if e := obj(v["error"]); e != nil {
		c.err = text(e["message"])
	}
	for _, ch := range list(v["choices"]) {
		ch := obj(ch)
		d := obj(ch["delta"])
		c.text += text(d["content"])
		for _, tc := range list(d["tool_calls"]) {
			tc := obj(tc)
			s := c.slot(fmt.Sprint(ch["index"], "/", tc["index"]))
			for _, part := range []map[string]any{obj(tc["function"]), obj(tc["custom"])} {
				s.Name += text(part["name"])
				s.Args += text(part["arguments"]) + text(part["input"])
			}
		}
		if f := obj(d["function_call"]); f != nil {
			s := c.slot(fmt.Sprint(ch["index"], "/f"))
			s.Name += text(f["name"])
			s.Args += text(f["arguments"])
		}
		if f := text(ch["finish_reason"]); f != "" {
			c.stop = f
		}
	}
}

func (c *client) messages(v map[string]any) {
	key := fmt.Sprint(v["index"])
	switch v["type"] {
	case "error":
		c.err = text(obj(v["error"])["message"])
	case "content_block_start":
		b := obj(v["content_block"])
		c.kinds[key] = text(b["type"])
		c.text += text(b["text"])
		if b["name"] != nil && b["type"] != "server_tool_use" && b["type"] != "mcp_tool_use" {
			c.slot(key).Name += text(b["name"])
			if in := obj(b["input"]); len(in) > 0 {
				j, _ := json.Marshal(in)
				c.slot(key).Args += string(j)
			}
		}
	case "content_block_delta":
		d := obj(v["delta"])
		c.text += text(d["text"])
		if d["type"] == "input_json_delta" && c.kinds[key] != "server_tool_use" && c.kinds[key] != "mcp_tool_use" {
			c.slot(key).Args += text(d["partial_json"])
		}
	case "message_delta":
		c.stop = text(obj(v["delta"])["stop_reason"])
	}
}

// responses believes what ends an item, and of the whole only what it did not
// see before.
func (c *client) responses(v map[string]any) {
	item := func(key string, it map[string]any) {
		switch t := text(it["type"]); t {
		case "function_call", "custom_tool_call":
			s := seenCall{text(it["name"]), text(it["arguments"]) + text(it["input"])}
			if old := c.slots[key]; old != nil && *old == s {
				return
			}
			*c.slot(key + fmt.Sprint(len(c.order))) = s
			c.slots[key] = &s
		}
	}
	if e := obj(obj(v["response"])["error"]); e != nil {
		c.err = text(e["message"])
	}
	switch v["type"] {
	case "response.output_text.delta":
		c.text += text(v["delta"])
	case "response.output_item.done":
		item(fmt.Sprint(v["output_index"]), obj(v["item"]))
	case "response.completed":
		c.stop = "completed"
		for i, it := range list(obj(v["response"])["output"]) {
			item(fmt.Sprint(i), obj(it))
		}
	}
}

func (c *client) gemini(v map[string]any) {
	if e := obj(v["error"]); e != nil {
		c.err = text(e["message"])
	}
	for _, ca := range list(v["candidates"]) {
		ca := obj(ca)
		ended := text(ca["finishReason"]) == "PROHIBITED_CONTENT" // its text says why
		for _, p := range list(obj(ca["content"])["parts"]) {
			p := obj(p)
			if ended {
				c.err += text(p["text"])
			} else if p["thought"] != true {
				c.text += text(p["text"])
			}
			if f := obj(p["functionCall"]); f != nil {
				j, _ := json.Marshal(f["args"])
				c.calls = append(c.calls, seenCall{text(f["name"]), string(j)})
			}
		}
		if f := text(ca["finishReason"]); f != "" {
			c.stop = f
		}
	}
}

// canonical takes comments out, which may overtake what is held, and writes data
// on several lines on one.
func canonical(s string) string {
	var b strings.Builder
	for ev := range strings.SplitAfterSeq(strings.ReplaceAll(s, "\r\n", "\n"), "\n\n") {
		if !strings.HasPrefix(ev, ":") {
			first, rest, _ := strings.Cut(ev, "data: ")
			b.WriteString(first + "data: " + strings.ReplaceAll(rest, "\ndata: ", " "))
		}
	}
	return b.String()
}

// future is an event that nobody knows, with data on two lines.
const future = "id: 7\nretry: 1000\nevent: x.future\ndata: {\"type\":\"x.future\",\ndata: \"tool_calls\":[],\"choices\":[],\"candidates\":[]}\n\n"

// TestTransparent: without a refused call the client gets the upstream's bytes.
func TestTransparent(t *testing.T) {
	replies := map[string]modelserver.Reply{
		"text":     {Text: "Grüße, dear reader \U0001F600", Usage: &modelserver.Usage{Input: 10, Output: 5, CacheRead: 3, Reasoning: 2}},
		"thinking": {Think: "let me see", Text: "done"},
		"call":     {Text: "I run it", Calls: []modelserver.Call{{ID: "c1", Name: "bash", Args: `{"command":"ls \"x\" é"}`}}},
		"parallel": {Calls: []modelserver.Call{{ID: "c1", Name: "bash", Args: `{"a":1}`}, {ID: "c2", Name: "read", Args: `{}`}}},
		"crlf":     {Text: "abc", Calls: []modelserver.Call{{ID: "c1", Name: "bash", Args: `{"a":1}`}}, CRLF: true, Comments: true},
		"mixed":    {Text: "abc", Calls: []modelserver.Call{{ID: "c1", Name: "a", Args: `{"a":1}`}, {ID: "c2", Name: "b", Args: `{"b":[1,2]}`}}, Interleave: true, ArgPieces: 1, Between: future},
	}
	for _, form := range formNames {
		for name, reply := range replies {
			t.Run(form+"/"+name, func(t *testing.T) {
				in := render(t, form, reply)
				r := run(options(form), in, len(in))
				same := r.Out == in
				if (reply.Comments || reply.Between != "") && form != "gemini.array" {
					same = canonical(r.Out) == canonical(in)
				}
				if r.Err != "" || !same {
					t.Fatalf("error %q\n%s", r.Err, cmp.Diff(strings.Split(in, "\n"), strings.Split(r.Out, "\n")))
				}
				if len(r.Calls) != len(reply.Calls) || r.Sum.Released != len(reply.Calls) || !r.Sum.Complete {
					t.Fatalf("calls %+v, summary %+v", r.Calls, r.Sum)
				}
				for i, c := range reply.Calls {
					if got := r.Calls[i]; got.Name != c.Name || got.Arguments != c.Args || got.ID != c.ID || got.Index != i {
						t.Fatalf("judged %+v, want %+v", got, c)
					}
				}
				if r.Text != reply.Think+reply.Text {
					t.Fatalf("text %q", r.Text)
				}
			})
		}
	}
}

func TestReplaced(t *testing.T) {
	call := func(i int, name string) modelserver.Call {
		return modelserver.Call{ID: fmt.Sprint("c", i), Name: name, Args: fmt.Sprintf(`{"secretarg":"%s%d"}`, name, i)}
	}
	replies := map[string]modelserver.Reply{
		"one":         {Text: "I run it", Calls: []modelserver.Call{call(1, "deny1")}},
		"only":        {Calls: []modelserver.Call{call(1, "deny1")}},
		"first":       {Calls: []modelserver.Call{call(1, "deny1"), call(2, "bash")}},
		"last":        {Calls: []modelserver.Call{call(1, "bash"), call(2, "deny2")}, Usage: &modelserver.Usage{Input: 1, Output: 2}},
		"all":         {Text: "x", Calls: []modelserver.Call{call(1, "deny1"), call(2, "deny2"), call(3, "deny3")}},
		"interleaved": {Calls: []modelserver.Call{call(1, "deny1"), call(2, "bash"), call(3, "deny3"), call(4, "read")}, Interleave: true, ArgPieces: 2, CRLF: true, Comments: true},
	}
	for _, form := range formNames {
		for name, reply := range replies {
			t.Run(form+"/"+name, func(t *testing.T) {
				in := render(t, form, reply)
				r := run(options(form), in, len(in))
				got := read(t, form, r.Out)
				var want []seenCall
				denied := 0
				for _, c := range reply.Calls {
					if strings.HasPrefix(c.Name, "deny") {
						denied++
						for _, leak := range []string{`"` + c.Name + `"`, fmt.Sprintf(`%s%s`, c.Name, c.ID[1:]) + `\`, c.Args} {
							if strings.Contains(r.Out, leak) {
								t.Errorf("%q of a refused call leaks:\n%s", leak, r.Out)
							}
						}
						continue
					}
					want = append(want, seenCall{c.Name, c.Args})
				}
				if d := cmp.Diff(want, got.calls); d != "" || r.Err != "" || got.err != "" {
					t.Fatalf("error %q %q, calls (-want +got)\n%s\n%s", r.Err, got.err, d, r.Out)
				}
				if n := strings.Count(got.text, "# blocked (rule r1): not here"); n != denied || r.Sum.Replaced != denied || !strings.HasPrefix(got.text, reply.Text) {
					t.Fatalf("%d notices for %d calls in %q", n, denied, got.text)
				}
				stops := map[string][2]string{
					"openai": {"tool_calls", "stop"}, "anthropic": {"tool_use", "end_turn"}, "responses": {"completed", "completed"},
					"gemini": {"STOP", "STOP"}, "gemini.array": {"STOP", "STOP"},
				}[form]
				if stop := stops[min(1, 1/(1+len(want)))]; got.stop != stop || r.Sum.Stop != stop {
					t.Fatalf("stop %q, summary %q, want %q", got.stop, r.Sum.Stop, stop)
				}
			})
		}
	}
}

func TestUsage(t *testing.T) {
	u := modelserver.Usage{Input: 100, Output: 20, CacheRead: 30, Reasoning: 7}
	for _, form := range formNames {
		want := wire.Usage{Usage: llm.Usage{Input: 100, Output: 20, CacheRead: 30, Reasoning: 7}, Known: true}
		in := render(t, form, modelserver.Reply{Text: "abcdef", Usage: &u, Early: &modelserver.Usage{Input: 100, CacheRead: 30, Output: 1}})
		if d := cmp.Diff(want, run(options(form), in, 7).Sum.Usage); d != "" {
			t.Errorf("%s (-want +got)\n%s", form, d)
		}
		if got := run(options(form), render(t, form, modelserver.Reply{Text: "abc"}), 9).Sum.Usage; got.Known {
			t.Errorf("%s: usage out of nothing: %+v", form, got)
		}
		more := modelserver.Usage{Input: 100, Output: 20, Reasoning: 21}
		if got := run(options(form), render(t, form, modelserver.Reply{Text: "abc", Usage: &more}), 9).Sum.Usage; got.Known {
			t.Errorf("%s: a part that exceeds its whole: %+v", form, got)
		}
		for _, lie := range []string{"-1", "1e3", "1.5", `"7"`, "1099511627777", "99999999999999999999", "{}"} {
			for _, name := range []string{"prompt_tokens", "input_tokens", "promptTokenCount"} {
				in := render(t, form, modelserver.Reply{Text: "abc", Usage: &u})
				at := strings.LastIndex(in, `"`+name+`":`)
				if at < 0 {
					continue
				}
				at += len(name) + 3
				end := at + strings.IndexAny(in[at:], ",}")
				if got := run(options(form), in[:at]+lie+in[end:], 4096).Sum; got.Usage.Known || !got.Complete {
					t.Errorf("%s: %s believed: %+v", form, lie, got)
				}
			}
		}
	}
}
