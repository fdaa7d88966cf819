package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
	"sync"
	"unicode/utf8"

	"sallyport/internal/fault"
)

// Bounds of one body. They are far above what any client sends and keep the
// work and the memory for a hostile one within a constant of its size.
const (
	maxDepth  = 128     // nesting of arrays and objects
	maxValues = 1 << 20 // values and keys together
	maxBytes  = 1<<31 - 1
	fewKeys   = 16 // objects with more keys get a hash table for their duplicates
)

// kind is what a JSON value is.
type kind uint8

const (
	null kind = iota
	boolFalse
	boolTrue
	number
	text // a string
	array
	object
)

var kindNames = [...]string{"null", "a boolean", "a boolean", "a number", "a string", "an array", "an object"}

// node is one value or key of a body. The nodes of a body stand in document
// order: a container's children follow it, a member is its key and then its
// value, and next is the first node after everything inside.
type node struct {
	start, end int32 // in the body; a string with its quotes
	next       int32
	kind       kind
	escaped    bool // a string that holds backslashes
}

type keyID struct {
	object int32
	name   string
}

// doc is a body and its nodes; node 0 is the whole. It is strict: RFC 8259,
// valid UTF-8, no lone surrogates, no key twice in an object.
type doc struct {
	body  []byte
	nodes []node
	many  map[keyID]struct{} // keys of the objects that have many
	err   error
	words strings.Builder // where short strings are kept together
}

var docs = sync.Pool{New: func() any { return new(doc) }}

// open reads a body whole. Call free when the nodes are no longer needed.
func open(body []byte) (*doc, error) {
	d, _ := docs.Get().(*doc)
	d.body, d.nodes, d.err = body, d.nodes[:0], nil
	if cap(d.nodes) == 0 {
		d.nodes = make([]node, 0, min(len(body)/24+16, 1<<14))
	}
	if d.read(); d.err != nil {
		err := d.err
		d.free()
		return nil, err
	}
	return d, nil
}

func (d *doc) free() {
	d.body, d.many, d.words = nil, nil, strings.Builder{}
	if cap(d.nodes) <= 1<<16 {
		docs.Put(d)
	}
}

// openObject is open for bodies that must be one object.
func openObject(body []byte) (*doc, error) {
	d, err := open(body)
	if err != nil {
		return nil, err
	}
	if k := d.nodes[0].kind; k != object {
		d.free()
		return nil, refused("it is %s, not an object", kindNames[k])
	}
	return d, nil
}

// Check reports whether body is one JSON value that every reader understands
// the same way; the error is of kind fault.Usage and says where it is not.
func Check(body []byte) error {
	d, err := open(body)
	if err != nil {
		return err
	}
	d.free()
	return nil
}

func refused(format string, args ...any) error {
	return fault.New("wire.read", fault.Usage,
		"the body was refused by the rule wire.json: %s; send one JSON object that every reader understands the same way",
		fmt.Sprintf(format, args...))
}

func (d *doc) fail(at int, format string, args ...any) int {
	if d.err == nil {
		d.err = refused("%s at byte %d", fmt.Sprintf(format, args...), at)
	}
	return -1
}

func (d *doc) read() {
	if len(d.body) > maxBytes {
		d.fail(0, "it is longer than %d bytes", maxBytes)
		return
	}
	i := d.value(d.space(0), 0)
	if i < 0 {
		return
	}
	if i = d.space(i); i < len(d.body) {
		d.fail(i, "something follows the value")
	}
}

func (d *doc) space(i int) int {
	for i < len(d.body) && (d.body[i] == ' ' || d.body[i] == '\n' || d.body[i] == '\r' || d.body[i] == '\t') {
		i++
	}
	return i
}

func (d *doc) add(k kind, start int) int {
	if len(d.nodes) >= maxValues {
		return d.fail(start, "it has more than %d values", maxValues)
	}
	//nolint:gosec // G115: positions are below maxBytes
	d.nodes = append(d.nodes, node{kind: k, start: int32(start)})
	return len(d.nodes) - 1
}

