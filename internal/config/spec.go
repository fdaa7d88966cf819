package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"sallyport/internal/label"
)

type specKind uint8

const (
	sGroup  specKind = iota // fixed keys
	sDict                   // keys chosen by the operator
	sList                   // list of one kind of value
	sText                   // text
	sInt                    // whole number
	sNumber                 // number
	sBool                   // true or false
	sBytes                  // whole number of bytes, or a text such as "512MiB"
)

var specNames = [...]string{"a group of keys", "a group of keys", "a list", "a text", "a whole number", "a number", "true or false", `a size such as "512MiB"`}

// spec says what a value means and what it may be: the one source of the
// checks, the JSON Schema and the suggestions.
type spec struct {
	kind   specKind
	doc    string
	fields []field // sGroup
	elem   *spec   // sDict, sList

	min, max  float64 // sInt, sNumber, sBytes: range when max > 0; sList: number of elements
	exclusive bool    // min itself is not allowed
	enum      []string
	fold      bool // enum in any case; stored in lower case
	pattern   *regexp.Regexp
	form      string         // the pattern in words
	keys      *regexp.Regexp // sDict: form of its keys
	keyForm   string
	keyEnum   []string // sDict: the only keys
	multiline bool
	label     bool // sText: a label, stored by its standard names
	nullable  bool
	required  []string                                    // sGroup
	check     func(n *node) (problem, remedy string)      // more about one value
	entry     func(e entry) (problem, remedy string)      // sDict: how a name and its value fit together
	whole     func(n *node) (key, problem, remedy string) // sGroup: how its keys fit together
	later     bool                                        // refused as not yet enforced
	laterIf   func(n *node) bool                          // refused when it holds
}

type field struct {
	name string
	spec *spec
}

func (s *spec) field(name string) *spec {
	for _, f := range s.fields {
		if f.name == name {
			return f.spec
		}
	}
	return nil
}

func (s *spec) names() []string {
	out := make([]string, len(s.fields))
	for i, f := range s.fields {
		out[i] = f.name
	}
	return out
}

// checker compares a tree with a spec and collects everything wrong with it.
type checker struct {
	src    *source
	root   *spec
	scheme *label.Scheme // names that labels are read with; nil: not known yet, so only their form is checked
	errs   Errors
}

func (c *checker) add(line, col int, key, problem, remedy string) {
	c.errs = append(c.errs, c.src.at(line, col, key, problem, remedy))
}

func (c *checker) notYet(e entry, path string) {
	err := c.src.at(e.line, e.col, path, "is not yet enforced by this release", "remove the key, or wait for a release that enforces it; it would have no effect here")
	err.later = true
	c.errs = append(c.errs, err)
}

// value checks one value and gives it in encoding/json's types; nil when it is
// wrong or without effect.
func (c *checker) value(e entry, path string, s *spec, later bool) any {
	n := e.val
	later = later || s.later
	if n.kind == nNull {
		if !s.nullable {
			c.add(e.line, e.col, path, "has no value", "give it "+specNames[s.kind]+", or remove the line to get the default")
		} else if later {
			c.notYet(e, path)
		}
		return nil
	}
	if !c.typed(n, path, s) {
		return nil
	}
	before := len(c.errs)
	var out any
	switch s.kind {
	case sGroup:
		out = c.group(e, path, s, later)
	case sDict:
		out = c.dict(n, path, s, later)
	case sList:
		out = c.list(n, path, s)
	default:
		out = c.scalar(n, path, s)
	}
	if len(c.errs) > before {
		return out
	}
	leaf := s.kind != sGroup && s.kind != sDict || len(n.entries) == 0
	if later && leaf || s.laterIf != nil && s.laterIf(n) {
		c.notYet(e, path)
		return nil
	}
	if s.check != nil {
		if problem, remedy := s.check(n); problem != "" {
			c.add(n.line, n.col, path, problem, remedy)
		}
	}
	return out
}

