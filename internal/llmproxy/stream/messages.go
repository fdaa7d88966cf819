package stream

import (
	"fmt"
	"strings"
)

// messages is the Anthropic form: blocks of content, each with an index, a
// start, deltas and a stop. A client acts on a tool_use at its stop.
type messages struct {
	*Machine
	begun, stopped bool
	last           int64            // the highest index of a block
	blocks         map[int64]*block // those that were not stopped
}

// block is an open block; call is nil for one that is passed on.
type block struct {
	call  *call
	start string // the input that the start gave
}

// maxBlocks bounds the blocks that are open at one time: servers have one.
const maxBlocks = 64

func (s *messages) read(e *event) error {
	d := &s.doc
	t := d.get(0, "type")
	if t == 0 || d.tape[t].kind != str {
		return refuse("event", "an event of the reply has no type")
	}
	typ := d.str(t)
	if e.name != "" && e.name != typ {
		return refuse("event", "an event of the reply has two types, its name says another one than its data")
	}
	switch typ {
	case "content_block_start", "content_block_delta", "content_block_stop":
		return s.block(e, typ)
	case "message_start":
		return s.message()
	case "message_delta":
		s.usage(d.get(0, "usage"))
		if r := d.at(0, "delta", "stop_reason"); !d.null(r) {
			s.sum.Stop = d.str(r)
		}
		return nil
	case "message_stop":
		s.ended, s.stopped = true, true
		if len(s.blocks) > 0 {
			return refuse("unfinished-call", "the reply ended inside a block of its content")
		}
		return nil
	case "ping":
		e.ahead = true
		return nil
	case "error":
		s.ended = true
		s.drop()
		return nil
	}
	if d.hidesCall(0) {
		return refuse("hidden-call", "an event of a type that is not known carries a tool call")
	}
	return s.sayAll(0)
}

// drop forgets the calls that will never be whole.
func (s *messages) drop() {
	for _, b := range s.blocks {
		if b.call != nil && b.call.state == open {
			b.call.state = dropped
		}
	}
	s.blocks = nil
}

func (s *messages) message() error {
	d := &s.doc
	if s.begun {
		return refuse("event", "the reply starts twice")
	}
	s.begun = true
	msg := d.get(0, "message")
	if msg == 0 || d.tape[msg].kind != object {
		return nil
	}
	s.sum.ID, s.sum.Model = d.str(d.get(msg, "id")), d.str(d.get(msg, "model"))
	s.usage(d.get(msg, "usage"))
	s.sum.Usage.Known = false // the last word is message_delta's
	content := d.get(msg, "content")
	if content == 0 {
		return nil
	}
	return d.each(content, func(i int) error {
		if t := d.get(i, "type"); !d.is(t, "text") || s.o.TextIsCall {
			return refuse("hidden-call", "the reply's first event already has content")
		}
		return s.say(d.str(d.get(i, "text")))
	})
}

// usage takes the figures that are present: later ones replace earlier ones.
func (s *messages) usage(u int) {
	d := &s.doc
	if d.null(u) {
		return
	}
	v := s.sum.Usage
	for name, dst := range map[string]*int64{
		"input_tokens": &v.Input, "output_tokens": &v.Output,
		"cache_read_input_tokens": &v.CacheRead, "cache_creation_input_tokens": &v.CacheWrite,
	} {
		if i := d.get(u, name); !d.null(i) {
			*dst = s.count(i)
		}
	}
	if i := d.at(u, "output_tokens_details", "thinking_tokens"); !d.null(i) {
		v.Reasoning = s.count(i)
	}
	v.Known = true
	s.figures(v)
}

func (s *messages) block(e *event, typ string) error {
	d := &s.doc
	index, ok := d.integer(d.get(0, "index"))
	if !ok || index < 0 {
		return refuse("event", "a block of the reply's content has no index")
	}
	if typ == "content_block_start" {
		return s.start(e, index)
	}
	b := s.blocks[index]
	if b == nil {
		return refuse("event", "an event belongs to a block of content that is not open")
	}
	if b.call != nil {
		e.calls = []*call{b.call}
	}
	if typ == "content_block_delta" {
		return s.delta(b)
	}
	delete(s.blocks, index)
	if b.call == nil {
		return nil
	}
	return s.whole(b)
}

