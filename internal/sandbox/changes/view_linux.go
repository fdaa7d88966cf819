package changes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// view is a Set opened to be read: the host's tree and the session's.
type view struct {
	set   *Set
	host  tree
	under string // what the paths are judged with, see underOf
	src   tree   // upper or copy; its descriptor is -1 if the session left nothing
	base  *base  // copy mode only
	names map[uint64]int
	// linked are files of the host that lost one of several names to a commit,
	// which changed their ctime: for them mtime counts instead.
	linked map[uint64]bool
	left   []entry // what a killed commit left on the host
}

// open opens both trees, after making sure that Dir is what it was.
func (s *Set) open(op string) (*view, error) {
	host, st, err := openTree(s.meta.Dir)
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.NotFound, Public: "changes go to the directory they were made for, and it cannot be opened or has become a link: " +
			Visible(s.meta.Dir, false) + "; put it back, or discard the changes", Err: err}
	}
	v := &view{set: s, host: host, src: tree{-1}}
	if st.Dev != s.meta.Device || st.Ino != s.meta.Inode {
		v.close()
		return nil, fault.New(op, fault.Conflict, "changes go to the directory they were made for, and another one stands at %s now; put the first back, or discard the changes", Visible(s.meta.Dir, false))
	}
	v.under = underOf(s.meta.Dir, v.bare())
	if err := cmp.Or(v.readJournal(op), v.openSource(op)); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// bare tells that the host's directory is what git keeps a repository in.
func (v *view) bare() bool {
	for name, typ := range map[string]string{"HEAD": TypeFile, "objects": TypeDir, "refs": TypeDir} {
		if n, err := v.host.look(name, false); err != nil || n.typ != typ {
			return false
		}
	}
	return true
}

func (v *view) readJournal(op string) error {
	f, err := os.OpenFile(filepath.Join(v.set.store, "journal"), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		defer f.Close()
		v.left, v.linked, err = parseJournal(f)
	}
	if err != nil {
		return &fault.Error{Op: op, Kind: fault.Corrupt, Public: "the journal of an earlier commit is damaged, so it is not known what it left behind; look for .sallyport-*~ in the directory, then discard the changes", Err: err}
	}
	return nil
}

func (v *view) openSource(op string) error {
	s := v.set
	if s.meta.State == StateDiscarded {
		return nil
	}
	mode := s.meta.Mode
	if mode == "" {
		mode = ModeOverlay
		if _, err := os.Lstat(filepath.Join(s.store, "copy")); err == nil {
			mode = ModeCopy
		}
	}
	name := map[string]string{ModeOverlay: "upper", ModeCopy: "copy"}[mode]
	src, _, err := openTree(filepath.Join(s.store, name))
	if errors.Is(err, unix.ENOENT) && (s.meta.Mode == "" || s.meta.State == StateCommitted) {
		return nil // the sandbox never started, or nothing is left
	}
	if err != nil {
		return &fault.Error{Op: op, Kind: fault.Corrupt, Public: "the directory that took the session's changes is gone or no directory; nothing of it can be committed, so discard the changes", Err: err}
	}
	v.src = src
	if mode == ModeOverlay {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(s.store, "base.jsonl"), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == nil {
		defer f.Close()
		v.base, err = parseBase(f)
	}
	if err != nil {
		return &fault.Error{Op: op, Kind: fault.Corrupt, Public: "the record of what was copied for the session is missing or damaged, so changes cannot be told from what was there; discard them", Err: err}
	}
	return nil
}

func (v *view) close() {
	v.host.close()
	v.src.close()
}

// pair is what one path is to the session and to the host.
type pair struct {
	up, host node
	base     *base // copy mode: what was copied
	same     bool  // copy mode: the session left it as it was copied
}

// pair looks at both sides. If hidden is true, a directory above hides whatever
// of the host the session did not make again.
func (v *view) pair(raw string, hidden bool) pair {
	var p pair
	p.up = lookOrBad(v.src, raw, v.base == nil)
	p.host = lookOrBad(v.host, raw, false)
	if v.base == nil {
		if p.up.typ == "" && hidden {
			p.up.typ = typWhiteout
		}
		return p
	}
	p.base = v.base.at(raw)
	switch {
	case p.base == nil || p.base.Type == TypeOther:
		p.same = p.up.typ == ""
	case p.up.typ == "":
		p.up.typ = typWhiteout
	default:
		p.same = p.base.matches(p.up)
	}
	return p
}

// matches tells that a copied entry is as it was copied. Who sets the times of
// a file back hides a change of it from the commit, and from nothing else.
func (b *base) matches(n node) bool {
	if b.Type != n.typ {
		return false
	}
	switch n.typ {
	case TypeFile:
		return b.Mode&0o7777 == n.st.Mode&0o7777 && b.Size == n.st.Size && b.MTime == n.st.Mtim.Nano()
	case TypeDir:
		return b.Mode&0o7777 == n.st.Mode&0o7777
	}
	return b.Target == n.target
}

func lookOrBad(t tree, raw string, marks bool) node {
	if t.fd < 0 {
		return node{}
	}
	n, err := t.look(raw, marks)
	if err != nil {
		n.bad = "it cannot be read: " + reason(err)
		if n.typ == "" {
			n.typ = TypeOther
		}
	}
	return n
}

// reason is an error without the paths it may carry.
func reason(err error) string {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno.Error()
	}
	return err.Error()
}

