package flowmodel

import "sallyport/internal/label"

func at(l label.Level, i label.Integrity, c ...label.Compartments) label.Label {
	var all label.Compartments
	for _, b := range c {
		all |= b
	}
	return label.New(l, i, all)
}

// The two compartments of the worlds.
const (
	hr  label.Compartments = 1
	fin label.Compartments = 2
)

var (
	publicMember  = at(label.Public, label.Member)
	publicSigned  = at(label.Public, label.Signed)
	secretMember  = at(label.Secret, label.Member)
	secretForeign = at(label.Secret, label.Foreign)
	everything    = at(label.Secret, label.Foreign, hr, fin)
)

func data(name string, l label.Label) Object { return Object{Name: name, Label: &l} }

// above is Hidden for T1: everything that the observer is not cleared for.
func above(observer label.Label) func(label.Label) bool {
	return func(l label.Label) bool { return !l.ConfFlowsTo(observer) }
}

// foreign is Hidden for T2 and T4.
func foreign(l label.Label) bool { return l.Integrity == label.Foreign }

var (
	core   = Agent{Name: "core", Clearance: secretForeign, Endpoint: secretForeign}
	edge   = Agent{Name: "edge", Clearance: public, Endpoint: public}
	remote = Agent{Name: "remote", Clearance: secretForeign, Endpoint: public}
	post   = Tool{Name: "post", Silent: true, Clearance: public}
	local  = Agent{Name: "local", Clearance: public, Endpoint: secretForeign}
	sum    = Tool{Name: "sum", Clearance: secretForeign, Result: publicSigned}
	query  = Tool{Name: "query", Clearance: secretForeign, Result: secretMember}
	look   = Tool{Name: "look", Clearance: public, Result: public}
	pay    = Tool{Name: "pay", Silent: true, Clearance: everything, Needs: label.Member}
	wipe   = Tool{Name: "wipe", Silent: true, Clearance: everything, Needs: label.Signed}
)

// Mail is two agents that share a mailbox and a memory, and make objects.
func Mail() *World {
	return &World{
		Name: "mail", Runs: 2, Agents: []Agent{core, edge}, Observer: public, Hidden: above(public),
		Objects: []Object{data("secret", secretMember)},
		Slots:   []Slot{{"mail", public}, {"memory", secretForeign}},
		Tools:   []Tool{post, sum},
		Contexts: []Opening{
			{Name: "core", Agent: 0, Ceiling: secretForeign},
			{Name: "edge", Agent: 1, Ceiling: public},
		},
		Makes: 1, Moves: []Kind{Read, Receive, Send, Call, Create},
	}
}

// Family is a core that spawns, awaits and sets back one child.
func Family() *World {
	return &World{
		Name: "family", Runs: 2, Agents: []Agent{core, edge, remote, local}, Observer: public, Hidden: above(public),
		Objects:  []Object{data("secret", secretMember)},
		Slots:    []Slot{{"memory", secretForeign}},
		Tools:    []Tool{post},
		Contexts: []Opening{{Name: "core", Agent: 0, Ceiling: secretForeign}},
		Children: []int{0, 1, 2, 3}, Ceilings: []label.Label{public, secretForeign},
		Makes: 1, Moves: []Kind{Read, Receive, Send, Call, Create, Spawn, Finish, Await, Fork},
	}
}

// Compartments is two departments of one level beside each other.
func Compartments() *World {
	hrOnly, finOnly := at(label.Secret, label.Foreign, hr), at(label.Secret, label.Foreign, fin)
	return &World{
		Name: "compartments", Runs: 2, Observer: finOnly, Hidden: above(finOnly),
		Agents: []Agent{
			{Name: "clerk", Clearance: everything, Endpoint: everything},
			{Name: "teller", Clearance: finOnly, Endpoint: finOnly},
		},
		Objects: []Object{data("files", at(label.Secret, label.Member, hr)), data("books", at(label.Secret, label.Member, fin))},
		Slots:   []Slot{{"desk", hrOnly}, {"till", finOnly}},
		Tools:   []Tool{{Name: "bank", Silent: true, Clearance: finOnly}},
		Contexts: []Opening{
			{Name: "clerk", Agent: 0, Ceiling: everything},
			{Name: "teller", Agent: 1, Ceiling: finOnly},
		},
		Makes: 1, Moves: []Kind{Read, Receive, Send, Call, Create},
	}
}

