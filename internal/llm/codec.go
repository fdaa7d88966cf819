package llm

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Codec is what one provider's API form adds to the shared machinery. A codec
// has no state.
type Codec interface {
	// Encode gives the call for a valid request. The path is appended to the
	// base URL, the key goes into the returned headers and nowhere else.
	Encode(ep Endpoint, r Request, stream bool, key string) (Call, error)
	// Decoder makes a decoder for one reply.
	Decoder() Decoder
	// Problem reads an error body; it returns a zero Problem if it cannot.
	Problem(body []byte) Problem
	// DefaultBase is the provider's public base URL.
	DefaultBase() string
	// RequestIDHeaders are looked up in this order.
	RequestIDHeaders() []string
}

// Call is an encoded request.
type Call struct {
	Path   string            // with query, appended to the base URL
	Header map[string]string // beyond content type and accept
	Body   []byte
}

// Decoder reads one reply, streamed or whole.
type Decoder interface {
	// Event reads one event; done ends the reply.
	Event(name string, data []byte, b *Builder) (done bool, err error)
	// Plain reads a whole body.
	Plain(body []byte, b *Builder) error
	// End is called when a stream ends without done; nil accepts the reply.
	End(b *Builder) error
}

// Problem is an error a provider reported. Everything in it is untrusted.
type Problem struct {
	Type, Code, Message string
	Retry               bool // the provider says that trying again may help
	Quota               bool // money or quota is used up: trying again does not help
}

// Empty reports that no error was found.
func (p Problem) Empty() bool { return p.Type == "" && p.Code == "" && p.Message == "" }

// StreamError is returned by a Decoder for an error event inside a reply.
type StreamError struct{ Problem Problem }

// Error gives the problem's type only; the message is added, scrubbed, by the
// shared machinery.
func (e *StreamError) Error() string { return "the provider reported an error inside the reply" }

// Unmarshal decodes a JSON document of a provider into v. Unknown fields are
// ignored. Invalid UTF-8 is an error: encoding/json would replace it silently.
func Unmarshal(data []byte, v any) error {
	if !utf8.Valid(data) {
		return fmt.Errorf("the reply is not valid UTF-8")
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("the reply is not the JSON that was expected (%d bytes): %s", len(data), jsonCause(err))
	}
	return nil
}

// jsonCause says where JSON went wrong without repeating the document.
func jsonCause(err error) string {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("syntax error at byte %d", e.Offset)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("wrong type at byte %d", e.Offset)
	}
	return "wrong value"
}
