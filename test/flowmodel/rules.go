package flowmodel

import "sallyport/internal/label"

// Agent is who a context belongs to: what it may read, and the model endpoint
// that sees whatever its contexts see. An unknown agent is cleared for public
// data only, whatever Clearance says.
type Agent struct {
	Name      string
	Unknown   bool
	Clearance label.Label
	Endpoint  label.Label
}

// Context is the label and the ceiling of one transcript.
type Context struct {
	Agent          Agent
	Label, Ceiling label.Label
}

// Tool is an outside effect: the clearance of where its arguments go, the
// integrity it needs, and the label of what it brings back.
type Tool struct {
	Name      string
	Silent    bool // brings nothing back
	Unlisted  bool // nobody described it: public, signed, result foreign
	Clearance label.Label
	Needs     label.Integrity
	Result    label.Label
}

// Rule names the rule that denied; empty means allowed.
type Rule string

// Rules are R0 to R9 as pure functions. Flaw breaks one of them on purpose; the
// zero Rules are the right ones.
type Rules struct{ Flaw Flaw }

func (k Rules) has(f Flaw) bool { return k.Flaw == f && f != "" }

var public = label.New(label.Public, label.Foreign, 0)

// ClearanceOf gives the clearance that counts for an agent.
func (k Rules) ClearanceOf(a Agent) label.Label {
	if a.Unknown && !k.has(UnknownCleared) {
		return public
	}
	return a.Clearance
}

// Join is the least upper bound.
func (k Rules) Join(a, b label.Label) label.Label {
	j := a.Join(b)
	switch {
	case k.has(JoinIsMeet):
		j.Level, j.Compartments = min(a.Level, b.Level), a.Compartments&b.Compartments
	case k.has(IntegrityRises):
		j.Integrity = max(a.Integrity, b.Integrity)
	}
	return j
}

func (k Rules) conf(a, b label.Label) bool {
	switch {
	case k.has(FlowReversed):
		return b.ConfFlowsTo(a)
	case k.has(CompartmentsIgnored):
		return a.Level <= b.Level
	}
	return a.ConfFlowsTo(b)
}

func (k Rules) flows(a, b label.Label) bool { return k.conf(a, b) && a.Integrity >= b.Integrity }

// Start (R0) gives the label of a new context: the join of what it starts with.
func (k Rules) Start(a Agent, prompts, memory []label.Label) (label.Label, Rule) {
	l := label.Bottom
	if !k.has(PromptUntainted) {
		for _, p := range prompts {
			l = k.Join(l, p)
		}
	}
	if !k.has(MemoryUntainted) {
		for _, m := range memory {
			l = k.Join(l, m)
		}
	}
	if !k.conf(l, k.ClearanceOf(a)) || !k.conf(l, a.Endpoint) {
		return l, "R0"
	}
	return l, ""
}

// LabelOf (R0) gives the label that counts for data; nil is none.
func (k Rules) LabelOf(l *label.Label) label.Label {
	switch {
	case l != nil:
		return *l
	case k.has(UnlabelledIsLow):
		return label.Bottom
	}
	return label.Unlabelled
}

// Read (R1) gives the context's label after it has read data labelled o.
func (k Rules) Read(c Context, o label.Label) (label.Label, Rule) {
	after := k.Join(c.Label, o)
	switch {
	case !k.has(ReadIgnoresClearance) && !k.conf(o, k.ClearanceOf(c.Agent)):
		return c.Label, "R1 clearance"
	case !k.has(ReadIgnoresCeiling) && !k.flows(after, c.Ceiling):
		return c.Label, "R1 ceiling"
	case !k.has(ReadIgnoresEndpoint) && !k.conf(after, c.Agent.Endpoint):
		return c.Label, "R1 endpoint"
	}
	if k.has(ReadUntainted) {
		after.Level, after.Compartments = c.Label.Level, c.Label.Compartments
	}
	if k.has(ReadKeepsIntegrity) {
		after.Integrity = c.Label.Integrity
	}
	return after, ""
}

// Args is the label of what a call's arguments refer to beyond the context
// itself; label.Bottom if they refer to nothing. Control are the arguments that
// decide where the effect goes.
type Args struct{ Refs, Control label.Label }

