package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/vault"
)

// Item is what the operator is shown of a classified item.
type Item struct {
	ID      string    `json:"id"`
	Version uint64    `json:"version"`
	Label   string    `json:"label"` // with the operator's names
	Bytes   int64     `json:"bytes"` // of the data
	By      string    `json:"by"`    // who made it
	Created time.Time `json:"created"`
	Held    bool      `json:"held"` // under legal hold
	Level   int       `json:"-"`    // 0 to 3
}

// AskFunc puts a question to the person at the terminal; answered is false when
// nobody answered.
type AskFunc func(ctx context.Context, text string) (answer, answered bool, err error)

// Ask implements approval.Asker.
func (f AskFunc) Ask(ctx context.Context, _ record.AskRow, render string) (answer, answered bool, err error) {
	return f(ctx, render)
}

// bench is the operator's own desk: its actions pass the same gate as agents'.
type bench struct {
	app  *App
	desk *desk
	gate *gate.Gate

	person string // who sits there
}

// bench wires the operator's desk; ask is nil where nobody can be asked.
func (a *App) bench(ctx context.Context, ask AskFunc) (*bench, error) {
	st, err := a.Store(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := a.lazy.mask.get(); err != nil {
		return nil, err
	}
	rules, err := a.Policy()
	if err != nil {
		return nil, err
	}
	var asker approval.Asker
	if ask != nil {
		asker = ask
	}
	people, _, err := a.People(ctx, asker)
	if err != nil {
		return nil, err
	}
	person, _, err := a.localPerson(ctx)
	if err != nil {
		return nil, err
	}
	d := newDesk(a, st)
	g, err := gate.New(gate.Config{
		Ledger: st, Policy: rules, Approver: people, References: d, Now: time.Now, Executors: d.executors(),
	})
	return &bench{app: a, desk: d, gate: g, person: person}, err
}

// carryData performs what people signed about an item, for the last of them.
func carryData(ctx context.Context, a *App) (gate.Executor, gate.References, error) {
	st, err := a.Store(ctx)
	if err != nil {
		return nil, nil, err
	}
	d := newDesk(a, st)
	return performer(func(ctx context.Context, act action.Action, p *gate.Permit) (record.Result, error) {
		defer d.close()
		if act.Kind == action.DataErase {
			return d.erase(ctx, act, p)
		}
		return d.lower(ctx, act, p)
	}), d, nil
}

// withBench runs f at the operator's desk.
func (a *App) withBench(ctx context.Context, ask AskFunc, f func(b *bench) error) error {
	b, err := a.bench(ctx, ask)
	if err != nil {
		return err
	}
	defer b.desk.close()
	return f(b)
}

// withItem is withBench for an item that must be there: looking for it makes no
// state directory.
func (a *App) withItem(ctx context.Context, name string, ask AskFunc, f func(b *bench) error) error {
	if _, ok, err := a.reader(ctx); err != nil {
		return err
	} else if !ok {
		return noItem(name)
	}
	return a.withBench(ctx, ask, f)
}

func (b *bench) do(ctx context.Context, act action.Action) (record.Result, error) {
	act.Principal = principal.TheOperator(b.person)
	return b.gate.Do(ctx, act)
}

// object gives the row of an item that the operator names.
func (b *bench) object(ctx context.Context, id string) (record.Object, error) {
	o, err := b.desk.rows.Object(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return o, noItem(id)
	}
	return o, err
}

func noItem(id string) error {
	return fault.New("app.item", fault.NotFound, "there is no item %q; `sallyport data list` lists them", clipped(id))
}

func (b *bench) item(ctx context.Context, o record.Object) (Item, error) {
	out := Item{
		ID: o.ID, Version: o.Version, Label: b.app.scheme().Format(o.Label), By: o.By, Created: o.Created, Held: o.Held, Level: int(o.Label.Level),
	}
	row, err := b.desk.room.book.Item(ctx, o.ID)
	if fault.Is(err, fault.NotFound) {
		return out, nil // an erasure was interrupted
	}
	out.Bytes = max(0, int64(len(row.Key)+len(row.Body)-vault.Overhead))
	return out, err
}

// result gives the item that a write made.
func (b *bench) result(ctx context.Context, res record.Result, err error) (Item, error) {
	if err != nil {
		return Item{}, err
	}
	o, ok := res.Payload.(record.Object)
	if !ok {
		return Item{}, fault.New("app.item", fault.Internal, "the desk did not say what it made")
	}
	return b.item(ctx, o)
}

// Items lists the classified items, ascending by name; messages of agents too if
// all is set.
func (a *App) Items(ctx context.Context, all bool) ([]Item, error) {
	out := []Item{}
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return out, err
	}
	b := &bench{app: a, desk: newDesk(a, st)}
	var failed error
	err = b.desk.each(ctx, func(o record.Object) bool {
		if isHandle("m", o.ID) && !all {
			return true
		}
		var it Item
		if it, failed = b.item(ctx, o); failed == nil {
			out = append(out, it)
		}
		return failed == nil
	})
	return out, errors.Join(err, failed)
}

