package app

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/sandbox/changes"
)

// ChangeSet is what one session wrote copy-on-write into one directory.
type ChangeSet struct {
	ID      string    `json:"id"`
	Agent   string    `json:"agent"`
	Session string    `json:"session"`
	Dir     string    `json:"dir"`
	State   string    `json:"state"` // running, open, ended, committed or discarded
	Started time.Time `json:"started"`
	Count   int       `json:"count"`           // changes that wait
	Deleted int       `json:"deleted"`         // of these, deletions
	Held    int       `json:"held"`            // of these, protected, in conflict or never to be committed
	Label   string    `json:"label,omitempty"` // what its session knew, where that is above its profile's view
	Error   string    `json:"error,omitempty"`
}

// Change is one difference between what a session left and the host.
type Change struct {
	Path      string      `json:"path"`
	Kind      string      `json:"kind"`
	Type      string      `json:"type"`
	Mode      fs.FileMode `json:"mode,omitempty"`
	Size      int64       `json:"size"`
	OldSize   int64       `json:"old_size"`
	Target    string      `json:"target,omitempty"`
	SHA256    string      `json:"sha256,omitempty"`
	Lost      int         `json:"lost,omitempty"` // files lost beneath a deleted directory
	Group     string      `json:"group,omitempty"`
	Note      string      `json:"note,omitempty"`
	Protected string      `json:"protected,omitempty"`
	Refused   string      `json:"refused,omitempty"`
	Conflict  string      `json:"conflict,omitempty"`

	of changes.Change
}

func changeOf(c changes.Change) Change {
	return Change{
		Path: c.Path, Kind: c.Kind, Type: c.Type, Mode: c.Mode, Size: c.Size, OldSize: c.OldSize, Target: c.Target, SHA256: c.SHA256,
		Lost: c.Lost, Group: c.Group, Note: c.Note, Protected: c.Protected, Refused: c.Refused, Conflict: c.Conflict, of: c,
	}
}

// Held reports whether the change needs more than a plain yes.
func (c Change) Held() bool { return c.Protected != "" || c.Refused != "" || c.Conflict != "" }

// glance bounds how long a set of changes is counted.
var glance = 10 * time.Second

// Bookkeeping says what the changes of git's own do, which nobody reads one by
// one: which branches move, how many objects come. It is safe for a terminal.
func Bookkeeping(list []Change) []string {
	inner := make([]changes.Change, len(list))
	for i, c := range list {
		inner[i] = c.of
	}
	return changes.Groups(inner)
}

// describe sums one set up; live tells that its session still runs.
func describe(ctx context.Context, set *changes.Set, live bool) (ChangeSet, error) {
	m := set.Meta()
	if m.Mode == "" { // the session never began, so nothing can have been written
		return sumOf(m, live, nil), nil
	}
	// A session may leave files whose holes take hours to read: nobody who looks
	// at all sets, or ends a session, waits for them.
	brief, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	list, err := set.List(brief)
	if err != nil && brief.Err() != nil && ctx.Err() == nil {
		err = fault.New("app.changes", fault.Unavailable, "the changes %s are too many or too large to be counted in %s; `sallyport changes list %s` takes its time, `sallyport changes discard --all --set %s` drops them", m.ID, glance, m.ID, m.ID)
	}
	return sumOf(m, live, list), err
}

// sumOf counts what a set holds.
func sumOf(m changes.Meta, live bool, list []changes.Change) ChangeSet {
	out := ChangeSet{ID: m.ID, Agent: m.Agent, Session: m.Session, Dir: m.Dir, State: m.State, Started: m.Started}
	if live {
		out.State = "running"
	}
	for _, c := range list {
		out.Count++
		if c.Group != "" {
			continue
		}
		if c.Kind == changes.KindDeleted {
			out.Deleted++
		}
		if changeOf(c).Held() {
			out.Held++
		}
	}
	return out
}

// ChangeSets lists what waits for review, newest first; all gives what is over
// or empty too.
func (a *App) ChangeSets(ctx context.Context, all bool) ([]ChangeSet, error) {
	found, err := changes.Sets(a.changesDir())
	if err != nil {
		return nil, err
	}
	out := []ChangeSet{}
	for _, f := range found {
		if f.Err != nil {
			out = append(out, ChangeSet{ID: f.ID, State: "damaged", Error: sentence(f.Err)})
			continue
		}
		if over := f.Meta.State == changes.StateCommitted || f.Meta.State == changes.StateDiscarded; over && !all {
			continue
		}
		set, err := changes.Open(a.changesDir(), f.ID)
		if err != nil {
			return nil, err
		}
		info, err := describe(ctx, set, f.Live)
		if err == nil {
			info, err = a.labelled(ctx, set, info)
		}
		if err != nil {
			info.Error = sentence(err)
		}
		if info.Count == 0 && info.Error == "" && !f.Live && !all {
			continue // of a session that was killed before it changed anything
		}
		out = append(out, info)
	}
	slices.SortFunc(out, func(x, y ChangeSet) int { return y.Started.Compare(x.Started) })
	return out, nil
}

