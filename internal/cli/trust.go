package cli

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// trustCmd is `sallyport trust`.
type trustCmd struct {
	Show         trustShowCmd      `cmd:"" default:"withargs" help:"Show who is trusted, and what change waits."`
	Init         trustInitCmd      `cmd:"" help:"Make the first version: you alone, as it was without one."`
	AddPerson    trustAddCmd       `cmd:"" help:"Add a person with their keys."`
	ChangePerson trustChangeCmd    `cmd:"" help:"Give a person other groups or another clearance."`
	RemovePerson trustRemoveCmd    `cmd:"" help:"Remove a person with all keys; grants they signed end."`
	AddKey       trustAddKeyCmd    `cmd:"" help:"Give a person another key."`
	RemoveKey    trustRemoveKeyCmd `cmd:"" help:"Take a key from a person."`
	Threshold    trustThresholdCmd `cmd:"" help:"Say how many of a group must sign."`
	Renew        trustRenewCmd     `cmd:"" help:"Change nothing but the date of expiry."`
	Sign         trustSignCmd      `cmd:"" help:"Sign the change that waits."`
	Apply        trustApplyCmd     `cmd:"" help:"Put a completely signed change in force."`
	Discard      trustDiscardCmd   `cmd:"" help:"Remove the change that waits."`
	Verify       trustVerifyCmd    `cmd:"" help:"Verify every version from the first on."`
	Export       trustExportCmd    `cmd:"" help:"Write what verifies signatures without Sallyport."`
}

// Help teaches.
func (trustCmd) Help() string {
	return `The trust file says whose signatures count: people, their SSH keys, groups and
clearances. Each version is signed by the owners of the one before and of its own;
a change is in force at once, everywhere. Without one, you are the one owner.
Examples:
  sallyport trust add-person bob --key bob.pub --group finance
  sallyport trust add-person cleo --key cleo.pub --group owner --clearance secret
  sallyport trust threshold owner 2
  sallyport trust sign --agent
  sallyport trust remove-person bob`
}

// ownerFlags say whose key signs a change.
type ownerFlags struct {
	SignKey  string `placeholder:"FILE" help:"Sign with this SSH key, or with the one in ssh-agent whose .pub file this is; default: the key of the state directory."`
	SSHAgent bool   `name:"agent" help:"Sign with the key that ssh-agent and the trust file have in common."`
}

func (o ownerFlags) signing(c *call) app.Signing {
	return signFlags{Key: o.SignKey, SSHAgent: o.SSHAgent}.signing(c)
}

// changed says what became of a change.
func (c *call) changed(t app.TrustChange, err error) error {
	if err != nil {
		return err
	}
	if c.flags.JSON {
		return c.json(t)
	}
	for _, line := range t.Changes {
		c.printf("  %s\n", visible(line))
	}
	if t.State == "applied" {
		c.printf("version %d of the trust file is in force, signed by %s\n", t.Version, visible(strings.Join(t.Signed, ", ")))
	} else {
		c.printf("version %d is proposed: %s\n", t.Version, visible(t.Waits))
	}
	if len(t.Ended) > 0 {
		c.printf("ended with it: grants %s\n", visible(strings.Join(t.Ended, ", ")))
	}
	return nil
}

// edit makes one change.
func (o ownerFlags) edit(c *call, change func(a *app.App) app.TrustEdit) error {
	return c.with(func(a *app.App) error { return c.changed(a.ChangeTrust(c.ctx, change(a), o.signing(c))) })
}

// trustShowCmd is `sallyport trust show`.
type trustShowCmd struct{}

// Run shows.
func (trustShowCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		t, err := a.Trust(c.ctx)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(t)
		}
		showTrust(c, a, t)
		return nil
	})
}

