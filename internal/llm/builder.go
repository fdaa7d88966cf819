package llm

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxFigure bounds a reported token count; a larger or negative one makes the
// reply invalid, because a budget is settled with it.
const MaxFigure = 1 << 40

// Limits bounds a reply; a zero field means its default.
type Limits struct {
	Body      int64 // bytes of one reply on the wire; default 64 MiB
	Event     int   // bytes of one streamed event; default 8 MiB
	Text      int   // bytes of text; default 8 MiB
	ToolCalls int   // default 128
	Arguments int   // bytes of all tool calls' names, ids and arguments together; default 4 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Body <= 0 {
		l.Body = 64 << 20
	}
	if l.Event <= 0 {
		l.Event = 8 << 20
	}
	if l.Text <= 0 {
		l.Text = 8 << 20
	}
	if l.ToolCalls <= 0 {
		l.ToolCalls = 128
	}
	if l.Arguments <= 0 {
		l.Arguments = 4 << 20
	}
	return l
}

// Builder collects a reply while it is decoded and enforces Limits. Decoders
// get one per attempt. Its methods return an error that ends the reply.
type Builder struct {
	lim    Limits
	onText func(string)
	resp   Response
	text   strings.Builder
	calls  map[int]*call
	order  []*call
	bytes  int // of tool calls
}

type call struct {
	id, name string
	args     strings.Builder
}

// NewBuilder makes a builder; onText may be nil.
func NewBuilder(lim Limits, onText func(string)) *Builder {
	return &Builder{lim: lim.withDefaults(), onText: onText, calls: map[int]*call{}}
}

// Text appends to the reply's text and hands it on.
func (b *Builder) Text(s string) error {
	if s == "" {
		return nil
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("text is not valid UTF-8")
	}
	if b.text.Len()+len(s) > b.lim.Text {
		return fmt.Errorf("the text exceeds %d bytes", b.lim.Text)
	}
	b.text.WriteString(s)
	if b.onText != nil {
		b.onText(s)
	}
	return nil
}

// Call adds to the tool call with the provider's index: id and name are set if
// not empty, the arguments' piece is appended.
func (b *Builder) Call(index int, id, name, piece string) error {
	c := b.calls[index]
	if c == nil {
		if len(b.order) >= b.lim.ToolCalls {
			return fmt.Errorf("more than %d tool calls", b.lim.ToolCalls)
		}
		c = &call{}
		b.calls[index] = c
		b.order = append(b.order, c)
	}
	if b.bytes += len(id) + len(name) + len(piece); b.bytes > b.lim.Arguments {
		return fmt.Errorf("the tool calls exceed %d bytes", b.lim.Arguments)
	}
	if !utf8.ValidString(id) || !utf8.ValidString(name) || !utf8.ValidString(piece) {
		return fmt.Errorf("a tool call is not valid UTF-8")
	}
	if id != "" {
		c.id = id
	}
	if name != "" {
		c.name = name
	}
	c.args.WriteString(piece)
	return nil
}

// Calls is the number of tool calls so far.
func (b *Builder) Calls() int { return len(b.order) }

// Usage sets the figures; known says that they are the reply's final ones.
func (b *Builder) Usage(u Usage, known bool) error {
	for _, n := range []int64{u.Input, u.Output, u.CacheRead, u.CacheWrite, u.Reasoning} {
		if n < 0 || n > MaxFigure {
			return fmt.Errorf("the usage figure %d is not plausible", n)
		}
	}
	b.resp.Usage, b.resp.UsageKnown = u, known
	return nil
}

// Reported gives the figures so far.
func (b *Builder) Reported() Usage { return b.resp.Usage }

// Stop sets why the reply stopped, one of the Stop constants.
func (b *Builder) Stop(reason string) { b.resp.Stop = reason }

// Stopped reports whether a reason was given.
func (b *Builder) Stopped() bool { return b.resp.Stop != "" }

// delivered reports whether text was collected, and so handed on.
func (b *Builder) delivered() bool { return b.text.Len() > 0 }

// Response gives what was collected.
func (b *Builder) Response() Response {
	r := b.resp
	r.Text = b.text.String()
	for _, c := range b.order {
		r.ToolCalls = append(r.ToolCalls, ToolCall{ID: c.id, Name: c.name, Arguments: c.args.String()})
	}
	return r
}
