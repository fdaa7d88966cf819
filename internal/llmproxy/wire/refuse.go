package wire

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxLine bounds a notice, in bytes.
const maxLine = 1000

// Reason says why something was not done.
type Reason struct {
	Rule       string        // the rule or policy that decided
	Because    string        // the cause and the remedy, a sentence
	Approval   string        // the id under which a person may still allow it, "" if nobody can
	Rate       bool          // a rate limit: trying later is right
	RetryAfter time.Duration // with Rate; below a second counts as one
	Login      bool          // the caller did not prove who it is
	Again      bool          // nothing speaks against it: Because says to send it again
}

// Line gives the reason as one line that a model and a person can act on. It
// holds no control or formatting characters and at most about 1,000 bytes. For
// NAISYS, which executes text, it is a comment.
func (r Reason) Line(c Client) string {
	var b strings.Builder
	if c == NAISYS {
		b.WriteString("# ")
	}
	b.WriteString("Blocked by Sallyport")
	if rule := oneLine(r.Rule, 200); rule != "" {
		b.WriteString(" (rule " + rule + ")")
	}
	because := strings.TrimRight(oneLine(r.Because, maxLine-400), ".")
	if because == "" {
		because = "it is not allowed"
	}
	b.WriteString(": " + because + ".")
	switch id := oneLine(r.Approval, 100); {
	case id != "":
		b.WriteString(" A person can approve it as " + id + "; then try the same once more.")
	case r.Rate:
		b.WriteString(" Try again in " + strconv.Itoa(r.seconds()) + " s.")
	case !r.Login && !r.Again:
		b.WriteString(" Do not repeat it; choose another way or ask the user.")
	}
	return b.String()
}

func (r Reason) seconds() int {
	return int(max((r.RetryAfter+time.Second-1)/time.Second, 1))
}

// oneLine makes text fit for one line of a terminal and of a protocol.
func oneLine(s string, limit int) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case !unicode.IsPrint(c):
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, ""))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		s = clip(s, limit-3) + "..."
	}
	return s
}

// Answer is a whole HTTP answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Refuse gives the answer before the upstream was called, in the form after
// which the client shows the reason once and neither retries nor gives its key
// up: a rate limit is 429, a missing login 401, all else 403 for Messages and
// 400 for the other forms and for OpenClaw.
func Refuse(api API, c Client, r Reason) Answer {
	status := http.StatusBadRequest
	switch {
	case r.Login:
		status = http.StatusUnauthorized
	case r.Rate:
		status = http.StatusTooManyRequests
	case api == Messages && c != OpenClaw:
		status = http.StatusForbidden
	}
	a := answer(api, status, r.Line(c))
	switch {
	case r.Rate:
		a.Header.Set("Retry-After", strconv.Itoa(r.seconds()))
	case api == Messages || api == Chat || api == Responses:
		a.Header.Set("X-Should-Retry", "false")
	}
	return a
}

// Unavailable gives the answer for an upstream that cannot be used: status is
// 502, 503, 504 or Anthropic's 529; anything else counts as 502. Clients retry
// these, as they would without us.
func Unavailable(api API, c Client, status int, because string) Answer {
	switch status {
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	case 529:
		if api != Messages {
			status = http.StatusServiceUnavailable
		}
	default:
		status = http.StatusBadGateway
	}
	line := oneLine(because, maxLine)
	if c == NAISYS {
		line = "# " + line
	}
	return answer(api, status, line)
}

func answer(api API, status int, line string) Answer {
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	return Answer{status, h, marshal(errorBody(api, status, line))}
}

type (
	openAIError struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	anthropicError struct {
		Type  string         `json:"type"`
		Error anthropicCause `json:"error"`
	}
	anthropicCause struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	geminiError struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Status  string `json:"status"`
	}
	wrapped struct {
		Error any `json:"error"`
	}
)

// errorBody is a form's own error for a status.
func errorBody(api API, status int, line string) any {
	switch api {
	case Messages:
		return anthropicError{"error", anthropicCause{word(anthropicWords, status), line}}
	case Gemini:
		return wrapped{geminiError{status, line, word(geminiWords, status)}}
	default:
		e := openAIError{Message: line, Type: word(openAIWords, status)}
		if code := word(openAICodes, status); code != "" {
			e.Code = &code
		}
		return wrapped{e}
	}
}

func word(words map[int]string, status int) string {
	if w, ok := words[status]; ok {
		return w
	}
	return words[0]
}

var (
	anthropicWords = map[int]string{
		0: "api_error", 400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
		429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
	}
	geminiWords = map[int]string{
		0: "INTERNAL", 400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED",
		502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
	}
	openAIWords = map[int]string{
		0: "server_error", 400: "invalid_request_error", 401: "invalid_request_error", 429: "rate_limit_error",
	}
	openAICodes = map[int]string{
		0: "", 400: "policy_violation", 401: "invalid_api_key", 429: "rate_limit_exceeded",
	}
)

// marshal writes JSON as the forms do: without the escapes for HTML.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// Only our own structs of strings and numbers get here.
		return []byte(`{"error":{"message":"Blocked by Sallyport"}}`)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// StreamError gives whole events that end a stream for good, in the form after
// which the client shows the reason and does not try again. The stream machine
// for Gemini as a JSON array writes ErrorBody instead.
func StreamError(api API, c Client, r Reason) []byte {
	line := r.Line(c)
	switch api {
	case Messages:
		kind := "permission_error"
		if r.Rate {
			kind = "rate_limit_error"
		}
		return event("error", anthropicError{"error", anthropicCause{kind, line}})
	case Responses:
		return event("response.failed", failed(r, line))
	case Gemini:
		return event("", errorBody(api, streamStatus(r), line))
	default:
		return append(event("", errorBody(api, streamStatus(r), line)), "data: [DONE]\n\n"...)
	}
}

// ErrorBody is the JSON of StreamError's event, for a stream that is a JSON
// array.
func ErrorBody(api API, c Client, r Reason) []byte {
	return marshal(errorBody(api, streamStatus(r), r.Line(c)))
}

func streamStatus(r Reason) int {
	if r.Rate {
		return http.StatusTooManyRequests
	}
	return http.StatusBadRequest
}

type failedResponse struct {
	Type     string `json:"type"`
	Sequence int    `json:"sequence_number"`
	Response struct {
		ID     string         `json:"id"`
		Object string         `json:"object"`
		Status string         `json:"status"`
		Output []struct{}     `json:"output"`
		Error  responsesCause `json:"error"`
	} `json:"response"`
}

type responsesCause struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func failed(r Reason, line string) failedResponse {
	var f failedResponse
	// Clients do not check the number; it must only not go back.
	f.Type, f.Sequence = "response.failed", 1<<30
	f.Response.ID, f.Response.Object, f.Response.Status = "resp_sallyport", "response", "failed"
	f.Response.Output = []struct{}{}
	f.Response.Error = responsesCause{"invalid_prompt", line}
	if r.Rate {
		f.Response.Error.Code = "rate_limit_exceeded"
	}
	return f
}

func event(name string, v any) []byte {
	var b bytes.Buffer
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	b.WriteString("data: ")
	b.Write(marshal(v))
	b.WriteString("\n\n")
	return b.Bytes()
}

// KeepAlive gives an event that says nothing: it keeps a connection alive while
// a call is held.
func KeepAlive(api API) []byte {
	if api == Messages {
		return []byte("event: ping\ndata: {\"type\":\"ping\"}\n\n")
	}
	return []byte(": keep-alive\n\n")
}
