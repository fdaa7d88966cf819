package flowmodel

import "sallyport/internal/label"

func (t *turn) spawn() {
	if t.x != 0 || !t.only(func(_ *run, c *transcript) bool { return !c.Spawned }) {
		t.void = true
		return
	}
	born := uint8(0)
	t.each(func(r int, q *run, c *transcript) {
		agent := t.w.Children[t.m.A]
		y, denied := t.k.Spawn(t.context(r), t.w.Agents[agent], t.w.Ceilings[t.m.B])
		if denied != "" {
			t.deny(r, c)
			return
		}
		c.Spawned = true
		share := t.m.C * c.Budget // all or nothing
		if !t.k.has(BudgetCopied) {
			c.Budget -= share
		}
		q.Ctx[child] = transcript{
			Agent: uint8(agent), Alive: true, Label: pack(y.Label), Birth: pack(y.Label), Ceiling: pack(y.Ceiling),
			Owed: pack(label.Bottom), Refs: c.Refs, Born: c.Refs, Budget: share,
		}
		q.Future = pack(y.Ceiling)
		if t.k.has(FutureFloats) {
			q.Future = pack(y.Label)
		}
		born |= 1 << r
	})
	t.s.view(child).mix(born, func(int) uint32 { return 0 })
	t.s.birth().mix(born, func(int) uint32 { return 0 })
}

// finish ends the child; what it knows is its result.
func (t *turn) finish() {
	if t.x != child {
		t.void = true
		return
	}
	t.each(func(_ int, q *run, c *transcript) {
		c.Alive = false
		if t.k.has(FutureFloats) {
			q.Future = c.Label
		}
	})
	t.s.future().mix(t.runs, func(int) uint32 { return 0 })
}

func (t *turn) parent() bool {
	return t.only(func(_ *run, c *transcript) bool { return c.Spawned })
}

func (t *turn) await() {
	if t.parent() {
		t.each(func(r int, q *run, c *transcript) { t.learn(r, c, q.Future, t.s.future()[r]) })
	}
}

// poll is what nobody may: it sees without rising.
func (t *turn) poll() {
	switch {
	case t.m.A != own && t.k.has(NameVisible):
		if t.holds(t.m.A) {
			t.each(func(r int, _ *run, _ *transcript) { t.sees[r] = uint32(t.s.obj(int(t.m.A))[r]) })
		}
	case t.m.A == own && t.k.has(ReadyVisible) && t.parent():
		t.each(func(r int, _ *run, _ *transcript) { t.sees[r] = uint32(min(t.s.future()[r], 1)) })
	default:
		t.void = true
	}
}

// fork sets the child back to its birth. What its former self used up stays
// used up: a budget or a right to make objects that came back would be a new
// one, and one that depended on the former self would tell of it.
func (t *turn) fork() {
	if t.x != 0 || !t.parent() {
		t.void = true
		return
	}
	back := uint8(0)
	t.each(func(r int, q *run, c *transcript) {
		y := &q.Ctx[child]
		if t.k.Fork(t.context(r), y.Birth.label()) != "" {
			t.deny(r, c)
			return
		}
		t.setBack(q)
		back |= 1 << r
	})
	birth := *t.s.birth()
	t.s.view(child).mix(back, func(r int) uint32 { return uint32(birth[r]) })
	for r := range t.w.Runs {
		if back&(1<<r) != 0 {
			t.s.future()[r] = 0
		}
	}
	t.s.future().mix(0, nil)
}

func (t *turn) setBack(q *run) {
	y := &q.Ctx[child]
	y.Alive, y.Label, y.Refs, y.Pending, y.Owed = true, y.Birth, y.Born, 0, pack(label.Bottom)
	y.Made = uint8(t.w.Makes)
	if !t.k.has(BudgetKept) {
		y.Budget = 0
	}
	q.Future = y.Ceiling
	if t.k.has(FutureFloats) {
		q.Future = y.Birth
	}
}

// reset is what nobody may: a context sets itself back.
func (t *turn) reset() {
	if t.x != child || !t.k.has(SelfReset) {
		t.void = true
		return
	}
	t.each(func(r int, q *run, _ *transcript) {
		t.setBack(q)
		t.sees[r] = uint32(t.s.birth()[r])
	})
}

func (t *turn) lower() {
	if !t.holds(t.m.A) || !t.canMake() {
		return
	}
	var labels [maxRuns]label.Label
	done := uint8(0)
	t.each(func(r int, q *run, c *transcript) {
		foreign := c.Label.label().Integrity == label.Foreign
		if t.k.Lower(t.w.People, q.Grant, t.m.A, t.m.B, foreign) != "" {
			t.deny(r, c)
			return
		}
		if entitled(t.w.People, q.Grant, t.m.A, t.m.B, foreign) {
			q.Released = true
		} else {
			q.Abused = true
		}
		q.Grant.Used = true
		labels[r] = t.w.Targets[t.m.B]
		done |= 1 << r
	})
	t.produce(done, &labels, func(r int) uint32 { return uint32(t.s.obj(int(t.m.A))[r]) })
}

// outside is what people and time do, alike in every run: what people decide is
// none of the model's business.
func (w *World) outside(s *state, m Move) {
	for r := range w.Runs {
		g := &s.Run[r].Grant
		switch m.Kind {
		case Sign:
			g.Signed |= 1 << m.A
		case Expire:
			g.Expired = true
		case Revoke:
			g.Revoked = true
		default:
		}
	}
}
