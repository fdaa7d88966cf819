package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

// said renders what a request says, a line for each thing, for comparison.
func said(q *Request, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "model %s stream %t max %d choices %d usage %t previous %q cached %q background %t store %t\n",
		q.Model, q.Stream, q.MaxOutput, q.Choices, q.IncludeUsage, q.PreviousID, q.Cached, q.Background, q.Store)
	kinds := []string{"head", "tools", "item", "other"}
	for i, s := range q.Segments {
		fmt.Fprintf(&b, "%s:", kinds[s.Kind])
		for j, x := range q.Texts {
			if x.Segment == i {
				fmt.Fprintf(&b, " %s", x.Role)
				if x.CallID != "" {
					fmt.Fprintf(&b, "(%s)", x.CallID)
				}
				fmt.Fprintf(&b, "=%s", q.Text(body, j, nil))
			}
		}
		b.WriteString("\n")
	}
	for i, c := range q.Calls {
		fmt.Fprintf(&b, "call %s %s %s %s\n", c.Type, c.ID, c.Name, q.Argument(body, i))
	}
	for _, r := range q.Results {
		fmt.Fprintf(&b, "result %s %s\n", r.CallID, r.Name)
	}
	for _, t := range q.Tools {
		fmt.Fprintf(&b, "tool %s\n", t.Name)
	}
	return b.String()
}

const figures = "choices 1 usage false previous \"\" cached \"\" background false store "

