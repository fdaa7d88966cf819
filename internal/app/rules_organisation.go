package app

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/policy"
	"sallyport/internal/record"
)

// parseLabel reads a label of the configuration; what names the setting.
type parseLabel func(what, text string) label.Label

// organise adds to the settings what the organisation, folders and clearances
// say.
func (a *App) organise(s *policy.Settings, parse parseLabel) error {
	cfg := a.Config
	s.Scheme = cfg.Scheme()
	if len(cfg.Organisation.Tiers) > 0 {
		s.Instructable = cfg.Organisation.Tiers[0].Agents
	}
	s.Sinks = slices.Concat(s.Sinks, channelSinks(cfg.Organisation, parse), clearanceSinks(cfg.Clearances, parse))
	for _, name := range slices.Sorted(maps.Keys(cfg.Folders)) {
		f := cfg.Folders[name]
		target, l := "folder/"+name, parse("folders."+name+".label", f.Label)
		s.Results = append(s.Results, policy.Result{Kind: action.DataRead, Target: target, Label: l})
		if len(f.Agents) > 0 { // for all others it is as if it did not exist
			s.Sinks = append(s.Sinks, policy.Sink{Kind: action.DataRead, Target: target, Clearance: l, Agents: f.Agents, Origin: "folders." + name + ".agents"})
		}
	}
	for i, ag := range cfg.Organisation.Agencies {
		q, err := quorumOf(ag, fmt.Sprintf("organisation.agencies[%d]", i))
		if err != nil {
			return err
		}
		s.Quorums = append(s.Quorums, q)
		for _, n := range q.Needs {
			if !slices.Contains(s.Groups, n.Group) {
				s.Groups = append(s.Groups, n.Group)
			}
		}
	}
	return coreStaysInside(cfg)
}

// spawnsOf says whose contexts an agent may make: its own, and those of the
// tiers below. Orders go down.
func spawnsOf(o config.Organisation, agent string) []string {
	return append([]string{agent}, o.Below(agent)...)
}

// endpointOf gives the clearance of the model that an agent's contexts talk to,
// the target of their calls, and the setting that says so.
// An agent without a file of its own brings its model along (a guarded program,
// the client of a key), and each of its calls is judged where it goes.
func (a *App) endpointOf(ag *config.Agent, parse parseLabel) (l label.Label, target, origin string) {
	if ag.ShellModel == "" {
		return label.Unlabelled, "", ""
	}
	m, err := a.Config.ResolveModel(ag.ShellModel)
	if err == nil {
		m, err = m.Expand(a.Env)
	}
	if err != nil {
		return label.Label{}, "", "" // nobody can call it: no run of this agent starts
	}
	return parse("models."+ag.ShellModel+".clearance", a.Config.ModelClearance(m)), targetOf(m), endpointSetting(m)
}

// channelSinks makes each channel a mailbox mail/TO/FROMTIER for each agent of
// the tier that reads. The label of the channel is all that its mail ever is:
// nothing above it goes in, and nothing less trusted. What may be foreign takes
// text of any context, because it counts as nothing else.
func channelSinks(o config.Organisation, parse parseLabel) []policy.Sink {
	var out []policy.Sink
	for i, ch := range o.Channels {
		from, _, okFrom := o.Tier(ch.From)
		to, _, okTo := o.Tier(ch.To)
		if !okFrom || !okTo {
			continue // refused when the file was read
		}
		origin := fmt.Sprintf("organisation.channels[%d]", i)
		l := parse(origin+".label", ch.Label)
		for _, reader := range to.Agents {
			out = append(out, policy.Sink{
				Kind: action.MessageSend, Target: "mail/" + reader + "/" + ch.From, Clearance: l, Floor: l.Integrity,
				Endorsed: l.Integrity == label.Foreign, Agents: slices.Clone(from.Agents), Origin: origin,
			})
		}
	}
	return out
}

// clearanceSinks lists tools and recipients.
func clearanceSinks(c config.Clearances, parse parseLabel) []policy.Sink {
	var out []policy.Sink
	for _, k := range []struct {
		kind    action.Kind
		key     string
		targets map[string]string
	}{{action.ToolCall, "tools", c.Tools}, {action.MessageSend, "messages", c.Messages}} {
		for _, target := range slices.Sorted(maps.Keys(k.targets)) {
			origin := "clearances." + k.key + "." + target
			out = append(out, policy.Sink{Kind: k.kind, Target: target, Clearance: parse(origin, k.targets[target]), Origin: origin})
		}
	}
	return out
}

func quorumOf(ag config.Agency, origin string) (policy.Quorum, error) {
	q := policy.Quorum{Type: ag.Type, Origin: origin}
	for _, k := range ag.Kinds {
		q.Kinds = append(q.Kinds, action.Kind(k))
	}
	for _, text := range ag.Sign {
		count, group, _ := strings.Cut(text, ":")
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || group == "" {
			return q, fault.New("app.policy", fault.Config, "%s.sign: %q is not COUNT:GROUP", origin, text)
		}
		q.Needs = append(q.Needs, record.Need{Count: n, Group: group})
	}
	return q, nil
}

// coreStaysInside refuses a first tier with a network. The file was checked
// when it was read; a guarded program chooses its profile when it starts.
func coreStaysInside(cfg *config.Config) error {
	if len(cfg.Organisation.Tiers) == 0 {
		return nil
	}
	first := cfg.Organisation.Tiers[0]
	for _, name := range first.Agents {
		profile := cfg.Agent(name).Profile
		p, err := cfg.Profile(profile)
		if err != nil {
			return err
		}
		if !p.Network.Offline() {
			return fault.New("app.policy", fault.Config, "the profile %s has a network, and %s belongs to the first tier (%s), which never talks outside; use the profile desk or offline, or another name for this agent", profile, name, first.Name)
		}
	}
	return nil
}
