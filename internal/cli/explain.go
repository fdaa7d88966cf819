package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sallyport/internal/app"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// explainCmd is `sallyport explain`.
type explainCmd struct {
	Event     string `arg:"" help:"An event's id from sallyport events, or last, or last-denied."`
	Intent    bool   `help:"The number is an intent's id, as in the data of events and in the readable log."`
	AgentFile string `placeholder:"FILE" help:"The agent file, or directory of them, of the run: its agents' rules are today's too."`
	All       bool   `help:"Show arguments and outputs whole."`
}

// Help teaches.
func (explainCmd) Help() string {
	return `Why something was allowed, asked or denied: what was asked, the labels, the rules
with what failed, who signed and whether that still verifies, what would have
allowed it, what came of it, and its place in the log. The same question is put to
today's rules, and a difference is marked. Ends with 9 when the event does not
verify. Examples:
  sallyport explain last-denied
  sallyport explain 42 --json | jq .decision.remedies
  sallyport explain 42 --agent-file examples/nightwatch.yaml`
}

// Run explains.
func (e explainCmd) Run(c *call) error {
	q, err := e.query()
	if err != nil {
		return err
	}
	return c.withAgent(e.AgentFile, func(a *app.App) error {
		x, err := a.ExplainEvent(c.ctx, q)
		if x.Event.ID == 0 {
			return err
		}
		if c.flags.JSON {
			return errors.Join(c.json(x), err)
		}
		p := &page{c: c, all: e.All, columns: c.columns()}
		p.explained(x)
		return err
	})
}

func (e explainCmd) query() (app.ExplainQuery, error) {
	q := app.ExplainQuery{AgentFile: e.AgentFile, Newest: e.Event == "last" || e.Event == "last-denied", Denied: e.Event == "last-denied"}
	if q.Newest {
		if e.Intent {
			return q, fault.New("explain", fault.Usage, "%s names an event by itself; leave --intent out", e.Event)
		}
		return q, nil
	}
	id, err := strconv.ParseInt(e.Event, 10, 64)
	if err != nil || id <= 0 {
		return q, fault.New("explain", fault.Usage, "%q is no event's id, which is a positive number, nor last or last-denied; `sallyport events` shows the ids", e.Event)
	}
	if e.Intent {
		q.Intent = id
	} else {
		q.Event = id
	}
	return q, nil
}

// columns is the width of a page of text: that of the terminal within reason; 0
// when there is none.
func (c *call) columns() int {
	if c.width == 0 {
		return 0
	}
	return min(max(c.width, 40), 120)
}

// page writes names and texts in two columns, the second of which is wrapped.
type page struct {
	c       *call
	all     bool
	columns int // 0: no wrapping
}

// nameWidth is the width of the first column with its indentation.
const nameWidth = 15

// most is how many characters of a text by somebody else are shown.
const most = 600

func (p *page) title(s string) { p.c.printf("\n%s\n", p.c.paint.bold(s)) }

// line writes one of our own texts, or one that was made visible; empty ones
// are left out.
func (p *page) line(name, text string, color func(string) string) {
	if text == "" {
		return
	}
	for i, l := range wrap(visible(text), p.columns-nameWidth) {
		if i > 0 {
			name = ""
		}
		if color != nil {
			l = color(l)
		}
		p.c.printf("%s\n", strings.TrimRight(fmt.Sprintf("  %-*s%s", nameWidth-2, name, l), " "))
	}
}

// foreign writes a text that a model, a host or an agent wrote: each of its
// lines behind a mark, so that it cannot be taken for one of ours.
func (p *page) foreign(name, text string) {
	text = strings.TrimRight(visibleLines(text), "\n")
	if text == "" {
		return
	}
	cutOff := false
	if r := []rune(text); !p.all && len(r) > most {
		text, cutOff = string(r[:most]), true
	}
	for l := range strings.SplitSeq(text, "\n") {
		for _, part := range wrap(visible(l), p.columns-nameWidth-2) {
			p.c.printf("%s\n", strings.TrimRight(fmt.Sprintf("  %-*s| %s", nameWidth-2, cut(visible(name), nameWidth-3), part), " "))
			name = ""
		}
	}
	if cutOff {
		p.line("", "… --all shows the rest", p.c.paint.dim)
	}
}

// wrap breaks a line into pieces of at most n characters, between words where it
// can; n <= 0 leaves it whole.
func wrap(s string, n int) []string {
	r := []rune(s)
	if n <= 0 || len(r) <= n {
		return []string{s}
	}
	var out []string
	for len(r) > n {
		at := n
		for i := n; i > n/3; i-- {
			if r[i] == ' ' {
				at = i
				break
			}
		}
		out = append(out, strings.TrimRight(string(r[:at]), " "))
		r = r[at:]
		for len(r) > 0 && r[0] == ' ' {
			r = r[1:]
		}
	}
	if len(r) > 0 {
		out = append(out, string(r))
	}
	return out
}

