package wire

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// inside renders what is in a call.
func inside(c Call) string {
	calls, ok := Unwrap(c)
	var b strings.Builder
	for _, i := range calls {
		fmt.Fprintf(&b, "%s %s %s; ", i.Type, i.Name, i.Arguments)
	}
	if !ok {
		b.WriteString("?")
	}
	return strings.TrimSpace(b.String())
}

func TestUnwrap(t *testing.T) {
	for _, c := range []struct{ typ, name, arguments, want string }{
		{"function", "Bash", `{"command":"ls"}`, `function Bash {"command":"ls"};`},
		{"function", "Bash", `not json`, `function Bash not json;`},
		{"function", "ToolSearch", `{"query":"x"}`, `function ToolSearch {"query":"x"};`},
		{"tool_search", "tool_search", `{"q":1}`, `tool_search tool_search {"q":1};`},
		{"local_shell", "local_shell", `{"command":["ls"]}`, `local_shell local_shell {"command":["ls"]};`},
		{"server", "tool_call", `{"name":"x"}`, `server tool_call {"name":"x"};`},
		{"function", "tool_call", `{"name":"exec","arguments":{"command":"id"}}`, `function exec {"command":"id"};`},
		{"function", "tool_call", `{"id":"exec","args":"{\"command\":\"id\"}"}`, `function exec {"command":"id"};`},
		{"function", "tool_call", `{"tool":"exec"}`, `function exec {};`},
		{"function", "tool_call", `{"name":"exec","id":"other","args":{}}`, `function tool_call {"name":"exec","id":"other","args":{}}; ?`},
		{"function", "tool_call", `{"name":"exec","args":{},"host":"node"}`, `function exec {}; ?`},
		{"function", "tool_call", `{"name":"a","name":"b"}`, `function tool_call {"name":"a","name":"b"}; ?`},
		{"function", "tool_call", `{"name":["exec"]}`, `function tool_call {"name":["exec"]}; ?`},
		{"function", "tool_call", `{"name":"tool_call","args":{"name":"exec","args":{"c":1}}}`, `function exec {"c":1};`},
		{"function", "multi_tool_use.parallel", `{"tool_uses":[{"recipient_name":"functions.a","parameters":{"x":1}},{"recipient_name":"functions.b","parameters":{}}]}`, `function a {"x":1}; function b {};`},
		{"function", "multi_tool_use.parallel", `{"tool_uses":[{"recipient_name":"functions.a","parameters":{}},7]}`, `function a {}; ?`},
		{"function", "multi_tool_use.parallel", `{"uses":[]}`, `function multi_tool_use.parallel {"uses":[]}; ?`},
		{"function", "submit_commands", `{"commands":["ls","rm x"],"comment":"c"}`, `text shell ls; text shell rm x;`},
		{"function", "submit_commands", `{"commandList":[{"command":"ls"}]}`, `text shell ls;`},
		{"function", "submit_commands", `{"commands":["ls",7]}`, `text shell ls; ?`},
		{"function", "submit_commands", `{"commands":["ls"],"then":"rm"}`, `text shell ls; ?`},
		{"function", "submit_commands", `ls`, `function submit_commands ls; ?`},
		{"custom", "apply_patch", `*** Begin Patch`, `custom apply_patch *** Begin Patch;`},
		{"custom", "exec", `text("hi")`, `custom exec text("hi");`},
	} {
		if got := inside(Call{Index: 3, ID: "i", Type: c.typ, Name: c.name, Arguments: c.arguments}); got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.name, c.arguments, got, c.want)
		}
	}
}

func TestUnwrapBounds(t *testing.T) {
	nested := `{"name":"exec","args":{}}`
	for range 6 {
		nested = `{"name":"tool_call","args":` + nested + `}`
	}
	if got := inside(Call{Type: "function", Name: "tool_call", Arguments: nested}); !strings.HasSuffix(got, "?") {
		t.Errorf("nested: %s", got)
	}
	uses := strings.Repeat(`{"recipient_name":"a"},`, 300)
	calls, ok := Unwrap(Call{Type: "function", Name: "multi_tool_use.parallel", Arguments: `{"tool_uses":[` + uses[:len(uses)-1] + `]}`})
	if ok || len(calls) != maxInner {
		t.Errorf("%d calls, %t", len(calls), ok)
	}
}

