package scan

import (
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

//go:embed rules/secrets.txt
var secretRules string

//go:embed rules/context.txt
var contextRules string

// tokenRule is a secret that its own form gives away.
type tokenRule struct {
	rule    int32
	pattern *pattern
	entropy float64 // bits per byte behind the anchor, at least
	mixed   bool    // letters and digits must both occur
	check   func([]byte) bool
}

// contextRule is a secret that is known by the words before it.
type contextRule struct {
	rule     int32
	patterns []*pattern
	within   int
	entropy  float64
	mixed    bool
	near     bool // a word for a secret must stand between
	named    bool // the value is judged by its look, see assign.go
	seed     bool // it is a wallet's seed, see wallet.go
	check    func([]byte) bool
	least    int // bytes of the shortest form
	all      set // bytes of any form
}

// addShapes reads the rule files.
func (e *Engine) addShapes(b *builder) error {
	var errs []error
	for n, line := range lines(secretRules) {
		if err := e.addShape(b, line); err != nil {
			errs = append(errs, fmt.Errorf("rules/secrets.txt: rule %d: %w", n+1, err))
		}
	}
	for n, line := range lines(contextRules) {
		if err := e.addContext(b, line); err != nil {
			errs = append(errs, fmt.Errorf("rules/context.txt: rule %d: %w", n+1, err))
		}
	}
	return errors.Join(errs...)
}

func lines(file string) [][]string {
	var out [][]string
	for line := range strings.SplitSeq(file, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, " ; ")
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		out = append(out, fields)
	}
	return out
}

// settings are the last field of a rule: words like block, mixed, entropy=3.
type settings struct {
	block, mixed, near, named, seed bool
	entropy                         float64
	within                          int
	severity                        int
	confidence                      float64
	check                           func([]byte) bool
}

func parseSettings(text string) (settings, error) {
	s := settings{severity: High, confidence: 0.9, within: 48}
	for word := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "block":
			s.block = true
		case "mixed":
			s.mixed = true
		case "near":
			s.near = true
		case "named":
			s.named = true
		case "seed":
			s.seed = true
		case "medium":
			s.severity = Medium
		case "public": // not a secret by itself: a name, a publishable key
			s.severity, s.confidence = Low, 0.8
		case "critical":
			s.severity = Critical
		case "entropy":
			s.entropy, err = strconv.ParseFloat(value, 64)
		case "conf":
			s.confidence, err = strconv.ParseFloat(value, 64)
		case "within":
			s.within, err = strconv.Atoi(value)
		case "check":
			if s.check = checks[value]; s.check == nil {
				return s, fmt.Errorf("no check %q", value)
			}
		default:
			return s, fmt.Errorf("no setting %q", word)
		}
		if err != nil {
			return s, fmt.Errorf("%s: %w", word, err)
		}
	}
	return s, nil
}

// addShape reads "id ; title ; form ; settings ; source".
func (e *Engine) addShape(b *builder, f []string) error {
	if len(f) != 5 || f[4] == "" {
		return fmt.Errorf("%q: five fields are due", f)
	}
	set, err := parseSettings(f[3])
	if err != nil {
		return fmt.Errorf("%s: %w", f[0], err)
	}
	patterns, err := parsePattern(f[2])
	if err != nil {
		return fmt.Errorf("%s: %w", f[0], err)
	}
	id := "secret." + f[0]
	if _, twice := e.byID[id]; twice {
		return fmt.Errorf("%s: twice", id)
	}
	rule := e.rule(Rule{id, f[1], set.severity, set.confidence, set.block, f[4]})
	for _, p := range patterns {
		if p.to-p.from < 3 {
			return fmt.Errorf("%s: the longest literal, %q, is too short to look for", id, p.anchor())
		}
		e.tokens = append(e.tokens, tokenRule{rule, p, set.entropy, set.mixed, set.check})
		next := &everything
		if p.to < len(p.elems) && p.elems[p.to].min > 0 {
			next = &p.elems[p.to].set
		}
		b.follow(p.anchor(), p.fold, owner{ownToken, int32(len(e.tokens) - 1)}, next) //nolint:gosec // an index
	}
	return nil
}

// addContext reads "id ; title ; word, word ; form | form ; settings ; source".
// In a word, \s is a space that belongs to it.
func (e *Engine) addContext(b *builder, f []string) error {
	if len(f) != 6 || f[5] == "" {
		return fmt.Errorf("%q: six fields are due", f)
	}
	set, err := parseSettings(f[4])
	if err != nil {
		return fmt.Errorf("%s: %w", f[0], err)
	}
	if !strings.Contains(f[4], "conf=") {
		set.confidence = 0.6
	}
	id := "secret." + f[0]
	if _, twice := e.byID[id]; twice {
		return fmt.Errorf("%s: twice", id)
	}
	c := contextRule{
		rule:   e.rule(Rule{id, f[1], set.severity, set.confidence, set.block, f[5]}),
		within: set.within, entropy: set.entropy, mixed: set.mixed, near: set.near, named: set.named, seed: set.seed, check: set.check,
	}
	for form := range strings.SplitSeq(f[3], " | ") {
		ps, err := parsePattern(strings.TrimSpace(form))
		if err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		c.patterns = append(c.patterns, ps...)
	}
	c.survey()
	e.contexts = append(e.contexts, c)
	for word := range strings.SplitSeq(f[2], ",") {
		word = strings.ReplaceAll(strings.TrimSpace(word), `\s`, " ")
		next := &everything
		if len(word) == 3 {
			next = &noLetter // a plural or another word would follow
		}
		b.follow(word, true, owner{ownContext, int32(len(e.contexts) - 1)}, next) //nolint:gosec // an index
	}
	return nil
}

