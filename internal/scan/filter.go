package scan

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// filter finds literals in one pass. It looks at every second place for four
// bytes whose case is folded, so every literal is entered with two neighbouring
// four-byte windows; a bitmap of 128 KiB says "surely not" for almost all of
// them. The pass never branches on what the bitmap says: it notes the blocks of
// eight bytes that have to be looked at, which are few, and goes through them
// afterwards, a stretch at a time.
type filter struct {
	bits  [1 << (hashBits - 5)]uint32
	heads [1<<headBits + 1]uint32 // where the grams of a hash's upper bits begin
	grams []gram
	quick []eight // by literal
	lits  []literal
	short []int32    // literals below three bytes, looked for one by one
	first [256]uint8 // 1: a short literal begins with it, case folded
}

const (
	hashBits = 20
	headBits = 16
	hashMul  = 0x9E3779B1
	foldMask = 0x5F5F5F5F // without the bit of case and the highest: 64 values a byte
	stretch  = 4096       // bytes between two looks at what was noted
)

// eight is the head of a literal, folded; mask leaves out what it is too short
// for.
type eight struct{ text, mask uint64 }

// literal is a text to be found and what asked for it.
type literal struct {
	text  string // lower case if fold
	fold  bool   // ASCII case does not count
	next  set    // what may follow it, for those so short that it matters
	owner []owner
}

// owner is a matcher that a literal calls.
type owner struct {
	kind  ownerKind
	index int32
}

type ownerKind uint8

const (
	ownToken ownerKind = iota
	ownContext
	ownKeyword
	ownSecret
	ownPhrase
	ownPrivateID
	ownMarkup
)

type gram struct {
	hash uint32
	lit  int32
	off  int8 // where the four bytes stand in the literal; -1: one byte before it
}

func hash4(w uint32) uint32 { return (w & foldMask) * hashMul >> (32 - hashBits) }

func lower(c byte) byte {
	if c-'A' < 26 {
		return c | 0x20
	}
	return c
}

func isAlnum(c byte) bool {
	return c-'0' < 10 || c|0x20-'a' < 26
}

// builder collects literals.
type builder struct {
	index map[string]int32
	f     *filter
}

func newBuilder() *builder { return &builder{index: map[string]int32{}, f: &filter{}} }

// everything and noLetter are sets of what may follow a literal.
var everything, noLetter = func() (all, rest set) {
	for c := range 256 {
		all.add(byte(c))
		if byte(c)|0x20-'a' > 25 {
			rest.add(byte(c))
		}
	}
	return all, rest
}()

func (b *builder) add(text string, fold bool, o owner) { b.follow(text, fold, o, &everything) }

// follow adds a literal of which it is known what follows it.
func (b *builder) follow(text string, fold bool, o owner, next *set) {
	key := "x" + text
	if fold {
		t := []byte(text)
		for i := range t {
			t[i] = lower(t[i])
		}
		text = string(t)
		key = "f" + text
	}
	i, ok := b.index[key]
	if !ok {
		i = int32(len(b.f.lits)) //nolint:gosec // a few thousand literals
		b.index[key] = i
		b.f.lits = append(b.f.lits, literal{text: text, fold: fold})
	}
	for k := range next {
		b.f.lits[i].next[k] |= next[k]
	}
	if l := &b.f.lits[i]; !slices.Contains(l.owner, o) {
		l.owner = append(l.owner, o)
	}
}

