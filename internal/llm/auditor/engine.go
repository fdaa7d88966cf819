package auditor

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"sallyport/internal/llm/token"
)

// Engine answers transcripts. It is immutable and safe for concurrent use.
type Engine struct {
	checks  []Check
	byID    map[string]*Check
	scripts map[string]string // name without ".sh" -> content
}

// New makes an engine with the whole catalogue.
func New() *Engine {
	e := &Engine{checks: Catalogue(), byID: map[string]*Check{}, scripts: map[string]string{
		"lib": library, "scan": scanScript, "report": reportScript,
	}}
	for i := range e.checks {
		e.byID[e.checks[i].ID] = &e.checks[i]
	}
	for _, t := range Topics() {
		e.scripts[t] = topicScript(t, e.checks)
	}
	return e
}

// Token estimates. The agent counts; these only say whether one more step fits.
const (
	defaultLimit = 6000 // tokens, when no prompt line states one
	leaveTokens  = 400  // for the closing endsession and its prompt
	checkChars   = 2400 // the most that one check's frame can hold
	maxOutput    = 2600 // characters after which no new check is started
)

// outTokens estimates what chars characters of unseen output will count as.
func outTokens(chars int) int { return chars/2 + 1 }

// outChars is its inverse.
func outChars(tokens int) int { return tokens * 2 }

// Reply gives the model's next words for a transcript whose last turn is the
// user's: a shell script, or one of comment, endsession and pause.
func (e *Engine) Reply(system string, turns []Turn) string {
	s := e.fold(turns)
	var r reading
	if n := len(turns); n > 0 && !turns[n-1].Assistant {
		r = readMessage(turns[n-1].Text)
	}
	if r.limit == 0 {
		r.limit = defaultLimit
		for _, t := range turns {
			r.used += token.Estimate(t.Text)
		}
		r.used += token.Estimate(system)
	}
	if n := len(turns); len(r.admin) == 0 && s.verb == "resume" && n >= 3 {
		r.admin = readMessage(turns[n-3].Text).admin // asked before the session was set up
	}
	if len(r.admin) > 0 && (s.resumed || !needsShell(r.admin[len(r.admin)-1])) {
		if reply := e.talk(&s, r.admin[len(r.admin)-1]); reply != "" {
			return reply
		}
	}
	switch {
	case !s.resumed && s.tries >= 2:
		return s.stop("The shell does not run my commands, so nothing was checked. Allow command execution for this agent in its configuration, then start me again.")
	case !s.resumed:
		return resumeScript
	case !s.homeOpen:
		return s.stop("My home folder is not writable, so I cannot keep a tracker and nothing was checked. Make the agent home writable or turn read-only mode off.")
	case s.broken == "tracker":
		return s.stop("The tracker in my home folder could not be written, probably because the disk is full. Free some space and I will go on where I stopped.")
	case s.broken != "":
		return s.stop("The report could not be written: NAISYS_FOLDER is not set or its security_reports folder is not writable. Fix that and I will write it.")
	case s.verb == "explain" || s.verb == "show":
		return e.answer(&s, r)
	case s.verb == "report" && s.finished != nil:
		return comment(e.closing(&s))
	case s.finished != nil && s.current() == nil:
		return s.stop(e.closing(&s))
	}
	return e.advance(&s, r)
}

// stop says one thing, then waits an hour, then starts a fresh session.
func (s *state) stop(text string) string {
	switch s.verb {
	case "pause":
		return endSession("The hour is over. Start the next patrol.")
	case "comment":
		return "pause 3600"
	}
	return comment(text)
}

// comment quotes static text; whatever could end the quotes or expand is removed.
func comment(text string) string { return `comment "` + plain(text) + `"` }

func endSession(note string) string { return `endsession "` + plain(note) + `"` }

func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '`' || r == '\'':
			return -1
		case r == '$' || r == '\\' || r == '!' || r < ' ' || r > '~':
			return ' '
		}
		return r
	}, s)
}

// advance does the next piece of the patrol, or closes the session when it would
// not fit in what is left of the context.
func (e *Engine) advance(s *state, r reading) string {
	p := s.current()
	st := step{engine: e, state: s}
	if p == nil {
		p = &patrol{number: s.highest + 1, plan: e.rotate(s)}
		st.begin = p
	}
	st.patrol = p
	left := r.limit - r.used - leaveTokens
	todo := e.todo(s, p)
	if len(todo) == 0 {
		st.report = e.reportPlan(s, p)
		st.need("report")
		return e.within(s, st, st.script(), left, 100)
	}
	if c := e.byID[todo[0]]; c.Scan && s.scanned != p.number {
		st.scan = true
		st.need("scan")
		return e.within(s, st, st.script(), left, 100)
	}
	best := ""
	for n := 1; n <= len(todo) && n <= 8; n++ {
		c := e.byID[todo[n-1]]
		if c.Scan && s.scanned != p.number || n > 1 && s.failures[todo[0]] > 0 {
			break
		}
		st.run, st.limit = todo[:n], maxOutput
		script := st.script()
		// a check's output comes back once and leaves again, smaller, to be saved
		room := outChars(left-token.Estimate(script)-150) * 3 / 5
		worst := min(n*checkChars, maxOutput+checkChars)
		if room < min(worst, checkChars) {
			break
		}
		st.limit = max(1, min(maxOutput, room-checkChars))
		best = st.script()
	}
	if best == "" {
		st.run = todo[:1]
		return e.within(s, st, st.script(), left, checkChars)
	}
	return best
}

