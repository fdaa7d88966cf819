package stream

import (
	"strings"

	"sallyport/internal/llmproxy/wire"
)

// gemini is Google's form: chunks with candidates, whose parts are whole. A
// functionCall part is never cut.
type gemini struct {
	*Machine
	candidates map[int64]*candidate
	failed     bool
	stopped    bool
}

// candidate is one of the replies that were asked for.
type candidate struct {
	text     *call // what the client would execute, until it is whole
	finished bool
}

// partKinds gives the members of a part that are no call of the client's.
var partKinds = map[string]bool{
	"text": true, "thought": true, "thoughtSignature": true, "inlineData": true, "fileData": true,
	"functionResponse": true, "codeExecutionResult": true, "videoMetadata": true, "partMetadata": true,
	"mediaResolution": true, "toolResponse": true, "executableCode": true, "toolCall": true, "functionCall": true,
}

func (s *gemini) read(e *event) error {
	d := &s.doc
	if d.tape[0].kind != object {
		return refuse("event", "a chunk of the reply is no object")
	}
	if id := d.get(0, "responseId"); id != 0 {
		s.sum.ID = d.str(id)
	}
	if v := d.get(0, "modelVersion"); v != 0 {
		s.sum.Model = d.str(v)
	}
	if err := d.get(0, "error"); !d.empty(err) {
		s.ended, s.failed = true, true
		s.drop()
		return s.sayAll(err)
	}
	list := d.get(0, "candidates")
	if list == 0 && d.hidesCall(0) {
		return refuse("hidden-call", "a chunk of a form that is not known carries a tool call")
	}
	if list != 0 {
		if err := d.each(list, func(i int) error { return s.candidate(e, i) }); err != nil {
			return err
		}
	}
	if b := d.at(0, "promptFeedback", "blockReason"); !d.null(b) {
		s.stopped, s.sum.Stop = true, d.str(b)
	}
	s.usage(d.get(0, "usageMetadata"))
	return nil
}

// usage takes figures that each chunk repeats: the last ones count.
func (s *gemini) usage(u int) {
	d := &s.doc
	if d.null(u) {
		return
	}
	v := wire.Usage{Known: s.stopped}
	v.CacheRead = s.count(d.get(u, "cachedContentTokenCount"))
	v.Input = s.count(d.get(u, "promptTokenCount")) + s.count(d.get(u, "toolUsePromptTokenCount")) - v.CacheRead
	v.Reasoning = s.count(d.get(u, "thoughtsTokenCount"))
	v.Output = s.count(d.get(u, "candidatesTokenCount")) + v.Reasoning
	s.figures(v)
}

// of gives the candidate that an element of candidates is.
func (s *gemini) of(i int) (*candidate, error) {
	d := &s.doc
	var index int64
	if n := d.get(i, "index"); n != 0 {
		var ok bool
		if index, ok = d.integer(n); !ok || index < 0 {
			return nil, refuse("event", "a candidate of the reply has no index")
		}
	}
	c := s.candidates[index]
	if c == nil {
		if len(s.candidates) >= maxChoices {
			return nil, refuse("event", "the reply has more than %d candidates", maxChoices)
		}
		if s.candidates == nil {
			s.candidates = map[int64]*candidate{}
		}
		c = &candidate{}
		s.candidates[index] = c
	}
	return c, nil
}

func (s *gemini) candidate(e *event, i int) error {
	d := &s.doc
	if d.tape[i].kind != object {
		return refuse("event", "a candidate of the reply is no object")
	}
	c, err := s.of(i)
	if err != nil {
		return err
	}
	if parts := d.at(i, "content", "parts"); parts != 0 {
		if err := d.each(parts, func(p int) error { return s.part(e, c, p) }); err != nil {
			return err
		}
	}
	if f := d.get(i, "finishReason"); !d.null(f) {
		c.finished, s.stopped = true, true
		s.sum.Stop = d.str(f)
		return s.finish(c)
	}
	return nil
}

// finish has the text of a candidate decided, if it is a call.
func (s *gemini) finish(c *candidate) error {
	t := c.text
	if t == nil {
		return nil
	}
	c.text = nil
	args, err := t.arguments()
	if err != nil {
		return err
	}
	t.Arguments, t.args = args, nil
	return s.judge(t)
}

