package alert

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"sallyport/internal/fault"
)

// Event is one recorded event as rules see it.
type Event struct {
	ID      int64
	Time    time.Time
	Type    string
	Agent   string
	Session string
	Channel string
	Level   string // debug, info, warning, error
	Alert   string // none, suspicious, dangerous
	Data    map[string]any
}

// The severities of an alert.
const (
	Info     = 1
	Low      = 2
	Medium   = 3
	High     = 4
	Critical = 5
)

var severities = []string{"", "info", "low", "medium", "high", "critical"}

// SeverityName gives the word for a severity, "info" for one out of range.
func SeverityName(n int) string {
	if n < Info || n > Critical {
		return severities[Info]
	}
	return severities[n]
}

// ParseSeverity reads a severity's word; "" is medium.
func ParseSeverity(s string) (int, error) {
	if s == "" {
		return Medium, nil
	}
	if i := slices.Index(severities, s); i > 0 {
		return i, nil
	}
	return 0, fault.New("alert.severity", fault.Config, "%q is no severity; write info, low, medium, high or critical", s)
}

// Rule says which events make an alert. Zero fields match everything.
type Rule struct {
	Name  string // [a-z0-9.-], at most 64 bytes
	Event string // globs over the event's type, separated by commas; * stands for any characters
	Level string // at least this level
	Alert string // suspicious (and dangerous), or dangerous
	Agent string // glob over the agent's name
	// Min are least values of numbers in the event's data, by dotted path.
	Min map[string]float64
	// Count events (default 1, at most MaxCount) within Within make an alert.
	Count  int
	Within time.Duration
	// By says what is counted apart: agent, session, type, channel, or a dotted
	// path in the event's data. Each combination is a subject of its own.
	By       []string
	Severity int    // default Medium
	Title    string // {agent}, {session}, {type}, {count} and {path of data} stand for their values
	Sinks    []string
	// Cooldown is for how long, in events' time, the same subject makes no
	// further alert; what comes meanwhile is counted into the next one.
	Cooldown time.Duration
}

// Bounds of a rule.
const (
	MaxCount  = 1000
	MaxWithin = 30 * 24 * time.Hour
	maxText   = 200 // bytes of a value that an alert quotes
)

var (
	ruleName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,63}$`)
	levels   = []string{"debug", "info", "warning", "error"}
	slot     = regexp.MustCompile(`\{[A-Za-z0-9_.-]{1,64}\}`)
)

// check refuses what cannot mean what its author wanted.
func (r *Rule) check() error {
	bad := func(format string, args ...any) error {
		return fault.New("alert.rule", fault.Config, "alert rule "+strconv.Quote(r.Name)+": "+format, args...)
	}
	switch {
	case !ruleName.MatchString(r.Name):
		return bad("the name may have small letters, digits, dots and dashes")
	case r.Count < 0 || r.Count > MaxCount:
		return bad("count is %d; it must be between 1 and %d", r.Count, MaxCount)
	case r.Within < 0 || r.Within > MaxWithin || r.Cooldown < 0 || r.Cooldown > MaxWithin:
		return bad("within and cooldown must be between 0 and %s", MaxWithin)
	case r.Count > 1 && r.Within == 0:
		return bad("count %d needs within: a span in which so many events make an alert", r.Count)
	case r.Level != "" && !slices.Contains(levels, r.Level):
		return bad("%q is no level; write debug, info, warning or error", r.Level)
	case r.Alert != "" && r.Alert != "suspicious" && r.Alert != "dangerous":
		return bad("%q is no alert; write suspicious or dangerous", r.Alert)
	case r.Severity < 0 || r.Severity > Critical:
		return bad("severity is %d; it must be between %d and %d", r.Severity, Info, Critical)
	case r.Event == "" && r.Level == "" && r.Alert == "" && r.Agent == "" && len(r.Min) == 0:
		return bad("it has no condition and would alert about everything; name an event, a level or an alert")
	}
	r.Count, r.Severity = max(r.Count, 1), cmp.Or(r.Severity, Medium)
	r.Title = cmp.Or(r.Title, r.Name+": {type}")
	return nil
}

// matches reports whether an event meets a rule's conditions.
func (r *Rule) matches(e *Event) bool {
	if !r.hears(e.Type) || r.Agent != "" && !glob(r.Agent, e.Agent) {
		return false
	}
	if r.Level != "" && slices.Index(levels, e.Level) < slices.Index(levels, r.Level) {
		return false
	}
	if r.Alert != "" && e.Alert != "dangerous" && e.Alert != r.Alert {
		return false
	}
	for path, least := range r.Min {
		if n, ok := number(lookup(e.Data, path)); !ok || n < least {
			return false
		}
	}
	return true
}

// hears reports whether a rule is about events of a type. What is about alerts
// must be named as such.
func (r *Rule) hears(eventType string) bool {
	own := strings.HasPrefix(eventType, "alert.")
	for pattern := range strings.SplitSeq(cmp.Or(r.Event, "*"), ",") {
		pattern = strings.TrimSpace(pattern)
		if glob(pattern, eventType) && (!own || strings.HasPrefix(pattern, "alert.")) {
			return true
		}
	}
	return false
}

// subject says what an alert of the rule is about, "" for rules that count all
// events together.
func (r *Rule) subject(e *Event) string {
	parts := make([]string, 0, len(r.By))
	for _, by := range r.By {
		parts = append(parts, by+"="+e.field(by))
	}
	return strings.Join(parts, " ")
}

func (r *Rule) title(e *Event, count int) string {
	return slot.ReplaceAllStringFunc(r.Title, func(s string) string {
		name := s[1 : len(s)-1]
		if name == "count" {
			return strconv.Itoa(count)
		}
		return e.field(name)
	})
}

// field gives one value of an event as safe, bounded text; "-" if there is
// none.
func (e *Event) field(name string) string {
	var v any
	switch name {
	case "agent":
		v = e.Agent
	case "session":
		v = e.Session
	case "type":
		v = e.Type
	case "channel":
		v = e.Channel
	default:
		v = lookup(e.Data, name)
	}
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		return cmp.Or(Plain(v, maxText), "-")
	case map[string]any, []any:
		return "-"
	default:
		if n, ok := number(v); ok {
			return strconv.FormatFloat(n, 'f', -1, 64)
		}
		return Plain(fmt.Sprint(v), maxText)
	}
}

// Plain makes one line of at most n bytes of a text: control characters,
// invisible ones and line breaks become spaces, invalid UTF-8 U+FFFD.
func Plain(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, s)
	if s = strings.TrimSpace(s); len(s) <= n {
		return s
	}
	cut := n - len("…")
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:max(cut, 0)] + "…"
}

func lookup(data map[string]any, path string) any {
	if v, ok := data[path]; ok { // names with dots: gen_ai.request.model
		return v
	}
	head, rest, more := strings.Cut(path, ".")
	if sub, ok := data[head].(map[string]any); ok && more {
		return lookup(sub, rest)
	}
	return nil
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	}
	return 0, false
}

// glob matches a pattern in which * stands for any characters, in time linear
// in pattern × text.
func glob(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