func showTrust(c *call, a *app.App, t app.TrustInfo) {
	if t.Version == 0 {
		c.printf("no trust file: the key of this state directory is the one owner\n\n")
	} else {
		c.printf("version %d, in force until %s, SHA-256 %s\n\n", t.Version, localTime(*t.Expires), t.Digest)
	}
	list := table{cols: []column{{title: "PERSON"}, {title: "GROUPS", flex: true}, {title: "CLEARANCE", flex: true}, {title: "KEYS"}}}
	for _, p := range t.People {
		name := p.Name
		if p.Here {
			name += " (here)"
		}
		if len(p.Keys) == 0 {
			p.Keys = []string{"no key"}
		}
		list.add(plain(name), plain(strings.Join(p.Groups, ",")), plain(a.ShowLabel(p.Clearance)), plain(p.Keys[0]))
		for _, k := range p.Keys[1:] {
			list.add(plain(""), plain(""), plain(""), plain(k))
		}
	}
	list.print(c)
	c.printf("\n")
	for _, g := range slices.Sorted(maps.Keys(t.Groups)) {
		c.printf("%d of group %s must sign\n", t.Groups[g], visible(g))
	}
	if p := t.Proposal; p != nil {
		c.printf("\nversion %d waits: %s\n", p.Version, visible(p.Waits))
		for _, line := range p.Changes {
			c.printf("  %s\n", visible(line))
		}
	}
}

// trustInitCmd is `sallyport trust init`.
type trustInitCmd struct {
	Name string `help:"Your name in it; default: your user name."`
	ownerFlags
}

// Run makes it.
func (t trustInitCmd) Run(c *call) error {
	return t.edit(c, func(*app.App) app.TrustEdit { return app.RenameFirst(t.Name) })
}

// trustAddCmd is `sallyport trust add-person`.
type trustAddCmd struct {
	Name      string   `arg:"" help:"The person's name: letters, digits and . _ @ -."`
	Key       []string `required:"" placeholder:"FILE" help:"Their public SSH keys (.pub); several may be named."`
	Group     []string `placeholder:"GROUP" help:"Groups: owner, or any name that rules ask for."`
	Clearance string   `default:"internal" placeholder:"LABEL" help:"The most they may see, and so sign for."`
	ownerFlags
}

// Run adds.
func (t trustAddCmd) Run(c *call) error {
	return t.edit(c, func(a *app.App) app.TrustEdit { return a.AddPerson(t.Name, t.Key, t.Group, t.Clearance) })
}

// trustChangeCmd is `sallyport trust change-person`.
type trustChangeCmd struct {
	Name      string   `arg:"" help:"The person."`
	Group     []string `placeholder:"GROUP" help:"All groups they are in from now on; none: no group."`
	Clearance string   `placeholder:"LABEL" help:"The most they may see, and so sign for."`
	ownerFlags
}

// Run changes.
func (t trustChangeCmd) Run(c *call) error {
	return t.edit(c, func(a *app.App) app.TrustEdit { return a.ChangePerson(t.Name, t.Group, t.Clearance) })
}

// trustRemoveCmd is `sallyport trust remove-person`.
type trustRemoveCmd struct {
	Name string `arg:"" help:"The person."`
	ownerFlags
}

// Run removes.
func (t trustRemoveCmd) Run(c *call) error {
	return t.edit(c, func(*app.App) app.TrustEdit { return app.RemovePerson(t.Name) })
}

// trustAddKeyCmd is `sallyport trust add-key`.
type trustAddKeyCmd struct {
	Name string   `arg:"" help:"The person."`
	Key  []string `arg:"" name:"file" help:"Their public SSH keys (.pub)."`
	ownerFlags
}

// Run adds.
func (t trustAddKeyCmd) Run(c *call) error {
	return t.edit(c, func(*app.App) app.TrustEdit { return app.AddKeys(t.Name, t.Key) })
}

// trustRemoveKeyCmd is `sallyport trust remove-key`.
type trustRemoveKeyCmd struct {
	Name string `arg:"" help:"The person."`
	Key  string `arg:"" help:"The key's fingerprint (SHA256:…), or its .pub file."`
	ownerFlags
}

