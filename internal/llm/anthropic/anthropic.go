// Package anthropic speaks the Messages API.
//
// Invariants: a stream counts as whole only after message_stop; the figures of
// message_delta are cumulative and replace those of message_start; thinking
// blocks are not part of the text. It imports llm only; app and tests may
// import it.
package anthropic

import (
	"encoding/json"
	"fmt"
	"strings"

	"sallyport/internal/llm"
)

// KeyName is the variable that holds the key by convention.
const KeyName = "ANTHROPIC_API_KEY"

// version is the API version that this package was written for.
const version = "2023-06-01"

// New makes a client; see llm.New for its errors.
func New(ep llm.Endpoint, doer llm.Doer, opt llm.Options) (llm.Client, error) {
	if ep.Provider == "" {
		ep.Provider = "anthropic"
	}
	if ep.KeyName == "" {
		ep.KeyName = KeyName
	}
	return llm.New(Codec{}, ep, doer, opt)
}

// Codec is the Messages form.
type Codec struct{}

var _ llm.Codec = Codec{}

// DefaultBase is Anthropic's public address.
func (Codec) DefaultBase() string { return "https://api.anthropic.com" }

// RequestIDHeaders is where the id of a call is found.
func (Codec) RequestIDHeaders() []string { return []string{"request-id", "x-request-id"} }

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type tool struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"input_schema"`
}

type body struct {
	Model       string    `json:"model"`
	MaxTokens   int       `json:"max_tokens"`
	System      string    `json:"system,omitempty"`
	Messages    []message `json:"messages"`
	Temperature *float64  `json:"temperature,omitempty"`
	Stop        []string  `json:"stop_sequences,omitempty"`
	Tools       []tool    `json:"tools,omitempty"`
	Stream      bool      `json:"stream"`
}

// Encode gives the call. A base URL that already ends in the version is
// accepted.
func (Codec) Encode(ep llm.Endpoint, r llm.Request, stream bool, key string) (llm.Call, error) {
	b := body{Model: r.Model, MaxTokens: r.MaxTokens, System: r.System, Temperature: r.Temperature, Stop: r.Stop, Stream: stream}
	for _, m := range r.Messages {
		b.Messages = append(b.Messages, message{string(m.Role), m.Text})
	}
	for _, t := range r.Tools {
		schema := t.Schema
		if len(schema) == 0 {
			schema = json.RawMessage(`{"type":"object"}`)
		}
		b.Tools = append(b.Tools, tool{t.Name, t.Description, schema})
	}
	data, err := json.Marshal(b)
	if err != nil {
		return llm.Call{}, fmt.Errorf("anthropic: encode: %w", err)
	}
	path := "/v1/messages"
	if strings.HasSuffix(ep.BaseURL, "/v1") {
		path = "/messages"
	}
	call := llm.Call{Path: path, Body: data, Header: map[string]string{"anthropic-version": version}}
	if key != "" {
		call.Header["x-api-key"] = key
	}
	return call, nil
}

type apiError struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

func (e apiError) problem() llm.Problem {
	p := llm.Problem{Type: e.Type, Message: e.Message}
	p.Retry = e.Type == "overloaded_error" || e.Type == "api_error" || e.Type == "rate_limit_error" || e.Type == "timeout_error"
	p.Quota = e.Type == "billing_error" || strings.Contains(e.Message, "credit balance is too low")
	return p
}

// Problem reads an error body.
func (Codec) Problem(data []byte) llm.Problem {
	var v struct {
		Error apiError `json:"error"`
	}
	if llm.Unmarshal(data, &v) != nil {
		return llm.Problem{}
	}
	return v.Error.problem()
}

type usage struct {
	Input      *int64 `json:"input_tokens"`
	Output     *int64 `json:"output_tokens"`
	CacheRead  *int64 `json:"cache_read_input_tokens"`
	CacheWrite *int64 `json:"cache_creation_input_tokens"`
}

// onto replaces the figures that are present: message_delta repeats only some.
func (u *usage) onto(v llm.Usage) llm.Usage {
	set := func(dst *int64, src *int64) {
		if src != nil {
			*dst = *src
		}
	}
	set(&v.Input, u.Input)
	set(&v.Output, u.Output)
	set(&v.CacheRead, u.CacheRead)
	set(&v.CacheWrite, u.CacheWrite)
	return v
}

type block struct {
	Type  string          `json:"type"`
	Text  string          `json:"text"`
	ID    string          `json:"id"`
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
}

type reply struct {
	Type       string   `json:"type"`
	Content    []block  `json:"content"`
	StopReason string   `json:"stop_reason"`
	Usage      *usage   `json:"usage"`
	Error      apiError `json:"error"`
}

type event struct {
	Type    string `json:"type"`
	Index   int    `json:"index"`
	Message struct {
		Usage *usage `json:"usage"`
	} `json:"message"`
	Block block `json:"content_block"`
	Delta struct {
		Type       string `json:"type"`
		Text       string `json:"text"`
		Partial    string `json:"partial_json"`
		StopReason string `json:"stop_reason"`
	} `json:"delta"`
	Usage *usage   `json:"usage"`
	Error apiError `json:"error"`
}

type decoder struct{ input map[int]bool }

// Decoder makes a decoder for one reply.
func (Codec) Decoder() llm.Decoder { return &decoder{input: map[int]bool{}} }

// Event reads one event. The type inside the data decides, the event's name
// only repeats it.
func (d *decoder) Event(_ string, data []byte, b *llm.Builder) (bool, error) {
	if len(data) == 0 {
		return false, nil
	}
	var e event
	if err := llm.Unmarshal(data, &e); err != nil {
		return false, err
	}
	switch e.Type {
	case "message_start":
		if e.Message.Usage != nil {
			return false, b.Usage(e.Message.Usage.onto(b.Reported()), false)
		}
	case "content_block_start":
		return false, d.start(e, b)
	case "content_block_delta":
		switch e.Delta.Type {
		case "text_delta":
			return false, b.Text(e.Delta.Text)
		case "input_json_delta":
			if !d.input[e.Index] {
				return false, fmt.Errorf("arguments came for block %d, which is no tool call", e.Index)
			}
			return false, b.Call(e.Index, "", "", e.Delta.Partial)
		}
	case "message_delta":
		if e.Delta.StopReason != "" {
			b.Stop(stop(e.Delta.StopReason))
		}
		if e.Usage != nil {
			return false, b.Usage(e.Usage.onto(b.Reported()), true)
		}
	case "message_stop":
		if !b.Stopped() {
			return false, fmt.Errorf("the reply ended without a stop reason")
		}
		return true, nil
	case "error":
		return false, &llm.StreamError{Problem: e.Error.problem()}
	}
	return false, nil
}

func (d *decoder) start(e event, b *llm.Builder) error {
	switch e.Block.Type {
	case "text":
		return b.Text(e.Block.Text)
	case "tool_use":
		// The id makes the call known even if no arguments follow. The input
		// here is an empty object; the real one comes in pieces.
		d.input[e.Index] = true
		return b.Call(e.Index, e.Block.ID, e.Block.Name, "")
	}
	return nil
}

// Plain reads a whole reply.
func (d *decoder) Plain(data []byte, b *llm.Builder) error {
	var r reply
	if err := llm.Unmarshal(data, &r); err != nil {
		return err
	}
	if r.Type == "error" {
		return &llm.StreamError{Problem: r.Error.problem()}
	}
	for i, c := range r.Content {
		var err error
		switch c.Type {
		case "text":
			err = b.Text(c.Text)
		case "tool_use":
			err = b.Call(i, c.ID, c.Name, string(c.Input))
		}
		if err != nil {
			return err
		}
	}
	if r.StopReason == "" {
		return fmt.Errorf("the reply has no stop reason")
	}
	b.Stop(stop(r.StopReason))
	if r.Usage != nil {
		return b.Usage(r.Usage.onto(llm.Usage{}), true)
	}
	return nil
}

// End refuses a stream without message_stop.
func (d *decoder) End(*llm.Builder) error { return fmt.Errorf("the stream has no message_stop") }

func stop(reason string) string {
	switch reason {
	case "end_turn", "stop_sequence":
		return llm.StopEnd
	case "max_tokens", "model_context_window_exceeded":
		return llm.StopLength
	case "tool_use":
		return llm.StopTools
	case "refusal":
		return llm.StopFiltered
	}
	return llm.StopOther
}