func (d *doc) close(n, end int) int {
	//nolint:gosec // G115: positions are below maxBytes
	d.nodes[n].end, d.nodes[n].next = int32(end), int32(len(d.nodes))
	return end
}

// value reads one value that starts at i and gives the position after it, or
// -1.
func (d *doc) value(i, depth int) int {
	if i >= len(d.body) {
		return d.fail(i, "it ends early")
	}
	switch c := d.body[i]; c {
	case '"':
		return d.text(i)
	case '{', '[':
		if depth >= maxDepth {
			return d.fail(i, "it is nested deeper than %d", maxDepth)
		}
		if c == '{' {
			return d.object(i, depth)
		}
		return d.array(i, depth)
	case 't':
		return d.word(i, "true", boolTrue)
	case 'f':
		return d.word(i, "false", boolFalse)
	case 'n':
		return d.word(i, "null", null)
	default:
		return d.number(i)
	}
}

func (d *doc) word(i int, w string, k kind) int {
	if len(d.body)-i < len(w) || string(d.body[i:i+len(w)]) != w {
		return d.fail(i, "no value stands")
	}
	n := d.add(k, i)
	if n < 0 {
		return -1
	}
	return d.close(n, i+len(w))
}

func (d *doc) array(i, depth int) int {
	n := d.add(array, i)
	if n < 0 {
		return -1
	}
	if i = d.space(i + 1); i < len(d.body) && d.body[i] == ']' {
		return d.close(n, i+1)
	}
	for {
		if i = d.value(i, depth+1); i < 0 {
			return -1
		}
		i = d.space(i)
		switch {
		case i >= len(d.body):
			return d.fail(i, "it ends early")
		case d.body[i] == ']':
			return d.close(n, i+1)
		case d.body[i] != ',':
			return d.fail(i, "a comma or a bracket is missing")
		}
		i = d.space(i + 1)
	}
}

func (d *doc) object(i, depth int) int {
	n := d.add(object, i)
	if n < 0 {
		return -1
	}
	if i = d.space(i + 1); i < len(d.body) && d.body[i] == '}' {
		return d.close(n, i+1)
	}
	for keys := 0; ; keys++ {
		if i >= len(d.body) || d.body[i] != '"' {
			return d.fail(i, "a key is missing")
		}
		key := len(d.nodes)
		if i = d.text(i); i < 0 || !d.fresh(n, key, keys) {
			return -1
		}
		if i = d.space(i); i >= len(d.body) || d.body[i] != ':' {
			return d.fail(i, "a colon is missing")
		}
		if i = d.value(d.space(i+1), depth+1); i < 0 {
			return -1
		}
		i = d.space(i)
		switch {
		case i >= len(d.body):
			return d.fail(i, "it ends early")
		case d.body[i] == '}':
			return d.close(n, i+1)
		case d.body[i] != ',':
			return d.fail(i, "a comma or a brace is missing")
		}
		i = d.space(i + 1)
	}
}

// fresh reports whether the key was not in its object before; count is how
// many keys were.
func (d *doc) fresh(obj, key, count int) bool {
	known := false
	if count < fewKeys {
		for k := obj + 1; k < key; k = int(d.nodes[k+1].next) {
			known = known || d.same(k, key)
		}
	} else {
		if d.many == nil {
			d.many = map[keyID]struct{}{}
		}
		if count == fewKeys {
			for k := obj + 1; k < key; k = int(d.nodes[k+1].next) {
				d.many[d.keyID(obj, k)] = struct{}{}
			}
		}
		id := d.keyID(obj, key)
		_, known = d.many[id]
		d.many[id] = struct{}{}
	}
	if known {
		d.fail(int(d.nodes[key].start), "a key is there twice")
	}
	return !known
}

func (d *doc) keyID(obj, key int) keyID {
	//nolint:gosec // G115: node numbers are below maxValues
	return keyID{int32(obj), string(d.name(key))}
}

