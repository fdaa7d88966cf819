package wire

import "sallyport/internal/llm"

// Reply is a view of one plain (not streamed) reply; its spans are in the body
// it was read from.
type Reply struct {
	Model, ID string
	// Stop is why the (first) reply ended, in the server's own word; for
	// Responses the status, with the reason after a colon if it is incomplete.
	Stop  string
	Calls []Call // of all choices, in document order
	Texts []Text // text, refusals and reasoning of all choices
	Usage Usage

	api API
}

// ParseReply reads a plain reply. An error is of kind fault.Usage: the server's
// words could be understood differently by two readers, or a field that
// carries calls or text is of the wrong kind; such a reply must not be passed
// on. An error body of a server reads as a Reply without calls.
func ParseReply(api API, body []byte) (*Reply, error) {
	d, err := openObject(body)
	if err != nil {
		return nil, err
	}
	defer d.free()
	p, err := readReply(api, d)
	if err != nil {
		return nil, err
	}
	return p.r, nil
}

func readReply(api API, d *doc) (*reader, error) {
	p := &reader{d: d, r: &Reply{api: api}, role: roleAssistant}
	var err error
	switch api {
	case Chat:
		err = p.chatReply()
	case Responses:
		err = p.responsesReply()
	case Messages:
		err = p.messagesReply()
	case Gemini:
		err = p.geminiReply()
	default:
		err = refused("its form is unknown")
	}
	return p, err
}

// about reads model, id and stop; each may be absent.
func (p *reader) about(model, id, stop int) (err error) {
	if p.r.Model, err = p.d.stringOf(model, "model"); err != nil {
		return err
	}
	if p.r.ID, err = p.d.stringOf(id, "id"); err != nil {
		return err
	}
	p.r.Stop, err = p.d.stringOf(stop, "the stop reason")
	return err
}

// objects reads the elements of an array of a reply.
func (p *reader) objects(arr int, field string, read func(n int) error) error {
	if ok, err := p.d.want(arr, array, field); !ok {
		return err
	}
	for n := range p.d.elements(arr) {
		if p.d.kind(n) != object {
			return refused("an element of %s is %s, not an object", field, kindNames[p.d.kind(n)])
		}
		if err := read(n); err != nil {
			return err
		}
	}
	return nil
}

var (
	chatReplyFields = spell("model", "id", "choices", "usage")
	choiceFields    = spell("index", "message", "finish_reason")
)

func (p *reader) chatReply() error {
	d := p.d
	f, err := d.get(0, &chatReplyFields)
	if err != nil {
		return err
	}
	if err := p.about(f[0], f[1], 0); err != nil {
		return err
	}
	p.r.Usage = d.usage(Chat, f[3])
	return p.objects(f[2], "choices", func(n int) error {
		g, err := d.get(n, &choiceFields)
		if err != nil {
			return err
		}
		stop, err := d.stringOf(g[2], "finish_reason")
		if err != nil {
			return err
		}
		if p.r.Stop == "" {
			p.r.Stop = stop
		}
		if ok, err := d.want(g[1], object, "message"); !ok {
			return err
		}
		return p.chatMessage(g[1])
	})
}

var (
	responsesReplyFields = spell("model", "id", "status", "output", "usage", "incomplete_details")
	incompleteFields     = spell("reason")
)

func (p *reader) responsesReply() error {
	d := p.d
	f, err := d.get(0, &responsesReplyFields)
	if err != nil {
		return err
	}
	if err := p.about(f[0], f[1], f[2]); err != nil {
		return err
	}
	if d.has(f[5]) && d.kind(f[5]) == object {
		g, err := d.get(f[5], &incompleteFields)
		if err != nil {
			return err
		}
		reason, err := d.stringOf(g[0], "the stop reason")
		if err != nil {
			return err
		}
		p.r.Stop += ":" + reason
	}
	p.r.Usage = d.usage(Responses, f[4])
	return p.objects(f[3], "output", p.item)
}

var messagesReplyFields = spell("model", "id", "stop_reason", "content", "usage")

