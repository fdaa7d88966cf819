package flowmodel

import (
	"hash/maphash"

	"sallyport/internal/label"
)

const (
	maxRuns = 3 // runs that are compared
	maxCtx  = 3 // the third is the child
	child   = 2
	maxObj  = 8 // static ones first, then those that contexts made
	maxSlot = 2
	maxTool = 3
	absent  = point(0xff)
)

// point is a label in one byte: level, two compartments, integrity.
type point uint8

func pack(l label.Label) point {
	return point(uint8(l.Level)&3 | uint8(l.Compartments&3)<<2 | uint8(l.Integrity)<<4)
}

var points = func() (t [64]label.Label) {
	for i := range t {
		t[i] = label.New(label.Level(i&3), label.Integrity(i>>4), label.Compartments(i>>2&3))
	}
	return t
}()

func (p point) label() label.Label { return points[p&63] }

// cell says of which runs a thing has the same bytes: equal numbers are equal
// bytes, 0 is nothing. Numbers count from 1 in order of runs.
type cell [maxRuns]uint8

// mix gives the runs of a set new bytes, equal for equal f; the others keep
// theirs.
func (c *cell) mix(runs uint8, f func(r int) uint32) {
	var keys [maxRuns]uint64
	for r := range keys {
		switch {
		case runs&(1<<r) != 0:
			keys[r] = 1<<32 | uint64(f(r))
		case c[r] != 0:
			keys[r] = 2<<32 | uint64(c[r])
		}
	}
	c.number(&keys)
}

func (c *cell) number(keys *[maxRuns]uint64) {
	next := uint8(1)
	for r := range keys {
		c[r] = 0
		if keys[r] == 0 {
			continue
		}
		for q := range r {
			if keys[q] == keys[r] {
				c[r] = c[q]
			}
		}
		if c[r] == 0 {
			c[r] = next
			next++
		}
	}
}

// classes counts how many different contents n runs have.
func (c *cell) classes(n int) int {
	k := 0
	for r := range n {
		seen := false
		for q := range r {
			seen = seen || c[q] == c[r]
		}
		if !seen {
			k++
		}
	}
	return k
}

// transcript is a context in one run.
type transcript struct {
	Agent   uint8
	Alive   bool
	Label   point
	Ceiling point
	Birth   point // label at birth, the checkpoint of R9
	Owed    point // only with TaintAfter: the label that is still to be joined
	Pending uint8 // tool + 1 of a call that was decided but not performed
	Refs    uint8 // objects that it holds a reference to
	Born    uint8 // references at birth
	Budget  uint8
	Made    uint8 // objects that it made
	Spawned bool
}

// run is one run: what is not bytes.
type run struct {
	Ctx      [maxCtx]transcript
	Obj      [maxObj]point
	SlotRefs [maxSlot]uint8
	Slot     [maxSlot]point
	Future   point
	Grant    Grant
	Released bool // what was lowered was lowered by right
	Abused   bool // something was lowered without right
}

// state is all runs and which of their bytes are equal. It has no padding, so
// that it is hashed as it lies.
type state struct {
	Run  [maxRuns]run
	Cell [outs + maxTool]cell
}

// Where the cells of a thing begin.
const (
	views   = 0               // what each context knows
	births  = views + maxCtx  // what the child knew at birth
	futures = births + 1      // what the child ended with
	objs    = futures + 1     // objects
	slots   = objs + maxObj   // slots
	outs    = slots + maxSlot // what each tool was called with so far
)

func (s *state) view(x int) *cell { return &s.Cell[views+x] }
func (s *state) obj(o int) *cell  { return &s.Cell[objs+o] }
func (s *state) slot(m int) *cell { return &s.Cell[slots+m] }
func (s *state) out(t int) *cell  { return &s.Cell[outs+t] }
func (s *state) birth() *cell     { return &s.Cell[births] }
func (s *state) future() *cell    { return &s.Cell[futures] }

// permute gives the state with its runs in another order.
func (s *state) permute(order *[maxRuns]int, out *state) {
	for r, from := range order {
		out.Run[r] = s.Run[from]
	}
	for i, c := range s.Cell {
		if c[0] == c[1] && c[1] == c[2] {
			out.Cell[i] = c
			continue
		}
		var keys [maxRuns]uint64
		for r, from := range order {
			keys[r] = uint64(c[from])
		}
		out.Cell[i].number(&keys)
	}
}

var (
	seed   = maphash.MakeSeed()
	orders = [maxRuns + 1][][maxRuns]int{
		2: {{1, 0, 2}},
		3: {{0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}},
	}
)

// key is the same for states that differ only in the order of their runs.
func (s *state) key(runs int) uint64 {
	least := maphash.Comparable(seed, *s)
	var other state
	for i := range orders[runs] {
		s.permute(&orders[runs][i], &other)
		least = min(least, maphash.Comparable(seed, other))
	}
	return least
}
