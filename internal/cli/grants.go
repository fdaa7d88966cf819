package cli

import (
	"fmt"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/app"
	"sallyport/internal/record"
)

// grantsCmd is `sallyport grants`.
type grantsCmd struct {
	Agent string `help:"Only this agent's."`
	All   bool   `help:"Also those that ended."`
}

// Help teaches.
func (grantsCmd) Help() string {
	return `Standing permissions: scoped to one agent, kind and target, expiring, revocable.
A grant answers a question in advance, it never overrides a denial. Examples:
  sallyport grants --all
  sallyport revoke k3x9abcd`
}

// Run lists.
func (g grantsCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		list, err := a.Grants(c.ctx, g.Agent, g.All)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"grants": list})
		}
		if len(list) == 0 {
			c.printf("no grants; `sallyport grant AGENT KIND TARGET --expires 8h` gives one\n")
			return nil
		}
		t := table{cols: []column{{title: "GRANT"}, {title: "STATE"}, {title: "AGENT"}, {title: "KIND"}, {title: "TARGET", flex: true}, {title: "EXPIRES"}, {title: "USES", right: true}, {title: "BECAUSE", flex: true}}}
		for _, x := range list {
			uses := "any"
			if x.Uses > 0 || x.State == "revoked" {
				uses = fmt.Sprint(x.Uses)
			}
			t.add(plain(x.ID), plain(x.State), plain(x.Agent), plain(x.Kind), plain(x.Target), plain(localTime(x.Expires)), plain(uses), plain(oneLine(x.Because)))
		}
		t.print(c)
		return nil
	})
}

// grantCmd is `sallyport grant`.
type grantCmd struct {
	Agent   string `arg:"" help:"The agent that is permitted."`
	Kind    string `arg:"" help:"The kind of action: exec, message.send …"`
	Target  string `arg:"" help:"The exact target, or a beginning with * at the end."`
	Expires span   `default:"8h" help:"How long it lives, at most 90d."`
	Uses    int    `help:"How often it may be used; 0: any number until it expires."`
	Because string `help:"Why, for the record."`
	Parent  string `placeholder:"GRANT" help:"Delegate from this grant; the new one cannot be wider."`
	signFlags
}

// Help teaches.
func (grantCmd) Help() string {
	return `Signed with the key of an owner: that of the state directory, or another's. Examples:
  sallyport grant sarah exec '*' --expires 2h --because 'watched patrol'
  sallyport grant bob message.send mail/ops@example.org --uses 3
  sallyport grant bob exec '*' --key ~/.ssh/id_ed25519`
}

// Run gives the grant.
func (g grantCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		info, err := a.Grant(c.ctx, record.Grant{
			Parent: g.Parent, Agent: g.Agent, Kind: action.Kind(g.Kind), Target: g.Target, Uses: g.Uses, Because: g.Because,
			Expires: time.Now().Add(g.Expires.Duration),
		}, g.signing(c))
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(info)
		}
		c.printf("granted %s to %s until %s; `sallyport revoke %s` ends it\n", info.ID, visible(info.Agent), localTime(info.Expires), info.ID)
		return nil
	})
}

// revokeCmd is `sallyport revoke`.
type revokeCmd struct {
	ID string `arg:"" name:"grant" help:"The grant's id, from sallyport grants."`
}

// Help teaches.
func (revokeCmd) Help() string {
	return "Ends a grant, and all that were delegated from it, at once. Example:\n  sallyport revoke k3x9abcd"
}

// Run revokes.
func (r revokeCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		if err := a.Revoke(c.ctx, r.ID, a.Operator(c.ctx)); err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"grant": r.ID, "result": "revoked"})
		}
		c.printf("revoked %s\n", visible(r.ID))
		return nil
	})
}
