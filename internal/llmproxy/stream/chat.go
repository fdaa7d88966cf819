package stream

import (
	"sallyport/internal/llmproxy/wire"
)

// chat is the form of OpenAI's Chat Completions and of the many servers that
// follow it: chunks with choices, each with a delta. Nothing marks a call's end
// but the choice's finish reason or the end mark.
type chat struct {
	*Machine
	choices  map[int64]*choice
	marked   bool // "[DONE]" was seen
	failed   bool // the server reported an error
	heldText int  // held events that carry text
}

// choice is one of the replies that were asked for.
type choice struct {
	slots    map[int64]*call // by the server's index, the newest
	calls    []*call         // in order
	finished bool
	text     bool // text was handed on
	released int
	replaced int
}

// maxChoices bounds the choices of a reply; servers allow 128.
const maxChoices = 128

// Slots of what has no index of its own.
const (
	slotFunction = -1 // the older function_call
	slotText     = -2 // the text, if the client executes it
)

// deltaTexts are the members of a delta that hold text.
var deltaTexts = [...]string{"content", "refusal", "reasoning_content", "reasoning"}

func (s *chat) read(e *event) error {
	if s.isEnd(e) {
		s.marked, s.ended = true, true
		return s.finishAll()
	}
	d := &s.doc
	if d.tape[0].kind != object {
		return refuse("event", "a chunk of the reply is no object")
	}
	if s.sum.ID == "" {
		s.sum.ID, s.sum.Model = d.str(d.get(0, "id")), d.str(d.get(0, "model"))
	}
	if u := d.get(0, "usage"); !d.null(u) {
		e.look = true
		s.usage(u)
	}
	if !d.empty(d.get(0, "error")) {
		s.ended, s.failed = true, true
		s.drop()
		return s.sayAll(d.get(0, "error"))
	}
	list := d.get(0, "choices")
	if list == 0 {
		if d.hidesCall(0) {
			return refuse("hidden-call", "a chunk of a form that is not known carries a tool call")
		}
		return s.sayAll(0)
	}
	before, ahead := s.sum.TextBytes, s.heldText == 0
	e.ahead = true
	err := d.each(list, func(i int) error { return s.choice(e, i) })
	e.ahead = e.ahead && ahead && s.sum.TextBytes > before
	// Text must not overtake text that is held together with a call.
	if e.text = s.sum.TextBytes > before && !e.ready(); e.text {
		s.heldText++
	}
	return err
}

func (s *chat) usage(u int) {
	d := &s.doc
	v := wire.Usage{Known: true}
	v.CacheRead = s.count(d.at(u, "prompt_tokens_details", "cached_tokens"))
	v.Input = s.count(d.get(u, "prompt_tokens")) - v.CacheRead
	v.Output = s.count(d.get(u, "completion_tokens"))
	v.Reasoning = s.count(d.at(u, "completion_tokens_details", "reasoning_tokens"))
	s.figures(v)
}

// drop forgets the calls that will never be whole.
func (s *chat) drop() {
	for _, c := range s.choices {
		for _, call := range c.calls {
			if call.state == open {
				call.state = dropped
			}
		}
	}
}

// of gives the choice that an element of choices belongs to.
func (s *chat) of(i int) (*choice, error) {
	d := &s.doc
	var index int64
	if n := d.get(i, "index"); n != 0 {
		var ok bool
		if index, ok = d.integer(n); !ok || index < 0 {
			return nil, refuse("event", "a choice of the reply has no index")
		}
	}
	c := s.choices[index]
	if c == nil {
		if len(s.choices) >= maxChoices {
			return nil, refuse("event", "the reply has more than %d choices", maxChoices)
		}
		if s.choices == nil {
			s.choices = map[int64]*choice{}
		}
		c = &choice{}
		s.choices[index] = c
	}
	return c, nil
}

func (s *chat) choice(e *event, i int) error {
	d := &s.doc
	if d.tape[i].kind != object {
		return refuse("event", "a choice of the reply is no object")
	}
	c, err := s.of(i)
	if err != nil {
		return err
	}
	if delta := d.get(i, "delta"); delta != 0 && d.tape[delta].kind == object {
		if err := s.delta(e, c, delta); err != nil {
			return err
		}
	}
	if t := d.get(i, "text"); t != 0 { // the older completions
		if s.o.TextIsCall {
			return refuse("event", "a choice of the reply has text beside its delta")
		}
		if err := s.say(d.str(t)); err != nil {
			return err
		}
	}
	if msg := d.get(i, "message"); !d.null(msg) {
		return refuse("event", "a streamed choice has a whole message")
	}
	if f := d.get(i, "finish_reason"); !d.null(f) {
		e.ahead, e.look = false, true
		s.sum.Stop = d.str(f)
		return s.finish(c)
	}
	return nil
}

func (s *chat) delta(e *event, c *choice, delta int) error {
	d := &s.doc
	if err := s.texts(e, c, delta); err != nil {
		return err
	}
	if list := d.get(delta, "tool_calls"); !d.empty(list) {
		d.taken(list)
		if d.tape[list].kind != array {
			return refuse("event", "the tool calls of the reply are no list")
		}
		position := int64(-1)
		err := d.each(list, func(i int) error {
			position++
			return s.entry(e, c, i, position)
		})
		if err != nil {
			return err
		}
	}
	f := d.get(delta, "function_call")
	if d.empty(f) {
		return nil
	}
	d.taken(f)
	call := c.slots[slotFunction]
	if call == nil {
		var err error
		if call, err = s.add(c, slotFunction, "function", ""); err != nil {
			return err
		}
	}
	e.calls = append(e.calls, call)
	return s.fill(call, f, "arguments")
}

