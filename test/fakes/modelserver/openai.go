package modelserver

// openAI is OpenAI's Chat Completions API; usage tells whether a stream was
// asked for its figures.
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
	choices := []object{}
	for i, c := range r.choices() {
		choices = append(choices, object{"index": i, "message": f.message(c), "finish_reason": c.stop("stop", "tool_calls")})
	}
	v := object{"id": r.id("chatcmpl-"), "object": "chat.completion", "choices": choices}
	if r.says() {
		v["usage"] = r.use(f.figures)
	}
	return r.named("model", v)
}

func (openAI) message(r Reply) object {
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
	return m
}

func (f openAI) events(r Reply) []sse {
	var out []sse
	chunk := func(index int, delta object, finish, usage any) {
		out = append(out, sse{data: text(r.named("model", object{
			"id": r.id("chatcmpl-"), "object": "chat.completion.chunk", "usage": usage,
			"choices": []object{{"index": index, "delta": delta, "finish_reason": finish}},
		}))})
	}
	var early any
	if r.Early != nil {
		early = f.figures(r.Early)
	}
	choices := r.choices()
	for i, c := range choices {
		chunk(i, object{"role": "assistant", "content": ""}, nil, early)
		if c.Think != "" {
			chunk(i, object{"reasoning_content": c.Think}, nil, nil)
		}
		for _, p := range c.pieces() {
			chunk(i, object{"content": p}, nil, nil)
		}
		f.calls(c, func(delta object) { chunk(i, object{"tool_calls": []object{delta}}, nil, nil) })
	}
	if r.Error != nil {
		return append(out, sse{data: text(f.failure(r))})
	}
	for i, c := range choices {
		chunk(i, object{}, c.stop("stop", "tool_calls"), nil)
	}
	if r.says() && f.usage {
		out = append(out, sse{data: text(r.named("model", object{"id": r.id("chatcmpl-"), "choices": []object{}, "usage": r.use(f.figures)}))})
	}
	return append(out, sse{data: "[DONE]"})
}

// calls streams the tool calls of one choice.
func (openAI) calls(r Reply, add func(delta object)) {
	calls := r.calls()
	begun, sent := make([]bool, len(calls)), make([]int, len(calls))
	for _, i := range r.turns(calls) {
		c := calls[i]
		if !begun[i] {
			begun[i] = true
			add(object{
				"index": i, "id": c.ID, "type": "function",
				"function": object{"name": c.Name, "arguments": c.Places["added"]},
			})
		}
		piece := r.arguments(c.Args)[sent[i]]
		sent[i]++
		add(object{"index": i, "function": object{"arguments": piece}})
	}
}