// changeSet opens one set; the empty id is the newest that has changes of the
// directory the operator is in, else the newest of all.
func (a *App) changeSet(ctx context.Context, id string) (*changes.Set, error) {
	if id == "" {
		list, err := a.ChangeSets(ctx, false)
		if err != nil {
			return nil, err
		}
		waits := func(s ChangeSet) bool { return (s.Count > 0 || s.Error != "") && s.State != "running" }
		here := workingDir()
		i := slices.IndexFunc(list, func(s ChangeSet) bool { return waits(s) && s.Dir != "" && within(here, s.Dir) })
		if i < 0 {
			i = slices.IndexFunc(list, waits)
		}
		if i < 0 {
			return nil, fault.New("app.changes", fault.NotFound, "no changes wait for review; `sallyport guard -- PROGRAM` makes some")
		}
		id = list[i].ID
	}
	return changes.Open(a.changesDir(), id)
}

// workingDir is where the operator is, links resolved; "" if it is gone.
func workingDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	if r, err := filepath.EvalSymlinks(dir); err == nil {
		return r
	}
	return dir
}

// Changes lists what one set holds, deletions first.
func (a *App) Changes(ctx context.Context, id string) (ChangeSet, []Change, error) {
	set, err := a.changeSet(ctx, id)
	if err != nil {
		return ChangeSet{}, nil, err
	}
	list, err := set.List(ctx)
	out := make([]Change, len(list))
	for i, c := range list {
		out[i] = changeOf(c)
	}
	if err != nil {
		return sumOf(set.Meta(), set.Live(), list), out, err
	}
	info, err := a.labelled(ctx, set, sumOf(set.Meta(), set.Live(), list))
	return info, out, err
}

// DiffChange writes what one change does, safe for a terminal.
func (a *App) DiffChange(ctx context.Context, w io.Writer, id string, c Change, color bool) error {
	set, err := a.changeSet(ctx, id)
	if err != nil {
		return err
	}
	return set.Diff(ctx, w, c.of, changes.DiffOptions{Color: color})
}

// CommitResult is what one commit did.
type CommitResult struct {
	ID        string          `json:"id"`
	Committed []string        `json:"committed"`
	Skipped   []SkippedChange `json:"skipped"`
	Label     string          `json:"label,omitempty"` // that the directory took on
}

// SkippedChange is a change that was not carried out, and why.
type SkippedChange struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// CommitChanges carries changes to the host, as one action of the operator's:
// exactly the listed paths with the listed contents. confirmed names the paths
// whose protection or conflict was looked at.
func (a *App) CommitChanges(ctx context.Context, id string, list []Change, confirmed []string) (CommitResult, error) {
	set, err := a.changeSet(ctx, id)
	if err != nil {
		return CommitResult{}, err
	}
	out := CommitResult{ID: set.Meta().ID, Committed: []string{}, Skipped: []SkippedChange{}}
	inner, files := make([]changes.Change, len(list)), make([]any, len(list))
	for i, c := range list {
		inner[i] = c.of
		files[i] = map[string]any{
			"path": strings.ToValidUTF8(c.Path, "\uFFFD"), "kind": c.Kind, "sha256": c.SHA256, "mode": c.Mode.String(), "target": c.Target,
			"protected": c.Protected != "", "conflict": c.Conflict != "",
		}
	}
	dir := set.Meta().Dir
	act := action.Action{Kind: action.FileWrite, Target: dir, Args: map[string]any{
		"path": dir, "changes": out.ID, "of_agent": set.Meta().Agent, "of_session": set.Meta().Session, "files": files,
	}}
	err = a.steer(ctx, act, func(ctx context.Context) error {
		var err error
		if out.Label, err = a.takeLabel(ctx, set); err != nil {
			return err
		}
		res, err := set.Commit(ctx, inner, changes.CommitOptions{AllowProtected: confirmed, AllowConflict: confirmed})
		out.Committed = append(out.Committed, res.Committed...)
		for _, s := range res.Skipped {
			out.Skipped = append(out.Skipped, SkippedChange(s))
		}
		return err
	})
	return out, err
}

// DiscardChanges drops changes, without a list all of them, and names the set.
func (a *App) DiscardChanges(ctx context.Context, id string, list []Change) (string, error) {
	set, err := a.changeSet(ctx, id)
	if err != nil {
		return "", err
	}
	what := "all"
	if list == nil {
		err = set.DiscardAll(ctx)
	} else {
		what = strconv.Itoa(len(list))
		inner := make([]changes.Change, len(list))
		for i, c := range list {
			inner[i] = c.of
		}
		err = set.Discard(ctx, inner)
	}
	m := set.Meta()
	if err != nil {
		return m.ID, err
	}
	st, err := a.Store(ctx)
	if err != nil {
		return m.ID, err
	}
	_, err = st.Append(ctx, record.Event{
		Type: "changes.discarded", Agent: m.Agent, Session: m.Session, Channel: "SYSTEM", Level: "info", Alert: "none",
		Data: map[string]any{"alert": "none", "changes": m.ID, "dir": m.Dir, "discarded": what},
	})
	return m.ID, err
}
