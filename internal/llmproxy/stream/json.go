package stream

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of one JSON document. They keep the tape of a hostile event small: the
// largest real one, a response that repeats its tools, has some ten thousand
// values.
const (
	maxDepth = 128
	maxNodes = 1 << 18
)

type kind uint8

const (
	object kind = iota
	array
	str
	number
	word // true, false, null
)

// node is one value of a document. Children follow their parent.
type node struct {
	kind       kind
	escaped    bool // a string with escapes
	keyEscaped bool
	keyWide    bool  // the name has characters beyond ASCII
	call       bool  // its name is one under which some API carries a call, and it has a value
	seen       bool  // the call in it was taken up by the API's reader
	k0, k1     int32 // the name between its quotes; 0, 0 for none
	v0, v1     int32 // the value
	next       int32 // the node behind the value
}

// doc is a strict reading of one JSON document, kept for the next one. What two
// readers could understand differently makes it invalid: duplicate names,
// invalid UTF-8, control characters, anything behind the end.
type doc struct {
	b      []byte
	tape   []node
	calls  int  // nodes with call set
	wide   bool // a string has characters beyond ASCII
	breaks bool // a raw character in it ends a line for some readers
	odd    bool // a name differs from one that was asked for in case only
}

// parse reads b, which must stay unchanged while the document is used.
func (d *doc) parse(b []byte) bool {
	if cap(d.tape) > 128 {
		d.tape = nil // an unusually large document must not stay with an idle stream
	}
	*d = doc{b: b, tape: d.tape[:0]}
	if len(b) > math.MaxInt32 {
		return false
	}
	p := d.value(d.space(0), 0, node{})
	return p > 0 && d.space(p) == len(b)
}

func (d *doc) space(p int) int {
	for p < len(d.b) && (d.b[p] == ' ' || d.b[p] == '\n' || d.b[p] == '\r' || d.b[p] == '\t') {
		p++
	}
	return p
}

// value reads the value at p into n and gives the place behind it, -1 if there
// is none.
func (d *doc) value(p, depth int, n node) int {
	if p >= len(d.b) || len(d.tape) >= maxNodes {
		return -1
	}
	at := len(d.tape)
	n.v0 = int32(p) //nolint:gosec // parse bounds the length
	d.tape = append(d.tape, n)
	switch c := d.b[p]; {
	case c == '{' || c == '[':
		if depth >= maxDepth {
			return -1
		}
		n.kind = array
		if c == '{' {
			n.kind = object
		}
		p = d.children(p+1, depth+1, n.kind, at)
	case c == '"':
		n.kind = str
		p, n.escaped = d.text(p + 1)
	case c == '-' || c >= '0' && c <= '9':
		n.kind = number
		p = d.number(p)
	default:
		n.kind = word
		p = d.word(p)
	}
	if p < 0 {
		return -1
	}
	n.v1, n.next = int32(p), int32(len(d.tape)) //nolint:gosec // see above
	if n.k1 > 0 && p-int(n.v0) > 2 && !bytes.Equal(d.b[n.v0:p], []byte("null")) && carriesCall(d.b[n.k0:n.k1], n.keyEscaped) {
		n.call = true
		d.calls++
	}
	d.tape[at] = n
	return p
}

// children reads the members of an object or an array up to its end.
func (d *doc) children(p, depth int, k kind, parent int) int {
	end := byte(']')
	if k == object {
		end = '}'
	}
	p = d.space(p)
	if p < len(d.b) && d.b[p] == end {
		return p + 1
	}
	for count := 1; p < len(d.b); count++ {
		var n node
		if k == object {
			if p = d.name(p, &n); p < 0 {
				return -1
			}
		}
		if p = d.value(p, depth, n); p < 0 {
			return -1
		}
		p = d.space(p)
		if p >= len(d.b) {
			return -1
		}
		if d.b[p] == end {
			if k == object && d.twice(parent, count) {
				return -1
			}
			return p + 1
		}
		if d.b[p] != ',' {
			return -1
		}
		p = d.space(p + 1)
	}
	return -1
}