func TestProgram(t *testing.T) {
	for _, c := range []struct{ program, want string }{
		{`const r = await tools.exec_command({cmd: "ls -l", yield_time_ms: 1000});
text(r.output);`, `function exec_command {"cmd":"ls -l","yield_time_ms":1000};`},
		{
			`// @exec: {"yield_time_ms": 10}
await tools.exec_command({ 'cmd': 'a\'b\x41\u0042\u{1F600}\n', "list": [1, -2.5e3, true, null,], });`,
			`function exec_command {"cmd":"a'bAB` + "\U0001F600" + `\n","list":[1,-2.5e3,true,null]};`,
		},
		{
			"const [a, b] = await Promise.all([tools.x({}), tools['y z']({k: `t\nu`})])\ntext(JSON.stringify(a.b, null, 2)); console.log(b)",
			`function x {}; function y z {"k":"t\nu"};`,
		},
		{`await tools.apply_patch("*** Begin\n");`, "function apply_patch *** Begin\n;"},
		{`tools.a(); /* c */ tools.b({}) // d`, `function a {}; function b {};`},
		// Everything below computes, or may: it is not resolved.
		{`const c = "rm"; tools.x({cmd: c})`, `?`},
		{`tools.x({cmd: "r" + "m"})`, `?`},
		{"tools.x({cmd: `${a}`})", `?`},
		{`tools.x({cmd: "a"}).then(f)`, `function x {"cmd":"a"}; ?`},
		{`for (;;) tools.x({cmd: "a"})`, `function x {"cmd":"a"}; ?`},
		{`if (false) { await tools.x({cmd: "a"}) }`, `function x {"cmd":"a"}; ?`},
		{`const t = tools; t.x({cmd: "a"})`, `?`},
		{`const text = tools.x; text("a")`, `?`},
		{`const tools = {}; tools.x({a: 1})`, `function x {"a":1}; ?`},
		{`tools[name]({})`, `?`},
		{`tools["a" + "b"]({})`, `?`},
		{`tools.x({["cmd"]: "a"})`, `?`},
		{`tools.x({get cmd() { return "b" }})`, `?`},
		{`tools.x({...o})`, `?`},
		{`tools.x({a: 1, a: 2})`, `?`},
		{`tools.x({__proto__: {a: 1}})`, `?`},
		{`tools.x({a: 0x10})`, `?`},
		{`tools.x({a: 010})`, `?`},
		{`tools.x({a: "\101"})`, `?`},
		{`tools.x({a: "\ud83d"})`, `?`},
		{`tools.x({a: /r/})`, `?`},
		{`tools.x({a: 1}, {b: 2})`, `?`},
		{`tools.x({a: "b"` + "\n" + `"c"})`, `?`},
		{"// c\u2028eval('1')", `?`},
		{"/* c", `?`},
		{`text(eval("1"))`, `?`},
		{`text(r)`, `?`},
		{`eval("tools.x({})")`, `function x {}; ?`},
		{`const r = await tools.x({}); text(r[tools.y({})])`, `function x {}; function y {}; ?`},
		{"tools.x({})`a`", `function x {}; ?`},
		{"tools.x({})\n(tools.y)({})", `function x {}; ?`},
		{`tools.a() tools.b()`, `function a {}; function b {}; ?`},
		{`import("fs")`, `?`},
		{"\\u0074ools.x({})", `?`},
		{"tools.x({a: \"\xff\"})", `?`},
	} {
		got := inside(Call{Type: "custom", Name: "exec", Arguments: c.program})
		if own := "custom exec " + c.program + "; "; strings.HasSuffix(c.want, "?") {
			got = strings.Replace(got, own, "", 1)
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.program, got, c.want)
		}
	}
}

