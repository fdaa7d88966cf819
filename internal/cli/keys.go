package cli

import (
	"fmt"
	"strings"
	"time"

	"sallyport/internal/app"
)

// keysCmd is `sallyport keys`.
type keysCmd struct {
	List   keysListCmd   `cmd:"" default:"withargs" help:"List API keys."`
	Create keysCreateCmd `cmd:"" help:"Make an API key; it is shown once."`
	Revoke keysRevokeCmd `cmd:"" help:"End an API key at once."`
}

// Help teaches.
func (keysCmd) Help() string {
	return `API keys are what clients of ` + "`sallyport proxy`" + ` call with, instead of a provider's
key. Each stands for one agent, has a highest label, budgets and an end; only a
hash of it is kept. Examples:
  sallyport keys create build-bot --day 5 --limit 100
  sallyport keys create audit --role metrics --expires 7d
  sallyport keys revoke build-bot`
}

// keysListCmd is `sallyport keys list`.
type keysListCmd struct{}

// Run lists.
func (keysListCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		list, err := a.Keys(c.ctx)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"keys": list})
		}
		if len(list) == 0 {
			c.printf("no API keys; `sallyport keys create NAME` makes one\n")
			return nil
		}
		t := table{cols: []column{{title: "KEY"}, {title: "STATE"}, {title: "NAME", flex: true}, {title: "AGENT", flex: true}, {title: "ROLES", flex: true}, {title: "CEILING", flex: true}, {title: "EXPIRES"}, {title: "LIMIT", right: true}, {title: "DAY", right: true}}}
		for _, k := range list {
			t.add(plain(k.ID), plain(k.State), plain(k.Name), plain(k.Agent), plain(strings.Join(k.Roles, ",")), plain(a.ShowLabel(k.Ceiling)), plain(localTime(k.Expires)[:len(time.DateOnly)]), plain(limitText(k.LimitDollars)), plain(limitText(k.DayDollars)))
		}
		t.print(c)
		return nil
	})
}

func limitText(d *float64) string {
	if d == nil {
		return "none"
	}
	return dollars(*d)
}

// keysCreateCmd is `sallyport keys create`.
type keysCreateCmd struct {
	Name     string   `arg:"" help:"The key's name, for people."`
	Agent    string   `placeholder:"AGENT" help:"On whose behalf its calls are made; default: the name."`
	Role     []string `placeholder:"ROLE" help:"agent (calls models), ingest (sends events), metrics (reads metrics); default: agent."`
	Ceiling  string   `placeholder:"LABEL" help:"Highest label its calls may reach; default: the agent's clearance, else public."`
	Client   string   `placeholder:"CLIENT" help:"Form of answers: claude-code, codex, gemini-cli, opencode, openclaw, naisys, sdk; default: by what it says."`
	Expires  span     `default:"90d" help:"How long it lives."`
	Limit    float64  `default:"-1" placeholder:"USD" help:"What it may ever spend; default: no limit."`
	Day      float64  `default:"-1" placeholder:"USD" help:"What it may spend per day (UTC); default: no limit."`
	Requests int      `help:"Requests per minute; 0: no limit."`
	Tokens   int      `help:"Tokens per minute; 0: no limit."`
}

// Run makes the key.
func (k keysCreateCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		info, token, err := a.CreateKey(c.ctx, app.KeyRequest{
			Name: k.Name, Agent: k.Agent, Roles: k.Role, Ceiling: k.Ceiling, Client: k.Client, Expires: k.Expires.Duration,
			Limit: k.Limit, Day: k.Day, Requests: k.Requests, Tokens: k.Tokens,
		}, a.Operator(c.ctx))
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"key": info, "token": token})
		}
		c.printf("%s\n", token)
		fmt.Fprintf(c.err, "key %s of agent %s until %s; it is not shown again. Use it as the client's API key with\nthe address of `sallyport proxy`; `sallyport keys revoke %s` ends it\n", info.ID, info.Agent, localTime(info.Expires), info.Name)
		return nil
	})
}

// keysRevokeCmd is `sallyport keys revoke`.
type keysRevokeCmd struct {
	Key string `arg:"" help:"The key's id or name."`
}

// Run ends it.
func (k keysRevokeCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		info, err := a.RevokeKey(c.ctx, k.Key, a.Operator(c.ctx))
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"key": info.ID, "name": info.Name, "result": "revoked"})
		}
		c.printf("revoked %s (%s)\n", info.Name, info.ID)
		return nil
	})
}
