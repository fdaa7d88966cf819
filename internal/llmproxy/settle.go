package llmproxy

import (
	"context"
	"encoding/hex"
	"encoding/json"

	"sallyport/internal/fault"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/record"
)

// bytesPerToken is what is counted where an upstream says nothing: a token is
// about four bytes, rounded up.
const bytesPerToken = 4

// mostBytesPerToken is the most that one token of text can plausibly stand
// for: an upstream that claims less output than that is not believed.
const mostBytesPerToken = 64

// backgroundOutput is what a reply that is fetched later is taken to have if the
// request sets no bound. What it has beyond is billed when it is fetched; who
// never fetches it has paid for this much.
const backgroundOutput = 32 << 10

// remoteInput is the tokens that a history is taken to have which the provider
// keeps: its size is known only from the reply.
const remoteInput = 200_000

// remote tells that the model reads more than the request holds.
func (x *exchange) remote() bool { return x.q != nil && (x.q.PreviousID != "" || x.q.Cached != "") }

func estimate(size int64) int64 { return (size + bytesPerToken - 1) / bytesPerToken }

// bill gives what the exchange used: the upstream's figures where they are
// there and plausible, else an estimate. counted is false where it is one.
func (x *exchange) bill() (u wire.Usage, counted bool) {
	o := x.out
	if !o.reported || o.upstream >= 400 || x.route.Op == wire.Count || x.route.Op == wire.List {
		return wire.Usage{Usage: u.Usage, Known: true}, true // nothing was worked on
	}
	u = o.usage
	if u.Known && u.Output*mostBytesPerToken >= o.output {
		return u, true
	}
	if x.route.Op == wire.Retrieve && !u.Known {
		return wire.Usage{}, true // still in work, or deleted: nothing new
	}
	if !u.Known {
		if u.Input, u.CacheRead, u.CacheWrite = x.guess, 0, 0; x.history {
			u.Input += remoteInput
		}
	}
	u.Output = max(u.Output, estimate(o.output))
	if x.background {
		u.Output = max(u.Output, x.later)
	}
	return u, false
}

// settle records how the model call ended: what it used, what it cost, what was
// found. It does not keep the client waiting.
func (x *exchange) settle(h *halt) {
	p, o := x.p, x.out
	if x.permit == nil {
		return
	}
	u, counted := x.bill()
	cost, again := x.cost(u)
	if o.replyID != "" && x.route.Op != wire.Retrieve {
		p.owners.put(o.replyID, x.who.account())
	}
	p.limits.used(x.who, u.Input+u.CacheRead+u.CacheWrite+u.Output-x.guess)
	res := record.Result{Cost: cost, Findings: o.verdict.Findings, Data: x.data(h, u, counted, again)}
	ctx, err := context.Background(), error(nil)
	switch h.outcome {
	case outcomeCanceled:
		gone, cancel := context.WithCancel(ctx)
		cancel()
		ctx, err = gone, context.Canceled
	case outcomeUpstream, outcomeError:
		err = fault.New("llmproxy.reply", fault.Unavailable, "%s", h.because)
	}
	permit := x.permit
	p.queue.add(permit.Receipt.ID, func() {
		if _, e := p.cfg.Gate.Settle(ctx, permit, res, err); e != nil && e != err { //nolint:errorlint // the gate hands the same error back
			p.failed(e)
		}
	})
	now := p.cfg.Now()
	first := o.first
	if first.IsZero() {
		first = now
	}
	p.cfg.Observe.Latency(x.route.API, x.model, first.Sub(o.start), now.Sub(o.start))
	p.cfg.Observe.Tokens(x.route.API, x.model, x.who.Agent, u)
}

// cost gives what the exchange adds to what was spent. It is nothing, and again
// is true, for a reply that was settled before: the client repeated its request
// and the upstream gave the same reply, or the client fetches what was billed
// when it was ordered. Of a fetched reply that turns out dearer than it was
// billed, the rest is due.
func (x *exchange) cost(u wire.Usage) (cost record.Micros, again bool) {
	price := func(target string) record.Micros {
		c, _ := x.p.cfg.Cost(target, u)
		return c
	}
	if x.out.replyID == "" || !u.Known && !x.background {
		return price(x.target), false
	}
	id := x.who.account() + "\x00" + x.out.replyID
	if x.route.Op == wire.Retrieve {
		return x.p.paid.rest(id, x.target, price)
	}
	content := x.digest()
	cost = price(x.target)
	if x.p.paid.repeated(id+"\x00"+hex.EncodeToString(content[:]), cost) && x.repeats {
		return 0, true
	}
	x.p.paid.put(id, paid{target: x.target, cost: cost})
	return cost, false
}

func (x *exchange) data(h *halt, u wire.Usage, counted, again bool) map[string]any {
	o := x.out
	d := map[string]any{
		"model": x.target, "request_id": o.requestID, "status": int64(o.upstream), "stop": plain(o.stop, 64),
		"attempts": int64(o.attempts), "replaced": int64(o.replaced), "bytes": o.bytes.Load(), "outcome": h.outcome,
		"usage_known": u.Known && counted,
		"usage": map[string]any{
			"input_tokens": u.Input, "output_tokens": u.Output, "cache_read_tokens": u.CacheRead,
			"cache_write_tokens": u.CacheWrite, "reasoning_tokens": u.Reasoning,
		},
	}
	if !o.first.IsZero() {
		d["ttfb_ms"] = o.first.Sub(o.start).Milliseconds()
	}
	if o.replyID != "" {
		d["reply_id"] = plain(o.replyID, 128)
	}
	if h.rule != "" {
		d["rule"], d["because"] = h.rule, h.because
	}
	if again {
		d["paid_before"] = true
	}
	if u.Known && !counted {
		d["usage_doubted"] = true
	}
	if a := o.verdict.Alert; a != "" && a != "none" {
		d["alert"] = a
	}
	return d
}

// embedded reads what a reply of vectors says it used.
func (x *exchange) embedded(b []byte) {
	var r struct {
		Usage struct {
			Prompt int64 `json:"prompt_tokens"`
		} `json:"usage"`
	}
	if json.Unmarshal(b, &r) == nil && r.Usage.Prompt > 0 && r.Usage.Prompt <= x.size {
		x.out.usage.Input, x.out.usage.Known = r.Usage.Prompt, true
	}
}
