package cli

import (
	"fmt"
	"strings"

	"sallyport/internal/app"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// alertsCmd is `sallyport alerts`.
type alertsCmd struct {
	List          alertsListCmd  `cmd:"" default:"withargs" help:"List alerts that nobody has dealt with; the default."`
	Show          alertsShowCmd  `cmd:"" help:"Show one alert, and whether it was told."`
	Ack           alertsAckCmd   `cmd:"" help:"Say that somebody is at it."`
	Resolve       alertsDoneCmd  `cmd:"" help:"Say that it is dealt with."`
	FalsePositive alertsFalseCmd `cmd:"" help:"Say that it meant nothing."`
	Test          alertsTestCmd  `cmd:"" help:"Send a test message to a sink."`
	Watch         alertsWatchCmd `cmd:"" help:"Raise and deliver alerts until interrupted."`
}

// Help teaches.
func (alertsCmd) Help() string {
	return `An alert opens when a rule matches what was recorded, counts up while it is open
or acknowledged, and ends as resolved or false positive; what comes later opens a
new one. Rules and sinks are under alerts: in the configuration. Examples:
  sallyport alerts
  sallyport alerts --all --since 7d --json
  sallyport alerts ack k3x9ab --note 'on it'
  sallyport alerts test ops`
}

// alertsListCmd is `sallyport alerts list`.
type alertsListCmd struct {
	All   bool   `help:"Also those that are over."`
	Rule  string `help:"Only of this rule."`
	Agent string `help:"Only about this agent."`
	Since when   `placeholder:"WHEN" help:"Changed not before: a span back from now (24h, 7d), a date or RFC 3339."`
	Limit int    `short:"n" default:"50" help:"The newest N."`
}

// Help teaches.
func (alertsListCmd) Help() string { return alertsCmd{}.Help() }

// Run lists.
func (l alertsListCmd) Run(c *call) error {
	if l.Limit < 1 {
		return fault.New("alerts", fault.Usage, "--limit must be at least 1")
	}
	return c.with(func(a *app.App) error {
		list, err := a.Alerts(c.ctx, app.AlertFilter{All: l.All, Rule: l.Rule, Agent: l.Agent, Since: l.Since.Time, Limit: l.Limit})
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"alerts": list})
		}
		if len(list) == 0 {
			c.printf("no alerts; `sallyport alerts --all` lists those that are over\n")
			return nil
		}
		t := table{cols: []column{{title: "ALERT"}, {title: "STATE"}, {title: "SEVERITY"}, {title: "RULE", flex: true}, {title: "EVENTS", right: true}, {title: "UPDATED"}, {title: "TITLE", flex: true}}}
		for _, x := range list {
			t.add(plain(x.ID), plain(x.State), c.severity(x.Severity), plain(x.Rule), plain(fmt.Sprint(x.Count)), plain(localTime(x.Updated)), plain(oneLine(x.Title)))
		}
		t.print(c)
		c.printf("\n`sallyport alerts show ALERT` tells more, `sallyport alerts ack ALERT` says that you are at it\n")
		return nil
	})
}

func (c *call) severity(s string) cell {
	x := cell{text: visible(s)}
	switch s {
	case "critical", "high":
		x.color = c.paint.red
	case "medium":
		x.color = c.paint.yellow
	}
	return x
}

// alertsShowCmd is `sallyport alerts show`.
type alertsShowCmd struct {
	ID string `arg:"" name:"alert" help:"The alert's id, from sallyport alerts."`
}

// Help teaches.
func (alertsShowCmd) Help() string {
	return "Shows an alert, which events it is about, and which sinks were told.\nExample:\n  sallyport alerts show k3x9ab"
}

// Run shows.
func (s alertsShowCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		x, err := a.Alert(c.ctx, s.ID)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(x)
		}
		c.printf("%s\n\n", c.paint.bold(visible(oneLine(x.Title))))
		row := func(name, value string) {
			if value != "" {
				c.printf("%-10s %s\n", name, visible(value))
			}
		}
		row("alert", x.ID)
		row("state", x.State)
		row("severity", x.Severity)
		row("rule", x.Rule)
		row("subject", x.Subject)
		row("agent", x.Agent)
		row("session", x.Session)
		row("opened", localTime(x.Opened))
		row("updated", localTime(x.Updated))
		row("events", fmt.Sprintf("%d, ids %d to %d", x.Count, x.FirstEvent, x.LastEvent))
		row("by", x.By)
		row("note", x.Note)
		for _, d := range x.Deliveries {
			c.printf("%-10s %s\n", "told", visible(delivered(d)))
		}
		c.printf("\n%s\n", visible(nextStep(x)))
		return nil
	})
}

