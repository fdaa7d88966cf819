package modelserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// object keeps the literals short.
type object = map[string]any

// sse is one event of a stream.
type sse struct {
	name string
	data string
}

// form is one provider's way of writing a reply.
type form interface {
	requestIDHeader() string
	plain(Reply) object
	events(Reply) []sse
	failure(Reply) object
}

// detect finds the form by the path and fills what the request says about it.
func detect(r *Request) form {
	var b struct {
		Stream bool `json:"stream"`
	}
	_ = json.Unmarshal(r.Body, &b)
	r.Stream = b.Stream
	switch {
	case strings.HasSuffix(r.Path, "/chat/completions"):
		r.Form, r.Key = "openai", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		return openAI{usage: bytes.Contains(r.Body, []byte(`"include_usage":true`))}
	case strings.HasSuffix(r.Path, "/responses"):
		r.Form, r.Key = "responses", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		return responses{}
	case strings.HasSuffix(r.Path, "/v1/messages"):
		r.Form, r.Key = "anthropic", r.Header.Get("X-Api-Key")
		return anthropic{}
	case strings.HasSuffix(r.Path, ":generateContent"):
		r.Form, r.Key = "gemini", r.Header.Get("X-Goog-Api-Key")
		return gemini{}
	case strings.HasSuffix(r.Path, ":streamGenerateContent") && strings.Contains(r.Query, "alt=sse"):
		r.Form, r.Key, r.Stream = "gemini", r.Header.Get("X-Goog-Api-Key"), true
		return gemini{}
	}
	return nil
}

// render gives the whole body of a reply.
func render(f form, r Reply, stream bool) []byte {
	switch {
	case r.Body != nil:
		return []byte(*r.Body)
	case stream:
		return frame(f.events(r), r)
	case r.Error != nil:
		return encode(f.failure(r))
	case r.Status >= 400:
		return []byte(http.StatusText(r.Status))
	}
	return encode(f.plain(r))
}

func frame(events []sse, r Reply) []byte {
	var b bytes.Buffer
	for i, e := range events {
		if r.Comments {
			fmt.Fprintf(&b, ": keep-alive %d\n\n", i)
		}
		if e.name != "" {
			fmt.Fprintf(&b, "event: %s\n", e.name)
		}
		fmt.Fprintf(&b, "data: %s\n\n", e.data)
	}
	if r.CRLF {
		return bytes.ReplaceAll(b.Bytes(), []byte("\n"), []byte("\r\n"))
	}
	return b.Bytes()
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		// Only a script with a Call whose Args are no JSON gets here.
		return []byte(fmt.Sprintf(`{"modelserver":%q}`, err.Error()))
	}
	return b
}

func text(v any) string { return string(encode(v)) }

// calls gives the tool calls, repeated as asked.
func (r Reply) calls() []Call {
	if r.Repeat <= 1 {
		return r.Calls
	}
	out := make([]Call, 0, len(r.Calls)*r.Repeat)
	for i := range r.Repeat {
		for _, c := range r.Calls {
			c.ID = fmt.Sprintf("%s_%d", c.ID, i)
			out = append(out, c)
		}
	}
	return out
}

func (r Reply) stop(end, tools string) string {
	switch {
	case r.Stop != "":
		return r.Stop
	case len(r.Calls) > 0:
		return tools
	}
	return end
}

// pieces splits the text for streaming.
func (r Reply) pieces() []string {
	n := r.Pieces
	if n <= 0 {
		n = 3
	}
	runes := []rune(r.Text)
	var out []string
	for len(runes) > 0 {
		k := min(n, len(runes))
		out = append(out, string(runes[:k]))
		runes = runes[k:]
	}
	return out
}

// halves splits arguments in two, as providers stream them.
func halves(s string) []string { return []string{s[:len(s)/2], s[len(s)/2:]} }

type openAI struct{ usage bool }

func (openAI) requestIDHeader() string { return "X-Request-Id" }

func (openAI) failure(r Reply) object {
	e := object{"message": r.Error.Message, "type": r.Error.Type, "param": nil, "code": nil}
	if r.Error.Code != "" {
		e["code"] = r.Error.Code
	}
	return object{"error": e}
}

func (openAI) figures(u *Usage) object {
	return object{
		"prompt_tokens": u.Input + u.CacheRead, "completion_tokens": u.Output,
		"total_tokens":              u.Input + u.CacheRead + u.Output,
		"prompt_tokens_details":     object{"cached_tokens": u.CacheRead},
		"completion_tokens_details": object{"reasoning_tokens": u.Reasoning},
	}
}

