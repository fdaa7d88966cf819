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

// items are what a reply puts out, in order.
func (responses) items(r Reply) []object {
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
			"content": []object{{"type": "output_text", "text": r.Text, "annotations": []object{}}},
		})
	}
	for i, c := range r.calls() {
		item := object{
			"type": "function_call", "id": fmt.Sprintf("fc_%d", i+1), "status": "completed",
			"call_id": c.ID, "name": c.Name, "arguments": c.Args,
		}
		if c.Custom {
			delete(item, "arguments")
			item["type"], item["input"] = "custom_tool_call", c.Args
		}
		items = append(items, item)
	}
	return items
}

func (f responses) plain(r Reply) object {
	v := object{"id": "resp_1", "object": "response", "status": "completed", "model": "fake", "output": f.items(r)}
	if r.Usage != nil {
		v["usage"] = f.figures(r.Usage)
	}
	return v
}

func (f responses) events(r Reply) []sse {
	var out []sse
	add := func(name string, v object) {
		v["type"], v["sequence_number"] = name, len(out)
		out = append(out, sse{name, text(v)})
	}
	add("response.created", object{"response": object{"id": "resp_1", "object": "response", "status": "in_progress", "output": []object{}}})
	for i, item := range f.items(r) {
		begun := maps.Clone(item)
		switch item["type"] {
		case "message":
			begun["content"], begun["status"] = []object{}, "in_progress"
		case "function_call":
			begun["arguments"], begun["status"] = "", "in_progress"
		case "custom_tool_call":
			begun["input"], begun["status"] = "", "in_progress"
		}
		add("response.output_item.added", object{"output_index": i, "item": begun})
		switch item["type"] {
		case "message":
			for _, p := range r.pieces() {
				add("response.output_text.delta", object{"output_index": i, "content_index": 0, "item_id": item["id"], "delta": p})
			}
			add("response.output_text.done", object{"output_index": i, "content_index": 0, "item_id": item["id"], "text": r.Text})
		case "function_call":
			f.argument(add, "response.function_call_arguments", "arguments", i, item)
		case "custom_tool_call":
			f.argument(add, "response.custom_tool_call_input", "input", i, item)
		}
		add("response.output_item.done", object{"output_index": i, "item": item})
	}
	if r.Error != nil {
		add("response.failed", object{"response": object{
			"id": "resp_1", "status": "failed", "error": object{"code": r.Error.Type, "message": r.Error.Message},
		}})
		return out
	}
	add("response.completed", object{"response": f.plain(r)})
	return out
}

// argument streams what a call is given.
func (responses) argument(add func(string, object), name, field string, i int, item object) {
	whole, _ := item[field].(string)
	for _, h := range halves(whole) {
		add(name+".delta", object{"output_index": i, "item_id": item["id"], "delta": h})
	}
	add(name+".done", object{"output_index": i, "item_id": item["id"], field: whole})
}
