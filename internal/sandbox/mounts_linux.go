package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// mounter builds the view of the full tier inside the stage's own mount
// namespace. Every source is opened first, without following links, and moved
// by descriptor, so that nothing swapped meanwhile can be mounted instead.
type mounter struct {
	c     *stageConfig
	seq   int
	notes []string
	src   *sources // once the view is built

	volatile bool // a pin lies in a directory that host programs write too
}

// stageDir is where the staging tmpfs lies while the view is built.
const stageDir = "/run/.stage"

const (
	roFlags = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	rwFlags = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
)

// cloneTree opens path without following links and returns a detached copy of
// the mounts there, with attr set on all of them.
func cloneTree(path string, attr uint64) (int, error) {
	fd, err := openPath(path)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("open_tree %s: %w", path, err)
	}
	if attr != 0 {
		if err := setAttr(tree, "", attr, unix.AT_EMPTY_PATH|unix.AT_RECURSIVE); err != nil {
			unix.Close(tree)
			return -1, fmt.Errorf("%s: %w", path, err)
		}
	}
	return tree, nil
}

func openPath(path string) (int, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, fmt.Errorf("openat2 %s: %w", path, err)
	}
	return fd, nil
}

func setAttr(fd int, path string, set uint64, flags uint) error {
	if err := unix.MountSetattr(fd, path, flags, &unix.MountAttr{Attr_set: set}); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return nil
}

// attach moves a detached tree onto target and closes its descriptor.
func attach(tree int, target string) error {
	defer unix.Close(tree)
	to, err := openPath(target)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	if err := unix.MoveMount(tree, "", to, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount %s: %w", target, err)
	}
	return nil
}

func mountTmp(path string, size int64, mode string, flags uintptr) error {
	opts := fmt.Sprintf("size=%d,nr_inodes=%d,mode=%s", size, max(1024, size>>14), mode)
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|flags, opts); err != nil {
		return fmt.Errorf("mount tmpfs %s: %w", path, err)
	}
	return nil
}

// sources are the trees that must be copied before anything is covered.
type sources struct {
	devices  map[string]int // name below /dev -> device node
	writable map[string]int
	readonly map[string]int // path in the view -> tree
	order    []string       // of readonly
	sockets  []int          // trees of stageConfig.Sockets
	mounts   []int          // of Spec.Mounts, in their order
	lower    map[int]int    // number of an overlay -> what it shows
	store    map[int]int    // and where its changes go
	folders  []int          // of the folders that can be opened, where the stage detaches them
	places   []int          // where those will appear
	pipes    []int          // what is asked and answered about them with
}

func (s *sources) readOnly(view, host string) error {
	tree, err := cloneTree(host, roFlags)
	if err != nil {
		return err
	}
	s.readonly[view] = tree
	s.order = append(s.order, view)
	return nil
}

