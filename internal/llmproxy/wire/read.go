package wire

import (
	"bytes"
	"slices"
	"strings"
)

// The roles of texts.
const (
	roleSystem    = "system"
	roleUser      = "user"
	roleAssistant = "assistant"
	roleTool      = "tool"
	roleTools     = "tools"
	roleForm      = "form"
)

// reader collects what a request or a reply says. Exactly one of q and r is
// set.
type reader struct {
	d    *doc
	q    *Request
	r    *Reply
	role string // of the texts that are met
	call string // the tool result they stand in

	at    int   // the element that a call stands in: what Replace puts a text for
	sites []int // at, of each call of a reply
}

// segment begins a segment; the texts that follow belong to it.
func (p *reader) segment(n int, k SegmentKind, role string) {
	p.q.Segments = append(p.q.Segments, Segment{p.d.span(n), k})
	p.role, p.call = role, ""
}

// add keeps a string as a text.
func (p *reader) add(n int) {
	t := Text{Span: p.d.span(n), Role: p.role, CallID: p.call, Segment: -1}
	if p.q != nil {
		t.Segment = len(p.q.Segments) - 1
		p.q.Texts = append(p.q.Texts, t)
		return
	}
	p.r.Texts = append(p.r.Texts, t)
}

// found keeps a call; args is the node of its arguments, 0 for none.
func (p *reader) found(c Call, args int) {
	if p.q != nil {
		c.Index = len(p.q.Calls)
		p.q.Calls = append(p.q.Calls, c)
		var s Span
		if args != 0 {
			s = p.d.span(args)
		}
		p.q.args = append(p.q.args, s)
		return
	}
	c.Index = len(p.r.Calls)
	if args != 0 {
		if p.d.kind(args) == text {
			c.Arguments = string(p.d.name(args))
		} else {
			c.Arguments = string(p.d.raw(args))
		}
	}
	p.r.Calls, p.sites = append(p.r.Calls, c), append(p.sites, p.at)
}

func (p *reader) result(id, name string) {
	if p.q != nil {
		p.q.Results = append(p.q.Results, Result{id, name})
	}
	p.role, p.call = roleTool, id
}

// walk keeps every string below n. In free matter (arguments, a tool's answer)
// keys are text like anything else; elsewhere the form's own words, ids,
// signatures and the bytes of media are not.
func (p *reader) walk(n int, free bool) {
	d := p.d
	switch d.kind(n) {
	case text:
		p.add(n)
	case array:
		for e := range d.elements(n) {
			p.walk(e, free)
		}
	case object:
		for k := range d.members(n) {
			p.member(n, k, free)
		}
	default:
	}
}

func (p *reader) member(obj, k int, free bool) {
	if free {
		p.add(k)
		p.walk(k+1, true)
		return
	}
	v := k + 1
	name := p.d.name(k)
	switch string(name) {
	case "role", "type", "id", "call_id", "tool_call_id", "tool_use_id", "name", "status", "namespace",
		"media_type", "mimeType", "mime_type", "phase", "detail", "format":
		if p.d.kind(v) == text && isWord(p.d.name(v), 128) {
			p.word(v, len(p.segments())-1)
			return
		}
		p.walk(v, false)
	case "signature", "thoughtSignature", "thought_signature", "encrypted_content":
		if p.d.kind(v) != text || !isWord(p.d.name(v), maxBytes) {
			p.walk(v, false)
		}
	case "input", "args", "arguments", "response", "action", "operation":
		p.walk(v, true)
	case "data", "url", "image_url", "file_data", "result":
		if p.d.kind(v) != text || !p.media(obj, v) {
			p.walk(v, false)
		}
	default:
		if isWord(name, 64) {
			p.word(k, len(p.segments())-1)
		} else {
			p.add(k)
		}
		p.walk(v, false)
	}
}

func (p *reader) segments() []Segment {
	if p.q == nil {
		return nil
	}
	return p.q.Segments
}

// leastSecret is the fewest characters of a word that could be somebody's
// secret instead of one of the form.
const leastSecret = 16

// word takes a word of the form, a name or an id. What is long and holds a digit
// could be a secret: in a request it is a text, though nobody's words. segment
// is -1 for one that stands in none.
func (p *reader) word(n, segment int) {
	if p.q == nil || p.d.kind(n) != text {
		return
	}
	if s := p.d.name(n); len(s) < leastSecret || !bytes.ContainsAny(s, "0123456789") {
		return
	}
	p.q.Texts = append(p.q.Texts, Text{Span: p.d.span(n), Role: roleForm, Segment: segment})
}

// key reads the name of a member of the whole, which stands before the segment
// of its value: the same value may have another name.
func (p *reader) key(k int) {
	if isWord(p.d.name(k), 64) {
		p.word(k, -1)
		return
	}
	p.q.Texts = append(p.q.Texts, Text{Span: p.d.span(k), Role: roleUser, Segment: -1})
}

// outside reads the id of what the provider keeps. It stands in no segment.
func (p *reader) outside(n int) error {
	if !p.d.has(n) {
		return nil
	}
	if p.d.kind(n) != text || !isWord(p.d.name(n), 256) {
		return refused("the id at byte %d is no name of 1 to 256 letters, digits and signs", p.d.nodes[n].start)
	}
	p.word(n, -1)
	return nil
}