func (f openAI) plain(r Reply) object {
	m := object{"role": "assistant", "content": r.Text}
	if r.Think != "" {
		m["reasoning_content"] = r.Think
	}
	var calls []object
	for _, c := range r.calls() {
		calls = append(calls, object{"id": c.ID, "type": "function", "function": object{"name": c.Name, "arguments": c.Args}})
	}
	if calls != nil {
		m["tool_calls"] = calls
	}
	v := object{"id": "chatcmpl-1", "object": "chat.completion", "choices": []object{
		{"index": 0, "message": m, "finish_reason": r.stop("stop", "tool_calls")},
	}}
	if r.Usage != nil {
		v["usage"] = f.figures(r.Usage)
	}
	return v
}

func (f openAI) events(r Reply) []sse {
	chunk := func(delta object, finish any) sse {
		return sse{data: text(object{
			"id": "chatcmpl-1", "object": "chat.completion.chunk", "usage": nil,
			"choices": []object{{"index": 0, "delta": delta, "finish_reason": finish}},
		})}
	}
	out := []sse{chunk(object{"role": "assistant", "content": ""}, nil)}
	if r.Think != "" {
		out = append(out, chunk(object{"reasoning_content": r.Think}, nil))
	}
	for _, p := range r.pieces() {
		out = append(out, chunk(object{"content": p}, nil))
	}
	for i, c := range r.calls() {
		out = append(out, chunk(object{"tool_calls": []object{{
			"index": i, "id": c.ID, "type": "function",
			"function": object{"name": c.Name, "arguments": ""},
		}}}, nil))
		for _, h := range halves(c.Args) {
			out = append(out, chunk(object{"tool_calls": []object{{"index": i, "function": object{"arguments": h}}}}, nil))
		}
	}
	if r.Error != nil {
		return append(out, sse{data: text(f.failure(r))})
	}
	out = append(out, chunk(object{}, r.stop("stop", "tool_calls")))
	if r.Usage != nil && f.usage {
		out = append(out, sse{data: text(object{"id": "chatcmpl-1", "choices": []object{}, "usage": f.figures(r.Usage)})})
	}
	return append(out, sse{data: "[DONE]"})
}

type anthropic struct{}

func (anthropic) requestIDHeader() string { return "Request-Id" }

func (anthropic) failure(r Reply) object {
	return object{"type": "error", "error": object{"type": r.Error.Type, "message": r.Error.Message}}
}

func (anthropic) figures(u *Usage) object {
	return object{
		"input_tokens": u.Input, "output_tokens": u.Output,
		"cache_read_input_tokens": u.CacheRead, "cache_creation_input_tokens": u.CacheWrite,
	}
}

func (f anthropic) plain(r Reply) object {
	content := []object{}
	if r.Think != "" {
		content = append(content, object{"type": "thinking", "thinking": r.Think, "signature": "c2ln"})
	}
	if r.Text != "" {
		content = append(content, object{"type": "text", "text": r.Text})
	}
	for _, c := range r.calls() {
		content = append(content, object{"type": "tool_use", "id": c.ID, "name": c.Name, "input": json.RawMessage(c.Args)})
	}
	v := object{
		"id": "msg_1", "type": "message", "role": "assistant", "content": content,
		"stop_reason": r.stop("end_turn", "tool_use"), "stop_sequence": nil,
	}
	if r.Usage != nil {
		v["usage"] = f.figures(r.Usage)
	}
	return v
}

