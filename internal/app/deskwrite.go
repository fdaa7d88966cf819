package app

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/store"
	"sallyport/internal/vault"
)

// write performs data.write. An agent writes new items only, under opaque
// handles: a name chosen by a context would be a message. The operator writes
// under names, writes new versions, moves and raises.
func (d *desk) write(ctx context.Context, a action.Action, p *gate.Permit) (record.Result, error) {
	id, l, err := d.writeTarget(a, p.Label)
	if err != nil {
		return record.Result{}, err
	}
	var o record.Object
	switch from := a.Arg("from"); {
	case from == "":
		o, err = d.store(ctx, a, id, l, p.Label)
	case !operators(a):
		err = fault.New("app.write", fault.Denied, "only the operator moves and relabels items; write a new one")
	case from == id:
		o, err = d.raise(ctx, a, id, l)
	default:
		o, err = d.move(ctx, a, from, id)
	}
	if err != nil {
		return record.Result{}, err
	}
	res := written(o)
	if from := a.Arg("from"); from != "" && from != id {
		res.Data["erased"] = from
	}
	return res, nil
}

// written is the result of what made a version of an item. What it says of the
// version is what later readers compare with, see trail.
func written(o record.Object) record.Result {
	return record.Result{
		Output: o.ID, Payload: o,
		Data: map[string]any{"item": o.ID, "version": int64(o.Version), "label": o.Label.String()}, //nolint:gosec // G115: versions count up from 1
	}
}

// writeTarget gives the id and the label that a write names.
func (d *desk) writeTarget(a action.Action, result label.Label) (id string, l label.Label, err error) {
	const op = "app.write"
	if a.Arg("item") != a.Target {
		return "", l, fault.New(op, fault.Denied, "the action's target is not its item, so nothing was written; name one item")
	}
	if l = result; a.Arg("label") != "" {
		if l, err = d.app.scheme().Parse(a.Arg("label")); err != nil {
			return "", l, fault.New(op, fault.Usage, "%v; give a label such as confidential/member", err)
		}
	}
	if !result.FlowsTo(l) {
		return "", l, fault.New(op, fault.Denied, "what is written is %s and may not become %s (rule R5); write it with its own label, or ask for it to be lowered",
			d.app.scheme().Format(result), d.app.scheme().Format(l))
	}
	if operators(a) {
		return a.Target, l, checkName(a.Target)
	}
	if a.Target != refNew {
		return "", l, fault.New(op, fault.Denied, "an agent writes new items only, and they get their handles here; write to new")
	}
	return handle("o"), l, nil
}

// store seals the action's body: as a new item, or as the next version of one
// that keeps its label.
func (d *desk) store(ctx context.Context, a action.Action, id string, l, made label.Label) (record.Object, error) {
	body, err := bodyOf(a, vault.MaxBody)
	if err != nil {
		return record.Object{}, err
	}
	o := record.Object{ID: id, Label: l, Made: made, By: authorOf(a), Created: time.Now()}
	if !operators(a) {
		return d.sealNew(ctx, readerOf(a), o, body)
	}
	old, err := d.rows.Object(ctx, id)
	if fault.Is(err, fault.NotFound) && decided(a) == 0 {
		return d.sealNew(ctx, a.Principal, o, body)
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		return o, err
	}
	if err != nil || old.Version != decided(a) {
		return o, errMoved(id)
	}
	if a.Arg("label") != "" && old.Label != l {
		return o, fault.New("app.write", fault.Conflict, "the item %s is labelled %s; a new version keeps the label: leave it out, or change it with `sallyport data label`",
			id, d.app.scheme().Format(old.Label))
	}
	v, err := d.room.open(ctx, true)
	if err != nil {
		return o, err
	}
	ref, err := v.Put(store.WithBeside(ctx, store.Beside{Object: old}), a.Principal, vault.Ref{ID: id, Label: old.Label, Version: old.Version}, body)
	old.Version = ref.Version
	return old, err
}

