package auditor

import (
	"context"

	"sallyport/internal/fault"
	"sallyport/internal/llm"
	"sallyport/internal/llm/token"
)

// Client is the engine behind the interface every model has. It connects to
// nothing, costs nothing and is safe for concurrent use.
type Client struct{ engine *Engine }

var _ llm.Client = (*Client)(nil)

// NewClient makes the model builtin/auditor.
func NewClient() *Client { return &Client{engine: New()} }

// Complete answers the transcript. It fails with fault.Usage when there is no
// message to answer, and with fault.Canceled when ctx is done.
func (c *Client) Complete(ctx context.Context, r llm.Request, onText func(string)) (llm.Response, error) {
	const op = "auditor.complete"
	if err := ctx.Err(); err != nil {
		return llm.Response{}, fault.Wrap(op, fault.Canceled, err)
	}
	if len(r.Messages) == 0 {
		return llm.Response{}, fault.New(op, fault.Usage, "the model builtin/auditor was asked without a message; send at least the prompt")
	}
	turns := make([]Turn, len(r.Messages))
	in := token.Estimate(r.System)
	for i, m := range r.Messages {
		turns[i] = Turn{Assistant: m.Role == llm.Assistant, Text: m.Text}
		in += token.Estimate(m.Text)
	}
	text := c.engine.Reply(r.System, turns)
	if onText != nil {
		onText(text)
	}
	return llm.Response{
		Text: text, Stop: llm.StopEnd, UsageKnown: true, Attempts: 1,
		Usage: llm.Usage{Input: int64(in), Output: int64(token.Estimate(text))},
	}, nil
}