var mediaFields = spell("type", "media_type mimeType mime_type", "format")

// media reports that a string is an image, a sound or a document in base64:
// nothing that can be read as text.
func (p *reader) media(obj, v int) bool {
	s := p.d.raw(v)[1:]
	if bytes.IndexByte(s, ' ') >= 0 || bytes.Contains(s, []byte(`\u`)) {
		return false // no base64: somebody reads it as something else
	}
	if rest, ok := bytes.CutPrefix(s, []byte("data:")); ok {
		head, _, ok := bytes.Cut(rest[:min(len(rest), 64)], []byte(";base64,"))
		return ok && isMedia(string(head))
	}
	f, err := p.d.get(obj, &mediaFields)
	if err != nil {
		return false
	}
	is := func(n int, want ...string) bool {
		return n != 0 && p.d.kind(n) == text && slices.Contains(want, string(p.d.name(n)))
	}
	if is(f[0], "image_generation_call", "redacted_thinking") || f[1] == 0 && is(f[2], "wav", "mp3") {
		return true
	}
	if f[1] == 0 || p.d.kind(f[1]) != text {
		return false
	}
	return (f[0] == 0 || is(f[0], "base64")) && isMedia(string(p.d.name(f[1])))
}

// isMedia tells the types whose bytes are no text. A type that is not known, or
// is spelled otherwise, is read.
func isMedia(mime string) bool {
	kind, form, _ := strings.Cut(mime, "/")
	switch kind {
	case "image":
		return !strings.Contains(form, "svg")
	case "audio", "video":
		return true
	}
	return mime == "application/pdf"
}

// isWord reports a name, an id or a word of the form rather than prose.
func isWord(s []byte, limit int) bool {
	if len(s) > limit {
		return false
	}
	for _, c := range s {
		switch {
		case c|0x20 >= 'a' && c|0x20 <= 'z', c >= '0' && c <= '9':
		case c == '_', c == '-', c == '.', c == '/', c == ':', c == '$', c == '+', c == '=':
		default:
			return false
		}
	}
	return true
}

// other reads one member of the whole that has no meaning of its own here: it
// leaves with the call, so it is judged. Figures and switches carry no text.
func (p *reader) other(k int) {
	v := k + 1
	p.key(k)
	if p.d.kind(v) < text {
		return
	}
	p.segment(v, Other, roleSystem)
	p.walk(v, false)
}

var toolFields = spell("type", "name", "function", "custom", "tools",
	"functionDeclarations function_declarations", "server_label mcp_server_name")

// tools reads an array of tool definitions.
func (p *reader) tools(arr int, space string) error {
	if ok, err := p.d.want(arr, array, "tools"); !ok {
		return err
	}
	for n := range p.d.elements(arr) {
		if err := p.tool(n, space); err != nil {
			return err
		}
	}
	return nil
}

func (p *reader) tool(n int, space string) error {
	d := p.d
	if d.kind(n) != object {
		return refused("a tool is %s, not an object", kindNames[d.kind(n)])
	}
	f, err := d.get(n, &toolFields)
	if err != nil {
		return err
	}
	if d.has(f[5]) { // Gemini: a group, possibly beside tools of the server
		for k := range d.members(n) {
			if k+1 != f[5] {
				p.q.Tools = append(p.q.Tools, Tool{string(d.name(k)), d.span(n)})
			}
		}
		return p.tools(f[5], space)
	}
	typ, err := d.stringOf(f[0], "a tool's type")
	if err != nil {
		return err
	}
	name, err := d.stringOf(f[1], "a tool's name")
	if err != nil {
		return err
	}
	if d.has(f[4]) && typ == "namespace" {
		return p.tools(f[4], qualify(space, name))
	}
	for _, inner := range []int{f[2], f[3]} {
		if name != "" || inner == 0 || d.kind(inner) != object {
			continue
		}
		g, err := d.get(inner, &toolFields)
		if err != nil {
			return err
		}
		if name, err = d.stringOf(g[1], "a tool's name"); err != nil {
			return err
		}
	}
	if name == "" && d.has(f[6]) {
		if name, err = d.stringOf(f[6], "a server's label"); err != nil {
			return err
		}
		name = "mcp/" + name
	}
	p.q.Tools = append(p.q.Tools, Tool{p.toolName(n, qualify(space, name), typ), d.span(n)})
	return nil
}

// toolName finds a name for a tool that has none: its type, or for Gemini the
// key that stands for it.
func (p *reader) toolName(n int, name, typ string) string {
	if name == "" {
		name = typ
	}
	if name == "" {
		for k := range p.d.members(n) {
			return string(p.d.name(k))
		}
	}
	return name
}

// qualify puts a namespace before a name.
func qualify(space, name string) string {
	if space == "" || name == "" || strings.HasSuffix(space, "_") || strings.HasSuffix(space, ".") || strings.HasSuffix(space, "/") {
		return space + name
	}
	return space + "." + name
}
