package flowmodel

import "sallyport/internal/label"

// turn is one move while it is made.
type turn struct {
	w      *World
	k      Rules
	next   state // what becomes of the state
	s      *state
	m      Move
	x      int
	runs   uint8           // in which it happens
	sees   [maxRuns]uint32 // what the context learns, per run
	denied uint8           // runs in which a rule denied it
	void   bool            // it cannot be tried at all
}

const sawDenial = 1 << 31

// step makes a move in t.next; it gives false for one that cannot be tried.
func (t *turn) step(s *state, m Move) bool {
	t.next, t.s, t.m, t.x = *s, &t.next, m, int(m.Ctx)
	t.runs, t.denied, t.void, t.sees = 0, 0, false, [maxRuns]uint32{}
	if m.Kind >= Sign { // people and time do the same in every run
		t.w.outside(t.s, m)
		return true
	}
	for r := range t.w.Runs {
		if s.view(t.x)[r] == m.Class && s.Run[r].Ctx[t.x].Alive {
			t.runs |= 1 << r
		}
	}
	if t.runs == 0 {
		return false
	}
	moves[m.Kind](t)
	if t.void {
		return false
	}
	if t.k.has(ChildDenialVisible) && t.x == child && t.denied != 0 {
		t.s.view(0).mix(1<<t.w.Runs-1, func(r int) uint32 { return uint32(s.view(0)[r])<<1 | uint32(t.denied>>r&1) })
	}
	t.s.view(t.x).mix(t.runs, func(r int) uint32 { return t.sees[r] })
	return true
}

var moves = [kinds]func(t *turn){
	Read: (*turn).read, Receive: (*turn).receive, Send: (*turn).send, Call: (*turn).call, Prepare: (*turn).prepare,
	Perform: (*turn).perform, Create: (*turn).create, Spawn: (*turn).spawn, Finish: (*turn).finish, Await: (*turn).await,
	Poll: (*turn).poll, Fork: (*turn).fork, Reset: (*turn).reset, Settle: (*turn).settle, Extract: (*turn).extract, Lower: (*turn).lower,
}

// each calls f for every run in which the move happens.
func (t *turn) each(f func(r int, q *run, c *transcript)) {
	for r := range t.w.Runs {
		if t.runs&(1<<r) != 0 {
			f(r, &t.s.Run[r], &t.s.Run[r].Ctx[t.x])
		}
	}
}

// only goes on in runs where a condition holds; the move is void without any.
func (t *turn) only(f func(q *run, c *transcript) bool) bool {
	keep := uint8(0)
	t.each(func(r int, q *run, c *transcript) {
		if f(q, c) {
			keep |= 1 << r
		}
	})
	t.runs, t.void = keep, keep == 0
	return !t.void
}

func (t *turn) holds(o uint8) bool {
	return o == own || t.only(func(_ *run, c *transcript) bool { return c.Refs&(1<<o) != 0 })
}

func (t *turn) context(r int) Context { return t.w.context(t.s, r, t.x) }

// deny tells the context that it was denied.
func (t *turn) deny(r int, c *transcript) {
	t.sees[r] = sawDenial
	t.denied |= 1 << r
	if t.k.has(ResetOnDenial) {
		c.Label = c.Birth
	}
}

// learn lets a context read something: first the label rises, then it sees.
func (t *turn) learn(r int, c *transcript, l point, content uint8) bool {
	after, denied := t.k.Read(t.context(r), l.label())
	if l == absent || denied != "" {
		t.deny(r, c)
		return false
	}
	if t.k.has(TaintAfter) {
		c.Owed = pack(t.k.Join(c.Owed.label(), after))
	} else {
		c.Label = pack(after)
	}
	t.sees[r] = uint32(c.Label)<<8 | uint32(content)
	return true
}

func (t *turn) settle() {
	if t.only(func(_ *run, c *transcript) bool { return c.Owed != pack(label.Bottom) }) {
		t.each(func(_ int, _ *run, c *transcript) { c.Label = pack(t.k.Join(c.Label.label(), c.Owed.label())) })
	}
}

// read needs a reference: a context that could name what it holds none to would
// learn from the answer whether somebody above it has made such an object.
func (t *turn) read() {
	if t.k.has(NameGuessed) || t.holds(t.m.A) {
		t.each(func(r int, q *run, c *transcript) { t.learn(r, c, q.Obj[t.m.A], t.s.obj(int(t.m.A))[r]) })
	}
}

func (t *turn) receive() {
	m := t.m.A
	t.each(func(r int, q *run, c *transcript) {
		if t.learn(r, c, q.Slot[m], t.s.slot(int(m))[r]) {
			c.Refs |= q.SlotRefs[m]
			t.sees[r] |= uint32(c.Refs) << 16 & ^uint32(sawDenial)
		}
	})
}

func (t *turn) send() {
	m, written := t.m.A, uint8(0)
	t.each(func(r int, q *run, c *transcript) {
		if t.k.Write(t.context(r), q.Slot[m].label()) != "" {
			t.deny(r, c)
			return
		}
		if t.k.has(SlotFloats) {
			q.Slot[m] = pack(t.k.Join(q.Slot[m].label(), c.Label.label()))
		}
		q.SlotRefs[m] = c.Refs
		written |= 1 << r
	})
	t.s.slot(int(m)).mix(written, func(int) uint32 { return 0 })
}

