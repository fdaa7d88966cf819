package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// eventsCmd is `sallyport events`.
type eventsCmd struct {
	Follow  bool     `short:"f" help:"Go on with new events until interrupted."`
	Alert   string   `enum:",suspicious,dangerous" default:"" help:"Only suspicious (and dangerous), or only dangerous events."`
	Since   when     `placeholder:"WHEN" help:"Not before: a span back from now (24h, 7d), a date or RFC 3339."`
	Until   when     `placeholder:"WHEN" help:"Before this moment."`
	Type    []string `placeholder:"TYPE" help:"Only this type, or a prefix ending in * (exec.*); may be repeated."`
	Agent   string   `help:"Only this agent."`
	Session string   `help:"Only this session."`
	Limit   int      `short:"n" default:"50" help:"The newest N; 0: all."`
}

// Help teaches.
func (eventsCmd) Help() string {
	return `Everything that happened: what was asked, decided, done and said. The first
column is the event's id: ` + "`sallyport explain ID`" + ` says why it happened. Examples:
  sallyport events --since 24h --alert suspicious
  sallyport events --type 'exec.*' --agent sarah
  sallyport events -f --json | jq .type`
}

// Run shows events, oldest first.
func (e eventsCmd) Run(c *call) error {
	if e.Limit < 0 {
		return fault.New("events", fault.Usage, "--limit must not be negative; 0 means all")
	}
	filter := app.EventFilter{
		Since: e.Since.Time, Until: e.Until.Time, Types: e.Type, Agent: e.Agent, Session: e.Session, Alert: e.Alert, Limit: e.Limit,
	}
	return c.with(func(a *app.App) error {
		n, err := a.Events(c.ctx, filter, func(x app.Event) error {
			filter.AfterID = x.ID
			return c.event(x)
		})
		if err != nil {
			return err
		}
		if e.Follow {
			return a.FollowEvents(c.ctx, filter, c.event)
		}
		if n == 0 && !c.flags.JSON {
			return e.empty(c, a)
		}
		return nil
	})
}

// empty tells a filter that matches nothing from a log that is empty.
func (e eventsCmd) empty(c *call, a *app.App) error {
	var newest *app.Event
	if _, err := a.Events(c.ctx, app.EventFilter{Limit: 1}, func(x app.Event) error {
		newest = &x
		return nil
	}); err != nil {
		return err
	}
	if newest == nil {
		c.printf("no events yet: run `sallyport run examples/nightwatch.yaml --once`\n")
		return nil
	}
	c.printf("no event matches; the newest is of %s: try a wider --since or fewer flags\n", localTime(newest.Time))
	return nil
}

// event writes one event on one line.
func (c *call) event(x app.Event) error {
	if c.flags.JSON {
		return c.jsonLine(x)
	}
	who := x.Agent
	if who == "" {
		who = "-"
	}
	mark := ""
	if x.Alert != "none" && x.Alert != "" {
		mark = " " + c.paint.alert(x.Alert)
	}
	head := fmt.Sprintf("%5d  %s  %-8s  %-22s", x.ID, localTime(x.Time), visible(who), visible(x.Type))
	text := visible(summary(x))
	if c.width > 0 {
		text = cut(text, max(20, c.width-width(head)-width(x.Alert)-4))
	}
	switch {
	case strings.HasSuffix(x.Type, "blocked") || x.Level == "error":
		head = c.paint.red(head)
	case x.Level == "warning":
		head = c.paint.yellow(head)
	}
	_, err := fmt.Fprintf(c.out, "%s%s  %s\n", head, mark, text)
	return err
}

// facts is an event's data, read without trusting its shape.
type facts map[string]any

func factsOf(x app.Event) facts {
	var f facts
	if err := json.Unmarshal(x.Data, &f); err != nil || f == nil {
		return facts{}
	}
	return f
}

func (f facts) text(name string) string {
	switch v := f[name].(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return string(b)
	}
}

func (f facts) sub(name string) facts {
	m, _ := f[name].(map[string]any)
	return m
}

func (f facts) number(name string) float64 {
	n, _ := f[name].(float64)
	return n
}

func (f facts) texts(name string) []string {
	list, _ := f[name].([]any)
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// summary says in one line what an event is about.
func summary(x app.Event) string {
	f := factsOf(x)
	switch {
	case strings.HasSuffix(x.Type, "blocked"):
		return strings.TrimSpace(what(f) + ": " + f.text("because"))
	case strings.HasSuffix(x.Type, "start") && f.text("kind") != "":
		return what(f)
	case strings.HasSuffix(x.Type, "finish"), strings.HasSuffix(x.Type, "error") && f.text("kind") != "":
		return outcome(f)
	}
	for _, name := range []string{"text", "note", "because", "error", "message", "reason"} {
		if s := f.text(name); s != "" {
			return oneLine(s)
		}
	}
	delete(f, "alert")
	var parts []string
	for _, k := range sortedKeys(f) {
		parts = append(parts, k+"="+oneLine(f.text(k)))
	}
	return strings.Join(parts, " ")
}

// what says what was asked for.
func what(f facts) string {
	args := f.sub("args")
	switch f.text("kind") {
	case "exec":
		return "$ " + oneLine(args.text("script"))
	case "model.call":
		if n := args.text("messages_count"); n != "" {
			return fmt.Sprintf("%s, %s messages", f.text("target"), n)
		}
		return f.text("target")
	}
	return strings.TrimSpace(f.text("kind") + " " + f.text("target"))
}

// outcome says how an action ended.
func outcome(f facts) string {
	var parts []string
	parts = append(parts, f.text("status"))
	if s := f.number("seconds"); s > 0 {
		parts = append(parts, fmt.Sprintf("%.1fs", s))
	}
	if m := f.number("cost_micros"); m > 0 {
		parts = append(parts, dollars(m/1e6))
	}
	if e := f.text("error"); e != "" {
		parts = append(parts, oneLine(e))
	} else if o := f.text("output"); o != "" {
		parts = append(parts, oneLine(o))
	}
	return strings.Join(parts, "  ")
}