func (c *checker) typed(n *node, path string, s *spec) bool {
	ok := false
	switch s.kind {
	case sGroup, sDict:
		ok = n.kind == nMap
	case sList:
		ok = n.kind == nList
	case sText:
		ok = n.kind == nText
	case sInt:
		ok = n.kind == nInt
	case sNumber:
		ok = n.kind == nInt || n.kind == nFloat
	case sBool:
		ok = n.kind == nBool
	case sBytes:
		ok = n.kind == nInt || n.kind == nText
	}
	if !ok {
		c.add(n.line, n.col, path, fmt.Sprintf("must be %s, not %s", specNames[s.kind], n.kind), typeRemedy(n, path, s))
	}
	return ok
}

func typeRemedy(n *node, path string, s *spec) string {
	switch {
	case s.kind == sList && n.kind == nText && !secretKey.MatchString(path+":"):
		return fmt.Sprintf("write a list with one element: [%s]", strconv.Quote(short(n.text)))
	case s.kind == sText && (n.kind == nInt || n.kind == nFloat || n.kind == nBool):
		return "put the value in quotes"
	case s.kind == sBool:
		return "write true or false, without quotes"
	case (s.kind == sInt || s.kind == sNumber) && n.kind == nText:
		return "write the number without quotes"
	case s.kind == sInt && n.kind == nFloat:
		return "write it without a fraction"
	case s.kind == sGroup || s.kind == sDict:
		return "write keys under it, one per line, indented"
	}
	return "write " + specNames[s.kind]
}

func (c *checker) group(e entry, path string, s *spec, later bool) any {
	n := e.val
	out := make(map[string]any, len(n.entries))
	before := len(c.errs)
	for _, sub := range n.entries {
		p := join(path, sub.key)
		fs := s.field(sub.key)
		if fs == nil {
			c.add(sub.line, sub.col, p, "unknown key", c.unknown(sub.key, s))
			continue
		}
		if v := c.value(sub, p, fs, later); v != nil {
			out[sub.key] = v
		}
	}
	for _, r := range s.required {
		if n.get(r) == nil {
			c.add(e.line, e.col, path, "lacks the key "+r, "add "+r+": "+s.field(r).doc)
		}
	}
	if s.whole != nil && len(c.errs) == before {
		if key, problem, remedy := s.whole(n); problem != "" {
			at := e
			if sub := n.get(key); sub != nil {
				at = *sub
			}
			c.add(at.line, at.col, join(path, key), problem, remedy)
		}
	}
	return out
}

// unknown says what was probably meant: a near key here, or the same key's
// right place elsewhere in the file.
func (c *checker) unknown(key string, s *spec) string {
	if near := nearest(key, s.names()); near != "" {
		return "did you mean " + near + "?"
	}
	if c.root != nil {
		for _, f := range c.root.fields {
			if f.spec != s && f.spec.field(key) != nil {
				return "it belongs under " + f.name + ":"
			}
		}
		if s != c.root && c.root.field(key) != nil {
			return "it belongs at the top level of the file"
		}
	}
	return "remove it; known here: " + strings.Join(s.names(), ", ")
}

func (c *checker) dict(n *node, path string, s *spec, later bool) any {
	out := make(map[string]any, len(n.entries))
	for _, sub := range n.entries {
		p := join(path, sub.key)
		switch {
		case len(s.keyEnum) > 0 && !slices.Contains(s.keyEnum, sub.key):
			remedy := "known: " + strings.Join(s.keyEnum, ", ")
			if near := nearest(sub.key, s.keyEnum); near != "" {
				remedy = "did you mean " + near + "?"
			}
			c.add(sub.line, sub.col, p, "unknown name", remedy)
			continue
		case s.keys != nil && !s.keys.MatchString(sub.key):
			c.add(sub.line, sub.col, p, "not a valid name", "use "+s.keyForm)
			continue
		}
		before := len(c.errs)
		v := c.value(sub, p, s.elem, later)
		if s.entry != nil && len(c.errs) == before {
			if problem, remedy := s.entry(sub); problem != "" {
				c.add(sub.line, sub.col, p, problem, remedy)
			}
		}
		if v != nil {
			out[sub.key] = v
		}
	}
	return out
}

