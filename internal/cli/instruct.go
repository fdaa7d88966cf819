package cli

import (
	"cmp"
	"io"
	"os"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// instructCmd is `sallyport instruct`.
type instructCmd struct {
	Give instructGiveCmd `cmd:"" default:"withargs" help:"Sign an order to an agent."`
	List instructListCmd `cmd:"" help:"List orders and what became of them."`
}

// Help teaches.
func (instructCmd) Help() string {
	return `A signed instruction is the one way to tell an agent something that it may take
for an order. It is carried out once, with the clearance that you choose. Where
rules ask for more signatures, the last ` + "`sallyport approve`" + ` gives it. Examples:
  sallyport instruct --to chief "Sum up this week's findings"
  sallyport instruct --to chief --clearance secret --type payment --agent - < order.txt
  sallyport instruct list`
}

// instructGiveCmd is `sallyport instruct`.
type instructGiveCmd struct {
	To        string `required:"" placeholder:"AGENT" help:"The agent; one of the first tier."`
	Clearance string `default:"internal" placeholder:"LABEL" help:"The most that carrying it out may see; at most your own clearance."`
	Label     string `default:"public" placeholder:"LABEL" help:"Of the text itself."`
	Type      string `default:"task" help:"What kind of order it is; some need more signatures."`
	Expires   span   `default:"24h" help:"How long it may wait to be carried out, at most 7d."`
	Text      string `arg:"" help:"What to do; - reads it from standard input."`
	signFlags
}

const maxText = 64<<10 + 1

// Run gives it.
func (p instructGiveCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		text := p.Text
		if text == "-" {
			b, err := io.ReadAll(io.LimitReader(c.in, maxText))
			if err != nil {
				return fault.Wrap("instruct.read", fault.Unavailable, err)
			}
			text = string(b)
		}
		by := p.signing(c)
		if f, ok := c.in.(*os.File); p.Text == "-" && ok && f == os.Stdin {
			by.Passphrase = nil // standard input is the text
		}
		info, err := a.Instruct(c.ctx, app.InstructionRequest{
			To: p.To, Text: text, Type: p.Type, Label: p.Label, Clearance: p.Clearance, Expires: p.Expires.Duration, By: by,
		})
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(info)
		}
		if info.State == "asked" {
			c.printf("instruction %s waits for signatures: %s\n`sallyport approve %s` signs it; the last signature gives it to %s\n", info.ID, visible(info.Because), visible(info.Ask), visible(info.To))
			return nil
		}
		c.printf("instruction %s is signed and waits for %s until %s\n", info.ID, visible(info.To), localTime(info.Expires))
		return nil
	})
}

// instructListCmd is `sallyport instruct list`.
type instructListCmd struct {
	To  string `placeholder:"AGENT" help:"Only to this agent."`
	All bool   `help:"Also those that are over."`
}

// Run lists.
func (p instructListCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		list, err := a.Instructions(c.ctx, p.To, p.All)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"instructions": list})
		}
		if len(list) == 0 {
			c.printf("no instruction waits; `sallyport instruct --to AGENT TEXT` gives one\n")
			return nil
		}
		t := table{cols: []column{{title: "INSTRUCTION"}, {title: "STATE"}, {title: "TO"}, {title: "TYPE"}, {title: "CLEARANCE", flex: true}, {title: "ASK"}, {title: "TEXT", flex: true}}}
		for _, x := range list {
			t.add(plain(x.ID), plain(x.State), plain(x.To), plain(x.Type), plain(a.ShowLabel(x.Clearance)), plain(cmp.Or(x.Ask, "-")), plain(oneLine(x.Text)))
		}
		t.print(c)
		for _, x := range list {
			if x.State == "refused" {
				c.printf("\n%s is refused: %s\n", visible(x.ID), visible(x.Because))
			}
		}
		return nil
	})
}
