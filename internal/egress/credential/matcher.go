package credential

import "slices"

// window is how many bytes the skip loop looks at: no form is shorter.
const window = minValue

// matcher finds words in all their forms. It skips through text that holds none
// the way Wu and Manber do: the last two bytes of a window tell how far the
// nearest beginning of a form may be, mostly a whole window.
type matcher struct {
	forms []form
	skip  []uint8      // by two bytes
	first [256][]int32 // forms that may begin with a byte
}

// newMatcher makes a matcher that writes instead[i] for words[i].
func newMatcher(words, instead []string) *matcher {
	m := &matcher{skip: make([]uint8, 1<<16)}
	for i := range m.skip {
		m.skip[i] = window - 1
	}
	s := newSpeller()
	for i, w := range words {
		m.forms = append(m.forms, s.spell(w, instead[i])...)
	}
	for i := range m.forms {
		m.learn(int32(i))
	}
	return m
}

// spot is a position inside a form: the k-th byte of one way of a unit.
type spot struct{ unit, way, k int }

func (f *form) start(unit int) []spot {
	if unit == len(f.units) {
		return nil
	}
	out := make([]spot, len(f.units[unit].ways))
	for i := range out {
		out[i] = spot{unit, i, 0}
	}
	return out
}

func (f *form) after(s spot) []spot {
	if s.k+1 < len(f.units[s.unit].ways[s.way]) {
		return []spot{{s.unit, s.way, s.k + 1}}
	}
	return f.start(s.unit + 1)
}

func (f *form) class(s spot) *class { return f.units[s.unit].ways[s.way][s.k] }

// learn enters what the first window of a form can look like.
func (m *matcher) learn(id int32) {
	f := &m.forms[id]
	var begins class
	for _, s := range f.start(0) {
		for i, bits := range f.class(s) {
			begins[i] |= bits
		}
	}
	begins.each(func(c byte) { m.first[c] = append(m.first[c], id) })
	at := map[spot]bool{}
	for _, s := range f.start(0) {
		at[s] = true
	}
	for depth := range window - 1 {
		next := map[spot]bool{}
		far := uint8(window - 2 - depth) //nolint:gosec // within a window
		for s := range at {
			for _, t := range f.after(s) {
				next[t] = true
				f.class(s).each(func(a byte) {
					f.class(t).each(func(b byte) {
						pair := &m.skip[int(a)<<8|int(b)]
						*pair = min(*pair, far)
					})
				})
			}
		}
		at = next
	}
}

// find looks for the first word in b. It gives where the word begins and ends
// and its form, or form nil: then b[:begin] holds no word and is not the
// beginning of one, and the rest must be kept until more is known. At the end
// of the text nothing is kept.
func (m *matcher) find(b []byte, from int, eof bool) (begin, end int, f *form) {
	i := from
	for i+window <= len(b) {
		if s := m.skip[int(b[i+window-2])<<8|int(b[i+window-1])]; s > 0 {
			i += int(s)
			continue
		}
		end, f, more := m.at(b, i)
		if more && !eof {
			return i, 0, nil
		}
		if f != nil {
			return i, end, f
		}
		i++
	}
	if eof {
		return len(b), 0, nil
	}
	for ; i < len(b); i++ {
		if _, _, more := m.at(b, i); more {
			return i, 0, nil
		}
	}
	return len(b), 0, nil
}

// at gives the longest form that begins at b[i], and whether another could if b
// went on.
func (m *matcher) at(b []byte, i int) (end int, f *form, more bool) {
	for _, id := range m.first[b[i]] {
		e, open := m.forms[id].match(b, i)
		if e > end {
			end, f = e, &m.forms[id]
		}
		more = more || open
	}
	return end, f, more
}

// match follows every way through a form at once and gives the farthest end,
// or 0, and whether a way was still open when b ended.
func (f *form) match(b []byte, i int) (end int, open bool) {
	var room [2][8]int
	now, next := append(room[0][:0], i), room[1][:0]
	for _, u := range f.units {
		next = next[:0]
		for _, at := range now {
			for _, way := range u.ways {
				switch k := follow(b[at:], way); {
				case k == len(way):
					if !slices.Contains(next, at+k) {
						next = append(next, at+k)
					}
				case at+k == len(b):
					open = true
				}
			}
		}
		if len(next) == 0 {
			return 0, open
		}
		now, next = next, now
	}
	for _, at := range now {
		end = max(end, at)
	}
	return end, open
}

// follow tells how many bytes of b fit a way.
func follow(b []byte, way []*class) int {
	for k, c := range way {
		if k == len(b) || !c.has(b[k]) {
			return k
		}
	}
	return len(way)
}
