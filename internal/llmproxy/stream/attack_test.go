package stream

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"sallyport/internal/llmproxy/wire"
	"sallyport/test/fakes/modelserver"
)

// TestBarePassThrough shows why calls are held: without a machine a client has
// the whole call before the reply ends, and with one that refuses it never.
func TestBarePassThrough(t *testing.T) {
	for _, form := range []string{"openai", "responses", "anthropic", "gemini"} {
		in := render(t, form, modelserver.Reply{Text: "hi", Calls: []modelserver.Call{{ID: "c1", Name: "bash", Args: `{"command":"touch pwned"}`}}})
		events := strings.SplitAfter(in, "\n\n")
		early := strings.Join(events[:len(events)-2], "")
		if got := read(t, form, early).calls; len(got) != 1 || !strings.Contains(got[0].Args, "pwned") {
			t.Fatalf("%s: the attack does not work: %v", form, got)
		}
		r := run(options(form), early, 4096)
		if got := read(t, form, r.Out); strings.Contains(r.Out, "pwned") || len(got.calls) > 0 {
			t.Fatalf("%s: the call leaks\n%s", form, r.Out)
		}
	}
}

// hostile is a reply that a client could take for a call in a way that a
// careless guard does not see. Everything that is judged is refused.
type hostile struct {
	name, form, in string
	want           string // what the error names; "" for a call that is found and replaced
}

const (
	msgStart  = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"content\":[]}}\n\n"
	msgEnd    = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	toolStart = `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"bash","input":{}}}`
	toolArgs  = `{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"c\":\"pwned\"}"}}`
	toolStop  = `{"type":"content_block_stop","index":0}`
	chatCall  = `{"id":"x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"bash","arguments":"{\"c\":\"pwned\"}"}}]}}]}`
	chatEnd   = "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n"
	respItem  = `{"type":"function_call","id":"f","call_id":"c","name":"bash","arguments":"{\"c\":\"pwned\"}"}`
	respEnd   = "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[]}}\n\n"
)

// sse frames documents as events.
func frames(docs ...string) string {
	var b strings.Builder
	for _, d := range docs {
		b.WriteString("data: " + d + "\n\n")
	}
	return b.String()
}

func messagesAttacks() []hostile {
	m := func(name, want string, docs ...string) hostile {
		return hostile{"messages " + name, "anthropic", msgStart + frames(docs...) + msgEnd, want}
	}
	return []hostile{
		m("plain", "", toolStart, toolArgs, toolStop),
		m("no end", "unfinished-call", toolStart, toolArgs),
		m("announced twice", "announced twice", toolStart, toolStart, toolArgs, toolStop),
		m("text turns into a call", "announced twice", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, toolStart, toolArgs, toolStop),
		m("arguments for a text block", "does not belong", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, toolArgs, toolStop),
		m("arguments for nothing", "not open", toolArgs),
		m("arguments in the start", "", `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"bash","input":{"c":"pwned"}}}`, toolStop),
		m("arguments twice", "twice", `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"bash","input":{"c":"pwned"}}}`, toolArgs, toolStop),
		m("unknown kind of call", "", `{"type":"content_block_start","index":0,"content_block":{"type":"quantum_tool_use","name":"bash","input":{"c":"pwned"}}}`, toolStop),
		m("unknown block with arguments", "", `{"type":"content_block_start","index":0,"content_block":{"type":"x","name":"bash","input":{"c":"pwned"}}}`, toolStop),
		m("duplicate name", "strict JSON", strings.Replace(toolStart, `"content_block":`, `"content_block":{"type":"text","text":""},"content_block":`, 1), toolArgs, toolStop),
		m("duplicate name by escape", "strict JSON", strings.Replace(toolStart, `"content_block":`, `"content_block":{"type":"text","text":""},"content\u005fblock":`, 1), toolArgs, toolStop),
		m("type in other case", "in upper and lower case", `{"type":"ping","Type":"content_block_start","pwned":1}`),
		m("type escaped", "", `{"type":"content\u005fblock_start","index":0,"content_block":{"type":"tool\u005fuse","name":"bash","input":{}}}`, toolArgs, toolStop),
		m("index as 0.0", "no index", strings.Replace(toolStart, `"index":0`, `"x":"pwned","index":0.0`, 1)),
		m("call in the first event", "", toolStart, toolArgs, toolStop),
		m("call in an unknown event", "carries a tool call", `{"type":"future","x":{"type":"tool_use","name":"bash","input":{"c":"pwned"}}}`),
		m("trailing bytes", "strict JSON", `{"type":"ping"} `+toolStart+"pwned"),
		m("NaN", "strict JSON", `{"type":"ping","x":NaN,"pwned":1}`),
		m("half a character", "half of a character", toolStart, strings.Replace(toolArgs, "pwned", `pwned\ud800`, 1), toolStop),
		{"messages two types", "anthropic", msgStart + "event: content_block_start\ndata: {\"type\":\"ping\",\"content_block\":{\"type\":\"tool_use\",\"name\":\"pwned\"}}\n\n" + msgEnd, "two types"},
		{"messages content in start", "anthropic", frames(`{"type":"message_start","message":{"content":[{"type":"tool_use","name":"bash","input":{"c":"pwned"}}]}}`) + msgEnd, "already has content"},
		{"messages started twice", "anthropic", msgStart + strings.Replace(msgStart, `"content":[]`, `"content":[],"x":"pwned"`, 1) + msgEnd, "starts twice"},
	}
}

