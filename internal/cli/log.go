package cli

import (
	"fmt"
	"strings"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// logCmd groups what concerns the verifiable log.
type logCmd struct {
	Show   logShowCmd   `cmd:"" help:"Show the log's newest entries and its signed checkpoint."`
	Export logExportCmd `cmd:"" help:"Write the log to a file that verifies offline."`
}

// Help teaches.
func (logCmd) Help() string {
	return `The verifiable log: a tree of hashes with signed checkpoints. Examples:
  sallyport log show -n 5
  sallyport log export --out log.jsonl --values`
}

// logExportCmd is `sallyport log export`.
type logExportCmd struct {
	Out    string `placeholder:"FILE" help:"A new file, mode 0600; default: standard output."`
	Values bool   `help:"Include what agents did, in clear; without, the export holds pseudonyms and commitments."`
}

// Run exports.
func (e logExportCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		if e.Out == "" {
			if c.width > 0 { // only a terminal has a width
				return fault.New("log.export", fault.Usage, "an export is for a file, not for a terminal; add --out FILE or pipe it")
			}
			return a.ExportLog(c.ctx, c.out, e.Values)
		}
		if err := a.ExportFile(c.ctx, e.Out, e.Values); err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"file": e.Out, "values": e.Values})
		}
		c.printf("wrote %s; next: sallyport verify %s --key FILE\n", visible(e.Out), visible(e.Out))
		if e.Values {
			c.printf("it holds what agents did, in clear: mind who gets it\n")
		}
		return nil
	})
}

// logShowCmd is `sallyport log show`.
type logShowCmd struct {
	Limit int `short:"n" default:"20" help:"The newest N entries; 0: all."`
}

// Run shows entries as they were hashed.
func (l logShowCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		log, err := a.Log(c.ctx, l.Limit)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(log)
		}
		if log.Size == 0 {
			c.printf("the log is empty: run `sallyport run examples/nightwatch.yaml --once`\n")
			return nil
		}
		t := table{cols: []column{{title: "ENTRY", right: true}, {title: "TIME"}, {title: "KIND"}, {title: "DECISION"}, {title: "LABEL", flex: true}, {title: "RULES", flex: true}, {title: "HASH"}}}
		for _, e := range log.Entries {
			t.add(plain(fmt.Sprint(e.Seq)), plain(localTime(e.Time)), plain(e.Kind), cell{text: visible(e.Decision), color: c.paint.alert},
				plain(a.ShowLabel(e.Label)), plain(strings.Join(e.Rules, " ")), plain(cut(e.Hash, 12)))
		}
		t.print(c)
		c.printf("\n%s\n", visibleLines(log.Checkpoint))
		return nil
	})
}
