package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"sallyport/internal/app"
	"sallyport/internal/fault"
)

// dataCmd is `sallyport data`.
type dataCmd struct {
	List   dataListCmd   `cmd:"" default:"withargs" help:"List classified items."`
	Put    dataPutCmd    `cmd:"" help:"Seal data under a name and a label."`
	Get    dataGetCmd    `cmd:"" help:"Open an item."`
	Label  dataLabelCmd  `cmd:"" help:"Raise an item's label at once, or ask people to lower it."`
	Move   dataMoveCmd   `cmd:"" help:"Give an item another name."`
	Erase  dataEraseCmd  `cmd:"" help:"Destroy an item."`
	Hold   dataHoldCmd   `cmd:"" help:"Set or end the legal hold of an item."`
	Keys   dataKeysCmd   `cmd:"" help:"Show, rotate and retire the vault's keys."`
	Check  dataCheckCmd  `cmd:"" help:"Open every item and compare it with the log."`
	Export dataExportCmd `cmd:"" help:"Seal items to another installation."`
	Import dataImportCmd `cmd:"" help:"Take the items of an export."`
}

// Help teaches.
func (dataCmd) Help() string {
	return `Classified items: sealed under a name, a label and a version, so that a changed,
exchanged or relabelled row does not open. Agents read what they are cleared for,
and what they read labels what they do next. Examples:
  sallyport data put wages.csv wages.csv --label 'confidential{hr}'
  sallyport data list
  sallyport data get wages.csv -o copy.csv
  sallyport data label wages.csv secret`
}

// showItem says what an item is now.
func (c *call) showItem(done string, it app.Item) error {
	if c.flags.JSON {
		return c.json(it)
	}
	c.printf("%s %s, %s, version %d\n", done, visible(it.ID), visible(it.Label), it.Version)
	return nil
}

// asker lets the person at the terminal answer a question with the owner's key;
// with yes it is answered without asking.
func (c *call) asker(yes bool) app.AskFunc {
	if !yes && !c.terminal() {
		return nil
	}
	return func(_ context.Context, text string) (bool, bool, error) {
		fmt.Fprint(c.err, visibleLines(text))
		if yes {
			return true, true, nil
		}
		fmt.Fprint(c.err, "Sign this with the owner's key? [y/N] ")
		line, err := c.line(bufio.NewReader(c.in))
		if err != nil && !errors.Is(err, io.EOF) {
			return false, false, err
		}
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return true, true, nil
		case "n", "no":
			return false, true, nil
		}
		return false, false, nil // others may answer
	}
}

// dataListCmd is `sallyport data list`.
type dataListCmd struct {
	Messages bool `help:"Also the texts of agents' messages."`
}

// Run lists.
func (l dataListCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		list, err := a.Items(c.ctx, l.Messages)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"items": list})
		}
		if len(list) == 0 {
			c.printf("no items; `sallyport data put NAME FILE --label LABEL` makes one\n")
			return nil
		}
		t := table{cols: []column{{title: "ITEM", flex: true}, {title: "LABEL", flex: true}, {title: "VERSION", right: true}, {title: "SIZE", right: true}, {title: "BY", flex: true}, {title: "CREATED"}, {title: "HELD"}}}
		for _, x := range list {
			held := "-"
			if x.Held {
				held = "held"
			}
			t.add(plain(x.ID), plain(x.Label), plain(fmt.Sprint(x.Version)), plain(bytesText(x.Bytes)), plain(x.By), plain(localTime(x.Created)), plain(held))
		}
		t.print(c)
		return nil
	})
}

// dataPutCmd is `sallyport data put`.
type dataPutCmd struct {
	Name  string `arg:"" help:"The item's name."`
	File  string `arg:"" optional:"" default:"-" help:"The file; default: standard input."`
	Label string `short:"l" placeholder:"LABEL" help:"Level{compartments}/integrity; needed for a new item, integrity member unless given."`
}

// Help teaches.
func (dataPutCmd) Help() string {
	return `Seals a file as a new item, or as the next version of one, which keeps its label;
the version before is destroyed. The vault and its root key are made with the first
item. Examples:
  sallyport data put wages.csv ./wages.csv --label 'confidential{hr}'
  pg_dump crm | sallyport data put crm/dump --label secret`
}

// maxItem is the most bytes that are read for one item; the vault takes less.
const maxItem = 64 << 20

// Run seals.
func (p dataPutCmd) Run(c *call) error {
	data, err := c.input(p.File, maxItem)
	if err != nil {
		return err
	}
	defer clear(data)
	return c.with(func(a *app.App) error {
		it, err := a.PutItem(c.ctx, p.Name, p.Label, data)
		if err != nil {
			return err
		}
		return c.showItem("sealed", it)
	})
}

// input reads a file, or standard input for "-", of at most most bytes.
func (c *call) input(name string, most int64) ([]byte, error) {
	in := c.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, &fault.Error{Op: "data.read", Kind: fault.NotFound, Err: err, Public: "the file " + name + " cannot be read; check its name and rights"}
		}
		defer f.Close() //nolint:errcheck // read only
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, fault.Wrap("data.read", fault.Unavailable, err)
	}
	if int64(len(b)) > most {
		return nil, fault.New("data.read", fault.Usage, "the input has more than %s; split it", bytesText(most))
	}
	return b, nil
}

// dataGetCmd is `sallyport data get`.
type dataGetCmd struct {
	Name   string `arg:"" help:"The item's name."`
	Output string `short:"o" placeholder:"FILE" help:"Write to a new file that only you can read; default: standard output."`
	Yes    bool   `short:"y" help:"Show it at the terminal whatever its label is."`
}

