package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport/internal/app"
	"sallyport/internal/config"
)

// configProfilesCmd is `sallyport config profiles`.
type configProfilesCmd struct {
	Name string `arg:"" optional:"" help:"Show this one whole."`
}

// Help teaches.
func (configProfilesCmd) Help() string {
	return `A profile is what a program sees, keeps and reaches. Shipped ones can be changed
or extended under profiles: in sallyport.yaml, or by files profiles/NAME.yaml in
the state directory. Examples:
  sallyport config profiles
  sallyport config profiles claude-code
  sallyport config profiles node --json`
}

// Run lists or shows.
func (p configProfilesCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		if p.Name != "" {
			return c.profile(a.Config, p.Name)
		}
		all := map[string]config.Profile{}
		for name := range a.Config.Profiles {
			one, err := a.Config.Profile(name)
			if err != nil {
				return err
			}
			all[name] = one
		}
		if c.flags.JSON {
			return c.json(map[string]any{"profiles": all})
		}
		t := table{cols: []column{{title: "PROFILE"}, {title: "FOR", flex: true}, {title: "WORKDIR"}, {title: "NETWORK"}, {title: "DESCRIPTION", flex: true}}}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			one := all[name]
			workdir := one.Workdir
			if one.View == "auditor" {
				workdir = "host, read-only"
			}
			t.add(plain(name), plain(strings.Join(one.Commands, " ")), plain(workdir), plain(networkText(one.Network)), plain(one.Description))
		}
		t.print(c)
		return nil
	})
}

func networkText(n config.Network) string {
	switch {
	case n.Offline():
		return "none"
	case len(n.Allow) == 0:
		return "asked for"
	case n.Unlisted == "ask":
		return plural(len(n.Allow), "rule", "rules") + ", then asked"
	}
	return plural(len(n.Allow), "rule", "rules")
}

// profile shows one profile with its reasons.
func (c *call) profile(cfg *config.Config, name string) error {
	p, err := cfg.Profile(name)
	if err != nil {
		return err
	}
	if c.flags.JSON {
		return c.json(p)
	}
	c.printf("%s: %s\n", c.paint.bold(visible(name)), visible(p.Description))
	row := func(what, value, why string) {
		if why != "" {
			why = "  # " + why
		}
		c.printf("  %-10s %s%s\n", what, visible(value), visible(why))
	}
	row("workdir", p.Workdir, "")
	row("tier", p.RequiredTier, "")
	row("label", cfg.Shown(p.ViewLabel), "")
	for _, m := range p.Mounts {
		row("shows", m.Path, m.Why)
	}
	for _, f := range p.Home {
		row("copies", "~/"+f.Path, f.Why)
	}
	for _, s := range p.Sockets {
		row("socket", s.Path, s.Why)
	}
	for _, e := range p.EnvPass {
		row("passes", e.Name, e.Why)
	}
	for _, k := range slices.Sorted(maps.Keys(p.Env)) {
		row("sets", k+"="+p.Env[k], "")
	}
	for _, n := range p.Secrets {
		s := cfg.SecretsOf(p)[n]
		row("secret", fmt.Sprintf("%s to %s:%d, shown as %s", n, s.Host, s.Port, s.Env), s.Why)
	}
	for _, r := range p.Network.Allow {
		row("reaches", ruleText(r), r.Why)
	}
	switch {
	case p.Network.Offline():
		row("network", "none", "")
	case p.Network.Unlisted == "ask":
		row("network", "what is not listed is asked for", "")
	default:
		row("network", "what is not listed is denied", "")
	}
	return nil
}

// ruleText writes a network rule on one line.
func ruleText(r config.NetRule) string {
	ports := make([]string, len(r.Ports))
	for i, p := range r.Ports {
		ports[i] = fmt.Sprint(p)
	}
	words := []string{r.Host + ":" + strings.Join(ports, ",")}
	for _, more := range [][]string{r.Methods, r.Paths, r.Programs} {
		if len(more) > 0 {
			words = append(words, strings.Join(more, ","))
		}
	}
	return strings.Join(words, " ")
}
