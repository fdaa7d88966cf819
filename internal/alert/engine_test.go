package alert

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

var epoch = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func at(id int, seconds float64, typ, agent string) Event {
	return Event{
		ID: int64(id), Time: epoch.Add(time.Duration(seconds * float64(time.Second))), Type: typ, Agent: agent, Session: "s-" + agent,
		Channel: "SYSTEM", Level: "info", Alert: "none", Data: map[string]any{},
	}
}

func engine(t *testing.T, rules ...Rule) *Engine {
	t.Helper()
	e, err := New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestMatches(t *testing.T) {
	base := Event{
		Type: "exec.blocked", Agent: "sarah", Level: "warning", Alert: "suspicious",
		Data: map[string]any{"level": 4.0, "result": map[string]any{"usage": map[string]any{"input_tokens": int64(9)}}, "gen_ai.request.model": "m"},
	}
	tests := map[string]struct {
		rule Rule
		want bool
	}{
		"type":                  {Rule{Event: "exec.blocked"}, true},
		"other type":            {Rule{Event: "exec"}, false},
		"ending":                {Rule{Event: "*blocked"}, true},
		"middle":                {Rule{Event: "e*.*ed"}, true},
		"one of several":        {Rule{Event: "x, exec.*"}, true},
		"none of several":       {Rule{Event: "x,exec"}, false},
		"case counts":           {Rule{Event: "*Blocked"}, false},
		"level at least":        {Rule{Level: "info"}, true},
		"level same":            {Rule{Level: "warning"}, true},
		"level above":           {Rule{Level: "error"}, false},
		"alert same":            {Rule{Alert: "suspicious"}, true},
		"alert above":           {Rule{Alert: "dangerous"}, false},
		"agent":                 {Rule{Agent: "sar*"}, true},
		"other agent":           {Rule{Agent: "bob"}, false},
		"least value":           {Rule{Min: map[string]float64{"level": 4}}, true},
		"below least value":     {Rule{Min: map[string]float64{"level": 4.5}}, false},
		"nested value":          {Rule{Min: map[string]float64{"result.usage.input_tokens": 9}}, true},
		"no such value":         {Rule{Min: map[string]float64{"result.usage.nothing": 0}}, false},
		"a text is no number":   {Rule{Min: map[string]float64{"gen_ai.request.model": 0}}, false},
		"all conditions":        {Rule{Event: "exec.*", Level: "warning", Alert: "suspicious", Agent: "sarah"}, true},
		"one condition is not":  {Rule{Event: "exec.*", Level: "warning", Alert: "suspicious", Agent: "bob"}, false},
		"dangerous is included": {Rule{Alert: "suspicious"}, true},
	}
	for name, tt := range tests {
		ev := base
		if name == "dangerous is included" {
			ev.Alert = "dangerous"
		}
		if got := tt.rule.matches(&ev); got != tt.want {
			t.Errorf("%s: matches = %v, want %v", name, got, tt.want)
		}
	}
	own := Event{Type: "alert.raised", Alert: "dangerous"}
	for pattern, want := range map[string]bool{"*": false, "": false, "a*": false, "alert.*": true, "alert.raised": true, "*,x": false, "x,alert.raised": true} {
		if got := (&Rule{Event: pattern, Alert: "dangerous"}).matches(&own); got != want {
			t.Errorf("%q matches an event about alerts = %v, want %v", pattern, got, want)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	tests := map[string]Rule{
		"name":               {Name: "a b", Event: "x"},
		"no condition":       {Name: "a"},
		"count, no within":   {Name: "a", Event: "x", Count: 2},
		"negative count":     {Name: "a", Event: "x", Count: -1},
		"too large a count":  {Name: "a", Event: "x", Count: MaxCount + 1, Within: time.Second},
		"too long a span":    {Name: "a", Event: "x", Within: MaxWithin + 1},
		"unknown level":      {Name: "a", Level: "loud"},
		"unknown alert":      {Name: "a", Alert: "any"},
		"severity too large": {Name: "a", Event: "x", Severity: 6},
	}
	for name, r := range tests {
		if _, err := New([]Rule{r}); !fault.Is(err, fault.Config) {
			t.Errorf("%s: %v, want a configuration error", name, err)
		}
	}
	if _, err := New([]Rule{{Name: "a", Event: "x"}, {Name: "a", Event: "y"}}); !fault.Is(err, fault.Config) {
		t.Error("two rules of one name are accepted")
	}
	if _, err := New(Shipped()); err != nil {
		t.Error(err)
	}
}

func TestCounting(t *testing.T) {
	e := engine(t, Rule{Name: "denials", Event: "*blocked", Count: 3, Within: 10 * time.Second, By: []string{"agent"}, Title: "{agent} {count} {type} {nothing}"})
	var got []string
	for i, ev := range []Event{
		at(1, 0, "exec.blocked", "a"), at(2, 1, "exec.start", "a"), at(3, 2, "x_blocked", "a"), at(4, 3, "x_blocked", "b"),
		at(5, 10, "x_blocked", "a"),   // third of a, ten seconds after its first
		at(6, 10.5, "x_blocked", "a"), // the first is out, three are left
		at(7, 30, "x_blocked", "a"), at(8, 31, "x_blocked", "b"),
	} {
		for _, a := range e.Observe(ev) {
			got = append(got, fmt.Sprintf("%d %s|%s|%d|%d-%d", i+1, a.Title, a.Subject, a.Count, a.FirstEvent, a.LastEvent))
		}
	}
	want := []string{"5 a 3 x_blocked -|agent=a|3|1-5", "6 a 3 x_blocked -|agent=a|1|6-6"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestCooldown(t *testing.T) {
	e := engine(t, Rule{Name: "disk", Event: "disk.low", Cooldown: time.Minute})
	var got []string
	for i, s := range []float64{0, 10, 59, 60, 61, 200} {
		for _, a := range e.Observe(at(i+1, s, "disk.low", "")) {
			got = append(got, fmt.Sprintf("%v: %d from %d", s, a.Count, a.FirstEvent))
		}
	}
	if d := cmp.Diff([]string{"0: 1 from 1", "60: 3 from 2", "200: 1 from 6"}, got); d != "" {
		t.Error(d)
	}
}

// TestShipped: one event, or so many, of each kind that the product promises to
// tell of raises exactly its rule, and one less or a harmless one none.
func TestShipped(t *testing.T) {
	with := func(typ, alert string, data map[string]any) Event {
		ev := at(0, 0, typ, "sarah")
		ev.Alert, ev.Data = alert, data
		return ev
	}
	failed := with("user_authentication", "none", map[string]any{"source": "key:k1", "success": false})
	failed.Level = "warning"
	tests := []struct {
		rule  string
		ev    Event
		times int
		less  Event // raises nothing however often it comes
	}{
		{"dangerous", with("LLM_call_start", "dangerous", nil), 1, with("LLM_call_start", "suspicious", nil)},
		{"denials", with("LLM_call_blocked", "none", nil), 5, with("LLM_call_finish", "none", nil)},
		{"report", with(EventReport, "none", map[string]any{"level": 4.0, "file": "x"}), 1, with(EventReport, "none", map[string]any{"level": 3.0})},
		{"disk", with(EventDiskLow, "none", nil), 1, with("disk", "none", nil)},
		{"memory", with(EventMemoryLow, "none", nil), 1, with("memory", "none", nil)},
		{"unjudged", with(EventUnjudgedCall, "none", nil), 1, with("call", "none", nil)},
		{"approval", with(EventApprovalWaiting, "none", map[string]any{"ask": "k3x"}), 1, with("approval.ask", "none", nil)},
		{"log", with(EventLogDamaged, "none", nil), 1, with("log.anchor", "none", nil)},
		{"authentication", with(EventAuthFailed, "none", nil), 5, with("auth.ok", "none", nil)},
		{"logins", failed, 5, with("user_authentication", "none", map[string]any{"source": "key:k1", "success": true})},
		{"sink", with(EventSinkFailed, "none", map[string]any{"sink": "ops"}), 1, with(EventSinkDelivered, "none", nil)},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		seen[tt.rule] = true
		e := engine(t, Shipped()...)
		for i := range 10 {
			tt.less.ID = int64(i + 1)
			if got := e.Observe(tt.less); len(got) > 0 {
				t.Errorf("%s: %s raises %s", tt.rule, tt.less.Type, got[0].Rule)
			}
		}
		for i := range tt.times {
			tt.ev.ID, tt.ev.Time = int64(100+i), epoch.Add(time.Duration(i)*time.Minute)
			var rules []string
			for _, a := range e.Observe(tt.ev) {
				rules = append(rules, a.Rule)
			}
			var want []string
			if i == tt.times-1 {
				want = []string{tt.rule}
			}
			if d := cmp.Diff(want, rules); d != "" {
				t.Errorf("%s, event %d: %s", tt.rule, i+1, d)
			}
		}
	}
	for _, r := range Shipped() {
		if !seen[r.Name] {
			t.Errorf("shipped rule %s is not tested", r.Name)
		}
	}
}

// TestBounded: whoever invents subjects makes their own rule forget, says so,
// and leaves the others alone.
func TestBounded(t *testing.T) {
	e := engine(t,
		Rule{Name: "ip", Event: "auth", Count: 2, Within: time.Hour, By: []string{"ip"}},
		Rule{Name: "agent", Event: "blocked", Count: 2, Within: time.Hour, By: []string{"agent"}})
	e.Observe(at(1, 0, "blocked", "sarah"))
	for i := range 5 * maxSubjects {
		ev := at(2+i, 1, "auth", "")
		ev.Data["ip"] = fmt.Sprintf("2001:db8::%x", i)
		e.Observe(ev)
	}
	w := e.rule("ip")
	if w.recent.Len() != maxSubjects || len(w.subjects) != maxSubjects || w.marks != maxSubjects {
		t.Errorf("%d subjects, %d in order, %d marks are kept; want %d", len(w.subjects), w.recent.Len(), w.marks, maxSubjects)
	}
	if e.Dropped() != 4*maxSubjects {
		t.Errorf("dropped %d, want %d", e.Dropped(), 4*maxSubjects)
	}
	if got := e.Observe(at(1e6, 2, "blocked", "sarah")); len(got) != 1 {
		t.Error("another rule forgot what it had seen")
	}
	many := engine(t, Rule{Name: "m", Event: "x", Count: MaxCount, Within: time.Hour, By: []string{"agent"}})
	for i := range 40 * MaxCount {
		many.Observe(at(i+1, float64(i)/100, "x", fmt.Sprint("a", i%40)))
	}
	if w := many.rule("m"); w.marks > maxMarks {
		t.Errorf("%d marks are kept, at most %d are meant", w.marks, maxMarks)
	}
}

// TestHostileText: what an event says cannot break a line or grow a title.
func TestHostileText(t *testing.T) {
	e := engine(t, Rule{Name: "r", Event: "x", By: []string{"file"}, Title: "report {file}"})
	ev := at(1, 0, "x", "a\r\nb")
	ev.Data["file"] = "a\r\nBcc: evil@example.org\x1b[2J\u202e" + strings.Repeat("x", 10_000)
	a := e.Observe(ev)[0]
	for name, s := range map[string]string{"title": a.Title, "subject": a.Subject, "agent": a.Agent} {
		if strings.ContainsAny(s, "\r\n\x1b\u202e") || len(s) > 300 {
			t.Errorf("%s: %q", name, s)
		}
	}
}

func events(t *rapid.T) []Event {
	n := rapid.IntRange(1, 120).Draw(t, "n")
	out, clock := make([]Event, n), 0.0
	for i := range out {
		clock += rapid.Float64Range(0, 6).Draw(t, "pause")
		out[i] = at(i+1, clock, rapid.SampledFrom([]string{"a.blocked", "b_blocked", "c"}).Draw(t, "type"), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "agent"))
	}
	return out
}

// TestReplay: an engine that starts anew and sees what happened within Span
// goes on exactly like one that never stopped.
func TestReplay(t *testing.T) {
	rules := []Rule{
		{Name: "one", Event: "c"},
		{Name: "many", Event: "*blocked", Count: 4, Within: 15 * time.Second, By: []string{"agent"}},
	}
	rapid.Check(t, func(t *rapid.T) {
		list := events(t)
		cut := rapid.IntRange(0, len(list)-1).Draw(t, "cut")
		whole, _ := New(rules)
		var want, got []record.Alert
		for i, ev := range list {
			if a := whole.Observe(ev); i > cut {
				want = append(want, a...)
			}
		}
		again, _ := New(rules)
		for i, ev := range list {
			if i <= cut && list[cut].Time.Sub(ev.Time) > again.Span() {
				continue
			}
			if a := again.Observe(ev); i > cut {
				got = append(got, a...)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

// TestCountsOnce: the counts of a subject's alerts add up to the events they
// cover, whatever the cooldown: nothing is counted twice.
func TestCountsOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e, _ := New([]Rule{{Name: "r", Event: "*blocked", Cooldown: time.Duration(rapid.IntRange(0, 20).Draw(t, "cool")) * time.Second}})
		last, sum, seen := int64(0), 0, 0
		for _, ev := range events(t) {
			if strings.HasSuffix(ev.Type, "blocked") {
				seen++
			}
			for _, a := range e.Observe(ev) {
				if a.FirstEvent <= last {
					t.Fatalf("event %d is covered twice", a.FirstEvent)
				}
				last, sum = a.LastEvent, sum+a.Count
			}
		}
		if sum > seen {
			t.Fatalf("%d events are counted, %d were seen", sum, seen)
		}
	})
}

func FuzzGlob(f *testing.F) {
	f.Add("*blocked", "LLM_call_blocked")
	f.Add("a*b*c", "abbc")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 50 || len(s) > 200 {
			return
		}
		if got, want := glob(pattern, s), slow(pattern, s); got != want {
			t.Errorf("glob(%q, %q) = %v, want %v", pattern, s, got, want)
		}
	})
}

// slow is the same by definition: pieces in order, first and last at the ends.
func slow(pattern, s string) bool {
	pieces := strings.Split(pattern, "*")
	if len(pieces) == 1 {
		return pattern == s
	}
	first, last := pieces[0], pieces[len(pieces)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, p := range pieces[1 : len(pieces)-1] {
		_, rest, ok := strings.Cut(s, p)
		if !ok {
			return false
		}
		s = rest
	}
	return true
}
