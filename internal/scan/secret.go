package scan

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"strings"

	"sallyport/internal/fault"
)

// Secret is a value that must not pass: a key of the operator's, or a canary
// that nobody has a reason to send.
type Secret struct {
	Name  string // shown in findings; the value never is
	Value string // at least 8 bytes
}

// minSecret is the fewest bytes that do not occur by chance.
const minSecret = 8

// secretForm is one coding of a known secret.
type secretForm struct {
	name string
	how  string
}

// addSecrets enters every coding of every secret.
func (e *Engine) addSecrets(b *builder, secrets []Secret) error {
	if len(secrets) == 0 {
		return nil
	}
	sq := newBuilder()
	for _, s := range secrets {
		if len(s.Value) < minSecret || len(s.Value) > 4096 {
			return fault.New("scan.compile", fault.Config, "the secret %q has %d bytes; from %d to 4096 can be looked for without finding it by chance", s.Name, len(s.Value), minSecret)
		}
		for _, f := range codings(s.Value) {
			i := int32(len(e.secrets)) //nolint:gosec // an index
			e.secrets = append(e.secrets, secretForm{name: s.Name, how: f.how})
			b.add(f.text, f.fold, owner{ownSecret, i})
			if thin := squeezed(f.text); len(thin) >= 12 && f.squeeze {
				sq.add(thin, true, owner{ownSecret, i})
			}
		}
		if p := plainly(s.Value); p != s.Value {
			e.secrets = append(e.secrets, secretForm{name: s.Name})
			b.add(p, true, owner{ownSecret, int32(len(e.secrets) - 1)}) //nolint:gosec // an index
		}
	}
	if len(sq.f.lits) > 0 {
		e.squeezed = sq.build()
	}
	return nil
}

type coding struct {
	how     string
	text    string
	fold    bool
	squeeze bool // also looked for with anything between its characters
}

// codings gives the forms of a value that are looked for. Percent, backslash
// and entity escapes, gzip and mixtures are found by decoding the text.
func codings(value string) []coding {
	raw := []byte(value)
	back := slices.Clone(raw)
	slices.Reverse(back)
	out := []coding{
		{"", value, false, true},
		{"reversed", string(back), false, true},
		{"hex", hex.EncodeToString(raw), true, true},
		{"hex of the reversed", hex.EncodeToString(back), true, false},
		{"rot13", strings.Map(rot13, value), false, true},
		{"decimal", decimals(raw), false, true},
	}
	for _, f := range aligned(raw, 6, base64.StdEncoding.EncodeToString) {
		out = append(out, coding{"base64", f, false, true})
		for _, g := range aligned([]byte(f), 6, base64.StdEncoding.EncodeToString) {
			out = append(out, coding{"base64 of base64", g, false, false})
		}
	}
	for _, f := range aligned(raw, 6, base64.URLEncoding.EncodeToString) {
		out = append(out, coding{"base64url", f, false, false})
	}
	for _, f := range aligned(back, 6, base64.StdEncoding.EncodeToString) {
		out = append(out, coding{"base64 of the reversed", f, false, false})
	}
	for _, f := range aligned(raw, 5, base32.StdEncoding.EncodeToString) {
		out = append(out, coding{"base32", f, true, true})
	}
	for _, f := range aligned(raw, 5, base32.HexEncoding.EncodeToString) {
		out = append(out, coding{"base32hex", f, true, false})
	}
	for i := range out {
		if b := []byte(out[i].text); out[i].how != "" && out[i].how != "reversed" && !out[i].fold && out[i].how != "decimal" {
			slices.Reverse(b)
			out = append(out, coding{out[i].how + ", reversed", string(b), false, false})
		}
	}
	return out
}

// aligned gives the characters of a coding that do not depend on what stands
// before or behind the value, for each place it may begin at.
func aligned(raw []byte, bits int, encode func([]byte) string) []string {
	var out []string
	period := 3
	if bits == 5 {
		period = 5
	}
	for k := range period {
		text := encode(append(make([]byte, k), raw...))
		from, to := (k*8+bits-1)/bits, (k+len(raw))*8/bits
		out = append(out, text[from:to])
	}
	return out
}

