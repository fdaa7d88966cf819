package sandbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A pinned path is mounted over itself read-only, and every directory between
// it and the writable directory is mounted over itself as it is. The kernel
// renames or removes no mountpoint (EBUSY), so the way to the pinned path
// cannot be put aside and built anew. The directories stay writable otherwise;
// what moves between two of them has to be copied, as between file systems.

// pinAll mounts the pins, outermost first.
func (m *mounter) pinAll() error {
	if m.c.Spec.ReadOnly {
		return nil // nothing is writable
	}
	roots := m.c.Spec.writable()
	held := map[string]bool{}
	if err := m.holdInner(roots, held); err != nil {
		return err
	}
	var done []string
	absent := map[string][]string{}
	for _, p := range m.c.Spec.Pinned {
		root := innermost(p, roots)
		if root == "" || underAny(p, done...) {
			continue // not writable, or within a pinned directory
		}
		direct := m.c.Spec.overlayAt(root) < 0
		tree, err := cloneTree(p, roFlags)
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOENT) || !direct && (errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR)):
			// Beneath an overlay whatever appears there is refused when the
			// changes are committed.
			if direct {
				absent[root] = append(absent[root], strings.TrimPrefix(p, root+"/"))
			}
			continue
		case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
			return &stepError{Primitive: "view", Detail: err.Error(), Usage: fmt.Sprintf(
				"the protected path %s leads through a symbolic link or a file, which cannot be held; put a directory there, or work on %s copy-on-write", p, root)}
		default:
			return fmt.Errorf("pin: %w", err)
		}
		if err := holdWay(root, filepath.Dir(p), held); err != nil {
			unix.Close(tree)
			return err
		}
		if err := attach(tree, p); err != nil {
			return fmt.Errorf("pin: %w", err)
		}
		done = append(done, p)
		if direct {
			m.volatile = true
		}
	}
	m.noteAbsent(absent)
	return nil
}

// holdInner holds the way to what lies within a directory that is written
// directly: a copy-on-write directory, whose place on the host would move with
// a parent, and masked ones, the state directory among them.
func (m *mounter) holdInner(roots []string, held map[string]bool) error {
	inner := append([]string(nil), m.c.Spec.Masked...)
	for _, o := range m.c.Spec.Overlays {
		inner = append(inner, o.Dir)
	}
	for _, f := range m.c.Spec.Folders {
		inner = append(inner, m.c.Spec.covers(f)...)
		if f.View != "" {
			inner = append(inner, f.View)
		}
	}
	for _, p := range inner {
		root := innermost(filepath.Dir(p), roots)
		if root == "" || m.c.Spec.overlayAt(root) >= 0 || !exists(p) {
			continue
		}
		if err := holdWay(root, filepath.Dir(p), held); err != nil {
			return err
		}
	}
	return nil
}

// holdWay makes every directory from below root down to dir a mountpoint.
func holdWay(root, dir string, held map[string]bool) error {
	if dir == root || held[dir] {
		return nil
	}
	if err := holdWay(root, filepath.Dir(dir), held); err != nil {
		return err
	}
	tree, err := cloneTree(dir, 0)
	if err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	if err := attach(tree, dir); err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	held[dir] = true
	return nil
}

// noteAbsent says which protected paths cannot be held. Making them would leave
// strange files on the host.
func (m *mounter) noteAbsent(absent map[string][]string) {
	const shown = 12
	for _, root := range sortedKeys(absent) {
		list, more := absent[root], ""
		if n := len(list) - shown; n > 0 {
			list, more = list[:shown], fmt.Sprintf(" and %d more", n)
		}
		m.notes = append(m.notes, fmt.Sprintf(
			"Protected paths that do not exist in %s cannot be held and may be made by the agent: %s%s; work copy-on-write to have them refused at the commit.", root, strings.Join(list, ", "), more))
	}
	if m.volatile {
		m.notes = append(m.notes, "A protected path is held as the file it was at the start: when a program on the host replaces it meanwhile, as git config does, its successor is not held before the next start.")
	}
}