// within returns script when it and out characters of answer fit; otherwise it
// saves what is unsaved, and then ends the session. A session that has done
// nothing yet tries anyway: standing still is worse than a full context.
func (e *Engine) within(s *state, st step, script string, left, out int) string {
	if token.Estimate(script)+outTokens(out) <= left || s.steps == 0 {
		return script
	}
	if len(s.unsaved) > 0 {
		only := step{engine: e, state: s, patrol: st.patrol, begin: st.begin}
		return only.script()
	}
	done, all := e.progress(s, st.patrol)
	return endSession(fmt.Sprintf("Patrol %d: %d of %d checks are done and saved in auditor/tracker.tsv in my home folder. Go on with the rest.", st.patrol.number, done, all))
}

func (e *Engine) progress(s *state, p *patrol) (done, all int) {
	for i := range e.checks {
		if p.has(e.checks[i].ID) {
			all++
		}
	}
	return all - len(e.todo(s, p)), all
}

// step is one script: install what is missing, save what was learnt, go on.
type step struct {
	engine *Engine
	state  *state
	patrol *patrol
	begin  *patrol // non-nil: the patrol starts with this step
	needed []string
	run    []string
	limit  int
	scan   bool
	report []string // lines of a report plan
}

func (st *step) need(name string) { st.needed = append(st.needed, name) }

func (st *step) script() string {
	e, s, p := st.engine, st.state, st.patrol
	verb := "step"
	if st.report != nil {
		verb = "report"
	}
	head := marker + verb + " patrol=" + itoa(p.number)
	if st.begin != nil {
		topic := p.topic
		if topic == "" {
			topic = "-"
		}
		head += " begin=" + topic + ":" + strings.Join(p.plan, ",")
	}
	if len(st.run) > 0 {
		head += " run=" + strings.Join(st.run, ",")
	}
	var b strings.Builder
	b.WriteString(head + "\n")
	for _, u := range s.unsaved {
		if u.Status == Finding {
			b.WriteString("# noted: " + u.Check.ID + " (" + u.Severity.String() + ") " + u.Check.Title + "\n")
		}
	}
	b.WriteString("{\n") // a host that makes every program complain must not fill the context
	st.install(&b)
	b.WriteString(". ~/auditor/lib.sh\n")
	if rows := st.rows(); rows != "" {
		b.WriteString("save <<'" + endMark + "'\n" + pack(rows) + endMark + "\n")
	}
	topics := map[string]bool{}
	for _, id := range st.run {
		if t := e.byID[id].Topic; !topics[t] {
			topics[t] = true
			b.WriteString(". ~/auditor/" + t + ".sh\n")
		}
	}
	switch {
	case st.scan:
		b.WriteString(". ~/auditor/scan.sh\nscan " + itoa(p.number) + "\n")
	case st.report != nil:
		b.WriteString(". ~/auditor/report.sh\nreport " + itoa(p.number) + " " + itoa(int(e.level(s, p))) + " " + p.topic +
			" <<'" + endMark + "'\n" + pack(strings.Join(st.report, "\n")+"\n") + endMark + "\n")
	case len(st.run) > 0:
		b.WriteString("run " + itoa(st.limit) + " " + strings.Join(st.run, " ") + "\n")
	}
	b.WriteString("} 2>/dev/null\n")
	return b.String()
}

// install writes the shell files this step sources and that are not there yet.
func (st *step) install(b *strings.Builder) {
	names := append([]string{"lib"}, st.needed...)
	for _, id := range st.run {
		names = append(names, st.engine.byID[id].Topic)
	}
	if st.report != nil { // titles and recommendations of every topic that ran
		for _, t := range Topics() {
			names = append(names, st.engine.reportTopics(st.state, st.patrol, t)...)
		}
	}
	done := map[string]bool{}
	for _, n := range names {
		script := st.engine.scripts[n]
		if done[n] || st.state.libs[n+".sh"] == digest(script) {
			continue
		}
		done[n] = true
		b.WriteString("cat >~/auditor/" + n + ".sh <<'" + endMark + "' && echo @installed " + n + "\n" + script + endMark + "\n")
	}
}

// rows are the tracker lines this step saves.
func (st *step) rows() string {
	var b strings.Builder
	n := itoa(st.patrol.number)
	if st.begin != nil {
		topic := st.patrol.topic
		if topic == "" {
			topic = "-"
		}
		b.WriteString("P\t" + n + "\t-\t" + topic + "\t" + strings.Join(st.patrol.plan, ",") + "\n")
	}
	for _, u := range st.state.unsaved {
		need := u.Need
		if need == "" {
			need = "-"
		}
		n := itoa(u.patrol)
		b.WriteString("C\t" + n + "\t" + u.Check.ID + "\t" + string(rune(u.Status)) + "\t" + strconv.Itoa(int(u.Severity)) + "\t" + need + "\n")
		for _, ev := range u.Evidence {
			b.WriteString("V\t" + n + "\t" + u.Check.ID + "\t" + ev + "\n")
		}
	}
	return b.String()
}

// pack makes any text safe inside a quoted here-document: gzip, base64, lines of
// 100. The alphabet holds neither the end mark's underscore nor a prompt's "@".
func pack(text string) string {
	var z bytes.Buffer
	w, _ := gzip.NewWriterLevel(&z, gzip.BestCompression) // the level is valid, and a Buffer does not fail
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	enc := base64.StdEncoding.EncodeToString(z.Bytes())
	var b strings.Builder
	for len(enc) > 100 {
		b.WriteString(enc[:100] + "\n")
		enc = enc[100:]
	}
	b.WriteString(enc + "\n")
	return b.String()
}
