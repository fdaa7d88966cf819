package auditor

import (
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// Turn is one message of a transcript: the model's own, or what came back.
type Turn struct {
	Assistant bool
	Text      string
}

// record is the tracker's last word on one check.
type record struct {
	patrol   int
	status   Status
	severity Severity
	need     string
}

// patrol is one round: every check, a slice, or one topic.
type patrol struct {
	number int
	topic  string // "" for a round, else the topic the operator asked for
	plan   []string
	ended  bool
}

// state is everything one session knows; fold computes it from the transcript.
type state struct {
	resumed   bool
	tries     int // resumes that brought no answer
	homeOpen  bool
	user      string
	libs      map[string]string // installed script -> digest
	last      map[string]record
	patrols   map[int]*patrol
	highest   int
	unsaved   []Result
	failures  map[string]int // check -> commands that did not finish
	scanned   int            // patrol whose file scan is complete
	steps     int            // steps since the session began
	broken    string         // why the watch cannot go on, or ""
	report    string         // base name of the report just written
	finished  *patrol
	verb, arg string // of the last reply
}

// baseRE is the form of a report's name without its ending.
var baseRE = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{6}-level[1-5]-[A-Za-z0-9.-]{1,100}$`)
})

// marker is the first line of every script this model writes: "# auditor: verb args".
const marker = "# auditor: "

func (e *Engine) fold(turns []Turn) state {
	s := state{libs: map[string]string{}, last: map[string]record{}, patrols: map[int]*patrol{}, failures: map[string]int{}}
	for i, t := range turns {
		if !t.Assistant {
			continue
		}
		var r reading
		if i+1 < len(turns) && !turns[i+1].Assistant {
			r = readMessage(turns[i+1].Text)
		} else {
			r = readMessage("")
		}
		e.apply(&s, t.Text, r)
	}
	return s
}

// apply advances the state by one reply and what came back for it.
func (e *Engine) apply(s *state, reply string, r reading) {
	first, _, _ := strings.Cut(reply, "\n")
	line, ours := strings.CutPrefix(first, marker)
	if !ours {
		s.verb, _, _ = strings.Cut(first, " ")
		s.arg = reply
		return
	}
	s.verb, s.arg, _ = strings.Cut(line, " ")
	if why, bad := r.marks["fail"]; bad {
		s.broken = why
	}
	switch s.verb {
	case "resume":
		s.resume(r)
	case "step", "report":
		s.steps++
		e.applyStep(s, fields(s.arg), r)
	}
}

// fields reads "k=v k=v".
func fields(s string) map[string]string {
	m := map[string]string{}
	for f := range strings.FieldsSeq(s) {
		k, v, _ := strings.Cut(f, "=")
		m[k] = v
	}
	return m
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func (s *state) resume(r reading) {
	if _, done := r.marks["done"]; !done {
		s.tries++
		return
	}
	s.resumed, s.homeOpen, s.user = true, r.marks["home"] == "open", r.marks["user"]
	for _, l := range r.lists["lib"] {
		name, sum, _ := strings.Cut(l, " ")
		s.libs[name] = sum
	}
	for _, l := range r.lists["patrol"] {
		f := strings.Split(l, " ")
		n, err := strconv.Atoi(f[0])
		if err != nil || len(f) < 3 {
			continue
		}
		s.begin(n, f[1], split(f[2]))
	}
	for _, l := range r.lists["ended"] {
		f := strings.Fields(l)
		if n, err := strconv.Atoi(f[0]); err == nil {
			s.highest = max(s.highest, n)
			if p := s.patrols[n]; p != nil {
				p.ended = true
			}
		}
	}
	for _, l := range r.lists["c"] {
		s.records(l)
	}
}

// records reads "patrol:status:severity:need ID,ID,…".
func (s *state) records(l string) {
	key, ids, _ := strings.Cut(l, " ")
	k := strings.Split(key, ":")
	if len(k) != 4 || len(k[1]) != 1 {
		return
	}
	n, err1 := strconv.Atoi(k[0])
	sev, err2 := strconv.Atoi(k[2])
	if err1 != nil || err2 != nil || sev < 0 || sev > 5 {
		return
	}
	s.highest = max(s.highest, n)
	for _, id := range split(ids) {
		if s.last[id].patrol <= n {
			s.last[id] = record{n, Status(k[1][0]), Severity(sev), k[3]}
		}
	}
}

// begin believes only what could stand in a script it wrote itself: the tracker
// lies in a home that others may have written to, and a topic becomes a word of
// the next shell script.
func (s *state) begin(n int, topic string, plan []string) {
	if topic == "-" {
		topic = ""
	}
	if topic != "" && !slices.Contains(Topics(), topic) {
		return
	}
	for _, id := range plan {
		if id != "all" && !idRE.MatchString(id) {
			return
		}
	}
	s.patrols[n] = &patrol{number: n, topic: topic, plan: plan}
	s.highest = max(s.highest, n)
}

// current is the newest unfinished patrol: a topic the operator asked for comes
// before the round it interrupted.
func (s *state) current() *patrol {
	var newest *patrol
	for _, p := range s.patrols {
		if !p.ended && (newest == nil || p.number > newest.number) {
			newest = p
		}
	}
	return newest
}

func (e *Engine) applyStep(s *state, arg map[string]string, r reading) {
	n, _ := strconv.Atoi(arg["patrol"])
	if _, ok := r.marks["saved"]; ok {
		if arg["begin"] != "" {
			topic, ids, _ := strings.Cut(arg["begin"], ":")
			s.begin(n, topic, split(ids))
		}
		for _, u := range s.unsaved {
			s.last[u.Check.ID] = record{u.patrol, u.Status, u.Severity, u.Need}
		}
		s.unsaved = nil
	}
	for _, name := range r.lists["installed"] {
		if script, ok := e.scripts[name]; ok {
			s.libs[name+".sh"] = digest(script)
		}
	}
	if r.marks["scan"] == "done" {
		s.scanned = n
	}
	if b, ok := r.marks["report"]; ok && baseRE().MatchString(b) {
		s.report = b
		if p := s.patrols[n]; p != nil {
			p.ended = true
			s.finished = p
		}
	}
	e.collect(s, n, split(arg["run"]), r)
}

// collect judges every closed frame, and remembers checks whose command was
// started and did not come to its end.
func (e *Engine) collect(s *state, n int, ids []string, r reading) {
	if len(ids) == 0 {
		return
	}
	closed := map[string]bool{}
	for _, f := range r.frames {
		if c := e.byID[f.id]; c != nil && f.closed && !closed[f.id] && contains(ids, f.id) {
			closed[f.id] = true
			u := judge(c, f.out)
			u.patrol = n
			s.unsaved = append(s.unsaved, u)
		}
	}
	_, more := r.marks["more"]
	_, done := r.marks["done"]
	if more || done {
		return
	}
	for _, id := range ids { // the first without an end is the one that hung
		if closed[id] {
			continue
		}
		s.failures[id]++
		if c := e.byID[id]; c != nil && s.failures[id] >= 2 {
			s.unsaved = append(s.unsaved, Result{
				Check: c, patrol: n, Status: NotReadable, Need: "time",
				Evidence: []string{"its command did not finish in time"},
			})
		}
		return
	}
}

func contains(list []string, x string) bool {
	return slices.Contains(list, x)
}

// todo lists the checks of p that have no result yet, in catalogue order.
func (e *Engine) todo(s *state, p *patrol) []string {
	have := map[string]bool{}
	for _, u := range s.unsaved {
		have[u.Check.ID] = u.patrol == p.number || have[u.Check.ID]
	}
	var out []string
	for i := range e.checks {
		id := e.checks[i].ID
		if p.has(id) && !have[id] && s.last[id].patrol != p.number {
			out = append(out, id)
		}
	}
	return out
}

// has tells whether id belongs to the patrol; the plan "all" names every check.
func (p *patrol) has(id string) bool {
	return len(p.plan) == 1 && p.plan[0] == "all" || contains(p.plan, id)
}

// rotate plans a round: everything the first time; after that the core, whatever
// was wrong last time (so that a level never falls by looking away), and the
// third of the rest that was looked at longest ago.
func (e *Engine) rotate(s *state) []string {
	if len(s.last) == 0 {
		return []string{"all"}
	}
	var plan, rest []string
	for i := range e.checks {
		c := &e.checks[i]
		if c.Core || s.last[c.ID].status == Finding {
			plan = append(plan, c.ID)
		} else {
			rest = append(rest, c.ID)
		}
	}
	sort.SliceStable(rest, func(i, j int) bool { return s.last[rest[i]].patrol < s.last[rest[j]].patrol })
	return append(plan, rest[:(len(rest)+2)/3]...)
}
