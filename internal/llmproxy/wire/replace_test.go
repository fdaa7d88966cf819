package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const (
	chatTwo = `{"id":"c1","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":null,"tool_calls":[` +
		`{"id":"a","type":"function","index":0,"function":{"name":"NAME0","arguments":"{\"k\":\"ARG0\"}"}},` +
		`{"id":"b","type":"custom","index":1,"custom":{"name":"NAME1","input":"ARG1"}}]},"finish_reason":"tool_calls"}],"x":1}`
	chatChoices = `{"choices":[{"index":0,"message":{"role":"assistant","content":"hi","tool_calls":[{"id":"a","type":"function","function":{"name":"NAME0","arguments":"ARG0"}}]},"finish_reason":"tool_calls"},` +
		`{"index":1,"message":{"tool_calls":[{"id":"b","type":"function","function":{"name":"NAME1","arguments":"ARG1"}}],"function_call":{"name":"NAME2","arguments":"ARG2"}},"finish_reason":"tool_calls"},` +
		`{"index":2,"message":{"role":"assistant","content":"done"},"finish_reason":"stop"}]}`
	responsesThree = `{"id":"r","status":"completed","output":[{"type":"reasoning","id":"rs","summary":[{"type":"summary_text","text":"think"}],"encrypted_content":"gAAA"},` +
		`{"type":"function_call","id":"fc","call_id":"a","name":"NAME0","arguments":"ARG0","status":"completed"},` +
		`{"type":"custom_tool_call","id":"ct","call_id":"b","name":"NAME1","input":"ARG1"},` +
		`{"type":"local_shell_call","id":"ls","call_id":"c","action":{"type":"exec","command":["ARG2"]}}],"usage":{"input_tokens":10,"output_tokens":5,"input_tokens_details":{"cached_tokens":4},"output_tokens_details":{"reasoning_tokens":2}}}`
	messagesTwo = `{"id":"m","model":"claude","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"text","text":"ok"},` +
		`{"type":"tool_use","id":"a","name":"NAME0","input":{"k":"ARG0"}},{"type":"tool_use","id":"b","name":"NAME1","input":{"k":"ARG1"}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":4,"cache_read_input_tokens":5,"cache_creation_input_tokens":6,"output_tokens_details":{"thinking_tokens":3}}}`
	geminiTwo = `{"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"a","thought":true},{"functionCall":{"name":"NAME0","args":{"k":"ARG0"}},"thoughtSignature":"c2ln"}]},"finishReason":"STOP"},` +
		`{"index":1,"content":{"role":"model","parts":[{"function_call":{"id":"z","name":"NAME1","args":{"k":"ARG1"}}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":3,"thoughtsTokenCount":2,"cachedContentTokenCount":4}}`
)

