package cli

import (
	"cmp"
	"fmt"

	"sallyport/internal/app"
)

// costCmd is `sallyport cost`.
type costCmd struct {
	By    string `enum:"agent,model,key,day" default:"agent" help:"Sum by agent, model, key (API key) or day (UTC)."`
	Since when   `placeholder:"WHEN" help:"Settled not before: 24h, 7d, a date or RFC 3339."`
}

// Help teaches.
func (costCmd) Help() string {
	return `What models used and cost, as settled; a call whose end is unknown counts with
what it had reserved. IN and OUT are tokens as the upstream reported them, CACHED
is the part of IN that it read from its cache. --json tells all figures.
Examples:
  sallyport cost --by day --since 30d
  sallyport cost --by key
  sallyport cost --json`
}

// Run sums.
func (k costCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		rows, err := a.Costs(c.ctx, k.By, k.Since.Time)
		if err != nil {
			return err
		}
		all := app.Cost{Key: "total"}
		for _, r := range rows {
			all.Calls += r.Calls
			all.Input += r.Input
			all.Output += r.Output
			all.CacheRead += r.CacheRead
			all.CacheWrite += r.CacheWrite
			all.Reasoning += r.Reasoning
			all.Dollars += r.Dollars
		}
		if c.flags.JSON {
			return c.json(map[string]any{"by": k.By, "costs": rows, "dollars": all.Dollars, "total": all})
		}
		if len(rows) == 0 {
			c.printf("nothing was spent: no paid model call was settled (builtin models cost nothing)\n")
			return nil
		}
		title := map[string]string{"agent": "AGENT", "model": "MODEL", "key": "API KEY", "day": "DAY (UTC)"}[k.By]
		t := table{cols: []column{{title: title, flex: true}, {title: "CALLS", right: true}, {title: "IN", right: true}, {title: "OUT", right: true}, {title: "CACHED", right: true}, {title: "COST", right: true}}}
		for _, r := range rows {
			t.add(append([]cell{plain(cmp.Or(r.Key, "(none)"))}, figures(r)...)...)
		}
		total := append([]cell{{text: all.Key, color: c.paint.bold}}, figures(all)...)
		total[len(total)-1].color = c.paint.bold
		t.add(total...)
		t.print(c)
		return nil
	})
}

// figures gives a row's cells after its name.
func figures(r app.Cost) []cell {
	return []cell{
		plain(fmt.Sprint(r.Calls)), plain(tokens(r.Input + r.CacheRead + r.CacheWrite)), plain(tokens(r.Output)),
		plain(tokens(r.CacheRead)), plain(dollars(r.Dollars)),
	}
}

// tokens shows a count in at most seven characters, so that a row always fits.
func tokens(n int64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}} {
		if f := float64(n); f >= unit.size {
			return fmt.Sprintf("%.1f%s", f/unit.size, unit.name)
		}
	}
	return fmt.Sprint(n)
}