// raise gives an item a higher label at once: no secret can come of it.
func (d *desk) raise(ctx context.Context, a action.Action, id string, to label.Label) (record.Object, error) {
	o, err := d.mine(ctx, a, id)
	if err != nil {
		return o, err
	}
	if !o.Label.FlowsTo(to) {
		return o, fault.New("app.write", fault.Denied, "%s does not flow to %s, so that is a lowering (rule R8), which people sign: use `sallyport data label` with --because",
			d.app.scheme().Format(o.Label), d.app.scheme().Format(to))
	}
	if err := d.trail.check(ctx, o); err != nil {
		return o, err
	}
	v, err := d.room.open(ctx, false)
	if err != nil {
		return o, err
	}
	ref, err := v.Relabel(store.WithBeside(ctx, store.Beside{Object: o}), a.Principal, id, o.Version, to)
	o.Version, o.Label = ref.Version, ref.Label
	return o, err
}

// mine gives the operator's item as it was decided about.
func (d *desk) mine(ctx context.Context, a action.Action, id string) (record.Object, error) {
	o, err := d.rows.Object(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return o, errAbsent(id)
	}
	if err == nil && a.Target == id && o.Version != decided(a) {
		err = errMoved(id)
	}
	return o, err
}

// move seals an item afresh under a new name and erases the old one: a name is
// part of what a ciphertext is bound to.
func (d *desk) move(ctx context.Context, a action.Action, from, to string) (record.Object, error) {
	o, err := d.mine(ctx, a, from)
	if err != nil {
		return o, err
	}
	if o.Held {
		return o, errHeld(from)
	}
	if _, err := d.rows.Object(ctx, to); !fault.Is(err, fault.NotFound) {
		if err == nil {
			err = fault.New("app.write", fault.Conflict, "there is an item %s already; choose another name", to)
		}
		return o, err
	}
	data, err := d.open(ctx, a.Principal, o)
	if err != nil {
		return o, err
	}
	defer clear(data)
	next := o
	next.ID, next.Version = to, 0
	if next, err = d.sealNew(ctx, a.Principal, next, data); err != nil {
		return next, err
	}
	return next, d.destroy(ctx, a, from)
}

func errHeld(id string) error {
	return fault.New("app.erase", fault.Denied, "the item %s is under legal hold, so it is neither erased nor moved; `sallyport data hold %s off` ends the hold", id, id)
}

// lower performs data.lower: what people signed becomes a new item with the
// lower label; the old one stays as it is (rule R8).
func (d *desk) lower(ctx context.Context, a action.Action, _ *gate.Permit) (record.Result, error) {
	const op = "app.lower"
	if path, ok := strings.CutPrefix(a.Arg("item"), placePrefix); ok {
		return d.lowerPlace(ctx, a, path)
	}
	o, err := d.object(ctx, a)
	if err != nil {
		return record.Result{}, err
	}
	to, err := d.app.scheme().Parse(a.Arg("label"))
	if err != nil {
		return record.Result{}, fault.New(op, fault.Usage, "%v; give the label it shall have", err)
	}
	from, err := d.app.scheme().Parse(a.Arg("from"))
	if err != nil || from != o.Label {
		return record.Result{}, fault.New(op, fault.Denied, "the item is labelled %s, not what the action says it is lowered from; ask again", d.app.scheme().Format(o.Label))
	}
	next := a.Arg("new")
	if !isHandle("o", next) {
		if !operators(a) {
			return record.Result{}, fault.New(op, fault.Denied, "the new item needs a handle o-… for its name; only the operator chooses names")
		}
		if err := checkName(next); err != nil {
			return record.Result{}, err
		}
	}
	switch _, err := d.rows.Object(ctx, next); {
	case err == nil:
		return record.Result{}, fault.New(op, fault.Conflict, "there is an item %s already, so this was lowered before; read that, or name another purpose for another copy", next)
	case !fault.Is(err, fault.NotFound):
		return record.Result{}, err
	}
	data, err := d.open(ctx, d.app.theOperator(ctx), o) // the signatures are over this version
	if err != nil {
		return record.Result{}, err
	}
	defer clear(data)
	made := record.Object{ID: next, Label: to, Made: to, By: authorOf(a), Created: time.Now()}
	if made, err = d.sealNew(ctx, d.app.theOperator(ctx), made, data); err != nil {
		return record.Result{}, err
	}
	return written(made), nil
}

