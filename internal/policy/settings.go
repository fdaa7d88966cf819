package policy

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Settings is what the rules are generated from. The zero Settings denies
// everything.
type Settings struct {
	ReadOnly        bool
	Profiles        map[string]Profile // by profile name
	Agents          map[string]Agent   // by username; who is not here is unknown and may do nothing
	Secrets         map[string]Secret  // by name
	Sinks           []Sink             // the most specific match counts; none = public
	Results         []Result           // what a kind's result is labelled; see resultOf for the defaults
	BlockedCommands []string           // needs Commands
	AllowedPaths    []string           // absolute clean directories that file.read and file.write may touch
	Groups          []string           // groups an @ask may name, besides "owner"
	Commands        func(script string) Commands
	Screen          func(a action.Action) Screening // nil: nothing reads the texts of actions
	Quorums         []Quorum                        // who must sign what; what is not named needs one owner
	Instructable    []string                        // agents that people may instruct, by username: the highest tier; nil = none
	Scheme          label.Scheme                    // names of levels and compartments, for sentences
	Extra           []Source
}

// Profile is what policy needs to know about a named bundle of limits.
type Profile struct {
	Exec     bool        // commands may be executed in it
	View     label.Label // of what a session of it can read
	Writable bool        // changes may be committed
	Network  []NetRule   // destinations it may reach; of the rules that match, the one with the most specific host counts
	Unlisted string      // UnlistedDeny ("" too) or UnlistedAsk
}

// The command protections of an agent.
const (
	ProtectNone   = "none"   // commands run within their limits
	ProtectManual = "manual" // the owner is asked for each
	ProtectAuto   = "auto"   // the owner is asked unless a review passed it
)

// Agent is what policy needs to know about a configured agent.
type Agent struct {
	Profile    string      // key of Settings.Profiles; "" = none
	Protection string      // ProtectNone ("" too), ProtectManual, ProtectAuto
	Ceiling    label.Label // the highest label a context of it may get
	Clearance  label.Label // the highest label it may read
	// Endpoint is the clearance of the model endpoint that its contexts talk to;
	// label.Unlabelled where that is judged elsewhere, as for a guarded program.
	Endpoint label.Label
	Model    string   // target of the model calls that its contexts make; "" = any
	Origin   string   // the setting of Endpoint, for explanations
	Spawns   []string // whose contexts it may make, by username; its own only if named
}

// Quorum says who must sign an action, besides what every rule asks: an agency
// of the organisation.
type Quorum struct {
	Kinds  []action.Kind // agent.instruct, data.lower …
	Type   string        // the type of an instruction; "" = any
	Needs  []record.Need // distinct people
	Origin string        // the setting, for explanations
}

// Sink is the clearance of one destination.
type Sink struct {
	Kind      action.Kind
	Target    string // exact, or a prefix ending in "*"
	Clearance label.Label
	Origin    string // the setting, for explanations: "endpoints.anthropic.clearance"
	// Endorsed says that the operator vouches for what a context of any
	// integrity does with it, because something else bounds it: the tools of a
	// client run within the client's own limits.
	Endorsed bool
	Agents   []string        // only for these agents; nil for all
	Floor    label.Integrity // the least integrity of what may go there (rule R5)
}

// Result is the label that results of one kind and target have, before the
// labels of the arguments are joined.
type Result struct {
	Kind   action.Kind
	Target string // exact, or a prefix ending in "*"
	Label  label.Label
}

// Commands is what a command reader saw in a script. scan/command makes it; it
// is injected because decision rooms do not import each other.
type Commands struct {
	Programs   []string // basenames of the programs, wrappers removed
	Blocked    []string // entries of BlockedCommands that match
	Unresolved bool     // something could not be parsed or is known only when it runs
	Findings   []record.Finding
}

// Screening is what detectors, and the operator's lists, say of the texts of an
// action. scan/screen makes it; it is injected as Commands is.
type Screening struct {
	Items    []string // "source.ask" and "source.block", see ScreenSources
	Because  string   // one clause about what was found; never a secret
	Findings []record.Finding
}

// ScreenSources name what a Screening may speak of.
var ScreenSources = []string{"dangerous_keywords", "suspicious_keywords", "detectors", "moderation", "unscanned"}

