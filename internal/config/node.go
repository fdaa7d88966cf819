package config

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The bounds of a file: far above what anybody writes by hand, and low because
// the YAML parser's time grows with the square of the keys of one group. The
// worst file within them takes about a second.
const (
	maxBytes  = 1 << 20
	maxTokens = 10_000
	maxNodes  = 10_000 // after aliases are expanded
	maxDepth  = 64
)

type nodeKind uint8

const (
	nNull nodeKind = iota
	nBool
	nInt
	nFloat
	nText
	nList
	nMap
)

var kindNames = [...]string{"nothing", "true or false", "a whole number", "a number", "a text", "a list", "a group of keys"}

func (k nodeKind) String() string { return kindNames[k] }

// node is one value of a file with its place, the same for YAML and JSON.
type node struct {
	kind      nodeKind
	line, col int
	b         bool
	i         int64
	f         float64
	text      string
	items     []*node
	entries   []entry
}

// entry is one key of a group with its place.
type entry struct {
	key       string
	line, col int
	val       *node
}

func (n *node) get(key string) *entry {
	for i := range n.entries {
		if n.entries[i].key == key {
			return &n.entries[i]
		}
	}
	return nil
}

// plain gives the value with Go's own types, as encoding/json would.
func (n *node) plain() any {
	switch n.kind {
	case nBool:
		return n.b
	case nInt:
		return n.i
	case nFloat:
		return n.f
	case nText:
		return n.text
	case nList:
		out := make([]any, 0, len(n.items))
		for _, it := range n.items {
			out = append(out, it.plain())
		}
		return out
	case nMap:
		out := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			out[e.key] = e.val.plain()
		}
		return out
	default:
		return nil
	}
}

// parseTree reads a file of either form into nodes. An empty file is nNull.
func parseTree(name string, data []byte) (*node, *source, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if len(data) > maxBytes {
		return nil, nil, &Error{
			Pos:     Position{File: name},
			Problem: fmt.Sprintf("the file has %d bytes, the limit is %d", len(data), maxBytes),
			Remedy:  "name the right file, or make it shorter",
		}
	}
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	src := newSource(name, data)
	if err := checkBytes(src, data); err != nil {
		return nil, nil, err
	}
	if isJSON(name, data) {
		root, err := parseJSON(src, data)
		if err == nil {
			return root, src, nil
		}
		if ext := filepath.Ext(name); ext == ".yaml" || ext == ".yml" {
			if root, yerr := parseYAML(src, data); yerr == nil { // YAML's own flow form
				return root, src, nil
			}
		}
		return nil, nil, err
	}
	root, err := parseYAML(src, data)
	if err != nil {
		return nil, nil, err
	}
	return root, src, nil
}

// isJSON decides by the name, then by the first character: a seed fragment
// pasted into sallyport.yaml starts with a brace.
func isJSON(name string, data []byte) bool {
	switch filepath.Ext(name) {
	case ".json", ".jsonc":
		return true
	}
	t := bytes.TrimLeft(data, " \t\n")
	return bytes.HasPrefix(t, []byte("{")) || bytes.HasPrefix(t, []byte("//")) || bytes.HasPrefix(t, []byte("/*"))
}

// checkBytes refuses what no text editor writes, before a parser meets it.
func checkBytes(src *source, data []byte) error {
	line, col := 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			return src.at(line, col, "", "the file is not valid UTF-8 here", "save the file as UTF-8")
		case r == '\n':
			line, col = line+1, 0
		case r < ' ' && r != '\t' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029:
			return src.at(line, col, "", fmt.Sprintf("control character %U", r), "remove it; in a quoted text write it as an escape")
		}
		col++
		data = data[size:]
	}
	return nil
}

var (
	plainInt   = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	plainFloat = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
)

// number fills a node from a literal; only plain decimal forms are accepted,
// because 010, 0x1F and 1_000 mean different things to different readers.
func (n *node) number(lit string) (problem string) {
	switch {
	case plainInt.MatchString(lit):
		i, err := strconv.ParseInt(lit, 10, 64)
		if err != nil {
			return "the number is too large"
		}
		n.kind, n.i, n.f = nInt, i, float64(i)
	case plainFloat.MatchString(lit):
		f, err := strconv.ParseFloat(lit, 64)
		if err != nil || math.IsInf(f, 0) {
			return "the number is too large"
		}
		n.kind, n.f = nFloat, f
	default:
		return fmt.Sprintf("%s is not a plain decimal number", strings.ToValidUTF8(lit, "?"))
	}
	return ""
}