// extract performs data.extract: the answer, which the policy found to be one of
// the schema's, with integrity member (rule R7).
func (d *desk) extract(ctx context.Context, a action.Action, _ *gate.Permit) (record.Result, error) {
	if isHandle("f", a.Target) {
		if d.futures.get(a.Target) == nil {
			return record.Result{}, errAbsent(a.Target)
		}
	} else if _, err := d.object(ctx, a); err != nil {
		return record.Result{}, err
	}
	return record.Result{Output: a.Arg("value"), Data: map[string]any{"item": a.Target, "bits": a.Args["bits"]}}, nil
}

// hold performs data.hold.
func (d *desk) hold(ctx context.Context, a action.Action, _ *gate.Permit) (record.Result, error) {
	o, err := d.object(ctx, a)
	if err != nil {
		return record.Result{}, err
	}
	held, ok := a.Args["held"].(bool)
	if !ok {
		return record.Result{}, fault.New("app.hold", fault.Usage, "a hold is on or off; say which")
	}
	v, err := d.room.open(ctx, false)
	if err != nil {
		return record.Result{}, err
	}
	if err := v.Hold(ctx, a.Principal, o.ID, held); err != nil {
		return record.Result{}, err
	}
	o.Held = held
	return record.Result{Output: o.ID, Payload: o}, nil
}

// erase performs data.erase.
func (d *desk) erase(ctx context.Context, a action.Action, _ *gate.Permit) (record.Result, error) {
	o, err := d.object(ctx, a)
	if err != nil {
		return record.Result{}, err
	}
	if o.Held {
		return record.Result{}, errHeld(o.ID)
	}
	if err := d.destroy(ctx, a, o.ID); err != nil {
		return record.Result{}, err
	}
	return record.Result{Output: o.ID, Data: map[string]any{"erased": o.ID}}, nil
}

// destroy erases the sealed row first and what is known about the item last, so
// that an erasure that was interrupted can be repeated. What does not open can
// be erased too.
func (d *desk) destroy(ctx context.Context, a action.Action, id string) error {
	v, err := d.room.open(ctx, false)
	if err != nil {
		return err
	}
	if err := v.Erase(ctx, a.Principal, id, 0); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err := d.forget(ctx, id, authorOf(a)); err != nil {
		return err
	}
	return d.rows.DropObject(ctx, id)
}

// forgotten are the events that may tell of an item's content: its hash and
// size, or the text where it was clear.
var forgotten = []string{
	string(action.DataRead) + ".*", string(action.DataWrite) + ".*", string(action.DataLower) + ".*",
	string(action.DataHold) + ".*", string(action.DataExtract) + ".*",
}

// forget removes what the events about an item say; that they happened, when and
// by whom stays proved.
func (d *desk) forget(ctx context.Context, id, by string) error {
	after := int64(0)
	for {
		rows, err := d.rows.Events(ctx, store.Filter{Types: forgotten, AfterID: after, Text: id, Limit: eventPage})
		if err != nil {
			return err
		}
		for _, r := range rows {
			after = r.ID
			var about struct {
				Target string `json:"target"`
			}
			if json.Unmarshal(r.Data, &about) != nil || about.Target != id {
				continue
			}
			if err := d.rows.Erase(ctx, r.ID, by); err != nil {
				return err
			}
		}
		if len(rows) < eventPage {
			return nil
		}
	}
}
