package auditor

import (
	"regexp"
	"strings"
)

var (
	checkRE   = regexp.MustCompile(`(?i)^check\s+([a-z]{2,12})\W*$`)
	explainRE = regexp.MustCompile(`(?i)^explain\s+F([0-9]{1,3})\W*$`)
	reportRE  = regexp.MustCompile(`(?i)^(show\s+)?(the\s+)?report\W*$`)
)

// latest finds the newest report; names begin with the date, so they sort.
const latest = `{
export LC_ALL=C
f=$(ls -1 "$NAISYS_FOLDER"/security_reports/ 2>/dev/null | grep '^[0-9].*\.txt$' | sort | tail -n 1)
[ -n "$f" ] && echo "@of $f" && f=$NAISYS_FOLDER/security_reports/$f || echo "@none"
`

func needsShell(msg string) bool {
	return checkRE.MatchString(msg) || explainRE.MatchString(msg) || reportRE.MatchString(msg)
}

// talk answers the operator. The message only selects among fixed replies; none
// of its words are repeated.
func (e *Engine) talk(s *state, msg string) string {
	if m := checkRE.FindStringSubmatch(msg); m != nil {
		topic := strings.ToLower(m[1])
		if !contains(Topics(), topic) {
			return comment(understood())
		}
		var ids []string
		for i := range e.checks {
			if e.checks[i].Topic == topic {
				ids = append(ids, e.checks[i].ID)
			}
		}
		p := &patrol{number: s.highest + 1, topic: topic, plan: ids}
		if cur := s.current(); cur != nil && cur.topic == topic {
			return "" // already on it
		}
		st := step{engine: e, state: s, patrol: p, begin: p}
		return st.script()
	}
	if m := explainRE.FindStringSubmatch(msg); m != nil {
		id := "F" + strings.TrimLeft(m[1], "0")
		return marker + "explain " + id + "\n" + latest + `[ -f "$f" ] && tr -c '\11\12\40-\176' '?' <"$f" | awk -v id=` + id +
			` '/^- /{on=($2==id && $3 ~ /^\[/)} /^$/{on=0} on&&/^- /{w=$NF; gsub(/[()]/,"",w); print "@finding", w} on{print "| " $0}' | cut -c1-200` + "\n} 2>/dev/null\n"
	}
	if reportRE.MatchString(msg) {
		return marker + "show report\n" + latest + `[ -f "$f" ] && tr -c '\11\12\40-\176' '?' <"$f" | head -n 40 | cut -c1-140 | sed 's/^/| /'` + "\n} 2>/dev/null\n"
	}
	return comment(understood())
}

func understood() string {
	return "I am a set of rules, not a language model. I understand: check <topic> (" + strings.Join(Topics(), ", ") + "), explain F<number>, report, help."
}

// answer is what is said after explain and show brought their text.
func (e *Engine) answer(s *state, r reading) string {
	if _, none := r.marks["none"]; none {
		return comment("There is no report yet. The running patrol will write one.")
	}
	of := r.marks["of"]
	if s.verb == "show" {
		return comment("The newest report is shown above: security_reports/" + of)
	}
	id, _, _ := strings.Cut(s.arg, " ")
	c := e.byID[r.marks["finding"]]
	if c == nil {
		return comment("The newest report has no finding " + id + ".")
	}
	return comment(id + " is check " + c.ID + ": " + c.Title + ". What to do: " + c.Fix + " Read more: " + c.Ref + ". The evidence is shown above, from " + of)
}