// build lays the tables out.
func (b *builder) build() *filter { //nolint:gocognit // one case per length
	f := b.f
	for i := range f.lits {
		lit := int32(i)
		text := f.lits[i].text
		switch {
		case len(text) < 3:
			f.short = append(f.short, lit)
			f.first[text[0]] = 1
			if f.lits[i].fold && text[0]-'a' < 26 {
				f.first[text[0]&^0x20] = 1
			}
		case len(text) == 3:
			for c := range 256 { // the fourth byte is what follows, or whatever comes before
				if f.lits[i].next.has(byte(c)) || c == 0 {
					f.enter(text+string([]byte{byte(c)}), 0, lit)
				}
				f.enter(string([]byte{byte(c)})+text, -1, lit)
			}
		case len(text) == 4:
			f.enter(text, 0, lit)
			for c := range 256 { // the fifth byte is what follows
				if f.lits[i].next.has(byte(c)) || c == 0 {
					f.enter(text[1:]+string([]byte{byte(c)}), 1, lit)
				}
			}
		default:
			best, low := 0, int(^uint(0)>>1)
			for at := 0; at+5 <= min(len(text), 64); at++ {
				if w := commonness(text[at : at+5]); w < low {
					best, low = at, w
				}
			}
			f.enter(text[best:best+4], best, lit)
			f.enter(text[best+1:best+5], best+1, lit)
		}
	}
	f.layOut()
	return f
}

// layOut sorts what was entered, so that each hash finds its own.
func (f *filter) layOut() {
	slices.SortFunc(f.grams, func(a, b gram) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.lit, b.lit), cmp.Compare(a.off, b.off))
	})
	f.grams = slices.Compact(f.grams)
	for _, g := range f.grams {
		f.heads[g.hash>>(hashBits-headBits)+1]++
	}
	for i := range 1 << headBits {
		f.heads[i+1] += f.heads[i]
	}
	f.quick = make([]eight, len(f.lits))
	for i := range f.lits {
		var text, mask [8]byte
		n := copy(text[:], f.lits[i].text)
		for k := range n {
			mask[k] = foldMask & 0xFF
		}
		m := binary.LittleEndian.Uint64(mask[:])
		f.quick[i] = eight{binary.LittleEndian.Uint64(text[:]) & m, m}
	}
}

func (f *filter) enter(four string, off int, lit int32) {
	h := hash4(binary.LittleEndian.Uint32([]byte(four[:4])))
	f.bits[h>>5] |= 1 << (h & 31)
	f.grams = append(f.grams, gram{h, lit, int8(off)}) //nolint:gosec // off is below 64
}

// commonness estimates how often such bytes occur in English and code.
func commonness(s string) int {
	const weight = "zqxjkvbpygfwmucldrhsnioate" // rare to common
	n := 0
	for i := range len(s) {
		c := lower(s[i])
		switch {
		case c == ' ':
			n += 24
		case c-'a' < 26:
			for j := range len(weight) {
				if weight[j] == c {
					n += j
				}
			}
		case c == '_' || c == '-' || c == '/' || c == '=':
			n += 12
		default:
			n += 6
		}
	}
	for i := range len(frequent) / 3 {
		if strings.Contains(strings.ToLower(s), frequent[3*i:3*i+3]) {
			n += 30
		}
	}
	return n
}

// frequent are groups of three letters that English and code are full of.
const frequent = "theingionandentfortioereherateverterthaatihatershisresillareconnceallevithtedmenproomeoreonechaeadretnesstainteresturnarsuncenetndstrrinestfunameoutereackendhanangersheapponsionindamerintereaypeoreporpreperlinlaydatatarecordordaceact"

// scan calls hit for each literal's occurrence that begins at or after 0; it
// stops when hit says so.
func (f *filter) scan(text []byte, hit func(lit int32, at int) bool) {
	n := len(text)
	at := 0
	var noted notes
	for at+10 <= n {
		end := min(n-2, at+stretch)
		part := text[at : end+2]
		for _, k := range noted.places[:f.places(part, &noted, f.sieve(part, &noted))] {
			k := at + int(k)
			if h := hash4(binary.LittleEndian.Uint32(text[k:])); !f.check(text, k, h, hit) {
				return
			}
		}
		at += (end - at) &^ 7
	}
	for ; at+1 < n; at += 2 { // the rest, as if zero bytes followed
		var four [4]byte
		copy(four[:], text[at:])
		if h := hash4(binary.LittleEndian.Uint32(four[:])); f.bit(h) != 0 && !f.check(text, at, h, hit) {
			return
		}
	}
	if len(f.short) > 0 {
		f.scanShort(text, hit)
	}
}

