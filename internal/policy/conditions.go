package policy

import (
	"fmt"
	"slices"

	"sallyport/internal/label"
)

// The functions here are conditions of R5 to R8 that name many things at once.
// Each gives the first one that fails, as a clause for the rule's sentence, with
// the remedy; empty if all hold.

// floorClause says that a destination takes only what is trusted enough (R5).
func (e *Engine) floorClause(f *facts) string {
	return fmt.Sprintf("%s %q takes only what is of integrity %s (%s), and this is %s: text from outside may have shaped it; send it from a context that read none",
		f.q.Action.Kind, f.q.Action.Target, f.sink.floor, origin(f.sink.origin), e.show(f.q.Args))
}

// writeFault is R5 for items: what is written flows to its label, integrity
// included. Without a body the content is the item's own.
func (e *Engine) writeFault(f *facts) string {
	a := &f.q.Action
	content := f.base
	if _, body := a.Args["sha256"]; !body && f.item.named {
		content = content.Join(f.item.label)
	}
	if f.item.named && a.Agent != "" && !f.base.FlowsTo(f.item.label) {
		return fmt.Sprintf("the context is %s and %q is %s, so what it writes may not go there; write a new item, or write it from a context that is no higher and no less trusted",
			e.show(f.base), a.Target, e.show(f.item.label))
	}
	if _, said := a.Args["label"]; !said {
		return ""
	}
	to, err := e.settings.Scheme.Parse(a.Arg("label"))
	if err != nil {
		return fmt.Sprintf("the label %q cannot be read (%v); give one such as internal/member, or none", a.Arg("label"), err)
	}
	if !content.FlowsTo(to) {
		return fmt.Sprintf("what is written is %s and may not become %s; write it with its own label, and ask for it to be lowered (data.lower) if it must be",
			e.show(content), e.show(to))
	}
	return ""
}

// spawnFault is R6: L(x) ⊑ label ⊑ ceiling ⊑ the child's ceiling, and what the
// child knows from birth is within its clearance and its model's. An agent
// spawns only whom it may, and gives bits of its own context alone.
func (e *Engine) spawnFault(f *facts) string {
	a := &f.q.Action
	child, known := e.settings.Agents[a.Target]
	if !known {
		return fmt.Sprintf("agent %q is not configured; run it from its agent file", a.Target)
	}
	born, err := e.settings.Scheme.Parse(a.Arg("label"))
	ceiling, err2 := e.settings.Scheme.Parse(a.Arg("ceiling"))
	switch {
	case err != nil || err2 != nil:
		return fmt.Sprintf("label %q or ceiling %q of the new context cannot be read; give two such as internal/foreign", a.Arg("label"), a.Arg("ceiling"))
	case a.Agent != "" && !slices.Contains(f.agent.Spawns, a.Target):
		return fmt.Sprintf("agent %q may not spawn %q; it may spawn %s", a.Agent, a.Target, list(f.agent.Spawns))
	case a.Agent != "" && a.Args["instruction"] != nil:
		return "only the operator hands a signed instruction to a context; spawn the child without"
	case !f.q.Args.FlowsTo(born):
		return fmt.Sprintf("the new context would be born %s, below its parent's %s, and it is told what its parent says; give it that label", e.show(born), e.show(f.q.Args))
	case !born.FlowsTo(ceiling):
		return fmt.Sprintf("the new context would be born %s, above its ceiling %s; give it a higher ceiling", e.show(born), e.show(ceiling))
	case !ceiling.FlowsTo(child.Ceiling):
		return fmt.Sprintf("the ceiling %s is above agent %q's, %s; lower it", e.show(ceiling), a.Target, e.show(child.Ceiling))
	case !born.ConfFlowsTo(child.Clearance):
		return fmt.Sprintf("the new context would be born %s, above agent %q's clearance %s; spawn an agent that is cleared, or spawn before reading what is higher",
			e.show(born), a.Target, e.conf(child.Clearance))
	case !born.ConfFlowsTo(child.Endpoint):
		return fmt.Sprintf("the new context would be born %s and agent %q's model endpoint may receive only %s; spawn an agent with a local model", e.show(born), a.Target, e.conf(child.Endpoint))
	}
	return spawnBits(f)
}

