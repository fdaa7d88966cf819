package modelserver

import (
	"encoding/json"
	"net/http"
)

// gemini is Google's generateContent API; array streams the pieces of a JSON
// array, as the API does where the query does not ask for events.
type gemini struct{ array bool }

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

func (gemini) candidate(index int, parts []object, finish string) object {
	c := object{"index": index, "content": object{"role": "model", "parts": parts}}
	if finish != "" {
		c["finishReason"] = finish
	}
	return c
}

// whole makes a response, or a piece of a streamed one.
func (gemini) whole(r Reply, usage any, candidates ...object) object {
	v := object{"candidates": candidates, "modelVersion": "fake"}
	if usage != nil {
		v["usageMetadata"] = usage
	}
	return r.named("modelVersion", v)
}

func (gemini) callParts(r Reply) []object {
	var parts []object
	for _, c := range r.calls() {
		part := object{"functionCall": object{"id": c.ID, "name": c.Name, "args": json.RawMessage(c.Args)}}
		if r.Think != "" {
			part["thoughtSignature"] = "c2ln"
		}
		parts = append(parts, part)
	}
	return parts
}

func (f gemini) plain(r Reply) object {
	var candidates []object
	for i, c := range r.choices() {
		parts := []object{}
		if c.Think != "" {
			parts = append(parts, object{"text": c.Think, "thought": true})
		}
		if c.Text != "" {
			parts = append(parts, object{"text": c.Text})
		}
		candidates = append(candidates, f.candidate(i, append(parts, f.callParts(c)...), c.stop("STOP", "STOP")))
	}
	return f.whole(r, f.usage(r), candidates...)
}

func (f gemini) usage(r Reply) any {
	if !r.says() {
		return nil
	}
	return r.use(f.figures)
}

func (f gemini) events(r Reply) []sse {
	var out []sse
	add := func(index int, parts []object, finish string, usage any) {
		out = append(out, sse{data: text(f.whole(r, usage, f.candidate(index, parts, finish)))})
	}
	var early any
	switch {
	case r.Early != nil:
		early = f.figures(r.Early)
	case r.Usage != nil:
		// Every chunk carries figures; only the last ones are final.
		first := Usage{Input: r.Usage.Input, CacheRead: r.Usage.CacheRead}
		early = f.figures(&first)
	}
	choices := r.choices()
	for i, c := range choices {
		if c.Think != "" {
			add(i, []object{{"text": c.Think, "thought": true}}, "", early)
		}
		for _, p := range c.pieces() {
			add(i, []object{{"text": p}}, "", early)
		}
		for _, p := range f.callParts(c) {
			add(i, []object{p}, "", early)
		}
	}
	if r.Error != nil {
		return append(out, sse{data: text(f.failure(r))})
	}
	for i, c := range choices {
		add(i, []object{{"text": ""}}, c.stop("STOP", "STOP"), f.usage(r))
	}
	return out
}
