package policy_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/test/flowmodel"
)

// about makes an agent's action on an item, perhaps one that is not there.
func (b *both) about(rt *rapid.T, kind action.Kind) (action.Action, *flowmodel.Context, label.Label) {
	name, c, agent := b.pick(rt)
	ref := rapid.SampledFrom(append([]string{"absent"}, b.refs...)).Draw(rt, "item")
	var l *label.Label
	if known, ok := b.items[ref]; ok {
		l = &known
	}
	return action.Action{
		Kind: kind, Target: ref, Agent: agent, Session: "s", Context: name, Principal: principal.ForAgent(agent), Args: map[string]any{"item": ref},
	}, c, b.rules.LabelOf(l)
}

// unread gives the rule that denies whatever is done with an item that cannot be
// read: unknown agents do nothing at all.
func unread(c *flowmodel.Context, denied flowmodel.Rule) string {
	switch {
	case c.Agent.Unknown:
		return "agent.unknown"
	case denied != "":
		return "R1"
	}
	return ""
}

// data reads an item or writes one.
func (b *both) data(rt *rapid.T, t *testing.T) {
	kind := rapid.SampledFrom([]action.Kind{action.DataRead, action.DataRead, action.DataWrite}).Draw(rt, "data")
	a, c, item := b.about(rt, kind)
	if kind == action.DataWrite && rapid.IntRange(0, 2).Draw(rt, "new") > 0 {
		b.create(rt, t, a, c)
		return
	}
	wanted := rapid.IntRange(0, 2).Draw(rt, "taint") > 0
	if wanted {
		a.Args["taint"] = "yes"
	}
	after, rule := b.rules.Read(*c, item)
	denied := unread(c, rule)
	if denied == "" && !item.FlowsTo(c.Label) && !wanted {
		denied = "taint"
	}
	if denied == "" {
		b.counts["read"]++
	}
	if kind == action.DataWrite {
		a.Args["sha256"], a.Args["bytes"] = "00", int64(1)
		if denied == "" {
			denied = string(b.rules.Write(*c, item))
		}
	}
	b.do(rt, t, a, denied, after)
}

// create writes a new item, perhaps with a label of the agent's choice.
func (b *both) create(rt *rapid.T, t *testing.T, a action.Action, c *flowmodel.Context) {
	a.Target, a.Args = "new", map[string]any{"item": "new", "sha256": "00", "bytes": int64(1)}
	refs := label.Bottom
	if rapid.Bool().Draw(rt, "body") {
		refs = low.Draw(rt, "body label")
		a.ArgLabels = map[string]label.Label{"body": refs}
	}
	made := b.rules.Create(*c, refs)
	after, rule := b.rules.Read(*c, made)
	denied := map[flowmodel.Rule]string{"R1 clearance": "R1a", "R1 ceiling": "R1b", "R1 endpoint": "R1c"}[rule]
	if c.Agent.Unknown {
		denied = "agent.unknown"
	}
	if rapid.Bool().Draw(rt, "labelled") {
		to := labels(made, everything).Draw(rt, "label")
		a.Args["label"] = to.String()
		if written := *c; denied == "" {
			written.Label = made
			denied = string(b.rules.Write(written, to))
		}
		made = to
	}
	had := len(b.refs)
	b.do(rt, t, a, denied, after)
	if denied != "" {
		return
	}
	b.counts["write"]++
	if len(b.refs) != had+1 || b.items[b.refs[had]] != made {
		rt.Fatalf("made %v, model %s", b.items, made)
	}
}

// extract takes one answer out of an item.
func (b *both) extract(rt *rapid.T, t *testing.T) {
	a, c, item := b.about(rt, action.DataExtract)
	cost := rapid.IntRange(1, 3).Draw(rt, "bits")
	a.Args["schema"], a.Args["value"], a.Args["bits"] = "bool", "true", int64(cost)
	budget := uint8(0)
	if b.bits[a.Context] >= cost {
		budget = 1
	}
	_, rule := b.rules.Extract(*c, item, budget)
	got, _ := b.rules.Extract(*c, item, 1)
	after, reading := b.rules.Read(*c, got)
	denied := ""
	switch {
	case c.Agent.Unknown:
		denied = "agent.unknown"
	case rule == "R7 clearance" || reading != "":
		denied = "R1"
	case rule != "" || cost < 2: // yes, no and none are two bits
		denied = "R7"
	default:
		b.counts["extract"]++
		b.bits[a.Context] -= cost
	}
	b.do(rt, t, a, denied, after)
}

// child is spawned by an agent, with a share of its bits, and leaves a future.
func (b *both) child(rt *rapid.T, t *testing.T) {
	parent, c, agent := b.pick(rt)
	target := rapid.SampledFrom([]string{"ann", "bob", "eve"}).Draw(rt, "agent")
	born, ceiling := c.Label, high.Draw(rt, "ceiling")
	if rapid.IntRange(0, 3).Draw(rt, "other") == 0 {
		born = low.Draw(rt, "label")
	}
	if known, ok := b.agents[target]; ok && rapid.IntRange(0, 3).Draw(rt, "fits") > 0 {
		ceiling = known.Ceiling
	}
	share := rapid.IntRange(0, b.bits[parent]+1).Draw(rt, "share")
	name := fmt.Sprintf("c%d-%d", b.round, len(b.names))
	a := action.Action{
		Kind: action.AgentSpawn, Target: target, Agent: agent, Session: "s", Context: parent, Principal: principal.ForAgent(agent),
		Args: map[string]any{
			"context": name, "label": born.String(), "ceiling": ceiling.String(), "parent": parent, "bits": int64(share),
		},
	}
	configured, known := b.agents[target]
	y, rule := b.rules.Spawn(flowmodel.Context{Label: born}, b.agentOf(target), ceiling)
	_, alive := b.rules.Read(*c, c.Label) // one that was never born does nothing
	denied := ""
	switch {
	case c.Agent.Unknown:
		denied = "agent.unknown"
	case alive != "" || rule != "" || !known || !slices.Contains(b.agents[agent].Spawns, target) || !ceiling.FlowsTo(configured.Ceiling) ||
		!c.Label.FlowsTo(born) || share > b.bits[parent]:
		denied = "R6"
	default:
		b.bits[parent] -= share
		b.bits[name] = share
	}
	b.do(rt, t, a, denied, c.Label)
	if denied != "" {
		return
	}
	b.counts["child"]++
	b.names, b.contexts[name], b.owner[name] = append(b.names, name), &y, target
	b.add(ceiling) // its result, from birth
}
