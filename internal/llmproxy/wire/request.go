package wire

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// SegmentKind is what a part of a request is for.
type SegmentKind uint8

// The kinds of segments.
const (
	Head  SegmentKind = iota // the system prompt, the instructions
	Tools                    // the tool definitions at the top of the request
	Item                     // one message, input item or content
	Other                    // what else leaves with the call: formats, predictions, metadata
)

// Segment is a part of a request that can be judged by its own bytes, so that
// a history that grows is judged once. Segments stand in document order and do
// not overlap; Request.Model, Stream and the figures are in none of them.
type Segment struct {
	Span Span
	Kind SegmentKind
}

// Text is one string that a model would read.
type Text struct {
	Span    Span   // the JSON string with its quotes
	Role    string // system, user, assistant, tool (a result), tools (a definition) or form (a name or an id)
	CallID  string // of a tool result, else ""
	Segment int    // in Request.Segments; -1 in a reply and for what stands in none
}

// Result is a tool's result in a request.
type Result struct {
	CallID string // the id of the call it answers; "" where the form has none
	Name   string // the tool; "" when neither the result nor a call of the history tells
}

// Tool is the definition of a tool, wherever in a request it stands. A tool in
// a namespace carries it in its name, as calls of it do.
type Tool struct {
	Name string
	Span Span
}

// Request is a view of one request; its spans are in the body it was read
// from.
type Request struct {
	Route        Route
	Model        string
	Stream       bool
	MaxOutput    int64 // tokens that one reply may have; -1 = not said
	Choices      int64 // replies asked for, >= 1
	IncludeUsage bool  // Chat: the client asked for usage in the stream
	Segments     []Segment
	Texts        []Text // in document order
	Results      []Result
	Calls        []Call // of the history, in document order, without Arguments: see Argument
	Tools        []Tool
	PreviousID   string // previous_response_id or the conversation's id: history that is not in the body
	Cached       string // Gemini's cachedContent: history that is not in the body
	Background   bool   // Responses: the reply is fetched later
	Store        bool   // the server is to keep the reply

	args  []Span // of Calls
	given []int  // calls with arguments, by where these begin
	usage edit   // what WithUsage does
}

// ParseRequest reads a request of a known route. An error is of kind
// fault.Usage and says what two readers could understand differently, or which
// field that decides is of the wrong kind. The work is linear in the body. A
// body may be empty where the route needs none.
func ParseRequest(r Route, body []byte) (*Request, error) {
	q := &Request{Route: r, Model: r.Model, Stream: r.Stream, MaxOutput: -1, Choices: 1}
	if (r.Op == List || r.Op == Retrieve) && len(bytes.TrimSpace(body)) == 0 {
		return q, nil
	}
	d, err := openObject(body)
	if err != nil {
		return nil, err
	}
	defer d.free()
	q.Texts = make([]Text, 0, len(d.nodes)/8+4)
	p := &reader{d: d, q: q}
	switch {
	case r.Op == List || r.Op == Retrieve:
		for k := range d.members(0) {
			p.other(k)
		}
	case r.Op == Embed:
		err = p.embed()
	case r.API == Chat:
		err = p.chat()
	case r.API == Responses:
		err = p.responses()
	case r.API == Messages:
		err = p.messages()
	case r.API == Gemini:
		err = p.gemini(0)
	default:
		err = refused("its form is unknown")
	}
	if err != nil {
		return nil, err
	}
	if r.Op != List && r.Op != Retrieve && !goodModel(q.Model) {
		return nil, refused("the model is not a name of 1 to 256 printable characters")
	}
	q.name()
	q.place()
	return q, nil
}

// What one element of a view takes, with what is kept beside it to judge it.
const (
	textWeight    = 64
	segmentWeight = 192
	callWeight    = 128
)

// Weight is about how many bytes of memory the view takes besides the body: of
// one that consists of short strings it is many times as many.
func (q *Request) Weight() int64 {
	return textWeight*int64(len(q.Texts)) + segmentWeight*int64(len(q.Segments)) + callWeight*int64(len(q.Calls)+len(q.Results)+len(q.Tools))
}

