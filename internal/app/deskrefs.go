package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Resolve implements gate.References: it gives what an action refers to its
// label and its version. What is not there, or not for this agent, is
// label.Unlabelled like what is too high for it. Its own answer it leaves alone.
func (d *desk) Resolve(ctx context.Context, a action.Action) (action.Action, error) {
	switch a.Kind { //nolint:exhaustive // the other kinds refer to nothing
	case action.DataRead:
		l, version, err := d.lookUp(ctx, a)
		if err != nil {
			return a, err
		}
		return withItem(a, l, version), nil
	case action.DataExtract, action.DataLower, action.DataErase, action.DataHold:
		l, version, err := d.item(ctx, a)
		if err != nil {
			return a, err
		}
		a = withItem(a, l, version)
		if a.Kind == action.DataLower {
			a = d.request(a, l)
		}
		return a, nil
	case action.DataWrite:
		if a.Target == refNew {
			return a, nil
		}
		_, version, err := d.item(ctx, a)
		if err != nil {
			return a, err
		}
		return withVersion(a, version), nil
	case action.SessionStart:
		return d.places(ctx, a)
	}
	return a, nil
}

// request completes what an agent asks people to lower by what it cannot know:
// the label, and the name of the copy. The name follows from the request, so that
// one that is made again after people signed it is the one they signed. Who
// guesses it gains nothing: the copy is named to whoever may read it.
func (d *desk) request(a action.Action, l label.Label) action.Action {
	if _, said := a.Args["from"]; !said {
		a = withArg(a, "from", l.String())
	}
	if _, said := a.Args["new"]; said || operators(a) {
		return a
	}
	parts := []string{d.app.Signer().Origin(), a.Agent, a.Target, fmt.Sprint(a.Args["version"]), a.Arg("from"), a.Arg("label"), a.Arg("purpose")}
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return withArg(a, "new", "o-"+hex.EncodeToString(h.Sum(nil)[:10]))
}

func withVersion(a action.Action, version int64) action.Action {
	if _, named := a.Args["version"].(int64); named {
		return a // decided about before; who performs it compares
	}
	return withArg(a, "version", version)
}

func withArg(a action.Action, name string, v any) action.Action {
	args := maps.Clone(a.Args)
	if args == nil {
		args = map[string]any{}
	}
	args[name] = v
	a.Args = args
	return a
}

func withItem(a action.Action, l label.Label, version int64) action.Action {
	a = withVersion(a, version)
	return withLabel(a, "item", l)
}

func withLabel(a action.Action, arg string, l label.Label) action.Action {
	if have, ok := a.ArgLabels[arg]; ok && have == l {
		return a
	}
	labels := maps.Clone(a.ArgLabels)
	if labels == nil {
		labels = map[string]label.Label{}
	}
	labels[arg] = l
	a.ArgLabels = labels
	return a
}

// lookUp gives label and version of what data.read names.
func (d *desk) lookUp(ctx context.Context, a action.Action) (label.Label, int64, error) {
	ref := a.Arg("item")
	switch {
	case ref == refIndex:
		return label.Bottom, 0, nil
	case strings.HasPrefix(ref, mailPrefix):
		return d.mailLabel(a, ref), 0, nil
	case strings.HasPrefix(ref, folderPrefix):
		return d.folderLabel(strings.TrimPrefix(ref, folderPrefix)), 0, nil
	}
	return d.item(ctx, a)
}

// item gives label and version of what can be read, extracted from, lowered or
// erased: a child's result, whatever it will be, by its future; a message, for
// the agent it was sent to; a directory; else an item by its row.
func (d *desk) item(ctx context.Context, a action.Action) (label.Label, int64, error) {
	ref := a.Arg("item")
	if isHandle("f", ref) {
		return d.futures.label(ref), 0, nil
	}
	if isHandle("m", ref) && !operators(a) {
		m, err := d.rows.Message(ctx, ref)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return label.Unlabelled, 0, err
		}
		if err != nil || m.To != a.Agent {
			return label.Unlabelled, 0, nil
		}
	}
	if path, ok := strings.CutPrefix(ref, placePrefix); ok {
		l, err := d.placeLabel(ctx, a, path)
		return l, 1, err // its label is all that changes of it, and what people sign
	}
	o, err := d.row(ctx, a, ref)
	if fault.Is(err, fault.NotFound) {
		return label.Unlabelled, 0, nil
	}
	if err != nil {
		return label.Unlabelled, 0, err
	}
	if o.Version > math.MaxInt64 {
		return label.Unlabelled, 0, nil // no writer of ours made it
	}
	return o.Label, int64(o.Version), nil
}

// folderLabel gives a labelled folder's label.
func (d *desk) folderLabel(name string) label.Label {
	f, ok := d.app.Config.Folders[name]
	if !ok {
		return label.Unlabelled
	}
	l, err := d.app.scheme().Parse(f.Label)
	if err != nil {
		return label.Unlabelled
	}
	return l
}

// mailLabel gives the label of a slot to who may read it.
func (d *desk) mailLabel(a action.Action, ref string) label.Label {
	s, ok := d.app.slot(ref)
	if !ok || !operators(a) && s.To != a.Agent {
		return label.Unlabelled
	}
	return s.Label
}

// places joins the labels of the directories that a session sees and that
// outlive sessions: what an earlier one wrote there is as secret as it was.
func (d *desk) places(ctx context.Context, a action.Action) (action.Action, error) {
	all, err := d.rows.Places(ctx)
	if err != nil || len(all) == 0 {
		return a, err
	}
	mounts, _ := a.Args["mounts"].(map[string]any)
	var l label.Label
	found := false
	for _, dir := range mountedDirs(mounts) {
		for _, p := range all {
			if !touches(dir, p) {
				continue
			}
			if !found {
				l, found = p.Label, true
			}
			l = l.Join(p.Label)
		}
	}
	if !found {
		return a, nil
	}
	return withLabel(a, "mounts", l), nil
}

// touches tells whether a directory and a place have files in common, under
// their names or where links lead.
func touches(dir string, p record.Place) bool {
	for _, d := range namesOf(dir) {
		for _, q := range namesOf(p.Path) {
			if within(d, q) || within(q, d) {
				return true
			}
		}
	}
	return false
}

func namesOf(dir string) []string {
	clean := filepath.Clean(dir)
	if target, err := filepath.EvalSymlinks(clean); err == nil && target != clean {
		return []string{clean, target}
	}
	return []string{clean}
}

// mountedDirs lists every directory of the host that session.start shows.
func mountedDirs(mounts map[string]any) []string {
	var out []string
	add := func(v any) {
		if s, ok := v.(string); ok && s != "" {
			out = append(out, s)
		}
	}
	add(mounts["home"])
	add(mounts["workdir"])
	writable, _ := mounts["writable"].([]any)
	for _, w := range writable {
		add(w)
	}
	overlays, _ := mounts["overlays"].(map[string]any)
	for dir := range overlays {
		add(dir)
	}
	readonly, _ := mounts["readonly"].(map[string]any)
	for _, m := range readonly {
		if entry, ok := m.(map[string]any); ok {
			add(entry["host"])
		}
	}
	return out
}