// screened are the kinds whose texts are read.
var screened = []action.Kind{action.ModelCall, action.ToolCall, action.Exec, action.MessageSend}

// Source is one file of the operator's own policies.
type Source struct {
	Name string // for error positions: "site.cedar"
	Text string
}

var groupName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// check refuses settings that contradict themselves.
func (s *Settings) check() error {
	if len(s.BlockedCommands) > 0 && s.Commands == nil {
		return fmt.Errorf("policy: settings: blocked_commands is set but nothing reads commands")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Profiles)) {
		if err := s.Profiles[name].check(); err != nil {
			return fmt.Errorf("policy: settings: profile %q: %w", name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Agents)) {
		if err := s.checkAgent(name, s.Agents[name]); err != nil {
			return err
		}
	}
	if err := s.checkTargets(); err != nil {
		return err
	}
	if err := s.checkOrganisation(); err != nil {
		return err
	}
	for _, p := range s.AllowedPaths {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p {
			return fmt.Errorf("policy: settings: allowed_file_paths: %q is not an absolute clean path", p)
		}
	}
	for _, g := range s.Groups {
		if !groupName.MatchString(g) {
			return fmt.Errorf("policy: settings: group %q is no name of lower-case letters, digits and _", g)
		}
	}
	return nil
}

// checkTargets looks at what kinds and targets are named.
func (s *Settings) checkTargets() error {
	for _, k := range s.Sinks {
		switch k.Kind {
		case action.NetConnect, action.HTTPRequest, action.SecretUse:
			// A beginning of an address says nothing about where it leads.
			return fmt.Errorf("policy: settings: sink %s %q: destinations are listed by Profile.Network and Secrets alone", k.Kind, k.Target)
		default:
		}
		if err := checkTarget("sink", k.Kind, k.Target, k.Clearance); err != nil {
			return err
		}
		if k.Floor > label.Signed {
			return fmt.Errorf("policy: settings: sink %s %q: integrity %d is out of range", k.Kind, k.Target, k.Floor)
		}
	}
	for _, r := range s.Results {
		if err := checkTarget("result", r.Kind, r.Target, r.Label); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		if host, ok := canonicalHost(s.Secrets[name].Host); !ok || host != s.Secrets[name].Host {
			return fmt.Errorf("policy: settings: secret %q: %q is not one exact host", name, s.Secrets[name].Host)
		}
	}
	return nil
}

func (p Profile) check() error {
	if !p.View.Valid() {
		return fmt.Errorf("view label is out of range")
	}
	if p.Unlisted != "" && p.Unlisted != UnlistedDeny && p.Unlisted != UnlistedAsk {
		return fmt.Errorf("unlisted %q is not deny or ask", p.Unlisted)
	}
	for i := range p.Network {
		if err := p.Network[i].check(); err != nil {
			return fmt.Errorf("network rule %d: %w", i+1, err)
		}
	}
	return nil
}

func (s *Settings) checkAgent(name string, a Agent) error {
	switch {
	case name == "":
		return fmt.Errorf("policy: settings: an agent has no name")
	case a.Protection != "" && a.Protection != ProtectNone && a.Protection != ProtectManual && a.Protection != ProtectAuto:
		return fmt.Errorf("policy: settings: agent %q: protection %q is not none, manual or auto", name, a.Protection)
	case !a.Ceiling.Valid() || !a.Clearance.Valid() || !a.Endpoint.Valid():
		return fmt.Errorf("policy: settings: agent %q: ceiling, clearance or endpoint is out of range", name)
	}
	if _, ok := s.Profiles[a.Profile]; a.Profile != "" && !ok {
		return fmt.Errorf("policy: settings: agent %q: there is no profile %q", name, a.Profile)
	}
	return nil
}

func checkTarget(what string, k action.Kind, target string, l label.Label) error {
	if _, ok := action.RowOf(k); !ok {
		return fmt.Errorf("policy: settings: %s: %q is not a capability", what, k)
	}
	if i := strings.IndexByte(target, '*'); target == "" || i >= 0 && i != len(target)-1 {
		return fmt.Errorf("policy: settings: %s %s: target %q must be exact or end in its only *", what, k, target)
	}
	if !l.Valid() {
		return fmt.Errorf("policy: settings: %s %s %q: label is out of range", what, k, target)
	}
	return nil
}
