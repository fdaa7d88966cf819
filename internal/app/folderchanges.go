package app

import (
	"context"
	"path/filepath"
	"slices"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/sandbox/changes"
)

// labelOfSet gives what the session of a set of changes knew while it wrote
// them; ok is false where that is no more than its profile shows anyway.
func (a *App) labelOfSet(ctx context.Context, set *changes.Set) (l label.Label, ok bool, err error) {
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return label.Unlabelled, false, err
	}
	return st.Place(ctx, set.Store())
}

// labelled adds its label to a described set.
func (a *App) labelled(ctx context.Context, set *changes.Set, info ChangeSet) (ChangeSet, error) {
	l, ok, err := a.labelOfSet(ctx, set)
	if ok {
		info.Label = a.scheme().Format(l)
	}
	return info, err
}

// takeLabel gives the directory that changes are committed to the label of what
// they were written with, before they are there: later sessions in it begin at
// that label. It gives the label as it is shown, "" for none.
func (a *App) takeLabel(ctx context.Context, set *changes.Set) (string, error) {
	l, ok, err := a.labelOfSet(ctx, set)
	if err != nil || !ok {
		return "", err
	}
	st, err := a.Store(ctx)
	if err != nil {
		return "", err
	}
	return a.scheme().Format(l), st.RaisePlace(ctx, set.Meta().Dir, l)
}

// PlaceLabel is a directory that outlives sessions, with the label of what they
// wrote there.
type PlaceLabel struct {
	Path  string `json:"path"`
	Label string `json:"label"`
}

// PlaceLabels lists the directories that sessions gave a label, by path; those
// of changes that wait for review are told with these.
func (a *App) PlaceLabels(ctx context.Context) ([]PlaceLabel, error) {
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return []PlaceLabel{}, err
	}
	all, err := st.Places(ctx)
	out := []PlaceLabel{}
	for _, p := range all {
		if !within(p.Path, a.changesDir()) {
			out = append(out, PlaceLabel{Path: p.Path, Label: a.scheme().Format(p.Label)})
		}
	}
	return out, err
}

// placePrefix begins the item of a data.lower that is about a directory; no item
// is called so.
const placePrefix = "place:"

// LowerPlace gives a directory that sessions wrote a lower label, after the
// quorum of data.lower signed it: whoever signs has looked at what is in there.
// Errors: fault.NotFound for a directory without a label, fault.Usage for one
// that would not be lower, fault.Conflict while a session that knows more runs
// in it.
func (a *App) LowerPlace(ctx context.Context, path, labelText, because string, ask AskFunc) (PlaceLabel, error) {
	const op = "app.places"
	path = realDir(path)
	to, err := a.itemLabel(labelText)
	if err != nil {
		return PlaceLabel{}, err
	}
	err = a.withBench(ctx, ask, func(b *bench) error {
		have, ok, err := b.desk.rows.Place(ctx, path)
		if err != nil {
			return err
		}
		if !ok {
			return fault.New(op, fault.NotFound, "the directory %s has no label; `sallyport folders` lists those that have", path)
		}
		if !hasIntegrity(labelText) {
			to.Integrity = have.Integrity
		}
		if have.FlowsTo(to) {
			return fault.New(op, fault.Usage, "%s is %s, and %s is no lower; name a lower label", path, a.scheme().Format(have), a.scheme().Format(to))
		}
		item := placePrefix + path
		_, err = b.do(ctx, action.Action{Kind: action.DataLower, Target: item, Args: map[string]any{
			"item": item, "from": have.String(), "label": to.String(), "purpose": because, "new": path,
		}})
		return err
	})
	return PlaceLabel{Path: path, Label: a.scheme().Format(to)}, err
}

// placeLabel gives a directory's label to the operator, and to agents nothing.
func (d *desk) placeLabel(ctx context.Context, a action.Action, path string) (label.Label, error) {
	if !operators(a) {
		return label.Unlabelled, nil
	}
	l, _, err := d.rows.Place(ctx, path) // label.Unlabelled where there is none
	return l, err
}

// lowerPlace performs data.lower of a directory.
func (d *desk) lowerPlace(ctx context.Context, a action.Action, path string) (record.Result, error) {
	const op = "app.places"
	if !operators(a) || a.Arg("item") != a.Target || a.Arg("new") != path {
		return record.Result{}, fault.New(op, fault.Denied, "only the operator lowers what a directory holds; `sallyport folders lower` asks for it")
	}
	to, err := label.Parse(a.Arg("label"))
	if err != nil {
		return record.Result{}, fault.Wrap(op, fault.Usage, err)
	}
	have, ok, err := d.rows.Place(ctx, path)
	if err != nil {
		return record.Result{}, err
	}
	if from, perr := label.Parse(a.Arg("from")); perr != nil || !ok || from != have {
		return record.Result{}, fault.New(op, fault.Denied, "%s is not labelled any more as it was when people signed; ask again", path)
	}
	r := &register{dir: filepath.Join(d.app.Paths.Home, "places"), rows: d.rows}
	unlock, err := r.lock()
	if err != nil {
		return record.Result{}, err
	}
	defer unlock()
	live, err := r.others("")
	if err != nil {
		return record.Result{}, err
	}
	if i := slices.IndexFunc(live, func(e entry) bool { return shared([]string{path}, e.Writes) != "" && !e.Label.FlowsTo(to) }); i >= 0 {
		return record.Result{}, fault.New(op, fault.Conflict, "a session of %s that knows more runs in %s; end it first", live[i].Agent, path)
	}
	return record.Result{Data: map[string]any{"place": path}}, d.rows.LowerPlace(ctx, path, have, to)
}
