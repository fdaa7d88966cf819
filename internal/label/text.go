package label

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	levelNames     = [...]string{"public", "internal", "confidential", "secret"}
	integrityNames = [...]string{"foreign", "member", "signed"}
	positional     = func() (names [64]string) {
		for i := range names {
			names[i] = "c" + strconv.Itoa(i)
		}
		return names
	}()
)

// String gives the level's standard name.
func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return "level(" + strconv.Itoa(int(l)) + ")"
}

// String gives the integrity's standard name.
func (i Integrity) String() string {
	if int(i) < len(integrityNames) {
		return integrityNames[i]
	}
	return "integrity(" + strconv.Itoa(int(i)) + ")"
}

// String renders the label in the form Parse reads, "internal/foreign" or
// "secret{c3,c7}/member"; the set of all compartments is "{*}". Compartments
// have positional names here; a Scheme gives them configured ones.
func (a Label) String() string { return Scheme{}.Format(a) }

// MarshalText implements encoding.TextMarshaler.
func (a Label) MarshalText() ([]byte, error) {
	if !a.Valid() {
		return nil, fmt.Errorf("label: marshal: level %d or integrity %d out of range", a.Level, a.Integrity)
	}
	return []byte(a.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Label) UnmarshalText(b []byte) error {
	l, err := Parse(string(b))
	if err != nil {
		return err
	}
	*a = l
	return nil
}

// Parse reads a label with positional compartment names. A label without
// "/integrity" has integrity foreign.
func Parse(s string) (Label, error) { return Scheme{}.Parse(s) }

// Scheme gives levels and compartments the names that the operator configured:
// the i-th name of Levels is level i, of Compartments bit i. What has no name
// keeps its standard one (public to secret, c0 to c63), and every standard name
// can still be read, so documents outlive a change of names. Labels are stored
// by their standard names alone, see Label.String.
//
// Only a Scheme that passes Check reads back what it prints.
type Scheme struct {
	Levels       []string // at most 4, lowest first
	Compartments []string // at most 64
}

var nameRE = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// Check refuses a scheme that could be misread: too many names, one that is not
// [a-z][a-z0-9_-]* of at most 32 characters, one given twice, or the standard
// name of another level or compartment.
func (s Scheme) Check() error {
	if err := checkNames("level", s.Levels, levelNames[:]); err != nil {
		return err
	}
	return checkNames("compartment", s.Compartments, positional[:])
}

func checkNames(what string, names, standard []string) error {
	if len(names) > len(standard) {
		return fmt.Errorf("label: scheme: %d %s names, there are %d %ss: remove some", len(names), what, len(standard), what)
	}
	for i, n := range names {
		if n == "" {
			continue
		}
		if !nameRE.MatchString(n) {
			return fmt.Errorf("label: scheme: %s name %q must be a lower-case letter and up to 31 more of a-z, 0-9, _ and -", what, n)
		}
		if j := slices.Index(names, n); j != i {
			return fmt.Errorf("label: scheme: %s name %q is given to number %d and %d: choose another for one", what, n, j, i)
		}
		if j := slices.Index(standard, n); j >= 0 && j != i {
			return fmt.Errorf("label: scheme: %s name %q of number %d is the standard name of number %d: choose another", what, n, i, j)
		}
	}
	return nil
}

// Format renders a label with the scheme's names; a bit without a name keeps
// its positional one, so nothing of a label is ever hidden.
func (s Scheme) Format(a Label) string {
	var b strings.Builder
	b.WriteString(s.Level(a.Level))
	if a.Compartments == AllCompartments {
		b.WriteString("{*}")
	} else if a.Compartments != 0 {
		b.WriteByte('{')
		first := true
		for i := range 64 {
			if a.Compartments&(1<<i) == 0 {
				continue
			}
			if !first {
				b.WriteByte(',')
			}
			first = false
			b.WriteString(s.name(i))
		}
		b.WriteByte('}')
	}
	b.WriteByte('/')
	b.WriteString(a.Integrity.String())
	return b.String()
}

// Parse reads "level", "level/integrity" or "level{a,b}/integrity". An unknown
// name, an empty set and anything left over are errors.
func (s Scheme) Parse(text string) (Label, error) {
	rest := text
	var a Label
	head, integ, hasInteg := strings.Cut(rest, "/")
	if hasInteg {
		i, err := ParseIntegrity(integ)
		if err != nil {
			return Label{}, fmt.Errorf("label: parse %q: %w", text, err)
		}
		a.Integrity = i
	}
	level, comps, hasComps := strings.Cut(head, "{")
	l, err := s.ParseLevel(level)
	if err != nil {
		return Label{}, fmt.Errorf("label: parse %q: %w", text, err)
	}
	a.Level = l
	if hasComps {
		inner, ok := strings.CutSuffix(comps, "}")
		if !ok {
			return Label{}, fmt.Errorf("label: parse %q: compartments lack the closing brace", text)
		}
		if a.Compartments, err = s.set(inner); err != nil {
			return Label{}, fmt.Errorf("label: parse %q: %w", text, err)
		}
	}
	return a, nil
}

func (s Scheme) set(inner string) (Compartments, error) {
	if inner == "*" {
		return AllCompartments, nil
	}
	var c Compartments
	for name := range strings.SplitSeq(inner, ",") {
		i, err := s.index(name)
		if err != nil {
			return 0, err
		}
		c |= 1 << i
	}
	return c, nil
}

func (s Scheme) name(i int) string { return nameOf(s.Compartments, i, positional[i]) }

func (s Scheme) index(name string) (int, error) {
	if i, ok := indexOf(s.Compartments, positional[:], name); ok {
		return i, nil
	}
	return 0, &UnknownName{What: "compartment", Name: name, Known: s.CompartmentNames()}
}

// UnknownName is the error for a part of a label that names nothing.
type UnknownName struct {
	What  string   // level, compartment or integrity
	Name  string   // as it was written
	Known []string // what could stand there; empty when no compartment has a name
}

// Error names what was written and what could stand there.
func (e *UnknownName) Error() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("unknown %s %q: none has a name", e.What, e.Name)
	}
	return fmt.Sprintf("unknown %s %q: use %s", e.What, e.Name, strings.Join(e.Known, ", "))
}

