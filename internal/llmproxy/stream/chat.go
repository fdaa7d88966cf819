package stream

import (
	"strconv"
	"strings"

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
	if s.Machine.done(e) {
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
	e.ahead = s.heldText == 0
	before := s.sum.TextBytes
	err := d.each(list, func(i int) error { return s.choice(e, i) })
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
	for _, name := range deltaTexts {
		t := d.get(delta, name)
		if d.empty(t) {
			continue
		}
		if s.o.TextIsCall && name != "reasoning_content" && name != "reasoning" {
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
	if list := d.get(delta, "tool_calls"); !d.empty(list) {
		d.taken(list)
		if d.tape[list].kind != array {
			return refuse("event", "the tool calls of the reply are no list")
		}
		position := int64(0)
		err := d.each(list, func(i int) error {
			position++
			return s.entry(e, c, i, position-1)
		})
		if err != nil {
			return err
		}
	}
	if f := d.get(delta, "function_call"); !d.empty(f) {
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
	return nil
}

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
		case call.state == replaced:
			c.replaced++
		case call.Type != "text":
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

func (s *chat) pass(e *event) error {
	if e.text {
		e.text = false
		s.heldText--
	}
	if s.Machine.done(e) {
		s.put(e.raw)
		return nil
	}
	if len(e.calls) == 0 && !e.look {
		s.put(e.raw)
		return nil
	}
	d := &s.doc
	keep, k := len(e.calls) == 0, 0
	if list := d.get(0, "choices"); list != 0 {
		_ = d.each(list, func(i int) error {
			kept := s.rewrite(e, i, &k)
			keep = keep || kept
			return nil
		})
	}
	if u := d.get(0, "usage"); !d.null(u) && s.o.StripUsage {
		if d.empty(d.get(0, "choices")) && d.get(0, "error") == 0 {
			keep = false
		}
		s.remove(0, u)
	}
	if !keep {
		s.edits = s.edits[:0]
		return nil
	}
	s.edited(e)
	return nil
}

// rewrite notes what of a choice is replaced; it tells whether the choice still
// says something.
func (s *chat) rewrite(e *event, i int, k *int) (keep bool) {
	d := &s.doc
	c, err := s.of(i)
	if err != nil {
		return false
	}
	delta := d.get(i, "delta")
	notice := ""
	if delta != 0 && len(e.calls) > 0 {
		notice, keep = s.parts(e, c, delta, k)
	}
	if f := d.get(i, "finish_reason"); !d.null(f) {
		keep = true
		if c.replaced > 0 && c.released == 0 && (d.is(f, "tool_calls") || d.is(f, "function_call")) {
			s.value(f, `"stop"`)
			s.sum.Stop = "stop"
		}
	}
	return keep || notice != "" || len(e.calls) == 0
}

// parts rewrites the members of a delta that hold calls.
func (s *chat) parts(e *event, c *choice, delta int, k *int) (notice string, keep bool) {
	d := &s.doc
	next := func() *call {
		*k++
		return e.calls[*k-1]
	}
	tell := func(call *call) {
		if call.state != replaced || call.told {
			return
		}
		call.told = true
		if c.text || notice != "" {
			notice += "\n"
		}
		notice += call.notice
	}
	content, textGone := d.get(delta, "content"), false
	for _, name := range deltaTexts {
		t := d.get(delta, name)
		if d.empty(t) {
			continue
		}
		if !s.o.TextIsCall || name == "reasoning_content" || name == "reasoning" {
			keep = true
			continue
		}
		call := next()
		tell(call)
		if call.state == released {
			keep = true
		} else if t == content {
			textGone = true
		} else {
			s.value(t, `""`)
		}
	}
	gone := 0 // a member that goes
	if list := d.get(delta, "tool_calls"); !d.empty(list) {
		if s.entries(list, next, tell) {
			keep = true
		} else {
			gone = list
		}
	}
	if f := d.get(delta, "function_call"); !d.empty(f) {
		call := next()
		tell(call)
		if call.state == released {
			keep = true
		} else if gone == 0 {
			gone = f
		} else {
			s.value(f, "null")
		}
	}
	s.notice(delta, content, gone, notice, textGone)
	c.text = c.text || notice != ""
	return notice, keep
}

// notice puts the notice where the text of a delta stands, and takes the member
// gone out.
func (s *chat) notice(delta, content, gone int, notice string, textGone bool) {
	d := &s.doc
	switch {
	case textGone:
		s.value(content, quote(notice))
	case notice == "":
	case content == 0 && gone != 0:
		s.change(d.tape[gone].k0-1, d.tape[gone].v1, `"content":`+quote(notice))
		return
	case content == 0:
		s.change(d.tape[delta].v1-1, d.tape[delta].v1-1, `,"content":`+quote(notice))
	case d.tape[content].kind == str && !d.empty(content):
		q := quote("\n" + strings.TrimPrefix(notice, "\n"))
		s.change(d.tape[content].v1-1, d.tape[content].v1, q[1:])
	default:
		s.value(content, quote(notice))
	}
	if gone != 0 {
		s.remove(delta, gone)
	}
}

// entries rewrites a list of calls: those that are released get the indexes that
// the client counts, the others go. It tells whether one is left.
func (s *chat) entries(list int, next func() *call, tell func(*call)) bool {
	d := &s.doc
	var b strings.Builder
	same, left := true, 0
	_ = d.each(list, func(i int) error {
		call := next()
		tell(call)
		if call.state != released {
			same = false
			return nil
		}
		raw := d.raw(i)
		if left++; left > 1 {
			b.WriteByte(',')
		}
		base, n := int(d.tape[i].v0), d.get(i, "index")
		want := strconv.Itoa(call.out)
		switch {
		case n == 0:
			same = false
			b.WriteString(`{"index":` + want)
			if len(raw) > 2 && !d.empty(i) {
				b.WriteByte(',')
			}
			b.Write(raw[1:])
		case string(d.raw(n)) != want:
			same = false
			b.Write(raw[:int(d.tape[n].v0)-base])
			b.WriteString(want)
			b.Write(raw[int(d.tape[n].v1)-base:])
		default:
			b.Write(raw)
		}
		return nil
	})
	if left > 0 && !same {
		s.value(list, "["+b.String()+"]")
	}
	return left > 0
}