// TestProgramLinear: programs made to be read again and again cost no more than
// their length. Eight times the length may cost sixteen times as much, not
// sixty-four times; the best of several runs is compared with the best, so that
// a busy machine decides nothing.
func TestProgramLinear(t *testing.T) {
	best := func(program string) time.Duration {
		least := time.Duration(math.MaxInt64)
		for range 5 {
			start := time.Now()
			Unwrap(Call{Type: "code", Name: "exec", Arguments: program})
			least = min(least, time.Since(start))
		}
		return least
	}
	for _, piece := range []string{"tools.a(/*", "tools.a(//", "tools.a(`", "tools.a(\"", "tools.a([", "tools.a({a:", "JSON.stringify(", "text(JSON.stringify(", "/*", "tools"} {
		short, long := strings.Repeat(piece, 8<<10/len(piece)), strings.Repeat(piece, 64<<10/len(piece))
		if one, eight := best(short), best(long); eight > 32*one && eight > 100*time.Millisecond {
			t.Errorf("%q: %v, eight times as long %v", piece, one, eight)
		}
	}
}

// FuzzUnwrap: nothing crashes, what is inside is bounded, and the arguments of
// a call in a program that is resolved are JSON or a plain text.
func FuzzUnwrap(f *testing.F) {
	f.Add("custom", "exec", `const r = await tools.x({a: [1, "b"]}); text(r.o)`)
	f.Add("function", "tool_call", `{"name":"x","args":{}}`)
	f.Add("function", "submit_commands", `{"commands":["a"]}`)
	f.Add("function", "multi_tool_use.parallel", `{"tool_uses":[{"recipient_name":"a"}]}`)
	f.Fuzz(func(t *testing.T, typ, name, arguments string) {
		inner, ok := Unwrap(Call{Type: typ, Name: name, Arguments: arguments})
		if len(inner) == 0 || len(inner) > maxInner {
			t.Fatalf("%d calls", len(inner))
		}
		for _, c := range inner {
			if ok && typ == "custom" && name == "exec" && c.Type == "function" && strings.HasPrefix(c.Arguments, "{") &&
				!json.Valid([]byte(c.Arguments)) && !strings.ContainsAny(arguments, "\"'`") {
				t.Fatalf("%q: %q", arguments, c.Arguments)
			}
		}
	})
}

