package modelserver

import "encoding/json"

// anthropic is Anthropic's Messages API.
type anthropic struct{}

func (anthropic) requestIDHeader() string { return "Request-Id" }

func (anthropic) failure(r Reply) object {
	return object{"type": "error", "error": object{"type": r.Error.Type, "message": r.Error.Message}}
}

func (anthropic) figures(u *Usage) object {
	v := object{
		"input_tokens": u.Input, "output_tokens": u.Output,
		"cache_read_input_tokens": u.CacheRead, "cache_creation_input_tokens": u.CacheWrite,
	}
	if u.Reasoning > 0 {
		v["output_tokens_details"] = object{"thinking_tokens": u.Reasoning}
	}
	return v
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
		"id": r.id("msg_"), "type": "message", "role": "assistant", "content": content,
		"stop_reason": r.stop("end_turn", "tool_use"), "stop_sequence": nil,
	}
	if r.says() {
		v["usage"] = r.use(f.figures)
	}
	return r.named("model", v)
}

func (f anthropic) events(r Reply) []sse {
	var out []sse
	add := func(name string, v object) {
		v["type"] = name
		out = append(out, sse{name, text(v)})
	}
	start := object{"id": r.id("msg_"), "type": "message", "role": "assistant", "content": []object{}, "stop_reason": nil}
	switch {
	case r.Early != nil:
		start["usage"] = f.figures(r.Early)
	case r.Usage != nil:
		first := *r.Usage
		first.Output, first.Reasoning = 1, 0
		start["usage"] = f.figures(&first)
	}
	add("message_start", object{"message": r.named("model", start)})
	add("ping", object{})
	f.blocks(r, add)
	if r.Error != nil {
		add("error", f.failure(r))
		return out
	}
	end := object{"delta": object{"stop_reason": r.stop("end_turn", "tool_use"), "stop_sequence": nil}}
	switch {
	case r.RawUsage != nil:
		end["usage"] = r.RawUsage
	case r.Usage != nil && r.Early != nil:
		end["usage"] = f.figures(r.Usage)
	case r.Usage != nil && r.Usage.Reasoning > 0:
		end["usage"] = object{"output_tokens": r.Usage.Output, "output_tokens_details": object{"thinking_tokens": r.Usage.Reasoning}}
	case r.Usage != nil:
		// The form need not repeat more than the output's figure here.
		end["usage"] = object{"output_tokens": r.Usage.Output}
	}
	add("message_delta", end)
	add("message_stop", object{})
	return out
}

// blocks streams the content.
func (f anthropic) blocks(r Reply, add func(string, object)) {
	index := 0
	begin := func(i int, block object) {
		add("content_block_start", object{"index": i, "content_block": block})
	}
	delta := func(i int, d object) { add("content_block_delta", object{"index": i, "delta": d}) }
	end := func(i int) { add("content_block_stop", object{"index": i}) }
	block := func(start object, deltas ...object) {
		begin(index, start)
		for _, d := range deltas {
			delta(index, d)
		}
		end(index)
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
	calls := r.calls()
	sent := make([]int, len(calls))
	for _, i := range r.turns(calls) {
		pieces := r.arguments(calls[i].Args)
		if sent[i] == 0 {
			begin(index+i, f.use(calls[i]))
		}
		if calls[i].Args != "" { // else all of it is in the event that begins the block
			delta(index+i, object{"type": "input_json_delta", "partial_json": pieces[sent[i]]})
		}
		if sent[i]++; sent[i] == len(pieces) {
			end(index + i)
		}
	}
}

// use begins a block of a tool call.
func (anthropic) use(c Call) object {
	v := object{"type": "tool_use", "id": c.ID, "name": c.Name, "input": object{}}
	if other, ok := c.Places["added"]; ok {
		v["input"] = json.RawMessage(other)
	}
	return v
}
