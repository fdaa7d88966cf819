package auditor

import (
	"regexp"
	"strings"
	"sync"
)

// Status is what became of one check. The letters are the tracker's.
type Status byte

// The four outcomes of a check that ran.
const (
	OK           Status = 'o' // read, and nothing to say
	Finding      Status = 'f' // read, and something is wrong
	NotReadable  Status = 'u' // there, but closed to this user, or not finished in time
	NotInstalled Status = 'a' // the thing checked does not exist on this host
)

// Severity runs from 1 (info) to 5 (critical).
type Severity int

// The five severities; their numbers are the report's warning levels.
const (
	Info     Severity = 1
	Low      Severity = 2
	Medium   Severity = 3
	High     Severity = 4
	Critical Severity = 5
)

var severityNames = [...]string{"none", "info", "low", "medium", "high", "critical"}

// String gives the lower-case name used in reports.
func (s Severity) String() string {
	if s < 0 || int(s) >= len(severityNames) {
		return "none"
	}
	return severityNames[s]
}

// Check is one row of the catalogue.
type Check struct {
	ID       string   // "SSH-01": stable, used in trackers, reports and conversations
	Topic    string   // one of Topics
	Title    string   // what is wrong when it finds something, one clause
	Core     bool     // run on every patrol, not only when its turn comes
	Scan     bool     // reads the file scan, which is made once per patrol
	Severity Severity // of an ordinary finding; the parser may say otherwise
	Run      string   // body of a bash function: prints "d <data>" and "! <note>" lines
	Parse    func(Output) Verdict
	Fix      string // recommendation, one sentence
	Ref      string // where that is written
}

// Output is what a check's command printed, unframed.
type Output struct {
	Data    []string // lines of host data; untrusted, printable ASCII
	Skipped int      // data lines the frame left out
	Notes   []Note   // what the command itself says about what it could not see
}

// Note is a statement of the command, not of the host.
type Note struct {
	Kind string // "unreadable", "absent" or "partial"
	What string // path or program
	Who  string // group whose members may read it, or ""
}

// Verdict is a parser's judgement.
type Verdict struct {
	Bad      bool
	Severity Severity // 0 = the row's own
	Evidence []string
}

// Result is what one check came to in one patrol.
type Result struct {
	Check    *Check
	Status   Status
	Severity Severity // 0 unless Status is Finding
	Need     string   // for NotReadable: a group name, "root", "collector" or "time"
	Evidence []string
	patrol   int
}

const maxEvidence = 5 // lines of evidence kept per finding; the rest is counted

var (
	groupRE = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`) })
	pathRE  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9/._@*-]{1,120}$`) })
)

// judge turns a check's output into its result. A finding wins over a gap, a gap
// wins over silence: what was only partly seen is never fine.
func judge(c *Check, o Output) Result {
	r := Result{Check: c, Status: OK}
	v := c.Parse(o)
	if v.Bad {
		r.Status, r.Severity = Finding, c.Severity
		if v.Severity != 0 {
			r.Severity = v.Severity
		}
		r.Evidence = trimEvidence(v.Evidence, o.Skipped)
		return r
	}
	for _, n := range o.Notes {
		switch n.Kind {
		case "unreadable", "partial":
			if r.Status == NotReadable {
				continue
			}
			r.Status, r.Need = NotReadable, need(n)
			r.Evidence = []string{gap(n)}
		case "absent":
			if r.Status == OK && len(o.Data) == 0 {
				r.Status = NotInstalled
			}
		}
	}
	return r
}

func need(n Note) string {
	switch {
	case n.Kind == "partial":
		return "time"
	case strings.HasPrefix(n.What, factsDir):
		return "collector"
	case groupRE().MatchString(n.Who) && n.Who != "root":
		return n.Who
	}
	return "root"
}

func gap(n Note) string {
	what := n.What
	if !pathRE().MatchString(what) {
		what = "(a file with an odd name)"
	}
	if n.Kind == "partial" {
		return what + " was not finished in time"
	}
	return what + " cannot be read by this user"
}

func trimEvidence(ev []string, skipped int) []string {
	out := make([]string, 0, maxEvidence+1)
	for i, e := range ev {
		if i == maxEvidence {
			break
		}
		out = append(out, clean(e, 160))
	}
	if more := len(ev) - len(out) + skipped; more > 0 {
		out = append(out, "(and "+itoa(more)+" more)")
	}
	return out
}

// clean reduces untrusted text to at most n printable ASCII characters on one line.
func clean(s string, n int) string {
	b := make([]byte, 0, min(len(s), n))
	for i := 0; i < len(s) && len(b) < n; i++ {
		switch c := s[i]; {
		case c == '\t' || c == '\n':
			b = append(b, ' ')
		case c >= ' ' && c <= '~':
			b = append(b, c)
		default:
			b = append(b, '?')
		}
	}
	return strings.TrimSpace(string(b))
}
