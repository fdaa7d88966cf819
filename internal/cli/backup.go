package cli

import (
	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// backupCmd is `sallyport backup`.
type backupCmd struct {
	To     []string `placeholder:"RECIPIENT" help:"age recipient, age1pq1… or age1…; may be given again. Default: a passphrase, which is asked for."`
	Output string   `short:"o" required:"" placeholder:"FILE" help:"A new file."`
}

// Help teaches.
func (backupCmd) Help() string {
	return `Seals the whole state directory to a recipient while everything goes on: the
database as of one moment, keys, configuration, homes and reports. Without the
recipient's identity nobody opens it, and with it anybody: keep that elsewhere.
Examples:
  age-keygen -pq -o identity.txt        (elsewhere; it prints the recipient)
  sallyport backup --to age1pq1… -o sallyport.age
  sallyport backup -o sallyport.age     (asks for a passphrase)`
}

// Run backs up.
func (b backupCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		res, err := a.Backup(c.ctx, b.Output, app.Secret{Recipients: b.To})
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(res)
		}
		for _, s := range res.Skipped {
			c.printf("left out, no file: %s\n", visible(s))
		}
		c.printf("backed up %s of %s to %s, %s\n", plural(res.Files, "file", "files"), visible(res.Instance), visible(res.File), bytesText(res.Bytes))
		return nil
	})
}

// restoreCmd is `sallyport restore`.
type restoreCmd struct {
	File     string `arg:"" help:"The backup."`
	Identity string `short:"i" placeholder:"FILE" help:"The age identity it was sealed to; default: a passphrase, which is asked for."`
}

// Help teaches.
func (restoreCmd) Help() string {
	return `Restores a backup into a state directory that does not exist yet, after its log was
proved and every item opened; else nothing is left of it. The vault gets a new root
key and a new epoch: whoever else has the backup opens nothing sealed from now on.
Examples:
  sallyport restore sallyport.age -i identity.txt
  sallyport restore sallyport.age --home /srv/sallyport`
}

// Run restores.
func (r restoreCmd) Run(c *call) error {
	s := app.Secret{}
	if r.Identity != "" {
		identity, err := c.input(r.Identity, 64<<10)
		if err != nil {
			return err
		}
		defer clear(identity)
		if len(identity) == 0 {
			return fault.New("restore", fault.Usage, "%s is empty; give the file that age-keygen made", r.Identity)
		}
		s.Identity = identity
	}
	res, err := app.Restore(c.ctx, app.Options{Home: c.flags.Home, Environ: c.environ}, r.File, s)
	if err != nil {
		return err
	}
	if c.flags.JSON {
		return c.json(res)
	}
	for _, f := range res.Faults {
		c.printf("%s: %s\n", visible(f.ID), visible(f.Problem))
	}
	c.printf("restored %s to %s: %s, %s verified, %s opened\n", visible(res.Instance), visible(res.Home),
		plural(res.Files, "file", "files"), plural(int(res.Entries), "log entry", "log entries"), plural(res.Items, "item", "items"))
	return nil
}