var replaceCases = []struct {
	name    string
	api     API
	body    string
	notices map[int]string
	changes []string // old, new pairs that the result must differ by
}{
	{"chat, both", Chat, chatTwo, map[int]string{0: "n0", 1: `n"1`}, []string{
		`"content":null`, `"content":"n0\nn\"1"`,
		`,"tool_calls":[{"id":"a","type":"function","index":0,"function":{"name":"NAME0","arguments":"{\"k\":\"ARG0\"}"}},{"id":"b","type":"custom","index":1,"custom":{"name":"NAME1","input":"ARG1"}}]`, ``,
		`"finish_reason":"tool_calls"`, `"finish_reason":"stop"`,
	}},
	{"chat, first", Chat, chatTwo, map[int]string{0: "n0"}, []string{
		`"content":null`, `"content":"n0"`,
		`{"id":"a","type":"function","index":0,"function":{"name":"NAME0","arguments":"{\"k\":\"ARG0\"}"}},`, ``,
		`"index":1,"custom"`, `"index":0,"custom"`,
	}},
	{"chat, second", Chat, chatTwo, map[int]string{1: "n1"}, []string{
		`"content":null`, `"content":"n1"`,
		`,{"id":"b","type":"custom","index":1,"custom":{"name":"NAME1","input":"ARG1"}}`, ``,
	}},
	{"chat, one choice of three", Chat, chatChoices, map[int]string{0: "n0"}, []string{
		`"hi","tool_calls":[{"id":"a","type":"function","function":{"name":"NAME0","arguments":"ARG0"}}]},"finish_reason":"tool_calls"`,
		`"hi\nn0"},"finish_reason":"stop"`,
	}},
	{"chat, without content", Chat, chatChoices, map[int]string{1: "n1", 2: "n2"}, []string{
		`{"tool_calls":[{"id":"b","type":"function","function":{"name":"NAME1","arguments":"ARG1"}}],"function_call":{"name":"NAME2","arguments":"ARG2"}},"finish_reason":"tool_calls"`,
		`{"content":"n1\nn2"},"finish_reason":"stop"`,
	}},
	{"chat, legacy stays", Chat, chatChoices, map[int]string{1: "n1"}, []string{
		`"tool_calls":[{"id":"b","type":"function","function":{"name":"NAME1","arguments":"ARG1"}}],"function_call"`,
		`"content":"n1","function_call"`,
	}},
	{"messages, one", Messages, messagesTwo, map[int]string{1: "n1"}, []string{
		`{"type":"tool_use","id":"b","name":"NAME1","input":{"k":"ARG1"}}`, `{"type":"text","text":"n1"}`,
	}},
	{"messages, all", Messages, messagesTwo, map[int]string{0: "n0", 1: "n1"}, []string{
		`{"type":"tool_use","id":"a","name":"NAME0","input":{"k":"ARG0"}}`, `{"type":"text","text":"n0"}`,
		`{"type":"tool_use","id":"b","name":"NAME1","input":{"k":"ARG1"}}`, `{"type":"text","text":"n1"}`,
		`"stop_reason":"tool_use"`, `"stop_reason":"end_turn"`,
	}},
	{"gemini", Gemini, geminiTwo, map[int]string{0: "n<0>"}, []string{
		`{"functionCall":{"name":"NAME0","args":{"k":"ARG0"}},"thoughtSignature":"c2ln"}`, `{"text":"n<0>"}`,
	}},
	{"responses", Responses, responsesThree, map[int]string{2: "n2"}, []string{
		`{"type":"local_shell_call","id":"ls","call_id":"c","action":{"type":"exec","command":["ARG2"]}}`,
		string(Notice(Responses, Call{Index: 2, ID: "c"}, "n2")),
	}},
}

