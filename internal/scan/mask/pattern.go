package mask

import (
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport/internal/fault"
)

// Pattern is one of the operator's: what Regex finds becomes Replacement.
type Pattern struct {
	Name        string
	Regex       string // RE2, at most 2,000 bytes; may not match nothing
	Replacement string // at most 256 bytes; $1, ${1}, ${name} and \1 stand for groups, $$ for $
}

// Bounds of patterns.
const (
	maxPatterns    = 64
	maxRegex       = 2000
	maxProgram     = 4000 // instructions
	maxReplacement = 256
	maxGroups      = 8 // that one replacement repeats
	needleLen      = 8
)

// set is a set of bytes.
type set [4]uint64

func (s *set) add(c byte)      { s[c>>6] |= 1 << (c & 63) }
func (s *set) has(c byte) bool { return s[c>>6]>>(c&63)&1 != 0 }
func (s *set) union(t set) {
	for i := range s {
		s[i] |= t[i]
	}
}

func span(lo, hi byte) (s set) {
	for c := int(lo); c <= int(hi); c++ {
		s.add(byte(c)) //nolint:gosec // within a byte
	}
	return s
}

// pattern is a compiled one. Every match holds its needle, a row of byte sets,
// and consists of bytes of may: so a text without the needle needs no further
// look, and a match never leaves the row of such bytes around it.
type pattern struct {
	name    string
	re      *regexp.Regexp
	replace []piece
	may     set
	least   int   // bytes of the shortest match
	needle  []set // empty: no row is certain
	bits    filter
}

// piece is a part of a replacement: text, or the group's number if it is > 0.
type piece struct {
	text  string
	group int
}

func compile(p Pattern) (*pattern, error) {
	bad := func(format string, args ...any) error {
		return fault.New("mask.new", fault.Config, "the masking pattern %q %s", p.Name, fmt.Sprintf(format, args...))
	}
	if len(p.Regex) > maxRegex {
		return nil, bad("has %d bytes; split it into several of at most %d", len(p.Regex), maxRegex)
	}
	if len(p.Replacement) > maxReplacement {
		return nil, bad("has a replacement of %d bytes; shorten it to %d", len(p.Replacement), maxReplacement)
	}
	tree, err := syntax.Parse(p.Regex, syntax.Perl)
	if err != nil {
		return nil, bad("does not compile: %v; write it in RE2 syntax", err)
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil || len(prog.Inst) > maxProgram {
		return nil, bad("needs more than %d steps; use smaller repetitions", maxProgram)
	}
	re, err := regexp.Compile(p.Regex)
	if err != nil {
		return nil, bad("does not compile: %v; write it in RE2 syntax", err)
	}
	out := &pattern{name: p.Name, re: re}
	if tree, err = syntax.Parse(p.Regex, syntax.Perl); err != nil { // Simplify may have changed the first
		return nil, bad("does not compile: %v; write it in RE2 syntax", err)
	}
	if out.least = out.shape(tree); out.least == 0 {
		return nil, bad("matches where nothing stands; make it ask for at least one character")
	}
	n := needles{work: 4096}
	n.walk(tree)
	n.cut()
	out.needle = n.best
	if out.replace, err = replacement(p.Replacement, re); err != nil {
		return nil, bad("has a replacement that names %v; use groups of the pattern", err)
	}
	return out, nil
}

// shape collects the bytes a match may hold and gives the fewest it has.
func (p *pattern) shape(re *syntax.Regexp) int {
	sum := 0
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			sets, n := runeSets(r, re.Flags&syntax.FoldCase != 0)
			for _, s := range sets {
				p.may.union(s)
			}
			sum += n
		}
	case syntax.OpCharClass:
		s, n := classSet(re.Rune)
		p.may.union(s)
		sum = n
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		s := span(0, 0xff)
		if re.Op == syntax.OpAnyCharNotNL {
			s[0] &^= 1 << '\n'
		}
		p.may.union(s)
		sum = 1
	case syntax.OpStar, syntax.OpQuest:
		p.shape(re.Sub[0])
	case syntax.OpRepeat:
		sum = re.Min * p.shape(re.Sub[0])
	case syntax.OpAlternate:
		sum = math.MaxInt
		for _, sub := range re.Sub {
			sum = min(sum, p.shape(sub))
		}
	case syntax.OpPlus, syntax.OpCapture, syntax.OpConcat:
		for _, sub := range re.Sub {
			sum += p.shape(sub)
		}
	default: // what matches nothing or no character
	}
	return min(sum, math.MaxInt32)
}

// runeSets gives the bytes of one character in order, with its other cases; a
// character whose cases differ in length is one set of all that may occur.
func runeSets(r rune, fold bool) (sets []set, least int) {
	if r < utf8.RuneSelf {
		var s set
		s.add(byte(r)) //nolint:gosec // it is ASCII
		wide := false
		for f := unicode.SimpleFold(r); fold && f != r; f = unicode.SimpleFold(f) {
			if f < utf8.RuneSelf {
				s.add(byte(f)) //nolint:gosec // it is ASCII
			} else {
				wide = true
			}
		}
		if !wide {
			return []set{s}, 1
		}
		s.union(span(0x80, 0xff))
		return []set{s, s}, 1
	}
	if fold && unicode.SimpleFold(r) != r || r == utf8.RuneError {
		return []set{span(0, 0xff), span(0, 0xff)}, 1
	}
	for _, c := range []byte(string(r)) {
		var s set
		s.add(c)
		sets = append(sets, s)
	}
	return sets, len(sets)
}