func chatAttacks() []hostile {
	c := func(name, want string, docs ...string) hostile {
		return hostile{"chat " + name, "openai", frames(docs...) + chatEnd, want}
	}
	return []hostile{
		c("plain", "", chatCall),
		c("function_call", "", `{"choices":[{"index":0,"delta":{"function_call":{"name":"bash","arguments":"pwned"}}}]}`),
		c("custom", "", `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"custom","custom":{"name":"bash","input":"pwned"}}]}}]}`),
		c("no index", "", `{"choices":[{"delta":{"tool_calls":[{"id":"c","function":{"name":"bash","arguments":"pwned"}}]}}]}`),
		c("beside text", "", strings.Replace(chatCall, `"delta":{`, `"delta":{"content":"hello",`, 1)),
		c("whole message", "whole message", `{"choices":[{"index":0,"message":{"tool_calls":[{"function":{"name":"bash","arguments":"pwned"}}]}}]}`),
		c("beside the delta", "where none belongs", `{"choices":[{"index":0,"delta":{},"tool_calls":[{"function":{"name":"bash","arguments":"pwned"}}]}]}`),
		c("other case", "upper and lower case", strings.Replace(chatCall, "tool_calls", "Tool_Calls", 1)),
		c("Kelvin sign", "", strings.Replace(chatCall, `"id":"x"`, `"id":"x","to\u212aen":1`, 1)),
		c("long s", "upper and lower case", strings.Replace(chatCall, "tool_calls", "tool_call\u017f", 1)),
		c("camel case", "where none belongs", strings.Replace(chatCall, "tool_calls", "toolCalls", 1)),
		c("two names", "two names", chatCall, strings.Replace(strings.Replace(chatCall, `"bash"`, `"rm"`, 1), `"id":"c",`, "", 1)),
		c("two types", "two types", strings.Replace(chatCall, `"function":{`, `"custom":{"name":"x"},"function":{`, 1)),
		c("after the finish", "", strings.TrimSuffix(strings.TrimPrefix(chatEnd, "data: "), "\n\ndata: [DONE]\n\n"), chatCall),
		c("no choices", "carries a tool call", `{"item":{"type":"function_call","name":"bash","arguments":"pwned"}}`),
		c("index is a text", "no whole number", strings.Replace(chatCall, `"index":0,"id"`, `"index":"0","id"`, 1)),
		c("arguments are no text", "no string", strings.Replace(chatCall, `"{\"c\":\"pwned\"}"`, `{"c":"pwned"}`, 1)),
		{"chat no end", "openai", frames(chatCall), "ended before"},
		{"chat cut in an event", "openai", frames(chatCall)[:60], "ended before"},
		{"chat after the mark", "openai", chatEnd + frames(chatCall), "ended before"},
	}
}