// PutItem seals data under a name: as a new item with the label, or as the next
// version of one that has it already.
func (a *App) PutItem(ctx context.Context, name, labelText string, data []byte) (it Item, err error) {
	err = a.withBench(ctx, nil, func(b *bench) error {
		l := label.Label{}
		if labelText != "" {
			if l, err = a.itemLabel(labelText); err != nil {
				return err
			}
		}
		it, err = b.put(ctx, name, labelText, l, data)
		return err
	})
	return it, err
}

func (b *bench) put(ctx context.Context, name, labelText string, l label.Label, data []byte) (Item, error) {
	if err := checkName(name); err != nil {
		return Item{}, err
	}
	sum := sha256.Sum256(data)
	args := map[string]any{"item": name, "sha256": hex.EncodeToString(sum[:]), "bytes": int64(len(data))}
	if labelText == "" {
		if _, err := b.object(ctx, name); fault.Is(err, fault.NotFound) {
			return Item{}, fault.New("app.item", fault.Usage, "a new item needs a label: give --label, as in --label confidential/member")
		} else if err != nil {
			return Item{}, err
		}
	} else {
		args["label"] = l.String()
	}
	res, err := b.do(ctx, action.Action{Kind: action.DataWrite, Target: name, Args: args, Body: data})
	return b.result(ctx, res, err)
}

// itemLabel reads a label as the operator writes it: without an integrity it is
// what the operator vouches for, member.
func (a *App) itemLabel(text string) (label.Label, error) {
	l, err := a.scheme().Parse(text)
	if err != nil {
		return l, a.unreadable("", err)
	}
	if !hasIntegrity(text) {
		l.Integrity = label.Member
	}
	return l, nil
}

func hasIntegrity(text string) bool { return strings.Contains(text, "/") }

// GetItem opens an item for the operator; that it was read is on record.
func (a *App) GetItem(ctx context.Context, name string) (data []byte, it Item, err error) {
	err = a.withItem(ctx, name, nil, func(b *bench) error {
		data, it, err = b.get(ctx, name, nil)
		return err
	})
	return data, it, err
}

func (b *bench) get(ctx context.Context, name string, more map[string]any) ([]byte, Item, error) {
	o, err := b.object(ctx, name)
	if err != nil {
		return nil, Item{}, err
	}
	args := map[string]any{"item": name}
	maps.Copy(args, more)
	res, err := b.do(ctx, action.Action{Kind: action.DataRead, Target: name, Args: args})
	if err != nil {
		return nil, Item{}, err
	}
	data, _ := res.Payload.([]byte)
	it, err := b.item(ctx, o)
	return data, it, err
}

// LabelItem gives an item another label. A higher one it gets at once; for one
// that it does not flow to people are asked, and then a new item has it: named
// as, or by a handle.
func (a *App) LabelItem(ctx context.Context, name, labelText, because, as string, ask AskFunc) (it Item, err error) {
	to, err := a.itemLabel(labelText)
	if err != nil {
		return it, err
	}
	err = a.withItem(ctx, name, ask, func(b *bench) error {
		o, err := b.object(ctx, name)
		if err != nil {
			return err
		}
		if !hasIntegrity(labelText) {
			to.Integrity = o.Label.Integrity
		}
		act := action.Action{Kind: action.DataWrite, Target: name, Args: map[string]any{"item": name, "from": name, "label": to.String()}}
		if !o.Label.FlowsTo(to) {
			if because == "" {
				return fault.New("app.label", fault.Usage, "that lowers %s from %s to %s, which people sign: say what for with --because",
					name, a.scheme().Format(o.Label), a.scheme().Format(to))
			}
			if as == "" {
				as = handle("o")
			}
			act.Kind = action.DataLower
			act.Args = map[string]any{"item": name, "from": o.Label.String(), "label": to.String(), "purpose": because, "new": as}
		}
		res, err := b.do(ctx, act)
		it, err = b.result(ctx, res, err)
		return err
	})
	return it, err
}