func (s *messages) start(e *event, index int64) error {
	d := &s.doc
	if index <= s.last || len(s.blocks) >= maxBlocks {
		return refuse("event", "a block of the reply's content is announced twice")
	}
	s.last = index
	cb := d.get(0, "content_block")
	if cb == 0 || d.tape[cb].kind != object {
		return refuse("event", "a block of the reply's content has no type")
	}
	b := &block{}
	if s.blocks == nil {
		s.blocks = map[int64]*block{}
	}
	s.blocks[index] = b
	typ := d.str(d.get(cb, "type"))
	name := d.str(d.get(cb, "name"))
	as := ""
	switch {
	case typ == "text" && s.o.TextIsCall:
		as = "text"
	case typ == "text", typ == "thinking", typ == "redacted_thinking":
	case typ == "server_tool_use", typ == "mcp_tool_use":
		as, name = "server", qualified(d.str(d.get(cb, "server_name")), name)
	case strings.HasSuffix(typ, "_tool_result"):
	case typ == "tool_use", typ == "", name != "", d.looksLikeCall(cb):
		as = "function"
		if name == "" && typ != "tool_use" {
			name = typ
		}
	case d.hidesCall(cb):
		return refuse("hidden-call", "a block of content of a type that is not known carries a tool call")
	}
	if as == "" || as == "text" {
		if err := s.plain(cb, typ); err != nil {
			return err
		}
	}
	if as == "" {
		return nil
	}
	c, err := s.newCall(as, d.str(d.get(cb, "id")), name)
	if err != nil {
		return err
	}
	b.call, e.calls = c, []*call{c}
	if as == "text" {
		c.args = append(c.args, d.inner(d.get(cb, "text"))...)
	} else if in := d.get(cb, "input"); !d.empty(in) {
		b.start = string(d.raw(in))
		return s.hold(len(b.start))
	}
	return nil
}

// plain hands on the text that the start of a block already has.
func (s *messages) plain(cb int, typ string) error {
	d := &s.doc
	switch typ {
	case "text", "thinking":
		return s.say(d.str(d.get(cb, typ)))
	case "redacted_thinking":
		return nil
	}
	return s.sayAll(cb)
}

func (s *messages) delta(b *block) error {
	d := &s.doc
	delta := d.get(0, "delta")
	if delta == 0 || d.tape[delta].kind != object {
		return refuse("event", "a delta of the reply is empty")
	}
	text := b.call == nil || b.call.Type == "text"
	switch typ := d.str(d.get(delta, "type")); {
	case typ == "input_json_delta" && !text:
		p := d.get(delta, "partial_json")
		d.taken(p)
		b.call.args = append(b.call.args, d.inner(p)...)
		return s.hold(len(d.inner(p)))
	case typ == "text_delta" && text:
		t := d.get(delta, "text")
		if b.call != nil {
			b.call.args = append(b.call.args, d.inner(t)...)
			if err := s.hold(len(d.inner(t))); err != nil {
				return err
			}
		}
		return s.speak(t)
	case typ == "thinking_delta" && text:
		return s.speak(d.get(delta, "thinking"))
	case (typ == "signature_delta" || typ == "citations_delta") && text:
		return nil
	case text && !d.hidesCall(delta) && typ != "input_json_delta":
		return s.sayAll(delta)
	}
	return refuse("event", "a delta of the reply does not belong to its block")
}

// whole has the call of a stopped block decided.
func (s *messages) whole(b *block) error {
	args, err := b.call.arguments()
	if err != nil {
		return err
	}
	if b.call.Type != "text" {
		switch {
		case b.start != "" && args != "":
			return refuse("call-copies", "a tool call gives its arguments twice")
		case b.start != "":
			args = b.start
		case args == "":
			args = "{}"
		}
	} else if args == "" {
		b.call.state = released // no text, nothing to decide
		return nil
	}
	b.call.Arguments, b.call.args = args, nil
	return s.judge(b.call)
}

func (s *messages) pass(e *event) error {
	d := &s.doc
	if len(e.calls) == 0 {
		s.follow()
		if s.left == 0 && s.gone > 0 && d.is(d.get(0, "type"), "message_delta") {
			if r := d.at(0, "delta", "stop_reason"); d.is(r, "tool_use") {
				s.value(r, `"end_turn"`)
				s.sum.Stop = "end_turn"
			}
		}
		s.edited(e)
		return nil
	}
	c := e.calls[0]
	if c.state == released {
		s.follow()
		s.put(e.raw)
	}
	if c.state != replaced || c.told {
		return nil
	}
	c.told = true
	index, _ := d.integer(d.get(0, "index"))
	s.putEvent("content_block_start", fmt.Sprintf(`{"type":"content_block_start","index":%d,"content_block":{"type":"text","text":""}}`, index))
	s.putEvent("content_block_delta", fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%s}}`, index, quote(c.notice)))
	s.putEvent("content_block_stop", fmt.Sprintf(`{"type":"content_block_stop","index":%d}`, index))
	s.at.Done = true
	return nil
}

// follow notes where an event that is handed on takes the client.
func (s *messages) follow() {
	d, at := &s.doc, &s.at
	index, _ := d.integer(d.get(0, "index"))
	switch d.str(d.get(0, "type")) {
	case "message_start":
		at.Begun = true
	case "content_block_start":
		at.Block, at.Open, at.Text = index, d.is(d.at(0, "content_block", "type"), "text"), !d.empty(d.at(0, "content_block", "text"))
		if !at.Open {
			at.Block++
		}
	case "content_block_delta":
		at.Text = true
	case "content_block_stop":
		at.Done = true
	}
}

func (s *messages) end() (bool, error) { return s.stopped && len(s.blocks) == 0, nil }

var _ form = (*messages)(nil)
