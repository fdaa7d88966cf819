package wire

import (
	"bytes"
	"iter"
	"strconv"
	"strings"
	"unicode/utf8"
)

// unescape appends what the inside of a valid JSON string means to dst.
func unescape(dst, src []byte) []byte {
	for {
		i := bytes.IndexByte(src, '\\')
		if i < 0 {
			return append(dst, src...)
		}
		dst = append(dst, src[:i]...)
		c := src[i+1]
		src = src[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(src)
			src = src[4:]
			if r >= 0xd800 && r <= 0xdbff {
				r = 0x10000 + (r-0xd800)<<10 + (hex4(src[2:]) - 0xdc00)
				src = src[6:]
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
}

// name gives what a key or a string means; it is a part of the body unless it
// is escaped.
func (d *doc) name(n int) []byte {
	v := &d.nodes[n]
	inside := d.body[v.start+1 : v.end-1]
	if !v.escaped {
		return inside
	}
	return unescape(make([]byte, 0, len(inside)), inside)
}

// keep copies a name to where many share one allocation. A part of a builder's
// string stays what it is while the builder grows.
func (d *doc) keep(b []byte) string {
	if len(b) > 256 {
		return string(b)
	}
	if d.words.Cap()-d.words.Len() < len(b) {
		d.words = strings.Builder{}
		d.words.Grow(min(4096, max(256, len(d.body)/8)))
	}
	start := d.words.Len()
	d.words.Write(b)
	return d.words.String()[start:]
}

func (d *doc) span(n int) Span { return Span{int(d.nodes[n].start), int(d.nodes[n].end)} }

func (d *doc) raw(n int) []byte { return d.body[d.nodes[n].start:d.nodes[n].end] }

func (d *doc) kind(n int) kind { return d.nodes[n].kind }

// members gives the keys of an object; a key's value is the node after it.
func (d *doc) members(obj int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for k := obj + 1; k < int(d.nodes[obj].next); k = int(d.nodes[k+1].next) {
			if !yield(k) {
				return
			}
		}
	}
}

// elements gives the nodes of an array's elements.
func (d *doc) elements(arr int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for e := arr + 1; e < int(d.nodes[arr].next); e = int(d.nodes[e].next) {
			if !yield(e) {
				return
			}
		}
	}
}

// integer reads a node as a whole number >= 0.
func (d *doc) integer(n int) (int64, bool) {
	if d.kind(n) != number {
		return 0, false
	}
	v, err := strconv.ParseInt(string(d.raw(n)), 10, 64)
	return v, err == nil && v >= 0
}
