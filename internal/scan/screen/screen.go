// Package screen says what becomes of what a scan finds: the operator's lists
// and the built-in detectors each have one of four actions, and a text has the
// strongest of those its findings ask for.
//
// Invariants: pure; a Screen is immutable; a finding whose rule may not block
// never leads to more than Ask unless the operator wrote so; what could not be
// read wholly is never taken for clean.
//
// It imports scan and the vocabulary. Drivers and app may import it.
package screen

import "sallyport/internal/record"

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
	Hits     []Hit            // what asked for Action, strongest first; at most 32
	Findings []record.Finding // all of those whose action is at least Log; at most 256
}

// Join gives the verdict of two texts together.
func (v Verdict) Join(w Verdict) Verdict {
	out := v
	if w.Action > out.Action {
		out.Action = w.Action
	}
	if rank(w.Alert) > rank(out.Alert) || out.Alert == "" {
		out.Alert = w.Alert
	}
	out.Hits = append(out.Hits[:len(out.Hits):len(out.Hits)], w.Hits...)
	out.Findings = append(out.Findings[:len(out.Findings):len(out.Findings)], w.Findings...)
	return out
}

func rank(alert string) int {
	switch alert {
	case "dangerous":
		return 2
	case "suspicious":
		return 1
	default:
		return 0
	}
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