func (d *doc) same(a, b int) bool { return bytes.Equal(d.name(a), d.name(b)) }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks the first byte of w that ends a plain run of a string: a
// quote, a backslash, a control character or a byte that is not ASCII. Marks
// above the lowest one may be wrong.
func special(w uint64) uint64 {
	quote, slash := w^(ones*'"'), w^(ones*'\\')
	return ((w-ones*0x20)&^w | (quote-ones)&^quote | (slash-ones)&^slash | w) & highs
}

// simple are the letters of escapes that stand for one byte.
var simple = [256]bool{'"': true, '\\': true, '/': true, 'b': true, 'f': true, 'n': true, 'r': true, 't': true}

// text reads a string that starts at i with its quote.
func (d *doc) text(start int) int {
	n := d.add(text, start)
	if n < 0 {
		return -1
	}
	b, escaped := d.body, false
	for i := start + 1; ; {
		if i+8 <= len(b) {
			m := special(binary.LittleEndian.Uint64(b[i:]))
			if m == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(m) >> 3
		} else if i >= len(b) {
			return d.fail(i, "a string has no end")
		}
		switch c := b[i]; {
		case c == '\\' && i+1 < len(b) && simple[b[i+1]]:
			// Ends of lines and indents come in runs.
			for escaped = true; i+1 < len(b) && b[i] == '\\' && simple[b[i+1]]; {
				i += 2
			}
		case c == '"':
			d.nodes[n].escaped = escaped
			return d.close(n, i+1)
		case c == '\\':
			escaped = true
			if i = d.escape(i); i < 0 {
				return -1
			}
		case c < 0x20:
			return d.fail(i, "a control character stands in a string")
		case c < utf8.RuneSelf:
			i++
		default:
			r, size := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && size == 1 {
				return d.fail(i, "a string is not valid UTF-8")
			}
			i += size
		}
	}
}

// escape checks an escape that is not simple and gives the position after it.
func (d *doc) escape(i int) int {
	if i+1 >= len(d.body) {
		return d.fail(i, "a string has no end")
	}
	if d.body[i+1] != 'u' {
		return d.fail(i, "an escape is unknown")
	}
	r := hex4(d.body[i+2:])
	switch {
	case r < 0:
		return d.fail(i, "an escape is not four hexadecimal digits")
	case r < 0xd800 || r > 0xdfff:
		return i + 6
	case r < 0xdc00 && bytes.HasPrefix(d.body[i+6:], []byte(`\u`)):
		if low := hex4(d.body[i+8:]); low >= 0xdc00 && low <= 0xdfff {
			return i + 12
		}
	}
	return d.fail(i, "half a surrogate pair stands alone")
}

// hex4 reads four hexadecimal digits, -1 if they are not there.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return -1
		}
	}
	return r
}

func (d *doc) digits(i int) int {
	for i < len(d.body) && d.body[i] >= '0' && d.body[i] <= '9' {
		i++
	}
	return i
}

func (d *doc) at(i int) byte {
	if i < len(d.body) {
		return d.body[i]
	}
	return 0
}

func (d *doc) number(start int) int {
	i := start
	if d.at(i) == '-' {
		i++
	}
	first := i
	if i = d.digits(i); i == first || d.body[first] == '0' && i > first+1 {
		return d.fail(start, "no value stands")
	}
	if d.at(i) == '.' {
		frac := i + 1
		if i = d.digits(frac); i == frac {
			return d.fail(start, "a number has no digits after its point")
		}
	}
	if c := d.at(i); c == 'e' || c == 'E' {
		i++
		if c = d.at(i); c == '+' || c == '-' {
			i++
		}
		exp := i
		if i = d.digits(exp); i == exp {
			return d.fail(start, "a number has no exponent")
		}
	}
	n := d.add(number, start)
	if n < 0 {
		return -1
	}
	return d.close(n, i)
}
