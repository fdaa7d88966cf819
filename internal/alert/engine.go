package alert

import (
	"container/list"
	"slices"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// What one rule may remember. Beyond it the subject that was quiet for longest
// is forgotten, which Engine.Dropped counts: somebody who invents subjects can
// make their own rule forget, not that of others.
const (
	maxSubjects = 1024
	maxMarks    = 16 << 10
)

// Engine applies rules to events. It is not safe for concurrent use.
type Engine struct {
	rules   []*watched
	dropped int64
}

// watched is a rule with what it remembers.
type watched struct {
	Rule
	subjects map[string]*list.Element // of *memory
	recent   *list.List               // most recent first
	marks    int
}

type memory struct {
	subject string
	marks   []mark
	fired   mark
}

type mark struct {
	id int64
	at time.Time
}

// New makes an engine; a rule that cannot be meant, or a name given twice, is
// fault.Config.
func New(rules []Rule) (*Engine, error) {
	e := &Engine{}
	for _, r := range rules {
		if err := r.check(); err != nil {
			return nil, err
		}
		if e.rule(r.Name) != nil {
			return nil, fault.New("alert.rule", fault.Config, "there are two alert rules named %q; rename one", r.Name)
		}
		e.rules = append(e.rules, &watched{Rule: r, subjects: map[string]*list.Element{}, recent: list.New()})
	}
	return e, nil
}

func (e *Engine) rule(name string) *watched {
	if i := slices.IndexFunc(e.rules, func(w *watched) bool { return w.Name == name }); i >= 0 {
		return e.rules[i]
	}
	return nil
}

// Sinks gives the sinks that a rule names; none means all.
func (e *Engine) Sinks(rule string) []string {
	if w := e.rule(rule); w != nil {
		return w.Sinks
	}
	return nil
}

// Rules gives the rules in force with their defaults filled in.
func (e *Engine) Rules() []Rule {
	out := make([]Rule, len(e.rules))
	for i, w := range e.rules {
		out[i] = w.Rule
	}
	return out
}

// Span is how far back events matter: an engine that saw everything of the last
// Span is in the state of one that never stopped, but for cooldowns that began
// earlier.
func (e *Engine) Span() time.Duration {
	var span time.Duration
	for _, w := range e.rules {
		span = max(span, 2*w.keep())
	}
	return span
}

// Dropped counts the subjects that were forgotten for want of room.
func (e *Engine) Dropped() int64 { return e.dropped }

// Observe takes the next event and gives the alerts it makes, in the order of
// the rules. Count is how many events an alert adds to those its subject's last
// one covered.
func (e *Engine) Observe(ev Event) []record.Alert {
	var out []record.Alert
	for _, w := range e.rules {
		if !w.matches(&ev) {
			continue
		}
		m := w.remember(w.subject(&ev), mark{ev.ID, ev.Time})
		if a, ok := w.fire(m, &ev); ok {
			out = append(out, a)
		}
		e.dropped += w.forget()
	}
	return out
}

func (w *watched) keep() time.Duration { return max(w.Within, w.Cooldown) }

// remember adds a mark to a subject's memory and lets go of what is too old.
func (w *watched) remember(subject string, k mark) *memory {
	el, ok := w.subjects[subject]
	if !ok {
		el = w.recent.PushFront(&memory{subject: subject})
		w.subjects[subject] = el
	}
	w.recent.MoveToFront(el)
	m, _ := el.Value.(*memory)
	before := len(m.marks)
	m.marks = append(m.marks, k)
	old := 0
	for old < len(m.marks)-1 && (k.at.Sub(m.marks[old].at) > w.keep() || len(m.marks)-old > MaxCount) {
		old++
	}
	m.marks = slices.Delete(m.marks, 0, old)
	w.marks += len(m.marks) - before
	return m
}

// fire tells whether a subject's newest mark makes an alert.
func (w *watched) fire(m *memory, ev *Event) (record.Alert, bool) {
	within, fresh, first := 0, 0, ev.ID
	for _, k := range m.marks {
		if w.Within == 0 || ev.Time.Sub(k.at) <= w.Within {
			within++
		}
		if k.id > m.fired.id {
			fresh++
			first = min(first, k.id)
		}
	}
	if within < w.Count || m.fired.id > 0 && w.Cooldown > 0 && ev.Time.Sub(m.fired.at) < w.Cooldown {
		return record.Alert{}, false
	}
	m.fired = mark{ev.ID, ev.Time}
	return record.Alert{
		Rule: w.Name, Severity: w.Severity, Title: w.title(ev, within), Subject: m.subject, Agent: Plain(ev.Agent, maxText),
		Session: Plain(ev.Session, maxText), Opened: ev.Time, Updated: ev.Time, Count: max(fresh, 1), FirstEvent: first, LastEvent: ev.ID,
	}, true
}

// forget makes room and gives how many subjects it cost.
func (w *watched) forget() (n int64) {
	for w.recent.Len() > maxSubjects || w.marks > maxMarks && w.recent.Len() > 1 {
		el := w.recent.Back()
		m, _ := w.recent.Remove(el).(*memory)
		delete(w.subjects, m.subject)
		w.marks -= len(m.marks)
		n++
	}
	return n
}
