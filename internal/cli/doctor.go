package cli

import (
	"strings"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// doctorCmd is `sallyport doctor`.
type doctorCmd struct {
	Production bool `help:"Also refuse what is fine only while trying things out."`
}

// Help teaches.
func (doctorCmd) Help() string {
	return `Tries the sandbox's primitives on this machine, reads the configuration and looks
at permissions and keys; each problem comes with its remedy. Ends with 8 when the
machine lacks what the configuration requires, with 3 when a setting or a
permission is wrong. Examples:
  sallyport doctor
  sallyport doctor --production`
}

// Run checks and lists.
func (d doctorCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		checks := a.Doctor(c.ctx, d.Production)
		failed, unsupported := 0, false
		for _, x := range checks {
			if x.State == app.CheckFail {
				failed++
				unsupported = unsupported || x.Area == "sandbox"
			}
		}
		if c.flags.JSON {
			if err := c.json(map[string]any{"ok": failed == 0, "checks": checks}); err != nil {
				return err
			}
		} else {
			c.showChecks(checks)
		}
		switch {
		case unsupported:
			return fault.New("doctor", fault.Unsupported, "%s failed; this machine lacks what the configuration requires: the remedies are above", plural(failed, "check", "checks"))
		case failed > 0:
			return fault.New("doctor", fault.Config, "%s failed; the remedies are above", plural(failed, "check", "checks"))
		}
		return nil
	})
}

func (c *call) showChecks(checks []app.Check) {
	area := ""
	for _, x := range checks {
		if x.Area != area {
			area = x.Area
			c.printf("%s\n", c.paint.bold(area))
		}
		c.printf("  %s  %s: %s\n", c.paint.alert(string(x.State))+strings.Repeat(" ", max(0, 4-len(x.State))), visible(x.Name), visible(x.Detail))
		if x.Remedy != "" && x.State != app.CheckOK {
			c.printf("        %s %s\n", c.paint.dim("remedy:"), visible(x.Remedy))
		}
	}
}
