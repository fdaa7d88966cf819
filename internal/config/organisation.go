package config

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/internal/label"
)

// agencyKinds are what an agency may ask signatures for; that they are the
// capabilities is tested where both are seen.
var agencyKinds = []string{
	"model.call", "session.start", "exec", "file.read", "file.write", "net.connect", "http.request", "tool.call", "message.send",
	"data.read", "data.write", "data.lower", "data.erase", "data.hold", "data.extract", "secret.use",
	"agent.spawn", "agent.instruct", "agent.stop", "schedule.set", "config.change", "policy.change", "trust.change",
}

const kindInstruct = "agent.instruct"

// TierOf gives the place of an agent's tier, 0 the highest; ok is false for who
// belongs to none.
func (o Organisation) TierOf(agent string) (place int, ok bool) {
	place = slices.IndexFunc(o.Tiers, func(t OrgTier) bool { return slices.Contains(t.Agents, agent) })
	return place, place >= 0
}

// Tier gives a tier by its name, and its place, 0 the highest.
func (o Organisation) Tier(name string) (t OrgTier, place int, ok bool) {
	place = slices.IndexFunc(o.Tiers, func(t OrgTier) bool { return t.Name == name })
	if place < 0 {
		return OrgTier{}, -1, false
	}
	return o.Tiers[place], place, true
}

// Below gives the agents of all tiers below an agent's own, highest tier first.
func (o Organisation) Below(agent string) []string {
	place, ok := o.TierOf(agent)
	if !ok {
		return nil
	}
	var out []string
	for _, t := range o.Tiers[place+1:] {
		out = append(out, t.Agents...)
	}
	return out
}

// orgCheck looks at what only the whole organisation shows.
type orgCheck struct {
	*Config
	src  *source
	root *node
	errs Errors
}

func (c *orgCheck) add(n *node, key, problem, remedy string) {
	c.errs = append(c.errs, c.src.at(n.line, n.col, key, problem, remedy))
}

// organised checks the organisation, and what folders, destinations and memory
// say about labels.
func (c *Config) organised(root *node, src *source) Errors {
	o := &orgCheck{Config: c, src: src, root: root}
	o.tiers()
	if len(o.errs) == 0 { // channels speak of tiers
		o.channels()
		o.core()
	}
	o.agencies()
	o.memories()
	o.folders()
	o.slots()
	return o.errs
}

func (c *orgCheck) tiers() {
	names, of := map[string]bool{}, map[string]string{}
	for i, n := range listAt(c.root, "organisation", "tiers") {
		t, key := c.Organisation.Tiers[i], fmt.Sprintf("organisation.tiers[%d]", i)
		if names[t.Name] {
			c.add(n.get("name").val, key+".name", fmt.Sprintf("there is another tier called %q", t.Name), "give each tier its own name")
		}
		names[t.Name] = true
		agents := n.get("agents").val
		if len(t.Agents) == 0 {
			c.add(agents, key+".agents", "names no agent", "name at least one, or remove the tier")
		}
		for j, item := range agents.items {
			name, key := t.Agents[j], fmt.Sprintf("%s.agents[%d]", key, j)
			_, known := c.Agents[name]
			switch other, taken := of[name]; {
			case taken:
				c.add(item, key, fmt.Sprintf("%s already belongs to the tier %s", short(name), other), "keep an agent in one tier, once")
			case !known:
				c.add(item, key, fmt.Sprintf("the agent %q has no settings", short(name)), c.oneOf(name, sortedKeys(c.Agents), "add it under agents:, with its profile and clearance"))
			default:
				of[name] = t.Name
			}
		}
	}
}

// oneOf says what was meant by a name that is not known.
func (c *orgCheck) oneOf(name string, known []string, remedy string) string {
	if near := nearest(name, known); near != "" {
		return "did you mean " + near + "? Otherwise " + remedy
	}
	return remedy
}

// channels checks directions. Orders go down and are as trusted as a member's
// word; what comes up, or from beside, is data that anybody may have written.
// The sender's clearance does not bound a channel: whoever may read less may
// always write up.
func (c *orgCheck) channels() {
	tiers := make([]string, len(c.Organisation.Tiers))
	for i, t := range c.Organisation.Tiers {
		tiers[i] = t.Name
	}
	seen := map[[2]string]bool{}
	for i, n := range listAt(c.root, "organisation", "channels") {
		ch, key := c.Organisation.Channels[i], fmt.Sprintf("organisation.channels[%d]", i)
		_, from, okFrom := c.Organisation.Tier(ch.From)
		to, toAt, okTo := c.Organisation.Tier(ch.To)
		for _, end := range []struct {
			field, name string
			ok          bool
		}{{"from", ch.From, okFrom}, {"to", ch.To, okTo}} {
			if !end.ok {
				c.add(n.get(end.field).val, key+"."+end.field, fmt.Sprintf("there is no tier %q", short(end.name)), c.oneOf(end.name, tiers, "use one of "+strings.Join(tiers, ", ")))
			}
		}
		if !okFrom || !okTo {
			continue
		}
		if seen[[2]string{ch.From, ch.To}] {
			c.add(n, key, fmt.Sprintf("there is another channel from %s to %s, and a mailbox has one label", ch.From, ch.To), "keep one of the two")
		}
		seen[[2]string{ch.From, ch.To}] = true
		c.channelLabel(n.get("label").val, key+".label", labelOf(ch.Label), to, from < toAt)
	}
}

