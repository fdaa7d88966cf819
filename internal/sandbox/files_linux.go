package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// collectMounts opens what the Spec shows read-only besides the system.
func (m *mounter) collectMounts(s *sources) error {
	for _, mnt := range m.c.Spec.Mounts {
		tree, ok := m.c.Mounts[mountKey(mnt.View)]
		if ok {
			if err := setAttr(tree, "", roFlags, unix.AT_EMPTY_PATH|unix.AT_RECURSIVE); err != nil {
				return err
			}
		} else {
			var err error
			if tree, err = cloneTree(mnt.Host, roFlags); err != nil {
				return refuseView(mnt.View, err)
			}
		}
		var st unix.Stat_t
		if err := unix.Fstat(tree, &st); err != nil {
			return fmt.Errorf("stat %s: %w", mnt.Host, err)
		}
		s.mounts = append(s.mounts, tree)
		m.c.MountDirs = append(m.c.MountDirs, st.Mode&unix.S_IFMT == unix.S_IFDIR)
	}
	return nil
}

// mountKey names a read-only mount among the supervisor's id-mapped ones; no
// writable path begins like this.
func mountKey(view string) string { return "mount:" + view }

// placeMounts attaches the Spec's mounts: those beneath writable directories
// once these are there, the others before.
func (m *mounter) placeMounts(src *sources, inWritable bool) error {
	for i, mnt := range m.c.Spec.Mounts {
		if underAny(mnt.View, m.c.Spec.writable()...) != inWritable {
			continue
		}
		if err := m.show(src.mounts[i], mnt.View, inWritable); err != nil {
			return err
		}
	}
	return nil
}

// placeFiles makes the Spec's files and shows each read-only.
func (m *mounter) placeFiles() error {
	for i, f := range m.c.Spec.Files {
		made := fmt.Sprintf("%s/file%d", stageDir, i)
		if err := os.WriteFile(made, f.Content, 0o600); err != nil {
			return fmt.Errorf("make %s: %w", f.Path, err)
		}
		if m.c.Root {
			if err := unix.Lchown(made, m.c.UID, m.c.GID); err != nil {
				return fmt.Errorf("make %s: %w", f.Path, err)
			}
		}
		if err := unix.Chmod(made, f.Mode); err != nil {
			return fmt.Errorf("make %s: %w", f.Path, err)
		}
		tree, err := cloneTree(made, roFlags)
		if err != nil {
			return err
		}
		if err := m.show(tree, f.Path, underAny(f.Path, m.c.Spec.writable()...)); err != nil {
			return err
		}
	}
	return nil
}

// show attaches tree at view. In a writable directory nothing is made for it:
// that would be a stray file on the host, and a link there may be the agent's.
func (m *mounter) show(tree int, view string, inWritable bool) error {
	if inWritable {
		if err := attach(tree, view); err != nil {
			return refuseView(view, err)
		}
		return nil
	}
	if err := m.place(tree, resolveInView(view)); err != nil {
		return refuseView(view, err)
	}
	return nil
}

// resolveInView follows the system's own links (a certificate bundle is often
// one); after pivot_root none of them leads to the host.
func resolveInView(view string) string {
	for p, rest := view, ""; p != "/"; p, rest = filepath.Dir(p), filepath.Join(filepath.Base(p), rest) {
		if target, err := filepath.EvalSymlinks(p); err == nil {
			return filepath.Join(target, rest)
		}
	}
	return view
}

// refuseView is the refusal of something that cannot be shown where it is asked.
func refuseView(view string, err error) error {
	if _, ok := errors.AsType[*stepError](err); ok {
		return err
	}
	return &stepError{Primitive: "view", Detail: err.Error(), Usage: fmt.Sprintf(
		"%s cannot be shown in the sandbox (%v): nothing is made inside writable or system directories, and links in them are not followed; name a path that exists, or one outside them", view, errors.Unwrap(err))}
}
