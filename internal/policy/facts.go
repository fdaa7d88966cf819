package policy

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// facts is everything the rules may look at, computed once per question. The
// label comparisons are made here, exactly; the rules R1 to R6 forbid when a
// comparison is false, so they appear and are explained like all others.
type facts struct {
	q       *record.Question
	row     action.Row
	agent   Agent
	known   bool // the agent is configured
	self    bool // the agent itself or the operator speaks for it
	profile Profile

	sink   sink
	result label.Label // R(t) ⊔ context ⊔ arguments: the result's label if allowed
	grant  *record.Grant

	flow     flow
	dest     destination // of net.connect and http.request
	pathOK   bool
	command  Commands
	screen   Screening
	readOnly bool
}

// flow holds the label comparisons; true means the flow is permitted.
type flow struct {
	sink      bool // R3c: conf(context ⊔ arguments) ⊑ the sink's clearance
	integrity bool // R3a: the context is trusted enough for this kind
	control   bool // R3b: so are the control arguments
	clearance bool // R1a: conf(result) ⊑ the agent's clearance
	ceiling   bool // R1b: the context after the result ⊑ its ceiling
	spawn     bool // R6: the new context's ceiling ⊑ the configured one
}

// sink is where the action's data goes.
type sink struct {
	checked   bool // this kind has a sink at all
	listed    bool // the settings name it
	endorsed  bool // for contexts of any integrity
	clearance label.Label
	origin    string
}

func (e *Engine) factsOf(q *record.Question) *facts {
	a := &q.Action
	f := &facts{q: q}
	f.row, _ = action.RowOf(a.Kind)
	f.agent, f.known = e.settings.Agents[a.Agent]
	f.profile = e.settings.Profiles[f.agent.Profile]
	f.self = a.Principal.Kind == principal.Operator ||
		a.Principal.Kind == principal.Agent && a.Principal.Name == a.Agent && a.Agent != ""
	f.readOnly = e.settings.ReadOnly || q.Snapshot.ReadOnly
	f.pathOK = e.pathAllowed(a)
	if a.Kind == action.NetConnect || a.Kind == action.HTTPRequest {
		f.dest = e.destinationOf(a, f.agent.Profile)
	}
	if a.Kind == action.Exec && e.settings.Commands != nil {
		f.command = e.settings.Commands(a.Arg("script"))
	}
	if e.settings.Screen != nil && slices.Contains(screened, a.Kind) {
		f.screen = e.settings.Screen(*a)
	}
	// The question's label already is the join; joining again costs nothing and
	// makes a caller that forgot it harmless.
	q.Args = q.Args.Join(q.Snapshot.Context)
	for _, l := range a.ArgLabels {
		q.Args = q.Args.Join(l)
	}
	f.sink = e.sinkOf(f)
	f.result = e.resultOf(f).Join(q.Args)
	f.flow = e.flows(f)
	for i := range q.Snapshot.Grants {
		if g := &q.Snapshot.Grants[i]; g.Covers(*a, q.Now) {
			f.grant = g
			break
		}
	}
	return f
}

func (e *Engine) flows(f *facts) flow {
	q := f.q
	context := q.Snapshot.Context
	control := context.Integrity
	for _, name := range f.row.Control {
		if l, ok := q.Action.ArgLabels[name]; ok {
			control = min(control, l.Integrity)
		}
	}
	fl := flow{
		sink:      !f.sink.checked || q.Args.ConfFlowsTo(f.sink.clearance),
		integrity: context.Integrity >= f.row.Needs,
		control:   control >= f.row.Needs,
		clearance: true, ceiling: true, spawn: true,
	}
	if e.endorsed(f) {
		fl.integrity, fl.control = true, true
	}
	if q.Action.Agent != "" { // the operator reads what is theirs
		fl.clearance = f.result.ConfFlowsTo(f.agent.Clearance)
		fl.ceiling = f.result.FlowsTo(q.Snapshot.Ceiling)
	}
	if q.Action.Kind == action.AgentSpawn {
		child, ok := e.settings.Agents[q.Action.Target]
		ceiling, err := label.Parse(q.Action.Arg("ceiling"))
		fl.spawn = ok && err == nil && ceiling.FlowsTo(child.Ceiling)
	}
	return fl
}

// endorsed tells the actions whose integrity (R3a, R3b) the operator vouches
// for in another way. A network rule, and the binding of a secret, are written
// for a program that nobody trusts and that has read anything: they are the
// operator's signature under what it sends there, within the rule's host, port,
// methods, paths and clearance. What is not listed reaches nobody without the
// owner's yes to this one destination, or a grant for it. A tool may be listed
// as bounded by something else. And changes that the operator commits were read
// by the operator.
func (e *Engine) endorsed(f *facts) bool {
	switch f.q.Action.Kind {
	case action.NetConnect, action.HTTPRequest:
		return f.dest.ok
	case action.SecretUse:
		return f.sink.listed
	case action.ToolCall:
		return f.sink.endorsed
	case action.FileWrite:
		return f.operators()
	default:
		return false
	}
}

