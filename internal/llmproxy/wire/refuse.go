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
// 400 for the other forms, for OpenClaw and for NAISYS.
func Refuse(api API, c Client, r Reason) Answer {
	status := http.StatusBadRequest
	switch {
	case r.Login:
		status = http.StatusUnauthorized
	case r.Rate:
		status = http.StatusTooManyRequests
	case api == Messages && c != OpenClaw && c != NAISYS:
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

// Place is where a stream is that has to end. The zero value is its beginning.
type Place struct {
	Begun bool   // Messages: the message was begun
	Done  bool   // Messages: a block of its content was ended
	Open  bool   // Messages: Block is one of text that was not
	Block int64  // Messages: the index of that block, or of the next one
	Text  bool   // Gemini: text came before; Messages: in the open block
	ID    string // Responses: the id of the response that was begun, "" if none was
	Next  int64  // Responses: the number that the next event has
	Cut   bool   // the server broke off in its reply; nobody decided against it
}

// StreamError gives whole events that end a stream for good, in the form after
// which the client shows the reason and does not try again. The stream machine
// for Gemini as a JSON array writes ErrorBody instead.
func StreamError(api API, c Client, r Reason, at Place) []byte {
	line := r.Line(c)
	switch api {
	case Messages:
		kind := "permission_error"
		if r.Rate {
			kind = "rate_limit_error"
		}
		return append(messageEnd(at), event("error", anthropicError{"error", anthropicCause{kind, line}})...)
	case Responses:
		return failed(r, line, at)
	case Gemini:
		return event("", geminiEnd(r, line, at))
	default:
		return append(event("", errorBody(api, streamStatus(r), line)), "data: [DONE]\n\n"...)
	}
}

// ErrorBody is the JSON of StreamError's event for Gemini, for a stream that is
// a JSON array.
func ErrorBody(c Client, r Reason, at Place) []byte {
	return marshal(geminiEnd(r, r.Line(c), at))
}

type (
	geminiChunk struct {
		Candidates []geminiCandidate `json:"candidates"`
	}
	geminiCandidate struct {
		Index   int           `json:"index"`
		Content geminiContent `json:"content"`
		Finish  string        `json:"finishReason"`
	}
	geminiContent struct {
		Role  string     `json:"role"`
		Parts []partItem `json:"parts"`
	}
)

// geminiEnd is the last chunk of a stream. Gemini CLI takes an error there for
// one more reason to ask, four times, and never shows it; the line as the text
// of a candidate that may not go on is shown once. A reply that was cut is an
// error, as it is without us: nothing may take it for whole.
func geminiEnd(r Reason, line string, at Place) any {
	if at.Cut {
		return errorBody(Gemini, streamStatus(r), line)
	}
	if at.Text {
		line = "\n" + line
	}
	return geminiChunk{[]geminiCandidate{{0, geminiContent{"model", []partItem{{line}}}, "PROHIBITED_CONTENT"}}}
}

func streamStatus(r Reason) int {
	if r.Rate {
		return http.StatusTooManyRequests
	}
	return http.StatusBadRequest
}

// messageEnd is what has to come before an error. Claude Code asks once more,
// without a stream, if it was not given a whole block before; and blocks without
// text are refused when it sends them back. For a reply that was cut it is right
// to ask again.
func messageEnd(at Place) []byte {
	if at.Done || at.Cut {
		return nil
	}
	var b []byte
	write := func(name, data string) {
		b = append(b, event(name, json.RawMessage(`{"type":"`+name+`",`+data+"}"))...)
	}
	index := `"index":` + strconv.FormatInt(at.Block, 10)
	if !at.Begun {
		write("message_start", `"message":{"id":"msg_sallyport","type":"message","role":"assistant","model":"sallyport",`+
			`"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}`)
	}
	if !at.Open {
		write("content_block_start", index+`,"content_block":{"type":"text","text":""}`)
	}
	if !at.Open || !at.Text {
		write("content_block_delta", index+`,"delta":{"type":"text_delta","text":"[blocked]"}`)
	}
	write("content_block_stop", index)
	return b
}

type responseEvent struct {
	Type     string       `json:"type"`
	Sequence int64        `json:"sequence_number"`
	Response responseView `json:"response"`
}

type responseView struct {
	ID     string          `json:"id"`
	Object string          `json:"object"`
	Status string          `json:"status"`
	Output []struct{}      `json:"output"`
	Error  *responsesCause `json:"error"`
}

type responsesCause struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// failed ends a response. The OpenAI SDK wants every stream to begin with a
// response, and to end with the same.
func failed(r Reason, line string, at Place) []byte {
	write := func(typ, status string, cause *responsesCause) []byte {
		b := event(typ, responseEvent{typ, at.Next, responseView{at.ID, "response", status, []struct{}{}, cause}})
		at.Next++
		return b
	}
	var begin []byte
	if at.ID == "" {
		at.ID = "resp_sallyport"
		begin = write("response.created", "in_progress", nil)
	}
	code := "invalid_prompt"
	if r.Rate {
		code = "rate_limit_exceeded"
	}
	return append(begin, write("response.failed", "failed", &responsesCause{code, line})...)
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

// KeepAlive gives what says nothing between two events: it keeps a connection
// alive while a call is held. A comment would end the streams of Gemini's Go SDK;
// empty lines may also stand between the elements of a JSON array.
func KeepAlive(api API) []byte {
	switch api {
	case Messages:
		return []byte("event: ping\ndata: {\"type\":\"ping\"}\n\n")
	case Gemini:
		return []byte("\n\n")
	default:
		return []byte(": keep-alive\n\n")
	}
}