// List gives every Change: deletions first, then the rest in the order of the
// tree. It may be called while the session lives; what it gives is then as of
// now. Errors: fault.NotFound, Conflict or Corrupt when Dir or the Store is not
// what it was; ctx ends it early.
func (s *Set) List(ctx context.Context) ([]Change, error) {
	var out []Change
	err := s.Walk(ctx, func(c Change) error {
		out = append(out, c)
		return nil
	})
	return out, err
}

// Walk calls f for every Change in List's order, without keeping them. An error
// of f ends it and is given back.
func (s *Set) Walk(ctx context.Context, f func(Change) error) error {
	v, err := s.open("changes.list")
	if err != nil {
		return err
	}
	defer v.close()
	return v.walk(ctx, f)
}

func (v *view) walk(ctx context.Context, f func(Change) error) error {
	if v.src.fd < 0 {
		return nil
	}
	for _, deletions := range []bool{true, false} {
		w := walker{view: v, deletions: deletions, emit: f}
		root := lookOrBad(v.src, "", v.base == nil)
		if err := w.dir(ctx, "", root.opaque); err != nil {
			return err
		}
	}
	return nil
}

// walker goes through the session's tree once.
type walker struct {
	*view
	deletions bool // emit deletions, or all the rest
	emit      func(Change) error
}

func (w *walker) dir(ctx context.Context, dir string, hidden bool) error {
	names, err := w.entries(dir, hidden)
	if err != nil {
		if w.deletions {
			return nil
		}
		return w.emit(Change{Path: quotePath(dir), Kind: KindModified, Type: TypeDir, OldType: TypeDir, Refused: "its entries cannot be read, so nothing in it is committed: " + reason(err)})
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		raw := join(dir, name)
		if len(raw) > maxPath {
			if w.deletions {
				continue
			}
			err = w.emit(Change{Path: quotePath(raw), Kind: KindAdded, Type: TypeOther, Refused: fmt.Sprintf("a path longer than %d bytes is never committed; move it up inside a session, or discard it", maxPath)})
		} else {
			err = w.entry(ctx, raw, hidden)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(ctx context.Context, raw string, hidden bool) error {
	p := w.pair(raw, hidden)
	if gone := p.up.typ == typWhiteout; gone == w.deletions && !p.same {
		c, ok, err := w.judge(ctx, raw, p)
		if err == nil && ok {
			err = w.emit(c)
		}
		if err != nil {
			return err
		}
	}
	if p.up.typ == TypeDir && p.up.bad == "" {
		return w.dir(ctx, raw, hidden || p.up.opaque)
	}
	return nil
}

// entries are the names to look at in a directory: those of the session's tree,
// and those that may be missing from it.
func (v *view) entries(dir string, hidden bool) ([]string, error) {
	names, err := v.src.names(dir)
	if err != nil {
		return nil, err
	}
	var more []string
	switch {
	case v.base != nil:
		if b := v.base.at(dir); b != nil {
			more = b.names()
		}
	case hidden:
		if more, err = v.host.names(dir); err != nil {
			return nil, err
		}
	}
	if len(more) == 0 {
		return names, nil
	}
	names = append(names, more...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// split gives the directory ("" for the root) and the name of a path.
func split(raw string) (dir, name string) {
	i := strings.LastIndexByte(raw, '/')
	return raw[:max(i, 0)], raw[i+1:]
}

// countNames finds out how many names each inode with several of them has in
// the session's tree.
func (v *view) countNames(ctx context.Context, dir string) error {
	names, err := v.src.names(dir)
	if err != nil {
		return nil //nolint:nilerr // the walk itself reports what cannot be read
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := lookOrBad(v.src, join(dir, name), false)
		switch {
		case n.typ == TypeFile && n.st.Nlink > 1:
			v.names[n.st.Ino]++
		case n.typ == TypeDir:
			if err := v.countNames(ctx, join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func permissions(n node) fs.FileMode {
	if n.typ == TypeDir && n.st.Mode&unix.S_ISVTX != 0 {
		return n.perm() | fs.ModeSticky
	}
	if n.typ == TypeFile || n.typ == TypeDir {
		return n.perm()
	}
	return 0
}
