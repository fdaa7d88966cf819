package cli

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"sallyport/internal/app"
)

// reportsCmd is `sallyport reports`.
type reportsCmd struct {
	List reportsListCmd `cmd:"" default:"withargs" help:"List reports, newest first."`
	Show reportsShowCmd `cmd:"" help:"Show a report."`
}

// reportsListCmd is `sallyport reports [list]`.
type reportsListCmd struct {
	Limit int `short:"n" default:"20" help:"At most N reports; 0: all."`
}

// Help teaches.
func (reportsCmd) Help() string {
	return `What patrols found, with the warning level 1 (nothing) to 5 (act now). Examples:
  sallyport reports
  sallyport reports show      the newest
  sallyport reports show 3`
}

// Run lists.
func (r reportsListCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		all, err := a.Reports()
		if err != nil {
			return err
		}
		shown := all
		if r.Limit > 0 && len(shown) > r.Limit {
			shown = shown[:r.Limit]
		}
		if c.flags.JSON {
			return c.json(map[string]any{"reports": shown, "total": len(all)})
		}
		if len(all) == 0 {
			c.printf("no reports yet in %s: run `sallyport run examples/nightwatch.yaml --once`\n", visible(a.Paths.Reports))
			return nil
		}
		t := table{cols: []column{{title: "N", right: true}, {title: "LEVEL"}, {title: "WRITTEN"}, {title: "HOST", flex: true}, {title: "FILE", flex: true}}}
		for _, x := range shown {
			t.add(plain(fmt.Sprint(x.N)), c.level(x.Level), plain(localTime(x.Written)), plain(x.Host), plain(filepath.Base(x.File)))
		}
		t.print(c)
		if len(shown) < len(all) {
			c.printf("%d more: sallyport reports -n 0\n", len(all)-len(shown))
		}
		return nil
	})
}

// level shows a warning level with its colour.
func (c *call) level(n int) cell {
	x := cell{text: fmt.Sprintf("%d", n)}
	switch {
	case n >= 4:
		x.color = c.paint.red
	case n == 3:
		x.color = c.paint.yellow
	case n == 0:
		x.text = "-"
	default:
		x.color = c.paint.green
	}
	return x
}

// reportsShowCmd is `sallyport reports show`.
type reportsShowCmd struct {
	N int `arg:"" optional:"" default:"1" help:"Its number in the list; 1 is the newest."`
}

// Run shows one report.
func (r reportsShowCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		rep, text, data, err := a.ReadReport(r.N)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(struct {
				app.Report
				Text    string          `json:"text"`
				Content json.RawMessage `json:"report,omitempty"`
			}{rep, text, data})
		}
		c.printf("%s\n\n%s\n", c.paint.dim(visible(rep.File)), visibleLines(text))
		return nil
	})
}
