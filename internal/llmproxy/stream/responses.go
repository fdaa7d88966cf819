package stream

import (
	"hash/maphash"
	"strings"

	"sallyport/internal/llmproxy/wire"
)

// responses is the form of OpenAI's Responses. A call stands in it up to four
// times: announced, in deltas, done, and in the response at the end. Clients
// act on different ones, so all must say the same.
type responses struct {
	*Machine
	last     int64          // the highest output index that was announced
	items    map[int64]item // those that are not done
	judged   []decided
	texts    map[textKey]*maphash.Hash // texts that are still coming
	now      *maphash.Hash             // of the last text event
	known    map[uint64]bool           // texts that were handed on whole
	shift    bool                      // our events moved the sequence numbers
	complete bool
}

// item is an item that is not done; call is nil for one that is passed on.
type item struct {
	typ  string
	call *call
}

// decided is a call that was judged, by the digest of what it says.
type decided struct {
	sum  uint64
	call *call
}

type textKey struct {
	typ                string
	output, part, item int64
}

var seed = maphash.MakeSeed()

// maxOpenItems and maxTexts bound what is remembered of a reply.
const (
	maxOpenItems = 256
	maxTexts     = 4096
)

// itemTypes gives what the items are: "" is passed on, server was performed by
// the provider, anything else is the client's to perform.
var itemTypes = map[string]string{
	"message": "", "reasoning": "", "compaction": "", "mcp_list_tools": "",
	"function_call": "function", "custom_tool_call": "custom", "tool_search_call": "tool_search",
	"local_shell_call": "local_shell", "shell_call": "local_shell",
	"apply_patch_call": "function", "computer_call": "function", "mcp_approval_request": "function",
	"web_search_call": "server", "file_search_call": "server", "code_interpreter_call": "server",
	"image_generation_call": "server", "mcp_call": "server",
}

func (s *responses) read(e *event) error {
	d := &s.doc
	t := d.get(0, "type")
	if t == 0 || d.tape[t].kind != str {
		return refuse("event", "an event of the reply has no type")
	}
	typ := d.str(t)
	if e.name != "" && e.name != typ {
		return refuse("event", "an event of the reply has two types, its name says another one than its data")
	}
	_ = d.get(0, "sequence_number")
	if r := d.get(0, "response"); r != 0 && strings.HasPrefix(typ, "response.") {
		return s.response(e, typ, r)
	}
	switch typ {
	case "response.output_item.added":
		return s.added(e)
	case "response.output_item.done":
		return s.done(e)
	case "error":
		s.ended = true
		s.drop()
		return nil
	}
	index, ok := d.integer(d.get(0, "output_index"))
	if it, held := s.items[index]; ok && held && it.call != nil {
		e.calls = []*call{it.call}
		return s.piece(it.call, typ)
	}
	return s.plain(typ)
}

// drop forgets the calls that will never be whole.
func (s *responses) drop() {
	for _, it := range s.items {
		if it.call != nil && it.call.state == open {
			it.call.state = dropped
		}
	}
	s.items = nil
}

// added takes an item's announcement.
func (s *responses) added(e *event) error {
	d := &s.doc
	index, ok := d.integer(d.get(0, "output_index"))
	it := d.get(0, "item")
	if !ok || index < 0 || it == 0 || d.tape[it].kind != object {
		return refuse("event", "an item of the reply has no place or no content")
	}
	if index <= s.last || len(s.items) >= maxOpenItems {
		return refuse("event", "an item of the reply is announced twice")
	}
	s.last = index
	typ, as := s.typeOf(it)
	n := item{typ: typ}
	if as == "" || as == "server" {
		if err := s.copies(it, !known(typ)); err != nil {
			return err
		}
	} else {
		c, err := s.newCall(as, "", "")
		if err != nil {
			return err
		}
		n.call, e.calls = c, []*call{c}
		s.fill(c, it, typ)
	}
	if s.items == nil {
		s.items = map[int64]item{}
	}
	s.items[index] = n
	return nil
}

// typeOf gives an item's type and what it is.
func (s *responses) typeOf(it int) (typ, as string) {
	d := &s.doc
	typ = d.str(d.get(it, "type"))
	as, known := itemTypes[typ]
	switch {
	case typ == "message" && s.o.TextIsCall:
		as = "text"
	case typ == "tool_search_call" && d.is(d.get(it, "execution"), "server"):
		as = "server"
	case known:
	case strings.HasSuffix(typ, "_output"):
	case typ == "" || !d.empty(d.get(it, "name")) || d.hidesCall(it):
		as = "function"
	}
	return typ, as
}