func responsesAttacks() []hostile {
	r := func(name, want string, docs ...string) hostile {
		return hostile{"responses " + name, "responses", frames(docs...) + respEnd, want}
	}
	added := `{"type":"response.output_item.added","output_index":0,"item":` + strings.Replace(respItem, `"{\"c\":\"pwned\"}"`, `""`, 1) + `}`
	done := `{"type":"response.output_item.done","output_index":0,"item":` + respItem + `}`
	delta := `{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{\"c\":\"pwned\"}"}`
	return []hostile{
		r("plain", "", added, delta, done),
		r("only done", "", done),
		r("done twice", "", added, done, done),
		r("no end", "inside a tool call", added, delta),
		r("deltas differ", "different", added, strings.Replace(delta, "pwned", "ls", 1), done),
		r("name differs", "different", strings.Replace(added, "bash", "cat", 1), done),
		r("end of the arguments differs", "different arguments", added, strings.Replace(delta, "pwned", "ls", 1), `{"type":"response.function_call_arguments.done","output_index":0,"arguments":"{\"c\":\"pwned\"}"}`),
		r("announced as a message", "something else", `{"type":"response.output_item.added","output_index":0,"item":{"type":"message"}}`, done),
		r("announced twice", "announced twice", added, added, done),
		r("deltas of nothing", "no announced item", delta),
		r("unknown item", "", `{"type":"response.output_item.done","output_index":0,"item":{"type":"warp_call","name":"bash","x":"pwned"}}`),
		r("unknown event", "carries a tool call", `{"type":"response.warp","item":`+respItem+`}`),
		r("unknown event of a call", "", added, `{"type":"response.warp.delta","output_index":0,"delta":"pwned"}`, done),
		r("only at the end", "", `{"type":"response.completed","response":{"status":"completed","output":[`+respItem+`]}}`),
		r("at the start", "", `{"type":"response.created","response":{"output":[`+respItem+`]}}`),
		r("local shell", "", `{"type":"response.output_item.done","output_index":0,"item":{"type":"local_shell_call","call_id":"c","action":{"type":"exec","command":["pwned"]}}}`),
		r("tool search", "", `{"type":"response.output_item.done","output_index":0,"item":{"type":"tool_search_call","call_id":"c","execution":"client","arguments":{"q":"pwned"}}}`),
		r("no type", "no type", `{"item":`+respItem+`}`),
		{"responses two types", "responses", "event: response.output_item.done\ndata: {\"type\":\"keepalive\",\"item\":" + respItem + "}\n\n" + respEnd, "two types"},
	}
}

func geminiAttacks() []hostile {
	g := func(name, want, part string) hostile {
		return hostile{"gemini " + name, "gemini", frames(`{"candidates":[{"content":{"parts":[` + part + `]},"finishReason":"STOP"}]}`), want}
	}
	return []hostile{
		g("plain", "", `{"functionCall":{"name":"bash","args":{"c":"pwned"}},"thoughtSignature":"abc"}`),
		g("underscore", "", `{"function_call":{"name":"bash","args":{"c":"pwned"}}}`),
		g("other case", "upper and lower case", `{"FunctionCall":{"name":"bash","args":{"c":"pwned"}}}`),
		g("text beside it", "text and a tool call", `{"text":"x","functionCall":{"name":"bash","args":{"c":"pwned"}}}`),
		g("in parts", "in parts", `{"functionCall":{"name":"bash","willContinue":true,"partialArgs":[{"jsonPath":"$.c","stringValue":"pwned"}]}}`),
		g("unknown part", "", `{"warpCall":{"name":"bash","c":"pwned"}}`),
		{"gemini without candidates", "gemini", frames(`{"functionCall":{"name":"bash","args":{"c":"pwned"}}}`), "carries a tool call"},
		{"gemini beside the parts", "gemini", frames(`{"candidates":[{"functionCall":{"name":"bash","args":{"c":"pwned"}}}]}`), "where none belongs"},
		{"array", "gemini.array", `[{"candidates":[{"content":{"parts":[{"functionCall":{"name":"bash","args":{"c":"pwned"}}}]},"finishReason":"STOP"}]}]`, ""},
		{"array with a call between", "gemini.array", `[{"candidates":[]} {"pwned":1}]`, "malformed"},
		{"array without an array", "gemini.array", `{"candidates":[{"pwned":1}]}`, "malformed"},
		{"array cut", "gemini.array", `[{"candidates":[{"content":{"parts":[{"functionCall":{"name":"bash","args":{"c":"pwned"`, "ended before"},
	}
}

