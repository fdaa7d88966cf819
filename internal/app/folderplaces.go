package app

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/sandbox"
)

// Directories outlive sessions and are shared by those that run at the same
// time, so what a session knows reaches whoever sees what it writes. A place's
// label in the ledger tells later sessions; the register tells those that run,
// of this process and of others: a session whose label rises must be alone in
// what it can write with sessions that know less.

// placeRows is the ledger of places.
type placeRows interface {
	Places(ctx context.Context) ([]record.Place, error)
	RaisePlace(ctx context.Context, path string, l label.Label) error
}

// register is a directory with one file for each session that runs. A file is
// locked as long as its session lives, however that ends.
type register struct {
	dir  string
	rows placeRows
}

// tenancy is one session's entry.
type tenancy struct {
	of    *register
	file  *os.File
	entry entry
	store []string // of copy-on-write directories
	base  label.Label

	mu    sync.Mutex
	label label.Label       // what the session knows, as written down
	heard func(label.Label) // see hear; nil for nobody
}

// entry is what a session's file says.
type entry struct {
	Agent  string      `json:"agent"`
	Writes []string    `json:"writes"` // directories that outlive it
	Reads  []string    `json:"reads"`  // these too, besides its own
	Label  label.Label `json:"label"`
}

// entryOf lists the directories of a session.
func entryOf(agent string, spec sandbox.Spec, l label.Label) (e entry, stores []string) {
	e = entry{Agent: agent, Label: l}
	cow := map[string]bool{}
	for _, o := range spec.Overlays {
		cow[o.Dir] = true
		stores = append(stores, o.Store)
		e.Reads = append(e.Reads, realDir(o.Dir))
	}
	dirs := append([]string{spec.Home}, spec.Writable...)
	if spec.View == sandbox.ViewWorkspace {
		dirs = append(dirs, spec.Workdir)
	}
	for _, d := range dirs {
		switch {
		case d == "" || cow[d]:
		case spec.ReadOnly:
			e.Reads = append(e.Reads, realDir(d))
		default:
			e.Writes = append(e.Writes, realDir(d))
		}
	}
	for _, m := range spec.Mounts {
		e.Reads = append(e.Reads, realDir(m.Host))
	}
	slices.Sort(e.Writes)
	e.Writes = slices.Compact(e.Writes)
	return e, stores
}

func realDir(dir string) string {
	if r, err := filepath.EvalSymlinks(dir); err == nil {
		return r
	}
	return filepath.Clean(dir)
}

// enter writes a session down that starts with label l in a profile whose view
// has label base. Errors: fault.Conflict when one of its directories was raised
// since it was judged, or when one that runs knows less and shares them.
func (r *register) enter(ctx context.Context, session, agent string, spec sandbox.Spec, l, base label.Label) (*tenancy, error) {
	const op = "app.places"
	t := &tenancy{of: r, base: base, label: l}
	t.entry, t.store = entryOf(agent, spec, l)
	unlock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	all, err := r.rows.Places(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		for _, d := range slices.Concat(t.entry.Writes, t.entry.Reads) {
			if touches(d, p) && !p.Label.FlowsTo(l) {
				return nil, fault.New(op, fault.Conflict, "%s was raised above this session while it was being started; start it again", p.Path)
			}
		}
	}
	if t.file, err = os.OpenFile(filepath.Join(r.dir, session+".place"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, fault.Wrap(op, fault.Unavailable, err)
	}
	if err = lockFile(t.file, true); err == nil {
		err = t.rise(ctx, l)
	}
	if err != nil {
		t.leave()
		return nil, err
	}
	return t, nil
}

// hear has f told of what the session knows, now and before it knows more.
func (t *tenancy) hear(f func(label.Label)) {
	if f == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard = f
	f(t.label)
}

// raise joins l to what the session knows before it comes to know it: the
// labels of the directories that it writes rise with it. rose tells whether it
// knew less before. Errors: fault.Conflict when a session that runs shares a
// directory and knows less.
func (t *tenancy) raise(ctx context.Context, l label.Label) (rose bool, err error) {
	if t == nil {
		return false, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if l = t.label.Join(l); l == t.label {
		return false, nil
	}
	unlock, err := t.of.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	if err := t.rise(ctx, l); err != nil {
		return false, err
	}
	t.label = l
	if t.heard != nil {
		t.heard(l)
	}
	return true, nil
}

// rise does it, with the register locked.
func (t *tenancy) rise(ctx context.Context, l label.Label) error {
	const op = "app.places"
	others, err := t.of.others(t.file.Name())
	if err != nil {
		return err
	}
	for _, o := range others {
		if dir := shared(t.entry.Writes, slices.Concat(o.Writes, o.Reads)); dir != "" && !l.FlowsTo(o.Label) {
			return fault.New(op, fault.Conflict, "a session of %s that runs shares %s and may not know what this one would; end it first, or give the sessions directories of their own", o.Agent, dir)
		}
	}
	e := t.entry
	e.Label = l
	text, err := json.Marshal(e)
	if err != nil {
		return fault.Wrap(op, fault.Internal, err)
	}
	_, werr := t.file.WriteAt(text, 0)
	if err := errors.Join(werr, t.file.Truncate(int64(len(text)))); err != nil {
		return fault.Wrap(op, fault.Unavailable, err)
	}
	for _, d := range t.entry.Writes {
		if err := t.of.rows.RaisePlace(ctx, d, l); err != nil {
			return err
		}
	}
	for _, s := range t.store {
		if l.FlowsTo(t.base) {
			continue // the operator reviews no more than the profile shows
		}
		if err := t.of.rows.RaisePlace(ctx, s, l); err != nil {
			return err
		}
	}
	t.entry = e
	return nil
}

// leave forgets the session.
func (t *tenancy) leave() {
	if t == nil || t.file == nil {
		return
	}
	_ = os.Remove(t.file.Name()) // what stays is not locked, and nobody minds it
	_ = t.file.Close()
}

// lock keeps the register for one at a time, of all processes.
func (r *register) lock() (unlock func(), err error) {
	const op = "app.places"
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fault.Wrap(op, fault.Unavailable, err)
	}
	f, err := os.OpenFile(filepath.Join(r.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fault.Wrap(op, fault.Unavailable, err)
	}
	if err := lockFile(f, true); err != nil {
		return nil, fault.Wrap(op, fault.Unavailable, errors.Join(err, f.Close()))
	}
	return func() { _ = f.Close() }, nil
}

// others reads the entries of the sessions that live, but for one's own. One
// that cannot be read counts as sharing everything and knowing nothing.
func (r *register) others(own string) ([]entry, error) {
	paths, err := filepath.Glob(filepath.Join(r.dir, "*.place"))
	if err != nil {
		return nil, err
	}
	var out []entry
	for _, p := range paths {
		if p == own {
			continue
		}
		f, err := os.OpenFile(p, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fault.Wrap("app.places", fault.Unavailable, err)
		}
		if lockFile(f, false) == nil { // its session is dead
			_ = os.Remove(p)
			_ = f.Close()
			continue
		}
		_ = f.Close()
		e := entry{Agent: "another agent", Reads: []string{"/"}}
		if text, err := os.ReadFile(p); err == nil {
			var got entry
			if json.Unmarshal(text, &got) == nil {
				e = got
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// shared names a directory of a that lies in, at or above one of b.
func shared(a, b []string) string {
	for _, x := range a {
		for _, y := range b {
			if x == y || strings.HasPrefix(x, strings.TrimSuffix(y, "/")+"/") || strings.HasPrefix(y, x+"/") {
				return x
			}
		}
	}
	return ""
}