func delivered(d app.AlertDelivery) string {
	s := d.Sink + ": " + d.State
	if d.Tries > 1 {
		s += fmt.Sprintf(" after %d tries", d.Tries)
	}
	if !d.Next.IsZero() && d.Tries > 0 {
		s += ", again at " + localTime(d.Next)
	}
	if d.Error != "" {
		s += ": " + oneLine(d.Error)
	}
	return s
}

// nextStep names what a person does next about an alert.
func nextStep(x app.Alert) string {
	look := "`sallyport events --since 24h`"
	if x.Session != "" {
		look = "`sallyport sessions show " + x.Session + "`"
	}
	switch x.State {
	case record.AlertOpen:
		return look + " shows what happened; `sallyport alerts ack " + x.ID + "` says that you are at it"
	case record.AlertAcknowledged:
		return look + " shows what happened; `sallyport alerts resolve " + x.ID + " --note WHY` ends it"
	}
	return look + " shows what happened"
}

// alertFlags are what the changes of a state have in common.
type alertFlags struct {
	ID   string `arg:"" name:"alert" help:"The alert's id, from sallyport alerts."`
	Note string `help:"Why, for the record."`
}

// alertsAckCmd is `sallyport alerts ack`.
type alertsAckCmd struct{ alertFlags }

// alertsDoneCmd is `sallyport alerts resolve`.
type alertsDoneCmd struct{ alertFlags }

// alertsFalseCmd is `sallyport alerts false-positive`.
type alertsFalseCmd struct{ alertFlags }

// Help teaches.
func (alertsAckCmd) Help() string {
	return "An acknowledged alert goes on counting, and nobody is told again. Example:\n  sallyport alerts ack k3x9ab --note 'looking into it'"
}

// Help teaches.
func (alertsDoneCmd) Help() string {
	return "Ends an alert; what comes later opens a new one. Example:\n  sallyport alerts resolve k3x9ab --note 'key revoked'"
}

// Help teaches.
func (alertsFalseCmd) Help() string {
	return "Ends an alert that meant nothing. A rule that is often wrong can be changed under\nalerts.rules or switched off in alerts.off. Example:\n  sallyport alerts false-positive k3x9ab --note 'a test'"
}

// Run acknowledges.
func (f alertsAckCmd) Run(c *call) error { return f.set(c, record.AlertAcknowledged) }

// Run resolves.
func (f alertsDoneCmd) Run(c *call) error { return f.set(c, record.AlertResolved) }

// Run rejects.
func (f alertsFalseCmd) Run(c *call) error { return f.set(c, record.AlertFalsePositive) }

func (f alertFlags) set(c *call, state string) error {
	return c.with(func(a *app.App) error {
		x, err := a.SetAlert(c.ctx, f.ID, state, f.Note, a.Operator(c.ctx))
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(x)
		}
		c.printf("%s is %s", visible(x.ID), strings.ReplaceAll(x.State, "_", " "))
		if state == record.AlertAcknowledged {
			c.printf("; `sallyport alerts resolve %s --note WHY` ends it", visible(x.ID))
		}
		c.printf("\n")
		return nil
	})
}

// alertsTestCmd is `sallyport alerts test`.
type alertsTestCmd struct {
	Sink string `arg:"" help:"Name of a sink under alerts.sinks."`
}

// Help teaches.
func (alertsTestCmd) Help() string {
	return "Sends one message that says it is a test, and shows what the sink answered.\nExample:\n  sallyport alerts test ops"
}

// Run sends.
func (t alertsTestCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		if err := a.TestAlertSink(c.ctx, t.Sink, a.Operator(c.ctx)); err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"sink": t.Sink, "result": "sent"})
		}
		c.printf("sent to %s\n", visible(t.Sink))
		return nil
	})
}

// alertsWatchCmd is `sallyport alerts watch`.
type alertsWatchCmd struct{}

// Help teaches.
func (alertsWatchCmd) Help() string {
	return `Does what every run does beside its agents, for a machine where nothing else
runs: watches disk and memory, raises alerts from events that other programs sent,
delivers what is due, verifies the log and removes old events once a day. Several
may run; one works and another takes over. Example:
  sallyport alerts watch --json`
}

// Run watches.
func (alertsWatchCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		if !c.flags.JSON {
			fmt.Fprintln(c.err, "watching; ^C ends it")
		}
		return a.WatchAlerts(c.ctx, c.event)
	})
}