// Run removes.
func (t trustRemoveKeyCmd) Run(c *call) error {
	return t.edit(c, func(*app.App) app.TrustEdit { return app.RemoveKey(t.Name, t.Key) })
}

// trustThresholdCmd is `sallyport trust threshold`.
type trustThresholdCmd struct {
	Group string `arg:"" help:"owner: how many owners sign a change; another group: how many sign before any counts."`
	Count int    `arg:"" help:"How many."`
	ownerFlags
}

// Run sets.
func (t trustThresholdCmd) Run(c *call) error {
	return t.edit(c, func(*app.App) app.TrustEdit { return app.SetThreshold(t.Group, t.Count) })
}

// trustRenewCmd is `sallyport trust renew`.
type trustRenewCmd struct{ ownerFlags }

// Run renews.
func (t trustRenewCmd) Run(c *call) error {
	return t.edit(c, func(*app.App) app.TrustEdit { return app.Renew() })
}

// trustSignCmd is `sallyport trust sign`.
type trustSignCmd struct {
	Export    string `placeholder:"FILE" help:"Write the bytes to sign with another tool, and sign nothing."`
	Signature string `placeholder:"FILE" help:"Add a signature that ssh-keygen -Y sign -n trust@sallyport made."`
	signFlags
}

// Help teaches.
func (trustSignCmd) Help() string {
	return `The last signature that is needed puts the change in force. Examples:
  sallyport trust sign --key ~/.ssh/id_ed25519
  sallyport trust sign --export change.bin      then, where the key is:
  ssh-keygen -Y sign -n trust@sallyport -f KEY change.bin
  sallyport trust sign --signature change.bin.sig`
}

// Run signs.
func (t trustSignCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		switch {
		case t.Export != "":
			b, err := a.TrustBytes(c.ctx)
			if err != nil {
				return err
			}
			return fault.Wrap("trust.export", fault.Unavailable, os.WriteFile(t.Export, b, 0o600))
		case t.Signature != "":
			sig, err := readSmall(t.Signature)
			if err != nil {
				return err
			}
			return c.changed(a.ImportTrust(c.ctx, sig))
		}
		return c.changed(a.SignTrust(c.ctx, t.signing(c)))
	})
}

// trustApplyCmd is `sallyport trust apply`.
type trustApplyCmd struct{}

// Run applies.
func (trustApplyCmd) Run(c *call) error {
	return c.with(func(a *app.App) error { return c.changed(a.ApplyTrust(c.ctx)) })
}

// trustDiscardCmd is `sallyport trust discard`.
type trustDiscardCmd struct{}

// Run discards.
func (trustDiscardCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		if err := a.DiscardTrust(c.ctx); err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"result": "discarded"})
		}
		c.printf("discarded\n")
		return nil
	})
}

// trustVerifyCmd is `sallyport trust verify`.
type trustVerifyCmd struct{}

// Run verifies.
func (trustVerifyCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		steps, err := a.VerifyTrust(c.ctx)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"versions": steps})
		}
		for _, s := range steps {
			c.printf("version %d  %s  signed by %s\n", s.Version, s.Digest, visible(strings.Join(s.Signed, ", ")))
		}
		fmt.Fprintf(c.out, "verified: %d versions, each signed by the owners before and after it\n", len(steps))
		return nil
	})
}

// trustExportCmd is `sallyport trust export`.
type trustExportCmd struct {
	Dir string `arg:"" help:"A directory that does not exist yet."`
}

// Run exports.
func (t trustExportCmd) Run(c *call) error {
	return c.with(func(a *app.App) error { return c.wrote(a.ExportTrust(c.ctx, t.Dir)) })
}

// wrote lists files that were written.
func (c *call) wrote(names []string, err error) error {
	if err != nil {
		return err
	}
	if c.flags.JSON {
		return c.json(map[string]any{"files": names})
	}
	for _, n := range names {
		c.printf("%s\n", visible(n))
	}
	return nil
}