// texts takes the texts of a delta.
func (s *chat) texts(e *event, c *choice, delta int) error {
	d := &s.doc
	for _, name := range deltaTexts {
		t := d.get(delta, name)
		if d.empty(t) {
			continue
		}
		if s.o.TextIsCall && executed(name) {
			if err := s.textCall(e, c, t); err != nil {
				return err
			}
		} else if name == "content" {
			c.text = true
		}
		if err := s.sayAll(t); err != nil {
			return err
		}
	}
	for _, name := range [...]string{"reasoning_details", "audio"} {
		if t := d.get(delta, name); !d.null(t) {
			if err := s.sayAll(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// executed tells which texts a client that executes text would execute.
func executed(name string) bool { return name == "content" || name == "refusal" }

// textCall adds text that the client would execute.
func (s *chat) textCall(e *event, c *choice, t int) error {
	d := &s.doc
	if d.tape[t].kind != str {
		return refuse("event", "the text of the reply is no string")
	}
	call := c.slots[slotText]
	if call == nil {
		var err error
		if call, err = s.add(c, slotText, "text", ""); err != nil {
			return err
		}
	}
	e.calls = append(e.calls, call)
	call.args = append(call.args, d.inner(t)...)
	return s.hold(len(d.inner(t)))
}

// add makes a call of a choice.
func (s *chat) add(c *choice, slot int64, typ, id string) (*call, error) {
	if c.slots == nil {
		c.slots = map[int64]*call{}
	}
	n, err := s.newCall(typ, id, "")
	if err != nil {
		return nil, err
	}
	c.slots[slot] = n
	c.calls = append(c.calls, n)
	c.finished = false
	return n, nil
}

// entry takes one element of tool_calls. A new id at a known index is a new
// call, since some servers give every call the same index; the client sees
// indexes of our own, so that it cannot understand it otherwise.
func (s *chat) entry(e *event, c *choice, i int, position int64) error {
	d := &s.doc
	if d.tape[i].kind != object {
		return refuse("event", "a tool call of the reply is no object")
	}
	slot := position
	if n := d.get(i, "index"); !d.null(n) {
		var ok bool
		if slot, ok = d.integer(n); !ok || slot < 0 {
			return refuse("event", "the index of a tool call is no whole number")
		}
	}
	id := d.str(d.get(i, "id"))
	fn, custom := d.get(i, "function"), d.get(i, "custom")
	if !d.null(fn) && !d.null(custom) {
		return refuse("event", "a tool call of the reply is of two types")
	}
	call := c.slots[slot]
	if call == nil || call.state != open || id != "" && call.ID != "" && id != call.ID {
		typ := "function"
		if !d.null(custom) {
			typ = "custom"
		}
		var err error
		if call, err = s.add(c, slot, typ, id); err != nil {
			return err
		}
	}
	if call.ID == "" {
		call.ID = id
	}
	e.calls = append(e.calls, call)
	switch {
	case !d.null(custom) && call.Type == "custom":
		return s.fill(call, custom, "input")
	case !d.null(fn) && call.Type == "function":
		return s.fill(call, fn, "arguments")
	case d.null(fn) && d.null(custom):
		return nil
	}
	return refuse("event", "a tool call of the reply is of two types")
}

// fill adds what a piece says about a call.
func (s *chat) fill(c *call, obj int, field string) error {
	d := &s.doc
	if name := d.str(d.get(obj, "name")); name != "" {
		if c.Name != "" && c.Name != name {
			return refuse("call-copies", "a tool call has two names")
		}
		c.Name = name
	}
	a := d.get(obj, field)
	if !d.null(a) && d.tape[a].kind != str {
		return refuse("event", "the arguments of a tool call are no string")
	}
	c.args = append(c.args, d.inner(a)...)
	return s.hold(len(d.inner(a)))
}

// finish has the calls of a choice decided.
func (s *chat) finish(c *choice) error {
	c.finished = true
	for _, call := range c.calls {
		if call.state != open {
			continue
		}
		args, err := call.arguments()
		if err != nil {
			return err
		}
		call.Arguments, call.args = args, nil
		if err := s.judge(call); err != nil {
			return err
		}
		call.Arguments = ""
		switch {
		case call.Type == "text":
		case call.state == replaced:
			c.replaced++
		default:
			call.out = c.released
			c.released++
		}
	}
	c.calls, c.slots = nil, nil
	return nil
}

func (s *chat) finishAll() error {
	for n := range int64(maxChoices) {
		if c := s.choices[n]; c != nil {
			if err := s.finish(c); err != nil {
				return err
			}
		}
	}
	for _, c := range s.choices {
		if len(c.calls) > 0 {
			return refuse("event", "a choice of the reply has an index beyond %d", maxChoices)
		}
	}
	return nil
}

func (s *chat) end() (bool, error) {
	for _, c := range s.choices {
		if !c.finished {
			return false, nil
		}
	}
	return !s.failed && (s.marked || len(s.choices) > 0), nil
}
