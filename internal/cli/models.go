package cli

import (
	"maps"
	"slices"

	"sallyport/internal/app"
)

// modelsCmd is `sallyport models`.
type modelsCmd struct {
	AgentFile string `arg:"" optional:"" help:"Show what a run of this agent file would use."`
}

// Help teaches.
func (modelsCmd) Help() string {
	return `Names that agent files use for models, what they stand for, what they cost and
the highest label each may receive. Examples:
  sallyport models
  sallyport models examples/nightwatch.yaml`
}

// Run lists the models.
func (m modelsCmd) Run(c *call) error {
	return c.withAgent(m.AgentFile, func(a *app.App) error { return c.models(a) })
}

func (c *call) models(a *app.App) error {
	rows := a.Models()
	if c.flags.JSON {
		return c.json(map[string]any{"models": rows})
	}
	t := table{cols: []column{{title: "NAME"}, {title: "PROVIDER"}, {title: "MODEL", flex: true}, {title: "$/M IN", right: true}, {title: "$/M OUT", right: true}, {title: "MAY RECEIVE"}, {title: "KEY", flex: true}}}
	for _, r := range rows {
		in, out := "unknown", "unknown"
		if r.Price != nil {
			in, out = price(r.Price.Input), price(r.Price.Output)
		}
		key := cell{text: "none needed"}
		if r.KeyEnv != "" && r.KeySet {
			key = cell{text: visible(r.KeyEnv)}
		} else if r.KeyEnv != "" {
			key = cell{text: visible(r.KeyEnv) + " not set", color: c.paint.yellow}
		}
		t.add(plain(r.Name), plain(r.Provider), plain(r.Model), plain(in), plain(out), plain(a.ShowLabel(r.Clearance)), key)
	}
	t.print(c)
	return nil
}

func price(f float64) string {
	if f == 0 {
		return "0"
	}
	return dollars(f)[1:]
}

// sortedKeys gives the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
