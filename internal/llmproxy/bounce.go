package llmproxy

import (
	"encoding/json"

	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/llmproxy/wire"
)

// maxBounces is how often one reply's denied calls go back to the model.
const maxBounces = 2

// bounces tells whether denied calls of a plain reply go back to the model. Its
// forms are those in which the history stands in the request.
func (x *exchange) bounces() bool {
	return x.p.cfg.Bounce && x.rounds < maxBounces && x.route.Op == wire.Generate && !x.q.Background && x.q.Choices == 1 &&
		(x.route.API == wire.Chat || x.route.API == wire.Messages)
}

// bounce asks the model once more, with an error as the result of each denied
// call. It is a model call of its own: screened, judged, settled. The client
// sees only the last reply.
func (x *exchange) bounce(r *wire.Reply, reply []byte, notices map[int]string, kept [][]*gate.Permit) *halt {
	body, ok := x.answered(r, reply, notices)
	if !ok {
		return nil
	}
	for _, ps := range kept {
		x.withdraw(ps, "the reply went back to the model because another call of it was denied")
	}
	x.out.replaced = len(notices)
	x.settle(&halt{outcome: outcomeDone})
	x.permit, x.out, x.guess = nil, &outcome{start: x.out.start, status: x.out.status}, 0
	x.r.Header.Del("Content-Encoding")
	x.rounds++
	q, err := wire.ParseRequest(x.route, body)
	if err != nil {
		return x.unreadable(err)
	}
	x.body, x.view, x.q, x.size, x.digest = body, body, q, int64(len(body)), digestOf(body)
	x.in = screened{}
	for _, step := range []func() *halt{x.screen, x.open, x.forward} {
		if h := step(); h != nil {
			return h
		}
	}
	return &halt{outcome: outcomeDone}
}

// answered is the request with the reply and the results of its calls behind the
// last message.
func (x *exchange) answered(r *wire.Reply, reply []byte, notices map[int]string) ([]byte, bool) {
	end := -1
	for _, s := range x.q.Segments {
		if s.Kind == wire.Item {
			end = s.Span.End
		}
	}
	more, err := turns(x.route.API, r, reply, notices)
	if end < 0 || err != nil {
		return nil, false
	}
	out := make([]byte, 0, len(x.view)+len(more))
	out = append(append(out, x.view[:end]...), more...)
	return append(out, x.view[end:]...), true
}

// waits is the result of a call that was permitted beside a denied one.
const waits = "Not run, because another tool call of this turn was blocked. Call it again if it is still needed."

// turns are the assistant's turn as it came, and the results.
func turns(api wire.API, r *wire.Reply, reply []byte, notices map[int]string) ([]byte, error) {
	var said struct {
		Choices []struct {
			Message json.RawMessage `json:"message"`
		} `json:"choices"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(reply, &said); err != nil {
		return nil, err
	}
	if api == wire.Chat && len(said.Choices) != 1 {
		return nil, fault.New("llmproxy.bounce", fault.Unsupported, "several choices cannot be answered at once")
	}
	var list []any
	var results []any
	for _, c := range r.Calls {
		text, denied := notices[c.Index]
		if !denied {
			text = waits
		}
		if c.ID == "" {
			return nil, fault.New("llmproxy.bounce", fault.Unsupported, "a call without an id cannot be answered")
		}
		if api == wire.Chat {
			results = append(results, map[string]any{"role": "tool", "tool_call_id": c.ID, "content": text})
		} else if c.Type != typeServer {
			results = append(results, map[string]any{"type": "tool_result", "tool_use_id": c.ID, "is_error": true, "content": text})
		}
	}
	if api == wire.Chat {
		list = append([]any{said.Choices[0].Message}, results...)
	} else {
		list = []any{map[string]any{"role": "assistant", "content": said.Content}, map[string]any{"role": "user", "content": results}}
	}
	var out []byte
	for _, turn := range list {
		b, err := json.Marshal(turn)
		if err != nil {
			return nil, err
		}
		out = append(append(out, ','), b...)
	}
	return out, nil
}
