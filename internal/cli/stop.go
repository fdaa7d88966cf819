package cli

import (
	"cmp"
	"strings"
	"time"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// stopCmd is `sallyport stop`.
type stopCmd struct {
	Agent string `arg:"" optional:"" help:"The agent's username."`
	All   bool   `help:"Stop every agent."`
	Wait  span   `default:"5s" help:"How long a run may take to end by itself before it is killed."`
}

// Help teaches.
func (stopCmd) Help() string {
	return `Records the stop, refuses every further action of the agent, waits for its run to
end and kills it if it does not: a run that hangs or was suspended ends too. It
stays stopped until ` + "`sallyport run`" + `, guard or proxy is started for it anew: a proxy
that runs refuses its calls. Examples:
  sallyport stop sarah
  sallyport stop --all`
}

// Run stops.
func (s stopCmd) Run(c *call) error {
	switch {
	case s.Agent == "" && !s.All:
		return fault.New("stop", fault.Usage, "name the agent to stop, or --all; `sallyport status` shows what runs")
	case s.Agent != "" && s.All:
		return fault.New("stop", fault.Usage, "name an agent or --all, not both")
	}
	return c.with(func(a *app.App) error {
		res, err := a.Stop(c.ctx, app.StopOptions{Agent: s.Agent, By: a.Operator(c.ctx), Wait: max(s.Wait.Duration, time.Millisecond)})
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(res)
		}
		who := s.Agent
		if s.All {
			who = "every agent"
		}
		c.printf("stopped %s; starting it anew (`sallyport run`, `guard` or `proxy`) ends that\n", visible(who))
		if len(res.Runs) == 0 {
			c.printf("no process of its own was running\n")
		}
		for _, r := range res.Runs {
			c.printf("  pid %d (%s): %s\n", r.PID, visible(cmp.Or(strings.Join(r.Agents, ", "), "model proxy")), c.howEnded(r.How))
			if r.How == app.StopAlive {
				err = fault.New("stop", fault.Unavailable, "process %d could not be ended; its actions are refused, but end it by hand", r.PID)
			}
		}
		return err
	})
}

func (c *call) howEnded(how string) string {
	switch how {
	case app.StopEnded:
		return c.paint.green("ended by itself")
	case app.StopKilled:
		return c.paint.yellow("did not end, killed; what was in flight is recorded as unknown")
	}
	return c.paint.red("is still there")
}
