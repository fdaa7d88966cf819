package cli

import (
	"fmt"
	"strings"
	"time"

	"sallyport/internal/app"
)

// step is one thing a reader of a session wants to see: an action with its
// decision and outcome, or something that was said.
type step struct {
	Time     time.Time
	Class    string // exec, model, action, said, note, warn: how it looks
	Title    string // who and what
	Prompt   string // what went in: a script, the last message
	Output   string // what came out
	Decision string // allow, ask or deny; empty for what is no action
	Rules    string
	Because  string
	Status   string
	Cost     float64 // US dollars
	Seconds  float64
	Alert    string
	Cut      string // what was not recorded in full
	Leaf     int64
}

// steps joins the events of a session: an action's start with its end.
func steps(events []app.Event) []*step {
	var out []*step
	open := map[string]*step{}
	for _, x := range events {
		f := factsOf(x)
		id := f.text("intent")
		switch {
		case f.text("kind") == "" || id == "" && !strings.HasSuffix(x.Type, "blocked"):
			out = append(out, saidStep(x, f))
		case strings.HasSuffix(x.Type, "finish") || strings.HasSuffix(x.Type, "error"):
			s := open[id]
			if s == nil {
				s = actionStep(x, f)
				out = append(out, s)
			}
			s.close(x, f)
		default:
			s := actionStep(x, f)
			open[id] = s
			out = append(out, s)
		}
	}
	sayOnce(out)
	return out
}

const (
	asAbove    = "(the reply above)"
	thenMarker = "(the output above, then:)\n"
)

// sayOnce replaces what a reader has just read: a model is shown the output of
// the command before, and the next command is its reply.
func sayOnce(list []*step) {
	var reply, output string
	for _, s := range list {
		switch s.Class {
		case "model":
			if rest, ok := strings.CutPrefix(s.Prompt, output); ok && len(output) > 80 {
				s.Prompt = thenMarker + strings.TrimLeft(rest, "\n")
			}
			reply = strings.TrimSpace(s.Output)
		case "exec":
			output = strings.TrimRight(s.Output, "\n")
			if reply != "" && strings.TrimSpace(s.Prompt) == reply && s.Decision == "allow" && strings.Contains(reply, "\n") {
				s.Prompt = asAbove
			}
		}
	}
}

func actionStep(x app.Event, f facts) *step {
	args := f.sub("args")
	s := &step{
		Time: x.Time, Class: "action", Title: strings.TrimSpace(f.text("kind") + " " + f.text("target")),
		Decision: f.text("decision"), Rules: strings.Join(f.texts("rules"), ", "), Because: f.text("because"),
		Alert: x.Alert, Leaf: x.Leaf, Cut: cutNote(f),
	}
	switch f.text("kind") {
	case "exec":
		s.Class, s.Title, s.Prompt = "exec", "command", args.text("script")
	case "model.call":
		s.Class, s.Title = "model", "model "+f.text("target")
		s.Prompt = messageText(args["last_message"])
	default:
		if len(args) > 0 {
			s.Prompt = args.lines()
		}
	}
	return s
}

func (s *step) close(x app.Event, f facts) {
	s.Status, s.Seconds, s.Cost = f.text("status"), f.number("seconds"), f.number("cost_micros")/1e6
	s.Output = f.text("output")
	if e := f.text("error"); e != "" {
		s.Output = strings.TrimSpace(s.Output + "\n" + e)
	}
	if x.Alert == "dangerous" || s.Alert == "none" || s.Alert == "" {
		s.Alert = x.Alert
	}
	if n := cutNote(f); n != "" {
		s.Cut = strings.TrimPrefix(s.Cut+"; "+n, "; ")
	}
}

func saidStep(x app.Event, f facts) *step {
	s := &step{Time: x.Time, Class: "said", Title: x.Type, Alert: x.Alert, Leaf: x.Leaf, Cut: cutNote(f)}
	switch x.Level {
	case "warning", "error":
		s.Class = "warn"
	}
	for _, name := range []string{"text", "note", "message"} {
		if t := f.text(name); t != "" {
			s.Output = t
			delete(f, name)
			break
		}
	}
	s.Because = f.text("because")
	for _, name := range []string{"alert", "because", "truncated"} {
		delete(f, name)
	}
	if s.Output == "" {
		s.Output = f.lines()
	}
	return s
}

// lines renders facts one a line.
func (f facts) lines() string {
	var b strings.Builder
	for _, k := range sortedKeys(f) {
		fmt.Fprintf(&b, "%s: %s\n", k, f.text(k))
	}
	return strings.TrimRight(b.String(), "\n")
}

// cutNote says what the record holds only a part of.
func cutNote(f facts) string {
	t := f.sub("truncated")
	var parts []string
	for _, k := range sortedKeys(t) {
		parts = append(parts, fmt.Sprintf("%s had %.0f bytes", k, t.number(k)))
	}
	return strings.Join(parts, ", ")
}

// messageText gives the text of a model message in whatever form it has.
func messageText(v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	f := facts(m)
	for _, name := range []string{"text", "content", "Text"} {
		if s := f.text(name); s != "" {
			return s
		}
	}
	return f.lines()
}

// sessionText writes a session for reading.
func (c *call) sessionText(s app.Session, list []*step) {
	c.printf("%s  agent %s  %s – %s  %s  %s\n", c.paint.bold("session "+visible(s.ID)), visible(s.Agent),
		localTime(s.Begun), localTime(s.Last), plural(actions(list), "action", "actions"), dollars(s.Dollars))
	for _, x := range list {
		c.printf("\n%s %s%s\n", c.paint.dim(x.Time.Local().Format("15:04:05")), c.paint.bold(visible(x.Title)), c.paint.dim(visible(x.tail())))
		if x.Decision != "" && x.Decision != "allow" {
			c.printf("  %s by %s: %s\n", c.paint.alert(x.Decision), visible(x.Rules), visible(x.Because))
		} else if x.Decision == "" && x.Because != "" {
			c.printf("  because: %s\n", visible(x.Because))
		}
		if x.Alert == "suspicious" || x.Alert == "dangerous" {
			c.printf("  %s\n", c.paint.alert(x.Alert))
		}
		mark := "  > "
		if x.Class == "exec" {
			mark = "  $ "
		}
		c.block(mark, x.Prompt)
		c.block("  | ", x.Output)
		if x.Cut != "" {
			c.printf("  %s\n", c.paint.dim("recorded in part: "+visible(x.Cut)))
		}
	}
}

// actions counts the steps that passed the gate.
func actions(list []*step) (n int) {
	for _, s := range list {
		if s.Decision != "" {
			n++
		}
	}
	return n
}

// tail is what stands behind a step's title.
func (s *step) tail() string {
	var parts []string
	if s.Status != "" && s.Status != "done" {
		parts = append(parts, s.Status)
	}
	if s.Seconds >= 0.05 {
		parts = append(parts, fmt.Sprintf("%.1fs", s.Seconds))
	}
	if s.Cost > 0 {
		parts = append(parts, dollars(s.Cost))
	}
	if s.Decision == "allow" && s.Rules != "" {
		parts = append(parts, "allowed by "+s.Rules)
	}
	if len(parts) == 0 {
		return ""
	}
	return "  " + strings.Join(parts, ", ")
}

// block writes a text with a mark before each line.
func (c *call) block(mark, s string) {
	s = strings.TrimRight(s, "\n")
	if s == "" {
		return
	}
	for line := range strings.SplitSeq(visibleLines(s), "\n") {
		c.printf("%s%s\n", c.paint.dim(mark), line)
	}
}
