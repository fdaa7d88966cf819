// Package price knows what model calls cost: a versioned table with a date and
// a source per row, the exact cost of reported usage, and the upper bound that
// a budget reserves before a call.
//
// Invariants: money is int64 micro-dollars and every rounding goes up, so a
// limit is never exceeded by rounding; MaxCost is never below Cost for any
// usage the request can cause; a model that is not in the table has no price,
// which is an error wherever a limit must hold and never zero.
//
// It imports fault and llm; app, drivers and cli may import it.
package price

import (
	"bytes"
	_ "embed" // the table
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/bits"
	"strings"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/llm"
)

// Rate is a price in micro-dollars per million tokens: $1 per million is
// 1,000,000. The largest is MaxRate.
type Rate int64

// MaxRate is $1,000,000 per million tokens, far above any offer; a larger
// figure is a mistake in a table.
const MaxRate Rate = 1_000_000_000_000

// ParseRate reads dollars per million tokens, for example "0.075", exactly: a
// figure finer than a micro-dollar, a sign or an exponent is an error.
func ParseRate(s string) (Rate, error) {
	whole, frac, _ := strings.Cut(s, ".")
	if whole == "" || len(whole) > 7 || len(frac) > 6 || strings.HasSuffix(s, ".") {
		return 0, fmt.Errorf("price: %q is no amount of dollars with at most 6 decimals", s)
	}
	var n int64
	for _, c := range whole + frac + strings.Repeat("0", 6-len(frac)) {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("price: %q is no amount of dollars with at most 6 decimals", s)
		}
		n = n*10 + int64(c-'0')
	}
	if Rate(n) > MaxRate {
		return 0, fmt.Errorf("price: %q is more than a million dollars", s)
	}
	return Rate(n), nil
}

// Tier replaces the rates of a call whose input, cached tokens included, is
// larger than Tokens. Its rates are never below the base ones.
type Tier struct {
	Tokens                               int64
	Input, Output, CacheRead, CacheWrite Rate
}

// Price is what one model costs. A row without cache rates has them at the
// input rate, which is never too low for reads; writes are dearer than input
// only where a provider lists them, and then the row has them.
type Price struct {
	Provider, Model                      string
	Input, Output, CacheRead, CacheWrite Rate
	Over                                 *Tier  // nil = one price for every size
	AsOf                                 string // date the row was read, YYYY-MM-DD
	Source                               string // the page it was read from
}

// Free reports that the model costs nothing, whatever it does.
func (p Price) Free() bool {
	return p.Input == 0 && p.Output == 0 && p.CacheRead == 0 && p.CacheWrite == 0 && p.Over == nil
}

// at gives the rates for an input of n tokens.
func (p Price) at(n int64) Tier {
	if p.Over != nil && n > p.Over.Tokens {
		return *p.Over
	}
	return Tier{0, p.Input, p.Output, p.CacheRead, p.CacheWrite}
}

// Cost gives micro-dollars for reported usage, rounded up. Negative figures
// count as zero; an amount that does not fit is math.MaxInt64.
func (p Price) Cost(u llm.Usage) int64 {
	in, read, write, out := max(u.Input, 0), max(u.CacheRead, 0), max(u.CacheWrite, 0), max(u.Output, 0)
	r := p.at(addSat(in, read, write))
	var s sum
	s.add(in, r.Input)
	s.add(read, r.CacheRead)
	s.add(write, r.CacheWrite)
	s.add(out, r.Output)
	return s.micros()
}

// MaxCost gives the most that a call can cost: inputBytes as InputBytes counts
// them, and at most maxTokens of output. It takes the dearest way an input
// token can be billed.
func (p Price) MaxCost(inputBytes int64, maxTokens int) int64 {
	in := max(inputBytes, 0)
	r := p.at(in)
	var s sum
	s.add(in, max(r.Input, r.CacheRead, r.CacheWrite))
	s.add(int64(max(maxTokens, 0)), r.Output)
	return s.micros()
}

// Settle gives what a finished call takes from a budget that reserved that many
// micro-dollars for it: the cost of the reported figures, or the reservation
// where none were reported, and the reservation once more for every earlier
// attempt that the provider may charge for. A call that was refused before any
// work costs nothing. With llm.Options.NoRetryUnsettled the result exceeds the
// reservation only if the provider reports more than it was allowed.
func (p Price) Settle(r llm.Response, failed bool, reserved int64) int64 {
	attempts := int64(max(r.Unsettled, 0))
	var n int64
	switch {
	case r.UsageKnown:
		n = p.Cost(r.Usage)
	case !failed:
		n = reserved
	}
	for range attempts {
		n = addSat(n, max(reserved, 0))
	}
	return n
}