// known tells whether an item's texts are where they are expected.
func known(typ string) bool {
	as, ok := itemTypes[typ]
	return ok && as != "server"
}

// fill sets what an item says about its call. The arguments of a call whose type
// is not known are the whole item.
func (s *responses) fill(c *call, it int, typ string) {
	d := &s.doc
	c.Arguments = ""
	if typ == "message" {
		c.Arguments = s.joined(it)
		return
	}
	if c.ID = d.str(d.get(it, "call_id")); c.ID == "" {
		c.ID = d.str(d.get(it, "id"))
	}
	c.Name = d.str(d.get(it, "name"))
	short := strings.TrimSuffix(typ, "_call")
	field := 0
	switch typ {
	case "function_call", "mcp_call":
		field = d.get(it, "arguments")
	case "custom_tool_call":
		field = d.get(it, "input")
	case "tool_search_call":
		c.Name, field = short, d.get(it, "arguments")
	case "local_shell_call", "shell_call", "web_search_call", "file_search_call", "image_generation_call":
		c.Name, field = short, d.get(it, "action")
	case "code_interpreter_call":
		c.Name, field = short, d.get(it, "code")
	default:
		if field = it; c.Name == "" {
			c.Name = short
		}
	}
	space := d.str(d.get(it, "namespace"))
	if space == "" {
		space = d.str(d.get(it, "server_label"))
	}
	c.Name = qualified(space, c.Name)
	switch {
	case field == 0:
	case d.tape[field].kind == str:
		c.Arguments = d.str(field)
	default:
		c.Arguments = string(d.raw(field))
	}
}

// joined gives the text of a message item.
func (s *responses) joined(it int) string {
	d := &s.doc
	var b strings.Builder
	if content := d.get(it, "content"); content != 0 {
		_ = d.each(content, func(i int) error {
			b.WriteString(d.str(d.get(i, "text")))
			b.WriteString(d.str(d.get(i, "refusal")))
			return nil
		})
	}
	return b.String()
}

// piece takes an event of a held item. Only the known ones are kept: what others
// say about the call was not judged.
func (s *responses) piece(c *call, typ string) error {
	d := &s.doc
	whole, field := 0, 0
	switch typ {
	case "response.function_call_arguments.delta", "response.custom_tool_call_input.delta", "response.output_text.delta", "response.refusal.delta":
		field = d.get(0, "delta")
	case "response.function_call_arguments.done":
		whole = d.get(0, "arguments")
	case "response.custom_tool_call_input.done":
		whole = d.get(0, "input")
	case "response.output_text.done", "response.refusal.done", "response.content_part.done":
		return s.repeated(c, typ)
	default:
		if c.Type == "text" {
			return s.plain(typ)
		}
		d.taken(0)
		return nil
	}
	text := strings.HasPrefix(typ, "response.output_text") || strings.HasPrefix(typ, "response.refusal")
	if text != (c.Type == "text") {
		return refuse("event", "an event does not belong to the item that it names")
	}
	if whole != 0 {
		if args, err := c.arguments(); err != nil || args != "" && args != d.str(whole) || d.tape[whole].kind != str {
			return refuse("call-copies", "a tool call gives different arguments at different places")
		}
		c.args = append(c.args[:0], d.inner(whole)...)
		return s.hold(len(c.args))
	}
	c.args = append(c.args, d.inner(field)...)
	if err := s.hold(len(d.inner(field))); err != nil || !text {
		return err
	}
	return s.plain(typ)
}

// repeated takes the end of a text that is judged as a call: it must be the one
// that came in pieces.
func (s *responses) repeated(c *call, typ string) error {
	d := &s.doc
	args, err := c.arguments()
	if err != nil {
		return err
	}
	for _, i := range []int{d.get(0, "text"), d.get(0, "refusal"), d.at(0, "part", "text"), d.at(0, "part", "refusal")} {
		if i != 0 && (c.Type != "text" || !strings.HasSuffix(args, d.str(i))) {
			return refuse("call-copies", "a text gives different words at different places")
		}
	}
	return s.plain(typ)
}

