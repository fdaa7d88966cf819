package flowmodel

import "sallyport/internal/label"

// Kind is what a context, or the world around it, can do.
type Kind uint8

// The moves. Poll and Reset exist in broken variants only.
const (
	Read Kind = iota
	Receive
	Send
	Call
	Prepare
	Perform
	Create
	Spawn
	Finish
	Await
	Poll
	Fork
	Reset
	Settle
	Extract
	Lower
	Sign
	Expire
	Revoke
	kinds
)

var kindNames = [kinds]string{
	"reads", "receives from", "sends to", "calls", "has decided a call of", "performs its call of", "makes an object of", "spawns",
	"ends", "awaits its child", "looks whether its child has ended", "sets back its child", "sets itself back", "is labelled for what it read",
	"extracts a bit of", "lowers", "key signs", "the grant expires", "the grant is revoked",
}

// Move is one step of one context in all runs in which it knows the same.
type Move struct {
	Kind    Kind
	Ctx     uint8
	Class   uint8 // which of the views of Ctx
	A, B, C uint8
}

const own = 0xff // no object: the argument is what the context knows

// Object is data that exists from the start. Nil Label is unlabelled.
type Object struct {
	Name  string
	Label *label.Label
}

// Slot is a mailbox or a memory, with a fixed label.
type Slot struct {
	Name  string
	Label label.Label
}

// Opening is a context that exists from the start.
type Opening struct {
	Name    string
	Agent   int
	Ceiling label.Label
	Prompts []int // objects
	Memory  []int // objects
	Budget  uint8
}

// World is a finite world to explore. Everything that differs between its runs
// is what Hidden says of the labels of objects and tools' results.
type World struct {
	Name     string
	Runs     int
	Agents   []Agent
	Objects  []Object
	Slots    []Slot
	Tools    []Tool
	Contexts []Opening
	Children []int         // agents that may be spawned
	Ceilings []label.Label // for them
	Makes    int           // objects a context can make, at most
	Moves    []Kind
	People   People
	Grant    Grant
	Targets  []label.Label // Grant.To and what else may be lowered to
	Observer label.Label   // T1: who reads this compares the runs
	Hidden   func(l label.Label) bool
	Controls bool // T2: of a call its tool and control arguments are compared, not its body
}

func (w *World) object(k Rules, i int) label.Label { return k.LabelOf(w.Objects[i].Label) }

// open gives the first state.
func (w *World) open(k Rules) state {
	var s state
	for r := range w.Runs {
		q := &s.Run[r]
		q.Grant, q.Future = w.Grant, absent
		for i := range q.Obj {
			q.Obj[i] = absent
		}
		for i := range w.Objects {
			q.Obj[i] = pack(w.object(k, i))
		}
		for i, m := range w.Slots {
			q.Slot[i] = pack(m.Label)
		}
		for x, o := range w.Contexts {
			w.start(k, q, x, o)
		}
	}
	for i, o := range w.Objects {
		w.fill(s.obj(i), Rules{}.LabelOf(o.Label))
	}
	for x, o := range w.Contexts {
		s.view(x).mix(1<<w.Runs-1, func(r int) uint32 {
			var v uint32
			for _, p := range append(append([]int(nil), o.Prompts...), o.Memory...) {
				v = v<<4 | uint32(s.obj(p)[r])
			}
			return v
		})
	}
	return s
}

func (w *World) start(k Rules, q *run, x int, o Opening) {
	labels := func(of []int) (ls []label.Label) {
		for _, i := range of {
			ls = append(ls, w.object(k, i))
		}
		return ls
	}
	l, denied := k.Start(w.Agents[o.Agent], labels(o.Prompts), labels(o.Memory))
	q.Ctx[x] = transcript{
		Agent: uint8(o.Agent), Alive: denied == "", Label: pack(l), Ceiling: pack(o.Ceiling), Birth: pack(l), Owed: pack(label.Bottom),
		Refs: 1<<len(w.Objects) - 1, Budget: o.Budget,
	}
}

// fill gives a thing its bytes: hidden ones differ in every run.
func (w *World) fill(c *cell, l label.Label) {
	hidden := w.Hidden(l)
	c.mix(1<<w.Runs-1, func(r int) uint32 {
		if hidden {
			return uint32(r)
		}
		return 0
	})
}

func (w *World) context(s *state, r, x int) Context {
	t := &s.Run[r].Ctx[x]
	return Context{Agent: w.Agents[t.Agent], Label: t.Label.label(), Ceiling: t.Ceiling.label()}
}
