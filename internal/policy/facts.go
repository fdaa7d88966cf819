package policy

import (
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
	pathOK   bool
	command  Commands
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
	if a.Kind == action.Exec && e.settings.Commands != nil {
		f.command = e.settings.Commands(a.Arg("script"))
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

// sinkOf finds the clearance that counts. What the sandbox confines (exec,
// files) reaches the agent's own space, so its ceiling is the default there;
// data items are bounded by the reader's clearance; everything else that
// nobody listed is public.
func (e *Engine) sinkOf(f *facts) sink {
	a := &f.q.Action
	if s, ok := e.sinks.find(a.Kind, a.Target); ok {
		return sink{checked: true, listed: true, clearance: s.Clearance, origin: s.Origin}
	}
	switch a.Kind {
	case action.Exec, action.FileRead, action.FileWrite:
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
		if f.known && f.agent.Profile != "" {
			return f.profile.View
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
	return slices.ContainsFunc(e.settings.AllowedPaths, func(dir string) bool {
		return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
	})
}
