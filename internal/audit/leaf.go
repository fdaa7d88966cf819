package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/action"
)

// LeafVersion names the encoding of an entry.
const LeafVersion = "sallyport/leaf/v1"

// SaltSize is the length of a commitment's salt in bytes.
const SaltSize = 16

// timeForm is the fixed-width form of an entry's time, UTC, microseconds.
const timeForm = "2006-01-02T15:04:05.000000Z"

// Bounds of an entry, so that a parser never has to trust one.
const (
	maxText  = 128 // bytes of one text field
	maxRules = 64
	maxNames = 16
	maxExact = 1 << 53
)

// Commitment is a salted SHA-256 commitment to a value kept outside the log.
type Commitment = [sha256.Size]byte

// Commit computes the commitment to a named value. Without the salt, 16 random
// bytes that are erased with the value, it tells nothing about the value.
func Commit(name string, salt, value []byte) Commitment {
	var room [1024]byte // most values fit
	b := append(append(append(room[:0], "sallyport/commit/v1\x00"...), name...), 0)
	return sha256.Sum256(append(append(b, salt...), value...))
}

// Leaf is one entry of the log.
type Leaf struct {
	Seq      int64     // position in the log, from 0
	Time     time.Time // UTC, microseconds
	Kind     string    // intent, outcome, deny, event …
	Agent    string    // pseudonym, empty for the operator
	Session  string    // pseudonym, empty for none
	Decision string    // allow, ask, deny; empty where nothing was decided
	Rules    []string  // ids of the rules that decided
	Label    string    // label of the result
	Commit   map[string]Commitment
}

// Bytes gives the entry's one encoding: canonical JSON with every field
// present. A text that is too long or holds anything but printable ASCII
// without quote and backslash is an error; Text makes one that fits.
func (l Leaf) Bytes() ([]byte, error) {
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("audit.leaf: %w", err)
	}
	b := make([]byte, 0, 384+len(l.Commit)*80)
	b = append(b, `{"agent":"`...)
	b = append(append(b, l.Agent...), `","commit":{`...)
	var room [maxNames]string // check bounds them
	names := slices.AppendSeq(room[:0], maps.Keys(l.Commit))
	slices.Sort(names)
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		c := l.Commit[name]
		b = append(append(append(b, '"'), name...), `":"`...)
		b = append(hex.AppendEncode(b, c[:]), '"')
	}
	b = append(append(b, `},"decision":"`...), l.Decision...)
	b = append(append(b, `","kind":"`...), l.Kind...)
	b = append(append(b, `","label":"`...), l.Label...)
	b = append(b, `","rules":[`...)
	for i, r := range l.Rules {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), r...), '"')
	}
	b = strconv.AppendInt(append(b, `],"seq":`...), l.Seq, 10)
	b = append(append(b, `,"session":"`...), l.Session...)
	b = l.Time.UTC().AppendFormat(append(b, `","time":"`...), timeForm)
	return append(b, `","v":"`+LeafVersion+`"}`...), nil
}

func (l Leaf) check() error {
	if l.Seq < 0 || l.Seq >= maxExact {
		return fmt.Errorf("sequence %d is out of range", l.Seq)
	}
	if y := l.Time.UTC().Year(); y < 1970 || y > 9999 {
		return fmt.Errorf("year %d is out of range", y)
	}
	if l.Kind == "" {
		return errors.New("kind is empty")
	}
	if len(l.Rules) > maxRules || len(l.Commit) > maxNames {
		return fmt.Errorf("more than %d rules or %d commitments", maxRules, maxNames)
	}
	for _, s := range [...]string{l.Kind, l.Agent, l.Session, l.Decision, l.Label} {
		if !plain(s) {
			return fmt.Errorf("text %.40q is not plain", s)
		}
	}
	for _, s := range l.Rules {
		if !plain(s) {
			return fmt.Errorf("rule %.40q is not plain", s)
		}
	}
	for s := range l.Commit {
		if s == "" || !plain(s) {
			return fmt.Errorf("name %.40q is not plain", s)
		}
	}
	return nil
}

// plain reports whether a text needs no escape in JSON and is short. Leaving
// escapes out gives every entry one encoding and a parser that is fast.
func plain(s string) bool {
	if len(s) > maxText {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// Text makes a text fit for an entry: other bytes become "_", what is longer
// than 128 bytes is cut.
func Text(s string) string {
	if plain(s) {
		return s
	}
	s = s[:min(len(s), maxText)]
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return '_'
		}
		return r
	}, s)
}

// ParseLeaf reads an entry. It accepts exactly what Bytes writes and nothing
// else: no other order, spacing, escape, missing or additional field.
func ParseLeaf(data []byte) (Leaf, error) { return parseLeaf(data, false) }

// parseLeaf checks an entry in full; when skimming it builds only sequence and
// time, which is all that a verification without values needs.
func parseLeaf(data []byte, skim bool) (Leaf, error) {
	r := reader{rest: data, skim: skim}
	l := Leaf{}
	r.lit(`{"agent":"`)
	l.Agent = r.text()
	r.lit(`,"commit":{`)
	l.Commit = r.commits()
	r.lit(`,"decision":"`)
	l.Decision = r.text()
	r.lit(`,"kind":"`)
	l.Kind = r.text()
	r.kinds = r.length
	r.lit(`,"label":"`)
	l.Label = r.text()
	r.lit(`,"rules":[`)
	l.Rules = r.texts()
	r.lit(`,"seq":`)
	l.Seq = r.int()
	r.lit(`,"session":"`)
	l.Session = r.text()
	r.lit(`,"time":"`)
	l.Time = r.time()
	r.lit(`,"v":"` + LeafVersion + `"}`)
	if r.err == nil && len(r.rest) > 0 {
		r.fail("bytes after the entry")
	}
	if r.err == nil && (l.Seq >= maxExact || r.kinds == 0) {
		r.fail("sequence or kind out of range")
	}
	if r.err != nil {
		return Leaf{}, fmt.Errorf("audit.parseLeaf: %w", r.err)
	}
	return l, nil
}