// MaxTokensFor gives the largest output bound, at most most, with which a call
// of inputBytes stays within remaining micro-dollars; 0 means that the call
// cannot be paid for.
func (p Price) MaxTokensFor(remaining, inputBytes int64, most int) int {
	if most <= 0 || p.MaxCost(inputBytes, 1) > remaining {
		return 0
	}
	// MaxCost rises with the output, so the largest affordable one is found by
	// halving; that cannot disagree with MaxCost about a rounding.
	lo, hi := 1, most
	for lo < hi {
		mid := lo + (hi-lo+1)/2
		if p.MaxCost(inputBytes, mid) <= remaining {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// Overheads added by InputBytes, in tokens. Chat templates wrap each message in
// a few marks, and providers put an instruction of some hundred tokens before
// tools.
const (
	perCall    = 256
	perMessage = 32
	perTool    = 64
	anyTool    = 1024
)

// InputBytes bounds the input tokens of a request from above. The tokenizers of
// all providers here work on bytes or fall back to them, so a token stands for
// at least one byte of text; what the provider adds around the texts is covered
// by fixed overheads per call, message and tool.
func InputBytes(r llm.Request) int64 {
	n := int64(perCall) + int64(len(r.System))
	for _, m := range r.Messages {
		n += perMessage + int64(len(m.Text))
	}
	for _, t := range r.Tools {
		n += perTool + int64(len(t.Name)+len(t.Description)+len(t.Schema))
	}
	if len(r.Tools) > 0 {
		n += anyTool
	}
	return n
}

// sum adds tokens × rate in 128 bits.
type sum struct {
	hi, lo uint64
	over   bool
}

func (s *sum) add(tokens int64, r Rate) {
	hi, lo := bits.Mul64(uint64(max(tokens, 0)), uint64(max(r, 0)))
	var c uint64
	s.lo, c = bits.Add64(s.lo, lo, 0)
	s.hi, c = bits.Add64(s.hi, hi, c)
	s.over = s.over || c != 0
}

// micros divides by a million, up.
func (s *sum) micros() int64 {
	const million = 1_000_000
	if s.over || s.hi >= million {
		return math.MaxInt64
	}
	q, rest := bits.Div64(s.hi, s.lo, million)
	if rest > 0 {
		q++
	}
	if q > math.MaxInt64 || q == 0 && rest > 0 {
		return math.MaxInt64
	}
	return int64(q)
}

func addSat(v ...int64) int64 {
	var n int64
	for _, x := range v {
		if n > math.MaxInt64-x {
			return math.MaxInt64
		}
		n += x
	}
	return n
}

//go:embed prices.json
var shipped []byte

// Table finds prices by provider and model id. It is immutable.
type Table struct {
	rows    map[[2]string]Price
	version int
}

// Shipped is the table of this release.
func Shipped() (*Table, error) { return Load(bytes.NewReader(shipped)) }

type file struct {
	Version  int    `json:"version"`
	Currency string `json:"currency"`
	Unit     string `json:"unit"`
	Rows     []row  `json:"rows"`
}

type row struct {
	Provider   string   `json:"provider"`
	Model      string   `json:"model"`
	Aliases    []string `json:"aliases"`
	Input      string   `json:"input"`
	Output     string   `json:"output"`
	CacheRead  string   `json:"cache_read"`
	CacheWrite string   `json:"cache_write"`
	Over       *struct {
		Tokens     int64  `json:"tokens"`
		Input      string `json:"input"`
		Output     string `json:"output"`
		CacheRead  string `json:"cache_read"`
		CacheWrite string `json:"cache_write"`
	} `json:"over"`
	AsOf   string `json:"as_of"`
	Source string `json:"source"`
}

// Load reads a table. Rows need a date and a source; a name may appear once;
// "*" as a model is allowed for providers that cost nothing.
func Load(r io.Reader) (*Table, error) {
	var f file
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("price.load: %w", err)
	}
	if f.Version != 1 || f.Currency != "USD" || f.Unit != "per million tokens" {
		return nil, fmt.Errorf("price.load: version %d in %s %s is not understood", f.Version, f.Currency, f.Unit)
	}
	t := &Table{rows: make(map[[2]string]Price, len(f.Rows)), version: f.Version}
	for _, r := range f.Rows {
		p, err := r.price()
		if err != nil {
			return nil, fmt.Errorf("price.load: %s/%s: %w", r.Provider, r.Model, err)
		}
		for _, name := range append([]string{r.Model}, r.Aliases...) {
			k := key(r.Provider, name)
			if _, twice := t.rows[k]; twice || name == "" || r.Provider == "" {
				return nil, fmt.Errorf("price.load: %s/%s is empty or listed twice", r.Provider, name)
			}
			t.rows[k] = p
		}
	}
	return t, nil
}

func (r row) price() (Price, error) {
	p := Price{Provider: r.Provider, Model: r.Model, AsOf: r.AsOf, Source: r.Source}
	base, err := rates(r.Input, r.Output, r.CacheRead, r.CacheWrite)
	if err != nil {
		return Price{}, err
	}
	p.Input, p.Output, p.CacheRead, p.CacheWrite = base.Input, base.Output, base.CacheRead, base.CacheWrite
	if r.Over != nil {
		over, err := rates(r.Over.Input, r.Over.Output, r.Over.CacheRead, r.Over.CacheWrite)
		if err != nil {
			return Price{}, err
		}
		over.Tokens = r.Over.Tokens
		p.Over = &over
	}
	if _, err := time.Parse(time.DateOnly, r.AsOf); err != nil || r.Source == "" {
		return Price{}, fmt.Errorf("the row has no date or no source")
	}
	return p, p.check()
}

// check keeps MaxCost an upper bound: a larger input must never be cheaper.
func (p Price) check() error {
	if o := p.Over; o != nil && (o.Tokens <= 0 || o.Input < p.Input || o.Output < p.Output || o.CacheRead < p.CacheRead || o.CacheWrite < p.CacheWrite) {
		return fmt.Errorf("the price for large inputs is below the base price")
	}
	for _, r := range []Rate{p.Input, p.Output, p.CacheRead, p.CacheWrite} {
		if r < 0 || r > MaxRate {
			return fmt.Errorf("the rate %d is not in 0..%d", r, MaxRate)
		}
	}
	if p.Model == "*" && !p.Free() {
		return fmt.Errorf("only a provider that costs nothing may be priced as a whole")
	}
	return nil
}

// rates reads the four figures; absent cache figures are the input's.
func rates(in, out, read, write string) (Tier, error) {
	var t Tier
	for _, f := range []struct {
		dst  *Rate
		text string
	}{{&t.Input, in}, {&t.Output, out}, {&t.CacheRead, read}, {&t.CacheWrite, write}} {
		if f.text == "" && (f.dst == &t.CacheRead || f.dst == &t.CacheWrite) {
			*f.dst = t.Input
			continue
		}
		r, err := ParseRate(f.text)
		if err != nil {
			return Tier{}, err
		}
		*f.dst = r
	}
	return t, nil
}

func key(provider, model string) [2]string {
	return [2]string{strings.ToLower(provider), strings.ToLower(model)}
}

// With gives a table in which p replaces or adds a row: the configuration's
// own price. The receiver is unchanged.
func (t *Table) With(p Price) (*Table, error) {
	if p.Provider == "" || p.Model == "" {
		return nil, fault.New("price.with", fault.Config, "a price needs a provider and a model")
	}
	if err := p.check(); err != nil {
		return nil, fault.New("price.with", fault.Config, "the price of %s/%s: %v", p.Provider, p.Model, err)
	}
	n := &Table{rows: make(map[[2]string]Price, len(t.rows)+1), version: t.version}
	maps.Copy(n.rows, t.rows)
	n.rows[key(p.Provider, p.Model)] = p
	return n, nil
}

// Lookup finds a model by its exact id or a listed alias. There is no guess by
// prefix: the next model of a family may cost ten times as much.
func (t *Table) Lookup(provider, model string) (Price, bool) {
	if p, ok := t.rows[key(provider, model)]; ok {
		return p, true
	}
	p, ok := t.rows[key(provider, "*")]
	return p, ok
}

// Require is Lookup for callers that must hold a spend limit.
func (t *Table) Require(provider, model string) (Price, error) {
	if p, ok := t.Lookup(provider, model); ok {
		return p, nil
	}
	return Price{}, fault.New("price.lookup", fault.Config,
		"no price is known for the model %s of %s, so a spend limit cannot be kept; give its price in sallyport.yaml under models:, at the name that leads to it", model, provider)
}