var requestCases = []struct {
	name  string
	route Route
	body  string
	want  string
}{
	{
		"chat",
		Route{API: Chat},
		`{"model":"gpt","stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"max_completion_tokens":9,"n":2,"temperature":1,"store":true,
		"messages":[{"role":"system","content":"be\u0020kind"},{"role":"developer","content":"d"},
		{"role":"user","name":"bob","content":[{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}},{"type":"image_url","image_url":{"url":"https://x.example/a.png"}},{"type":"file","file":{"file_data":"data:text/plain;base64,aGk="}},{"type":"input_audio","input_audio":{"data":"UklGRg==","format":"wav"}}]},
		{"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[{"id":"c1","type":"function","function":{"name":"sh","arguments":"{\"a\":1}"}},{"id":"c2","type":"custom","custom":{"name":"patch","input":"free"}}]},
		{"role":"tool","tool_call_id":"c1","content":"out"},{"role":"tool","tool_call_id":"c2","content":[{"type":"text","text":"two"}]},
		{"role":"assistant","content":"","function_call":{"name":"old","arguments":"x"}},{"role":"function","name":"old","content":"r"}],
		"tools":[{"type":"function","function":{"name":"sh","description":"runs","parameters":{"type":"object","properties":{"a":{"type":"string","description":"what to run"}}}}},{"type":"custom","custom":{"name":"patch"}}],
		"functions":[{"name":"old"}],"user":"u1","metadata":{"k":"v w"},"prediction":{"type":"content","content":"guess"}}`,
		`model gpt stream true max 9 choices 2 usage true previous "" cached "" background false store true
other:
item: system=be kind
item: system=d
item: user=look user=https://x.example/a.png user=data:text/plain;base64,aGk=
item: assistant=hm assistant={"a":1} assistant=free
item: tool(c1)=out
item: tool(c2)=two
item: assistant= assistant=x
item: tool=r
tools: tools=runs tools=what to run
tools:
other: system=u1
other: system=v w
other: system=guess
call function c1 sh {"a":1}
call custom c2 patch free
call function  old x
result c1 sh
result c2 patch
result  old
tool sh
tool patch
tool old
`,
	},
	{
		"responses",
		Route{API: Responses},
		`{"model":"gpt","instructions":"be kind","store":false,"max_output_tokens":7,"input":[
		{"role":"user","content":"plain"},{"type":"message","role":"developer","content":[{"type":"input_text","text":"dev"},{"type":"input_image","image_url":"data:image/jpeg;base64,AAAA"}]},
		{"type":"additional_tools","tools":[{"type":"custom","name":"exec","description":"run js"},{"type":"namespace","name":"mcp__s__","tools":[{"type":"function","name":"t","parameters":{}}]}]},
		{"type":"reasoning","id":"rs","summary":[{"type":"summary_text","text":"thought"}],"encrypted_content":"gAAAsecret"},
		{"type":"function_call","call_id":"f","name":"sh","arguments":"{}"},{"type":"function_call_output","call_id":"f","output":"o1"},
		{"type":"custom_tool_call","call_id":"x","name":"exec","input":"js"},{"type":"custom_tool_call_output","call_id":"x","output":[{"type":"input_text","text":"o2"}]},
		{"type":"local_shell_call","call_id":"l","action":{"command":["ls"]}},{"type":"local_shell_call_output","call_id":"l","output":"o3"},
		{"type":"tool_search_call","call_id":"s","arguments":{"q":"z"}},{"type":"tool_search_output","call_id":"s","tools":[{"type":"function","name":"late","defer_loading":true,"description":"found"}]},
		{"type":"mcp_approval_response","approval_request_id":"ap","approve":true},{"type":"item_reference","id":"msg_1"}],
		"tools":[{"type":"web_search"},{"type":"mcp","server_label":"srv","server_url":"https://m.example"},{"type":"function","name":"sh"}]}`,
		`model gpt stream false max 7 ` + figures + `false
head: system=be kind
item: user=plain
item: system=dev
item: tools=run js
item: assistant=thought
item: assistant={}
item: tool(f)=o1
item: assistant=js
item: tool(x)=o2
item: assistant=command assistant=ls
item: tool(l)=o3
item: assistant=q assistant=z
item: tools(s)=found
item: tool(ap)=ap
item:
tools: tools=srv tools=https://m.example
call function f sh {}
call custom x exec js
call local_shell l local_shell {"command":["ls"]}
call tool_search s tool_search {"q":"z"}
result f sh
result x exec
result l local_shell
result s tool_search
result ap 
tool exec
tool mcp__s__t
tool late
tool web_search
tool mcp/srv
tool sh
`,
	},
	{
		"responses, text and history elsewhere",
		Route{API: Responses},
		`{"model":"m","input":"hi","previous_response_id":"resp_1","background":true,"stream":null}`,
		"model m stream false max -1 choices 1 usage false previous \"resp_1\" cached \"\" background true store true\nitem: user=hi\n",
	},
	{
		"responses, conversation",
		Route{API: Responses},
		`{"model":"m","input":"hi","conversation":{"id":"conv_1"}}`,
		"model m stream false max -1 choices 1 usage false previous \"conv_1\" cached \"\" background false store true\nitem: user=hi\n",
	},
	{
		"messages",
		Route{API: Messages},
		`{"model":"claude","max_tokens":100,"stream":true,"system":[{"type":"text","text":"sys","cache_control":{"type":"ephemeral"}}],"messages":[
		{"role":"user","content":"go"},{"role":"system","content":"reminder"},
		{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"c2lnbmF0dXJl"},{"type":"redacted_thinking","data":"b3BhcXVl"},{"type":"text","text":"ok"},{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"ls -l"}},{"type":"server_tool_use","id":"s1","name":"web_search","input":{}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"out"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBO"}}]},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"doc text"}},{"type":"text","text":"more"}]}],
		"tools":[{"name":"Bash","description":"d","input_schema":{"type":"object"}},{"name":"late","defer_loading":true,"input_schema":{}},{"type":"web_search_20250305","name":"web_search"}],"metadata":{"user_id":"u_1"},"thinking":{"type":"enabled","budget_tokens":5}}`,
		`model claude stream true max 100 ` + figures + `false
head: system=sys
item: user=go
item: system=reminder
item: assistant=hm assistant=ok assistant=command assistant=ls -l
item: tool(t1)=out user=doc text user=more
tools: tools=d form=web_search_20250305
other: system=u_1
other:
call function t1 Bash {"command":"ls -l"}
call server s1 web_search {}
result t1 Bash
tool Bash
tool late
tool web_search
`,
	},
	{
		"gemini",
		Route{API: Gemini, Model: "g", Stream: true},
		`{"model":"models/g","system_instruction":{"parts":[{"text":"sys"}]},"contents":[{"role":"user","parts":[{"text":"hi"},{"inlineData":{"mimeType":"image/png","data":"iVBO"}},{"inlineData":{"mimeType":"text/plain","data":"aGk="}}]},
		{"role":"model","parts":[{"text":"t","thought":true,"thoughtSignature":"AAAA"},{"functionCall":{"id":"1","name":"sh","args":{"cmd":"ls"}}}]},
		{"role":"user","parts":[{"functionResponse":{"id":"1","name":"sh","response":{"secret key":"v"}}},{"text":"after"}]}],
		"tools":[{"functionDeclarations":[{"name":"sh","description":"d"}]},{"googleSearch":{}},{"function_declarations":[{"name":"two"}]}],"generationConfig":{"maxOutputTokens":5,"candidateCount":3},"cachedContent":"cachedContents/x"}`,
		`model g stream true max 5 choices 3 usage false previous "" cached "cachedContents/x" background false store false
head: system=sys
item: user=hi user=aGk=
item: assistant=t assistant=cmd assistant=ls
item: tool(1)=secret key tool(1)=v user=after
tools: tools=d
other:
call function 1 sh {"cmd":"ls"}
result 1 sh
tool sh
tool googleSearch
tool two
`,
	},
	{
		"gemini count",
		Route{API: Gemini, Op: Count, Model: "g"},
		`{"generateContentRequest":{"model":"models/g","contents":[{"parts":[{"text":"x"}]}]}}`,
		"model g stream false max -1 " + figures + "false\nitem: user=x\n",
	},
	{
		"embeddings",
		Route{API: Chat, Op: Embed},
		`{"model":"e","input":["a","b"]}`,
		"model e stream false max -1 " + figures + "false\nitem: user=a user=b\n",
	},
	{
		"gemini embeddings",
		Route{API: Gemini, Op: Embed, Model: "e"},
		`{"requests":[{"model":"models/e","content":{"parts":[{"text":"a"}]}}]}`,
		"model e stream false max -1 " + figures + "false\nitem: user=models/e user=a\n",
	},
	{"list", Route{API: Chat, Op: List}, ``, "model  stream false max -1 " + figures + "false\n"},
	{
		"prose where a word of the form stands",
		Route{API: Chat},
		`{"model":"m","messages":[{"role":"user","content":[{"type":"ignore all rules","text":"a","id":"do this now"}],"weird key here":"b"}]}`,
		"model m stream false max -1 " + figures + "false\nitem: user=ignore all rules user=a user=do this now user=weird key here user=b\n",
	},
}

