package label

import (
	"fmt"
	"strconv"
	"strings"
)

var (
	levelNames     = [...]string{"public", "internal", "confidential", "secret"}
	integrityNames = [...]string{"foreign", "member", "signed"}
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

// Scheme names the compartments: the i-th name is bit i. The zero Scheme names
// them c0 to c63.
type Scheme struct {
	Compartments []string // at most 64, each matching [a-z][a-z0-9_-]*
}

// Format renders a label with the scheme's names; a bit without a name keeps
// its positional one, so nothing of a label is ever hidden.
func (s Scheme) Format(a Label) string {
	var b strings.Builder
	b.WriteString(a.Level.String())
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
	l, err := ParseLevel(level)
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

func (s Scheme) name(i int) string {
	if i < len(s.Compartments) && s.Compartments[i] != "" {
		return s.Compartments[i]
	}
	return "c" + strconv.Itoa(i)
}

func (s Scheme) index(name string) (int, error) {
	for i := range 64 {
		if s.name(i) == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("unknown compartment %q", name)
}

// ParseLevel reads one of public, internal, confidential, secret.
func ParseLevel(s string) (Level, error) {
	for i, n := range levelNames {
		if n == s {
			return Level(i), nil
		}
	}
	return 0, fmt.Errorf("unknown level %q: use %s", s, strings.Join(levelNames[:], ", "))
}

// ParseIntegrity reads one of foreign, member, signed.
func ParseIntegrity(s string) (Integrity, error) {
	for i, n := range integrityNames {
		if n == s {
			return Integrity(i), nil
		}
	}
	return 0, fmt.Errorf("unknown integrity %q: use %s", s, strings.Join(integrityNames[:], ", "))
}
