package llmproxy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/llmproxy/stream"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/scan/screen"
)

const (
	// typeServer is a call that the provider has performed already.
	typeServer = "server"
	// maxInner bounds the calls that one meta-tool's call may hold.
	maxInner = 64
	// maxName bounds a tool's name.
	maxName = 256
)

// judge passes a tool call through the gate: each call it stands for is an
// action of its own, and it is released only if all of them are permitted.
// While people are waited for, the client is kept alive.
func (x *exchange) judge(c wire.Call) stream.Verdict {
	v, permits := x.decide(c)
	if v.Release && len(permits) > 0 {
		x.hand(c, permits)
	}
	return v
}

// decide opens what a call stands for; the permits are still to be handed out.
func (x *exchange) decide(c wire.Call) (stream.Verdict, []*gate.Permit) {
	x.out.output += int64(len(c.Name) + len(c.Arguments))
	x.p.cfg.Observe.Held(+1)
	defer x.p.cfg.Observe.Held(-1)
	if c.Type == typeServer {
		return x.report(c), nil
	}
	inner, resolved := wire.Unwrap(c)
	if !resolved && (len(inner) != 1 || inner[0] != c) {
		inner = append([]wire.Call{c}, inner...) // more may happen than what is seen inside
	}
	var permits []*gate.Permit
	asked := false
	err := x.judgeable(c, inner)
	for i := 0; err == nil && i < len(inner); i++ {
		var p *gate.Permit
		var act screen.Action
		if p, act, err = x.openCall(inner[i], resolved, x.patience); err == nil {
			permits = append(permits, p)
			asked = asked || act == screen.Ask // and answered with a yes
		}
	}
	if err != nil {
		x.withdraw(permits, "another part of the same call was denied")
		return x.blocked(c, err), nil
	}
	if asked {
		x.p.judged.approve(x.who, []byte(c.Arguments))
	}
	x.p.cfg.Observe.Call(c.Name, "released")
	return stream.Verdict{Release: true}, permits
}

// judgeable refuses calls that no rule could name.
func (x *exchange) judgeable(c wire.Call, inner []wire.Call) error {
	if len(inner) > maxInner {
		return fault.New("llmproxy.call", fault.Denied, "one tool call holds %d others, more than %d are not judged", len(inner), maxInner)
	}
	for _, one := range inner {
		if len(one.Name) > maxName || strings.ContainsFunc(one.Name, unicode.IsControl) || one.Name == "" && one.Type != "text" {
			return fault.New("llmproxy.call", fault.Denied, "the tool's name is empty, too long or holds control characters")
		}
	}
	if len(c.ID) > maxName {
		return fault.New("llmproxy.call", fault.Denied, "the tool call's id is too long")
	}
	return nil
}

// openCall opens one tool call, and says what its arguments lead to.
func (x *exchange) openCall(c wire.Call, resolved bool, patient *patience) (*gate.Permit, screen.Action, error) {
	v := x.p.cfg.Screen.Arguments([]byte(c.Arguments))
	if v.Action != screen.Pass {
		add(&x.out.verdict, screen.Verdict{Alert: v.Alert, Findings: v.Findings})
		x.p.observed(v)
	}
	name := c.Name
	if name == "" {
		name = c.Type
	}
	p, err := x.p.openAction(x.ctx, action.Action{
		Kind: action.ToolCall, Target: "client/" + name,
		// No id of the call: an identical call later finds its approval.
		Args: map[string]any{
			"name": c.Name, "arguments": c.Arguments, "type": c.Type, "api": x.route.API.String(), "resolved": resolved,
			"screen": items(v), "screen_because": because(v),
		},
		Agent: x.who.Agent, Session: x.who.Session, Context: x.who.Context, Principal: principal.ForAgent(x.who.Agent),
	}, patient)
	return p, v.Action, err
}

// blocked gives the line that stands in a call's place.
func (x *exchange) blocked(c wire.Call, err error) stream.Verdict {
	reason, judged := x.p.reasonOf(err)
	if !judged {
		x.p.cfg.Log.Error("gate", "error", err)
	}
	x.lastReason = reason
	x.p.cfg.Observe.Call(c.Name, "denied")
	return stream.Verdict{Notice: reason.Line(x.client)}
}

// withdraw settles permits of a call that will not be released.
func (x *exchange) withdraw(ps []*gate.Permit, because string) {
	for _, p := range ps {
		x.p.queue.add(p.Receipt.ID, func() {
			_, err := x.p.cfg.Gate.Settle(context.Background(), p, record.Result{}, fault.New("llmproxy.call", fault.Denied, "%s", because))
			x.p.failed(err)
		})
	}
}

