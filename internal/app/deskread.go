package app

import (
	"context"
	"fmt"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// read performs data.read: of an item, a message, a child's result, a list or a
// folder.
func (d *desk) read(ctx context.Context, a action.Action, p *gate.Permit) (record.Result, error) {
	ref := a.Arg("item")
	if ref == "" || ref != a.Target {
		return record.Result{}, fault.New("app.item", fault.Denied, "the action's target is not its item, so nothing was read; name one item")
	}
	switch {
	case ref == refIndex:
		return d.index(ctx, a, p.Label)
	case strings.HasPrefix(ref, mailPrefix):
		return d.inbox(ctx, a, ref, p.Label)
	case strings.HasPrefix(ref, folderPrefix):
		if d.openFolder == nil {
			return record.Result{}, fault.New("app.folder", fault.Unsupported, "there is no running session that a folder could be opened in; use `sallyport guard` or `sallyport run`")
		}
		return d.openFolder(ctx, a, a.ArgLabels["item"])
	case isHandle("f", ref):
		text, err := d.futures.read(ctx, ref)
		return record.Result{Output: text}, err
	}
	o, err := d.object(ctx, a)
	if err != nil {
		return record.Result{}, err
	}
	data, err := d.open(ctx, readerOf(a), o)
	if err != nil {
		return record.Result{}, err
	}
	res := record.Result{Payload: data, Data: map[string]any{"item": o.ID, "version": int64(o.Version), "bytes": int64(len(data))}} //nolint:gosec // G115: it came from an int64
	if !operators(a) {
		res.Output = strings.ToValidUTF8(string(data), "\uFFFD") // the operator's own copy is no event's business
	}
	return res, nil
}

// indexMost bounds the lines of one index.
const indexMost = 1000

// index lists the items that a context may know of and its agent may read. Sizes
// are part of the content, so they are not shown.
func (d *desk) index(ctx context.Context, a action.Action, context label.Label) (record.Result, error) {
	clearance, err := d.app.clearanceOf(ctx, readerOf(a))
	if err != nil {
		return record.Result{}, fault.Wrap("app.index", fault.Denied, err)
	}
	var list []record.Object
	err = d.each(ctx, func(o record.Object) bool {
		if !isHandle("m", o.ID) && o.Made.ConfFlowsTo(context) && o.Label.ConfFlowsTo(clearance) {
			list = append(list, o)
		}
		return len(list) <= indexMost
	})
	if err != nil {
		return record.Result{}, err
	}
	var b strings.Builder
	for i, o := range list {
		if i == indexMost {
			fmt.Fprintf(&b, "[more than %d items: the rest is not shown]\n", indexMost)
			break
		}
		fmt.Fprintf(&b, "%s  %s  by %s\n", o.ID, d.app.scheme().Format(o.Label), o.By)
	}
	if len(list) == 0 {
		b.WriteString("no items\n")
	}
	return record.Result{Output: b.String(), Payload: list[:min(len(list), indexMost)]}, nil
}

// objectPage is how many rows are read at a time.
const objectPage = 256

// each calls fn for every object, ascending by id, until it gives false.
func (d *desk) each(ctx context.Context, fn func(record.Object) bool) error {
	after := ""
	for {
		page, err := d.rows.Objects(ctx, after, objectPage)
		if err != nil {
			return err
		}
		for _, o := range page {
			if after = o.ID; !fn(o) {
				return nil
			}
		}
		if len(page) < objectPage {
			return nil
		}
	}
}

// all gives every object: reading the log in between must not hold a page open.
func (d *desk) all(ctx context.Context) ([]record.Object, error) {
	var out []record.Object
	err := d.each(ctx, func(o record.Object) bool {
		out = append(out, o)
		return true
	})
	return out, err
}