// name reads a member's name and its colon.
func (d *doc) name(p int, n *node) int {
	if d.b[p] != '"' {
		return -1
	}
	n.k0 = int32(p + 1) //nolint:gosec // parse bounds the length
	d.wide = false
	if p, n.keyEscaped = d.text(p + 1); p < 0 {
		return -1
	}
	n.k1, n.keyWide = int32(p-1), d.wide //nolint:gosec // see above
	if p = d.space(p); p >= len(d.b) || d.b[p] != ':' {
		return -1
	}
	return d.space(p + 1)
}

// twice tells whether a name stands twice among the count members behind
// parent. Many members are sorted, or a hostile object would cost their square.
func (d *doc) twice(parent, count int) bool {
	if count > 12 {
		names := make([]string, 0, count)
		for i := parent + 1; i < len(d.tape); i = int(d.tape[i].next) {
			names = append(names, d.key(i))
		}
		slices.Sort(names)
		return len(slices.Compact(names)) < count
	}
	for i := parent + 1; i < len(d.tape); i = int(d.tape[i].next) {
		for j := int(d.tape[i].next); j < len(d.tape); j = int(d.tape[j].next) {
			if d.sameKey(i, j) {
				return true
			}
		}
	}
	return false
}

func (d *doc) sameKey(i, j int) bool {
	a, b := &d.tape[i], &d.tape[j]
	if a.keyEscaped || b.keyEscaped {
		return d.key(i) == d.key(j)
	}
	return bytes.Equal(d.b[a.k0:a.k1], d.b[b.k0:b.k1])
}

// class sorts the bytes of a string: 0 goes on.
var class = func() (t [256]uint8) {
	for c := range 256 {
		switch {
		case c == '"':
			t[c] = 1
		case c == '\\':
			t[c] = 2
		case c < 0x20:
			t[c] = 3
		case c >= 0x80:
			t[c] = 4
		}
	}
	return t
}()

// text reads a string behind its opening quote.
func (d *doc) text(p int) (end int, escaped bool) {
	b := d.b
	for p < len(b) {
		switch class[b[p]] {
		case 0:
			p++
		case 1:
			return p + 1, escaped
		case 2:
			escaped = true
			if p = d.escape(p + 1); p < 0 {
				return -1, true
			}
		case 3:
			return -1, escaped
		case 4:
			r, n := utf8.DecodeRune(b[p:])
			if r == utf8.RuneError && n == 1 {
				return -1, escaped
			}
			d.wide = true
			d.breaks = d.breaks || r == 0x85 || r == 0x2028 || r == 0x2029
			p += n
		}
	}
	return -1, escaped
}

func (d *doc) escape(p int) int {
	if p >= len(d.b) {
		return -1
	}
	if d.b[p] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, d.b[p]) < 0 {
			return -1
		}
		return p + 1
	}
	if _, ok := hex4(d.b, p+1); !ok {
		return -1
	}
	return p + 5
}