// hand records that the client was given a call, and awaits its result.
func (x *exchange) hand(c wire.Call, ps []*gate.Permit) {
	data := map[string]any{"call_id": plain(c.ID, maxName), "model": x.target}
	for _, p := range ps {
		x.p.queue.add(p.Receipt.ID, func() {
			_, err := x.p.cfg.Gate.Release(context.Background(), p, record.Result{Data: data})
			x.p.failed(err)
		})
	}
	x.p.handed.put(x.who.contextOf(), c.ID, c.Name, ps)
}

// report writes down a call that the provider has performed already. Nobody can
// stop it any more, so a denial of it alerts.
func (x *exchange) report(c wire.Call) stream.Verdict {
	p, _, err := x.openCall(c, true, &patience{asks: maxAsks})
	x.p.cfg.Observe.Call(c.Name, "reported")
	if err == nil {
		data := map[string]any{"call_id": plain(c.ID, maxName), "model": x.target}
		x.p.queue.add(p.Receipt.ID, func() {
			_, err := x.p.cfg.Gate.Settle(context.Background(), p, record.Result{Data: data}, nil)
			x.p.failed(err)
		})
		return stream.Verdict{Release: true}
	}
	reason, _ := x.p.reasonOf(err)
	x.p.append(record.Event{
		Type: "proxy.server_tool", Agent: x.who.Agent, Session: x.who.Session, Channel: "LLM", Level: "error", Alert: "dangerous",
		Data: map[string]any{
			"model": x.target, "name": plain(c.Name, maxName), "rule": reason.Rule, "because": reason.Because,
			"remedy": "the provider runs this tool itself, before anybody can judge the call; do not offer it",
		},
	})
	return stream.Verdict{Release: true}
}

// results settles the calls whose results the request brings, and says which
// results and calls of the history nobody was given.
func (x *exchange) results() *halt {
	var strange []any
	count := 0
	var texts map[string][]int // by the call they answer
	note := func(id, name, what string) {
		if count++; len(strange) < maxStrange {
			strange = append(strange, map[string]any{"call_id": plain(id, 128), "name": plain(name, 128), "what": what})
		}
	}
	for _, r := range x.q.Results {
		ps, known := x.p.handed.result(x.who.contextOf(), r.CallID, r.Name)
		if !known {
			note(r.CallID, r.Name, "result")
		}
		if len(ps) > 0 && texts == nil {
			texts = map[string][]int{}
			for i, t := range x.q.Texts {
				if t.CallID != "" {
					texts[t.CallID] = append(texts[t.CallID], i)
				}
			}
		}
		x.came(ps, texts[r.CallID])
	}
	for _, c := range x.q.Calls {
		if c.ID == "" || c.Type == typeServer {
			continue // by its result, if there is one
		}
		if !x.p.handed.known(x.who.contextOf(), c.ID) {
			note(c.ID, c.Name, "call")
		}
	}
	if count > 0 {
		x.p.append(record.Event{
			Type: "proxy.unjudged_result", Agent: x.who.Agent, Session: x.who.Session, Channel: "LLM", Level: "warning", Alert: "suspicious",
			Data: map[string]any{"model": x.model, "count": int64(count), "calls": strange, "key": x.who.Key},
		})
	}
	return nil
}

// maxStrange bounds how many unjudged results one event names.
const maxStrange = 16

// came settles permits with what is known of their result, which consists of
// the given texts.
func (x *exchange) came(ps []*gate.Permit, texts []int) {
	if len(ps) == 0 {
		return
	}
	data := map[string]any{}
	h, size := sha256.New(), 0
	for _, i := range texts {
		b := x.q.Text(x.view, i, nil)
		h.Write(b)
		size += len(b)
	}
	if len(texts) > 0 {
		data["result_bytes"], data["digest"] = int64(size), hex.EncodeToString(h.Sum(nil))
	}
	for _, p := range ps {
		x.p.queue.add(p.Receipt.ID, func() {
			_, err := x.p.cfg.Gate.Settle(context.Background(), p, record.Result{Data: data}, nil)
			x.p.failed(err)
		})
	}
}

// lost records that nobody will know how calls ended.
func (p *Proxy) lost(ps []*gate.Permit, because string) {
	for _, permit := range ps {
		p.queue.add(permit.Receipt.ID, func() { p.failed(p.cfg.Gate.Lost(context.Background(), permit, because)) })
	}
}

// append writes an event down behind the client's back.
func (p *Proxy) append(e record.Event) {
	p.queue.add(int64(p.cfg.Now().Nanosecond()), func() {
		ctx, cancel := context.WithTimeout(context.Background(), noteTimeout)
		defer cancel()
		_, err := p.cfg.Journal.Append(ctx, e)
		p.failed(err)
	})
}

// failed says that an outcome could not be written. The next action is refused
// for the same reason, and a restart recovers what is open.
func (p *Proxy) failed(err error) {
	if err != nil && !fault.Is(err, fault.Denied) {
		p.cfg.Log.Error("not recorded", "error", err)
	}
}