func rot13(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z':
		return 'a' + (r-'a'+13)%26
	case r >= 'A' && r <= 'Z':
		return 'A' + (r-'A'+13)%26
	}
	return r
}

func decimals(raw []byte) string {
	var b strings.Builder
	for i, c := range raw {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, c)
	}
	return b.String()
}

// squeezed leaves letters and digits, in lower case.
func squeezed(text string) string {
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		if isAlnum(text[i]) {
			out = append(out, lower(text[i]))
		}
	}
	return string(out)
}

func (s *Scanner) secret(v *view, f *secretForm, at, end int) {
	detail := f.name
	if f.how != "" {
		detail += ", " + f.how
	}
	s.emit(v, s.e.fixed("secret.known"), at, end, detail)
}

// squeeze looks for known secrets with anything but letters and digits between
// their characters: broken lines, separators, quotes, fields.
func (s *Scanner) squeeze(v *view) {
	if !s.spend(len(v.text) * 2) {
		return
	}
	thin := s.thin(v.text)
	f := s.e.squeezed
	f.scan(thin, func(lit int32, at int) bool {
		if !s.spend(64) {
			return false
		}
		l := &f.lits[lit]
		s.secret(v, &s.e.secrets[l.owner[0].index], s.place(v.text, at), s.place(v.text, at+len(l.text)-1)+1)
		return true
	})
}

// thinned is a letter or digit, in lower case, or 0.
var thinned = func() (t [256]uint8) {
	for c := range 256 {
		if isAlnum(byte(c)) {
			t[c] = lower(byte(c))
		}
	}
	return t
}()

// thinMark is how many bytes of a text stand between two notes of how many of
// them were kept.
const thinMark = 64

// thin gives the letters and digits of a text, in lower case.
func (s *Scanner) thin(text []byte) []byte {
	if len(s.fold) < len(text) {
		s.fold = make([]byte, len(text))
		s.kept = make([]int32, len(text)/thinMark+1)
	}
	out, n := s.fold, 0
	for k := 0; len(text) > 0; k++ {
		s.kept[k] = int32(n)
		part := text[:min(thinMark, len(text))]
		for _, c := range part {
			t := thinned[c]
			out[n] = t
			n += int((t + 0x7F) >> 7) // 1 unless it is 0
		}
		text = text[len(part):]
	}
	return out[:n]
}

// place gives where in a text the thin one's byte comes from.
func (s *Scanner) place(text []byte, thin int) int {
	marks := s.kept[:(len(text)+thinMark-1)/thinMark]
	k := sort.Search(len(marks), func(i int) bool { return int(marks[i]) > thin }) - 1
	n := int(marks[k])
	for i := k * thinMark; i < len(text); i++ {
		if thinned[text[i]] == 0 {
			continue
		}
		if n == thin {
			return i
		}
		n++
	}
	return len(text)
}

// Fields reads the values of one message, each by itself and then known
// secrets across them: a secret in pieces is found whatever stands between.
// Spans of findings across fields are those of the values put together.
func (e *Engine) Fields(values ...string) ([]Result, Result) {
	each := make([]Result, len(values))
	sc := e.NewScanner()
	for i, v := range values {
		r := sc.Scan([]byte(v))
		each[i] = Result{slices.Clone(r.Findings), slices.Clone(r.Unscanned), r.Bytes}
	}
	if len(e.secrets) == 0 || len(values) < 2 {
		return each, Result{}
	}
	all := sc.Scan([]byte(strings.Join(values, "")))
	all.Findings = slices.DeleteFunc(slices.Clone(all.Findings), func(f Finding) bool { return f.Rule != "secret.known" })
	return each, Result{all.Findings, slices.Clone(all.Unscanned), all.Bytes}
}