// classSet gives the bytes of a class: beyond ASCII, all of them.
func classSet(ranges []rune) (s set, least int) {
	for i := 0; i+1 < len(ranges); i += 2 {
		if lo := ranges[i]; lo < utf8.RuneSelf {
			s.union(span(byte(lo), byte(min(ranges[i+1], utf8.RuneSelf-1)))) //nolint:gosec // ASCII
		}
		if ranges[i+1] >= utf8.RuneSelf {
			s.union(span(0x80, 0xff))
		}
	}
	return s, min(len(ranges), 1)
}

// needles looks for the row of byte sets, next to each other in every match,
// that is rarest in text.
type needles struct {
	row, best []set
	worth     float64
	work      int
}

func (n *needles) add(s set) {
	if n.row = append(n.row, s); len(n.row) > needleLen {
		n.row = n.row[1:]
	}
	n.judge()
}

func (n *needles) judge() {
	worth := 0.0
	for i := range n.row {
		worth += rarity(&n.row[i])
	}
	if worth > n.worth {
		n.worth, n.best = worth, append([]set(nil), n.row...)
	}
}

func (n *needles) cut() { n.row = nil }

// twice enters what repeats: its first time follows what stands before, its
// last time stands before what follows.
func (n *needles) twice(re *syntax.Regexp) {
	n.walk(re)
	n.cut()
	n.walk(re)
}

func (n *needles) walk(re *syntax.Regexp) {
	if n.work--; n.work < 0 {
		n.cut()
		return
	}
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			sets, least := runeSets(r, re.Flags&syntax.FoldCase != 0)
			if least != len(sets) {
				n.cut()
				continue
			}
			for _, s := range sets {
				n.add(s)
			}
		}
	case syntax.OpCharClass:
		s, least := classSet(re.Rune)
		if s.has(0x80) || least == 0 { // one character may be several bytes
			n.cut()
			return
		}
		n.add(s)
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range re.Sub {
			n.walk(sub)
		}
	case syntax.OpPlus:
		n.twice(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min == 0 {
			n.cut()
			return
		}
		for range min(re.Min, needleLen) - 1 {
			n.walk(re.Sub[0])
		}
		if re.Max == re.Min && re.Min <= needleLen {
			n.walk(re.Sub[0])
			return
		}
		n.twice(re.Sub[0])
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary, syntax.OpEmptyMatch:
	default: // any character, what may be missing, alternatives
		n.cut()
	}
}

// rarity is high for sets whose bytes seldom occur, in bits.
func rarity(s *set) float64 {
	sum := 0.0
	for c := range 256 {
		if !s.has(byte(c)) {
			continue
		}
		switch b := byte(c); {
		case b-'a' < 26:
			sum += 0.03
		case b == ' ' || b == '\n':
			sum += 0.1
		case b-'0' < 10, b-'A' < 26, b == '.' || b == ',' || b == '"' || b == '/' || b == '-' || b == ':':
			sum += 0.006
		default:
			sum += 0.001
		}
	}
	return max(0, -math.Log2(sum))
}

// replacement reads a template.
func replacement(text string, re *regexp.Regexp) ([]piece, error) {
	var out []piece
	lit := func(s string) {
		if n := len(out); n > 0 && out[n-1].group == 0 {
			out[n-1].text += s
			return
		}
		out = append(out, piece{text: s})
	}
	groups := 0
	for len(text) > 0 {
		i := strings.IndexAny(text, `$\`)
		if i < 0 || i+1 == len(text) {
			lit(text)
			break
		}
		lit(text[:i])
		name, rest := groupName(text[i:])
		switch {
		case strings.HasPrefix(text[i:], "$$"):
			lit("$")
			text = text[i+2:]
			continue
		case name == "":
			lit(text[i : i+1])
			text = text[i+1:]
			continue
		}
		g := re.SubexpIndex(name)
		if g < 0 {
			if n, err := fmt.Sscan(name, &g); n != 1 || err != nil || g < 1 || g > re.NumSubexp() {
				return nil, fmt.Errorf("the group %q, which it does not have", name)
			}
		}
		if groups++; groups > maxGroups {
			return nil, fmt.Errorf("more than %d groups", maxGroups)
		}
		out = append(out, piece{group: g})
		text = rest
	}
	return out, nil
}

// groupName reads $1, ${1}, ${name} or \1; "" for none.
func groupName(t string) (name, rest string) {
	if strings.HasPrefix(t, "${") {
		if i := strings.IndexByte(t, '}'); i > 2 {
			return t[2:i], t[i+1:]
		}
		return "", t
	}
	n := 1
	for n < len(t) && n < 3 && t[n]-'0' < 10 {
		n++
	}
	return t[1:n], t[n:]
}
