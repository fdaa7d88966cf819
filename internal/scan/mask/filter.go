package mask

// filter looks for the needles of several patterns in one pass: bit k of the
// state says that the bytes up to here match a needle's first sets.
type filter struct {
	words []filterWord
	any   []int // patterns without a needle
}

type filterWord struct {
	mask        [256]uint64
	first, last uint64
	owner       [64]int // pattern by its needle's last bit
}

func newFilter(list []*pattern) filter {
	var f filter
	at := 64
	for p, x := range list {
		if len(x.needle) == 0 {
			f.any = append(f.any, p)
			continue
		}
		if at+len(x.needle) > 64 {
			f.words, at = append(f.words, filterWord{}), 0
		}
		w := &f.words[len(f.words)-1]
		w.first |= 1 << at
		for i := range x.needle {
			for c := range 256 {
				if x.needle[i].has(byte(c)) {
					w.mask[c] |= 1 << (at + i)
				}
			}
		}
		at += len(x.needle)
		w.last |= 1 << (at - 1)
		w.owner[at-1] = p
	}
	return f
}

// hits gives the patterns whose needle occurs, as bits.
func (f *filter) hits(text string) uint64 {
	var out uint64
	for _, p := range f.any {
		out |= 1 << p
	}
	for k := range f.words {
		w := &f.words[k]
		state, seen := uint64(0), uint64(0)
		for i := range len(text) {
			state = (state<<1 | w.first) & w.mask[text[i]]
			seen |= state
		}
		for b, p := range w.owner {
			if w.last>>b&1 != 0 && seen>>b&1 != 0 {
				out |= 1 << p
			}
		}
	}
	return out
}

// apply replaces what a pattern finds. The answer is that of the expression on
// the whole text: it runs only where a needle is, on the row of bytes that a
// match could be made of, with one byte on each side for its edges.
func (p *pattern) apply(text string) string {
	var out []byte
	copied := 0
	p.segments(text, func(from, to int) {
		a, b := max(0, from-1), min(len(text), to+1)
		for _, m := range p.re.FindAllStringSubmatchIndex(text[a:b], -1) {
			out = append(out, text[copied:a+m[0]]...)
			out = p.expand(out, text[a:b], m)
			copied = a + m[1]
		}
	})
	if copied == 0 && out == nil {
		return text
	}
	return string(append(out, text[copied:]...))
}

// segments gives every row of possible bytes that holds the needle and is long
// enough, in order.
func (p *pattern) segments(text string, visit func(from, to int)) {
	done := 0
	row := func(at int) {
		from, to := at, at+1
		for from > done && p.may.has(text[from-1]) {
			from--
		}
		for to < len(text) && p.may.has(text[to]) {
			to++
		}
		if to-from >= p.least {
			visit(from, to)
		}
		done = to
	}
	if len(p.needle) == 0 {
		for i := 0; i < len(text); i = max(done, i+1) {
			if p.may.has(text[i]) {
				row(i)
			}
		}
		return
	}
	w := &p.bits.words[0]
	state := uint64(0)
	for i := 0; i < len(text); i++ {
		state = (state<<1 | w.first) & w.mask[text[i]]
		if state&w.last != 0 {
			row(i)
			i, state = done-1, 0
		}
	}
}

func (p *pattern) expand(out []byte, text string, m []int) []byte {
	for _, x := range p.replace {
		if x.group == 0 {
			out = append(out, x.text...)
		} else if a, b := m[2*x.group], m[2*x.group+1]; a >= 0 {
			out = append(out, text[a:b]...)
		}
	}
	return out
}
