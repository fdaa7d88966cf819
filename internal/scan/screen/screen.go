// Package screen says what becomes of what a scan finds: the operator's lists
// and the built-in detectors each have one of four actions, and a text has the
// strongest of those its findings ask for.
//
// Invariants: pure; a Screen is immutable; a finding whose rule may not block
// never leads to more than Ask unless the operator wrote so; what could not be
// read wholly is never taken for clean; a text read as a stream comes to what
// it comes to as a whole, whatever its pieces are; no verdict repeats a secret.
//
// It imports scan and the vocabulary. Drivers and app may import it.
package screen

import (
	"cmp"
	"slices"

	"sallyport/internal/record"
)

// Action is what a finding leads to. The stronger wins.
type Action uint8

// The actions, weakest first.
const (
	Pass  Action = iota // nothing was found
	Log                 // it is written down
	Alert               // and somebody is told
	Ask                 // and somebody has to say yes
	Block               // and it does not happen
)

var actionNames = [...]string{"pass", "log", "alert", "ask", "block"}

// String gives the action's name in settings.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return "block"
}

// The sources of a verdict, as policy and settings name them.
const (
	SourceDangerous  = "dangerous_keywords"
	SourceSuspicious = "suspicious_keywords"
	SourceDetectors  = "detectors"
	SourceModeration = "moderation"
	SourceUnscanned  = "unscanned"
)

// The alerts of a verdict, as events carry them.
const (
	none       = "none"
	suspicious = "suspicious"
	dangerous  = "dangerous"
)

// Bounds of a verdict.
const (
	maxHits     = 32
	maxFindings = 256
)

// Hit is one reason of a verdict.
type Hit struct {
	Source string // one of the sources
	Action Action
	Rule   string // the finding's rule
	Detail string // what to tell people: the operator's keyword, the detector's title; never a secret
}

// Verdict is what a text, or several together, come to.
type Verdict struct {
	Action   Action
	Alert    string           // none, suspicious, dangerous
	Hits     []Hit            // why, each once, strongest first; at most 32, of every source and action at least one
	Findings []record.Finding // all of those whose action is at least Log; at most 256, the severest
}

// Join gives the verdict of two texts together.
func (v Verdict) Join(w Verdict) Verdict {
	out := Verdict{Action: max(v.Action, w.Action), Alert: cmp.Or(v.Alert, none)}
	if rank(w.Alert) > rank(out.Alert) {
		out.Alert = w.Alert
	}
	out.Hits = fewHits(slices.Concat(v.Hits, w.Hits))
	out.Findings = fewFindings(slices.Concat(v.Findings, w.Findings))
	return out
}

// fewHits orders hits and keeps the bound, without losing what a policy would
// see of them.
func fewHits(hits []Hit) []Hit {
	slices.SortStableFunc(hits, func(a, b Hit) int { return cmp.Compare(b.Action, a.Action) })
	seen := make(map[Hit]bool, len(hits))
	hits = slices.DeleteFunc(hits, func(h Hit) bool {
		was := seen[h]
		seen[h] = true
		return was
	})
	over := len(hits) - maxHits
	if over <= 0 {
		return hits
	}
	clear(seen)
	drop := make([]bool, len(hits))
	for i, h := range hits { // the first of each source and action stays
		k := Hit{Source: h.Source, Action: h.Action}
		drop[i], seen[k] = seen[k], true
	}
	kept := make([]Hit, 0, maxHits)
	for i, h := range slices.Backward(hits) {
		if drop[i] && over > 0 {
			over--
			continue
		}
		kept = append(kept, h)
	}
	slices.Reverse(kept)
	return kept
}

// fewFindings keeps the severest, in their order.
func fewFindings(all []record.Finding) []record.Finding {
	if len(all) <= maxFindings {
		return all
	}
	worst := slices.Clone(all)
	slices.SortStableFunc(worst, func(a, b record.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	least := worst[maxFindings-1].Severity
	same := 0 // how many of the least severity fit
	for _, f := range worst[:maxFindings] {
		if f.Severity == least {
			same++
		}
	}
	return slices.DeleteFunc(all, func(f record.Finding) bool {
		if f.Severity == least {
			same--
			return same < 0
		}
		return f.Severity < least
	})
}

func rank(alert string) int {
	switch alert {
	case dangerous:
		return 2
	case suspicious:
		return 1
	default:
		return 0
	}
}

// alertOf gives what an event says of a hit.
func alertOf(h Hit) string {
	switch {
	case h.Source == SourceDangerous, h.Action >= Block:
		return dangerous
	case h.Action >= Alert:
		return suspicious
	default:
		return none
	}
}

// add enters one reason, and the finding behind it if there is one.
func (v *Verdict) add(h Hit, f *record.Finding) {
	if h.Action == Pass {
		return
	}
	v.Action = max(v.Action, h.Action)
	if a := alertOf(h); rank(a) > rank(v.Alert) {
		v.Alert = a
	}
	if !slices.Contains(v.Hits, h) {
		v.Hits = append(v.Hits, h)
	}
	if len(v.Hits) > 4*maxHits {
		v.Hits = fewHits(v.Hits)
	}
	if f != nil {
		v.Findings = append(v.Findings, *f)
	}
}

// done orders and bounds what was added.
func (v *Verdict) done() Verdict {
	v.Alert = cmp.Or(v.Alert, none)
	v.Hits, v.Findings = fewHits(v.Hits), fewFindings(v.Findings)
	return *v
}

// Items renders the verdict for policy: "source.action" for every source that
// asks for Ask or Block.
func (v Verdict) Items() []string {
	var out []string
	seen := map[string]bool{}
	for _, h := range v.Hits {
		if h.Action < Ask {
			continue
		}
		if item := h.Source + "." + h.Action.String(); !seen[item] {
			seen[item] = true
			out = append(out, item)
		}
	}
	return out
}
