// Package openai speaks the chat completions API of OpenAI and of the servers
// that are compatible with it: Ollama, vLLM, llama.cpp and many gateways, each
// by its base URL. The base URL ends where "/chat/completions" follows, for
// example "http://127.0.0.1:11434/v1".
//
// Invariants: only the first choice is read; a reply counts as whole only after
// a finish reason or the end mark; cached prompt tokens are taken out of
// Usage.Input. It imports llm only; app and tests may import it.
package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"sallyport/internal/llm"
)

// KeyName is the variable that holds the key by convention.
const KeyName = "OPENAI_API_KEY"

// New makes a client; see llm.New for its errors.
func New(ep llm.Endpoint, doer llm.Doer, opt llm.Options) (llm.Client, error) {
	if ep.Provider == "" {
		ep.Provider = "openai"
	}
	if ep.KeyName == "" && ep.Provider == "openai" {
		ep.KeyName = KeyName
	}
	return llm.New(Codec{}, ep, doer, opt)
}

// Codec is the chat completions form.
type Codec struct{}

var _ llm.Codec = Codec{}

// DefaultBase is OpenAI's public address.
func (Codec) DefaultBase() string { return "https://api.openai.com/v1" }

// RequestIDHeaders is where the id of a call is found.
func (Codec) RequestIDHeaders() []string { return []string{"x-request-id"} }

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type tool struct {
	Type     string   `json:"type"`
	Function function `json:"function"`
}

type function struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type body struct {
	Model               string         `json:"model"`
	Messages            []message      `json:"messages"`
	MaxTokens           int            `json:"max_tokens,omitempty"`
	MaxCompletionTokens int            `json:"max_completion_tokens,omitempty"`
	Temperature         *float64       `json:"temperature,omitempty"`
	Stop                []string       `json:"stop,omitempty"`
	Tools               []tool         `json:"tools,omitempty"`
	Stream              bool           `json:"stream"`
	StreamOptions       *streamOptions `json:"stream_options,omitempty"`
}

// Encode gives the call. OpenAI's own newer models refuse max_tokens, most
// other servers know nothing else; the endpoint may decide.
func (c Codec) Encode(ep llm.Endpoint, r llm.Request, stream bool, key string) (llm.Call, error) {
	b := body{Model: r.Model, Temperature: r.Temperature, Stop: r.Stop, Stream: stream}
	field := ep.MaxTokensField
	if field == "" {
		field = "max_tokens"
		if ep.BaseURL == c.DefaultBase() {
			field = "max_completion_tokens"
		}
	}
	switch field {
	case "max_tokens":
		b.MaxTokens = r.MaxTokens
	case "max_completion_tokens":
		b.MaxCompletionTokens = r.MaxTokens
	default:
		return llm.Call{}, fmt.Errorf("openai: the output bound's field %q is neither max_tokens nor max_completion_tokens", field)
	}
	if r.System != "" {
		b.Messages = append(b.Messages, message{"system", r.System})
	}
	for _, m := range r.Messages {
		b.Messages = append(b.Messages, message{string(m.Role), m.Text})
	}
	for _, t := range r.Tools {
		b.Tools = append(b.Tools, tool{"function", function{t.Name, t.Description, t.Schema}})
	}
	if stream {
		b.StreamOptions = &streamOptions{IncludeUsage: true}
	}
	data, err := json.Marshal(b)
	if err != nil {
		return llm.Call{}, fmt.Errorf("openai: encode: %w", err)
	}
	call := llm.Call{Path: "/chat/completions", Body: data, Header: map[string]string{}}
	if key != "" {
		call.Header["Authorization"] = "Bearer " + key
	}
	return call, nil
}

type apiError struct {
	Message string          `json:"message"`
	Type    string          `json:"type"`
	Code    json.RawMessage `json:"code"` // a string, a number or null
}

func (e *apiError) problem() llm.Problem {
	if e == nil {
		return llm.Problem{}
	}
	p := llm.Problem{Type: e.Type, Message: e.Message, Code: strings.Trim(string(e.Code), `"`)}
	if p.Code == "null" {
		p.Code = ""
	}
	p.Quota = p.Code == "insufficient_quota" || p.Type == "insufficient_quota"
	p.Retry = !p.Quota && (p.Type == "server_error" || p.Type == "overloaded_error" || p.Code == "rate_limit_exceeded")
	return p
}

// Problem reads an error body; some servers give the error as a plain text.
func (Codec) Problem(data []byte) llm.Problem {
	var v struct {
		Error json.RawMessage `json:"error"`
	}
	if llm.Unmarshal(data, &v) != nil {
		return llm.Problem{}
	}
	return problemOf(v.Error)
}