// Start is contexts with prompts, memories, data without labels, an agent that
// nobody configured and one whose model is elsewhere.
func Start() *World {
	return &World{
		Name: "start", Runs: 2, Observer: public, Hidden: above(public),
		Agents: []Agent{core, {Name: "stranger", Unknown: true, Clearance: everything, Endpoint: everything}, remote},
		Objects: []Object{
			data("order", secretMember), data("notes", secretForeign), {Name: "unlabelled"}, data("news", public),
		},
		Slots: []Slot{{"mail", public}},
		Tools: []Tool{post, query, {Name: "unlisted", Silent: true, Unlisted: true}},
		Contexts: []Opening{
			{Name: "core", Agent: 0, Ceiling: everything, Prompts: []int{0}, Memory: []int{3}},
			{Name: "stranger", Agent: 1, Ceiling: everything, Prompts: []int{3}},
			{Name: "remote", Agent: 2, Ceiling: everything, Memory: []int{3}},
		},
		Makes: 1, Moves: []Kind{Read, Receive, Send, Call, Create},
	}
}

// Memory is a context that starts with what an earlier one remembered.
func Memory() *World {
	w := Start()
	w.Name = "memory"
	w.Contexts[0].Prompts, w.Contexts[0].Memory = []int{3}, []int{1}
	return w
}

// Decided is calls that are performed some time after they were decided.
func Decided() *World {
	w := Mail()
	w.Name, w.Tools, w.Moves = "decided", []Tool{post, pay}, []Kind{Read, Receive, Send, Prepare, Perform}
	return w
}

// Orders is foreign, member and signed data and tools that need integrity.
func Orders() *World {
	all := at(label.Secret, label.Foreign)
	a := Agent{Name: "agent", Clearance: all, Endpoint: all}
	return &World{
		Name: "orders", Runs: 2, Agents: []Agent{a}, Hidden: foreign, Controls: true,
		Objects: []Object{data("page", public), data("ticket", publicMember)},
		Slots:   []Slot{{"inbox", public}, {"desk", publicMember}},
		Tools:   []Tool{look, pay, wipe},
		Contexts: []Opening{
			{Name: "planner", Agent: 0, Ceiling: public},
			{Name: "clerk", Agent: 0, Ceiling: public, Prompts: []int{1}},
		},
		Children: []int{0}, Ceilings: []label.Label{public, publicMember},
		Makes: 1, Moves: []Kind{Read, Receive, Send, Call, Create},
	}
}

// Helpers is Orders with a child instead of a second context.
func Helpers() *World {
	w := Orders()
	w.Name, w.Contexts, w.Slots = "helpers", w.Contexts[:1], w.Slots[1:]
	w.Moves = append(w.Moves, Spawn, Finish, Await, Fork)
	return w
}

// Bits is three runs with different foreign data and a budget of one bit that
// a child may get.
func Bits() *World {
	w := Helpers()
	w.Name, w.Runs, w.Slots = "bits", maxRuns, nil
	w.Objects, w.Tools = w.Objects[:1], []Tool{pay, wipe}
	w.Contexts[0].Budget = 1
	w.Ceilings = w.Ceilings[:1]
	w.Makes = 2
	w.Moves = []Kind{Read, Call, Extract, Spawn, Finish, Await, Fork}
	return w
}

// Purse is a budget near a secret: whoever may not read it must not notice how
// much of the budget somebody spent who did.
func Purse() *World {
	w := Mail()
	w.Name, w.Tools = "purse", []Tool{post}
	w.Objects = append(w.Objects, data("page", public))
	w.Contexts[0].Budget, w.Contexts[1].Budget = 1, 1
	w.Moves = []Kind{Read, Receive, Send, Call, Extract}
	return w
}

// Release is a quorum of two people, one of whom asks, one of whom has two
// keys, and a third who has no right to sign.
func Release() *World {
	w := Mail()
	w.Name, w.Tools, w.Slots = "release", []Tool{post}, nil
	w.Objects = append(w.Objects, data("other", secretForeign))
	w.Makes = 2
	w.Moves = []Kind{Read, Call, Lower, Sign, Expire, Revoke}
	w.People = People{Owner: []uint8{0, 1, 1, 2, 3, 4}, Rights: 0b10111, Quorum: 2}
	w.Grant = Grant{Object: 0, To: 0, Requester: 0}
	w.Targets = []label.Label{publicMember, publicSigned}
	w.Contexts = w.Contexts[:1]
	return w
}
