// Package llm speaks to language models over HTTP: one request and response
// form of our own, and the machinery every provider shares (streaming,
// timeouts, retries, bounds, errors).
//
// Invariants:
//   - the body that is sent is a function of Request alone: what a decision
//     digested (Request.Args) is what leaves;
//   - a reply is untrusted: its size, its number of tool calls and every figure
//     in it are bounded, and text handed on is valid UTF-8;
//   - no error contains a key, even if the provider repeats it, nor more than a
//     short part of a reply;
//   - a call is never repeated after a part of its reply was handed on.
//
// It connects to nothing by itself: the Doer is built by egress and given by
// app. It imports fault only; its providers live in openai, anthropic and
// gemini below it. Drivers may import the wire types of this package.
package llm

import (
	"context"
	"encoding/json"
	"net/http"
)

// Role says who wrote a message.
type Role string

// The roles.
const (
	User      Role = "user"
	Assistant Role = "assistant"
)

// Message is one turn of a transcript.
type Message struct {
	Role Role   `json:"role"`
	Text string `json:"text"`
}

// Tool is a function that the model may ask for.
type Tool struct {
	Name        string          // 1..64 of A-Z a-z 0-9 _ -
	Description string          // may be empty
	Schema      json.RawMessage // JSON Schema of the arguments, an object; empty = no arguments
}

// Request is one model call. Its zero value is not valid, see Validate.
type Request struct {
	Model       string    // the provider's own id
	System      string    // may be empty
	Messages    []Message // at least one
	MaxTokens   int       // bound on the output, reasoning included; 1..MaxMaxTokens
	Temperature *float64  // 0..2; nil leaves it to the provider
	Stop        []string  // at most MaxStops texts
	Tools       []Tool    // at most MaxTools
}

// Usage counts tokens. Every provider's figures are brought to this meaning:
// Input excludes CacheRead and CacheWrite (OpenAI and Gemini report cached
// tokens inside the prompt's count, Anthropic outside); Output includes
// Reasoning (Gemini reports thoughts outside); Reasoning is only informative.
// All are >= 0 and at most MaxFigure.
type Usage struct {
	Input, Output, CacheRead, CacheWrite, Reasoning int64
}

// ToolCall is what the model asks for. Nothing in it is trusted: Arguments may
// not even be JSON.
type ToolCall struct{ ID, Name, Arguments string }

// The reasons a reply stopped, the same for every provider.
const (
	StopEnd      = "stop"       // the model was done or met a stop text
	StopLength   = "length"     // MaxTokens or the context window was used up
	StopTools    = "tool_calls" // the model waits for tool results
	StopFiltered = "filtered"   // the provider or the model refused
	StopOther    = "other"      // a reason this version does not know
)

// Response is a model's reply.
type Response struct {
	Text      string
	ToolCalls []ToolCall
	Stop      string // one of the Stop constants; "" if the reply broke off
	Usage     Usage
	// UsageKnown is true if the provider reported figures at the end of the
	// reply. Without it a budget must be settled at what was reserved.
	UsageKnown bool
	RequestID  string // the provider's id of the call, printable, may be empty
	Attempts   int    // 1 = no retry
	// Unsettled counts attempts that broke after the request was sent and
	// before figures came: the provider may charge for each of them.
	Unsettled int
}

// Client completes requests. onText may be nil; it is called with the reply's
// text as it comes, in order, from the calling goroutine. On an error after
// text was handed on, the Response holds what was received.
type Client interface {
	Complete(ctx context.Context, r Request, onText func(string)) (Response, error)
}

// Doer performs HTTP requests; an *http.Client is one.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Endpoint says where a model is reached.
type Endpoint struct {
	Provider string // the name used in errors and prices: "openai", "ollama" …
	BaseURL  string // empty = the provider's public address
	Model    string // used if Request.Model is empty; otherwise both must agree
	// Key gives the API key; it is asked at every attempt. nil means no key.
	Key         func() string
	KeyName     string // the environment variable that holds the key, for errors
	KeyOptional bool   // true for local servers
	// KeyInClear allows the key to travel over http to a host that is not
	// this machine. Without it such a call is refused.
	KeyInClear bool
	// MaxTokensField overrides the OpenAI body's field that bounds the output:
	// "max_tokens" or "max_completion_tokens". Other providers ignore it.
	MaxTokensField string
}
