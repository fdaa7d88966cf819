package flowmodel

import (
	"fmt"
	"slices"
	"strings"
)

// Report is what an exploration found.
type Report struct {
	States   int // different ones, up to the order of runs
	Steps    int // moves tried
	Depth    int // longest shortest way to a state
	Complete bool
	Broken   Theorem // the first that failed; empty if all held
	Trace    string  // how, as numbered steps
}

// node remembers how a state was reached.
type node struct {
	parent int32
	move   Move
}

// explorer is one exploration.
type explorer struct {
	theorems []Theorem
	t        turn
	seen     map[uint64]struct{}
	nodes    []node
	next     []state // the level that is being found
	ids      []int32 // their nodes
	moves    []Move
	rep      Report
}

// Explore visits every state that any strategy of every context can reach under
// the rules, breadth first, up to a depth (0 is no bound) and checks theorems
// in each. It stops at the first that fails, which has a shortest trace.
func (w *World) Explore(k Rules, depth int, theorems ...Theorem) Report {
	first := w.open(k)
	e := explorer{
		theorems: theorems, t: turn{w: w, k: k}, seen: map[uint64]struct{}{first.key(w.Runs): {}}, nodes: []node{{parent: -1}},
	}
	level, at := []state{first}, []int32{0}
	for len(level) > 0 && e.rep.Broken == "" && (depth == 0 || e.rep.Depth < depth) {
		e.next, e.ids = nil, nil
		for i := range level {
			if !e.expand(&level[i], at[i]) {
				break
			}
		}
		level, at = e.next, e.ids
		e.rep.Depth++
	}
	e.rep.States, e.rep.Complete = len(e.seen), len(level) == 0 && e.rep.Broken == ""
	return e.rep
}

// expand makes every move of a state; it gives false when a theorem failed.
func (e *explorer) expand(s *state, id int32) bool {
	w := e.t.w
	e.moves = w.choices(e.t.k, s, e.moves[:0])
	for _, m := range e.moves {
		if !e.t.step(s, m) || e.t.next == *s {
			continue
		}
		e.rep.Steps++
		key := e.t.next.key(w.Runs)
		_, dup := e.seen[key]
		for _, t := range e.theorems {
			if dup && t != Rising { // that one is about steps, the others about states
				continue
			}
			if !w.holds(t, s, &e.t.next, m) {
				e.rep.Broken, e.rep.Trace = t, w.trace(e.t.k, append(e.nodes, node{id, m}))
				return false
			}
		}
		if dup {
			continue
		}
		e.seen[key] = struct{}{}
		e.nodes = append(e.nodes, node{id, m})
		e.next, e.ids = append(e.next, e.t.next), append(e.ids, int32(len(e.nodes)-1))
	}
	return true
}

// choices lists the moves that may be tried in a state.
func (w *World) choices(k Rules, s *state, out []Move) []Move {
	for x := range maxCtx {
		for r := range w.Runs {
			class := s.view(x)[r]
			if !s.Run[r].Ctx[x].Alive || slices.Contains(s.view(x)[:r], class) {
				continue
			}
			out = w.choicesOf(k, s, r, Move{Ctx: uint8(x), Class: class}, out)
		}
	}
	for _, kind := range w.Moves {
		switch kind {
		case Sign:
			for key := range w.People.Owner {
				out = append(out, Move{Kind: Sign, A: uint8(key)})
			}
		case Expire, Revoke:
			out = append(out, Move{Kind: kind})
		default:
		}
	}
	return out
}

// flawed are the moves that only a flaw makes possible.
var flawed = map[Flaw]Kind{NameVisible: Poll, ReadyVisible: Poll, SelfReset: Reset, TaintAfter: Settle}

func (w *World) choicesOf(k Rules, s *state, r int, m Move, out []Move) []Move {
	held, named := append(make([]uint8, 0, maxObj+1), own), make([]uint8, 0, maxObj)
	for o := range uint8(maxObj) {
		if s.Run[r].Ctx[m.Ctx].Refs&(1<<o) != 0 {
			held = append(held, o)
		}
		if s.Run[r].Ctx[m.Ctx].Refs&(1<<o) != 0 || k.has(NameGuessed) && *s.obj(int(o)) != (cell{}) {
			named = append(named, o)
		}
	}
	add := func(kind Kind, as, bs, cs []uint8) {
		for _, a := range as {
			for _, b := range bs {
				for _, c := range cs {
					out = append(out, Move{Kind: kind, Ctx: m.Ctx, Class: m.Class, A: a, B: b, C: c})
				}
			}
		}
	}
	for _, kind := range w.Moves {
		w.offer(kind, held, named, add)
	}
	if kind, ok := flawed[k.Flaw]; ok {
		w.offer(kind, held, named, add)
	}
	return out
}

