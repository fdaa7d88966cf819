package flowmodel

import "sallyport/internal/label"

// Theorem is what must hold in every reachable state.
type Theorem string

// The theorems.
const (
	// Agreement makes sense of the others: runs in which a context has seen the
	// same are alike in everything that the context could notice.
	Agreement Theorem = "T0: a context notices only what it is told"
	// Secrecy compares what an observer reads: tools, model endpoints and agents
	// that are cleared for no more than the observer.
	Secrecy Theorem = "T1: what an observer reads does not depend on what it is not cleared for"
	// Trust compares the calls of tools that need integrity member or signed.
	Trust Theorem = "T2: calls that need integrity do not depend on foreign data"
	// Rising is about each step and each context.
	Rising Theorem = "T3: a label never falls, nor below its maker's, nor passes its ceiling, its agent's clearance or its endpoint's"
	// Extraction counts the different traces of calls that need integrity member.
	Extraction Theorem = "T4: foreign data chooses among at most 2^budget traces of calls, and among signed ones not at all"
	// Authority is about lowering.
	Authority Theorem = "T5: nothing is lowered but once, under a live grant for exactly it, signed by enough people"
)

// holds checks one theorem after a step from before to s by m.
func (w *World) holds(t Theorem, before, s *state, m Move) bool {
	switch t {
	case Agreement:
		return w.agree(s)
	case Secrecy:
		return w.secret(s)
	case Trust:
		return w.trusted(s, label.Member, 1)
	case Rising:
		return w.rising(before, s, m)
	case Extraction:
		return w.trusted(s, label.Signed, 1) && w.trusted(s, label.Member, 1<<w.budget())
	case Authority:
		return !s.Run[0].Abused && !s.Run[1].Abused && !s.Run[2].Abused
	}
	return false
}

func (w *World) agree(s *state) bool {
	for x := range maxCtx {
		for r := range w.Runs {
			for q := range r {
				if s.view(x)[r] == s.view(x)[q] && s.Run[r].Ctx[x] != s.Run[q].Ctx[x] {
					return false
				}
			}
		}
	}
	return true
}

// secret exempts runs after a release that people signed: what they release is
// theirs to choose.
func (w *World) secret(s *state) bool {
	for r := range w.Runs {
		if s.Run[r].Released {
			return true
		}
	}
	for i, t := range w.Tools {
		to := t.Clearance
		if t.Unlisted {
			to = public
		}
		if to.ConfFlowsTo(w.Observer) && s.out(i).classes(w.Runs) > 1 {
			return false
		}
	}
	for x := range maxCtx {
		if s.view(x).classes(w.Runs) == 1 {
			continue
		}
		for r := range w.Runs {
			a := w.Agents[s.Run[r].Ctx[x].Agent]
			if s.view(x)[r] != 0 && (a.Endpoint.ConfFlowsTo(w.Observer) || Rules{}.ClearanceOf(a).ConfFlowsTo(w.Observer)) {
				return false
			}
		}
	}
	return true
}

// trusted bounds the number of different traces of calls of all tools that need
// at least an integrity.
func (w *World) trusted(s *state, needs label.Integrity, most int) bool {
	var trace cell
	trace.mix(1<<w.Runs-1, func(r int) uint32 {
		var v uint32
		for i, t := range w.Tools {
			if t.Needs >= needs {
				v = v<<4 | uint32(s.out(i)[r])
			}
		}
		return v
	})
	return trace.classes(w.Runs) <= most
}

func (w *World) budget() (b uint8) {
	for _, o := range w.Contexts {
		b += o.Budget
	}
	return b
}

func (w *World) rising(before, s *state, m Move) bool {
	for r := range w.Runs {
		if !w.derived(&before.Run[r], &s.Run[r], m) {
			return false
		}
		for x := range maxCtx {
			was, is := &before.Run[r].Ctx[x], &s.Run[r].Ctx[x]
			l := is.Label.label()
			if !is.Alive {
				continue
			}
			if a := w.Agents[is.Agent]; !l.FlowsTo(is.Ceiling.label()) || !l.ConfFlowsTo(Rules{}.ClearanceOf(a)) || !l.ConfFlowsTo(a.Endpoint) {
				return false
			}
			parents := x == child && (m.Kind == Fork || m.Kind == Spawn) // a new context under an old name
			if was.Alive && !parents && !was.Label.label().FlowsTo(l) {
				return false
			}
		}
	}
	return true
}

// derived looks at an object that was made of other data, except for those that
// R7 and R8 give a lower label on purpose.
func (w *World) derived(before, q *run, m Move) bool {
	if m.Kind != Create && m.Kind != Call {
		return true
	}
	for o, l := range q.Obj {
		if l != absent && before.Obj[o] == absent && !before.Ctx[m.Ctx].Label.label().FlowsTo(l.label()) {
			return false
		}
	}
	return true
}

// entitled is R8 said again, in another way than Rules.Lower says it.
func entitled(p People, g Grant, object, to uint8, foreign bool) bool {
	signers := map[uint8]bool{}
	for key, person := range p.Owner {
		if g.Signed>>key&1 == 1 && p.Rights>>person&1 == 1 {
			signers[person] = true
		}
	}
	if p.Quorum > 1 {
		delete(signers, g.Requester)
	}
	missing := p.Quorum - len(signers)
	if foreign {
		missing++
	}
	return g.Object == object && g.To == to && !g.Used && !g.Expired && !g.Revoked && missing <= 0
}