func TestReplace(t *testing.T) {
	for _, c := range replaceCases {
		r, err := ParseReply(c.api, []byte(c.body))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got, err := r.Replace([]byte(c.body), c.notices)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		want := c.body
		for i := 0; i < len(c.changes); i += 2 {
			// The first of equal ones is not always the one that is meant.
			if strings.Count(want, c.changes[i]) == 0 {
				t.Fatalf("%s: the case is wrong: %s", c.name, c.changes[i])
			}
			want = strings.Replace(want, c.changes[i], c.changes[i+1], 1)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestReplaceRefuses(t *testing.T) {
	body := []byte(messagesTwo)
	r, err := ParseReply(Messages, body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Replace(body, map[int]string{2: "x"}); err == nil {
		t.Error("a notice for no call was taken")
	}
	if _, err := r.Replace(bytes.Replace(body, []byte("ARG0"), []byte("ARG9"), 1), map[int]string{0: "x"}); err == nil {
		t.Error("another body was taken")
	}
}

// content draws a message's or reply's parts: text before, between and after
// calls, unknown members, space between everything.
func drawReply(t *rapid.T) (API, []byte, int) {
	api := rapid.SampledFrom([]API{Chat, Responses, Messages, Gemini}).Draw(t, "api")
	calls := 0
	number := func() int { calls++; return calls - 1 }
	items := func(text func(string) any, call func(int) any) []any {
		out := []any{}
		for range rapid.IntRange(0, 5).Draw(t, "items") {
			if rapid.Bool().Draw(t, "call") {
				out = append(out, call(number()))
			} else {
				out = append(out, text(rapid.String().Draw(t, "text")))
			}
		}
		return out
	}
	obj := func(kv ...any) map[string]any {
		m := map[string]any{"zz_unknown": []any{1, "<&>"}}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return m
	}
	name := func(i int) string { return fmt.Sprintf("NAME%d_", i) }
	arg := func(i int) string { return fmt.Sprintf("{\"x\": \"ARG%d_\\u00e9\"}", i) }
	var v any
	switch api {
	case Chat:
		var choices []any
		for c := range rapid.IntRange(0, 3).Draw(t, "choices") {
			m := obj("role", "assistant")
			switch rapid.IntRange(0, 3).Draw(t, "content") {
			case 1:
				m["content"] = nil
			case 2:
				m["content"] = rapid.String().Draw(t, "text")
			case 3:
				m["content"] = items(func(s string) any { return obj("type", "text", "text", s) }, func(int) any { calls--; return obj("type", "text", "text", "x") })
			}
			var list []any
			for i := range rapid.IntRange(0, 3).Draw(t, "calls") {
				n := number()
				list = append(list, obj("id", "i", "index", i, "type", "function", "function", obj("name", name(n), "arguments", arg(n))))
			}
			if list != nil {
				m["tool_calls"] = list
			}
			choices = append(choices, obj("index", c, "message", m, "finish_reason", "tool_calls"))
		}
		v = obj("choices", choices)
	case Responses:
		v = obj("output", items(func(s string) any {
			return obj("type", "message", "role", "assistant", "content", []any{obj("type", "output_text", "text", s)})
		}, func(n int) any {
			return obj("type", "function_call", "call_id", fmt.Sprint(n), "name", name(n), "arguments", arg(n))
		}))
	case Messages:
		v = obj("stop_reason", "tool_use", "content", items(func(s string) any { return obj("type", "text", "text", s) }, func(n int) any {
			return obj("type", "tool_use", "id", "i", "name", name(n), "input", json.RawMessage(arg(n)))
		}))
	default:
		v = obj("candidates", []any{obj("finishReason", "STOP", "content", obj("role", "model", "parts",
			items(func(s string) any { return obj("text", s) }, func(n int) any {
				return obj("functionCall", obj("name", name(n), "args", json.RawMessage(arg(n))))
			})))})
	}
	body, err := json.MarshalIndent(v, "", strings.Repeat(" ", rapid.IntRange(0, 2).Draw(t, "indent")))
	if err != nil {
		t.Fatal(err)
	}
	return api, body, calls
}

// TestReplaceProperty: no notices change nothing; a replaced call is gone, the
// rest is there, the body is JSON and reads as the same reply without them.
func TestReplaceProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		api, body, calls := drawReply(t)
		r, err := ParseReply(api, body)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if len(r.Calls) != calls {
			t.Fatalf("%s: %d calls, want %d", body, len(r.Calls), calls)
		}
		if same, err := r.Replace(body, nil); err != nil || !bytes.Equal(same, body) {
			t.Fatalf("%s: not the identity: %s %v", body, same, err)
		}
		notices := map[int]string{}
		for i := range calls {
			if rapid.Bool().Draw(t, "deny") {
				notices[i] = fmt.Sprintf("NOTICE%d_ \"quoted\"", i)
			}
		}
		out, err := r.Replace(body, notices)
		if err != nil || !json.Valid(out) {
			t.Fatalf("%s: %v: %s", body, err, out)
		}
		again, err := ParseReply(api, out)
		if err != nil || len(again.Calls) != calls-len(notices) {
			t.Fatalf("%s: %v: %s", body, err, out)
		}
		left := 0
		for i := range calls {
			_, gone := notices[i]
			has := bytes.Contains(out, fmt.Appendf(nil, "NAME%d_", i)) || bytes.Contains(out, fmt.Appendf(nil, "ARG%d_", i))
			if gone == has || gone != bytes.Contains(out, fmt.Appendf(nil, "NOTICE%d_", i)) {
				t.Fatalf("call %d of %s: %s", i, body, out)
			}
			if !gone {
				if c := again.Calls[left]; c.Arguments != r.Calls[i].Arguments || c.Name != r.Calls[i].Name {
					t.Fatalf("call %d became %+v", i, c)
				}
				left++
			}
		}
	})
}

func TestParseReply(t *testing.T) {
	for _, c := range []struct {
		api   API
		body  string
		calls []Call
		texts []string
		stop  string
		usage [5]int64
	}{
		{Chat, chatTwo, []Call{
			{0, "a", "NAME0", `{"k":"ARG0"}`, "function"}, {1, "b", "NAME1", "ARG1", "custom"},
		}, nil, "tool_calls", [5]int64{}},
		{Responses, responsesThree, []Call{
			{0, "a", "NAME0", "ARG0", "function"},
			{1, "b", "NAME1", "ARG1", "custom"},
			{2, "c", "local_shell", `{"type":"exec","command":["ARG2"]}`, "local_shell"},
		}, []string{"think"}, "completed", [5]int64{6, 5, 4, 0, 2}},
		{Messages, messagesTwo, []Call{
			{0, "a", "NAME0", `{"k":"ARG0"}`, "function"}, {1, "b", "NAME1", `{"k":"ARG1"}`, "function"},
		}, []string{"hm", "ok"}, "tool_use", [5]int64{3, 4, 5, 6, 3}},
		{Gemini, geminiTwo, []Call{
			{0, "", "NAME0", `{"k":"ARG0"}`, "function"}, {1, "z", "NAME1", `{"k":"ARG1"}`, "function"},
		}, []string{"a"}, "STOP", [5]int64{5, 5, 4, 0, 2}},
		{Responses, `{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[` +
			`{"type":"web_search_call","id":"ws","action":{"query":"q"}},{"type":"mcp_call","id":"m","server_label":"s","name":"n","arguments":"{}"},` +
			`{"type":"brand_new_call","call_id":"x","stuff":1},{"type":"newer_call","stuff":2},{"type":"odd","arguments":"{}","name":"sneaky"},{"type":"function_call","namespace":"mcp__s__","name":"t","arguments":"{}"},` +
			`{"type":"tool_search_call","call_id":"ts","arguments":{"q":1}},{"type":"message","role":"assistant","content":[{"type":"refusal","refusal":"no"}]}]}`, []Call{
			{0, "ws", "web_search", `{"query":"q"}`, "server"},
			{1, "m", "s.n", "{}", "server"},
			{2, "x", "brand_new", `{"type":"brand_new_call","call_id":"x","stuff":1}`, "function"},
			{3, "", "newer", `{"type":"newer_call","stuff":2}`, "function"},
			{4, "", "sneaky", `{"type":"odd","arguments":"{}","name":"sneaky"}`, "function"},
			{5, "", "mcp__s__t", "{}", "function"},
			{6, "ts", "tool_search", `{"q":1}`, "tool_search"},
		}, []string{"no"}, "incomplete:max_output_tokens", [5]int64{}},
		{Messages, `{"content":[{"type":"server_tool_use","id":"s","name":"web_search","input":{}},{"type":"new_thing","id":"n","name":"f","input":{"a":1}}],"stop_reason":"pause_turn"}`, []Call{
			{0, "s", "web_search", "{}", "server"}, {1, "n", "f", `{"a":1}`, "function"},
		}, nil, "pause_turn", [5]int64{}},
		{Gemini, `{"promptFeedback":{"blockReason":"SAFETY"}}`, nil, nil, "SAFETY", [5]int64{}},
		{Chat, `{"choices":[{"message":{"content":"a","reasoning_content":"r","refusal":"n"}}],"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":9}}}`, nil, []string{"a", "r", "n"}, "", [5]int64{}},
		{Messages, `{"content":[],"usage":{"input_tokens":3,"output_tokens":4,"output_tokens_details":{"thinking_tokens":5}}}`, nil, nil, "", [5]int64{}},
		{Messages, `{"content":[],"usage":{"input_tokens":3,"output_tokens":4,"output_tokens_details":{"thinking_tokens":"1"}}}`, nil, nil, "", [5]int64{}},
		{Messages, `{"content":[],"usage":{"input_tokens":3,"output_tokens":4,"output_tokens_details":null}}`, nil, nil, "", [5]int64{3, 4, 0, 0, 0}},
		{Chat, `{"error":{"message":"x"}}`, nil, nil, "", [5]int64{}},
	} {
		r, err := ParseReply(c.api, []byte(c.body))
		if err != nil {
			t.Fatalf("%s: %v", c.body, err)
		}
		var texts []string
		for _, x := range r.Texts {
			texts = append(texts, string(textOf([]byte(c.body), x.Span, nil)))
		}
		u := r.Usage
		figures := [5]int64{u.Input, u.Output, u.CacheRead, u.CacheWrite, u.Reasoning}
		if diff := cmp.Diff(c.calls, r.Calls) + cmp.Diff(c.texts, texts) + cmp.Diff(c.stop, r.Stop) + cmp.Diff(c.usage, figures); diff != "" {
			t.Errorf("%s: %s", c.body, diff)
		}
		if u.Known != (c.usage != [5]int64{}) {
			t.Errorf("%s: known is %t", c.body, u.Known)
		}
	}
}

// TestReplyRefused: what one reader takes for a call and another does not must
// not be passed on.
func TestReplyRefused(t *testing.T) {
	for _, c := range []struct {
		api  API
		body string
	}{
		{Chat, `{"choices":[{"message":{"Tool_Calls":[{"function":{"name":"x","arguments":"{}"}}]}}]}`},
		{Chat, `{"choices":[{"message":{"tool_calls":{"function":{"name":"x"}}}}]}`},
		{Chat, `{"choices":[{"message":{"tool_calls":[{"function":{"name":"x"},"custom":{"name":"y"}}]}}]}`},
		{Chat, `{"choices":[{"message":{"tool_calls":["x"]}}]}`},
		{Chat, `{"choices":[{"message":{"tool_calls":[{"function":{"name":7}}]}}]}`},
		{Chat, `{"choices":{"message":{}}}`},
		{Responses, `{"output":[{"type":"function_call","name":"a","arguments":"{}","name":"b"}]}`},
		{Responses, `{"output":"x"}`},
		{Responses, `{"OUTPUT":[]}`},
		{Messages, `{"content":[{"type":"tool_use","name":["x"]}]}`},
		{Messages, "{\"content\":[],\"\u017ftop_reason\":\"x\"}"},
		{Gemini, `{"candidates":[{"content":{"parts":[{"functionCall":{"name":"a"},"function_call":{"name":"b"}}]}}]}`},
		{Gemini, `{"candidates":[{"content":{"parts":[{"text":"a","functionCall":{"name":"b"}}]}}]}`},
		{Gemini, `[{"candidates":[]}]`},
		{Unknown, `{}`},
	} {
		if r, err := ParseReply(c.api, []byte(c.body)); err == nil {
			t.Errorf("%s: read as %+v", c.body, r)
		}
	}
}

func FuzzReply(f *testing.F) {
	for _, c := range replaceCases {
		f.Add(uint8(c.api), []byte(c.body), uint8(1))
	}
	f.Fuzz(func(t *testing.T, api uint8, body []byte, deny uint8) {
		r, err := ParseReply(API(api%5), body)
		if err != nil {
			return
		}
		notices := map[int]string{}
		for i := range r.Calls {
			if deny>>(i%8)&1 == 1 {
				notices[i] = "notice"
			}
		}
		out, err := r.Replace(body, notices)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		again, err := ParseReply(API(api%5), out)
		if err != nil || len(again.Calls) != len(r.Calls)-len(notices) {
			t.Fatalf("%s became %s: %v", body, out, err)
		}
	})
}
