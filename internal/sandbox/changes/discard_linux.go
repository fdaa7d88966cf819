package changes

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// Discard drops the given Changes from the Set: the host is not touched. With a
// directory goes all that is in it, except when only its mode had changed. A
// path that is not among the changes is nothing to discard.
func (s *Set) Discard(ctx context.Context, list []Change) error {
	const op = "changes.discard"
	release, err := s.own(op)
	if err != nil {
		return err
	}
	defer release()
	c := &committer{op: op, touched: map[string]bool{}}
	if c.view, err = s.open(op); err != nil {
		return err
	}
	defer c.close()
	if c.src.fd < 0 {
		return nil
	}
	if c.journal, err = s.openJournal(c.view); err != nil {
		return err
	}
	defer c.journal.close()
	if err := c.reveal(ctx); err != nil {
		return fault.Wrap(op, fault.Internal, err)
	}
	for _, change := range list {
		raw, ok := rawPath(change.Path)
		if !ok {
			return fault.New(op, fault.Usage, "%s is not the path of a change; list the changes again", Visible(change.Path, false))
		}
		if err := errors.Join(ctx.Err(), c.drop(change, raw)); err != nil {
			return fault.Wrap(op, fault.Internal, err)
		}
	}
	return errors.Join(fault.Wrap(op, fault.Internal, s.emptyTrash()), c.finish(ctx, StateDiscarded))
}

// drop takes one path out of the session's tree, in one step.
func (c *committer) drop(change Change, raw string) error {
	dir, name := split(raw)
	n := lookOrBad(c.src, raw, c.base == nil)
	if n.typ == TypeDir && change.Kind == KindMode {
		host, err := c.host.look(raw, false)
		if err != nil || host.typ != TypeDir {
			return err
		}
		c.touched[raw] = true
		return chmod(c.src, raw, permissions(host))
	}
	c.touched[dir] = true
	if n.typ != "" {
		if err := c.set.toTrash(c.src, dir, name); err != nil {
			return err
		}
	}
	if c.base != nil {
		gone := record{Path: raw}
		c.base.put(gone)
		c.journal.note(gone)
	}
	return nil
}

// toTrash moves an entry out of the session's tree.
func (s *Set) toTrash(t tree, dir, name string) error {
	trash := filepath.Join(s.store, "trash")
	if err := os.Mkdir(trash, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	bin, _, err := openTree(trash)
	if err != nil {
		return err
	}
	defer bin.close()
	return t.writable(dir, func(fd int) error {
		to := rand.Text()
		err := unix.Renameat2(fd, name, bin.fd, to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EACCES) { // a directory that may not be written cannot move
			if err = unix.Fchmodat(fd, name, 0o700, unix.AT_SYMLINK_NOFOLLOW); err == nil {
				err = unix.Renameat2(fd, name, bin.fd, to, unix.RENAME_NOREPLACE)
			}
		}
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	})
}

func (s *Set) emptyTrash() error {
	store, _, err := openTree(s.store)
	if err != nil {
		return err
	}
	defer store.close()
	return removeTree(store.fd, "trash")
}

// DiscardAll drops all that is left, also when Dir is gone or the Store damaged.
func (s *Set) DiscardAll(ctx context.Context) error {
	const op = "changes.discard"
	release, err := s.own(op)
	if err != nil {
		return err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return fault.Wrap(op, fault.Canceled, err)
	}
	if v, err := s.open(op); err == nil {
		// Litter of a killed commit goes with the changes it belonged to.
		if j, err := s.openJournal(v); err == nil {
			j.close()
		}
		v.close()
	}
	store, _, err := openTree(s.store)
	if err != nil {
		return fault.Wrap(op, fault.Internal, err)
	}
	defer store.close()
	for _, name := range []string{"upper", "copy"} {
		if n := lookOrBad(store, name, false); n.typ != "" {
			if err := s.toTrash(store, "", name); err != nil {
				return fault.Wrap(op, fault.Internal, err)
			}
		}
	}
	err = s.settleState(StateDiscarded)
	gone := s.emptyTrash()
	if errors.Is(err, unix.ENOSPC) && gone == nil {
		err = s.settleState(StateDiscarded) // what filled the disk may just have been dropped
	}
	return fault.Wrap(op, fault.Internal, errors.Join(err, gone))
}