// MoveItem gives an item another name.
func (a *App) MoveItem(ctx context.Context, from, to string) (it Item, err error) {
	err = a.withItem(ctx, from, nil, func(b *bench) error {
		if err := checkName(to); err != nil {
			return err
		}
		o, err := b.object(ctx, from)
		if err != nil {
			return err
		}
		if from == to {
			return fault.New("app.item", fault.Usage, "both names are %s; give another", to)
		}
		res, err := b.do(ctx, action.Action{Kind: action.DataWrite, Target: to, Args: map[string]any{"item": to, "from": from, "label": o.Label.String()}})
		it, err = b.result(ctx, res, err)
		return err
	})
	return it, err
}

// EraseItem destroys an item after its quorum said yes.
func (a *App) EraseItem(ctx context.Context, name, because string, ask AskFunc) error {
	return a.withItem(ctx, name, ask, func(b *bench) error {
		act := action.Action{Kind: action.DataErase, Target: name, Principal: principal.TheOperator(b.person)}
		if _, err := b.desk.row(ctx, act, name); fault.Is(err, fault.NotFound) {
			return noItem(name)
		} else if err != nil {
			return err
		}
		args := map[string]any{"item": name}
		if because != "" {
			args["purpose"] = because
		}
		act.Args = args
		_, err := b.do(ctx, act)
		return err
	})
}

// HoldItem sets or ends an item's legal hold.
func (a *App) HoldItem(ctx context.Context, name string, held bool) (it Item, err error) {
	err = a.withItem(ctx, name, nil, func(b *bench) error {
		if _, err := b.object(ctx, name); err != nil {
			return err
		}
		res, err := b.do(ctx, action.Action{Kind: action.DataHold, Target: name, Args: map[string]any{"item": name, "held": held}})
		it, err = b.result(ctx, res, err)
		return err
	})
	return it, err
}

// ExportItems seals items to another instance's recipients. That each was read
// for it is on record before anything leaves.
func (a *App) ExportItems(ctx context.Context, w io.Writer, names, recipients []string) error {
	to, err := recipientsOf(recipients)
	if err != nil {
		return err
	}
	return a.withBench(ctx, nil, func(b *bench) error {
		for _, name := range names {
			data, _, err := b.get(ctx, name, map[string]any{"export_to": texts(recipients)})
			clear(data)
			if err != nil {
				return err
			}
		}
		v, err := b.desk.room.open(ctx, false)
		if err != nil {
			return err
		}
		return v.Export(ctx, a.theOperator(ctx), w, a.scheme(), names, to...)
	})
}

func recipientsOf(texts []string) ([]vault.Recipient, error) {
	out := make([]vault.Recipient, 0, len(texts))
	for _, t := range texts {
		r, err := vault.ParseRecipient(t)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// ImportItems takes the items of an export as new ones, with the labels that it
// claims and integrity foreign: anybody can seal to a recipient. Names that are
// taken stop it before anything is written.
func (a *App) ImportItems(ctx context.Context, r io.Reader, identity []byte, prefix string) (from string, items []Item, err error) {
	id, err := vault.ParseIdentity(identity)
	if err != nil {
		return "", nil, err
	}
	from, list, err := vault.OpenExport(r, a.scheme(), id)
	if err != nil {
		return from, nil, err
	}
	err = a.withBench(ctx, nil, func(b *bench) error {
		for i := range list {
			list[i].ID = prefix + list[i].ID
			if err := checkName(list[i].ID); err != nil {
				return err
			}
			if _, err := b.object(ctx, list[i].ID); !fault.Is(err, fault.NotFound) {
				if err == nil {
					err = fault.New("app.import", fault.Conflict, "there is an item %s already; give --prefix to name the new ones apart", list[i].ID)
				}
				return err
			}
		}
		for _, x := range list {
			it, err := b.put(ctx, x.ID, "claimed", x.Label, x.Data)
			clear(x.Data)
			if err != nil {
				return err
			}
			items = append(items, it)
		}
		return nil
	})
	return from, items, err
}
