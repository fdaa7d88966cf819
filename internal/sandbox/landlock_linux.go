package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Access rights by what a path is for. Character and block devices are made by
// nobody; sockets are, because a build may want one in its own tree.
const (
	llRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_EXECUTE
	llFile  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	llWrite = llRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	llDevice = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// landlockABI asks the kernel for its Landlock version; 0 when there is none.
func landlockABI() (int, error) {
	n, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0, fmt.Errorf("landlock_create_ruleset: %w", e)
	}
	return int(n), nil
}

// ruleset is a Landlock ruleset being built. Everything it handles is denied
// except what is added.
type ruleset struct {
	fd      int
	handled uint64
}

// newRuleset handles all file accesses, TCP bind and connect when net is true,
// and the signal and abstract-socket scopes, as far as abi knows them.
func newRuleset(abi int, net bool) (*ruleset, error) {
	var attr [24]byte
	fs := uint64(1<<13 - 1)
	size := 8
	switch {
	case abi >= 5:
		fs = 1<<16 - 1
	case abi >= 3:
		fs = 1<<15 - 1
	case abi >= 2:
		fs = 1<<14 - 1
	}
	if abi >= 4 {
		size = 16
		if net {
			binary.NativeEndian.PutUint64(attr[8:], unix.LANDLOCK_ACCESS_NET_BIND_TCP|unix.LANDLOCK_ACCESS_NET_CONNECT_TCP)
		}
	}
	if abi >= 6 {
		size = 24
		binary.NativeEndian.PutUint64(attr[16:], unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET|unix.LANDLOCK_SCOPE_SIGNAL)
	}
	binary.NativeEndian.PutUint64(attr[0:], fs)
	fd, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr[0])), uintptr(size), 0)
	if e != 0 {
		return nil, fmt.Errorf("landlock_create_ruleset: %w", e)
	}
	return &ruleset{fd: int(fd), handled: fs}, nil
}

// allow grants access beneath path. A path that does not exist is skipped: a
// rule that grants nothing is no loss.
func (r *ruleset) allow(path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		if err == unix.ENOENT || err == unix.EACCES || err == unix.ENOTDIR {
			return nil
		}
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= llFile | llDevice // the kernel refuses directory rights on files
	}
	var attr [12]byte // packed: u64 allowed_access, s32 parent_fd
	binary.NativeEndian.PutUint64(attr[0:], access&r.handled)
	binary.NativeEndian.PutUint32(attr[8:], uint32(fd))
	_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr[0])), 0, 0, 0)
	if e != 0 {
		return fmt.Errorf("landlock_add_rule %s: %w", path, e)
	}
	return nil
}

// restrictThread binds the calling thread and all it will fork to the ruleset.
func (r *ruleset) restrictThread() error {
	if _, _, e := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r.fd), 0, 0); e != 0 {
		return fmt.Errorf("landlock_restrict_self: %w", e)
	}
	return nil
}

// devices every view has.
var deviceNames = []string{"null", "zero", "full", "random", "urandom", "tty"}

// fullRules is Landlock as the second layer over the mounts of the full tier.
func (r *ruleset) fullRules(c *stageConfig) error {
	if err := r.allow("/", llRead); err != nil {
		return err
	}
	private := []string{"/tmp", "/dev/shm"}
	if c.Spec.View == ViewWorkspace {
		private = append(private, "/var/tmp")
	}
	if len(c.Spec.opens()) > 0 {
		if err := r.allow(FolderRequests, unix.LANDLOCK_ACCESS_FS_WRITE_FILE|unix.LANDLOCK_ACCESS_FS_TRUNCATE); err != nil {
			return err
		}
	}
	return r.writableRules(c, private)
}

func (r *ruleset) writableRules(c *stageConfig, private []string) error {
	paths := append([]string(nil), private...)
	if !c.Spec.ReadOnly {
		paths = append(paths, c.Spec.writable()...)
	}
	for _, p := range paths {
		if err := r.allow(p, llWrite); err != nil {
			return err
		}
	}
	devices := deviceNames
	if c.Tier == TierFull {
		// the view's own; the host's are other terminals of the same user, who
		// could be shown or told anything there
		devices = append([]string{"pts"}, devices...)
	}
	for _, d := range devices {
		if err := r.allow("/dev/"+d, llDevice|unix.LANDLOCK_ACCESS_FS_READ_DIR); err != nil {
			return err
		}
	}
	return nil
}

// complementRules grants reading of everything beneath dir except hidden.
// Landlock cannot deny inside a grant, so the directories on the way to a
// hidden path are granted child by child: what is created in them later stays
// unreadable, which errs on the safe side.
func (r *ruleset) complementRules(dir string, hidden []string) error {
	inside := false
	for _, h := range hidden {
		if beneath(dir, h) {
			return nil
		}
		inside = inside || beneath(h, dir)
	}
	if !inside {
		return r.allow(dir, llRead)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // unreadable now, unreadable then
	}
	for _, e := range entries {
		if e.Type()&os.ModeSymlink != 0 {
			continue // the target is judged where it lies
		}
		if err := r.complementRules(filepath.Join(dir, e.Name()), hidden); err != nil {
			return err
		}
	}
	// Listing is granted on the whole subtree: names are not contents.
	return r.allow(dir, unix.LANDLOCK_ACCESS_FS_READ_DIR)
}

// landlockTierRules builds the view of the landlock tier: grants only, over
// the host's own file system.
func (s *stage) landlockTierRules(r *ruleset) error {
	c := s.c
	if err := r.allow("/proc", llRead); err != nil {
		return err
	}
	if c.Spec.View == ViewAuditor {
		hidden := append([]string{"/proc", "/dev"}, c.Spec.Masked...)
		hidden = append(hidden, findSecrets("/")...)
		if err := r.complementRules("/", hidden); err != nil {
			return err
		}
	} else if err := r.systemRules(c.Spec.Mounts); err != nil {
		return err
	}
	if c.Spec.Facts != "" {
		if err := r.allow(c.Spec.Facts, llRead); err != nil {
			return err
		}
	}
	if err := r.allow("/dev/fd", llRead); err != nil {
		return err
	}
	return r.writableRules(c, nil)
}

func (r *ruleset) systemRules(mounts []Mount) error {
	for _, d := range systemDirs {
		if err := r.allow(d, llRead); err != nil {
			return err
		}
	}
	for _, name := range systemEtc {
		if err := r.allow(filepath.Join("/etc", name), llRead); err != nil {
			return err
		}
	}
	for _, m := range mounts {
		if err := r.allow(m.Host, llRead); err != nil {
			return err
		}
	}
	return nil
}