// operators tells an action of the operator's own, outside any agent.
func (f *facts) operators() bool {
	return f.q.Action.Agent == "" && f.q.Action.Principal.Kind == principal.Operator
}

// networkSink gives the clearance of the rule that lists a destination; one
// that no rule lists may at most receive what its profile's view shows, and
// only with a yes.
func (f *facts) networkSink() sink {
	if r := f.dest.rule; r != nil { // a target that says otherwise is refused by network.target
		return sink{checked: true, listed: true, clearance: r.Clearance, origin: r.Origin}
	}
	return sink{checked: true, clearance: f.profile.View, origin: "profiles." + f.agent.Profile + ".view_label"}
}

// secretSink lists a secret towards exactly its host and port, for the profiles
// that use it. What else the request carries is judged as http.request; the
// clearance here is that of the same host.
func (e *Engine) secretSink(f *facts) sink {
	a := &f.q.Action
	s, ok := e.settings.Secrets[a.Target]
	port, okPort := portOf(a.Args["port"])
	want := cmp.Or(s.Port, defaultPort)
	if !ok || !okPort || port != want || a.Arg("host") != s.Host || !slices.Contains(s.Profiles, f.agent.Profile) {
		return sink{checked: true}
	}
	out := sink{checked: true, listed: true, clearance: f.profile.View, origin: "secrets." + a.Target}
	for _, r := range e.networks[f.agent.Profile].naming(s.Host) {
		if r.onPort(want) {
			out.clearance, out.origin = r.Clearance, r.Origin
			break
		}
	}
	return out
}

// sinkOf finds the clearance that counts. What the sandbox confines (exec,
// files) reaches the agent's own space, so its ceiling is the default there;
// data items are bounded by the reader's clearance; everything else that
// nobody listed is public.
func (e *Engine) sinkOf(f *facts) sink {
	a := &f.q.Action
	if s, ok := e.sinks.find(a.Kind, a.Target); ok {
		return sink{checked: true, listed: true, endorsed: s.Endorsed, clearance: s.Clearance, origin: s.Origin}
	}
	switch a.Kind {
	case action.NetConnect, action.HTTPRequest:
		return f.networkSink()
	case action.SecretUse:
		return e.secretSink(f)
	case action.Exec, action.FileRead, action.FileWrite:
		if a.Kind == action.FileWrite && f.operators() {
			return sink{} // the operator's own disk
		}
		return sink{checked: true, clearance: f.q.Snapshot.Ceiling, origin: "the context's ceiling"}
	case action.DataRead, action.DataWrite:
		return sink{checked: true, clearance: f.agent.Clearance, origin: "the agent's clearance"}
	case action.SessionStart, action.DataLower, action.DataErase, action.AgentSpawn, action.AgentStop,
		action.ScheduleSet, action.ConfigChange, action.PolicyChange, action.TrustChange:
		return sink{clearance: label.Bottom}
	default: // outward, or added later
		return sink{checked: true, clearance: label.Label{}}
	}
}

// resultOf gives R(t): the declared label, else what the kind can bring in.
// What a model says is never signed but no less trusted than what it read. A
// tool, host or item that nobody described brings the worst.
func (e *Engine) resultOf(f *facts) label.Label {
	a := &f.q.Action
	if l, ok := e.results.find(a.Kind, a.Target); ok {
		return l
	}
	switch a.Kind {
	case action.ModelCall:
		return label.New(label.Public, label.Member, 0)
	case action.SessionStart, action.Exec, action.FileRead, action.FileWrite:
		if a.Kind == action.FileWrite && f.operators() {
			return label.Bottom
		}
		if f.known && f.agent.Profile != "" {
			return f.profile.View
		}
	case action.NetConnect, action.HTTPRequest:
		switch {
		case !f.dest.ok:
		case f.dest.rule != nil:
			return f.dest.rule.Result
		default: // without a rule only public addresses are dialled
			return label.New(label.Public, label.Foreign, 0)
		}
	case action.MessageSend, action.SecretUse:
		return label.New(label.Public, label.Foreign, 0) // an acknowledgement, no content
	case action.DataRead:
		if l, ok := a.ArgLabels["item"]; ok {
			return l
		}
	case action.DataWrite, action.DataLower, action.DataErase, action.AgentSpawn, action.AgentStop,
		action.ScheduleSet, action.ConfigChange, action.PolicyChange, action.TrustChange:
		return label.Bottom
	default: // outward, or added later
	}
	return label.Unlabelled
}

// pathAllowed compares text only; the executor opens beneath the same
// directory, so a link cannot lead out.
func (e *Engine) pathAllowed(a *action.Action) bool {
	if a.Kind != action.FileRead && a.Kind != action.FileWrite {
		return true
	}
	p := a.Arg("path")
	if p != a.Target || !filepath.IsAbs(p) || filepath.Clean(p) != p || strings.ContainsRune(p, 0) {
		return false
	}
	if a.Kind == action.FileWrite && a.Agent == "" && a.Principal.Kind == principal.Operator {
		return true // the list is for agents; the operator may write anywhere
	}
	return slices.ContainsFunc(e.settings.AllowedPaths, func(dir string) bool {
		return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
	})
}