// reader is a cursor over canonical bytes; after an error it does nothing.
type reader struct {
	rest   []byte
	err    error
	skim   bool // make no values
	length int  // of the text read last
	kinds  int  // length of the kind
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s before %.20q", what, r.rest)
		r.rest = nil
	}
}

func (r *reader) lit(s string) {
	if r.err == nil && !r.skip(s) {
		r.fail("expected " + strconv.Quote(s))
	}
}

func (r *reader) skip(s string) bool {
	if len(r.rest) < len(s) || string(r.rest[:len(s)]) != s {
		return false
	}
	r.rest = r.rest[len(s):]
	return true
}

// text reads up to and including the closing quote.
func (r *reader) text() string {
	s := r.raw()
	if r.skim {
		return ""
	}
	return string(s)
}

func (r *reader) raw() []byte {
	for i, c := range r.rest {
		if c == '"' {
			s := r.rest[:i]
			r.rest, r.length = r.rest[i+1:], i
			return s
		}
		if c < 0x20 || c > 0x7e || c == '\\' || i == maxText {
			break
		}
	}
	r.fail("text without end or not plain")
	r.length = 0
	return nil
}

func (r *reader) texts() []string {
	var out []string
	for n := 0; r.err == nil && !r.skip("]"); n++ {
		if n > 0 {
			r.lit(",")
		}
		r.lit(`"`)
		s := r.raw()
		if !r.skim {
			out = append(out, string(s))
		}
		if n >= maxRules {
			r.fail("too many rules")
		}
	}
	return out
}

func (r *reader) commits() map[string]Commitment {
	var out map[string]Commitment
	var last []byte
	for n := 0; r.err == nil && !r.skip("}"); n++ {
		if n > 0 {
			r.lit(",")
		}
		r.lit(`"`)
		name := r.raw()
		r.lit(`:"`)
		c, ok := r.hash()
		if !ok || bytes.Compare(name, last) <= 0 || n >= maxNames {
			r.fail("commitments out of order or not hex")
			return nil
		}
		last = name
		if r.skim {
			continue
		}
		if out == nil {
			out = make(map[string]Commitment, 2)
		}
		out[string(name)] = c
	}
	return out
}

// hash reads 64 lower-case hex digits and the closing quote.
func (r *reader) hash() (c Commitment, ok bool) {
	const n = 2 * sha256.Size
	if len(r.rest) <= n || r.rest[n] != '"' {
		return c, false
	}
	var wrong byte
	for i := range c {
		high, low := hexValue[r.rest[2*i]], hexValue[r.rest[2*i+1]]
		wrong |= high | low
		c[i] = high<<4 | low
	}
	if wrong > 0x0f {
		return Commitment{}, false
	}
	r.rest = r.rest[n+1:]
	return c, true
}

// hexValue maps lower-case hex digits to their values and all else to 0xf0.
var hexValue = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xf0
	}
	for i, c := range []byte("0123456789abcdef") {
		t[c] = byte(i)
	}
	return t
}()

func (r *reader) int() int64 {
	i := 0
	for i < len(r.rest) && r.rest[i] >= '0' && r.rest[i] <= '9' {
		i++
	}
	n, err := strconv.ParseInt(string(r.rest[:i]), 10, 64)
	if err != nil || (i > 1 && r.rest[0] == '0') {
		r.fail("no sequence number")
		return 0
	}
	r.rest = r.rest[i:]
	return n
}

// time reads a time in its fixed form and the closing quote.
func (r *reader) time() time.Time {
	s := r.raw()
	var v [7]int // year, month, day, hour, minute, second, microsecond
	ok := len(s) == len(timeForm)
	for i, field := 0, 0; ok && i < len(timeForm); i++ {
		switch want := timeForm[i]; {
		case want >= '0' && want <= '9':
			ok = s[i] >= '0' && s[i] <= '9'
			v[field] = v[field]*10 + int(s[i]-'0')
		default:
			ok = s[i] == want
			field++
		}
	}
	if ok {
		// Date normalises what is out of range, which then reads otherwise.
		t := time.Date(v[0], time.Month(v[1]), v[2], v[3], v[4], v[5], v[6]*1000, time.UTC)
		y, m, d := t.Date()
		if y == v[0] && int(m) == v[1] && d == v[2] && v[3] < 24 && v[4] < 60 && v[5] < 60 && y >= 1970 {
			return t
		}
	}
	r.fail("no time")
	return time.Time{}
}

// canonical is the entry as action.Canonical sees it; tests hold Bytes to it.
func (l Leaf) canonical() ([]byte, error) {
	commit := map[string]any{}
	for k, v := range l.Commit {
		commit[k] = hex.EncodeToString(v[:])
	}
	return action.Canonical(map[string]any{
		"agent": l.Agent, "commit": commit, "decision": l.Decision, "kind": l.Kind, "label": l.Label,
		"rules": append([]string{}, l.Rules...), "seq": l.Seq, "session": l.Session,
		"time": l.Time.UTC().Format(timeForm), "v": LeafVersion,
	})
}
