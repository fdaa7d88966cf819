package stream

import (
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
	"sallyport/internal/llmproxy/wire"
	"sallyport/test/fakes/modelserver"
)

func TestBounds(t *testing.T) {
	many := modelserver.Reply{Calls: []modelserver.Call{{ID: "c", Name: "bash", Args: `{"a":"` + strings.Repeat("x", 4000) + `"}`}}}
	for _, form := range formNames {
		for name, tt := range map[string]struct {
			o    Options
			r    modelserver.Reply
			want string
		}{
			"calls": {Options{MaxCalls: 3}, modelserver.Reply{Calls: many.Calls[:1], Repeat: 4}, "more than 3 tool calls"},
			"event": {Options{MaxEvent: 1000}, modelserver.Reply{Text: strings.Repeat("y", 1200), Pieces: 1200}, "an event of the reply exceeds 1000 bytes"},
			"held":  {Options{MaxHeld: 3000}, many, "exceed 3000 bytes before they are whole"},
		} {
			if name == "held" && strings.HasPrefix(form, "gemini") {
				continue // a call is whole in its event
			}
			t.Run(form+"/"+name, func(t *testing.T) {
				o := options(form)
				o.MaxCalls, o.MaxEvent, o.MaxHeld = tt.o.MaxCalls, tt.o.MaxEvent, tt.o.MaxHeld
				in := render(t, form, tt.r)
				r := run(o, in, 4096)
				if !strings.Contains(r.Err, tt.want) || r.Sum.Complete || !strings.Contains(read(t, form, r.Out).err, tt.want) {
					t.Fatalf("error %q, client %q", r.Err, read(t, form, r.Out).err)
				}
				if again := run(o, in, 1); again.Out != r.Out {
					t.Fatal("the bound depends on the pieces")
				}
			})
		}
	}
}

// TestManyCalls: ten thousand calls in one reply are bounded, not suffered.
func TestManyCalls(t *testing.T) {
	for _, form := range formNames {
		in := render(t, form, modelserver.Reply{Calls: []modelserver.Call{{ID: "c", Name: "bash", Args: `{}`}}, Repeat: 10_000})
		r := run(options(form), in, 4096)
		if !strings.Contains(r.Err, "more than 1024 tool calls") || len(r.Calls) > 1024 {
			t.Fatalf("%s: %q after %d calls", form, r.Err, len(r.Calls))
		}
	}
}

func TestTextEndsStream(t *testing.T) {
	for _, form := range formNames {
		o := options(form)
		o.Text = func(s string) error {
			if strings.Contains(s, "secret") {
				return fault.New("screen", fault.Denied, "the rule keyword found a forbidden word")
			}
			return nil
		}
		r := run(o, render(t, form, modelserver.Reply{Text: "fine  secretmore!!", Pieces: 6}), 4096)
		got := read(t, form, r.Out)
		if !strings.Contains(got.err, "the rule keyword found") || !strings.HasPrefix(got.text, "fine") || strings.Contains(r.Out, "secr") {
			t.Errorf("%s: error %q, text %q", form, got.err, got.text)
		}
	}
}

// TestCopiesOfText: a server that shows other words at the end is heard there,
// one that repeats itself is not heard twice.
func TestCopiesOfText(t *testing.T) {
	in := render(t, "responses", modelserver.Reply{Text: "harmless words"})
	if r := run(options("responses"), in, 4096); r.Text != "harmless words" || r.Sum.TextBytes != 14 {
		t.Fatalf("text %q, %d bytes", r.Text, r.Sum.TextBytes)
	}
	for _, place := range []string{`"response.output_text.done"`, `"response.output_item.done"`, `"response.completed"`} {
		events := strings.SplitAfter(in, "\n\n")
		for i, e := range events {
			if strings.Contains(e, `"type":`+place) {
				events[i] = strings.Replace(e, "harmless words", "evil words", 1)
			}
		}
		if r := run(options("responses"), strings.Join(events, ""), 4096); r.Text != "harmless wordsevil words" {
			t.Errorf("%s: text %q", place, r.Text)
		}
	}
}