func problemOf(raw json.RawMessage) llm.Problem {
	var e apiError
	if json.Unmarshal(raw, &e) == nil {
		return e.problem()
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return llm.Problem{Message: text}
	}
	return llm.Problem{}
}

type usage struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Details    *struct {
		Cached int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	OutDetails *struct {
		Reasoning int64 `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
}

func (u *usage) figures() llm.Usage {
	v := llm.Usage{Input: u.Prompt, Output: u.Completion}
	if u.Details != nil {
		v.CacheRead = u.Details.Cached
		v.Input -= v.CacheRead
	}
	if u.OutDetails != nil {
		v.Reasoning = u.OutDetails.Reasoning
	}
	return v
}

type toolCall struct {
	Index    *int   `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

type part struct {
	Content   *string    `json:"content"`
	Refusal   *string    `json:"refusal"`
	ToolCalls []toolCall `json:"tool_calls"`
}

type reply struct {
	Choices []struct {
		Index   int     `json:"index"`
		Delta   part    `json:"delta"`
		Message part    `json:"message"`
		Finish  *string `json:"finish_reason"`
	} `json:"choices"`
	Usage *usage          `json:"usage"`
	Error json.RawMessage `json:"error"`
}

type decoder struct {
	refused bool
	slots   map[int]slot // by the server's index
	used    int          // slots given out
}

// slot is where a tool call is collected.
type slot struct {
	n  int
	id string
}

// Decoder makes a decoder for one reply.
func (Codec) Decoder() llm.Decoder { return &decoder{slots: map[int]slot{}} }

// slot finds the call a piece belongs to. Some servers give every call the
// same index or none; a new id is then a new call, or two calls' arguments
// would run together.
func (d *decoder) slot(index int, id string) int {
	s, known := d.slots[index]
	if !known || id != "" && s.id != "" && id != s.id {
		s = slot{n: d.used}
		d.used++
	}
	if id != "" {
		s.id = id
	}
	d.slots[index] = s
	return s.n
}

// Event reads one chunk; the end mark is the data "[DONE]".
func (d *decoder) Event(_ string, data []byte, b *llm.Builder) (bool, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return false, nil
	}
	if string(data) == "[DONE]" {
		if !b.Stopped() {
			return false, fmt.Errorf("the reply ended without a finish reason")
		}
		return true, nil
	}
	return false, d.read(data, b, false)
}

// Plain reads a whole reply.
func (d *decoder) Plain(data []byte, b *llm.Builder) error {
	if err := d.read(data, b, true); err != nil {
		return err
	}
	return d.End(b)
}

// End accepts a stream without the end mark if a finish reason came: not every
// compatible server sends the mark.
func (d *decoder) End(b *llm.Builder) error {
	if !b.Stopped() {
		return fmt.Errorf("the reply has no finish reason")
	}
	return nil
}

func (d *decoder) read(data []byte, b *llm.Builder, whole bool) error {
	var r reply
	if err := llm.Unmarshal(data, &r); err != nil {
		return err
	}
	if len(r.Error) > 0 && string(r.Error) != "null" {
		p := problemOf(r.Error)
		if p.Empty() {
			p.Message = "an error without a description"
		}
		return &llm.StreamError{Problem: p}
	}
	if r.Usage != nil {
		if err := b.Usage(r.Usage.figures(), true); err != nil {
			return err
		}
	}
	for _, c := range r.Choices {
		if c.Index != 0 {
			continue
		}
		p := c.Delta
		if whole {
			p = c.Message
		}
		if err := d.part(p, b, whole); err != nil {
			return err
		}
		if c.Finish != nil && *c.Finish != "" {
			b.Stop(d.stop(*c.Finish))
		}
	}
	return nil
}

func (d *decoder) part(p part, b *llm.Builder, whole bool) error {
	if p.Content != nil {
		if err := b.Text(*p.Content); err != nil {
			return err
		}
	}
	if p.Refusal != nil && *p.Refusal != "" {
		d.refused = true
		if err := b.Text(*p.Refusal); err != nil {
			return err
		}
	}
	for i, t := range p.ToolCalls {
		index := i
		if t.Index != nil && !whole {
			index = *t.Index
		}
		if err := b.Call(d.slot(index, t.ID), t.ID, t.Function.Name, t.Function.Arguments); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) stop(reason string) string {
	switch {
	case d.refused || reason == "content_filter":
		return llm.StopFiltered
	case reason == "stop":
		return llm.StopEnd
	case reason == "length":
		return llm.StopLength
	case reason == "tool_calls" || reason == "function_call":
		return llm.StopTools
	}
	return llm.StopOther
}
