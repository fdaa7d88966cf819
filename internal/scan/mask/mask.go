// Package mask hides in texts and values what must not be stored: secrets, what
// the operator's patterns find, and the built-in identifiers the operator names.
//
// Invariants: pure and deterministic; a Masker is immutable and safe for
// concurrent use; masking twice is masking once; types and nesting stay as they
// are; secrets are hidden even without a pattern; what could not be read wholly
// is hidden, not kept; a text grows to at most 4 times its length and 1 KiB.
// What is hidden leaves a mark of its kind, so that people can tell what was
// there: what a pattern's replacement says, or [secret.github-pat], or of cards
// and accounts the last four characters, [pii.card 1111].
//
// It imports scan and the vocabulary. App and what stores events may import it.
package mask

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"sallyport/internal/fault"
	"sallyport/internal/scan"
)

// Options are what is hidden beside the operator's patterns.
type Options struct {
	// Builtin names classes of built-in rules, or single rules: pii, pii.card,
	// pii.email and so on. The class secret is always among them.
	Builtin []string
	// Secrets are values that are hidden wherever they stand, in any coding.
	Secrets []scan.Secret
}

// The marks of what was not read, and of a text that no masking settles.
const (
	unreadMark = "[unread]"
	wholeMark  = "[masked]"
)

const (
	maxRounds = 12      // of masking one text until nothing changes
	maxJSON   = 4       // documents in strings of documents
	maxDepth  = 64      // nested lists and maps
	shortest  = 8       // bytes of a secret
	splitting = 2 << 10 // a part not read that is no longer than this is hidden whole
)

// Masker hides what must not be stored.
type Masker struct {
	patterns []*pattern
	filter   filter
	engine   *scan.Engine // secrets, and identifiers if any are named
	cards    *scan.Engine // for numbers
	kinds    map[string]bool
	pii      bool
	whole    string // wholeMark, as it is once masked
	scanners sync.Pool
}

// New compiles a masker. An error (fault.Config) names the pattern or the
// built-in rule that is wrong. Patterns are applied in their order, each on what
// the one before left.
func New(patterns []Pattern, o Options) (*Masker, error) {
	m := &Masker{kinds: map[string]bool{}, whole: wholeMark}
	if len(patterns) > maxPatterns {
		return nil, fault.New("mask.new", fault.Config, "%d masking patterns are listed; join some, at most %d are possible", len(patterns), maxPatterns)
	}
	for _, p := range patterns {
		c, err := compile(p)
		if err != nil {
			return nil, err
		}
		c.bits = newFilter([]*pattern{c})
		m.patterns = append(m.patterns, c)
	}
	m.filter = newFilter(m.patterns)
	if err := m.builtin(o); err != nil {
		return nil, err
	}
	for range maxRounds {
		next := m.step(m.whole, 0)
		if next == m.whole {
			return m, nil
		}
		m.whole = next
	}
	return nil, fault.New("mask.new", fault.Config, "the masking patterns find their own replacements again and again; change one of %s", namesOf(m.patterns))
}

func namesOf(list []*pattern) string {
	var out []string
	for _, p := range list {
		out = append(out, p.name)
	}
	return strings.Join(out, ", ")
}

// builtin compiles the engines.
func (m *Masker) builtin(o Options) error {
	full, err := scan.Compile(scan.Options{Classes: []string{"secret", "pii"}, Secrets: o.Secrets})
	if err != nil {
		return err
	}
	matched := map[string]bool{"secret": true}
	for _, r := range full.Rules() {
		class, _, _ := strings.Cut(r.ID, ".")
		if class != "secret" && class != "pii" {
			continue
		}
		for _, name := range append([]string{"secret"}, o.Builtin...) {
			if name == class || name == r.ID {
				m.kinds[r.ID], matched[name] = true, true
				m.pii = m.pii || class == "pii"
			}
		}
	}
	for _, name := range o.Builtin {
		if !matched[name] {
			return fault.New("mask.new", fault.Config, "there is no built-in rule %q to mask; name pii, pii.card, pii.iban, pii.email, pii.phone, pii.us-ssn or another of the rules that sallyport scan lists", name)
		}
	}
	m.engine = full
	if !m.pii {
		if m.engine, err = scan.Compile(scan.Options{Classes: []string{"secret"}, Secrets: o.Secrets}); err != nil {
			return err
		}
	}
	m.cards = full
	m.scanners.New = func() any { return m.engine.NewScanner() }
	return nil
}

