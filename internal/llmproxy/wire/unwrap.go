package wire

import (
	"slices"
	"strings"
)

// Bounds of what one call may hold.
const (
	maxInner  = 256
	maxUnwrap = 4
)

// Unwrap gives the calls that a call makes its client perform: itself for a
// plain one, the calls inside for a tool that only passes calls on. It is not
// resolved when more may happen than what inner says (a program that computes,
// a shape that is not known, nesting without end): then the call itself is to
// be judged too, and only the sandbox bounds what it does.
//
// Inner is never empty; its calls carry the Index and ID of the outer one.
func Unwrap(c Call) (inner []Call, resolved bool) {
	u := unwrapper{outer: c}
	if u.call(c, 0); len(u.inner) == 0 {
		u.inner = []Call{c}
	}
	return u.inner, !u.open
}

type unwrapper struct {
	outer Call
	inner []Call
	open  bool // something was not resolved
}

func (u *unwrapper) call(c Call, depth int) {
	if depth > maxUnwrap || len(u.inner) >= maxInner {
		u.open = true
		return
	}
	switch name := strings.TrimPrefix(c.Name, "functions."); {
	case c.Type == "server":
		u.inner = append(u.inner, c)
	case name == "tool_call":
		u.named(c, depth)
	case name == "multi_tool_use.parallel" || name == "multi_tool_use_parallel":
		u.parallel(c, depth)
	case name == "submit_commands":
		u.commands(c)
	case c.Type == "code", c.Type == "custom" && name == "exec":
		u.program(c, depth)
	default:
		u.inner = append(u.inner, c)
	}
}

// give passes on a call that was found inside.
func (u *unwrapper) give(name, arguments, typ string, depth int) {
	u.call(Call{Index: u.outer.Index, ID: u.outer.ID, Name: name, Arguments: arguments, Type: typ}, depth+1)
}

// object reads arguments; nil when they are not one strict object. free must
// be called otherwise.
func (u *unwrapper) object(c Call) *doc {
	d, err := openObject([]byte(c.Arguments))
	if err != nil {
		u.open = true
		return nil
	}
	return d
}

// The spellings under which tools that call tools take a name and arguments.
var wrapFields = spell("name tool toolName tool_name id tool_id toolId recipient_name",
	"arguments args input params parameters")

// named reads {"name": …, "arguments": {…}} in the spellings that are in use.
func (u *unwrapper) named(c Call, depth int) {
	d := u.object(c)
	if d == nil {
		return
	}
	defer d.free()
	u.pair(d, 0, depth)
}

func (u *unwrapper) pair(d *doc, n, depth int) {
	f, err := d.get(n, &wrapFields)
	if err != nil || f[0] == 0 || d.kind(f[0]) != text {
		u.open = true
		return
	}
	for k := range d.members(n) {
		if k+1 != f[0] && k+1 != f[1] {
			u.open = true // it may choose the tool, or what it is given
		}
	}
	arguments := "{}"
	switch {
	case !d.has(f[1]):
	case d.kind(f[1]) == text:
		arguments = string(d.name(f[1]))
	default:
		arguments = string(d.raw(f[1]))
	}
	u.give(strings.TrimPrefix(string(d.name(f[0])), "functions."), arguments, "function", depth)
}

var parallelFields = spell("tool_uses")

func (u *unwrapper) parallel(c Call, depth int) {
	d := u.object(c)
	if d == nil {
		return
	}
	defer d.free()
	f, err := d.get(0, &parallelFields)
	if err != nil || f[0] == 0 || d.kind(f[0]) != array {
		u.open = true
		return
	}
	for e := range d.elements(f[0]) {
		if d.kind(e) != object {
			u.open = true
			return
		}
		if u.pair(d, e, depth); len(u.inner) >= maxInner {
			u.open = true
			return
		}
	}
}

var commandFields = spell("commands commandList command_list command", "comment note thought thoughts reason")

// commands reads what NAISYS runs in its shell: texts, each of which is a
// command.
func (u *unwrapper) commands(c Call) {
	d := u.object(c)
	if d == nil {
		return
	}
	defer d.free()
	f, err := d.get(0, &commandFields)
	if err != nil || f[0] == 0 {
		u.open = true
		return
	}
	for k := range d.members(0) {
		if k+1 != f[0] && k+1 != f[1] {
			u.open = true
		}
	}
	nodes := []int{f[0]}
	if d.kind(f[0]) == array {
		nodes = slices.Collect(d.elements(f[0]))
	}
	for _, n := range nodes {
		if d.kind(n) == object {
			g, err := d.get(n, &commandFields)
			if err != nil || g[0] == 0 {
				u.open = true
				continue
			}
			n = g[0]
		}
		if d.kind(n) != text || len(u.inner) >= maxInner {
			u.open = true
			continue
		}
		u.inner = append(u.inner, Call{
			Index: c.Index, ID: c.ID, Name: "shell", Arguments: string(d.name(n)), Type: "text",
		})
	}
}

// program reads a program that was given to a tool which runs it.
func (u *unwrapper) program(c Call, depth int) {
	s := script{src: c.Arguments}
	if !s.read() {
		u.open = true
	}
	for _, n := range s.calls {
		u.give(n.name, n.arguments, "function", depth)
	}
}
