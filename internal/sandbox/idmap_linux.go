package sandbox

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// As root the payload runs as PayloadUID, while its home belongs to somebody
// else on disk. An idmapped mount bridges that: the owner on disk appears as
// the payload's user inside, and what the payload creates belongs to the owner
// on disk. All other owners keep their numbers.

// mapping makes the table of an idmapped mount: owner on disk -> payload.
func mapping(owner, payload int) []syscall.SysProcIDMap {
	if owner == payload {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: math.MaxInt32}}
	}
	m := []syscall.SysProcIDMap{{ContainerID: owner, HostID: payload, Size: 1}}
	if owner > 0 {
		m = append(m, syscall.SysProcIDMap{ContainerID: 0, HostID: 0, Size: owner})
	}
	if owner < payload {
		m = append(m, syscall.SysProcIDMap{ContainerID: owner + 1, HostID: owner + 1, Size: payload - owner - 1})
	}
	return m
}

// userNamespace makes a user namespace with the given tables and returns its
// descriptor. The process that carries it is stopped by the kernel before its
// first instruction and then killed.
func userNamespace(uids, gids []syscall.SysProcIDMap) (*os.File, error) {
	runtime.LockOSThread() // ptrace is between threads
	defer runtime.UnlockOSThread()
	p, err := os.StartProcess("/proc/self/exe", []string{"sallyport-idmap"}, &os.ProcAttr{
		Env: []string{},
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER, UidMappings: uids, GidMappings: gids,
			GidMappingsEnableSetgroups: false, Ptrace: true, Pdeathsig: unix.SIGKILL,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("user namespace for an idmapped mount: %w", err)
	}
	defer func() {
		_ = p.Kill()
		_, _ = p.Wait()
	}()
	return os.Open(fmt.Sprintf("/proc/%d/ns/user", p.Pid))
}

// idmapTree returns a detached mount of path on which its owner appears as the
// payload's user. It needs real root: the file system belongs to the host.
func idmapTree(path string) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", path, err)
	}
	ns, err := userNamespace(mapping(int(st.Uid), PayloadUID), mapping(int(st.Gid), PayloadUID))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	fd, err := openPath(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	// not recursive: a mount below the directory would keep its own owners
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, fmt.Errorf("open_tree %s: %w", path, err)
	}
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP | rwFlags, Userns_fd: uint64(ns.Fd()),
	})
	if err != nil {
		unix.Close(tree)
		return nil, fmt.Errorf("idmap %s: %w", path, err)
	}
	return os.NewFile(uintptr(tree), path), nil
}

// giveTo changes the owner of a tree to the payload's user, without following
// links: the fallback where the file system cannot be idmapped. Only what
// belongs to the tree's own owner changes hands.
func giveTo(path string, uid int) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	var top unix.Stat_t
	if err := unix.Stat(path, &top); err != nil {
		return err
	}
	return filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != top.Uid || st.Nlink > 1 && !d.IsDir() {
			return nil // somebody else's, or a hard link that may lead outside
		}
		rel, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		return root.Lchown(rel, uid, uid)
	})
}