// done takes a whole item. Some clients act on it alone, announced or not.
func (s *responses) done(e *event) error {
	d := &s.doc
	index, ok := d.integer(d.get(0, "output_index"))
	it := d.get(0, "item")
	if !ok || index < 0 || it == 0 || d.tape[it].kind != object {
		return refuse("event", "an item of the reply has no place or no content")
	}
	typ, as := s.typeOf(it)
	before, announced := s.items[index]
	if announced && before.typ != typ {
		return refuse("call-copies", "an item of the reply is announced as something else than it is")
	}
	delete(s.items, index)
	if as == "" || as == "server" {
		if err := s.copies(it, !known(typ)); err != nil || as == "" {
			return err
		}
	}
	c := before.call
	if c == nil {
		var err error
		if c, err = s.newCall(as, "", ""); err != nil {
			return err
		}
	}
	e.calls = []*call{c}
	first := c.Call
	s.fill(c, it, typ)
	args, err := c.arguments()
	if err != nil {
		return err
	}
	if announced && as != "server" && (first.Name != c.Name || first.ID != c.ID || args != "" && args != c.Arguments || !s.sameStart(first, c, typ)) {
		return refuse("call-copies", "a tool call says different things at different places")
	}
	c.args = nil
	return s.decide(c)
}

// sameStart tells whether the arguments of the announcement, if it had any, are
// those of the end.
func (s *responses) sameStart(first wire.Call, c *call, typ string) bool {
	switch typ {
	case "function_call", "custom_tool_call":
		return first.Arguments == "" || first.Arguments == c.Arguments
	}
	return true // they are filled in as the item goes on
}

// decide has a whole call judged and remembers it for the response at the end.
func (s *responses) decide(c *call) error {
	if c.Type == "text" && c.Arguments == "" {
		c.state = released // no text, nothing to decide
		return nil
	}
	if err := s.judge(c); err != nil {
		return err
	}
	s.judged = append(s.judged, decided{digest(c), c})
	c.Arguments = "" // the digest is enough
	return nil
}

func digest(c *call) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, p := range []string{c.Type, c.ID, c.Name, c.Arguments} {
		maphash.WriteComparable(&h, len(p))
		_, _ = h.WriteString(p)
	}
	return h.Sum64()
}

// response takes an event that repeats the whole response. A call in it is one
// that was judged, each once, or it is judged now.
func (s *responses) response(e *event, typ string, r int) error {
	d := &s.doc
	d.taken(r) // its tools and settings may use any name; its output is what clients read
	if d.tape[r].kind != object {
		return nil
	}
	if id := d.str(d.get(r, "id")); id != "" {
		s.sum.ID, s.sum.Model = id, d.str(d.get(r, "model"))
	}
	switch typ {
	case "response.completed", "response.done":
		if len(s.items) > 0 && s.unfinished() {
			return refuse("unfinished-call", "the reply ended inside a tool call")
		}
		s.ended, s.complete = true, true
	case "response.incomplete":
		s.ended, s.complete = true, true
		s.drop()
	case "response.failed", "response.cancelled":
		s.ended = true
		s.drop()
	}
	if s.ended {
		s.sum.Stop = d.str(d.get(r, "status"))
		s.usage(d.get(r, "usage"))
	}
	out := d.get(r, "output")
	if d.empty(out) {
		return nil
	}
	used := make([]bool, len(s.judged))
	return d.each(out, func(i int) error {
		if d.tape[i].kind != object {
			return refuse("event", "an item of the reply's output is no object")
		}
		typ, as := s.typeOf(i)
		if as == "" || as == "server" {
			return s.copies(i, !known(typ))
		}
		c := &call{Call: wire.Call{Type: as}}
		s.fill(c, i, typ)
		sum := digest(c)
		for j := range used {
			if !used[j] && s.judged[j].sum == sum {
				used[j] = true
				e.calls = append(e.calls, s.judged[j].call)
				return nil
			}
		}
		n, err := s.newCall(as, c.ID, c.Name)
		if err != nil {
			return err
		}
		n.Arguments = c.Arguments
		e.calls = append(e.calls, n)
		return s.decide(n)
	})
}

func (s *responses) unfinished() bool {
	for _, it := range s.items {
		if it.call != nil {
			return true
		}
	}
	return false
}

func (s *responses) usage(u int) {
	d := &s.doc
	if d.null(u) {
		return
	}
	v := wire.Usage{Known: true}
	v.CacheRead = s.count(d.at(u, "input_tokens_details", "cached_tokens"))
	v.Input = s.count(d.get(u, "input_tokens")) - v.CacheRead
	v.Output = s.count(d.get(u, "output_tokens"))
	v.Reasoning = s.count(d.at(u, "output_tokens_details", "reasoning_tokens"))
	s.figures(v)
}

func (s *responses) end() (bool, error) { return s.complete && !s.unfinished(), nil }