func (m *mounter) collect() (*sources, error) {
	s := &sources{
		devices: map[string]int{}, writable: map[string]int{}, readonly: map[string]int{},
		lower: map[int]int{}, store: map[int]int{},
	}
	for _, d := range deviceNames {
		tree, err := cloneTree("/dev/"+d, 0)
		if err != nil {
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			return nil, err
		}
		s.devices[d] = tree
	}
	if err := m.collectWritable(s); err != nil {
		return nil, err
	}
	if err := errors.Join(m.collectMounts(s), m.collectFolders(s)); err != nil {
		return nil, err
	}
	for _, view := range sortedKeys(m.c.Spec.Replace) {
		if err := s.readOnly(view, m.c.Spec.Replace[view]); err != nil {
			return nil, err
		}
	}
	if m.c.Spec.Facts != "" {
		if err := s.readOnly(FactsPath, m.c.Spec.Facts); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// collectWritable opens the writable directories. One of copy-on-write has no
// tree of its own yet, only the two it will be made of.
func (m *mounter) collectWritable(s *sources) error {
	for _, p := range m.c.Spec.writable() {
		var err error
		if i := m.c.Spec.overlayAt(p); i >= 0 && m.c.Modes[i] == modeOverlay {
			if s.lower[i], err = m.tree(p, 0); err != nil {
				return err
			}
			if s.store[i], err = cloneTree(m.c.Spec.Overlays[i].Store, 0); err != nil {
				return err
			}
			continue
		}
		if s.writable[p], err = m.tree(p, m.writeFlags()); err != nil {
			return err
		}
	}
	return nil
}

func (m *mounter) writeFlags() uint64 {
	if m.c.Spec.ReadOnly {
		return roFlags
	}
	return rwFlags
}

// tree gives a detached mount of a writable directory: the supervisor's
// id-mapped one where there is one, else a copy of the host's.
func (m *mounter) tree(path string, attr uint64) (int, error) {
	if fd, ok := m.c.Mounts[path]; ok {
		if attr == 0 {
			return fd, nil
		}
		return fd, setAttr(fd, "", attr, unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	}
	if i := m.c.Spec.overlayAt(path); i >= 0 && m.c.Modes[i] == modeCopy {
		path = m.c.Spec.Overlays[i].upper(modeCopy)
	}
	return cloneTree(path, attr)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// hostRun is what of the host's /run an auditor sees: records of logins, the
// volatile journal, the marks of a pending reboot. The rest of /run is sockets
// and runtime secrets.
var hostRun = []string{
	"/run/utmp", "/run/log/journal", "/run/reboot-required", "/run/reboot-required.pkgs",
	"/run/systemd/resolve/resolv.conf", "/run/systemd/resolve/stub-resolv.conf", "/run/systemd/system",
}

// auditor turns the inherited mounts into the auditor's view, in place: the
// whole tree read-only, then the private and the masked parts over it.
func (m *mounter) auditor() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	src, err := m.collect()
	if err != nil {
		return err
	}
	for _, p := range hostRun {
		if err := src.readOnly(p, p); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.EACCES) {
			return err
		}
	}
	if err := setAttr(unix.AT_FDCWD, "/", roFlags, unix.AT_RECURSIVE); err != nil {
		return err
	}
	for _, view := range sortedKeys(m.c.Spec.Replace) {
		if err := attach(src.readonly[view], view); err != nil {
			return fmt.Errorf("replace %s: %w", view, err)
		}
	}
	// /run first: it carries the staging area for the masks
	if err := mountTmp("/run", 16<<20, "0755", 0); err != nil {
		return err
	}
	if err := m.openStage(); err != nil {
		return err
	}
	for _, view := range src.order {
		if !strings.HasPrefix(view, "/run/") {
			continue
		}
		if err := m.place(src.readonly[view], view); err != nil {
			return err
		}
	}
	if err := m.devices(src); err != nil {
		return err
	}
	if err := mountTmp("/tmp", m.c.Spec.Limits.Tmp, "1777", 0); err != nil {
		return err
	}
	if err := m.maskAll(src); err != nil {
		return err
	}
	if err := m.placeFolders(src); err != nil {
		return err
	}
	m.src = src
	return m.closeStage()
}

// place attaches tree at target, making the mountpoint: a directory for a
// directory, else an empty file.
func (m *mounter) place(tree int, target string) error {
	var st unix.Stat_t
	if err := unix.Fstat(tree, &st); err != nil {
		return fmt.Errorf("stat %s: %w", target, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return fmt.Errorf("mountpoint: %w", err)
		}
		return attach(tree, target)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("mountpoint: %w", err)
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return fmt.Errorf("mountpoint: %w", err)
	}
	f.Close()
	return attach(tree, target)
}

// devices makes the minimal /dev, with terminals and shared memory of its own.
func (m *mounter) devices(src *sources) error {
	if err := mountTmp("/dev", 1<<20, "0755", unix.MS_NOEXEC); err != nil {
		return err
	}
	for _, d := range sortedKeys(src.devices) {
		if err := m.place(src.devices[d], "/dev/"+d); err != nil {
			return err
		}
	}
	for _, l := range [][2]string{
		{"/proc/self/fd", "fd"},
		{"/proc/self/fd/0", "stdin"},
		{"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"},
		{"pts/ptmx", "ptmx"},
	} {
		if err := os.Symlink(l[0], "/dev/"+l[1]); err != nil {
			return err
		}
	}
	for _, d := range []string{"/dev/pts", "/dev/shm"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"); err != nil {
		m.notes = append(m.notes, fmt.Sprintf("There are no pseudo-terminals in the view: mounting devpts was refused (%v).", err))
	}
	if err := mountTmp("/dev/shm", m.c.Spec.Limits.Tmp, "1777", unix.MS_NOEXEC); err != nil {
		return err
	}
	return setAttr(unix.AT_FDCWD, "/dev", roFlags&^unix.MOUNT_ATTR_NODEV, 0)
}
