package changes

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// removeTree removes an entry of the directory dir and all beneath it, however
// deep that is and whatever its modes are. It follows nothing and crosses no
// mount. Whoever calls it has decided that all of it goes.
func removeTree(dir int, name string) error {
	if err := unlink(dir, name); err == nil || !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	top, err := openDir(dir, name)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(top) }()
	// Nested directories move up into the top one, so that two descriptors are
	// enough for any depth.
	for n := 0; ; {
		names, err := dirNames(top)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return unlink(dir, name)
		}
		for _, sub := range names {
			err := unlink(top, sub)
			if errors.Is(err, unix.ENOTEMPTY) {
				err = hoist(top, sub, &n)
			}
			if err != nil {
				return err
			}
		}
	}
}

// hoist empties top/sub: what is not empty in it moves up into top.
func hoist(top int, sub string, n *int) error {
	fd, err := openDir(top, sub)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	names, err := dirNames(fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		err := unlink(fd, name)
		for errors.Is(err, unix.ENOTEMPTY) {
			// A directory that moves is written to: its ".." changes.
			_ = unix.Fchmodat(fd, name, 0o700, unix.AT_SYMLINK_NOFOLLOW)
			*n++
			if err = unix.Renameat2(fd, name, top, fmt.Sprintf(".sallyport-up-%d", *n), unix.RENAME_NOREPLACE); errors.Is(err, unix.EEXIST) {
				err = unix.ENOTEMPTY
			}
		}
		if err != nil {
			return err
		}
	}
	return unlink(top, sub)
}

// unlink removes a file or an empty directory; what is absent is removed.
func unlink(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// openDir opens a directory to change it, granting its owner the right to.
func openDir(dir int, name string) (int, error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: resolve}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&0o700 != 0o700 {
		_ = unix.Fchmodat(dir, name, st.Mode&0o777|0o700, unix.AT_SYMLINK_NOFOLLOW)
	}
	return unix.Openat2(dir, name, &how)
}

func dirNames(fd int) ([]string, error) {
	dup, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(dup), "directory")
	defer f.Close()
	return f.Readdirnames(-1)
}
