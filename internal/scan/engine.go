package scan

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sallyport/internal/fault"
)

// Options are the operator's additions to the built-in rules.
type Options struct {
	Keywords []Keyword
	Secrets  []Secret
	// Classes limits the built-in detectors: secret, pii, injection, invisible,
	// terminal, exfil, paths. Nil means all.
	Classes []string
	// Budget is the work per byte of text, in steps of roughly a nanosecond; 0
	// means DefaultBudget.
	Budget int
}

// DefaultBudget is the work per byte when Options name none.
const DefaultBudget = 16

// classes are the names that Options.Classes takes.
var classes = []string{"secret", "pii", "injection", "invisible", "terminal", "exfil", "paths"}

// Engine is a compiled set of rules. It is immutable and safe for concurrent
// use; each reader takes a Scanner of its own.
type Engine struct {
	filter   *filter
	rules    []Rule
	byID     map[string]int32
	tokens   []tokenRule
	contexts []contextRule
	keywords []keywordRule
	secrets  []secretForm
	phrases  []phraseRule
	ids      []idRule
	marks    []markRule
	regexes  []userRegex
	squeezed *filter // known secrets without what may stand between their characters
	on       map[string]bool
	pii      bool // on[pii]
	budget   int
}

type userRegex struct {
	re   *regexp.Regexp
	rule int32
}

// Compile builds an engine of the built-in rules and the operator's own.
func Compile(o Options) (*Engine, error) {
	e := &Engine{byID: map[string]int32{}, on: map[string]bool{}, budget: cmp.Or(o.Budget, DefaultBudget)}
	if o.Budget < 0 {
		return nil, fault.New("scan.compile", fault.Config, "a scan budget of %d steps per byte is negative; leave it out for %d", o.Budget, DefaultBudget)
	}
	on := o.Classes
	if on == nil {
		on = classes
	}
	for _, c := range on {
		if !slices.Contains(classes, c) {
			return nil, fault.New("scan.compile", fault.Config, "there is no detector class %q; classes are %s", c, strings.Join(classes, ", "))
		}
		e.on[c] = true
	}
	e.pii = e.on["pii"]
	b := newBuilder()
	if err := e.builtin(b); err != nil {
		return nil, fault.Wrap("scan.compile", fault.Internal, err)
	}
	if err := e.addKeywords(b, o.Keywords); err != nil {
		return nil, err
	}
	if err := e.addSecrets(b, o.Secrets); err != nil {
		return nil, err
	}
	e.filter = b.build()
	return e, nil
}

// builtin adds the rules of every class that is on.
func (e *Engine) builtin(b *builder) error {
	for _, r := range slices.Concat(fixedRules, callRules) {
		e.rule(r)
	}
	for class, add := range map[string]func(*builder) error{
		"secret": e.addShapes, "pii": e.addIDs, "injection": e.addPhrases, "exfil": e.addMarkup,
	} {
		if e.on[class] {
			if err := add(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// rule registers a rule once.
func (e *Engine) rule(r Rule) int32 {
	if i, ok := e.byID[r.ID]; ok {
		return i
	}
	i := int32(len(e.rules)) //nolint:gosec // a few hundred rules
	e.rules = append(e.rules, r)
	e.byID[r.ID] = i
	return i
}

// Rules gives every rule of the engine, by id.
func (e *Engine) Rules() []Rule {
	out := slices.Clone(e.rules)
	slices.SortFunc(out, func(a, b Rule) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// fixed looks a rule of the engine's own up; a missing one is a defect that
// every test would show.
func (e *Engine) fixed(id string) int32 {
	i, ok := e.byID[id]
	if !ok {
		panic(fmt.Sprintf("scan: no rule %s", id))
	}
	return i
}

// fixedRules are found by code rather than by the rule file.
var fixedRules = []Rule{
	{"secret.known", "a secret that the operator named, in any of its encodings", Critical, 1, true, "exact"},
	{"pii.card", "payment card number", High, 0.95, true, "ISO/IEC 7812: issuer range, length, Luhn"},
	{"pii.iban", "international bank account number", High, 0.99, true, "ISO 13616: country, length, mod 97"},
	{"pii.us-ssn", "US social security number", High, 0.7, false, "SSA: area, group and serial ranges"},
	{"pii.email", "e-mail address", Low, 0.8, false, "RFC 5321: a subset"},
	{"pii.phone", "telephone number", Low, 0.6, false, "ITU E.164, or a word for telephone before it"},
	{"invisible.tags", "text in Unicode tag characters, which nobody sees", High, 0.99, true, "Unicode 16, block Tags"},
	{"invisible.selectors", "data in a row of variation selectors", High, 0.95, true, "Unicode 16, Variation Selectors Supplement"},
	{"invisible.zero-width", "invisible characters inside words", Medium, 0.9, true, "Unicode 16, default ignorable code points"},
	{"invisible.bidi", "controls that change the order in which text is shown", High, 0.9, true, "UAX 9; CVE-2021-42574"},
	{"terminal.escape", "a terminal escape that does more than colour", High, 0.9, true, "ECMA-48; xterm control sequences"},
	{"terminal.colour", "a terminal escape that colours", Note, 0.9, false, "ECMA-48, SGR"},
	{"exfil.image", "an image whose address carries data away when it is shown", High, 0.7, false, "CommonMark; HTML"},
	{"exfil.link", "a link whose address carries data", Medium, 0.5, false, "CommonMark"},
	{"paths.dense", "a listing of many paths, as of a whole home", Low, 0.7, false, "shape"},
}
