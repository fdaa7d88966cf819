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
// label comparisons are made here, exactly; the rules R1 to R8 forbid when a
// comparison is false, so they appear and are explained like all others.
type facts struct {
	q       *record.Question
	row     action.Row
	agent   Agent
	known   bool // the agent is configured
	self    bool // the agent itself or the operator speaks for it
	profile Profile

	sink   sink
	item   item
	base   label.Label // R(t) ⊔ context ⊔ arguments, but for the item
	result label.Label // the result's label if allowed
	grant  *record.Grant

	flow     flow
	why      string      // the first failing condition of R5 to R8 or of an instruction, as a clause
	dest     destination // of net.connect and http.request
	pathOK   bool
	command  Commands
	screen   Screening
	readOnly bool
}

// flow holds the label comparisons; true means that the flow is permitted.
type flow struct {
	sink      bool // R3c: conf(context ⊔ arguments) ⊑ the sink's clearance
	integrity bool // R3a: the context is trusted enough for this kind
	control   bool // R3b: so are the control arguments
	clearance bool // R1a: conf(result) ⊑ the agent's clearance
	ceiling   bool // R1b: the context after the result ⊑ its ceiling
	endpoint  bool // R1c: conf(context after the result) ⊑ what its model endpoint may receive
	item      bool // R1: all three with the item that is referred to
	taint     bool // the item does not raise the context, or that is wanted
	write     bool // R5: what is written flows to where it goes
	spawn     bool // R6
	extract   bool // R7
	lower     bool // R8: everything that people sign is named
	instruct  bool // the target takes instructions, and the labels fit it
	trusted   bool // the context's integrity is at least member
}

// permitted is the flow of an action that no label rule forbids.
var permitted = flow{
	sink: true, integrity: true, control: true, clearance: true, ceiling: true, endpoint: true, item: true, taint: true,
	write: true, spawn: true, extract: true, lower: true, instruct: true, trusted: true,
}

// sink is where the action's data goes.
type sink struct {
	checked   bool // this kind has a sink at all
	listed    bool // the settings name it
	endorsed  bool // for contexts of any integrity
	slot      bool // a mailbox of ours: what comes back is our own receipt
	others    bool // the settings name it for other agents
	clearance label.Label
	floor     label.Integrity
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
	e.join(f)
	e.flows(f)
	for i := range q.Snapshot.Grants {
		if g := &q.Snapshot.Grants[i]; g.Covers(*a, q.Now) && !slices.Contains(signed, a.Kind) {
			f.grant = g
			break
		}
	}
	return f
}

// join computes the labels of the arguments and of the result. What the gate
// joined already is joined again from its parts: an item that the agent may not
// read must look like one that is not there, to every rule and in every
// sentence, so its label may not come in by another way.
func (e *Engine) join(f *facts) {
	q, a := f.q, &f.q.Action
	f.item = e.itemOf(a)
	args := q.Snapshot.Context
	if !f.item.kind {
		args = args.Join(q.Args) // joining again makes a caller that forgot a part harmless
	}
	for name, l := range a.ArgLabels {
		if !f.item.kind || !refersTo(name) {
			args = args.Join(l)
		}
	}
	q.Args = args
	f.sink = e.sinkOf(f)
	f.base = e.resultOf(f).Join(args)
	f.result = f.base
	if !f.item.kind {
		return
	}
	if a.Agent != "" && f.item.named && !e.reaches(f) {
		f.item.absent, f.item.label = true, label.Unlabelled
	}
	q.Args = args.Join(f.item.label)
	f.result = f.item.bring(a.Kind, f.base)
}

