package policy

import (
	"slices"

	"sallyport/internal/action"
	"sallyport/internal/label"
)

// item is what the arguments of a data action refer to.
type item struct {
	kind   bool // the action is of a kind that refers to items
	named  bool // it refers to one
	absent bool // the agent may not read it, or it is not there: both are label.Unlabelled
	label  label.Label
}

// newItem is the target of data.write that refers to nothing yet.
const newItem = "new"

// dataKinds refer to items, by the arguments that refersTo names.
var dataKinds = []action.Kind{
	action.DataRead, action.DataWrite, action.DataLower, action.DataErase, action.DataHold, action.DataExtract,
}

func refersTo(arg string) bool { return arg == "item" || arg == "from" }

// itemOf joins the labels of what an action refers to. A reference that nobody
// looked up is unlabelled (R0); what the operator writes has the label that the
// operator gives it.
func (e *Engine) itemOf(a *action.Action) item {
	if !slices.Contains(dataKinds, a.Kind) {
		return item{}
	}
	it := item{kind: true, label: label.Bottom}
	for name, l := range a.ArgLabels {
		if refersTo(name) {
			it.named, it.label = true, it.label.Join(l)
		}
	}
	fresh := a.Kind == action.DataWrite && (a.Agent == "" || a.Target == newItem)
	if !it.named && !fresh {
		it.named, it.label = true, label.Unlabelled
	}
	if l, ok := e.declared(a); ok && it.named {
		it.label = it.label.Join(l)
	}
	return it
}

// declared gives what the settings say that a target's result is.
func (e *Engine) declared(a *action.Action) (label.Label, bool) {
	ls := e.results.find(a.Kind, a.Target)
	if len(ls) == 0 {
		return label.Label{}, false
	}
	return ls[len(ls)-1], true
}

// bring gives the label of what an action brings back about an item: all of it
// when it is read, or written to; one answer of integrity member, because a
// model gave it and bits pay for it, when that is extracted (R7); nothing when
// people lower or erase it.
func (it item) bring(k action.Kind, base label.Label) label.Label {
	switch k { //nolint:exhaustive // the others bring nothing
	case action.DataRead, action.DataWrite:
		return base.Join(it.label)
	case action.DataExtract:
		return base.Join(label.New(it.label.Level, label.Member, it.label.Compartments))
	}
	return base
}

// taints tells the kinds that raise the context to the item's label.
func (it item) taints(k action.Kind) bool { return k == action.DataRead || k == action.DataWrite }

// reaches is R1 for an item: whether the agent's clearance, the context's
// ceiling and the model's endpoint permit what it would bring. To ask for an
// item to be lowered, an agent must be one that may read it.
func (e *Engine) reaches(f *facts) bool {
	k := f.q.Action.Kind
	if f.sink.others { // listed for other agents
		return false
	}
	if !f.item.taints(k) && k != action.DataExtract {
		k = action.DataRead
	}
	after := f.item.bring(k, f.base)
	return f.item.label.ConfFlowsTo(f.agent.Clearance) && after.FlowsTo(f.q.Snapshot.Ceiling) && after.ConfFlowsTo(f.agent.Endpoint)
}

// unlabelled tells a new item of the operator's that says no label (R0).
func (f *facts) unlabelled() bool {
	a := &f.q.Action
	version, _ := a.Args["version"].(int64)
	_, said := a.Args["label"]
	return f.operators() && a.Kind == action.DataWrite && !said && version == 0 && a.Arg("from") == ""
}
