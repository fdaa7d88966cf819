package wire

import "strings"

var chatTop = spell("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
	"n", "tools", "functions", "store")

// chat reads a Chat Completions request.
func (p *reader) chat() error {
	d, q := p.d, p.q
	f, err := d.get(0, &chatTop)
	if err != nil {
		return err
	}
	if q.Model, err = d.stringOf(f[0], "model"); err != nil {
		return err
	}
	if q.Stream, err = d.boolOf(f[2], "stream", false); err != nil {
		return err
	}
	if q.Store, err = d.boolOf(f[9], "store", false); err != nil {
		return err
	}
	if q.MaxOutput, err = p.largest("max_tokens", f[4], f[5]); err != nil {
		return err
	}
	if q.Choices, err = d.intOf(f[6], "n", 1); err != nil {
		return err
	}
	if q.Choices < 1 {
		return refused("n is 0")
	}
	if err := p.streamOptions(f[3]); err != nil {
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
			err = p.each(v, "messages", p.chatMessage)
		case f[7], f[8]:
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

// largest gives the larger of two bounds that mean the same, -1 if neither is
// there.
func (p *reader) largest(field string, a, b int) (int64, error) {
	x, err := p.d.intOf(a, field, -1)
	if err != nil {
		return 0, err
	}
	y, err := p.d.intOf(b, field, -1)
	return max(x, y), err
}

func (p *reader) toolSegment(v int) error {
	if !p.d.has(v) {
		return nil
	}
	p.segment(v, Tools, roleTools)
	if err := p.tools(v, ""); err != nil {
		return err
	}
	p.walk(v, false)
	return nil
}

// each reads the elements of an array, each of which is an item.
func (p *reader) each(arr int, field string, item func(n int) error) error {
	if ok, err := p.d.want(arr, array, field); !ok {
		return err
	}
	for n := range p.d.elements(arr) {
		if p.d.kind(n) != object {
			return refused("an element of %s is %s, not an object", field, kindNames[p.d.kind(n)])
		}
		p.segment(n, Item, roleUser)
		if err := item(n); err != nil {
			return err
		}
	}
	return nil
}

var streamFields = spell("include_usage")

// streamOptions notes what a stream says about its usage, and how it can be
// made to.
func (p *reader) streamOptions(n int) error {
	d, q := p.d, p.q
	if ok, err := d.want(n, object, "stream_options"); err != nil || !ok {
		switch {
		case err != nil || !q.Stream:
		case n != 0: // null
			q.usage = edit{d.span(n), `{"include_usage":true}`}
		default:
			q.usage = edit{Span{int(d.nodes[0].start) + 1, int(d.nodes[0].start) + 1}, `"stream_options":{"include_usage":true},`}
		}
		return err
	}
	f, err := d.get(n, &streamFields)
	if err != nil {
		return err
	}
	if q.IncludeUsage, err = d.boolOf(f[0], "include_usage", false); err != nil || q.IncludeUsage || !q.Stream {
		return err
	}
	at := d.span(n).Start + 1
	switch {
	case f[0] != 0:
		q.usage = edit{d.span(f[0]), "true"}
	case int(d.nodes[n].next) == n+1: // empty
		q.usage = edit{Span{at, at}, `"include_usage":true`}
	default:
		q.usage = edit{Span{at, at}, `"include_usage":true,`}
	}
	return nil
}

var chatFields = spell("role", "content", "tool_calls", "function_call", "tool_call_id", "name")

// roleOf brings the forms' roles to ours. One that is not known counts as the
// user's: it gives no trust.
func roleOf(role string) string {
	switch role {
	case "system", "developer":
		return roleSystem
	case "assistant", "model":
		return roleAssistant
	case "tool", "function":
		return roleTool
	default:
		return roleUser
	}
}

func (p *reader) chatMessage(n int) error {
	d := p.d
	f, err := d.get(n, &chatFields)
	if err != nil {
		return err
	}
	role, err := d.stringOf(f[0], "a role")
	if err != nil {
		return err
	}
	if p.role = roleOf(role); p.role == roleTool {
		id, err := d.stringOf(f[4], "tool_call_id")
		if err != nil {
			return err
		}
		name, err := d.stringOf(f[5], "name")
		if err != nil {
			return err
		}
		p.result(id, name)
	}
	if err := p.chatCalls(f[2], f[3]); err != nil {
		return err
	}
	for k := range d.members(n) {
		// A reply's calls are judged as calls, not as text.
		if p.q != nil || k+1 != f[2] && k+1 != f[3] {
			p.member(n, k, false)
		}
	}
	return nil
}

// chatCalls reads tool_calls and the older function_call of a message.
func (p *reader) chatCalls(list, legacy int) error {
	d := p.d
	if ok, err := d.want(list, array, "tool_calls"); err != nil {
		return err
	} else if ok {
		for n := range d.elements(list) {
			if err := p.chatCall(n); err != nil {
				return err
			}
		}
	}
	if ok, err := d.want(legacy, object, "function_call"); !ok {
		return err
	}
	p.at = legacy
	return p.function(legacy, Call{Type: "function"})
}

var callFields = spell("id", "type", "function", "custom", "index")

func (p *reader) chatCall(n int) error {
	d := p.d
	p.at = n
	if d.kind(n) != object {
		return refused("a tool call is %s, not an object", kindNames[d.kind(n)])
	}
	f, err := d.get(n, &callFields)
	if err != nil {
		return err
	}
	id, err := d.stringOf(f[0], "a tool call's id")
	if err != nil {
		return err
	}
	inner, c := f[2], Call{ID: id, Type: "function"}
	if d.has(f[3]) {
		if d.has(f[2]) {
			return refused("a tool call is a function and custom at once")
		}
		inner, c.Type = f[3], "custom"
	}
	if ok, err := d.want(inner, object, "a tool call's function"); !ok {
		if err == nil {
			err = refused("a tool call names no function")
		}
		return err
	}
	return p.function(inner, c)
}

var functionFields = spell("name", "arguments", "input")

func (p *reader) function(n int, c Call) error {
	f, err := p.d.get(n, &functionFields)
	if err != nil {
		return err
	}
	if c.Name, err = p.d.stringOf(f[0], "a tool call's name"); err != nil {
		return err
	}
	args := f[1]
	if c.Type == "custom" {
		args = f[2]
	}
	p.found(c, args)
	return nil
}

var responsesTop = spell("model", "input", "instructions", "stream", "max_output_tokens", "tools",
	"previous_response_id", "conversation", "background", "store")

// responses reads a Responses request, also a compaction or a count.
func (p *reader) responses() error {
	d, q := p.d, p.q
	f, err := d.get(0, &responsesTop)
	if err != nil {
		return err
	}
	if q.Model, err = d.stringOf(f[0], "model"); err != nil {
		return err
	}
	if q.Stream, err = d.boolOf(f[3], "stream", false); err != nil {
		return err
	}
	if q.Background, err = d.boolOf(f[8], "background", false); err != nil {
		return err
	}
	// The API keeps replies unless it is told not to.
	if q.Store, err = d.boolOf(f[9], "store", true); err != nil {
		return err
	}
	if q.MaxOutput, err = d.intOf(f[4], "max_output_tokens", -1); err != nil {
		return err
	}
	if err := p.previous(f[6], f[7]); err != nil {
		return err
	}
	for k := range d.members(0) {
		switch v := k + 1; v {
		case f[0]:
			p.word(v, -1)
		case f[6]:
			err = p.outside(v)
		case f[7]:
			err = p.conversation(v)
		case f[1]:
			if d.kind(v) == text {
				p.segment(v, Item, roleUser)
				p.add(v)
				break
			}
			err = p.each(v, "input", p.item)
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

var conversationFields = spell("id")

// previous reads where history stands that is not in the body.
func (p *reader) previous(response, conversation int) (err error) {
	if p.q.PreviousID, err = p.d.stringOf(response, "previous_response_id"); err != nil || !p.d.has(conversation) {
		return err
	}
	id := conversation
	if p.d.kind(conversation) == object {
		f, err := p.d.get(conversation, &conversationFields)
		if err != nil {
			return err
		}
		id = f[0]
	}
	if p.q.PreviousID != "" {
		return refused("it continues a response and a conversation at once")
	}
	p.q.PreviousID, err = p.d.stringOf(id, "conversation")
	return err
}

// conversation reads what else the object of a conversation says.
func (p *reader) conversation(n int) error {
	if p.d.kind(n) != object {
		return p.outside(n)
	}
	for k := range p.d.members(n) {
		if string(p.d.name(k)) != "id" {
			p.other(k)
		} else if err := p.outside(k + 1); err != nil {
			return err
		}
	}
	return nil
}

var itemFields = spell("type", "role", "call_id", "id", "name", "namespace", "arguments", "input", "action",
	"operation", "actions", "tools", "server_label", "approval_request_id", "code")

// The slots of itemFields.
const (
	iType = iota
	iRole
	iCallID
	iID
	iName
	iNamespace
	iArguments
	iInput
	iAction
	iOperation
	iActions
	iTools
	iServer
	iApproval
	iCode
)

// item reads one input or output item of Responses.
func (p *reader) item(n int) error {
	d := p.d
	p.at = n
	f, err := d.get(n, &itemFields)
	if err != nil {
		return err
	}
	typ, err := d.stringOf(f[iType], "an item's type")
	if err != nil {
		return err
	}
	role, err := d.stringOf(f[iRole], "a role")
	if err != nil {
		return err
	}
	p.role = roleOf(role)
	if typ == "reasoning" || p.q == nil {
		p.role = roleAssistant
	}
	if d.has(f[iTools]) && p.q != nil && (typ == "additional_tools" || typ == "tool_search_output" || typ == "mcp_list_tools") {
		p.role = roleTools
		if err := p.tools(f[iTools], ""); err != nil {
			return err
		}
	}
	if isResult(typ) {
		id, err := p.first(f[iCallID], f[iID], f[iApproval])
		if err != nil {
			return err
		}
		role := p.role
		if p.result(id, ""); role == roleTools {
			p.role = role
		}
	} else if called, err := p.itemCall(n, typ, &f); err != nil || called && p.q == nil {
		return err
	}
	p.walk(n, false)
	return nil
}

// first gives the first of some string fields that is there.
func (p *reader) first(nodes ...int) (string, error) {
	for _, n := range nodes {
		if s, err := p.d.stringOf(n, "an id or a name"); s != "" || err != nil {
			return s, err
		}
	}
	return "", nil
}

func isResult(typ string) bool {
	return strings.HasSuffix(typ, "_output") || typ == "mcp_approval_response"
}

// itemCall keeps an item that is a call. What looks like one without a type
// that is known counts as one, with the whole item as its arguments.
func (p *reader) itemCall(n int, typ string, f *found) (bool, error) {
	name, err := p.d.stringOf(f[iName], "a tool call's name")
	if err != nil {
		return false, err
	}
	c := Call{Type: "function", Name: name}
	args := 0
	switch typ {
	case "function_call":
		args = f[iArguments]
	case "custom_tool_call":
		c.Type, args = "custom", f[iInput]
	case "local_shell_call", "shell_call":
		c.Type, c.Name, args = "local_shell", strings.TrimSuffix(typ, "_call"), f[iAction]
	case "tool_search_call":
		c.Type, c.Name, args = "tool_search", "tool_search", f[iArguments]
	case "mcp_call":
		c.Type, args = "server", f[iArguments]
	case "web_search_call", "file_search_call", "image_generation_call":
		c.Type, c.Name, args = "server", strings.TrimSuffix(typ, "_call"), f[iAction]
	case "code_interpreter_call":
		c.Type, c.Name, args = "server", "code_interpreter", f[iCode]
	case "message", "reasoning", "item_reference", "compaction", "mcp_list_tools", "additional_tools":
		return false, nil
	default:
		if !strings.HasSuffix(typ, "_call") && !strings.HasSuffix(typ, "_request") &&
			f[iCallID]+f[iArguments]+f[iInput]+f[iAction]+f[iOperation]+f[iActions] == 0 {
			return false, nil
		}
		if args = n; name == "" {
			c.Name = strings.TrimSuffix(typ, "_call")
		}
	}
	space, err := p.first(f[iNamespace], f[iServer])
	if err != nil {
		return false, err
	}
	c.Name = qualify(space, c.Name)
	if c.ID, err = p.first(f[iCallID], f[iID]); err != nil {
		return false, err
	}
	p.role = roleAssistant
	p.found(c, args)
	return true, nil
}