func (c *orgCheck) channelLabel(n *node, key string, l label.Label, to OrgTier, down bool) {
	written := c.Scheme().Format(l)
	switch {
	case down && l.Integrity == label.Signed:
		c.add(n, key, written+" would let an agent's mail pass for a signed instruction", "use /member for orders that go down, or /foreign for data; people sign with `sallyport instruct`")
	case !down && l.Integrity != label.Foreign:
		c.add(n, key, written+" would make what comes up, or from beside, more than data", "use "+c.Scheme().Format(label.New(l.Level, label.Foreign, l.Compartments)))
	}
	for _, name := range to.Agents {
		if cleared := labelOf(c.Agent(name).Clearance); !l.ConfFlowsTo(cleared) {
			c.add(n, key, fmt.Sprintf("%s is above the clearance of %s, which reads it (%s)", written, name, c.Scheme().Format(cleared)),
				"lower the channel's label, or raise agents."+name+".clearance")
		}
	}
}

// core keeps the first tier inside: who may read everything talks to nobody
// outside, so its profile must have no network.
func (c *orgCheck) core() {
	if len(c.Organisation.Tiers) == 0 {
		return
	}
	first := c.Organisation.Tiers[0]
	for _, name := range first.Agents {
		set := c.Agent(name)
		p, err := c.Profile(set.Profile)
		if err != nil || p.Network.Offline() {
			continue // an unknown profile is told elsewhere
		}
		at := c.root.get("agents").val.get(name)
		key := "agents." + name
		n := &node{line: at.line, col: at.col}
		if e := at.val.get("profile"); e != nil {
			n, key = e.val, key+".profile"
		}
		c.add(n, key, fmt.Sprintf("the profile %s has a network, and %s belongs to the first tier (%s), which never talks outside", set.Profile, name, first.Name),
			"use the profile desk, offline or one of your own without a network, or move the agent to a lower tier")
	}
}

func (c *orgCheck) agencies() {
	for i, n := range listAt(c.root, "organisation", "agencies") {
		a, key := c.Organisation.Agencies[i], fmt.Sprintf("organisation.agencies[%d]", i)
		for j, item := range n.get("kinds").val.items {
			if !slices.Contains(agencyKinds, a.Kinds[j]) {
				c.add(item, fmt.Sprintf("%s.kinds[%d]", key, j), fmt.Sprintf("%q is no kind of action", short(a.Kinds[j])),
					c.oneOf(a.Kinds[j], agencyKinds, "use one of "+strings.Join(agencyKinds, ", ")))
			}
		}
		if a.Type != "" && (len(a.Kinds) != 1 || a.Kinds[0] != kindInstruct) {
			c.add(n.get("type").val, key+".type", "only instructions have a type", "use kinds: ["+kindInstruct+"], and an agency of its own for the rest")
		}
		for _, f := range []struct {
			name string
			have int
		}{{"kinds", len(a.Kinds)}, {"sign", len(a.Sign)}} {
			if f.have == 0 {
				c.add(n.get(f.name).val, key+"."+f.name, "is empty, so the agency asks for nothing", "name at least one, or remove the agency")
			}
		}
		groups := map[string]bool{}
		for j, item := range n.get("sign").val.items {
			_, group, _ := strings.Cut(a.Sign[j], ":")
			if groups[group] {
				c.add(item, fmt.Sprintf("%s.sign[%d]", key, j), "names the group "+group+" twice", "keep the entry with the larger number")
			}
			groups[group] = true
		}
	}
}

// memories keeps a session note readable by the agent that wrote it.
func (c *orgCheck) memories() {
	for _, name := range sortedKeys(c.Agents) {
		set := c.Agent(name)
		if set.Memory == "" {
			continue
		}
		if l, cleared := labelOf(set.Memory), labelOf(set.Clearance); !l.ConfFlowsTo(cleared) {
			c.add(c.root.get("agents").val.get(name).val.get("memory").val, "agents."+name+".memory",
				fmt.Sprintf("%s is above the agent's clearance (%s), so it could never read its own note", c.Shown(set.Memory), c.Scheme().Format(cleared)),
				"lower it, or raise the agent's clearance")
		}
	}
}

// slots keeps mailboxes to the channels: what is not listed there is denied.
func (c *orgCheck) slots() {
	if len(c.Organisation.Tiers) == 0 || len(c.Clearances.Messages) == 0 {
		return
	}
	entries := c.root.get("clearances").val.get("messages").val.entries
	for _, e := range entries {
		prefix, wild := strings.CutSuffix(e.key, "*")
		if strings.HasPrefix(e.key, mailPrefix) || wild && strings.HasPrefix(mailPrefix, prefix) {
			c.errs = append(c.errs, c.src.at(e.line, e.col, "clearances.messages."+e.key, "would open mailboxes of the organisation that no channel lists",
				"add a channel under organisation.channels, and name other recipients here"))
		}
	}
}

// mailPrefix begins the target of mail between agents: mail/TO/FROMTIER.
const mailPrefix = "mail/"

// edgeNotices tell of an agent of the last tier that both reads what is not
// public to all colleagues and talks outside: permitted, since its labels bound
// it, and seldom meant.
func (c *Config) edgeNotices() {
	n := len(c.Organisation.Tiers)
	if n < 2 {
		return
	}
	for _, name := range c.Organisation.Tiers[n-1].Agents {
		set := c.Agent(name)
		p, err := c.Profile(set.Profile)
		if err != nil || p.Network.Offline() || labelOf(set.Clearance).ConfFlowsTo(label.New(label.Internal, label.Foreign, 0)) {
			continue
		}
		c.Notices = append(c.Notices, fmt.Sprintf("%s belongs to the last tier, has a network (profile %s) and may read %s; an edge agent seldom needs more than %s",
			name, set.Profile, c.Shown(set.Clearance), c.Scheme().Level(label.Internal)))
	}
}