// Weight is that of a request, for a reply.
func (r *Reply) Weight() int64 {
	return textWeight*int64(len(r.Texts)) + callWeight*int64(len(r.Calls))
}

// place orders the calls by where their arguments stand.
func (q *Request) place() {
	for i, s := range q.args {
		if s.End > s.Start {
			q.given = append(q.given, i)
		}
	}
	slices.SortStableFunc(q.given, func(a, b int) int { return q.args[a].Start - q.args[b].Start })
}

// Given finds the call of the history in whose arguments text i stands. Of a
// call of an unknown kind, whose arguments are the whole item, no text is said
// to stand in them: what it says and what it was given are not told apart.
func (q *Request) Given(i int) (call int, ok bool) {
	t := q.Texts[i]
	at, exact := slices.BinarySearchFunc(q.given, t.Span.Start, func(c, start int) int { return q.args[c].Start - start })
	if !exact {
		at--
	}
	if at < 0 || t.Span.End > q.args[q.given[at]].End {
		return 0, false
	}
	call = q.given[at]
	whole := t.Segment >= 0 && q.Segments[t.Segment].Span == q.args[call]
	return call, !whole
}

func goodModel(s string) bool {
	return s != "" && len(s) <= 256 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// name completes the results that name no tool from the calls they answer,
// which mostly stand in the same order.
func (q *Request) name() {
	const near = 8
	var names map[string]string
	at := 0
	for i := range q.Results {
		r := &q.Results[i]
		if r.Name != "" || r.CallID == "" {
			continue
		}
		end := min(at+near, len(q.Calls))
		if j := slices.IndexFunc(q.Calls[at:end], func(c Call) bool { return c.ID == r.CallID }); j >= 0 {
			at += j
			r.Name = q.Calls[at].Name
			continue
		}
		if names == nil {
			names = make(map[string]string, len(q.Calls))
			for _, c := range q.Calls {
				names[c.ID] = c.Name
			}
		}
		r.Name = names[r.CallID]
	}
}

// Text appends what text i means to buf[:0]; it stays valid while buf does.
func (q *Request) Text(body []byte, i int, buf []byte) []byte {
	return textOf(body, q.Texts[i].Span, buf)
}

func textOf(body []byte, s Span, buf []byte) []byte {
	return unescape(buf[:0], body[s.Start+1:s.End-1])
}

// Argument is what call i of the history was given, as Call.Arguments would
// say it.
func (q *Request) Argument(body []byte, i int) string {
	s := q.args[i].Of(body)
	if len(s) > 0 && s[0] == '"' {
		return string(unescape(nil, s[1:len(s)-1]))
	}
	return string(s)
}

// Last is the newest text of a user or a tool, cut to at most limit bytes at a
// character's border: what a call is about, for evidence.
func (q *Request) Last(body []byte, limit int) string {
	for i, t := range slices.Backward(q.Texts) {
		if t.Role == roleUser || t.Role == roleTool {
			return clip(string(q.Text(body, i, nil)), limit)
		}
	}
	return ""
}

// clip cuts valid UTF-8 to at most limit bytes.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	limit = max(limit, 0)
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// WithUsage gives the body with stream_options.include_usage set, every other
// byte as it was: without it a Chat stream does not say what it used. Bodies of
// other forms, and those that ask for it themselves, come back as they are.
func WithUsage(body []byte, q *Request) []byte {
	if q.usage.text == "" {
		return body
	}
	return apply(body, []edit{q.usage})
}

// edit puts text in the place of a part of a body.
type edit struct {
	span Span
	text string
}

// apply performs edits that are in order and do not overlap.
func apply(body []byte, edits []edit) []byte {
	size := len(body)
	for _, e := range edits {
		size += len(e.text)
	}
	out := make([]byte, 0, size)
	at := 0
	for _, e := range edits {
		out = append(append(out, body[at:e.span.Start]...), e.text...)
		at = e.span.End
	}
	return append(out, body[at:]...)
}
