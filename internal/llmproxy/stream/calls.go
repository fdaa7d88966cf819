package stream

import (
	"strings"

	"sallyport/internal/llm"
)

const maxFigure = llm.MaxFigure

// carriesCall tells whether a member's name is one under which some API carries
// a tool call, in any case and with or without underscores.
func carriesCall(name []byte, escaped bool) bool {
	if escaped {
		s, _ := unescape(name)
		name = []byte(s)
	}
	// 7 to 14 characters; Unicode folding makes k and s up to three bytes long.
	if len(name) < 7 || len(name) > 24 {
		return false
	}
	switch name[0] | 0x20 {
	case 't', 'f', 'p':
	default:
		return false
	}
	s := strings.ReplaceAll(string(name), "_", "")
	for _, known := range [...]string{"toolcalls", "toolcall", "functioncall", "functioncalls", "tooluse", "partialjson"} {
		if strings.EqualFold(s, known) {
			return true
		}
	}
	return false
}

// taken notes that an API's reader took the call up that i carries.
func (d *doc) taken(i int) {
	if i != 0 {
		d.tape[i].seen = true
	}
}

// stray tells whether a call is left that no reader took up.
func (d *doc) stray() bool {
	if d.calls == 0 {
		return false
	}
	for i := 0; i < len(d.tape); {
		n := &d.tape[i]
		if n.seen {
			i = int(n.next)
			continue
		}
		if n.call {
			return true
		}
		i++
	}
	return false
}

// callType tells whether the type of an item, a block or a part is a call's.
func callType(t string) bool {
	t = strings.ToLower(t)
	return strings.HasSuffix(t, "_call") || strings.HasSuffix(t, "tool_use") || strings.HasSuffix(t, "_request") ||
		t == "function" || t == "tool" || t == "call"
}

// looksLikeCall tells whether an object of a kind that is not known could be a
// call for somebody: by its type, or because it names something and has
// arguments for it.
func (d *doc) looksLikeCall(obj int) bool {
	if d.tape[obj].kind != object {
		return false
	}
	name, args := false, false
	for i := obj + 1; i < int(d.tape[obj].next); i = int(d.tape[i].next) {
		switch k := strings.ToLower(d.key(i)); k {
		case "type":
			if callType(d.str(i)) {
				return true
			}
		case "name", "tool_name", "function", "call_id":
			name = name || !d.empty(i)
		case "arguments", "input", "args", "action", "command", "commands", "operation", "parameters":
			args = args || !d.null(i)
		}
	}
	return name && args
}

// hidesCall tells the same of obj and everything in it.
func (d *doc) hidesCall(obj int) bool {
	if obj == 0 && len(d.tape) == 0 {
		return false
	}
	for i := obj; i < int(d.tape[obj].next); i++ {
		if d.looksLikeCall(i) {
			return true
		}
	}
	return false
}

// arguments gives what the collected pieces say together. A surrogate whose
// other half never came reads differently in different clients.
func (c *call) arguments() (string, error) {
	s, whole := unescape(c.args)
	if !whole {
		return "", refuse("call-text", "the arguments of a tool call hold half of a character")
	}
	return s, nil
}

// qualified puts the place a tool comes from in front of its name, as plain
// replies are read.
func qualified(space, name string) string {
	if space == "" || name == "" || strings.ContainsAny(space[len(space)-1:], "_./") {
		return space + name
	}
	return space + "." + name
}

// noText are the names of strings that are no text for anybody.
var noText = map[string]bool{
	"type": true, "id": true, "item_id": true, "call_id": true, "object": true, "role": true, "status": true,
	"model": true, "signature": true, "encrypted_content": true, "obfuscation": true,
	"result": true, "data": true, "mimeType": true, // images
}

// sayAll hands on every text in an object that is not known.
func (m *Machine) sayAll(obj int) error {
	d := &m.doc
	for i := obj; i < int(d.tape[obj].next); i++ {
		if d.tape[i].kind != str || noText[d.key(i)] {
			continue
		}
		if err := m.speak(i); err != nil {
			return err
		}
	}
	return nil
}
