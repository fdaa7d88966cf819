package stream

import (
	"time"

	"sallyport/internal/llmproxy/wire"
)

// Client is the kind of client, by its user agent.
type Client string

// Reason is why something was refused.
type Reason struct {
	Rule, Because string
	Approval      string
	Rate          bool
	RetryAfter    time.Duration
}

// streamError is the permanent error of an API inside a stream.
func streamError(api wire.API, _ Client, r Reason) []byte {
	text := quote("Blocked by Sallyport (rule " + r.Rule + "): " + r.Because)
	switch api {
	case wire.Messages:
		return []byte("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"permission_error\",\"message\":" + text + "}}\n\n")
	case wire.Responses:
		return []byte("event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"object\":\"response\",\"status\":\"failed\",\"output\":[],\"error\":{\"code\":\"invalid_prompt\",\"message\":" + text + "}}}\n\n")
	case wire.Gemini:
		return []byte("data: {\"error\":{\"code\":400,\"status\":\"INVALID_ARGUMENT\",\"message\":" + text + "}}\n\n")
	default:
		return []byte("data: {\"error\":{\"type\":\"invalid_request_error\",\"code\":\"policy_violation\",\"param\":null,\"message\":" + text + "}}\n\n")
	}
}
