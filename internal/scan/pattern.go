package scan

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// set is a set of bytes.
type set [4]uint64

func (s *set) add(c byte)      { s[c>>6] |= 1 << (c & 63) }
func (s *set) has(c byte) bool { return s[c>>6]>>(c&63)&1 != 0 }
func (s *set) meets(o *set) bool {
	return s[0]&o[0]|s[1]&o[1]|s[2]&o[2]|s[3]&o[3] != 0
}

// element is a run of bytes of one set.
type element struct {
	set      set
	min, max int
	lit      byte // the byte, if it is exactly one; else 0
}

// pattern is a sequence that is read greedily and never goes back: an element
// of variable length must be followed by one that shares no byte with it.
type pattern struct {
	elems []element
	fold  bool
	// anchor is the literal the filter looks for: elems[from:to].
	from, to int
}

// longest is the largest number of repetitions.
const longest = 4096

func (p *pattern) anchor() string {
	var b strings.Builder
	for _, e := range p.elems[p.from:p.to] {
		b.WriteByte(e.lit)
	}
	return b.String()
}

// match reads the pattern around its anchor, which stands at a place.
func (p *pattern) match(text []byte, at int) (start, end int, ok bool) {
	start, end = at, at+p.to-p.from
	for i := p.from - 1; i >= 0; i-- {
		e := &p.elems[i]
		n := 0
		for n < e.max && start > 0 && e.set.has(text[start-1]) {
			n++
			start--
		}
		if n < e.min {
			return 0, 0, false
		}
	}
	end, ok = p.forward(text, end, p.to)
	return start, end, ok
}

// forward reads elements from a place on and says how far it came.
func (p *pattern) forward(text []byte, at, from int) (end int, ok bool) {
	for i := from; i < len(p.elems); i++ {
		e := &p.elems[i]
		n := 0
		for n < e.max && at < len(text) && e.set.has(text[at]) {
			n++
			at++
		}
		if n < e.min {
			return at, false
		}
	}
	return at, true
}

// bounded reports that a match is not a piece of a longer word.
func (p *pattern) bounded(text []byte, start, end int) bool {
	first, last := &p.elems[0], &p.elems[len(p.elems)-1]
	if start > 0 && first.wordy() {
		c := text[start-1]
		if isAlnum(c) && (start < 2 || text[start-2] != '\\' || !strings.ContainsRune("nrtbf", rune(c))) {
			return false
		}
		if first.lit == 0 && first.set.has(c) {
			return false
		}
	}
	if end < len(text) && last.wordy() {
		c := text[end]
		if last.set.has(c) || last.lit == 0 && isAlnum(c) {
			return false
		}
	}
	return true
}

func (e *element) wordy() bool {
	return e.set.has('a') || e.set.has('A') || e.set.has('0') || e.set.has('9') || isAlnum(e.lit)
}

// parsePattern reads one rule's form: literals, [sets], {n}, {n,m}, ?, (a|b).
func parsePattern(form string) ([]*pattern, error) {
	fold := strings.HasPrefix(form, "(?i)")
	form = strings.TrimPrefix(form, "(?i)")
	alts, err := expand(form)
	if err != nil {
		return nil, err
	}
	var out []*pattern
	for _, a := range alts {
		p := &pattern{fold: fold}
		if err := p.parse(a); err != nil {
			return nil, fmt.Errorf("%s: %w", a, err)
		}
		p.pick()
		out = append(out, p)
	}
	return out, nil
}

// expand turns each (a|b) into its alternatives.
func expand(form string) ([]string, error) { //nolint:gocognit // one case per character of the notation
	open, depth := -1, 0
	for i := 0; i < len(form); i++ {
		switch form[i] {
		case '\\':
			i++
		case '[':
			n := strings.IndexByte(form[i:], ']')
			if n < 0 {
				return nil, fmt.Errorf("%q: no ]", form)
			}
			i += n
		case '(':
			if depth == 0 {
				open = i
			}
			depth++
		case ')':
			depth--
			if depth != 0 {
				continue
			}
			rest, err := expand(form[i+1:])
			if err != nil {
				return nil, err
			}
			var out []string
			for alt := range strings.SplitSeq(form[open+1:i], "|") {
				for _, r := range rest {
					out = append(out, form[:open]+alt+r)
				}
			}
			if len(out) > 64 {
				return nil, fmt.Errorf("%q: %d alternatives; at most 64", form, len(out))
			}
			return out, nil
		}
	}
	if depth != 0 {
		return nil, fmt.Errorf("%q: no )", form)
	}
	return []string{form}, nil
}

