package wire

import (
	"bytes"
	"strings"
)

// maxFields is how many fields one table may name.
const maxFields = 24

// fields names the members of an object that decide something. A word of a
// slot is a spelling that servers accept; Gemini's know two for most.
type fields struct {
	names [][]byte
	slots []int
}

// spell makes a table; the spellings of one slot are separated by spaces.
func spell(slots ...string) fields {
	var f fields
	for i, s := range slots {
		for w := range strings.FieldsSeq(s) {
			f.names, f.slots = append(f.names, []byte(w)), append(f.slots, i)
		}
	}
	return f
}

// found holds the values of a table's slots: nodes, 0 for what is absent (node
// 0 is the whole body and nobody's member).
type found [maxFields]int

// get finds the fields of an object. What one reader would take for a field and
// another would not is refused: a name in other letters (some decoders fold
// them), two spellings at once.
func (d *doc) get(obj int, f *fields) (found, error) {
	var v found
	for k := range d.members(obj) {
		name := d.name(k)
		slot := -1
		for i, n := range f.names {
			if len(n) == len(name) && string(n) == string(name) {
				slot = f.slots[i]
				break
			}
		}
		switch {
		case slot < 0 && f.resembles(name):
			return v, refused("the field at byte %d is written in other letters than the API's", d.nodes[k].start)
		case slot < 0:
		case v[slot] != 0:
			return v, refused("the field at byte %d is there in two spellings", d.nodes[k].start)
		default:
			v[slot] = k + 1
		}
	}
	return v, nil
}

func (f *fields) resembles(name []byte) bool {
	if len(name) == 0 {
		return false
	}
	for _, n := range f.names {
		// The first byte settles nearly all; a letter that is not ASCII may
		// fold to one that is.
		if (name[0]|0x20 == n[0]|0x20 || name[0] >= 0x80) && bytes.EqualFold(name, n) {
			return true
		}
	}
	return false
}

// has reports a value that is there and not null.
func (d *doc) has(n int) bool { return n != 0 && d.kind(n) != null }

// want refuses a value that is there with another kind; null counts as absent.
func (d *doc) want(n int, k kind, field string) (bool, error) {
	switch {
	case !d.has(n):
		return false, nil
	case d.kind(n) != k:
		return false, refused("%s is %s, not %s", field, kindNames[d.kind(n)], kindNames[k])
	}
	return true, nil
}

// stringOf gives a string field, "" when it is absent.
func (d *doc) stringOf(n int, field string) (string, error) {
	ok, err := d.want(n, text, field)
	if !ok {
		return "", err
	}
	return d.keep(d.name(n)), nil
}

// boolOf gives a boolean field, or what holds when it is absent.
func (d *doc) boolOf(n int, field string, absent bool) (bool, error) {
	switch {
	case !d.has(n):
		return absent, nil
	case d.kind(n) == boolTrue, d.kind(n) == boolFalse:
		return d.kind(n) == boolTrue, nil
	}
	return false, refused("%s is %s, not a boolean", field, kindNames[d.kind(n)])
}

// intOf gives a field that is a whole number >= 0, or what holds when it is
// absent.
func (d *doc) intOf(n int, field string, absent int64) (int64, error) {
	if !d.has(n) {
		return absent, nil
	}
	v, ok := d.integer(n)
	if !ok {
		return 0, refused("%s is not a whole number of 0 or more", field)
	}
	return v, nil
}