func (p *reader) messagesReply() error {
	f, err := p.d.get(0, &messagesReplyFields)
	if err != nil {
		return err
	}
	if err := p.about(f[0], f[1], f[2]); err != nil {
		return err
	}
	p.r.Usage = p.d.usage(Messages, f[4])
	return p.objects(f[3], "content", p.block)
}

var (
	geminiReplyFields = spell("modelVersion model_version", "responseId response_id", "candidates",
		"usageMetadata usage_metadata", "promptFeedback prompt_feedback")
	candidateFields = spell("index", "content", "finishReason finish_reason")
	feedbackFields  = spell("blockReason block_reason")
)

func (p *reader) geminiReply() error {
	d := p.d
	f, err := d.get(0, &geminiReplyFields)
	if err != nil {
		return err
	}
	if err := p.about(f[0], f[1], 0); err != nil {
		return err
	}
	if d.has(f[4]) && d.kind(f[4]) == object {
		g, err := d.get(f[4], &feedbackFields)
		if err != nil {
			return err
		}
		if p.r.Stop, err = d.stringOf(g[0], "blockReason"); err != nil {
			return err
		}
	}
	p.r.Usage = d.usage(Gemini, f[3])
	return p.objects(f[2], "candidates", func(n int) error {
		g, err := d.get(n, &candidateFields)
		if err != nil {
			return err
		}
		stop, err := d.stringOf(g[2], "finishReason")
		if err != nil {
			return err
		}
		if p.r.Stop == "" {
			p.r.Stop = stop
		}
		return p.content(g[1])
	})
}

func (d *doc) usage(api API, n int) Usage {
	if n == 0 || d.kind(n) != object {
		return Usage{}
	}
	return d.figures(api, n)
}

// The slots of usageFields are the same for each form: input, output, details
// of input, details of output; Gemini and Anthropic have the first two in one
// object.
var usageFields = map[API]fields{
	Chat:      spell("prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details"),
	Responses: spell("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details"),
	Messages:  spell("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens_details"),
	Gemini: spell("promptTokenCount prompt_token_count", "candidatesTokenCount candidates_token_count",
		"cachedContentTokenCount cached_content_token_count", "thoughtsTokenCount thoughts_token_count",
		"toolUsePromptTokenCount tool_use_prompt_token_count"),
}

var detailFields = spell("cached_tokens", "reasoning_tokens", "thinking_tokens")

// figures brings a usage object to the meaning of llm.Usage. A figure that is
// no number of 0 to llm.MaxFigure, or a part larger than its whole, makes all
// of them unknown: a budget is then settled at what was reserved.
func (d *doc) figures(api API, obj int) Usage {
	table, ok := usageFields[api]
	if !ok {
		return Usage{}
	}
	f, err := d.get(obj, &table)
	if err != nil || !d.has(f[0]) && !d.has(f[1]) {
		return Usage{}
	}
	good := true
	figure := func(n int) int64 {
		v, err := d.intOf(n, "a figure", 0)
		good = good && err == nil && v <= llm.MaxFigure
		return v
	}
	detail := func(n, slot int) int64 {
		if !d.has(n) || d.kind(n) != object {
			return 0
		}
		g, err := d.get(n, &detailFields)
		good = good && err == nil
		return figure(g[slot])
	}
	u := llm.Usage{Input: figure(f[0]), Output: figure(f[1])}
	switch api {
	case Messages:
		u.CacheRead, u.CacheWrite, u.Reasoning = figure(f[2]), figure(f[3]), detail(f[4], 2)
	case Gemini:
		u.CacheRead, u.Reasoning = figure(f[2]), figure(f[3])
		u.Input += figure(f[4]) - u.CacheRead
		u.Output += u.Reasoning
	default:
		u.CacheRead, u.Reasoning = detail(f[2], 0), detail(f[3], 1)
		u.Input -= u.CacheRead
	}
	if !good || u.Input < 0 || u.Reasoning > u.Output || u.Output > llm.MaxFigure || u.Input > llm.MaxFigure {
		return Usage{}
	}
	return Usage{Usage: u, Known: true}
}