// Help teaches.
func (dataGetCmd) Help() string {
	return `Opens an item for you; that it was read is recorded. At a terminal what is above
internal is shown only with --yes, and always with control characters escaped.
Examples:
  sallyport data get wages.csv -o copy.csv
  sallyport data get crm/dump | psql copy`
}

// jsonItem is an item with its data.
type jsonItem struct {
	app.Item
	Data []byte `json:"data"` // base64
}

// Run opens.
func (g dataGetCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		f, ok := c.raw.(*os.File)
		seen := g.Output == "" && !c.flags.JSON && ok && term.IsTerminal(int(f.Fd()))
		if seen && !g.Yes {
			list, err := a.Items(c.ctx, true)
			if err != nil {
				return err
			}
			for _, x := range list {
				if x.ID == g.Name && x.Level > 1 {
					return fault.New("data.get", fault.Usage, "%s is %s: a terminal keeps what it shows; write it to a file with -o FILE, or show it with --yes", visible(x.ID), visible(x.Label))
				}
			}
		}
		data, it, err := a.GetItem(c.ctx, g.Name)
		if err != nil {
			return err
		}
		defer clear(data)
		switch {
		case c.flags.JSON && g.Output == "":
			return c.json(jsonItem{it, data})
		case g.Output != "":
			if err := newFile(g.Output, data); err != nil {
				return err
			}
			return c.showItem("opened", it)
		case seen:
			c.printf("%s\n", visibleLines(string(data)))
			return nil
		}
		_, err = c.out.Write(data)
		return fault.Wrap("data.get", fault.Unavailable, err)
	})
}

// newFile writes a file that must not exist yet, for its owner only.
func newFile(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		kind := fault.Unavailable
		if errors.Is(err, os.ErrExist) {
			kind = fault.Conflict
		}
		return &fault.Error{Op: "data.write", Kind: kind, Err: err, Public: "the file " + name + " cannot be made; name one that does not exist, in a directory you may write to"}
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return fault.Wrap("data.write", fault.Unavailable, err)
}

// dataLabelCmd is `sallyport data label`.
type dataLabelCmd struct {
	Name    string `arg:"" help:"The item's name."`
	Label   string `arg:"" help:"The label it shall have."`
	Because string `help:"What for; needed to lower it, and shown to who signs."`
	As      string `placeholder:"NAME" help:"Name of the lowered copy; default: a handle."`
	Yes     bool   `short:"y" help:"Sign with the owner's key without asking again."`
}

// Help teaches.
func (dataLabelCmd) Help() string {
	return `A label that the old one flows to is given at once, under new keys. Any other is a
lowering: it needs the signatures that organisation.agencies demand, the owner's
where nothing is said, and makes a new item; the old one stays. Examples:
  sallyport data label wages.csv 'secret{hr}'
  sallyport data label wages.csv internal --because 'yearly report' --as wages/report`
}

// Run labels.
func (l dataLabelCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		it, err := a.LabelItem(c.ctx, l.Name, l.Label, l.Because, l.As, c.asker(l.Yes))
		if err != nil {
			return err
		}
		return c.showItem("labelled", it)
	})
}

// dataMoveCmd is `sallyport data move`.
type dataMoveCmd struct {
	Old string `arg:"" help:"The item's name."`
	New string `arg:"" help:"The name it shall have."`
}

// Help teaches.
func (dataMoveCmd) Help() string {
	return "Seals the item afresh under the new name and destroys the old one. Example:\n  sallyport data move wages.csv archive/wages-2026.csv"
}

// Run moves.
func (m dataMoveCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		it, err := a.MoveItem(c.ctx, m.Old, m.New)
		if err != nil {
			return err
		}
		return c.showItem("moved to", it)
	})
}

// dataEraseCmd is `sallyport data erase`.
type dataEraseCmd struct {
	Name    string `arg:"" help:"The item's name."`
	Because string `help:"What for; shown to who signs."`
	Yes     bool   `short:"y" help:"Sign with the owner's key without asking again."`
}

// Help teaches.
func (dataEraseCmd) Help() string {
	return `Destroys the item and its key in every file of the state directory; its name is
never used again. It needs the signatures that organisation.agencies demand, the
owner's where nothing is said. Old proofs stay valid. Backups hold it until the
epochs it was sealed in are retired and the backups that hold their keys are gone.
Examples:
  sallyport data erase wages.csv
  sallyport data keys rotate && sallyport data keys rewrap && sallyport data keys retire`
}

// Run erases.
func (e dataEraseCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		if err := a.EraseItem(c.ctx, e.Name, e.Because, c.asker(e.Yes)); err != nil {
			return err
		}
		const rest = "backups made before hold it until their epoch is retired: `sallyport data keys`"
		if c.flags.JSON {
			return c.json(map[string]any{"id": e.Name, "erased": true, "note": rest})
		}
		c.printf("erased %s; %s\n", visible(e.Name), rest)
		return nil
	})
}

// dataHoldCmd is `sallyport data hold`.
type dataHoldCmd struct {
	Name  string `arg:"" help:"The item's name."`
	State string `arg:"" enum:"on,off" help:"on or off."`
}

// Help teaches.
func (dataHoldCmd) Help() string {
	return "While an item is held it is not erased, whoever signs. Example:\n  sallyport data hold wages.csv on"
}

// Run sets or ends the hold.
func (h dataHoldCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		it, err := a.HoldItem(c.ctx, h.Name, h.State == "on")
		if err != nil {
			return err
		}
		done := "hold ended for"
		if it.Held {
			done = "held"
		}
		return c.showItem(done, it)
	})
}