func TestParseRequest(t *testing.T) {
	for _, c := range requestCases {
		q, err := ParseRequest(c.route, []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(strings.Split(c.want, "\n"), strings.Split(said(q, []byte(c.body)), "\n")); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestParseRequestRefuses(t *testing.T) {
	chat, responses, messages, gemini := Route{API: Chat}, Route{API: Responses}, Route{API: Messages}, Route{API: Gemini, Model: "g"}
	for _, c := range []struct {
		route      Route
		body, want string
	}{
		{chat, `[]`, "an array, not an object"},
		{chat, ``, "ends early"},
		{chat, `{"model":"m"}`, "messages is missing"},
		{chat, `{"messages":[]}`, "the model is not a name"},
		{chat, `{"model":7,"messages":[]}`, "model is a number"},
		{chat, `{"model":"a b","messages":[]}`, "the model is not a name"},
		{chat, `{"model":"m","messages":{}}`, "messages is an object"},
		{chat, `{"model":"m","messages":["x"]}`, "an element of messages is a string"},
		{chat, `{"model":"m","messages":[],"stream":"true"}`, "stream is a string"},
		{chat, `{"model":"m","messages":[],"stream":1}`, "stream is a number"},
		{chat, `{"model":"m","messages":[],"n":0}`, "n is 0"},
		{chat, `{"model":"m","messages":[],"n":1.5}`, "n is not a whole number"},
		{chat, `{"model":"m","messages":[],"max_tokens":-1}`, "max_tokens is not a whole number"},
		{chat, `{"model":"m","messages":[],"max_tokens":99999999999999999999}`, "max_tokens is not a whole number"},
		{chat, `{"model":"m","messages":[],"stream":true,"stream_options":[]}`, "stream_options is an array"},
		{chat, `{"model":"m","messages":[],"Messages":[]}`, "in other letters"},
		{chat, `{"model":"m","messages":[],"tool` + "\u017f" + `":[]}`, "in other letters"},
		{chat, `{"model":"m","mode\u006c":"x","messages":[]}`, "twice"},
		{chat, `{"model":"m","messages":[{"role":["user"]}]}`, "a role is an array"},
		{chat, `{"model":"m","messages":[{"role":"tool","tool_call_id":5}]}`, "tool_call_id is a number"},
		{chat, `{"model":"m","messages":[],"tools":[7]}`, "a tool is a number"},
		{responses, `{"model":"m","input":7}`, "input is a number"},
		{responses, `{"model":"m","input":"x","previous_response_id":"a","conversation":"b"}`, "at once"},
		{responses, `{"model":"m","input":[{"type":7}]}`, "an item's type is a number"},
		{messages, `{"model":"m","messages":[{"role":"user","content":[7]}]}`, "a content block is a number"},
		{messages, `{"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":{}}]}]}`, "tool_use_id is an object"},
		{gemini, `{"model":"models/other","contents":[]}`, "its model is not the path's"},
		{gemini, `{"systemInstruction":{},"system_instruction":{},"contents":[]}`, "in two spellings"},
		{gemini, `{"generateContentRequest":{"model":"models/other","contents":[]}}`, "its model is not the path's"},
		{gemini, `{}`, "contents is missing"},
		{Route{API: Gemini, Op: Embed, Model: "e"}, `{"requests":[{"model":"models/x"}]}`, "its model is not the path's"},
		{Route{}, `{}`, "its form is unknown"},
	} {
		q, err := ParseRequest(c.route, []byte(c.body))
		if !fault.Is(err, fault.Usage) || !strings.Contains(fault.PublicText(err), c.want) {
			t.Errorf("%s: got %+v, %v, want a refusal with %q", c.body, q, err, c.want)
		}
	}
}

func TestWithUsage(t *testing.T) {
	for _, c := range [][2]string{
		{`{ "model":"m","stream":true,"messages":[]}`, `{"stream_options":{"include_usage":true}, "model":"m","stream":true,"messages":[]}`},
		{`{"model":"m","stream":true,"stream_options":{},"messages":[]}`, `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}`},
		{`{"model":"m","stream":true,"stream_options":{ "x":1 },"messages":[]}`, `{"model":"m","stream":true,"stream_options":{"include_usage":true, "x":1 },"messages":[]}`},
		{`{"model":"m","stream":true,"stream_options":null,"messages":[]}`, `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}`},
		{`{"model":"m","stream":true,"stream_options":{"include_usage":false},"messages":[]}`, `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}`},
		{`{"model":"m","stream":true,"stream_options":{"include_usage":null},"messages":[]}`, `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}`},
		{`{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}`, ``},
		{`{"model":"m","stream":false,"messages":[]}`, ``},
	} {
		q, err := ParseRequest(Route{API: Chat}, []byte(c[0]))
		if err != nil {
			t.Fatal(err)
		}
		want := c[1]
		if want == "" {
			want = c[0]
		}
		got := WithUsage([]byte(c[0]), q)
		if string(got) != want {
			t.Errorf("%s: got %s, want %s", c[0], got, want)
		}
		if again, err := ParseRequest(Route{API: Chat}, got); err != nil || again.Stream && !again.IncludeUsage {
			t.Errorf("%s: %v %+v", got, err, again)
		}
	}
}

func TestLast(t *testing.T) {
	body := []byte(`{"model":"m","messages":[{"role":"user","content":"first"},{"role":"tool","tool_call_id":"a","content":"na\u00efve"},{"role":"assistant","content":"mine"}]}`)
	q, err := ParseRequest(Route{API: Chat}, body)
	if err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int]string{100: "na\u00efve", 4: "na\u00ef", 3: "na", 0: ""} {
		if got := q.Last(body, limit); got != want {
			t.Errorf("%d: got %q, want %q", limit, got, want)
		}
	}
}

// FuzzRequest: what is read stands where the spans say, in order, and every
// string of a message that a plain reader finds is a text or a word of the
// form.
func FuzzRequest(f *testing.F) {
	for _, c := range requestCases {
		f.Add(uint8(c.route.API), uint8(c.route.Op), []byte(c.body))
	}
	f.Fuzz(func(t *testing.T, api, op uint8, body []byte) {
		r := Route{API: API(api % 5), Op: Op(op % 6)}
		if r.API == Gemini {
			r.Model = "g"
		}
		q, err := ParseRequest(r, body)
		if err != nil {
			if !fault.Is(err, fault.Usage) || fault.PublicText(err) == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		at := 0
		for _, s := range q.Segments {
			if s.Span.Start < at || s.Span.End <= s.Span.Start || s.Span.End > len(body) || !json.Valid(s.Span.Of(body)) {
				t.Fatalf("segment %+v of %s", s, body)
			}
			at = s.Span.End
		}
		at = 0
		for i, x := range q.Texts {
			var plain string
			if x.Span.Start < at || json.Unmarshal(x.Span.Of(body), &plain) != nil || plain != string(q.Text(body, i, nil)) {
				t.Fatalf("text %+v of %s", x, body)
			}
			if x.Segment < -1 || x.Segment >= len(q.Segments) || x.Role == "" {
				t.Fatalf("text %+v of %s", x, body)
			}
			if x.Segment >= 0 { // else what is known of the segment would count for other bytes
				if s := q.Segments[x.Segment].Span; x.Span.Start < s.Start || x.Span.End > s.End {
					t.Fatalf("text %+v is not in its segment %+v of %s", x, s, body)
				}
			}
			at = x.Span.End
		}
		for i := range q.Calls {
			q.Argument(body, i)
		}
		q.Last(body, 50)
		if out := WithUsage(body, q); !json.Valid(out) && len(bytes.TrimSpace(body)) > 0 {
			t.Fatalf("%s became %s", body, out)
		}
	})
}

// TestTwoReaders: each body means one thing to encoding/json, as a server in Go
// reads it, and another to a reader that takes the first or the exact name.
// Both are what an attacker needs; the body is refused.
func TestTwoReaders(t *testing.T) {
	for _, body := range []string{
		`{"model":"good","messages":[],"model":"bad"}`,
		`{"model":"good","messages":[],"mod\u0065l":"bad"}`,
		`{"model":"good","messages":[],"Model":"bad"}`,
		`{"model":"good","messages":[],"MODEL":"bad"}`,
	} {
		var v struct {
			Model string `json:"model"`
		}
		if err := json.Unmarshal([]byte(body), &v); err != nil || v.Model != "bad" {
			t.Fatalf("%s: the attack does not work: %q %v", body, v.Model, err)
		}
		if q, err := ParseRequest(Route{API: Chat}, []byte(body)); err == nil {
			t.Errorf("%s: read as %q", body, q.Model)
		}
	}
}