func TestTextIsCall(t *testing.T) {
	for _, form := range formNames {
		for _, word := range []string{"touch pwned.txt", "ls -l"} {
			o := options(form)
			o.TextIsCall = true
			in := render(t, form, modelserver.Reply{Think: "hm", Text: word, Pieces: 2})
			r := run(o, in, 5)
			want := []wire.Call{{Type: "text", Arguments: word}}
			if d := cmp.Diff(want, r.Calls); d != "" || r.Err != "" {
				t.Fatalf("%s: error %q (-want +got)\n%s", form, r.Err, d)
			}
			if shown := read(t, form, r.Out).text; word == "ls -l" && (shown != word || r.Out != in) || word != "ls -l" && (shown != "# blocked (rule r1): not here" || strings.Contains(r.Out, "pwned")) {
				t.Fatalf("%s: text %q\n%s", form, shown, r.Out)
			}
			if cutOff := run(o, in[:len(in)*2/3], 4096); strings.Contains(cutOff.Out, "touch") || strings.Contains(cutOff.Out, "to") && read(t, form, cutOff.Out).text != "" {
				t.Fatalf("%s: text that is not whole leaks:\n%s", form, cutOff.Out)
			}
		}
	}
}

func TestStripUsage(t *testing.T) {
	in := render(t, "openai", modelserver.Reply{Text: "abc", Usage: &modelserver.Usage{Input: 5, Output: 6}})
	o := options("openai")
	o.StripUsage = true
	r := run(o, in, 4096)
	if strings.Contains(r.Out, "prompt_tokens") || r.Sum.Usage.Input != 5 || !strings.HasSuffix(r.Out, "data: [DONE]\n\n") || read(t, "openai", r.Out).stop != "stop" {
		t.Fatalf("%+v\n%s", r.Sum, r.Out)
	}
	beside := frames(`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":5}}`)
	if r := run(o, beside, 4096); r.Out != frames(`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`) {
		t.Fatalf("%q", r.Out)
	}
}

// TestServerTools: what the provider has run itself is reported and passes.
func TestServerTools(t *testing.T) {
	for form, in := range map[string]string{
		"anthropic": msgStart + frames(`{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"q\":1}"}}`, toolStop,
			`{"type":"content_block_start","index":1,"content_block":{"type":"web_search_tool_result","tool_use_id":"s","content":[{"title":"found"}]}}`,
			`{"type":"content_block_stop","index":1}`) + msgEnd,
		"responses": frames(`{"type":"response.output_item.added","output_index":0,"item":{"type":"web_search_call","id":"w"}}`,
			`{"type":"response.web_search_call.searching","output_index":0,"item_id":"w"}`,
			`{"type":"response.output_item.done","output_index":0,"item":{"type":"web_search_call","id":"w","action":{"type":"search","query":"q"}}}`) + respEnd,
		"gemini": frames(`{"candidates":[{"content":{"parts":[{"executableCode":{"language":"PYTHON","code":"1+1"}},{"codeExecutionResult":{"output":"2"}}]},"finishReason":"STOP"}]}`),
	} {
		o := options(form)
		o.Judge = func(wire.Call) Verdict { return Verdict{} }
		r := run(o, in, 4096)
		if r.Out != in || r.Err != "" || len(r.Calls) != 1 || r.Calls[0].Type != "server" || r.Sum.Released != 1 {
			t.Errorf("%s: error %q, calls %+v\n%s", form, r.Err, r.Calls, cmp.Diff(in, r.Out))
		}
	}
}

// TestSequence: the numbers of Responses' events grow also where a notice needs
// more events than the call had, and every copy of the call is replaced.
func TestSequence(t *testing.T) {
	in := frames(`{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"type":"custom_tool_call","call_id":"c","name":"deny","input":""}}`,
		`{"type":"response.output_item.done","sequence_number":2,"output_index":0,"item":{"type":"custom_tool_call","call_id":"c","name":"deny","input":"secret"}}`,
		`{"type":"response.output_item.done","sequence_number":3,"output_index":1,"item":{"type":"custom_tool_call","call_id":"d","name":"deny","input":"secret"}}`,
		`{"type":"response.completed","sequence_number":4,"response":{"status":"completed","output":[{"type":"custom_tool_call","call_id":"c","name":"deny","input":"secret"},{"type":"custom_tool_call","call_id":"d","name":"deny","input":"secret"},{"type":"reasoning","name":null}]}}`)
	r := run(options("responses"), in, 4096)
	if r.Err != "" || len(r.Calls) != 2 || strings.Contains(r.Out, "secret") || strings.Count(r.Out, "# blocked") != 2*5 {
		t.Fatalf("%q %+v\n%s", r.Err, r.Calls, r.Out)
	}
	var m Machine
	last := int64(0)
	for ev := range strings.SplitSeq(strings.TrimSpace(r.Out), "\n\n") {
		_, data, _ := strings.Cut(ev, "data: ")
		if !m.doc.parse([]byte(data)) {
			t.Fatalf("no JSON: %s", data)
		}
		n, ok := m.doc.integer(m.doc.get(0, "sequence_number"))
		if !ok || n <= last {
			t.Fatalf("number %d after %d\n%s", n, last, r.Out)
		}
		last = n
	}
}

