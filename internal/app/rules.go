package app

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/policy"
	"sallyport/internal/scan/command"
)

// maxPolicyFile bounds one of the operator's policy files, in bytes.
const maxPolicyFile = 1 << 20

// Policy builds the whole policy set from the configuration: what `policy
// show` prints is what a run decides with. agents are those of a run; their
// files can only make the operator's settings stricter.
func (a *App) Policy(agents ...*config.Agent) (*policy.Engine, error) {
	s, err := a.settings(agents)
	if err != nil {
		return nil, err
	}
	e, err := policy.New(s)
	return e, fault.Wrap("app.policy", fault.Config, err)
}

func (a *App) settings(agents []*config.Agent) (policy.Settings, error) {
	cfg := a.Config
	blocked, err := command.Compile(cfg.Security.BlockedCommands)
	if err != nil {
		return policy.Settings{}, fault.Wrap("app.policy", fault.Config, err)
	}
	s := policy.Settings{
		ReadOnly: cfg.ReadOnlyMode, BlockedCommands: cfg.Security.BlockedCommands, AllowedPaths: cfg.Security.AllowedFilePaths,
		Profiles: map[string]policy.Profile{}, Agents: map[string]policy.Agent{}, Secrets: map[string]policy.Secret{},
		Commands: func(script string) policy.Commands {
			r := blocked.Read(script)
			return policy.Commands{Programs: r.Programs, Blocked: r.Blocked, Unresolved: r.Unresolved, Findings: r.Findings}
		},
	}
	var errs []error
	parse := func(what, text string) label.Label {
		l, err := label.Parse(text)
		if err != nil {
			errs = append(errs, fault.New("app.policy", fault.Config, "%s: %v", what, err))
			return label.Unlabelled
		}
		return l
	}
	for name := range cfg.Profiles {
		p, err := cfg.Profile(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		exec, _ := cfg.ExecEnabled(name)
		s.Profiles[name] = policy.Profile{
			Exec: exec, View: parse("profiles."+name+".view_label", p.ViewLabel), Writable: !cfg.ReadOnlyMode,
			Network: networkRules(name, p.Network, parse), Unlisted: p.Network.Unlisted,
		}
		for secret, b := range cfg.SecretsOf(p) {
			bound := s.Secrets[secret]
			s.Secrets[secret] = policy.Secret{Host: b.Host, Port: b.Port, Profiles: append(bound.Profiles, name)}
		}
	}
	a.agentRules(s.Agents, agents, parse)
	s.Screen = a.texts.read
	s.Sinks = slices.Concat(a.sinks, a.modelSinks(parse), a.proxySinks(parse))
	s.Results = a.proxyResults(parse)
	if s.Extra, err = a.policyFiles(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, a.organise(&s, parse))
	return s, errors.Join(errs...)
}

// agentRules gives policy every configured agent and those of a run, whose files
// can only make the operator's settings stricter.
func (a *App) agentRules(into map[string]policy.Agent, agents []*config.Agent, parse parseLabel) {
	cfg := a.Config
	known := map[string]*config.Agent{}
	for name := range cfg.Agents {
		known[name] = &config.Agent{Username: name}
	}
	for _, ag := range agents {
		known[ag.Username] = ag
	}
	for name, ag := range known {
		set := cfg.Agent(name)
		clearance := parse("agents."+name+".clearance", set.Clearance)
		endpoint, model, origin := a.endpointOf(ag, parse)
		into[name] = policy.Agent{
			Profile: set.Profile, Protection: cfg.Protection(ag), Ceiling: clearance, Clearance: clearance,
			Endpoint: endpoint, Model: model, Origin: origin, Spawns: spawnsOf(cfg.Organisation, name),
		}
	}
}

// networkRules gives policy a profile's rules about destinations.
func networkRules(profile string, n config.Network, parse func(what, text string) label.Label) []policy.NetRule {
	var out []policy.NetRule
	for i, r := range n.Allow {
		origin := fmt.Sprintf("profiles.%s.network.allow[%d]", profile, i)
		out = append(out, policy.NetRule{
			Host: r.Host, Ports: r.Ports, Methods: r.Methods, Paths: r.Paths, Programs: r.Programs, Origin: origin,
			Clearance: parse(origin+".clearance", r.Clearance), Result: parse(origin+".label", r.Label),
		})
	}
	return out
}

// endpointSetting names the setting that says what a model's endpoint may
// receive: that of its own address, else that of its provider.
func endpointSetting(m config.Model) string {
	if u, err := url.Parse(m.BaseURL); err == nil && u.Host != "" {
		return fmt.Sprintf("endpoints.%q.clearance", strings.ToLower(u.Host))
	}
	return "endpoints." + m.Provider + ".clearance"
}

// modelSinks gives every configured model the clearance of its endpoint. Two
// names of one model must agree: the lower clearance counts.
func (a *App) modelSinks(parse func(what, text string) label.Label) []policy.Sink {
	sinks := map[string]policy.Sink{}
	for _, name := range slices.Sorted(maps.Keys(a.Config.Models)) {
		m, err := a.Config.ResolveModel(name)
		if err != nil {
			continue // the name comes from the map itself
		}
		if m, err = m.Expand(a.Env); err != nil {
			continue // its variables are not set, so nobody can call it
		}
		sink := policy.Sink{
			Kind: action.ModelCall, Target: targetOf(m),
			Clearance: parse("models."+name+".clearance", a.Config.ModelClearance(m)), Origin: endpointSetting(m),
		}
		if old, ok := sinks[sink.Target]; ok && !sink.Clearance.ConfFlowsTo(old.Clearance) {
			sink = old
		}
		sinks[sink.Target] = sink
	}
	return slices.SortedFunc(maps.Values(sinks), func(x, y policy.Sink) int { return cmp.Compare(x.Target, y.Target) })
}

// policyFiles reads the operator's own policies.
func (a *App) policyFiles() ([]policy.Source, error) {
	var out []policy.Source
	for _, pattern := range a.Config.Policy {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			return nil, fault.New("app.policy", fault.Config, "policy: no file matches %s; correct the path or remove the entry", pattern)
		}
		for _, path := range paths {
			info, err := os.Stat(path)
			if err == nil && (!info.Mode().IsRegular() || info.Size() > maxPolicyFile) {
				err = &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file of at most 1 MiB")}
			}
			if err != nil {
				return nil, fault.Wrap("app.policy", fault.Config, err)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, fault.Wrap("app.policy", fault.Config, err)
			}
			out = append(out, policy.Source{Name: path, Text: string(text)})
		}
	}
	return out, nil
}
