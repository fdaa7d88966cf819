package sandbox

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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

// idmapper makes id-mapped mounts; one user namespace serves all trees of the
// same owner.
type idmapper struct {
	namespaces map[[2]uint32]*os.File
}

func (i *idmapper) close() {
	for _, f := range i.namespaces {
		f.Close()
	}
}

func (i *idmapper) namespace(uid, gid uint32) (*os.File, error) {
	key := [2]uint32{uid, gid}
	if f, ok := i.namespaces[key]; ok {
		return f, nil
	}
	f, err := userNamespace(mapping(int(uid), PayloadUID), mapping(int(gid), PayloadUID))
	if err != nil {
		return nil, err
	}
	if i.namespaces == nil {
		i.namespaces = map[[2]uint32]*os.File{}
	}
	i.namespaces[key] = f
	return f, nil
}

// tree returns a detached mount of path on which its owner appears as the
// payload's user. It needs real root: the file system belongs to the host.
// recursive takes the mounts below along.
func (i *idmapper) tree(path string, recursive bool) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", path, err)
	}
	ns, err := i.namespace(st.Uid, st.Gid)
	if err != nil {
		return nil, err
	}
	fd, err := openPath(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|flags)
	if err != nil {
		return nil, fmt.Errorf("open_tree %s: %w", path, err)
	}
	err = unix.MountSetattr(tree, "", flags, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP | rwFlags, Userns_fd: uint64(ns.Fd()),
	})
	if err != nil {
		unix.Close(tree)
		return nil, fmt.Errorf("idmap %s: %w", path, err)
	}
	return os.NewFile(uintptr(tree), path), nil
}

// grant makes the payload's user the owner of what it may write, as the
// payload sees it: by id-mapped mounts as root in the full tier, by a change of
// owner where that cannot be. Read-only mounts out of a private directory, as a
// home is, are mapped too, so that the payload can read them.
func (sb *Sandbox) grant(conf *stageConfig) ([]string, error) {
	if !conf.Root {
		return nil, nil
	}
	var ids idmapper
	defer ids.close()
	var notes []string
	for _, p := range conf.Spec.writable() {
		i := conf.Spec.overlayAt(p)
		if i >= 0 && conf.Modes[i] == modeCopy {
			continue // the copy belongs to the payload
		}
		more, err := sb.grantTree(conf, &ids, p, i)
		if err != nil {
			return nil, err
		}
		notes = append(notes, more...)
	}
	if conf.Tier != TierFull {
		return notes, nil
	}
	for _, m := range conf.Spec.Mounts {
		if !private(m.Host) {
			continue
		}
		f, err := ids.tree(m.Host, true)
		if err != nil {
			if f, err = ids.tree(m.Host, false); err == nil {
				notes = append(notes, missingSubmounts(m.Host)...)
			}
		}
		if err != nil {
			notes = append(notes, fmt.Sprintf("What only its owner may read in %s is unreadable inside, because it cannot be id-mapped (%v).", m.Host, err))
			continue
		}
		sb.passTree(conf, mountKey(m.View), f)
	}
	return notes, nil
}

// passTree hands a mount over to the stage under a name.
func (sb *Sandbox) passTree(conf *stageConfig, key string, f *os.File) {
	conf.Mounts[key] = fdMounts + len(sb.files)
	sb.files = append(sb.files, f)
}

// grantTree maps one writable directory; overlay is its number, or -1. An
// overlay's directory never changes its owner: where it cannot be mapped the
// stage's attempt to use it fails, and a copy takes its place.
func (sb *Sandbox) grantTree(conf *stageConfig, ids *idmapper, path string, overlay int) ([]string, error) {
	var notes []string
	why := "this tier has no id-mapped mounts"
	if conf.Tier == TierFull {
		f, err := ids.tree(path, overlay < 0)
		if err != nil && overlay < 0 {
			f, err = ids.tree(path, false)
			notes = missingSubmounts(path)
		} else if overlay >= 0 {
			notes = missingSubmounts(path)
		}
		if err == nil {
			sb.passTree(conf, path, f)
			return notes, nil
		}
		why = fmt.Sprintf("it cannot be id-mapped (%v)", err)
	}
	if overlay >= 0 {
		return nil, &stepError{Primitive: "overlay", Overlay: overlay, Detail: why, Fallback: true}
	}
	notes = []string{fmt.Sprintf("The owner of %s was changed to uid %d, because %s.", path, PayloadUID, why)}
	if conf.Spec.ReadOnly {
		return notes, nil
	}
	if err := giveTo(path, PayloadUID); err != nil {
		return nil, fmt.Errorf("change owner of %s: %w", path, err)
	}
	return notes, nil
}

// private reports whether path lies in a directory that lets nobody but its
// owner through, as a home does.
func private(path string) bool {
	for d := filepath.Dir(path); d != "/"; d = filepath.Dir(d) {
		if fi, err := os.Stat(d); err != nil || fi.Mode().Perm()&0o001 == 0 {
			return true
		}
	}
	return false
}

// missingSubmounts says which mounts below path do not show in the view.
func missingSubmounts(path string) []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		if at := unescapeMount(f[4]); at != path && beneath(at, path) {
			out = append(out, fmt.Sprintf("The file system mounted at %s is not shown inside: the directory it covers is.", at))
		}
	}
	return out
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
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