func (s *gemini) part(e *event, c *candidate, p int) error {
	d := &s.doc
	if d.tape[p].kind != object {
		return refuse("event", "a part of the reply is no object")
	}
	if t := d.get(p, "text"); !d.empty(t) {
		if s.o.TextIsCall && !d.isTrue(d.get(p, "thought")) {
			if err := s.textCall(e, c, t); err != nil {
				return err
			}
		}
		if err := s.speak(t); err != nil {
			return err
		}
	}
	unknown := 0
	_ = d.each(p, func(i int) error {
		if !partKinds[d.key(i)] {
			unknown = i
		}
		return nil
	})
	switch fc, code, tool := d.get(p, "functionCall"), d.get(p, "executableCode"), d.get(p, "toolCall"); {
	case !d.null(fc):
		d.taken(fc)
		return s.call(e, p, "function", fc, d.get(fc, "args"))
	case !d.null(code):
		return s.call(e, p, "server", code, code)
	case !d.null(tool):
		d.taken(tool)
		return s.call(e, p, "server", tool, d.get(tool, "args"))
	case unknown != 0 && (d.hidesCall(p) || strings.HasSuffix(strings.ToLower(d.key(unknown)), "call")):
		d.taken(unknown)
		return s.call(e, p, "function", unknown, unknown)
	case unknown != 0:
		return s.sayAll(unknown)
	}
	return nil
}

// call has a part that is a call decided: it is whole.
func (s *gemini) call(e *event, p int, typ string, obj, args int) error {
	d := &s.doc
	if !d.empty(d.get(p, "text")) {
		return refuse("event", "a part of the reply is text and a tool call")
	}
	if !d.empty(d.get(obj, "partialArgs")) || d.isTrue(d.get(obj, "willContinue")) {
		return refuse("event", "a function call comes in parts; ask the model without streamed function call arguments")
	}
	c, err := s.newCall(typ, d.str(d.get(obj, "id")), d.str(d.get(obj, "name")))
	if err != nil {
		return err
	}
	switch k := d.key(obj); {
	case c.Name != "" || k == "functionCall":
	case k == "executableCode":
		c.Name = "code_execution"
	default:
		c.Name = k
	}
	switch {
	case args == 0:
	case d.tape[args].kind == str:
		c.Arguments = d.str(args)
	default:
		c.Arguments = string(d.raw(args))
	}
	e.calls = append(e.calls, c)
	err = s.judge(c)
	c.Arguments = ""
	return err
}

// textCall adds text that the client would execute.
func (s *gemini) textCall(e *event, c *candidate, t int) error {
	d := &s.doc
	if c.text == nil {
		n, err := s.newCall("text", "", "")
		if err != nil {
			return err
		}
		c.text = n
	}
	e.calls = append(e.calls, c.text)
	c.text.args = append(c.text.args, d.inner(t)...)
	return s.hold(len(d.inner(t)))
}

func (s *gemini) drop() {
	for _, c := range s.candidates {
		if c.text != nil {
			c.text.state = dropped
		}
		c.text = nil
	}
}

func (s *gemini) end() (bool, error) {
	for _, c := range s.candidates {
		if c.text != nil || !c.finished {
			return false, nil
		}
	}
	return !s.failed && s.stopped, nil
}

func (s *gemini) pass(e *event) error {
	s.at.Text = s.sum.TextBytes > 0
	if len(e.calls) == 0 {
		s.put(e.raw)
		return nil
	}
	d := &s.doc
	k := 0
	_ = d.each(d.get(0, "candidates"), func(i int) error {
		if parts := d.at(i, "content", "parts"); parts != 0 {
			return d.each(parts, func(p int) error {
				s.rewrite(e, p, &k)
				return nil
			})
		}
		return nil
	})
	s.edited(e)
	return nil
}

// rewrite puts a text part where a call is replaced.
func (s *gemini) rewrite(e *event, p int, k *int) {
	if *k >= len(e.calls) || !s.isCall(p) {
		return
	}
	c := e.calls[*k]
	if *k++; c.state == released {
		return
	}
	text := ""
	if c.state == replaced && !c.told {
		c.told, text = true, c.notice
	}
	s.value(p, `{"text":`+quote(text)+`}`)
}

// isCall tells whether read made a call of a part.
func (s *gemini) isCall(p int) bool {
	d := &s.doc
	if t := d.get(p, "text"); !d.empty(t) {
		return s.o.TextIsCall && !d.isTrue(d.get(p, "thought"))
	}
	known := true
	call := false
	_ = d.each(p, func(i int) error {
		k := d.key(i)
		known = known && partKinds[k]
		call = call || !d.null(i) && (k == "functionCall" || k == "executableCode" || k == "toolCall" || !partKinds[k] && strings.HasSuffix(strings.ToLower(k), "call"))
		return nil
	})
	return call || !known && d.hidesCall(p)
}
