package wire

import "strings"

var (
	geminiTop = spell("model", "contents", "systemInstruction system_instruction", "tools",
		"generationConfig generation_config", "cachedContent cached_content",
		"generateContentRequest generate_content_request")
	configFields = spell("maxOutputTokens max_output_tokens", "candidateCount candidate_count")
)

// gemini reads a generateContent request, or the one inside of a count.
func (p *reader) gemini(obj int) error {
	d, q := p.d, p.q
	f, err := d.get(obj, &geminiTop)
	if err != nil {
		return err
	}
	if err := p.sameModel(f[0]); err != nil {
		return err
	}
	if err := p.config(f[4]); err != nil {
		return err
	}
	if q.Cached, err = d.stringOf(f[5], "cachedContent"); err != nil {
		return err
	}
	if !d.has(f[1]) && !d.has(f[6]) {
		return refused("contents is missing")
	}
	for k := range d.members(obj) {
		switch v := k + 1; v {
		case f[0]:
			p.word(v, -1)
		case f[5]:
			err = p.outside(v)
		case f[1]:
			err = p.each(v, "contents", p.content)
		case f[2]:
			if d.has(v) {
				p.segment(v, Head, roleSystem)
				p.walk(v, false)
			}
		case f[3]:
			err = p.toolSegment(v)
		case f[6]:
			if ok, e := d.want(v, object, "generateContentRequest"); !ok || obj != 0 {
				err = e
				break
			}
			err = p.gemini(v)
		default:
			p.other(k)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sameModel refuses a body that names another model than the path.
func (p *reader) sameModel(n int) error {
	model, err := p.d.stringOf(n, "model")
	if err != nil {
		return err
	}
	if model != "" && strings.TrimPrefix(model, "models/") != p.q.Model {
		return refused("its model is not the path's")
	}
	return nil
}

func (p *reader) config(n int) error {
	if ok, err := p.d.want(n, object, "generationConfig"); !ok {
		return err
	}
	f, err := p.d.get(n, &configFields)
	if err != nil {
		return err
	}
	if p.q.MaxOutput, err = p.d.intOf(f[0], "maxOutputTokens", -1); err != nil {
		return err
	}
	if p.q.Choices, err = p.d.intOf(f[1], "candidateCount", 1); err != nil {
		return err
	}
	p.q.Choices = max(p.q.Choices, 1)
	return nil
}

var (
	contentFields = spell("role", "parts")
	partFields    = spell("text", "functionCall function_call", "functionResponse function_response",
		"executableCode executable_code", "inlineData inline_data", "fileData file_data",
		"codeExecutionResult code_execution_result", "toolCall tool_call", "toolResponse tool_response")
	geminiCall = spell("id", "name", "args", "partialArgs partial_args", "willContinue will_continue")
)

// content reads one content of a request or a candidate.
func (p *reader) content(n int) error {
	d := p.d
	if ok, err := d.want(n, object, "content"); !ok {
		return err
	}
	f, err := d.get(n, &contentFields)
	if err != nil {
		return err
	}
	role, err := d.stringOf(f[0], "a role")
	if err != nil {
		return err
	}
	if p.role = roleOf(role); p.q == nil {
		p.role = roleAssistant
	}
	for k := range d.members(n) {
		if k+1 != f[1] {
			p.member(n, k, false)
			continue
		}
		if ok, err := d.want(f[1], array, "parts"); !ok {
			return err
		}
		for e := range d.elements(f[1]) {
			if err := p.part(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *reader) part(n int) error {
	d := p.d
	p.at = n
	if d.kind(n) != object {
		return refused("a part is %s, not an object", kindNames[d.kind(n)])
	}
	f, err := d.get(n, &partFields)
	if err != nil {
		return err
	}
	data := 0
	for _, v := range f {
		if d.has(v) {
			data++
		}
	}
	if data > 1 {
		return refused("the part at byte %d is of two kinds at once", d.nodes[n].start)
	}
	defer func(role, call string) { p.role, p.call = role, call }(p.role, p.call)
	switch {
	case d.has(f[1]):
		if err := p.functionCall(f[1], "function"); err != nil || p.q == nil {
			return err
		}
	case d.has(f[7]):
		if err := p.functionCall(f[7], "server"); err != nil || p.q == nil {
			return err
		}
	case d.has(f[3]):
		p.role = roleAssistant
		p.found(Call{Name: "code_execution", Type: "server"}, f[3])
		if p.q == nil {
			return nil
		}
	case d.has(f[2]):
		if err := p.functionResponse(f[2]); err != nil {
			return err
		}
	}
	p.walk(n, false)
	return nil
}

func (p *reader) functionCall(n int, typ string) error {
	if ok, err := p.d.want(n, object, "functionCall"); !ok {
		return err
	}
	f, err := p.d.get(n, &geminiCall)
	if err != nil {
		return err
	}
	c := Call{Type: typ}
	if c.ID, err = p.d.stringOf(f[0], "a tool call's id"); err != nil {
		return err
	}
	if c.Name, err = p.d.stringOf(f[1], "a tool call's name"); err != nil {
		return err
	}
	args := f[2]
	if p.d.has(f[3]) { // in pieces: all of it
		args = n
	}
	p.role = roleAssistant
	p.found(c, args)
	return nil
}

func (p *reader) functionResponse(n int) error {
	if ok, err := p.d.want(n, object, "functionResponse"); !ok {
		return err
	}
	f, err := p.d.get(n, &geminiCall)
	if err != nil {
		return err
	}
	id, err := p.d.stringOf(f[0], "a tool result's id")
	if err != nil {
		return err
	}
	name, err := p.d.stringOf(f[1], "a tool result's name")
	if err != nil {
		return err
	}
	p.result(id, name)
	return nil
}

var embedTop = spell("model", "input", "content", "requests")

// embed reads a request for vectors: everything in it is the user's text.
func (p *reader) embed() error {
	d, q := p.d, p.q
	f, err := d.get(0, &embedTop)
	if err != nil {
		return err
	}
	if q.Route.API == Gemini {
		err = p.sameModel(f[0])
	} else {
		q.Model, err = d.stringOf(f[0], "model")
	}
	if err != nil {
		return err
	}
	for k := range d.members(0) {
		v := k + 1
		p.key(k)
		if v == f[0] || d.kind(v) < text {
			p.word(v, -1)
			continue
		}
		if v == f[3] {
			if err := p.sameModels(v); err != nil {
				return err
			}
		}
		p.segment(v, Item, roleUser)
		p.walk(v, false)
	}
	return nil
}

// sameModels is sameModel for each request of a batch.
func (p *reader) sameModels(arr int) error {
	if ok, err := p.d.want(arr, array, "requests"); !ok {
		return err
	}
	for e := range p.d.elements(arr) {
		if p.d.kind(e) != object {
			return refused("an element of requests is %s, not an object", kindNames[p.d.kind(e)])
		}
		g, err := p.d.get(e, &embedTop)
		if err != nil {
			return err
		}
		if err := p.sameModel(g[0]); err != nil {
			return err
		}
	}
	return nil
}