// TestSameIndex: servers that give every call the same index, or none, are
// understood, and the client cannot understand them otherwise.
func TestSameIndex(t *testing.T) {
	for _, index := range []string{`"index":0,`, ""} {
		one := func(id, name string) string {
			return `{"choices":[{"index":0,"delta":{"tool_calls":[{` + index + `"id":"` + id + `","function":{"name":"` + name + `","arguments":"{}"}}]}}]}`
		}
		r := run(options("openai"), frames(one("a", "first"), one("b", "deny"), one("c", "third"))+chatEnd, 4096)
		got := read(t, "openai", r.Out)
		if d := cmp.Diff([]seenCall{{"first", "{}"}, {"third", "{}"}}, got.calls); d != "" || r.Err != "" || got.stop != "tool_calls" {
			t.Errorf("%q (-want +got)\n%s\n%s", r.Err, d, r.Out)
		}
	}
}

func TestChoices(t *testing.T) {
	call := func(name string) []modelserver.Call {
		return []modelserver.Call{{ID: name, Name: name, Args: `{"x":"` + name + `"}`}}
	}
	for _, form := range []string{"openai", "gemini"} {
		in := render(t, form, modelserver.Reply{Text: "one", Calls: call("deny1"), Also: []modelserver.Reply{{Text: "two", Calls: call("ok2")}, {Text: "three"}}})
		r := run(options(form), in, 4096)
		got := read(t, form, r.Out)
		if d := cmp.Diff([]seenCall{{"ok2", `{"x":"ok2"}`}}, got.calls); d != "" || r.Err != "" || strings.Contains(r.Out, "deny1") || !r.Sum.Complete {
			t.Fatalf("%s: %q (-want +got)\n%s\n%s", form, r.Err, d, r.Out)
		}
		if form == "openai" && (strings.Count(r.Out, `"finish_reason":"stop"`) != 2 || strings.Count(r.Out, `"finish_reason":"tool_calls"`) != 1) {
			t.Fatalf("finish reasons:\n%s", r.Out)
		}
	}
}

// TestOrder: what stands before a call is out when it is judged, nothing of it
// is, and text of Chat that comes later does not wait for it.
func TestOrder(t *testing.T) {
	for _, form := range formNames {
		in := render(t, form, modelserver.Reply{Text: "before", Calls: []modelserver.Call{{ID: "c", Name: "bash", Args: `{"x":"mark"}`}}})
		out, judged := "", false
		o := options(form)
		o.Out = func(p []byte) error { out += string(p); return nil }
		o.Judge = func(wire.Call) Verdict {
			judged = true
			if !strings.Contains(out, "ore") || strings.Contains(out, "mark") || strings.Contains(out, "bash") {
				t.Errorf("%s: out when judged: %s", form, out)
			}
			return Verdict{Release: true}
		}
		m := New(o)
		_, err := m.Write([]byte(in))
		if _, cerr := m.Close(); err != nil || cerr != nil || !judged {
			t.Fatalf("%s: %v %v", form, err, cerr)
		}
	}
	out := ""
	o := options("openai")
	o.Out = func(p []byte) error { out += string(p); return nil }
	m := New(o)
	late := frames(`{"choices":[{"index":0,"delta":{"content":"late"}}]}`)
	if _, err := m.Write([]byte(frames(chatCall) + late)); err != nil || out != late {
		t.Fatalf("%v %q", err, out)
	}
}

func TestFailAndErrors(t *testing.T) {
	for _, form := range formNames {
		in := render(t, form, modelserver.Reply{Text: "hello", Calls: []modelserver.Call{{ID: "c", Name: "bash", Args: `{"x":"mark"}`}}})
		out := ""
		o := options(form)
		o.Out = func(p []byte) error { out += string(p); return nil }
		m := New(o)
		if _, err := m.Write([]byte(in[:strings.Index(in, "bash")])); err != nil {
			t.Fatal(err)
		}
		if err := m.Fail(wire.Reason{Rule: "r9", Because: "the key was revoked"}); err != nil {
			t.Fatal(err)
		}
		if got := read(t, form, out); !strings.Contains(got.err, "r9") || !strings.Contains(got.err, "the key was revoked") {
			t.Errorf("%s: %s", form, out)
		}
		was := out
		if _, err := m.Write([]byte(in)); !fault.Is(err, fault.Denied) || out != was {
			t.Errorf("%s: written after Fail: %v", form, err)
		}
		if s, err := m.Close(); err == nil || s.Complete || out != was {
			t.Errorf("%s: closed after Fail: %v %+v", form, err, s)
		}

		gone := errors.New("client gone")
		o.Out = func([]byte) error { return gone }
		m = New(o)
		if _, err := m.Write([]byte(in)); !errors.Is(err, gone) {
			t.Errorf("%s: %v", form, err)
		}
	}
	o := options("anthropic")
	o.Out = func([]byte) error { return nil }
	var m *Machine
	o.Judge = func(wire.Call) Verdict {
		_ = m.Fail(wire.Reason{Rule: "r", Because: "stopped meanwhile"})
		return Verdict{Release: true}
	}
	m = New(o)
	if _, err := m.Write([]byte(msgStart + frames(toolStart, toolArgs, toolStop))); err == nil || !strings.Contains(err.Error(), "stopped meanwhile") {
		t.Fatalf("%v", err)
	}
}

