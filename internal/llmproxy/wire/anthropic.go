package wire

import "strings"

var messagesTop = spell("model", "messages", "system", "max_tokens", "stream", "tools")

// messages reads an Anthropic Messages request or a count of its tokens.
func (p *reader) messages() error {
	d, q := p.d, p.q
	f, err := d.get(0, &messagesTop)
	if err != nil {
		return err
	}
	if q.Model, err = d.stringOf(f[0], "model"); err != nil {
		return err
	}
	if q.Stream, err = d.boolOf(f[4], "stream", false); err != nil {
		return err
	}
	if q.MaxOutput, err = d.intOf(f[3], "max_tokens", -1); err != nil {
		return err
	}
	if !d.has(f[1]) {
		return refused("messages is missing")
	}
	for k := range d.members(0) {
		switch v := k + 1; v {
		case f[0]:
			p.word(v, -1)
		case f[1]:
			err = p.each(v, "messages", p.message)
		case f[2]:
			if d.has(v) {
				p.segment(v, Head, roleSystem)
				p.walk(v, false)
			}
		case f[5]:
			err = p.toolSegment(v)
		default:
			p.other(k)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var messageFields = spell("role", "content")

func (p *reader) message(n int) error {
	d := p.d
	f, err := d.get(n, &messageFields)
	if err != nil {
		return err
	}
	role, err := d.stringOf(f[0], "a role")
	if err != nil {
		return err
	}
	p.role = roleOf(role)
	for k := range d.members(n) {
		if k+1 != f[1] || d.kind(k+1) != array {
			p.member(n, k, false)
			continue
		}
		for b := range d.elements(k + 1) {
			if err := p.block(b); err != nil {
				return err
			}
		}
	}
	return nil
}

var blockFields = spell("type", "id", "name", "input", "tool_use_id", "server_name", "tools")

// block reads one content block of a request or a reply.
func (p *reader) block(n int) error {
	d := p.d
	p.at = n
	if d.kind(n) != object {
		return refused("a content block is %s, not an object", kindNames[d.kind(n)])
	}
	f, err := d.get(n, &blockFields)
	if err != nil {
		return err
	}
	typ, err := d.stringOf(f[0], "a block's type")
	if err != nil {
		return err
	}
	defer func(role, call string) { p.role, p.call = role, call }(p.role, p.call)
	switch {
	case strings.HasSuffix(typ, "tool_result"):
		id, err := d.stringOf(f[4], "tool_use_id")
		if err != nil {
			return err
		}
		if p.role, p.call = roleTool, id; typ == "tool_result" {
			p.result(id, "")
		}
	case p.q != nil && typ == "tool_definitions" && d.has(f[6]):
		p.role = roleTools
		if err := p.tools(f[6], ""); err != nil {
			return err
		}
	case typ == "text" || typ == "thinking" || typ == "redacted_thinking":
	case strings.HasSuffix(typ, "tool_use") || f[2] != 0 && f[3] != 0:
		if err := p.toolUse(typ, &f); err != nil || p.q == nil {
			return err
		}
	}
	p.walk(n, false)
	return nil
}

func (p *reader) toolUse(typ string, f *found) error {
	id, err := p.d.stringOf(f[1], "a tool call's id")
	if err != nil {
		return err
	}
	name, err := p.d.stringOf(f[2], "a tool call's name")
	if err != nil {
		return err
	}
	server, err := p.d.stringOf(f[5], "a server's name")
	if err != nil {
		return err
	}
	c := Call{ID: id, Name: name, Type: "function"}
	switch typ {
	case "server_tool_use":
		c.Type = "server"
	case "mcp_tool_use":
		c.Type, c.Name = "server", qualify(server, name)
	}
	p.found(c, f[3])
	return nil
}
