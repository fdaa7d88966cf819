package scan

import (
	"cmp"
	"slices"

	"sallyport/internal/record"
)

// Severities of findings, as numbers of record.Finding.
const (
	Note     = 1
	Low      = 2
	Medium   = 3
	High     = 4
	Critical = 5
)

// Rule says what a detector finds and how far it may be trusted.
type Rule struct {
	ID         string  // stable, class.name
	Title      string  // what it is, one clause
	Severity   int     // Note to Critical
	Confidence float64 // 0 to 1: how often such a finding is what it says
	Block      bool    // deterministic: an operator may let it deny
	Source     string  // where its form is described
}

// Finding is what a rule saw, with the span in the original text.
type Finding struct {
	record.Finding
	Block bool // whether it may deny by itself
}

// Gap is a part of the text that was not read wholly.
type Gap struct {
	Start, End int    // bytes in the original text
	Because    string // the bound that was met
}

// Result is what a text shows. A text with gaps is untrusted.
type Result struct {
	Findings  []Finding // by start, then rule
	Unscanned []Gap     // by start
	Bytes     int       // read
}

// Worst gives the highest severity, 0 if nothing was found.
func (r *Result) Worst() int {
	worst := 0
	for i := range r.Findings {
		worst = max(worst, r.Findings[i].Severity)
	}
	return worst
}

func (r *Result) sort() {
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.End, b.End))
	})
}
