package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// maxMail bounds one message, in bytes; listMost how many a list shows.
const (
	maxMail  = 1 << 20
	listMost = 200
)

// slot gives the mailbox that mail/AGENT/TIER names: the configuration says
// which tier may write to which, and under which label.
func (a *App) slot(target string) (record.Slot, bool) {
	rest, ok := strings.CutPrefix(target, mailPrefix)
	to, from, two := strings.Cut(rest, "/")
	if !ok || !two || to == "" || from == "" || strings.Contains(from, "/") {
		return record.Slot{}, false
	}
	org := a.Config.Organisation
	tier := ""
	for _, t := range org.Tiers {
		if slices.Contains(t.Agents, to) {
			tier = t.Name
		}
	}
	for _, c := range org.Channels {
		if tier == "" || c.From != from || c.To != tier {
			continue
		}
		l, err := a.scheme().Parse(c.Label)
		if err != nil {
			return record.Slot{}, false
		}
		return record.Slot{To: to, Name: from, Label: l}, true
	}
	return record.Slot{}, false
}

// writesTo tells whether an agent belongs to a tier.
func (a *App) writesTo(agent, tier string) bool {
	return slices.ContainsFunc(a.Config.Organisation.Tiers, func(t config.OrgTier) bool {
		return t.Name == tier && slices.Contains(t.Agents, agent)
	})
}

// send performs message.send: the text becomes a sealed item with the slot's
// fixed label, whatever the label of the context that sent it.
func (d *desk) send(ctx context.Context, a action.Action, p *gate.Permit) (record.Result, error) {
	const op = "app.mail"
	s, ok := d.app.slot(a.Target)
	if !ok || a.Arg("recipient") != s.To || a.Arg("slot") != s.Name {
		return record.Result{}, fault.New(op, fault.Denied, "%q is no mailbox: organisation.channels names who may write to whom; add the channel there", clipped(a.Target))
	}
	if !operators(a) && !d.app.writesTo(a.Agent, s.Name) {
		return record.Result{}, fault.New(op, fault.Denied, "only the tier %s writes to %s (organisation.channels); send it from there", s.Name, a.Target)
	}
	if !p.Label.ConfFlowsTo(s.Label) {
		return record.Result{}, fault.New(op, fault.Denied, "the message would be above the mailbox's fixed label %s (rule R5); send what is lower", d.app.scheme().Format(s.Label))
	}
	body, err := bodyOf(a, maxMail)
	if err != nil {
		return record.Result{}, err
	}
	now := time.Now()
	o := record.Object{ID: handle("m"), Label: s.Label, Made: s.Label, By: authorOf(a), Created: now}
	m := record.Message{ID: o.ID, Slot: s.Name, From: authorOf(a), To: s.To, Sent: now, Made: p.Label}
	if o, err = d.sealWith(ctx, readerOf(a), store.Beside{Object: o, Message: &m}, body); err != nil {
		return record.Result{}, err
	}
	return record.Result{Output: "sent to " + s.To, Data: map[string]any{"item": o.ID, "version": int64(o.Version)}}, nil //nolint:gosec // G115: it is 1
}

// inbox lists a slot's messages, newest first, and marks them as fetched. That
// there are any, and how many, is of the slot's label too. A mark is written
// into the slot, so a context that may not write there leaves none: it would
// tell later readers something of what it knows.
func (d *desk) inbox(ctx context.Context, a action.Action, ref string, knows label.Label) (record.Result, error) {
	s, ok := d.app.slot(ref)
	if !ok || !operators(a) && s.To != a.Agent {
		return record.Result{}, errAbsent(ref)
	}
	list, err := d.rows.Messages(ctx, s.To, s.Name, listMost+1)
	if err != nil {
		return record.Result{}, err
	}
	if !operators(a) && knows.FlowsTo(s.Label) {
		if err := d.rows.FetchMessages(ctx, s.To, s.Name); err != nil {
			return record.Result{}, err
		}
	}
	var b strings.Builder
	for i, m := range list {
		if i == listMost {
			b.WriteString("[older messages are not shown]\n")
			break
		}
		mark := ""
		if !m.Fetched {
			mark = "  new"
		}
		fmt.Fprintf(&b, "%s  from %s  %s%s\n", m.ID, m.From, m.Sent.UTC().Format("2006-01-02 15:04:05 UTC"), mark)
	}
	if len(list) == 0 {
		b.WriteString("no messages\n")
	}
	return record.Result{Output: b.String(), Payload: list[:min(len(list), listMost)]}, nil
}