// notes is where a stretch has to be looked at: blocks of eight bytes, and the
// places in them.
type notes struct {
	blocks [stretch / 8]uint16
	places [stretch / 2]uint16
}

// bit is 1 if four bytes of a literal may have a hash.
func (f *filter) bit(h uint32) uint32 { return f.bits[h>>5] >> (h & 31) & 1 }

// sieve notes the blocks of eight bytes in which a literal's four may begin,
// and says how many. The last two bytes of the text belong to the block before.
func (f *filter) sieve(text []byte, noted *notes) (n int) {
	blocks := &noted.blocks
	for i := 0; len(text) >= 10; i++ {
		w := binary.LittleEndian.Uint64(text) & (foldMask<<32 | foldMask)
		t := binary.LittleEndian.Uint32(text[6:10]) & foldMask
		h0 := uint32(w) * hashMul >> (32 - hashBits)     //nolint:gosec // the low half is meant
		h1 := uint32(w>>16) * hashMul >> (32 - hashBits) //nolint:gosec // the middle is meant
		h2 := uint32(w>>32) * hashMul >> (32 - hashBits)
		h3 := t * hashMul >> (32 - hashBits)
		b := f.bits[h0>>5]>>(h0&31) | f.bits[h1>>5]>>(h1&31) | f.bits[h2>>5]>>(h2&31) | f.bits[h3>>5]>>(h3&31)
		blocks[n&(len(blocks)-1)] = uint16(i)
		n += int(b & 1)
		text = text[8:]
	}
	return n
}

// places looks at the four places of each of n blocks, notes those that matter
// and says how many.
func (f *filter) places(text []byte, noted *notes, n int) (m int) {
	places := &noted.places
	note := func(at int, four uint32) {
		places[m&(len(places)-1)] = uint16(at) //nolint:gosec // below the stretch
		m += int(f.bit(hash4(four)))
	}
	for _, b := range noted.blocks[:n] {
		at := 8 * int(b)
		part := text[at : at+10 : at+10]
		w := binary.LittleEndian.Uint64(part)
		note(at, uint32(w))       //nolint:gosec // four bytes of eight
		note(at+2, uint32(w>>16)) //nolint:gosec // four bytes of eight
		note(at+4, uint32(w>>32))
		note(at+6, binary.LittleEndian.Uint32(part[6:]))
	}
	return m
}

// check asks the literals that have four such bytes.
func (f *filter) check(text []byte, at int, h uint32, hit func(lit int32, at int) bool) bool {
	head := h >> (hashBits - headBits)
	for _, e := range f.grams[f.heads[head]:f.heads[head+1]] {
		start := at - int(e.off)
		if e.hash != h || start < 0 {
			continue
		}
		if start+8 <= len(text) {
			if q := &f.quick[e.lit]; binary.LittleEndian.Uint64(text[start:])&q.mask != q.text {
				continue
			}
		}
		if f.lits[e.lit].at(text, start) && !hit(e.lit, start) {
			return false
		}
	}
	return true
}

func (f *filter) scanShort(text []byte, hit func(lit int32, at int) bool) {
	for i, c := range text {
		if f.first[c] == 0 {
			continue
		}
		for _, l := range f.short {
			if f.lits[l].at(text, i) && !hit(l, i) {
				return
			}
		}
	}
}

// at reports whether the literal stands at a place.
func (l *literal) at(text []byte, start int) bool {
	if start < 0 || start+len(l.text) > len(text) {
		return false
	}
	t := text[start : start+len(l.text)]
	if !l.fold {
		return string(t) == l.text
	}
	for i := range len(l.text) {
		if lower(t[i]) != l.text[i] {
			return false
		}
	}
	return true
}
