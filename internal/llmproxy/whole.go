package llmproxy

import (
	"bufio"
	"compress/gzip"
	"io"
	"net/http"
	"strings"

	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/llmproxy/wire"
)

// maxErrorBody bounds the body of an upstream's error.
const maxErrorBody = 4 << 20

// newGunzip decompresses a reply as it comes.
func newGunzip(r io.Reader) (io.Reader, error) {
	g, err := gzip.NewReader(bufio.NewReader(r))
	if err != nil {
		return nil, err
	}
	return g, nil
}

// relayError passes the upstream's own refusal on, byte for byte.
func (x *exchange) relayError(resp *http.Response) *halt {
	b, err := x.slurp(&idleReader{x: x, r: resp.Body}, resp.ContentLength, maxErrorBody)
	if err != nil {
		return x.unreadable(err)
	}
	x.deliver(resp, x.keys.scrub(b))
	if resp.StatusCode >= 500 {
		x.p.limits.unanswered(x.who, x.digest, x.p.cfg.Now())
	}
	return &halt{outcome: outcomeUpstream, because: "the upstream answered with status " + resp.Status}
}

// relay passes on what carries no tool calls: counts, lists, vectors.
func (x *exchange) relay(resp *http.Response, body io.Reader) *halt {
	b, err := x.slurp(body, resp.ContentLength, x.p.cfg.MaxBody)
	if err != nil {
		return x.unreadable(err)
	}
	x.out.ended = true
	if x.route.Op == wire.Embed {
		x.embedded(b)
	}
	return x.deliver(resp, x.keys.scrub(b))
}

// deliver sends a reply that is whole.
func (x *exchange) deliver(resp *http.Response, b []byte) *halt {
	x.deadline()
	if len(resp.Trailer) > 0 {
		x.begin(resp, -1) // trailers follow chunks only
	} else {
		x.begin(resp, len(b))
	}
	if _, err := x.w.Write(b); err != nil {
		return &halt{outcome: outcomeCanceled, because: errGone.Error()}
	}
	for k, v := range resp.Trailer {
		x.w.Header()[http.TrailerPrefix+k] = x.keys.scrubAll(v)
	}
	return nil
}

// whole judges a plain reply.
func (x *exchange) whole(resp *http.Response, body io.Reader) *halt {
	b, err := x.slurp(body, resp.ContentLength, x.p.cfg.MaxBody)
	if err != nil {
		return x.unreadable(err)
	}
	b = x.keys.scrub(b)
	r, err := wire.ParseReply(x.route.API, b)
	if err != nil {
		return x.unreadable(err)
	}
	if !x.hold(r.Weight()) {
		return x.unreadable(errNoRoom)
	}
	x.out.ended, x.out.replyID, x.out.stop, x.out.usage = true, r.ID, r.Stop, r.Usage
	if h := x.texts(r, b); h != nil {
		return h
	}
	if len(r.Calls) > x.p.cfg.MaxCalls {
		return x.denied(fault.New("llmproxy.calls", fault.Denied, "the reply holds %d tool calls, more than %d are not judged", len(r.Calls), x.p.cfg.MaxCalls))
	}
	notices := map[int]string{}
	kept := make([][]*gate.Permit, len(r.Calls))
	for i, c := range r.Calls {
		v, ps := x.decide(c)
		if kept[i] = ps; !v.Release {
			notices[c.Index] = v.Notice
		}
	}
	if x.ctx.Err() != nil {
		for _, ps := range kept {
			x.withdraw(ps, "the client went away before it was given the call")
		}
		return x.unreachable(x.ctx.Err())
	}
	if len(notices) > 0 && x.bounces() {
		if h := x.bounce(r, b, notices, kept); h != nil {
			return h
		}
	}
	for i, c := range r.Calls {
		if len(kept[i]) > 0 {
			x.hand(c, kept[i])
		}
	}
	if x.out.replaced = len(notices); len(notices) > 0 {
		if b, err = r.Replace(b, notices); err != nil {
			return x.unreadable(err)
		}
	}
	return x.deliver(resp, b)
}

// texts screens what a plain reply says. Where the client executes what it is
// told, the text is a call.
func (x *exchange) texts(r *wire.Reply, b []byte) *halt {
	var all strings.Builder
	var buf []byte
	var said []string
	view := wire.Request{Texts: r.Texts}
	for i := range r.Texts {
		buf = view.Text(b, i, buf)
		x.out.output += int64(len(buf))
		if reason := x.output(x.p.cfg.Screen.Text(buf)); reason != nil {
			a := wire.Refuse(x.route.API, x.client, *reason)
			return &halt{outcome: outcomeDenied, rule: reason.Rule, because: reason.Because, answer: &a}
		}
		if x.p.cfg.ModerateOutput != nil {
			said = append(said, string(buf))
		}
		if x.textIsCall() {
			all.Write(buf)
			all.WriteByte('\n')
		}
	}
	reason, err := x.moderateOutput(said)
	if err != nil {
		return x.unreadable(err)
	}
	if reason != nil {
		a := wire.Refuse(x.route.API, x.client, *reason)
		return &halt{outcome: outcomeDenied, rule: reason.Rule, because: reason.Because, answer: &a}
	}
	if strings.TrimSpace(all.String()) == "" {
		return nil
	}
	v := x.judge(wire.Call{Type: "text", Arguments: all.String()})
	if v.Release {
		return nil
	}
	a := wire.Refuse(x.route.API, x.client, x.lastReason)
	return &halt{outcome: outcomeDenied, rule: x.lastReason.Rule, because: x.lastReason.Because, answer: &a}
}

// textIsCall tells a client that takes a reply's text for a command.
func (x *exchange) textIsCall() bool { return x.client == wire.NAISYS }
