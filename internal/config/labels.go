package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// Labels are written with the operator's names and kept by their standard ones,
// so that a label means the same wherever it is stored, sent or compared.

var labelName = regexp.MustCompile(wordRE)

// Scheme gives the names that labels are read and shown with.
func (c *Config) Scheme() label.Scheme {
	return label.Scheme{Levels: c.Labels.Levels, Compartments: c.Labels.Compartments}
}

// names takes the names of levels and compartments from a file before its
// labels are read. What the table refuses anyway is left to it, and labels are
// then not judged: every one of them would look wrong.
func (c *checker) names(root *node) {
	var s label.Scheme
	for _, l := range []struct {
		key  string
		into *[]string
	}{{"levels", &s.Levels}, {"compartments", &s.Compartments}} {
		for i, n := range listAt(root, "labels", l.key) {
			if n.kind != nText || !labelName.MatchString(n.text) {
				return
			}
			*l.into = append(*l.into, n.text)
			if err := s.Check(); err != nil {
				problem, remedy, _ := strings.Cut(strings.TrimPrefix(err.Error(), "label: scheme: "), ": ")
				c.add(n.line, n.col, fmt.Sprintf("labels.%s[%d]", l.key, i), problem, remedy)
				return
			}
		}
	}
	c.scheme = &s
}

// listAt gives the elements of a list two keys deep, nil when there is none.
func listAt(root *node, group, key string) []*node {
	if e := root.get(group); e != nil {
		if l := e.val.get(key); l != nil {
			return l.val.items
		}
	}
	return nil
}

// label reads a label and gives it by its standard names; one that is written
// with them already stays as it is.
func (c *checker) label(n *node, path, text string) any {
	l, err := c.scheme.Parse(text)
	if err != nil {
		problem, remedy := err.Error(), "write a label: a level, then optionally {compartments} and /integrity"
		if u, ok := errors.AsType[*label.UnknownName](err); ok {
			problem = fmt.Sprintf("%q names the %s %q, which is not known", short(text), u.What, short(u.Name))
			remedy = unknownRemedy(u)
		}
		c.add(n.line, n.col, path, problem, remedy)
		return text
	}
	if std, err := label.Parse(text); err == nil && std == l {
		return text
	}
	return l.String()
}

func unknownRemedy(u *label.UnknownName) string {
	switch near := nearest(u.Name, u.Known); {
	case near != "":
		return fmt.Sprintf("did you mean %s? A label has one of %s there", near, strings.Join(u.Known, ", "))
	case u.What == "compartment" && len(u.Known) == 0:
		return "add it under labels.compartments:, which names none"
	case u.What == "compartment":
		return "add it at the end of labels.compartments:, or use " + strings.Join(u.Known, ", ")
	}
	return "a label has one of " + strings.Join(u.Known, ", ") + " there"
}

// labelOf reads a label that was checked before; what is none counts as the
// most confidential.
func labelOf(text string) label.Label {
	l, err := label.Parse(text)
	if err != nil {
		return label.Unlabelled
	}
	return l
}

// Shown gives a label of the configuration, which is kept by its standard
// names, as people read it; what is no label stays as it is.
func (c *Config) Shown(text string) string {
	l, err := label.Parse(text)
	if err != nil {
		return text
	}
	out := c.Scheme().Format(l)
	if !strings.Contains(text, "/") {
		out = strings.TrimSuffix(out, "/foreign") // as it was written
	}
	return out
}

// Named gives a copy for people to read, with every label by its configured
// names. It loads as the same configuration and is for nothing else: other rooms
// know the standard names alone.
func (c *Config) Named() (*Config, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fault.Wrap("config.named", fault.Internal, err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // sizes are exact
	var plain any
	if err := d.Decode(&plain); err != nil {
		return nil, fault.Wrap("config.named", fault.Internal, err)
	}
	out := &Config{Path: c.Path, Notices: c.Notices}
	return out, bind(c.named(plain, configSpec()), out)
}

// named replaces the labels in a value of the form that s describes.
func (c *Config) named(v any, s *spec) any {
	switch v := v.(type) {
	case map[string]any:
		for key, sub := range v {
			next := s.elem
			if s.kind == sGroup {
				next = s.field(key)
			}
			if next != nil {
				v[key] = c.named(sub, next)
			}
		}
	case []any:
		for i := range v {
			v[i] = c.named(v[i], s.elem)
		}
	case string:
		if s.label {
			return c.Shown(v)
		}
	}
	return v
}
