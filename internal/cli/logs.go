package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport/internal/app"
)

// logsCmd is `sallyport logs`.
type logsCmd struct {
	Follow bool   `short:"f" help:"Go on with new lines until interrupted."`
	Level  string `enum:"debug,info,warning,error" default:"debug" help:"Least level shown: debug, info, warning or error."`
	Limit  int    `short:"n" default:"0" help:"The last N lines only; 0: all."`
}

// Help teaches.
func (logsCmd) Help() string {
	return `The readable log (logging.file, rotated) for people; what counts as evidence is in
` + "`sallyport events`" + ` and ` + "`sallyport verify`" + `. Examples:
  sallyport logs --level warning
  sallyport logs -f`
}

// Run shows lines of the readable log.
func (l logsCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		var kept []app.LogLine
		err := a.Logs(c.ctx, false, func(x app.LogLine) error {
			if levelRank(x.Level) >= levelRank(l.Level) || x.Raw != "" {
				kept = append(kept, x)
				if l.Limit > 0 && len(kept) > l.Limit {
					kept = kept[1:]
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(kept) == 0 && !l.Follow && !c.flags.JSON {
			c.printf("no log lines yet in %s: run `sallyport run examples/nightwatch.yaml --once`\n", visible(a.Paths.Log))
			return nil
		}
		for _, x := range kept {
			if err := c.logLine(x); err != nil {
				return err
			}
		}
		if !l.Follow {
			return nil
		}
		return a.Logs(c.ctx, true, func(x app.LogLine) error {
			if levelRank(x.Level) < levelRank(l.Level) && x.Raw == "" {
				return nil
			}
			return c.logLine(x)
		})
	})
}

func (c *call) logLine(x app.LogLine) error {
	if c.flags.JSON {
		return c.jsonLine(x)
	}
	if x.Raw != "" {
		c.printf("%s\n", visible(x.Raw))
		return nil
	}
	var attrs strings.Builder
	for _, k := range slices.Sorted(maps.Keys(x.Attrs)) {
		fmt.Fprintf(&attrs, " %s=%v", k, x.Attrs[k])
	}
	_, err := fmt.Fprintf(c.out, "%s %s %s%s\n", c.paint.dim(localTime(x.Time)),
		c.paint.alert(fmt.Sprintf("%-5s", visible(x.Level))), visible(x.Message), c.paint.dim(visible(attrs.String())))
	if err != nil {
		return errors.Join(err)
	}
	return nil
}

// levelRank orders levels; slog writes WARN for warning.
func levelRank(s string) int {
	switch strings.ToLower(s) {
	case "debug":
		return 0
	case "warn", "warning":
		return 2
	case "error":
		return 3
	}
	return 1
}
