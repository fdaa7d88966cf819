package app

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"sallyport/internal/agent"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// born is the label of an agent's own part: its file, which the operator wrote.
var born = label.New(label.Public, label.Member, 0)

// clearanceOfModel gives the clearance of the endpoint that an agent's model is
// at.
func (e *engine) clearanceOfModel(name string) (label.Label, error) {
	w := e.targets[name]
	if w == nil {
		return label.Label{}, fault.New("app.run", fault.Config, "%s has no model", name)
	}
	return e.parseLabel("the clearance of the model "+w.target, e.app.Config.ModelClearance(w.model))
}

func (e *engine) parseLabel(what, text string) (label.Label, error) {
	l, err := e.app.Config.Scheme().Parse(text)
	if err != nil {
		return label.Unlabelled, fault.New("app.run", fault.Config, "%s: %v", what, err)
	}
	return l, nil
}

// ceilingOf gives the highest label that a context of an agent may reach: what
// it may read and what its model may be sent.
func (e *engine) ceilingOf(name string) (label.Label, error) {
	own, err := e.parseLabel("agents."+name+".clearance", e.app.Config.Agent(name).Clearance)
	if err != nil {
		return own, err
	}
	endpoint, err := e.clearanceOfModel(name)
	return own.Meet(endpoint), err
}

// memoryOf gives the fixed label of an agent's session note: what its profile's
// view shows, unless the operator says otherwise. An agent without a shell sees
// no view, so its memory holds what it begins with.
func (e *engine) memoryOf(name string, shell bool) (label.Label, error) {
	set := e.app.Config.Agent(name)
	if set.Memory != "" {
		return e.parseLabel("agents."+name+".memory", set.Memory)
	}
	if !shell {
		return born, nil
	}
	prof, err := e.app.profile(set.Profile)
	if err != nil {
		return label.Unlabelled, err
	}
	view, err := e.parseLabel("profiles."+set.Profile+".view_label", prof.ViewLabel)
	return view.Join(born), err
}

// houseOf says what an agent has beside a shell: nil for one that stands
// outside the organisation, may open no folder and has a shell.
func (e *engine) houseOf(name string, shell bool) (*agent.House, error) {
	cfg := e.app.Config
	org := cfg.Organisation
	place, member := org.TierOf(name)
	h := &agent.House{ExtractBits: org.ExtractBits, Scheme: cfg.Scheme()}
	var err error
	if h.Folders, err = e.foldersOf(name); err != nil {
		return nil, err
	}
	if !member {
		if shell && len(h.Folders) == 0 {
			return nil, nil
		}
		h.Workers, err = e.workers(name)
		return h, err
	}
	h.Tier, h.First = org.Tiers[place].Name, place == 0
	for _, c := range org.Channels {
		if c.To == h.Tier {
			l, err := e.parseLabel("organisation.channels", c.Label)
			if err != nil {
				return nil, err
			}
			h.Inbox = append(h.Inbox, agent.Slot{Name: c.From, Label: l})
		}
		if to, _, ok := org.Tier(c.To); ok && c.From == h.Tier {
			h.Writes = append(h.Writes, to.Agents...)
		}
	}
	h.Workers, err = e.workers(append([]string{name}, org.Below(name)...)...)
	return h, err
}

// workers describes those of these agents that have a file here.
func (e *engine) workers(names ...string) ([]agent.Worker, error) {
	var out []agent.Worker
	for _, name := range names {
		if e.staff.members[name] == nil {
			continue
		}
		ceiling, err := e.ceilingOf(name)
		if err != nil {
			return nil, err
		}
		out = append(out, agent.Worker{Name: name, Ceiling: ceiling, Budget: e.models.limits[name]})
	}
	return out, nil
}

// foldersOf lists the labelled directories that an agent may open.
func (e *engine) foldersOf(name string) ([]agent.Slot, error) {
	cfg := e.app.Config
	cleared, err := e.parseLabel("agents."+name+".clearance", cfg.Agent(name).Clearance)
	if err != nil {
		return nil, err
	}
	var out []agent.Slot
	for _, f := range slices.SortedFunc(maps.Keys(cfg.Folders), cmp.Compare[string]) {
		dir := cfg.Folders[f]
		l, err := e.parseLabel("folders."+f+".label", dir.Label)
		if err != nil {
			return nil, err
		}
		if (len(dir.Agents) == 0 || slices.Contains(dir.Agents, name)) && l.ConfFlowsTo(cleared) {
			out = append(out, agent.Slot{Name: f, Label: l})
		}
	}
	return out, nil
}

// specHouse fills what the organisation says of an agent into its spec.
func (e *engine) specHouse(ag *config.Agent, s *agent.Spec) (err error) {
	// An agent works without a shell where its profile says so. Where a shell is
	// merely not enabled its session is refused, with the setting to change.
	own := e.app.Config.Profiles[e.app.Config.Agent(ag.Username).Profile].EnableCommandExecution
	shell := own == nil || *own
	s.NoShell, s.Label = !shell, born
	if s.Ceiling, err = e.ceilingOf(ag.Username); err != nil {
		return err
	}
	if s.Memory, err = e.memoryOf(ag.Username, shell); err != nil {
		return err
	}
	s.House, err = e.houseOf(ag.Username, shell)
	return err
}

// afterRun ends what a child's run leaves; what cannot be ended is said.
func (e *engine) afterRun(ctx context.Context, session string) {
	for _, err := range []error{e.boxes.end(session), e.withdraw(context.WithoutCancel(ctx), session)} {
		if err != nil {
			fmt.Fprintln(e.opts.Out, sentence(err))
		}
	}
}
