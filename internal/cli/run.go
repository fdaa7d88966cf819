package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// runCmd is `sallyport run`.
type runCmd struct {
	Path        string `arg:"" help:"An agent file, or a directory whose agent files run in one process."`
	Once        bool   `help:"One patrol without pauses, then a summary."`
	Unattended  bool   `help:"Nobody answers: a question is a no. So it is without a terminal."`
	Turns       int    `placeholder:"N" help:"At most N model turns; default: 200 with --once, else no bound."`
	Every       span   `placeholder:"SPAN" help:"Patrol again at this interval (1h), each as with --once."`
	FailLevel   int    `placeholder:"N" help:"End with 10 when a report's warning level is N (1 to 5) or above."`
	RequireTier string `enum:",full,landlock" default:"" help:"Refuse a weaker sandbox: full or landlock; default: what the profile requires."`
}

// Help teaches.
func (runCmd) Help() string {
	return `The configuration is --config, else sallyport.yaml beside the agent file, else the
one in the state directory; which one is said at start. Ctrl-C ends the command
that runs, a second one the run; what was started is settled. Examples:
  sallyport run examples/nightwatch.yaml --once
  sallyport run examples/nightwatch.yaml --every 1h --unattended
  sallyport run agents/ --once --fail-level 4 --json`
}

// Run runs the agents and sums up.
func (r runCmd) Run(c *call) error {
	if err := r.check(); err != nil {
		return err
	}
	a, err := c.open(r.Path, true)
	if err != nil {
		return err
	}
	progress := c.raw
	if c.flags.JSON {
		progress = c.err // standard output is the summary alone
	}
	attended := !r.Unattended && c.terminal() && !c.flags.JSON
	interrupts, stop := listen()
	defer stop()
	sums, err := a.Run(c.ctx, app.RunOptions{
		Path: r.Path, Once: r.Once, Unattended: !attended, Turns: r.Turns, Every: r.Every.Duration, RequireTier: r.RequireTier,
		Operator: a.Operator(c.ctx), Out: progress, Console: app.Consoles(c.in, progress, attended, c.paint.on, c.flags.Verbose), Interrupts: interrupts,
	})
	err = errors.Join(err, a.Close())
	if len(sums) > 0 {
		err = errors.Join(err, c.summaries(sums))
	}
	return r.verdict(sums, err)
}

func (r runCmd) check() error {
	switch {
	case r.FailLevel < 0 || r.FailLevel > 5:
		return fault.New("run", fault.Usage, "--fail-level is a warning level from 1 to 5, not %d", r.FailLevel)
	case r.Turns < 0:
		return fault.New("run", fault.Usage, "--turns must not be negative")
	}
	if _, err := os.Stat(r.Path); err != nil {
		return &fault.Error{
			Op: "run", Kind: fault.NotFound, Err: err,
			Public: fmt.Sprintf("there is no agent file or directory %s; try `sallyport run examples/nightwatch.yaml --once`", r.Path),
		}
	}
	return nil
}

// listen turns Ctrl-C into a channel: the first ends a command, not the run.
func listen() (<-chan struct{}, func()) {
	signals := make(chan os.Signal, 4)
	out := make(chan struct{}, 4)
	done := make(chan struct{})
	signal.Notify(signals, os.Interrupt)
	go func() {
		for {
			select {
			case <-done:
				return
			case <-signals:
				select {
				case out <- struct{}{}:
				default: // nobody reads so fast
				}
			}
		}
	}()
	return out, func() { signal.Stop(signals); close(done) }
}

// verdict gives the error that makes the exit code: a failure first, then how
// the runs ended, then the warning level.
func (r runCmd) verdict(sums []app.RunSummary, err error) error {
	if err != nil {
		return err
	}
	level := 0
	for _, s := range sums {
		switch s.Ended {
		case "interrupted":
			return fault.Wrap("run", fault.Canceled, context.Canceled)
		case "budget":
			return fault.New("run", fault.Budget, "%s reached its spend limit; raise spendLimitDollars or wait, `sallyport cost` shows what was spent", s.Agent)
		case "stopped":
			return fault.New("run", fault.Denied, "%s was stopped by the operator; `sallyport run` starts it again", s.Agent)
		}
		if s.Report != nil {
			level = max(level, s.Report.Level)
		}
	}
	if r.FailLevel > 0 && level >= r.FailLevel {
		return levelError{level, r.FailLevel}
	}
	return nil
}

// summaries shows how the runs went, on one screen.
func (c *call) summaries(sums []app.RunSummary) error {
	if c.flags.JSON {
		return c.json(map[string]any{"runs": sums})
	}
	for _, s := range sums {
		c.printf("\n%s\n", c.paint.bold("Summary of "+visible(s.Agent)))
		if s.Coverage != "" {
			c.printf("  coverage    %s\n", visible(s.Coverage)) // first: a level means nothing without it
		}
		if s.Report != nil {
			lvl := c.level(s.Report.Level)
			if lvl.color == nil {
				lvl.color = c.paint.bold
			}
			c.printf("  level       %s of 5\n", lvl.color(lvl.text))
			c.printf("  findings    %s\n", findingsText(s.Findings))
			c.printf("  report      %s\n", visible(nearPath(s.Report.File)))
		} else {
			c.printf("  report      none\n")
		}
		c.printf("  ended       %s after %s: %s, %s, %d denied\n", visible(s.Ended), duration(time.Duration(s.Seconds*float64(time.Second))),
			plural(s.Turns, "turn", "turns"), plural(s.Commands, "command", "commands"), s.Denied)
		c.printf("  cost        %s, %d tokens\n", dollars(s.Cost.Dollars()), s.Tokens)
		if s.Tier != "" {
			c.printf("  sandbox     tier %s\n", visible(s.Tier))
		}
		c.printf("  log         %s, root %s\n", plural(int(s.LogSize), "entry", "entries"), visible(s.LogRoot))
		if s.Error != "" && len(sums) > 1 { // of a single run it is said at the end
			c.printf("  error       %s\n", c.paint.red(visible(s.Error)))
		}
		if s.Session != "" {
			c.printf("Next: sallyport reports show, sallyport sessions show %s, sallyport verify\n", visible(s.Session))
		}
	}
	return nil
}

// findingsText lists findings by severity, worst first.
func findingsText(n map[string]int) string {
	var parts []string
	for _, name := range []string{"critical", "high", "medium", "low", "info"} {
		if n[name] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[name], name))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// nearPath shortens a path below the working directory.
func nearPath(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}
