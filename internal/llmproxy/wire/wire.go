// Package wire reads what clients and model servers say to each other: OpenAI
// Chat Completions and Responses, Anthropic Messages, Gemini. It gives views of
// bytes that somebody else wrote and never writes them anew, except where a
// tool call is replaced or a field is put in on purpose.
//
// Invariants: pure; what two readers could understand differently (duplicate
// keys, invalid UTF-8, nesting without end) is refused, not interpreted; work
// is linear in the bytes; nothing it gives was executed or trusted.
//
// The rooms of llmproxy may import it.
package wire

import "sallyport/internal/llm"

// API is one of the forms that are understood.
type API uint8

// The forms.
const (
	Unknown   API = iota
	Chat          // OpenAI Chat Completions
	Responses     // OpenAI Responses
	Messages      // Anthropic Messages
	Gemini        // Gemini generateContent
)

var apiNames = [...]string{"unknown", "openai.chat", "openai.responses", "anthropic.messages", "gemini.generate"}

// String gives the name under which the form appears in events and settings.
func (a API) String() string {
	if int(a) < len(apiNames) {
		return apiNames[a]
	}
	return apiNames[0]
}

// Vendor is whose API it is, as prices and settings name it: openai, anthropic
// or gemini.
func (a API) Vendor() string {
	switch a {
	case Chat, Responses:
		return "openai"
	case Messages:
		return "anthropic"
	case Gemini:
		return "gemini"
	default:
		return ""
	}
}

// Span is a part of a body, in bytes; Start is its first.
type Span struct{ Start, End int }

// Of gives the bytes of the span.
func (s Span) Of(body []byte) []byte { return body[s.Start:s.End] }

// Call is a tool call of a model's reply, the same for every form: a chat tool
// call, a Responses item (function, custom, local shell, code), a tool_use
// block, a functionCall part. Nothing in it is trusted.
type Call struct {
	Index     int    // order among the calls of the reply, from 0
	ID        string // the form's own id, by which its result is found; "" where the form has none
	Name      string // as the model wrote it
	Arguments string // as the model wrote it: JSON for most, free text for custom tools
	Type      string // function, custom, local_shell, code, tool_search, server (run by the provider), text (a reply that its client executes)
}

// Usage is what a server said a call used. Known is false when it said nothing
// at the reply's end.
type Usage struct {
	llm.Usage
	Known bool
}