func TestReasonLine(t *testing.T) {
	r := Reason{Rule: "no-rm\x1b[31m\n", Because: "rm -rf\r\nis\tnot allowed here\u202e.", Approval: "ap-1"}
	want := "Blocked by Sallyport (rule no-rm[31m): rm -rf is not allowed here. A person can approve it as ap-1; then try the same once more."
	if diff := cmp.Diff(want, r.Line(ClaudeCode)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("# "+want, r.Line(NAISYS)); diff != "" {
		t.Error(diff)
	}
	long := Reason{Rule: strings.Repeat("\u00e9", 5000), Because: strings.Repeat("x\n", 50000), Approval: strings.Repeat("y", 5000)}.Line("")
	if len(long) > maxLine+100 || strings.ContainsAny(long, "\n\r") {
		t.Errorf("%d bytes: %s", len(long), long)
	}
}

func TestRefuse(t *testing.T) {
	r := Reason{Rule: "r", Because: "b"}
	for _, c := range []struct {
		api    API
		client Client
		reason Reason
		status int
		header string // "name: value" that must be there
		body   string // with LINE for the line
	}{
		{Messages, ClaudeCode, r, 403, "X-Should-Retry: false", `{"type":"error","error":{"type":"permission_error","message":"LINE"}}`},
		{Messages, "", r, 403, "X-Should-Retry: false", `{"type":"error","error":{"type":"permission_error","message":"LINE"}}`},
		{Messages, OpenClaw, r, 400, "X-Should-Retry: false", `{"type":"error","error":{"type":"invalid_request_error","message":"LINE"}}`},
		{Messages, NAISYS, r, 400, "X-Should-Retry: false", `{"type":"error","error":{"type":"invalid_request_error","message":"LINE"}}`},
		{Responses, Codex, r, 400, "Content-Type: application/json", `{"error":{"message":"LINE","type":"invalid_request_error","param":null,"code":"policy_violation"}}`},
		{Chat, OpenCode, r, 400, "Content-Type: application/json", `{"error":{"message":"LINE","type":"invalid_request_error","param":null,"code":"policy_violation"}}`},
		{Chat, NAISYS, r, 400, "Content-Type: application/json", `{"error":{"message":"LINE","type":"invalid_request_error","param":null,"code":"policy_violation"}}`},
		{Gemini, GeminiCLI, r, 400, "Content-Type: application/json", `{"error":{"code":400,"message":"LINE","status":"INVALID_ARGUMENT"}}`},
		{Messages, "", Reason{Rate: true, RetryAfter: 1500 * time.Millisecond}, 429, "Retry-After: 2", `{"type":"error","error":{"type":"rate_limit_error","message":"LINE"}}`},
		{Chat, "", Reason{Rate: true}, 429, "Retry-After: 1", `{"error":{"message":"LINE","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}`},
		{Gemini, "", Reason{Rate: true}, 429, "Retry-After: 1", `{"error":{"code":429,"message":"LINE","status":"RESOURCE_EXHAUSTED"}}`},
		{Messages, "", Reason{Login: true}, 401, "X-Should-Retry: false", `{"type":"error","error":{"type":"authentication_error","message":"LINE"}}`},
		{Chat, OpenClaw, Reason{Login: true}, 401, "X-Should-Retry: false", `{"error":{"message":"LINE","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`},
		{Gemini, "", Reason{Login: true}, 401, "Content-Type: application/json", `{"error":{"code":401,"message":"LINE","status":"UNAUTHENTICATED"}}`},
	} {
		a := Refuse(c.api, c.client, c.reason)
		name, value, _ := strings.Cut(c.header, ": ")
		want := strings.Replace(c.body, "LINE", c.reason.Line(c.client), 1)
		if a.Status != c.status || a.Header.Get(name) != value || string(a.Body) != want {
			t.Errorf("%s for %q: %d %v %s, want %d %s", c.api, c.client, a.Status, a.Header, a.Body, c.status, want)
		}
		if c.reason.Rate && a.Header.Get("X-Should-Retry") != "" {
			t.Errorf("%s: a rate limit forbids to try again", c.api)
		}
	}
	for _, c := range []struct {
		api       API
		in, out   int
		fragments string
	}{
		{Messages, 529, 529, "overloaded_error"},
		{Chat, 529, 503, "server_error"},
		{Gemini, 503, 503, "UNAVAILABLE"},
		{Responses, 418, 502, "server_error"},
		{Messages, 504, 504, "timeout_error"},
	} {
		if a := Unavailable(c.api, "", c.in, "down"); a.Status != c.out || !strings.Contains(string(a.Body), c.fragments) {
			t.Errorf("%s %d: %d %s", c.api, c.in, a.Status, a.Body)
		}
	}
}

func TestStreamError(t *testing.T) {
	r := Reason{Rule: "r", Because: "</b>&"}
	rate := Reason{Rule: "r", Because: "slow", Rate: true}
	const permission = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"permission_error\",\"message\":\"LINE\"}}\n\n"
	for _, c := range []struct {
		api  API
		r    Reason
		at   Place
		want string
	}{
		{Messages, rate, Place{}, `event: message_start
data: {"type":"message_start","message":{"id":"msg_sallyport","type":"message","role":"assistant","model":"sallyport","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"[blocked]"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: error
data: {"type":"error","error":{"type":"rate_limit_error","message":"LINE"}}

`},
		{Messages, r, Place{Begun: true, Open: true, Block: 2}, `event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"[blocked]"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

` + permission},
		{Messages, r, Place{Begun: true, Open: true, Text: true, Block: 2}, `event: content_block_stop
data: {"type":"content_block_stop","index":2}

` + permission},
		{Messages, r, Place{Begun: true, Open: true, Text: true, Done: true}, permission},
		{Messages, r, Place{Cut: true}, permission},
		{Responses, r, Place{ID: "resp_7", Next: 12}, `event: response.failed
data: {"type":"response.failed","sequence_number":12,"response":{"id":"resp_7","object":"response","status":"failed","output":[],"error":{"code":"invalid_prompt","message":"LINE"}}}

`},
		{Responses, rate, Place{}, `event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_sallyport","object":"response","status":"in_progress","output":[],"error":null}}

event: response.failed
data: {"type":"response.failed","sequence_number":1,"response":{"id":"resp_sallyport","object":"response","status":"failed","output":[],"error":{"code":"rate_limit_exceeded","message":"LINE"}}}

`},
		{Chat, r, Place{Text: true}, "data: {\"error\":{\"message\":\"LINE\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"policy_violation\"}}\n\ndata: [DONE]\n\n"},
		{Gemini, r, Place{}, "data: {\"candidates\":[{\"index\":0,\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"LINE\"}]},\"finishReason\":\"PROHIBITED_CONTENT\"}]}\n\n"},
		{Gemini, r, Place{Text: true}, "data: {\"candidates\":[{\"index\":0,\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"\\nLINE\"}]},\"finishReason\":\"PROHIBITED_CONTENT\"}]}\n\n"},
		{Gemini, r, Place{Text: true, Cut: true}, "data: {\"error\":{\"code\":400,\"message\":\"LINE\",\"status\":\"INVALID_ARGUMENT\"}}\n\n"},
	} {
		want := strings.Replace(c.want, "LINE", c.r.Line(""), 1)
		if diff := cmp.Diff(want, string(StreamError(c.api, "", c.r, c.at))); diff != "" {
			t.Errorf("%s: %s", c.api, diff)
		}
		if got := "data: " + string(ErrorBody("", c.r, c.at)) + "\n\n"; c.api == Gemini && got != want {
			t.Errorf("in an array %s", got)
		}
	}
}

func TestKeepAlive(t *testing.T) {
	got := map[API]string{}
	for api := Chat; api <= Gemini; api++ {
		got[api] = string(KeepAlive(api))
	}
	if diff := cmp.Diff(map[API]string{
		Chat: ": keep-alive\n\n", Responses: ": keep-alive\n\n", Messages: "event: ping\ndata: {\"type\":\"ping\"}\n\n",
		Gemini: "\n\n", // no comment, and white space in an array
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestClientOf(t *testing.T) {
	for _, c := range []struct {
		agent, header, value string
		api                  API
		want                 Client
	}{
		{"claude-cli/2.1.329 (external, cli)", "", "", Messages, ClaudeCode},
		{"codex_exec/0.169.0 (Debian) vte", "", "", Responses, Codex},
		{"", "Originator", "codex_cli_rs", Responses, Codex},
		{"GeminiCLI/0.61.0/gemini-3 (linux; x64) google-api-nodejs-client", "", "", Gemini, GeminiCLI},
		{"opencode/1.18.0 ai-sdk/openai-compatible/3", "", "", Chat, OpenCode},
		{"openclaw/2026.9.6 OpenAI/JS 6", "", "", Chat, OpenClaw},
		{"OpenAI/JS 7.55.0", "", "", Chat, SDK},
		{"Anthropic/Go 1.84", "", "", Messages, SDK},
		{"", "X-Goog-Api-Client", "google-genai-sdk/3.1.0 gl-node/v24", Gemini, SDK},
		{"x", "X-Stainless-Lang", "python", Chat, SDK},
		{"curl/8", "", "", Chat, ""},
	} {
		h := map[string][]string{}
		if c.header != "" {
			h[c.header] = []string{c.value}
		}
		if got := ClientOf(c.agent, h, c.api); got != c.want {
			t.Errorf("%q %s: %s: got %q, want %q", c.agent, c.header, c.value, got, c.want)
		}
	}
	q := &Request{Tools: []Tool{{Name: "submit_commands"}}}
	if got := q.Refine(SDK); got != NAISYS {
		t.Errorf("got %q", got)
	}
	q = &Request{Tools: []Tool{{Name: "tool_call"}, {Name: "tool_search"}, {Name: "exec"}}}
	if got := q.Refine(""); got != OpenClaw {
		t.Errorf("got %q", got)
	}
	if got := q.Refine(Codex); got != Codex {
		t.Errorf("got %q", got)
	}
}