// Call (R3, R4) gives the label of the result of calling a tool.
func (k Rules) Call(c Context, t Tool, a Args) (label.Label, Rule) {
	if t.Unlisted {
		t = Tool{Clearance: public, Needs: label.Signed, Result: label.Unlabelled}
		if k.has(UnlistedTrusted) {
			t.Clearance, t.Needs = label.Unlabelled, label.Foreign
		}
	}
	all := k.Join(k.Join(c.Label, a.Refs), a.Control)
	sent := all
	switch {
	case k.has(CallIgnoresContext):
		sent = k.Join(a.Refs, a.Control)
	case k.has(CallIgnoresArgument):
		sent = c.Label
	}
	switch {
	case !k.has(CallIgnoresTrust) && c.Label.Integrity < t.Needs:
		return label.Label{}, "R3a"
	case !k.has(CallIgnoresControl) && a.Control.Integrity < t.Needs:
		return label.Label{}, "R3b"
	case !k.conf(sent, t.Clearance):
		return label.Label{}, "R3c"
	}
	switch {
	case k.has(ResultWithoutArguments):
		return t.Result, ""
	case k.has(ResultWithoutTool):
		return all, ""
	}
	return k.Join(t.Result, all), ""
}

// Create (R5) gives the label of a new object.
func (k Rules) Create(c Context, refs label.Label) label.Label {
	switch {
	case k.has(CreateWithoutReferences):
		return c.Label
	case k.has(CreateWithoutContext):
		return k.Join(label.Bottom, refs)
	}
	return k.Join(c.Label, refs)
}

// Write (R5) says whether a context may write a slot with a fixed label.
func (k Rules) Write(c Context, slot label.Label) Rule {
	ok := k.flows(c.Label, slot)
	switch {
	case k.has(WriteAnywhere):
		ok = c.Label.Integrity >= slot.Integrity
	case k.has(WriteUntrusted):
		ok = k.conf(c.Label, slot)
	case k.has(SlotFloats):
		ok = true
	}
	if !ok {
		return "R5"
	}
	return ""
}

// Spawn (R6) gives the child of a context. Beyond M(y) above L(x), the child's
// own agent and endpoint must be cleared for what it is born with, because it
// starts with everything that its parent knows.
func (k Rules) Spawn(c Context, child Agent, ceiling label.Label) (Context, Rule) {
	y := Context{Agent: child, Label: c.Label, Ceiling: ceiling}
	if k.has(ChildClean) {
		y.Label.Level, y.Label.Compartments = label.Public, 0
	}
	switch {
	case !k.has(CeilingBelow) && !k.flows(c.Label, ceiling):
		return y, "R6 ceiling"
	case !k.has(ChildUncleared) && !k.conf(c.Label, k.ClearanceOf(child)):
		return y, "R6 clearance"
	case !k.has(ChildEndpoint) && !k.conf(c.Label, child.Endpoint):
		return y, "R6 endpoint"
	}
	return y, ""
}

// Extract (R7) gives the label of one bit that a tool-less child read out of
// data labelled o, for a context with a budget of so many bits.
func (k Rules) Extract(c Context, o label.Label, budget uint8) (label.Label, Rule) {
	out := k.Join(c.Label, o)
	switch {
	case !k.conf(out, k.ClearanceOf(c.Agent)), !k.conf(out, c.Agent.Endpoint):
		return out, "R7 clearance"
	case budget == 0:
		return out, "R7 budget"
	}
	out.Integrity = label.Member // never signed: a model gives the answer
	if k.has(ExtractSigns) {
		out.Integrity = label.Signed
	}
	if k.has(ExtractLowers) {
		out.Level, out.Compartments = c.Label.Level, c.Label.Compartments
	}
	return out, ""
}

// Fork (R9) says whether a parent may set a child back to a checkpoint.
func (k Rules) Fork(parent Context, checkpoint label.Label) Rule {
	if !k.has(ForkAbove) && !k.flows(parent.Label, checkpoint) {
		return "R9"
	}
	return ""
}