// argument gives label and bytes of an argument beyond what the context knows.
func (t *turn) argument(r int, o uint8) (label.Label, uint8) {
	if o == own {
		return label.Bottom, 0
	}
	return t.s.Run[r].Obj[o].label(), t.s.obj(int(o))[r]
}

func (t *turn) call() {
	if !t.holds(t.m.B) || !t.holds(t.m.C) {
		return
	}
	tool, done := t.w.Tools[t.m.A], uint8(0)
	var results [maxRuns]label.Label
	t.each(func(r int, _ *run, c *transcript) {
		body, _ := t.argument(r, t.m.B)
		control, _ := t.argument(r, t.m.C)
		var denied Rule
		if results[r], denied = t.k.Call(t.context(r), tool, Args{Refs: body, Control: control}); denied != "" {
			t.deny(r, c)
			return
		}
		done |= 1 << r
	})
	t.effect(done)
	if tool.Silent {
		return
	}
	hidden := t.w.Hidden(Rules{}.resultOf(tool))
	t.produce(done, &results, func(r int) uint32 {
		_, body := t.argument(r, t.m.B)
		_, control := t.argument(r, t.m.C)
		content := uint32(body)<<4 | uint32(control)
		if hidden {
			content |= uint32(r+1) << 8
		}
		if t.k.has(ErrorVisible) || t.k.has(ResultInView) {
			t.sees[r] = content
		}
		return content
	})
}

func (k Rules) resultOf(t Tool) label.Label {
	if t.Unlisted {
		return label.Unlabelled
	}
	return t.Result
}

// effect is what the outside sees of a call, added to what it saw before.
func (t *turn) effect(done uint8) {
	out := t.s.out(int(t.m.A))
	old := *out
	out.mix(done, func(r int) uint32 {
		_, body := t.argument(r, t.m.B)
		_, control := t.argument(r, t.m.C)
		if t.w.Controls {
			body = 0
		}
		return uint32(old[r])<<8 | uint32(body)<<4 | uint32(control)
	})
}

// produce makes an object in some runs, if the context may make more.
func (t *turn) produce(in uint8, labels *[maxRuns]label.Label, content func(r int) uint32) {
	var fill [maxRuns]uint32
	at := uint8(own)
	t.each(func(r int, q *run, c *transcript) {
		if in&(1<<r) == 0 || int(c.Made) >= t.w.Makes {
			return
		}
		fill[r] = content(r)
		at = uint8(len(t.w.Objects)+t.x*t.w.Makes) + c.Made
		q.Obj[at] = pack(labels[r])
		c.Made++
		c.Refs |= 1 << at
	})
	if at != own {
		t.s.obj(int(at)).mix(in, func(r int) uint32 { return fill[r] })
	}
}

func (t *turn) prepare() {
	done := uint8(0)
	t.each(func(r int, _ *run, c *transcript) {
		if _, denied := t.k.Call(t.context(r), t.w.Tools[t.m.A], Args{Refs: label.Bottom, Control: label.Bottom}); denied != "" {
			t.deny(r, c)
			return
		}
		c.Pending, done = t.m.A+1, done|1<<r
	})
}

// perform does what was decided before: the ledger refuses it when the label
// moved in between, and then it is decided again.
func (t *turn) perform() {
	if !t.only(func(_ *run, c *transcript) bool { return c.Pending != 0 }) {
		return
	}
	for tool := range t.w.Tools {
		done := uint8(0)
		t.each(func(r int, _ *run, c *transcript) {
			if int(c.Pending) != tool+1 {
				return
			}
			c.Pending = 0
			_, denied := t.k.Call(t.context(r), t.w.Tools[tool], Args{Refs: label.Bottom, Control: label.Bottom})
			if denied != "" && !t.k.has(StaleCheck) {
				t.deny(r, c)
				return
			}
			done |= 1 << r
		})
		t.m.A, t.m.B, t.m.C = uint8(tool), own, own
		t.effect(done)
	}
}

func (t *turn) create() {
	if !t.holds(t.m.A) || !t.canMake() {
		return
	}
	var labels [maxRuns]label.Label
	t.each(func(r int, _ *run, _ *transcript) {
		l, content := t.argument(r, t.m.A)
		labels[r] = t.k.Create(t.context(r), l)
		if t.k.has(ContentLabel) && content == 1 {
			labels[r].Level, labels[r].Compartments = label.Public, 0
		}
	})
	t.produce(t.runs, &labels, func(r int) uint32 {
		_, content := t.argument(r, t.m.A)
		return uint32(content)
	})
}

func (t *turn) canMake() bool {
	return t.only(func(_ *run, c *transcript) bool { return int(c.Made) < t.w.Makes })
}

func (t *turn) extract() {
	if !t.holds(t.m.A) || !t.canMake() {
		return
	}
	var labels [maxRuns]label.Label
	done := uint8(0)
	t.each(func(r int, q *run, c *transcript) {
		purse := &c.Budget
		if t.k.has(BudgetShared) {
			purse = &q.Ctx[0].Budget
		}
		var denied Rule
		if labels[r], denied = t.k.Extract(t.context(r), q.Obj[t.m.A].label(), *purse); denied != "" {
			t.deny(r, c)
			return
		}
		if !t.k.has(BudgetFree) {
			*purse--
		}
		done |= 1 << r
	})
	t.produce(done, &labels, func(r int) uint32 {
		content := uint32(t.s.obj(int(t.m.A))[r])
		if t.k.has(ExtractWide) {
			return content
		}
		return uint32(t.m.B) >> content & 1
	})
}