func (p *pattern) parse(form string) error { //nolint:gocognit // one case per character of the notation
	for i := 0; i < len(form); {
		e := element{min: 1, max: 1}
		switch c := form[i]; c {
		case '[':
			n := strings.IndexByte(form[i:], ']')
			if err := e.set.parse(form[i+1 : i+n]); err != nil {
				return err
			}
			i += n + 1
		case '\\':
			if i+1 == len(form) {
				return fmt.Errorf("a backslash ends it")
			}
			e.single(form[i+1], p.fold)
			i += 2
		default:
			e.single(c, p.fold)
			i++
		}
		if i < len(form) && form[i] == '{' {
			n := strings.IndexByte(form[i:], '}')
			if n < 0 {
				return fmt.Errorf("no }")
			}
			if err := e.repeat(form[i+1 : i+n]); err != nil {
				return err
			}
			i += n + 1
		} else if i < len(form) && form[i] == '?' {
			e.min, e.lit = 0, 0
			i++
		}
		p.elems = append(p.elems, e)
	}
	for i := range p.elems {
		// What follows may be left out only up to the first that may not.
		for j := i + 1; j < len(p.elems) && p.elems[i].min != p.elems[i].max; j++ {
			if p.elems[j].min == 0 {
				continue
			}
			if p.elems[i].set.meets(&p.elems[j].set) {
				return fmt.Errorf("element %d has no certain end", i+1)
			}
			break
		}
	}
	return nil
}

func (e *element) single(c byte, fold bool) {
	e.set.add(c)
	e.lit = c
	if fold && c|0x20-'a' < 26 {
		e.set.add(c ^ 0x20)
	}
}

func (e *element) repeat(text string) error {
	low, high, ranged := strings.Cut(text, ",")
	var err error
	if e.min, err = strconv.Atoi(low); err != nil {
		return err
	}
	e.max = e.min
	if ranged {
		e.max = longest
		if high != "" {
			if e.max, err = strconv.Atoi(high); err != nil {
				return err
			}
		}
	}
	e.lit = 0
	if e.max < e.min || e.max > longest || e.max == 0 {
		return fmt.Errorf("{%s} is no count", text)
	}
	return nil
}

func (s *set) parse(text string) error {
	if text == "" {
		return fmt.Errorf("an empty set")
	}
	for i := 0; i < len(text); i++ {
		a := text[i]
		if a == '\\' && i+1 < len(text) {
			i++
			s.add(unescaped(text[i]))
			continue
		}
		if i+2 < len(text) && text[i+1] == '-' {
			for c := int(a); c <= int(text[i+2]); c++ {
				s.add(byte(c)) //nolint:gosec // at most 255
			}
			i += 2
			continue
		}
		s.add(a)
	}
	return nil
}

// unescaped gives what a backslash and a letter stand for in a set.
func unescaped(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// pick chooses the rarest literal run as the anchor.
func (p *pattern) pick() {
	best := -1 << 30
	for i := 0; i < len(p.elems); i++ {
		j := i
		for j < len(p.elems) && p.elems[j].lit != 0 && p.elems[j].max == 1 {
			j++
		}
		if n := min(j-i, 24); n > 0 {
			if score := 100*min(n, 5) - 30*i; score > best {
				best, p.from, p.to = score, i, i+n
			}
			i = j
		}
	}
}

// nlogn are the values k*log2(k).
var nlogn = func() (t [257]float64) {
	for k := 2; k < len(t); k++ {
		t[k] = float64(k) * math.Log2(float64(k))
	}
	return t
}()

// entropy gives Shannon's bits per byte of the first 256 bytes.
func entropy(b []byte) float64 {
	b = b[:min(len(b), 256)]
	if len(b) == 0 {
		return 0
	}
	var n [256]uint16
	sum := 0.0
	for _, c := range b {
		k := n[c]
		sum += nlogn[k+1] - nlogn[k]
		n[c] = k + 1
	}
	return (nlogn[len(b)] - sum) / float64(len(b))
}