func hex4(b []byte, p int) (rune, bool) {
	if p+4 > len(b) {
		return 0, false
	}
	var r rune
	for _, c := range b[p : p+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func (d *doc) number(p int) int {
	if d.b[p] == '-' {
		p++
	}
	switch {
	case p < len(d.b) && d.b[p] == '0':
		p++
	default:
		if p = d.digits(p); p < 0 {
			return -1
		}
	}
	if p < len(d.b) && d.b[p] == '.' {
		if p = d.digits(p + 1); p < 0 {
			return -1
		}
	}
	if p < len(d.b) && d.b[p]|0x20 == 'e' {
		p++
		if p < len(d.b) && (d.b[p] == '+' || d.b[p] == '-') {
			p++
		}
		p = d.digits(p)
	}
	return p
}

// digits reads one or more.
func (d *doc) digits(p int) int {
	start := p
	for p < len(d.b) && d.b[p] >= '0' && d.b[p] <= '9' {
		p++
	}
	if p == start {
		return -1
	}
	return p
}

func (d *doc) word(p int) int {
	for _, w := range [...]string{"null", "true", "false"} {
		if len(d.b)-p >= len(w) && string(d.b[p:p+len(w)]) == w {
			return p + len(w)
		}
	}
	return -1
}

// key gives a member's name.
func (d *doc) key(i int) string {
	n := &d.tape[i]
	if !n.keyEscaped {
		return string(d.b[n.k0:n.k1])
	}
	s, _ := unescape(d.b[n.k0:n.k1])
	return s
}

// get finds a member of an object, 0 if there is none. It notes a member whose
// name differs in case only: some clients would take it for the one asked for.
func (d *doc) get(obj int, name string) int {
	if d.tape[obj].kind != object {
		return 0
	}
	found := 0
	for i := obj + 1; i < int(d.tape[obj].next); i = int(d.tape[i].next) {
		n := &d.tape[i]
		k := d.b[n.k0:n.k1]
		switch {
		case n.keyEscaped || n.keyWide:
			if s := d.key(i); s == name {
				found = i
			} else if strings.EqualFold(s, name) {
				d.odd = true
			}
		case string(k) == name:
			found = i
		case len(k) == len(name) && k[0]|0x20 == name[0] && strings.EqualFold(string(k), name):
			d.odd = true
		}
	}
	return found
}

// at follows names from obj.
func (d *doc) at(obj int, names ...string) int {
	for i, name := range names {
		if obj = d.get(obj, name); obj == 0 && i < len(names)-1 {
			return 0
		}
	}
	return obj
}

// each goes over the children of an object or an array.
func (d *doc) each(parent int, f func(i int) error) error {
	if k := d.tape[parent].kind; k != object && k != array {
		return nil
	}
	for i := parent + 1; i < int(d.tape[parent].next); i = int(d.tape[i].next) {
		if err := f(i); err != nil {
			return err
		}
	}
	return nil
}

// null tells that a member is absent or null.
func (d *doc) null(i int) bool { return i == 0 || d.tape[i].kind == word && d.b[d.tape[i].v0] == 'n' }

// empty tells that a member says nothing: absent, null, "", [] or {}.
func (d *doc) empty(i int) bool {
	if d.null(i) {
		return true
	}
	n := &d.tape[i]
	switch n.kind {
	case str:
		return n.v1-n.v0 == 2
	case object, array:
		return int(n.next) == i+1
	default:
		return false
	}
}

// isTrue tells that a member is true.
func (d *doc) isTrue(i int) bool { return i != 0 && d.b[d.tape[i].v0] == 't' }

// raw gives the bytes of a value.
func (d *doc) raw(i int) []byte { return d.b[d.tape[i].v0:d.tape[i].v1] }

// inner gives the bytes between the quotes of a string, nil for anything else.
func (d *doc) inner(i int) []byte {
	if i == 0 || d.tape[i].kind != str {
		return nil
	}
	return d.b[d.tape[i].v0+1 : d.tape[i].v1-1]
}

// text of a string; "" for anything else.
func (d *doc) str(i int) string {
	s := d.inner(i)
	if len(s) > 0 && d.tape[i].escaped {
		t, _ := unescape(s)
		return t
	}
	return string(s)
}

// is compares a string with s.
func (d *doc) is(i int, s string) bool {
	if i == 0 || d.tape[i].kind != str {
		return false
	}
	if d.tape[i].escaped {
		return d.str(i) == s
	}
	return string(d.inner(i)) == s
}

// integer gives a number that is written as one. A client could take 1.0 or 1e0
// for an index as well: they are no integers here, and so no index.
func (d *doc) integer(i int) (int64, bool) {
	if i == 0 || d.tape[i].kind != number {
		return 0, false
	}
	v, err := strconv.ParseInt(string(d.raw(i)), 10, 64)
	return v, err == nil && string(d.raw(i)) != "-0"
}