func framingAttacks() []hostile {
	call := "data: " + toolStart + "\n\ndata: " + toolArgs + "\n\ndata: " + toolStop + "\n\n"
	m := func(name, in, want string) hostile {
		return hostile{"framing " + name, "anthropic", msgStart + in + msgEnd, want}
	}
	return []hostile{
		m("no space", strings.ReplaceAll(call, "data: ", "data:"), ""),
		m("crlf", strings.ReplaceAll(call, "\n", "\r\n"), ""),
		m("cr", strings.ReplaceAll(call, "\n", "\r"), ""),
		m("lines that only some see", ": x\u2028\u2028data: "+toolStart+"\u2028\u2028data: "+toolArgs+"\u2028\u2028\n\n", ""),
		m("vertical tab", ": x\v\vdata: "+toolArgs+"\v\v\n\n", ""),
		m("unknown field", "Data: "+toolArgs+"\n data: "+toolArgs+"\nxdata: "+toolArgs+"\n\n", ""),
		m("field in a name", "event: ping\u2028data: "+toolArgs+"\u2028\u2028\n\n", ""),
		m("one line of several", "data: {\"type\":\"x\",\"y\":[\ndata: "+toolArgs+"\ndata: ]}\n\n", "where none belongs"),
		m("no JSON", "data: "+toolArgs+"x\n\n", "strict JSON"),
		m("byte order mark", "\xef\xbb\xbfdata: "+toolArgs+"\n\n", ""),
		m("invalid UTF-8", "data: {\"type\":\"ping\",\"x\":\"\xff pwned\"}\n\n", "strict JSON"),
	}
}

// TestHostile: whatever a server sends, nothing of a refused call reaches the
// client, for any fragmentation.
func TestHostile(t *testing.T) {
	var all []hostile
	for _, list := range [][]hostile{messagesAttacks(), chatAttacks(), responsesAttacks(), geminiAttacks(), framingAttacks()} {
		all = append(all, list...)
	}
	for _, tt := range all {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(tt.in, "pwned") && !strings.Contains(tt.in, "data: {\"id") {
				t.Fatal("the attack carries nothing")
			}
			o := options(tt.form)
			o.Judge = func(wire.Call) Verdict { return Verdict{Notice: "# no"} }
			r := run(o, tt.in, len(tt.in))
			if strings.Contains(r.Out, "pwned") {
				t.Errorf("a refused call leaks:\n%s", r.Out)
			}
			if tt.want == "" && r.Err != "" || !strings.Contains(r.Err, tt.want) {
				t.Errorf("error %q, want %q", r.Err, tt.want)
			}
			if tt.want != "" && !strings.Contains(r.Out, "rule stream.") {
				t.Errorf("the client is not told:\n%s", r.Out)
			}
			if got := read(t, tt.form, r.Out); len(got.calls) > 0 {
				t.Errorf("the client runs %v", got.calls)
			}
			for _, n := range []int{1, 2, 3, 5, 17} {
				if again := run(o, tt.in, n); again.Out != r.Out || again.Err != r.Err || fmt.Sprint(again.Calls) != fmt.Sprint(r.Calls) {
					t.Fatalf("pieces of %d change the outcome: %q, %q", n, again.Err, r.Err)
				}
			}
		})
	}
}

// TestLineSeparators: some readers end lines at more characters than the form
// knows. A comment that holds a call for them does not reach them; text with
// such a character does, as one line that says the same.
func TestLineSeparators(t *testing.T) {
	lines := regexp.MustCompile("[\n\v\f\u0085\u2028\u2029]")
	runs := func(s string) bool {
		for _, l := range lines.Split(s, -1) {
			var v map[string]any
			if json.Unmarshal([]byte(strings.TrimPrefix(l, "data: ")), &v) == nil && strings.Contains(l, `"tool_calls":[`) {
				return true
			}
		}
		return false
	}
	for _, sep := range []string{"\v", "\f", "\u0085", "\u2028", "\u2029"} {
		in := ": x" + sep + sep + "data: " + chatCall + sep + sep + "\n\n" + chatEnd
		if !runs(in) {
			t.Fatalf("%q: the attack does not work", sep)
		}
		if r := run(options("openai"), in, 4096); runs(r.Out) || r.Err != "" {
			t.Fatalf("%q: error %q\n%s", sep, r.Err, r.Out)
		}
	}
	good := frames(`{"choices":[{"index":0,"delta":{"content":"a`+"\u2028\u0085\u2029"+`b"}}]}`) + chatEnd
	if r := run(options("openai"), good, 4096); read(t, "openai", r.Out).text != "a\u2028\u0085\u2029b" || r.Err != "" || strings.ContainsAny(r.Out, "\u2028\u2029\u0085") {
		t.Fatalf("%q %q", r.Err, r.Out)
	}
}