// TestServerError: the server's own error passes, the call before it does not.
func TestServerError(t *testing.T) {
	for _, form := range formNames {
		in := render(t, form, modelserver.Reply{Text: "x", Error: &modelserver.Failure{Type: "overloaded_error", Message: "busy"}})
		if r := run(options(form), in, 4096); r.Err != "" || r.Out != in || r.Sum.Complete {
			t.Errorf("%s: %q %+v\n%s", form, r.Err, r.Sum, r.Out)
		}
	}
	for form, in := range map[string]string{
		"anthropic": msgStart + frames(toolStart, toolArgs, `{"type":"error","error":{"type":"overloaded_error","message":"busy"}}`),
		"openai":    frames(chatCall, `{"error":{"message":"busy"}}`),
		"responses": frames(`{"type":"response.output_item.added","output_index":0,"item":`+respItem+`}`, `{"type":"response.failed","response":{"error":{"message":"busy"}}}`),
	} {
		if r := run(options(form), in, 4096); r.Err != "" || strings.Contains(r.Out, "pwned") || read(t, form, r.Out).err != "busy" || len(r.Calls) > 0 {
			t.Errorf("%s: %q\n%s", form, r.Err, r.Out)
		}
	}
}

// TestIdleMemory: a stream that waits costs at most 16 KB.
func TestIdleMemory(t *testing.T) {
	const n = 200
	for _, form := range formNames {
		in := render(t, form, modelserver.Reply{Text: strings.Repeat("some words ", 400), Calls: []modelserver.Call{{ID: "c", Name: "bash", Args: "{}"}}, Usage: &modelserver.Usage{Input: 1}})
		half := []byte(in[:len(in)/2])
		machines := make([]*Machine, n)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range machines {
			o := options(form)
			o.Out = func([]byte) error { return nil }
			o.Text = func(string) error { return nil }
			machines[i] = New(o)
			for p := half; len(p) > 0; p = p[min(len(p), 4096):] {
				if _, err := machines[i].Write(p[:min(len(p), 4096)]); err != nil {
					t.Fatal(err)
				}
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
		t.Logf("%s: %d bytes each", form, each)
		if each > 16<<10 {
			t.Errorf("%s: an idle machine holds %d bytes", form, each)
		}
		runtime.KeepAlive(machines)
	}
}

// TestServerBeside: a call that the provider ran leaves nothing for the client
// to do, so the stop reason is the one of text.
func TestServerBeside(t *testing.T) {
	in := msgStart + frames(`{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}`, toolStop) +
		frames(strings.ReplaceAll(toolStart, `"index":0`, `"index":1`), strings.ReplaceAll(toolArgs, `"index":0`, `"index":1`), strings.ReplaceAll(toolStop, `"index":0`, `"index":1`)) + msgEnd
	r := run(options("anthropic"), in, 4096)
	if got := read(t, "anthropic", r.Out); got.stop != "end_turn" || len(got.calls) > 0 || r.Sum.Calls != 2 {
		t.Fatalf("%+v\n%s", r.Sum, r.Out)
	}
}

// TestSameID: calls are told apart by their place, not by ids that a server may
// repeat.
func TestSameID(t *testing.T) {
	for _, form := range formNames {
		in := render(t, form, modelserver.Reply{Calls: []modelserver.Call{{ID: "c", Name: "ok", Args: `{"a":1}`}, {ID: "c", Name: "deny", Args: `{"b":"secret"}`}, {ID: "c", Name: "ok", Args: `{"a":1}`}}})
		r := run(options(form), in, 4096)
		if got := read(t, form, r.Out); r.Err != "" || len(got.calls) != 2 || len(r.Calls) != 3 || strings.Contains(r.Out, "secret") {
			t.Errorf("%s: judged %+v, client %+v", form, r.Calls, got.calls)
		}
	}
}

// TestLoopback: the bytes of a real connection, in its pieces.
func TestLoopback(t *testing.T) {
	reply := long
	reply.Chunk, reply.Pace = 37, 0
	for form, ask := range map[string][2]string{
		"openai":       {"/v1/chat/completions", `{"stream":true,"stream_options":{"include_usage":true}}`},
		"responses":    {"/v1/responses", `{"stream":true}`},
		"anthropic":    {"/v1/messages", `{"stream":true}`},
		"gemini":       {"/v1beta/models/m:streamGenerateContent?alt=sse", `{}`},
		"gemini.array": {"/v1beta/models/m:streamGenerateContent", `{}`},
	} {
		s := modelserver.New(t, reply)
		resp, err := http.Post(s.URL+ask[0], "application/json", strings.NewReader(ask[1]))
		if err != nil {
			t.Fatal(err)
		}
		out := ""
		o := options(form)
		o.Judge = honest
		o.Out = func(p []byte) error { out += string(p); return nil }
		m := New(o)
		_, err = io.Copy(m, resp.Body)
		_ = resp.Body.Close()
		sum, cerr := m.Close()
		if err != nil || cerr != nil || !sum.Complete || sum.Released != 2 || sum.Replaced != 1 || !sum.Usage.Known {
			t.Fatalf("%s: %v %v %+v\n%s", form, err, cerr, sum, out)
		}
		if got := read(t, form, out); len(got.calls) != 2 || strings.Contains(out, "pwned") {
			t.Fatalf("%s: %+v", form, got.calls)
		}
	}
}

// TestPlainAndStreamed: a call is the same whether its reply is streamed or not.
func TestPlainAndStreamed(t *testing.T) {
	items := []string{
		respItem, `{"type":"custom_tool_call","call_id":"c","name":"p","namespace":"n","input":"free"}`,
		`{"type":"local_shell_call","id":"i","action":{"type":"exec","command":["ls"]}}`, `{"type":"shell_call","call_id":"c","action":{"commands":["ls"]}}`,
		`{"type":"tool_search_call","call_id":"c","execution":"client","arguments":{"q":1}}`,
		`{"type":"apply_patch_call","call_id":"c","operation":{"type":"x"}}`, `{"type":"warp_call","id":"i","x":1}`,
		`{"type":"mcp_call","id":"i","server_label":"s","name":"n","arguments":"{}"}`,
		`{"type":"mcp_approval_request","id":"i","server_label":"s","name":"n","arguments":"{}"}`,
		`{"type":"web_search_call","id":"i","action":{"query":"q"}}`, `{"type":"code_interpreter_call","id":"i","code":"1+1"}`,
	}
	for _, it := range items {
		reply, err := wire.ParseReply(wire.Responses, []byte(`{"id":"r","object":"response","status":"completed","output":[`+it+`]}`))
		if err != nil {
			t.Fatalf("%s: %v", it, err)
		}
		r := run(options("responses"), frames(`{"type":"response.output_item.done","output_index":0,"item":`+it+`}`)+respEnd, 4096)
		if d := cmp.Diff(reply.Calls, r.Calls); d != "" || r.Err != "" {
			t.Errorf("%s: %q (-plain +streamed)\n%s", it, r.Err, d)
		}
	}
	for _, part := range []string{`{"functionCall":{"name":"a","args":{"x":[1, 2]}}}`, `{"functionCall":{"id":"i","name":"a"}}`, `{"executableCode":{"language":"PYTHON","code":"1"}}`} {
		chunk := `{"candidates":[{"content":{"role":"model","parts":[` + part + `]},"finishReason":"STOP"}]}`
		reply, err := wire.ParseReply(wire.Gemini, []byte(chunk))
		if err != nil {
			t.Fatalf("%s: %v", part, err)
		}
		if d := cmp.Diff(reply.Calls, run(options("gemini"), frames(chunk), 4096).Calls); d != "" {
			t.Errorf("%s (-plain +streamed)\n%s", part, d)
		}
	}
}

func TestNoticeIsOneLine(t *testing.T) {
	for _, notice := range []string{"a\nb\r\u2028c", ""} {
		o := options("anthropic")
		o.Judge = func(wire.Call) Verdict { return Verdict{Notice: notice} }
		r := run(o, msgStart+frames(toolStart, toolArgs, toolStop)+msgEnd, 4096)
		if got := read(t, "anthropic", r.Out).text; strings.ContainsAny(got, "\n\r\u2028") || got == "" {
			t.Errorf("%q", got)
		}
	}
}
