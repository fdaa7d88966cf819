package modelserver

import (
	"fmt"
	"maps"
)

// responses is OpenAI's Responses API.
type responses struct{}

func (responses) requestIDHeader() string { return "X-Request-Id" }

func (responses) failure(r Reply) object { return openAI{}.failure(r) }

func (responses) figures(u *Usage) object {
	return object{
		"input_tokens": u.Input + u.CacheRead, "output_tokens": u.Output,
		"total_tokens":          u.Input + u.CacheRead + u.Output,
		"input_tokens_details":  object{"cached_tokens": u.CacheRead},
		"output_tokens_details": object{"reasoning_tokens": u.Reasoning},
	}
}

// part is a message's only part.
func (responses) part(text string) object {
	return object{"type": "output_text", "text": text, "annotations": []object{}}
}

// items are what a reply puts out, in order, as the place ("item" or
// "completed") says it: Call.Places may say it differently there.
func (f responses) items(r Reply, place string) []object {
	items := []object{}
	if r.Think != "" {
		items = append(items, object{
			"type": "reasoning", "id": "rs_1", "content": nil,
			"summary": []object{{"type": "summary_text", "text": r.Think}},
		})
	}
	if r.Text != "" {
		items = append(items, object{
			"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
			"content": []object{f.part(r.Text)},
		})
	}
	for i, c := range r.calls() {
		field, kind := "arguments", "function_call"
		if c.Custom {
			field, kind = "input", "custom_tool_call"
		}
		items = append(items, object{
			"type": kind, "id": fmt.Sprintf("fc_%d", i+1), "status": "completed",
			"call_id": c.ID, "name": c.Name, field: c.at(place),
		})
	}
	return items
}

func (f responses) plain(r Reply) object {
	v := object{"id": r.id("resp_"), "object": "response", "status": "completed", "output": f.items(r, "completed")}
	if r.says() {
		v["usage"] = r.use(f.figures)
	}
	v["model"] = "fake"
	return r.named("model", v)
}

func (f responses) events(r Reply) []sse {
	var out []sse
	add := func(name string, v object) {
		v["type"], v["sequence_number"] = name, len(out)
		out = append(out, sse{name, text(v)})
	}
	created := object{"id": r.id("resp_"), "object": "response", "status": "in_progress", "output": []object{}}
	if r.Early != nil {
		created["usage"] = f.figures(r.Early)
	}
	add("response.created", object{"response": r.named("model", created)})
	items, calls := f.items(r, "item"), r.calls()
	first := len(items) - len(calls)
	for i, item := range items[:first] {
		f.prose(r, add, i, item)
	}
	sent := make([]int, len(calls))
	for _, i := range r.turns(calls) {
		f.call(r, add, first+i, items[first+i], calls[i], sent[i])
		sent[i]++
	}
	if r.Error != nil {
		add("response.failed", object{"response": object{
			"id": r.id("resp_"), "status": "failed", "error": object{"code": r.Error.Type, "message": r.Error.Message},
		}})
		return out
	}
	add("response.completed", object{"response": f.plain(r)})
	return out
}

// prose streams an item that is not a call.
func (f responses) prose(r Reply, add func(string, object), i int, item object) {
	begun, at := maps.Clone(item), func(more object) object {
		more["output_index"], more["content_index"], more["item_id"] = i, 0, item["id"]
		return more
	}
	message := item["type"] == "message"
	if message {
		begun["content"], begun["status"] = []object{}, "in_progress"
	}
	add("response.output_item.added", object{"output_index": i, "item": begun})
	if message {
		add("response.content_part.added", at(object{"part": f.part("")}))
		for _, p := range r.pieces() {
			add("response.output_text.delta", at(object{"delta": p}))
		}
		add("response.output_text.done", at(object{"text": r.Text}))
		add("response.content_part.done", at(object{"part": f.part(r.Text)}))
	}
	add("response.output_item.done", object{"output_index": i, "item": item})
}

// call streams piece n of a call's arguments, with what comes before the first
// and after the last one.
func (responses) call(r Reply, add func(string, object), i int, item object, c Call, n int) {
	name, field := "response.function_call_arguments", "arguments"
	if c.Custom {
		name, field = "response.custom_tool_call_input", "input"
	}
	if n == 0 {
		begun := maps.Clone(item)
		begun[field], begun["status"] = c.Places["added"], "in_progress"
		add("response.output_item.added", object{"output_index": i, "item": begun})
	}
	pieces := r.arguments(c.Args)
	add(name+".delta", object{"output_index": i, "item_id": item["id"], "delta": pieces[n]})
	if n == len(pieces)-1 {
		done := object{"output_index": i, "item_id": item["id"], field: c.at("done")}
		if !c.Custom {
			done["name"] = c.Name
		}
		add(name+".done", done)
		add("response.output_item.done", object{"output_index": i, "item": item})
	}
}