// token judges the text around an anchor.
func (s *Scanner) token(v *view, t *tokenRule, at int) {
	start, end, ok := t.pattern.match(v.text, at)
	if !s.spend(2*(end-start)+16) || !ok || !t.pattern.bounded(v.text, start, end) {
		return
	}
	if tail := variable(t.pattern, v.text[start:end]); !strong(tail, t.entropy, t.mixed) {
		return
	}
	if t.check != nil && !t.check(v.text[start:end]) {
		return
	}
	s.emit(v, t.rule, start, end, "")
}

// variable gives a match without the literals it begins with.
func variable(p *pattern, match []byte) []byte {
	n := 0
	for n < len(p.elems) && p.elems[n].lit != 0 {
		n++
	}
	if n >= len(match) {
		return match
	}
	return match[n:]
}

// strong reports that bytes look random and not like an example.
func strong(b []byte, least float64, mixed bool) bool {
	if mixed && !hasBoth(b) {
		return false
	}
	if least > 0 {
		if len(b) > 256 {
			b = b[:256]
		}
		return entropy(b) >= least
	}
	return true
}

func hasBoth(b []byte) bool {
	letter, digit := false, false
	for _, c := range b {
		letter = letter || c|0x20-'a' < 26
		digit = digit || c-'0' < 10
	}
	return letter && digit
}

// survey sums up what the forms have in common.
func (c *contextRule) survey() {
	c.least = longest
	for _, p := range c.patterns {
		n := 0
		for _, e := range p.elems {
			n += e.min
			for i := range c.all {
				c.all[i] |= e.set[i]
			}
		}
		c.least = min(c.least, n)
	}
}

// context looks behind a word for what it announces.
func (s *Scanner) context(v *view, c *contextRule, at, end int) {
	text := v.text
	if at > 0 && text[at]-'a' < 26 && text[at-1]-'a' < 26 && (!c.named || end-at < 6) {
		return // inside another lower-case word; what names a secret by itself may end a longer one
	}
	if c.seed {
		s.seed(v, c.rule, end)
		return
	}
	if c.named {
		if end-at > 3 || end < len(text) && text[end]|0x20-'a' > 25 { // "key" alone is no head of another word
			s.named(v, c, at, end)
		}
		return
	}
	limit := min(len(text)-c.least+1, end+c.within)
	for i := end; i < limit; {
		// The last byte that no form has says where to look next.
		k := i + c.least - 1
		for k >= i && c.all.has(text[k]) {
			k--
		}
		if !s.spend(2 + (i+c.least-1-k)/2) {
			return
		}
		if k >= i {
			i = k + 1
			continue
		}
		if (i == end || !isAlnum(text[i-1]) || escapedBefore(text, i)) && s.announced(v, c, at, end, i) {
			return
		}
		i++
	}
}

// announced tries the forms at one place.
func (s *Scanner) announced(v *view, c *contextRule, at, end, i int) bool {
	text := v.text
	for _, p := range c.patterns {
		to, ok := p.forward(text, i, 0)
		if !s.spend(4 + (to-i)/2) {
			return true
		}
		if !ok || !p.bounded(text, i, to) || placeholder(text[i:to]) || !strong(text[i:to], c.entropy, c.mixed) {
			continue
		}
		if c.check != nil && !c.check(text[i:to]) {
			continue
		}
		if !s.spend(300) || c.near && !hints(text[at:min(i, end+c.within)]) && !handed(text[end:i], text[i:to]) {
			return true
		}
		s.emit(v, c.rule, i, to, "")
		return true
	}
	return false
}

// handed reports that nothing but a separator stands between a vendor's name
// and a value drawn by lot. A row of hexadecimal digits behind a space may be
// a commit's name.
func handed(between, value []byte) bool {
	assigned := false
	for _, c := range between {
		assigned = assigned || c == '=' || c == ':'
		if strings.IndexByte(" =:\"'_-", c) < 0 {
			return false
		}
	}
	return len(between) <= 4 && len(value) >= 20 && drawn(value, true, false) && (assigned || !kindsOf(value).hex)
}

// hints reports that a text holds a word for a secret.
func hints(text []byte) bool {
	for _, w := range [...]string{"key", "token", "secret", "pass", "pwd", "auth", "api", "access", "private", "cred", "pat"} {
		for i := 0; i+len(w) <= len(text); i++ {
			l := literal{text: w, fold: true}
			if l.at(text, i) {
				return true
			}
		}
	}
	return false
}

// placeholder reports that a value stands for one: your-key-here, xxxx, ${VAR}.
func placeholder(b []byte) bool {
	same := true
	for i := range b {
		same = same && b[i] == b[0]
	}
	if same {
		return true
	}
	low := strings.ToLower(string(b[:min(len(b), 64)]))
	for _, w := range [...]string{"example", "your", "placeholder", "changeme", "change_me", "xxxx", "****", "....", "<", "${", "{{", "process.env", "os.environ", "getenv", "redacted", "dummy", "undefined"} {
		if strings.Contains(low, w) {
			return true
		}
	}
	return false
}