func (p *page) explained(x app.Explained) {
	e := x.Event
	for _, l := range wrap(fmt.Sprintf("event %d  %s  %s", e.ID, visible(e.Type), localTime(e.Time)), p.columns) {
		p.c.printf("%s\n", p.c.paint.bold(l))
	}
	p.line("this is", x.What, nil)
	if d := x.Decision; d != nil {
		p.asked(d)
		p.decided(d)
		p.signed(d)
		p.remedies(d)
		p.effect(d)
		p.today(d)
		if len(d.Missing) > 0 {
			p.line("not recorded", strings.Join(d.Missing, ", "), p.c.paint.yellow)
		}
	} else {
		p.plain(e)
	}
	p.place(x.Log)
}

// plain shows an event that nothing decided.
func (p *page) plain(e app.Event) {
	p.line("agent", e.Agent, nil)
	p.line("session", e.Session, nil)
	p.line("channel", e.Channel+", "+e.Level, nil)
	f := factsOf(e)
	if e.Alert != "none" {
		p.line("alert", e.Alert, p.c.paint.alert)
	}
	delete(f, "alert")
	for _, k := range sortedKeys(f) {
		p.foreign(k, f.text(k))
	}
}

func (p *page) asked(d *app.ExplainedDecision) {
	a := d.Asked
	p.title("Asked")
	p.line("kind", a.Kind, nil)
	p.foreign("target", a.Target)
	who := a.Agent
	if who == "" {
		who = "the operator"
	}
	p.line("agent", who, nil)
	p.line("session", a.Session, nil)
	p.line("context", a.Context, nil)
	p.line("principal", a.Principal, nil)
	args := facts(a.Args)
	for _, k := range sortedKeys(args) {
		p.foreign(k, args.text(k))
	}
	p.withheld(a.Withheld)
	p.title("Labels")
	l := d.Labels
	before := l.Context
	if before == "" {
		before = "not recorded"
	}
	p.line("context", before+within("ceiling", l.Ceiling), nil)
	p.line("arguments", l.Args, nil)
	p.line("result", l.Result+within("the agent may read", l.Clearance), nil)
	if l.Sink != "" {
		p.line("destination", "may receive "+l.Sink+within("configured by", l.SinkFrom), nil)
	}
}

func within(what, text string) string {
	if text == "" {
		return ""
	}
	return "  (" + what + " " + text + ")"
}

func (p *page) withheld(w *app.Withheld) {
	if w == nil {
		return
	}
	p.line("withheld", fmt.Sprintf("%s of text was not stored, because it was %s and texts are kept up to a lower label; with a clearance of %s it would have been kept",
		bytesText(w.Bytes), w.Label, w.Label), p.c.paint.yellow)
}

func (p *page) decided(d *app.ExplainedDecision) {
	p.title("Decided")
	p.line("verdict", d.Verdict, p.c.paint.alert)
	for _, r := range d.Rules {
		text := r.ID
		if r.Effect != "" {
			text += "  " + r.Effect
		}
		switch {
		case r.Gone:
			text += "  (today's rules have none of this name)"
		case r.Origin != "":
			text += "  from " + r.Origin
		}
		p.line("rule", text, p.c.effect(r.Effect))
		if len(d.Rules) > 1 || r.Because != d.Because {
			p.line("", r.Because, p.c.paint.dim)
		}
		p.line("failing", r.Failing, nil)
	}
	p.foreign("because", d.Because)
	p.findings("advice", d.Advice)
	if g := d.Grant; g != nil {
		text := g.ID + ", now " + g.State
		if g.Known {
			text += fmt.Sprintf(", for %s of %s on %s until %s", g.Kind, g.Agent, g.Target, localTime(g.Expires))
		}
		p.line("grant", text, nil)
		p.line("", within("given by", g.By), nil)
	}
	p.line("api key", d.Key, nil)
	if d.Held > 0 {
		p.line("held", dollars(d.Held)+" of the budget until it ended", nil)
	}
	p.line("digest", d.Digest, p.c.paint.dim)
}

func (p *page) findings(name string, list []record.Finding) {
	for _, f := range list {
		text := f.Rule
		if f.Detail != "" {
			text += ": " + f.Detail
		}
		p.foreign(name, fmt.Sprintf("%s (severity %d, confidence %.2f)", text, f.Severity, f.Confidence))
	}
}

