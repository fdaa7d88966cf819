package cli

import (
	"fmt"

	"sallyport/internal/app"
)

// costCmd is `sallyport cost`.
type costCmd struct {
	By    string `enum:"agent,model,day" default:"agent" help:"Sum by agent, model or day (UTC)."`
	Since when   `placeholder:"WHEN" help:"Settled not before: 24h, 7d, a date or RFC 3339."`
}

// Help teaches.
func (costCmd) Help() string {
	return `What models cost, as settled; a call whose end is unknown counts with what it had
reserved. Examples:
  sallyport cost --by day --since 30d
  sallyport cost --json`
}

// Run sums.
func (k costCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		rows, err := a.Costs(c.ctx, k.By, k.Since.Time)
		if err != nil {
			return err
		}
		total, calls := 0.0, 0
		for _, r := range rows {
			total += r.Dollars
			calls += r.Calls
		}
		if c.flags.JSON {
			return c.json(map[string]any{"by": k.By, "costs": rows, "dollars": total})
		}
		if len(rows) == 0 {
			c.printf("nothing was spent: no paid model call was settled (builtin models cost nothing)\n")
			return nil
		}
		t := table{cols: []column{{title: map[string]string{"agent": "AGENT", "model": "MODEL", "day": "DAY (UTC)"}[k.By], flex: true}, {title: "CALLS", right: true}, {title: "COST", right: true}}}
		for _, r := range rows {
			t.add(plain(r.Key), plain(fmt.Sprint(r.Calls)), plain(dollars(r.Dollars)))
		}
		t.add(cell{text: "total", color: c.paint.bold}, plain(fmt.Sprint(calls)), cell{text: dollars(total), color: c.paint.bold})
		t.print(c)
		return nil
	})
}