func (f anthropic) events(r Reply) []sse {
	ev := func(name string, v object) sse {
		v["type"] = name
		return sse{name, text(v)}
	}
	start := object{"id": "msg_1", "type": "message", "role": "assistant", "content": []object{}, "stop_reason": nil}
	if r.Usage != nil {
		first := *r.Usage
		first.Output = 1
		start["usage"] = f.figures(&first)
	}
	out := []sse{ev("message_start", object{"message": start}), ev("ping", object{})}
	index := 0
	block := func(start object, deltas ...object) {
		out = append(out, ev("content_block_start", object{"index": index, "content_block": start}))
		for _, d := range deltas {
			out = append(out, ev("content_block_delta", object{"index": index, "delta": d}))
		}
		out = append(out, ev("content_block_stop", object{"index": index}))
		index++
	}
	if r.Think != "" {
		block(object{"type": "thinking", "thinking": "", "signature": ""},
			object{"type": "thinking_delta", "thinking": r.Think}, object{"type": "signature_delta", "signature": "c2ln"})
	}
	if r.Text != "" {
		var deltas []object
		for _, p := range r.pieces() {
			deltas = append(deltas, object{"type": "text_delta", "text": p})
		}
		block(object{"type": "text", "text": ""}, deltas...)
	}
	for _, c := range r.calls() {
		var deltas []object
		for _, h := range halves(c.Args) {
			deltas = append(deltas, object{"type": "input_json_delta", "partial_json": h})
		}
		block(object{"type": "tool_use", "id": c.ID, "name": c.Name, "input": object{}}, deltas...)
	}
	if r.Error != nil {
		return append(out, sse{"error", text(f.failure(r))})
	}
	end := object{"delta": object{"stop_reason": r.stop("end_turn", "tool_use"), "stop_sequence": nil}}
	if r.Usage != nil {
		// The form repeats only the output's figure here.
		end["usage"] = object{"output_tokens": r.Usage.Output}
	}
	return append(out, ev("message_delta", end), ev("message_stop", object{}))
}

type gemini struct{}

func (gemini) requestIDHeader() string { return "X-Goog-Request-Id" }

func (gemini) failure(r Reply) object {
	code := r.Status
	if code == 0 {
		code = http.StatusServiceUnavailable
	}
	return object{"error": object{"code": code, "message": r.Error.Message, "status": r.Error.Type}}
}

func (gemini) figures(u *Usage) object {
	return object{
		"promptTokenCount": u.Input + u.CacheRead, "cachedContentTokenCount": u.CacheRead,
		"candidatesTokenCount": u.Output - u.Reasoning, "thoughtsTokenCount": u.Reasoning,
		"totalTokenCount": u.Input + u.CacheRead + u.Output,
	}
}

func (gemini) chunk(parts []object, finish string, usage object) object {
	c := object{"index": 0, "content": object{"role": "model", "parts": parts}}
	if finish != "" {
		c["finishReason"] = finish
	}
	v := object{"candidates": []object{c}, "modelVersion": "fake"}
	if usage != nil {
		v["usageMetadata"] = usage
	}
	return v
}

func (gemini) callParts(r Reply) []object {
	var parts []object
	for _, c := range r.calls() {
		parts = append(parts, object{"functionCall": object{"id": c.ID, "name": c.Name, "args": json.RawMessage(c.Args)}})
	}
	return parts
}

func (f gemini) plain(r Reply) object {
	parts := []object{}
	if r.Think != "" {
		parts = append(parts, object{"text": r.Think, "thought": true})
	}
	if r.Text != "" {
		parts = append(parts, object{"text": r.Text})
	}
	return f.chunk(append(parts, f.callParts(r)...), r.stop("STOP", "STOP"), f.usage(r))
}

func (f gemini) usage(r Reply) object {
	if r.Usage == nil {
		return nil
	}
	return f.figures(r.Usage)
}

func (f gemini) events(r Reply) []sse {
	var out []sse
	add := func(parts []object, finish string, usage object) {
		out = append(out, sse{data: text(f.chunk(parts, finish, usage))})
	}
	var early object
	if r.Usage != nil {
		// Every chunk carries figures; only the last ones are final.
		first := Usage{Input: r.Usage.Input, CacheRead: r.Usage.CacheRead}
		early = f.figures(&first)
	}
	if r.Think != "" {
		add([]object{{"text": r.Think, "thought": true}}, "", early)
	}
	for _, p := range r.pieces() {
		add([]object{{"text": p}}, "", early)
	}
	for _, p := range f.callParts(r) {
		add([]object{p}, "", early)
	}
	if r.Error != nil {
		return append(out, sse{data: text(f.failure(r))})
	}
	add([]object{{"text": ""}}, r.stop("STOP", "STOP"), f.usage(r))
	return out
}

// Render gives the bytes of a reply in the form "openai", "responses",
// "anthropic" or "gemini": for fuzz corpora and golden files.
func Render(name string, r Reply, stream bool) ([]byte, error) {
	f, ok := map[string]form{"openai": openAI{usage: true}, "responses": responses{}, "anthropic": anthropic{}, "gemini": gemini{}}[name]
	if !ok {
		return nil, fmt.Errorf("modelserver: the form %q is unknown", name)
	}
	return render(f, r, stream), nil
}
