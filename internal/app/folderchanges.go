package app

import (
	"context"

	"sallyport/internal/label"
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