// LevelNames gives the name of every level, lowest first; the caller owns it.
func (s Scheme) LevelNames() []string {
	out := make([]string, len(levelNames))
	for i, n := range levelNames {
		out[i] = nameOf(s.Levels, i, n)
	}
	return out
}

// CompartmentNames gives the configured names of compartments in the order of
// their bits, without the bits that have none; the caller owns it.
func (s Scheme) CompartmentNames() []string {
	return slices.DeleteFunc(slices.Clone(s.Compartments), func(n string) bool { return n == "" })
}

// Level gives the scheme's name of a level.
func (s Scheme) Level(l Level) string { return nameOf(s.Levels, int(l), l.String()) }

// ParseLevel reads a level's configured or standard name.
func (s Scheme) ParseLevel(name string) (Level, error) {
	if i, ok := indexOf(s.Levels, levelNames[:], name); ok {
		return Level(i), nil //nolint:gosec // at most 3
	}
	return 0, &UnknownName{What: "level", Name: name, Known: s.LevelNames()}
}

func nameOf(names []string, i int, standard string) string {
	if i < len(names) && names[i] != "" {
		return names[i]
	}
	return standard
}

// indexOf finds a name, a configured one before a standard one.
func indexOf(names, standard []string, name string) (int, bool) {
	if name == "" {
		return 0, false
	}
	if i := slices.Index(names[:min(len(names), len(standard))], name); i >= 0 {
		return i, true
	}
	i := slices.Index(standard, name)
	return i, i >= 0
}

// ParseIntegrity reads one of foreign, member, signed.
func ParseIntegrity(s string) (Integrity, error) {
	for i, n := range integrityNames {
		if n == s {
			return Integrity(i), nil
		}
	}
	return 0, &UnknownName{What: "integrity", Name: s, Known: slices.Clone(integrityNames[:])}
}
