package cli

import (
	"bytes"
	"fmt"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// dataKeysCmd is `sallyport data keys`.
type dataKeysCmd struct {
	Show   dataKeysShowCmd   `cmd:"" default:"withargs" help:"Show the epochs of the vault's keys."`
	Rotate dataKeysRotateCmd `cmd:"" help:"Begin a new epoch."`
	Rewrap dataKeysRewrapCmd `cmd:"" help:"Wrap every record key in the epoch in force."`
	Retire dataKeysRetireCmd `cmd:"" help:"Destroy the keys of old epochs."`
}

// Help teaches.
func (dataKeysCmd) Help() string {
	return `Record keys are wrapped in keys of an epoch. Retiring an epoch destroys its keys, so
that what backups hold of erased items opens nowhere any more. Every month, say:
  sallyport data keys rotate
  sallyport data keys rewrap
  sallyport data keys retire`
}

// showKeys says how the keys stand.
func (c *call) showKeys(k app.VaultKeys, err error) error {
	if err != nil {
		return err
	}
	if c.flags.JSON {
		err = c.json(k)
	} else {
		c.printf("root key: %s; epoch %d in force\n", k.Root, k.Epoch)
		t := table{cols: []column{{title: "EPOCH", right: true}, {title: "KEYS", right: true}, {title: "ITEMS", right: true}}}
		for _, e := range k.Epochs {
			t.add(plain(fmt.Sprint(e.Epoch)), plain(fmt.Sprint(e.Keys)), plain(fmt.Sprint(e.Items)))
		}
		t.print(c)
	}
	if n := len(k.Failed); n > 0 && err == nil {
		err = fault.New("data.keys", fault.Corrupt, "the record keys of %s do not open, %s first; restore them from a backup or erase them", plural(n, "item", "items"), visible(k.Failed[0]))
	}
	return err
}

// dataKeysShowCmd is `sallyport data keys show`.
type dataKeysShowCmd struct{}

// Run shows.
func (dataKeysShowCmd) Run(c *call) error {
	return c.with(func(a *app.App) error { return c.showKeys(a.VaultKeys(c.ctx)) })
}

// dataKeysRotateCmd is `sallyport data keys rotate`.
type dataKeysRotateCmd struct{}

// Run rotates.
func (dataKeysRotateCmd) Run(c *call) error {
	return c.with(func(a *app.App) error { return c.showKeys(a.RotateKeys(c.ctx)) })
}

// dataKeysRewrapCmd is `sallyport data keys rewrap`.
type dataKeysRewrapCmd struct{}

// Run rewraps.
func (dataKeysRewrapCmd) Run(c *call) error {
	return c.with(func(a *app.App) error { return c.showKeys(a.RewrapKeys(c.ctx)) })
}

// dataKeysRetireCmd is `sallyport data keys retire`.
type dataKeysRetireCmd struct {
	Before uint32 `placeholder:"EPOCH" help:"Keep this epoch and later ones; default: the one in force."`
}

// Help teaches.
func (dataKeysRetireCmd) Help() string {
	return "Destroys the keys of all epochs before one. Items that still need one must be rewrapped\nfirst. Example:\n  sallyport data keys retire --before 3"
}

// Run retires.
func (r dataKeysRetireCmd) Run(c *call) error {
	return c.with(func(a *app.App) error { return c.showKeys(a.RetireKeys(c.ctx, r.Before)) })
}

// dataCheckCmd is `sallyport data check`.
type dataCheckCmd struct{}

// Help teaches.
func (dataCheckCmd) Help() string {
	return `Opens every item and compares its version with the log's, so that exchanged,
relabelled and put-back rows are found. Nothing that was opened is shown. Whether
the log itself is whole tells ` + "`sallyport verify`" + `. Example:
  sallyport data check`
}

// Run checks.
func (dataCheckCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		n, faults, err := a.CheckItems(c.ctx)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			err = c.json(map[string]any{"ok": len(faults) == 0, "items": n, "faults": faults})
		} else {
			for _, f := range faults {
				c.printf("%s: %s\n", visible(f.ID), visible(f.Problem))
			}
			c.printf("%s opened, %s\n", plural(n, "item", "items"), plural(len(faults), "fault", "faults"))
		}
		if len(faults) > 0 && err == nil {
			err = fault.New("data.check", fault.Corrupt, "the vault does not fit the record: %s; see above", plural(len(faults), "row", "rows"))
		}
		return err
	})
}

// dataExportCmd is `sallyport data export`.
type dataExportCmd struct {
	Names  []string `arg:"" name:"name" help:"The items' names."`
	To     []string `required:"" placeholder:"RECIPIENT" help:"age recipient, age1pq1… or age1…; may be given again."`
	Output string   `short:"o" required:"" placeholder:"FILE" help:"A new file."`
}

// Help teaches.
func (dataExportCmd) Help() string {
	return `Seals items with their labels to another installation's recipient; its operator
imports them. Examples:
  age-keygen -pq -o identity.txt        (there; it prints the recipient)
  sallyport data export wages.csv --to age1pq1… -o wages.age`
}

// Run exports.
func (e dataExportCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		var b bytes.Buffer
		if err := a.ExportItems(c.ctx, &b, e.Names, e.To); err != nil {
			return err
		}
		if err := newFile(e.Output, b.Bytes()); err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"file": e.Output, "items": e.Names, "bytes": b.Len()})
		}
		c.printf("exported %s to %s\n", plural(len(e.Names), "item", "items"), visible(e.Output))
		return nil
	})
}

// dataImportCmd is `sallyport data import`.
type dataImportCmd struct {
	File     string `arg:"" help:"The export."`
	Identity string `short:"i" required:"" placeholder:"FILE" help:"The age identity it was sealed to."`
	Prefix   string `placeholder:"NAME/" help:"Put before the names of the new items."`
}

// Help teaches.
func (dataImportCmd) Help() string {
	return `Takes the items of an export as new ones, with the labels it claims and integrity
foreign, since anybody can seal to a recipient. Example:
  sallyport data import wages.age -i identity.txt --prefix from-hq/`
}

// Run imports.
func (i dataImportCmd) Run(c *call) error {
	identity, err := c.input(i.Identity, 64<<10)
	if err != nil {
		return err
	}
	defer clear(identity)
	sealed, err := c.input(i.File, 300<<20)
	if err != nil {
		return err
	}
	return c.with(func(a *app.App) error {
		from, items, err := a.ImportItems(c.ctx, bytes.NewReader(sealed), identity, i.Prefix)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"claims_to_be_from": from, "items": items})
		}
		for _, it := range items {
			c.printf("%s, %s\n", visible(it.ID), visible(it.Label))
		}
		c.printf("imported %s of an export that claims to come from %s\n", plural(len(items), "item", "items"), visible(from))
		return nil
	})
}