var none = []uint8{0}

func upTo(n int) []uint8 { return []uint8{0, 1, 2, 3}[:n] }

func (w *World) offer(kind Kind, held, named []uint8, add func(kind Kind, as, bs, cs []uint8)) {
	tools := upTo(len(w.Tools))
	switch kind {
	case Read:
		add(kind, named, none, none)
	case Receive, Send:
		add(kind, upTo(len(w.Slots)), none, none)
	case Call:
		add(kind, tools, held, held[:1])
		if w.Controls {
			add(kind, tools, held[:1], held[1:])
		}
	case Prepare:
		add(kind, tools, none, none)
	case Create, Poll:
		add(kind, held, none, none)
	case Spawn:
		shares := none
		if w.budget() > 0 {
			shares = upTo(2)
		}
		add(kind, upTo(len(w.Children)), upTo(len(w.Ceilings)), shares)
	case Perform, Finish, Await, Fork, Reset, Settle:
		add(kind, none, none, none)
	case Extract: // what the bit says of the bytes: bit i is about bytes i
		colours := []uint8{2}
		if w.Runs == 3 {
			colours = []uint8{2, 4, 8}
		}
		add(kind, held[1:], colours, none)
	case Lower:
		add(kind, held[1:], upTo(len(w.Targets)), none)
	case Sign, Expire, Revoke, kinds: // not a context's
	}
}

// trace replays a way from the start in words.
func (w *World) trace(k Rules, nodes []node) string {
	var way []Move
	for i := int32(len(nodes) - 1); i > 0; i = nodes[i].parent {
		way = append(way, nodes[i].move)
	}
	slices.Reverse(way)
	s := w.open(k)
	t := turn{w: w, k: k}
	var b strings.Builder
	for i, m := range way {
		t.step(&s, m)
		fmt.Fprintf(&b, "%d. %s%s\n", i+1, w.words(&s, m), w.change(&s, &t.next, m))
		s = t.next
	}
	return b.String()
}

func (w *World) words(s *state, m Move) string {
	if m.Kind >= Sign {
		return strings.TrimSuffix(fmt.Sprintf("%s %d", kindNames[m.Kind], m.A), map[bool]string{true: " 0", false: ""}[m.Kind != Sign])
	}
	text := w.contextName(int(m.Ctx)) + " " + kindNames[m.Kind]
	switch m.Kind {
	case Read, Extract, Lower:
		text += " " + w.objectName(m.A)
	case Receive, Send:
		text += " " + w.Slots[m.A].Name
	case Prepare:
		text += " " + w.Tools[m.A].Name
	case Call:
		text += fmt.Sprintf(" %s with %s", w.Tools[m.A].Name, w.objectName(m.B))
		if m.C != own {
			text += ", as " + w.objectName(m.C) + " says"
		}
	case Create:
		text += " " + w.objectName(m.A)
	case Poll:
		if m.A != own {
			text = w.contextName(int(m.Ctx)) + " sees the name of " + w.objectName(m.A)
		}
	case Spawn:
		text += fmt.Sprintf(" a child of %s below %s", w.Agents[w.Children[m.A]].Name, w.Ceilings[m.B])
	default:
	}
	if s.view(int(m.Ctx)).classes(w.Runs) > 1 {
		text += fmt.Sprintf(" (in run %d)", slices.Index(s.view(int(m.Ctx))[:], m.Class)+1)
	}
	return text
}

// change tells what became of the context's label in the run that moved.
func (w *World) change(before, after *state, m Move) string {
	if m.Kind >= Sign {
		return ""
	}
	r := slices.Index(before.view(int(m.Ctx))[:], m.Class)
	was, is := before.Run[r].Ctx[m.Ctx].Label, after.Run[r].Ctx[m.Ctx].Label
	if was == is {
		return ""
	}
	return fmt.Sprintf(": %s becomes %s", was.label(), is.label())
}

func (w *World) contextName(x int) string {
	if x < len(w.Contexts) {
		return w.Contexts[x].Name
	}
	return "child"
}

func (w *World) objectName(o uint8) string {
	switch {
	case o == own:
		return "what it knows"
	case int(o) < len(w.Objects):
		return w.Objects[o].Name
	}
	return fmt.Sprintf("object %d", o)
}