func (e *Engine) flows(f *facts) {
	q := f.q
	a := &q.Action
	context := q.Snapshot.Context
	control := context.Integrity
	for _, name := range f.row.Control {
		if l, ok := a.ArgLabels[name]; ok && (!f.item.kind || !refersTo(name)) {
			control = min(control, l.Integrity)
		}
	}
	fl := permitted
	fl.sink = !f.sink.checked || q.Args.ConfFlowsTo(f.sink.clearance)
	fl.integrity = context.Integrity >= f.row.Needs
	fl.control = control >= f.row.Needs
	fl.trusted = context.Integrity >= label.Member
	if e.endorsed(f) {
		fl.integrity, fl.control = true, true
	}
	if a.Agent != "" { // the operator reads what is theirs
		fl.clearance = f.base.ConfFlowsTo(f.agent.Clearance)
		fl.ceiling = f.base.FlowsTo(q.Snapshot.Ceiling)
		fl.endpoint = f.base.ConfFlowsTo(f.agent.Endpoint)
		fl.item = !f.item.absent
		fl.taint = f.item.absent || !f.item.named || !f.item.taints(a.Kind) || f.item.label.FlowsTo(context) || a.Arg("taint") == "yes"
	}
	f.flow = fl
	if f.item.absent {
		return // nothing is said of it
	}
	fault := func(ok *bool, clause string) { *ok, f.why = clause == "", clause }
	switch a.Kind { //nolint:exhaustive // the other kinds have no rule of their own
	case action.MessageSend, action.ToolCall, action.ModelCall:
		if f.sink.listed && q.Args.Integrity < f.sink.floor {
			fault(&f.flow.write, e.floorClause(f))
		}
	case action.DataWrite:
		fault(&f.flow.write, e.writeFault(f))
	case action.AgentSpawn:
		fault(&f.flow.spawn, e.spawnFault(f))
	case action.DataExtract:
		fault(&f.flow.extract, extractFault(f))
	case action.DataLower:
		fault(&f.flow.lower, e.lowerFault(f))
	case action.AgentInstruct:
		fault(&f.flow.instruct, e.instructFault(f))
	}
}

// endorsed tells the actions whose integrity (R3a, R3b) the operator vouches
// for in another way. A network rule, and the binding of a secret, are written
// for a program that nobody trusts and that has read anything: they are the
// operator's signature under what it sends there, within the rule's host, port,
// methods, paths and clearance. What is not listed reaches nobody without the
// owner's yes to this one destination, or a grant for it. A tool may be listed
// as bounded by something else, a mailbox as one of foreign data. What is lowered
// is signed by people, exactly and each time. And changes that the operator
// commits were read by the operator.
func (e *Engine) endorsed(f *facts) bool {
	switch f.q.Action.Kind {
	case action.NetConnect, action.HTTPRequest:
		return f.dest.ok
	case action.SecretUse:
		return f.sink.listed
	case action.ToolCall, action.MessageSend:
		return f.sink.endorsed
	case action.DataLower:
		return true
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
// items are compared by R1 and R5 instead; everything else that nobody listed is
// public.
func (e *Engine) sinkOf(f *facts) sink {
	a := &f.q.Action
	s, others := e.sinkFor(a.Kind, a.Target, a.Agent)
	if s != nil && a.Kind != action.DataRead {
		return sink{
			checked: true, listed: true, endorsed: s.Endorsed, slot: s.Agents != nil && a.Kind == action.MessageSend,
			clearance: s.Clearance, floor: s.Floor, origin: s.Origin,
		}
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
	case action.SessionStart, action.DataRead, action.DataWrite, action.DataLower, action.DataErase, action.DataHold, action.DataExtract,
		action.AgentSpawn, action.AgentInstruct, action.AgentStop, action.ScheduleSet, action.ConfigChange, action.PolicyChange, action.TrustChange:
		return sink{others: others}
	default: // outward, or added later
		return sink{checked: true, others: others, clearance: label.Label{}}
	}
}

// resultOf gives R(t): the declared label, else what the kind can bring in.
// What a model says is never signed but no less trusted than what it read. A
// tool or host that nobody described brings the worst. An item has a label of
// its own, see item.
func (e *Engine) resultOf(f *facts) label.Label {
	a := &f.q.Action
	if l, ok := e.declared(a); ok && !f.item.kind {
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
		if f.sink.slot {
			return label.Bottom
		}
		return label.New(label.Public, label.Foreign, 0) // an acknowledgement, no content
	case action.DataWrite:
		if !f.unlabelled() {
			return label.Bottom
		}
	case action.DataRead, action.DataLower, action.DataErase, action.DataHold, action.DataExtract, action.AgentSpawn, action.AgentInstruct,
		action.AgentStop, action.ScheduleSet, action.ConfigChange, action.PolicyChange, action.TrustChange:
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
