package cli

import (
	"cmp"
	"fmt"

	"sallyport/internal/app"
)

// sessionsCmd is `sallyport sessions`.
type sessionsCmd struct {
	List sessionsListCmd `cmd:"" default:"withargs" help:"List sessions, newest first."`
	Show sessionsShowCmd `cmd:"" help:"Show a whole session: prompts, commands, output, decisions, cost."`
}

// Help teaches.
func (sessionsCmd) Help() string {
	return `Examples:
  sallyport sessions --agent sarah
  sallyport sessions show            the newest
  sallyport sessions show 3f2a --html > session.html`
}

// sessionsListCmd is `sallyport sessions [list]`.
type sessionsListCmd struct {
	Agent string `help:"Only this agent."`
	Since when   `placeholder:"WHEN" help:"Begun not before: 24h, 7d, a date or RFC 3339."`
	Limit int    `short:"n" default:"20" help:"At most N; 0: all."`
}

// Run lists.
func (s sessionsListCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		all, err := a.Sessions(c.ctx, s.Agent, s.Since.Time)
		if err != nil {
			return err
		}
		shown := all
		if s.Limit > 0 && len(shown) > s.Limit {
			shown = shown[:s.Limit]
		}
		if c.flags.JSON {
			return c.json(map[string]any{"sessions": shown, "total": len(all)})
		}
		if len(all) == 0 {
			c.printf("no sessions yet: run `sallyport run examples/nightwatch.yaml --once`\n")
			return nil
		}
		t := table{cols: []column{
			{title: "SESSION"},
			{title: "AGENT", flex: true},
			{title: "LIVE WITH", flex: true},
			{title: "BEGUN"},
			{title: "LASTED", right: true},
			{title: "EVENTS", right: true},
			{title: "BLOCKED", right: true},
			{title: "ALERTS", right: true},
			{title: "COST", right: true},
		}}
		for _, x := range shown {
			t.add(plain(x.ID), plain(x.Agent), plain(cmp.Or(x.Label, "-")), plain(localTime(x.Begun)), plain(duration(x.Last.Sub(x.Begun))), plain(fmt.Sprint(x.Events)),
				c.count(x.Blocked), c.count(x.Alerts), plain(dollars(x.Dollars)))
		}
		t.print(c)
		if len(shown) < len(all) {
			c.printf("%d more: sallyport sessions -n 0\n", len(all)-len(shown))
		}
		return nil
	})
}

// count shows a number that should be 0.
func (c *call) count(n int) cell {
	x := cell{text: fmt.Sprint(n)}
	if n > 0 {
		x.color = c.paint.yellow
	}
	return x
}

// sessionsShowCmd is `sallyport sessions show`.
type sessionsShowCmd struct {
	ID   string `arg:"" optional:"" help:"A session's id, or its beginning; default: the newest."`
	HTML bool   `name:"html" help:"Write one self-contained HTML page."`
}

// Run shows one session.
func (s sessionsShowCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		sess, events, err := a.Session(c.ctx, s.ID)
		if err != nil {
			return err
		}
		switch {
		case c.flags.JSON:
			return c.json(map[string]any{"session": sess, "events": events})
		case s.HTML:
			return writeSessionHTML(c.out, sess, steps(events))
		}
		c.sessionText(sess, steps(events))
		return nil
	})
}