// spawnBits is R7 for a child: its share is its parent's, never made of nothing.
func spawnBits(f *facts) string {
	a := &f.q.Action
	n, given := a.Args["bits"].(int64)
	_, named := a.Args["bits"]
	switch {
	case named && (!given || n < 0):
		return "the bits of the new context are no number; give 0 or more"
	case a.Agent == "" || n == 0:
		return ""
	case a.Arg("parent") != a.Context:
		return "a child's bits are taken from the context that spawns it; name that as the parent"
	case n > int64(f.q.Snapshot.Bits):
		return fmt.Sprintf("the child would get %d bits and its parent has %d left; give it fewer", n, f.q.Snapshot.Bits)
	}
	return ""
}

// extractFault is R7: one answer of a schema, paid for with bits of this
// context's budget.
func extractFault(f *facts) string {
	a := &f.q.Action
	schema, err := ParseAnswers(a.Arg("schema"))
	if err != nil {
		return fmt.Sprintf("the schema %.40q cannot be used; give enum:a,b,c with 2 to 256 names, bool, or int:LO..HI", a.Arg("schema"))
	}
	n, ok := a.Args["bits"].(int64)
	switch {
	case !ok || n < int64(schema.Bits()):
		return fmt.Sprintf("an answer of this schema, or none, carries %d bits; charge as many", schema.Bits())
	case n > int64(f.q.Snapshot.Bits):
		return fmt.Sprintf("it costs %d bits and the context has %d left; ask a narrower question, or read the item in a context of its own (spawn)", n, f.q.Snapshot.Bits)
	case !schema.Contains(a.Arg("value")):
		return "the value is none of the schema's answers; give one of them, or " + NoAnswer
	}
	return ""
}

// lowerFault is R8: whoever signs sees exactly which version goes from where to
// where, what for, and under which name. Nobody lowers to signed for an agent:
// that an order was given is said by an instruction alone.
func (e *Engine) lowerFault(f *facts) string {
	a := &f.q.Action
	version, _ := a.Args["version"].(int64)
	from, err := e.settings.Scheme.Parse(a.Arg("from"))
	to, err2 := e.settings.Scheme.Parse(a.Arg("label"))
	switch {
	case a.Arg("item") == "" || a.Arg("item") != a.Target || version <= 0 || a.Arg("purpose") == "" || a.Arg("new") == "" || a.Arg("new") == a.Target:
		return "a request to lower names its item and version, the label it has and the one it shall have, the purpose, and a new name; give them all"
	case err != nil || err2 != nil:
		return fmt.Sprintf("label %q or %q cannot be read; give the one that it has and the one that it shall have", a.Arg("from"), a.Arg("label"))
	case from != f.item.label:
		return fmt.Sprintf("%q is not labelled %s; ask for it as it is now", a.Target, e.show(from))
	case to.Integrity == label.Signed && a.Agent != "":
		return "integrity signed comes from signed instructions alone (`sallyport instruct`); ask for member at most"
	}
	return ""
}

// instructFault says whom people may instruct, and within which labels.
func (e *Engine) instructFault(f *facts) string {
	a := &f.q.Action
	to, known := e.settings.Agents[a.Target]
	l, err := e.settings.Scheme.Parse(a.Arg("label"))
	clearance, err2 := e.settings.Scheme.Parse(a.Arg("clearance"))
	switch {
	case !known || !slices.Contains(e.settings.Instructable, a.Target):
		return fmt.Sprintf("people do not instruct %q; the highest tier of the organisation takes instructions: %s", a.Target, list(e.settings.Instructable))
	case a.Arg("text") == "" || a.Arg("id") == "":
		return "an instruction has a text and an id; give both"
	case err != nil || err2 != nil:
		return fmt.Sprintf("label %q or clearance %q cannot be read; give two such as internal/foreign", a.Arg("label"), a.Arg("clearance"))
	case !l.FlowsTo(clearance):
		return fmt.Sprintf("the text is %s, above the clearance %s that it is carried out with; choose a higher clearance", e.show(l), e.show(clearance))
	case !clearance.FlowsTo(to.Ceiling):
		return fmt.Sprintf("the clearance %s is above agent %q's ceiling %s; choose a lower one", e.show(clearance), a.Target, e.show(to.Ceiling))
	}
	return ""
}

// show renders a label with the names that the operator gave levels and
// compartments.
func (e *Engine) show(l label.Label) string { return e.settings.Scheme.Format(l) }

// conf renders a label's confidentiality.
func (e *Engine) conf(l label.Label) string { return confOf(e.show(l)) }