func (c *checker) list(n *node, path string, s *spec) any {
	if s.max > 0 && (float64(len(n.items)) < s.min || float64(len(n.items)) > s.max) {
		want := fmt.Sprintf("%g to %g", s.min, s.max)
		if s.min == s.max {
			want = fmt.Sprintf("exactly %g", s.min)
		}
		c.add(n.line, n.col, path, fmt.Sprintf("has %d elements, must have %s", len(n.items), want), "add or remove elements")
	}
	out := make([]any, 0, len(n.items))
	for i, it := range n.items {
		sub := entry{line: it.line, col: it.col, val: it}
		if v := c.value(sub, fmt.Sprintf("%s[%d]", path, i), s.elem, false); v != nil {
			out = append(out, v)
		}
	}
	return out
}

func (c *checker) scalar(n *node, path string, s *spec) any {
	switch {
	case s.kind == sText:
		return c.text(n, path, s)
	case s.kind == sBytes && n.kind == nText:
		size, ok := parseBytes(n.text)
		if !ok {
			c.add(n.line, n.col, path, fmt.Sprintf("%q is not a size", short(n.text)), "write bytes, or a whole number with KiB, MiB, GiB or TiB")
			return nil
		}
		c.inRange(n, path, s, float64(size))
		return size
	case n.kind == nBool:
		return n.b
	}
	c.inRange(n, path, s, n.f)
	if n.kind == nInt {
		return n.i
	}
	return n.f
}

func (c *checker) inRange(n *node, path string, s *spec, v float64) {
	if s.max == 0 || v >= s.min && v <= s.max && (!s.exclusive || v > s.min) {
		return
	}
	from := "from " + number(s.min)
	if s.exclusive {
		from = "more than " + number(s.min)
	}
	c.add(n.line, n.col, path, fmt.Sprintf("is %s, out of range", number(v)), fmt.Sprintf("use %s up to %s", from, number(s.max)))
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func (c *checker) text(n *node, path string, s *spec) any {
	t := n.text
	if s.fold {
		t = strings.ToLower(t)
	}
	bad := strings.IndexFunc(t, func(r rune) bool { return unicode.IsControl(r) && (!s.multiline || r != '\n' && r != '\t') })
	switch {
	case bad >= 0:
		c.add(n.line, n.col, path, "contains a control character or a line break", "write one plain line")
	case len(s.enum) > 0 && !slices.Contains(s.enum, t):
		remedy := "use one of " + strings.Join(s.enum, ", ")
		if near := nearest(t, s.enum); near != "" {
			remedy = "did you mean " + near + "? Use one of " + strings.Join(s.enum, ", ")
		}
		c.add(n.line, n.col, path, fmt.Sprintf("%q is not a known value", short(n.text)), remedy)
	case s.pattern != nil && !s.pattern.MatchString(t):
		c.add(n.line, n.col, path, fmt.Sprintf("%q is not valid here", short(n.text)), "use "+s.form)
	case s.label && c.scheme != nil:
		return c.label(n, path, t)
	}
	return t
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	if key == "" {
		return path
	}
	return path + "." + key
}

// short bounds a value that is repeated in a message, and hides one that gives
// itself away as a key.
func short(s string) string {
	s = secretWord.ReplaceAllString(s, "…")
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

var byteUnits = []struct {
	suffix string
	shift  uint
}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}}

// parseBytes reads "512MiB"; plain digits are bytes.
func parseBytes(s string) (int64, bool) {
	shift := uint(0)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			s, shift = strings.TrimRight(rest, " "), u.shift
			break
		}
	}
	v, err := strconv.ParseUint(s, 10, 63)
	if err != nil || v > (1<<63-1)>>shift {
		return 0, false
	}
	return int64(v << shift), true //nolint:gosec // G115: bounded in the line above
}