func (p *page) signed(d *app.ExplainedDecision) {
	if d.Ask == nil && len(d.Signatures) == 0 {
		return
	}
	p.title("People")
	if a := d.Ask; a != nil {
		p.line("question", fmt.Sprintf("%s, %s, until %s", a.ID, a.State, localTime(a.Expires)), nil)
	}
	if d.Ask != nil && d.Ask.Problem != "" {
		p.line("", "its answers cannot be verified: "+d.Ask.Problem, p.c.paint.red)
	}
	for _, n := range d.Needs {
		text := fmt.Sprintf("%d of %s", n.Count, n.Group)
		if len(n.People) > 0 {
			text += ": " + strings.Join(n.People, ", ")
		}
		p.line("needs", text, nil)
	}
	for _, s := range d.Signatures {
		p.signature(s)
	}
	if len(d.Signatures) == 0 {
		p.line("signed", "nobody", nil)
	}
}

func (p *page) signature(s app.ExplainedSignature) {
	who := s.Person
	if who == "" {
		who = "nobody who is trusted now"
	}
	text := s.Kind + " by " + who
	if !s.Time.IsZero() {
		text += " at " + localTime(s.Time)
	}
	p.line("signed", text, nil)
	if s.Verifies {
		p.line("", "the signature verifies now", p.c.paint.green)
	} else {
		p.line("", "does NOT verify now: "+s.Problem, p.c.paint.red)
	}
	p.line("", "key "+s.Key, p.c.paint.dim)
	switch {
	case s.Nonce == "":
	case s.Used:
		p.line("", "nonce "+s.Nonce+", consumed by this decision", p.c.paint.dim)
	default:
		p.line("", "nonce "+s.Nonce+", not consumed by this decision", p.c.paint.dim)
	}
}

func (p *page) remedies(d *app.ExplainedDecision) {
	if len(d.Remedies) == 0 {
		return
	}
	p.title("What would have allowed it")
	for _, r := range d.Remedies {
		text := r.Text
		if r.Tried {
			text += "  [tried on today's rules]"
		}
		p.line(r.How, text, nil)
		if r.File != "" {
			p.line("", "in "+r.File, p.c.paint.dim)
		}
		p.line("", r.Command, p.c.paint.bold)
	}
}

func (p *page) effect(d *app.ExplainedDecision) {
	p.title("Effect")
	e := d.Effect
	switch {
	case e == nil && d.Verdict == record.Allow.String():
		p.line("outcome", "none recorded: it is under way, or the outcome was erased", p.c.paint.yellow)
		return
	case e == nil:
		p.line("outcome", "none: it did not start", nil)
		return
	}
	text := e.Status
	if e.Seconds > 0 {
		text += fmt.Sprintf(" after %.1fs", e.Seconds)
	}
	p.line("outcome", fmt.Sprintf("%s, cost %s (event %d)", text, dollars(e.Dollars), e.Event), p.c.paint.alert)
	if !e.Verified {
		p.line("", "event "+fmt.Sprint(e.Event)+" does NOT verify; explain it to see why", p.c.paint.red)
	}
	p.line("label", e.Label, nil)
	p.foreign("error", e.Error)
	p.foreign("output", e.Output)
	p.withheld(e.Withheld)
	p.findings("finding", e.Findings)
}

// today compares with the rules in force now.
func (p *page) today(d *app.ExplainedDecision) {
	p.title("Rules then and now")
	then := cut(d.PolicySet, 13)
	if then == "" {
		then = "not recorded"
	}
	p.line("then", "set "+then, nil)
	n := d.Now
	if n.Problem != "" {
		p.line("now", n.Problem, p.c.paint.yellow)
		return
	}
	set := "set " + cut(n.PolicySet, 13)
	if n.SameSet {
		set = "the same set"
	}
	p.line("now", set+": "+n.Verdict+" by "+strings.Join(n.Rules, ", "), nil)
	if n.Differs {
		p.line("DIFFERS", n.Because, p.c.paint.yellow)
	}
	if len(n.Unknown) > 0 {
		p.line("not known", strings.Join(n.Unknown, "; "), p.c.paint.dim)
	}
}

func (p *page) place(l app.LogPlace) {
	p.title("Log")
	kind := ""
	if l.Kind != "" {
		kind = ", kind " + l.Kind
	}
	p.line("entry", fmt.Sprintf("%d%s", l.Leaf, kind), nil)
	switch {
	case !l.Verified:
		p.line("verified", "NO: "+l.Problem, p.c.paint.red)
	case l.Erased:
		p.line("verified", fmt.Sprintf("among the %d entries of the newest signed checkpoint; what it said was erased", l.Checkpoint), p.c.paint.green)
	default:
		p.line("verified", fmt.Sprintf("among the %d entries of the newest signed checkpoint, and the event says what the entry committed to", l.Checkpoint), p.c.paint.green)
	}
	p.line("root", l.Root, p.c.paint.dim)
}
