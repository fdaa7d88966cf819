package cli

import (
	"errors"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// verifyCmd is `sallyport verify`.
type verifyCmd struct {
	Export string   `arg:"" optional:"" help:"An export to verify offline, - for standard input; default: this installation's log."`
	Key    string   `placeholder:"FILE" help:"Public key kept elsewhere (keys/log.pub of the day it was made)."`
	Anchor []string `placeholder:"FILE" help:"Checkpoints kept elsewhere, as log.anchor writes them; may be repeated."`
}

// Help teaches.
func (verifyCmd) Help() string {
	return `Proves that no entry is missing, added, moved or changed: every entry hashes into
every signed checkpoint, every value matches its commitment. Without a key and an
anchor kept elsewhere it cannot see that whoever owns the host replaced
everything, and says so. Ends with 9 when something is wrong. Examples:
  sallyport verify
  sallyport log export --out log.jsonl && sallyport verify log.jsonl --key log.pub`
}

// Run verifies.
func (v verifyCmd) Run(c *call) error {
	opt := app.VerifyOptions{Export: v.Export, Key: v.Key, Anchors: v.Anchor, Stdin: c.in}
	var res app.VerifyResult
	var err error
	if v.Export != "" {
		res, err = app.VerifyExport(opt)
	} else {
		err = c.with(func(a *app.App) (verr error) {
			res, verr = a.VerifyLog(c.ctx, opt)
			return verr
		})
	}
	if err != nil && !fault.Is(err, fault.Corrupt) {
		return err
	}
	if c.flags.JSON {
		return errors.Join(c.json(res), err)
	}
	if err != nil {
		return err
	}
	c.printf("%s  %s, %s, %s\n", c.paint.green("verified"), plural(int(res.Entries), "entry", "entries"),
		plural(res.Checkpoints, "checkpoint", "checkpoints"), plural(res.Anchors, "anchor", "anchors"))
	c.printf("log       %s\n", visible(res.Instance))
	if res.Entries > 0 {
		c.printf("root      %s\nfrom      %s\nto        %s\n", res.Root, localTime(res.First), localTime(res.Last))
	}
	if res.Values {
		c.printf("values    %d compared, %s erased on record\n", res.Opened, plural(int(res.Erased), "entry", "entries"))
	} else {
		c.printf("values    not in this export: order and completeness are proved, not what was done\n")
	}
	if v.Key == "" {
		c.printf("%s\n", c.paint.yellow("note: the public key lies beside the log; keep keys/log.pub elsewhere and give it with --key"))
	}
	if res.Anchors == 0 {
		c.printf("%s\n", c.paint.yellow("note: no anchor: who owns this host could have rewritten everything; set log.anchor"))
	}
	return nil
}
