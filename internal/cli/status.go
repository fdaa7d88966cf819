package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"sallyport/internal/app"
)

// statusCmd is `sallyport status`.
type statusCmd struct{}

// Help teaches.
func (statusCmd) Help() string {
	return `What runs, what was stopped, what waits for an answer, how the log stands.
Examples:
  sallyport status
  sallyport status --json | jq .runs`
}

// Run shows the state.
func (statusCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		s, err := a.Status(c.ctx)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(s)
		}
		c.printf("state     %s\n", visible(s.Paths.Home))
		c.printf("config    %s\n", visible(nameOf(s.Paths.Config)))
		if !s.Begun {
			c.printf("nothing ran yet: run `sallyport run examples/nightwatch.yaml --once`\n")
			return nil
		}
		c.status(s)
		return nil
	})
}

func (c *call) status(s app.Status) {
	if len(s.Runs) == 0 {
		c.printf("running   nothing\n")
	}
	for _, r := range s.Runs {
		who := strings.Join(r.Agents, ", ")
		if r.Proxy {
			who = "model proxy"
		}
		c.printf("running   %s  pid %d  for %s\n", c.paint.bold(visible(who)), r.PID, duration(time.Since(r.Begun)))
	}
	for _, x := range s.Sessions {
		c.printf("session   %s of %s is now %s\n", visible(x.ID), visible(x.Agent), visible(cmp.Or(x.Label, "without a label")))
	}
	for _, x := range s.Stops {
		who := x.Agent
		if who == "" {
			who = "everybody"
		}
		c.printf("stopped   %s\n", c.paint.yellow(visible(fmt.Sprintf("%s by %s at %s; starting it anew (`sallyport run`, `guard` or `proxy`) ends that", who, x.By, localTime(x.At)))))
	}
	c.printf("actions   %d under way\n", s.InFlight)
	if s.OpenAsks > 0 {
		c.printf("asks      %s\n", c.paint.yellow(fmt.Sprintf("%d waiting; see `sallyport approvals`", s.OpenAsks)))
	}
	if s.Denied > 0 {
		c.printf("denied    event %d is the newest; `sallyport explain %d` says why\n", s.Denied, s.Denied)
	}
	c.printf("spent     %s, %s reserved\n", dollars(s.Dollars), dollars(s.Reserved))
	c.printf("log       %s, %s, newest %s\n", plural(int(s.Entries), "entry", "entries"), bytesText(s.Bytes), localTime(s.Clock))
	if s.Root != "" {
		c.printf("root      %s\n", s.Root)
	}
	if s.ClockBack {
		c.printf("clock     %s\n", c.paint.yellow("this machine's clock is behind the log's newest entry: set it right"))
	}
	for _, x := range s.Anchors {
		if x.Error != "" {
			c.printf("anchor    %s\n", c.paint.red(visible(x.Name+": "+x.Error)))
			continue
		}
		c.printf("anchor    %s: %s safe, %s\n", visible(x.Name), plural(int(x.Size), "entry", "entries"), localTime(x.Time))
	}
	if len(s.Anchors) == 0 {
		c.printf("anchor    %s\n", c.paint.yellow("none: who owns this host can rewrite the log; set log.anchor"))
	}
}