// String hides what a text holds. A text that is a document of JSON stays one:
// its strings and numbers are masked each by itself, and so are documents in its
// strings.
func (m *Masker) String(s string) string { return m.text(s, 0) }

func (m *Masker) text(s string, depth int) string {
	limit := 4*len(s) + 1<<10
	for range maxRounds {
		next := m.step(s, depth)
		if next == s {
			return s
		}
		if s = next; len(s) > limit {
			return m.whole
		}
	}
	return m.whole
}

// step is one round: secrets, patterns, identifiers.
func (m *Masker) step(s string, depth int) string {
	document := depth < maxJSON && isDocument(s)
	if document {
		s = m.document(s, depth)
	}
	s = m.found(s, "secret")
	if hits := m.filter.hits(s); hits != 0 {
		for i, p := range m.patterns {
			// A pattern that had no needle may have one in what another wrote;
			// the next round sees it.
			if hits>>i&1 == 0 {
				continue
			}
			if next := p.apply(s); !document || json.Valid([]byte(next)) {
				s = next
			}
		}
	}
	if m.pii && !document {
		s = m.found(s, "pii")
	}
	return s
}

// isDocument reports an object or a list of JSON.
func isDocument(s string) bool {
	t := strings.TrimLeft(s, " \t\r\n")
	return t != "" && (t[0] == '{' || t[0] == '[') && json.Valid([]byte(t))
}

// mark is a part that is hidden.
type mark struct {
	from, to   int
	rule       string
	confidence float64
}

// found hides the findings of a class.
func (m *Masker) found(s, class string) string {
	marks := m.marks([]byte(s), class)
	if len(marks) == 0 {
		return s
	}
	slices.SortFunc(marks, func(a, b mark) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	var out strings.Builder
	at := 0
	for i := 0; i < len(marks); {
		k := marks[i]
		for i++; i < len(marks) && marks[i].from < k.to; i++ { // what overlaps is one
			if marks[i].confidence > k.confidence {
				k.rule, k.confidence = marks[i].rule, marks[i].confidence
			}
			k.to = max(k.to, marks[i].to)
		}
		out.WriteString(s[at:k.from])
		out.WriteString(label(k.rule, s[k.from:k.to]))
		at = k.to
	}
	out.WriteString(s[at:])
	return out.String()
}

// label is what stands instead: the kind, and of cards and accounts the end.
func label(rule, text string) string {
	switch rule {
	case unreadMark:
		return unreadMark
	case "pii.card", "pii.iban", "pii.us-ssn":
		var end []byte
		for i := len(text) - 1; i >= 0 && len(end) < 4; i-- {
			if c := text[i]; c-'0' < 10 || c-'A' < 26 {
				end = append(end, c)
			}
		}
		if len(end) == 4 {
			slices.Reverse(end)
			return "[" + rule + " " + string(end) + "]"
		}
	}
	return "[" + rule + "]"
}

// marks scans a text; a part that was not read wholly is read in smaller ones,
// and hidden if that does not help.
func (m *Masker) marks(text []byte, class string) []mark {
	if len(text) == 0 || class == "secret" && len(text) < shortest {
		return nil
	}
	sc := m.scanners.Get().(*scan.Scanner) // the pool holds nothing else
	r := sc.Scan(text)
	var out []mark
	for i := range r.Findings {
		if f := &r.Findings[i]; m.kinds[f.Rule] && strings.HasPrefix(f.Rule, class+".") {
			out = append(out, mark{f.Start, f.End, f.Rule, f.Confidence})
		}
	}
	gaps := slices.Clone(r.Unscanned)
	m.scanners.Put(sc)
	for _, g := range gaps {
		part := text[g.Start:g.End]
		cut := between(part)
		if cut == 0 {
			out = append(out, mark{g.Start, g.End, unreadMark, 1})
			continue
		}
		for _, half := range [2][2]int{{g.Start, g.Start + cut}, {g.Start + cut, g.End}} {
			for _, k := range m.marks(text[half[0]:half[1]], class) {
				k.from, k.to = k.from+half[0], k.to+half[0]
				out = append(out, k)
			}
		}
	}
	return out
}

// between gives a place near the middle where no word is cut, 0 for none.
func between(part []byte) int {
	if len(part) <= splitting {
		return 0
	}
	for i := len(part) / 2; i < len(part)*3/4; i++ {
		if part[i] == ' ' || part[i] == '\n' {
			return i + 1
		}
	}
	return 0
}
