package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// How a copy-on-write directory is kept.
const (
	modeOverlay = "overlay" // the kernel's overlayfs: the store takes what changed
	modeCopy    = "copy"    // a whole private copy in the store, where overlayfs is refused
)

// The parts of a Store that are the sandbox's. Whoever reviews and commits may
// keep files of other names beside them.
const (
	storeUpper = "upper"      // overlay: what changed, with the kernel's whiteouts and opaque marks
	storeWork  = "work"       // overlay: the kernel's scratch directory
	storeCopy  = "copy"       // copy: the whole tree
	storeBase  = "base.jsonl" // copy: what was copied; written last, so that it marks a complete copy
)

func (o Overlay) upper(mode string) string {
	if mode == modeCopy {
		return filepath.Join(o.Store, storeCopy)
	}
	return filepath.Join(o.Store, storeUpper)
}

// plan says how one overlay is kept, and why not by overlayfs.
type plan struct {
	mode string
	why  string
}

// planOverlays decides what can be known before anything is mounted.
func (s Spec) planOverlays(tier Tier) []plan {
	plans := make([]plan, len(s.Overlays))
	for i, o := range s.Overlays {
		switch {
		case tier == TierLandlock:
			plans[i] = plan{modeCopy, "this tier has no mounts"}
		case s.forceCopy:
			plans[i] = plan{modeCopy, "it was asked for"}
		case exists(filepath.Join(o.Store, storeBase)):
			plans[i] = plan{modeCopy, "its store holds a copy of an earlier run"}
		default:
			plans[i] = plan{mode: modeOverlay}
			if foreignGroup(o.Dir) {
				plans[i] = plan{modeCopy, "it belongs to a group other than your first one, which overlayfs cannot write for an ordinary user"}
				continue
			}
			if err := unix.Setxattr(o.Store, "user.sallyport", []byte("y"), 0); err != nil {
				plans[i] = plan{modeCopy, "the store's file system takes no extended attributes"}
				continue
			}
			_ = unix.Removexattr(o.Store, "user.sallyport")
		}
	}
	return plans
}

// foreignGroup reports whether an ordinary user's own directory belongs to a
// group that the sandbox's user namespace does not know: one map entry is all
// an ordinary user may make, and overlayfs copies no unknown owner up.
func foreignGroup(dir string) bool {
	var st unix.Stat_t
	return os.Geteuid() != 0 && unix.Stat(dir, &st) == nil && int(st.Uid) == os.Getuid() && int(st.Gid) != os.Getgid()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// prepare makes an overlay's place on disk. Nothing of Dir changes.
func (o Overlay) prepare(ctx context.Context, p plan, conf *stageConfig) ([]string, error) {
	if p.mode == modeOverlay {
		notes := []string{"In " + o.Dir + " a file of several names becomes several files at the first write to one of them, and what another program changes on the host meanwhile may show inside or not."}
		if !conf.Root {
			notes = append(notes, "In "+o.Dir+" what belongs to another user or group cannot be changed: overlayfs refuses it (EOVERFLOW) for an ordinary user.")
		}
		return notes, o.prepareUpper(conf)
	}
	if left, err := os.ReadDir(o.upper(modeOverlay)); err == nil && len(left) > 0 {
		return nil, fault.New("sandbox.start", fault.Unsupported,
			"%s cannot be copy-on-write here (%s), but its store holds changes of an earlier run that need it; commit or discard those first", o.Dir, p.why)
	}
	notes, err := copyOnce(ctx, o, conf)
	if err != nil {
		return nil, err
	}
	return append(notes, fmt.Sprintf("%s is written in a private copy made at the start, not copy-on-write (%s): what changes on the host meanwhile is not seen inside.", o.Dir, p.why)), nil
}

// prepareUpper makes the layer that takes the changes. Its top directory is
// what the payload sees as Dir, so it gets Dir's mode and, as the payload sees
// it, Dir's owner.
func (o Overlay) prepareUpper(conf *stageConfig) error {
	for _, d := range []string{storeUpper, storeWork} {
		path := filepath.Join(o.Store, d)
		err := os.Mkdir(path, 0o700)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		if d == storeWork {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(o.Dir, &st); err != nil {
			return fmt.Errorf("stat %s: %w", o.Dir, err)
		}
		if conf.Root {
			if err := unix.Lchown(path, PayloadUID, PayloadUID); err != nil {
				return fmt.Errorf("store: %w", err)
			}
		} else {
			_ = unix.Lchown(path, -1, int(st.Gid)) // possible only if it is a group of the user's
		}
		if err := unix.Chmod(path, st.Mode&0o3777); err != nil {
			return fmt.Errorf("store: %w", err)
		}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Atim, st.Mtim}, 0); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	return nil
}

// settleStore makes the kernel's scratch directory removable by its owner: the
// kernel leaves it with no permission at all.
func settleStore(store string) {
	_ = os.Chmod(filepath.Join(store, storeWork, "work"), 0o700)
}

// OverlayState says where the changes of one copy-on-write directory go.
type OverlayState struct {
	Dir   string // as in the Spec, links resolved
	Store string
	Mode  string // "overlay", or "copy" where overlayfs is refused
	Upper string // Store/upper with overlayfs' marks, or Store/copy with Store/base.jsonl beside it
}

// Overlays tells how each of the Spec's overlays is kept, in the Spec's order.
func (sb *Sandbox) Overlays() []OverlayState {
	return append([]OverlayState(nil), sb.overlays...)
}

// prepare makes everything the stage needs that only the supervisor can make:
// the stores of the overlays and the id-mapped mounts.
func (sb *Sandbox) prepare(ctx context.Context, conf *stageConfig, plans []plan) ([]string, error) {
	var notes []string
	for i, o := range conf.Spec.Overlays {
		if conf.Root && conf.Tier == TierLandlock {
			if err := reachable(o.upper(modeCopy)); err != nil {
				return nil, err
			}
		}
		more, err := o.prepare(ctx, plans[i], conf)
		if err != nil {
			return nil, err
		}
		notes = append(notes, more...)
		conf.Modes = append(conf.Modes, plans[i].mode)
		sb.overlays = append(sb.overlays, OverlayState{Dir: o.Dir, Store: o.Store, Mode: plans[i].mode, Upper: o.upper(plans[i].mode)})
	}
	if conf.Tier == TierLandlock {
		var more []string
		conf.Spec, more = conf.Spec.onCopies()
		sb.spec = conf.Spec // shells begin in the copy
		notes = append(notes, more...)
	}
	more, err := sb.grant(conf)
	return append(notes, more...), err
}

// onCopies rewrites s for a tier without mounts: whatever lies in an overlay's
// directory is named by its path in the copy, in the environment too.
func (s Spec) onCopies() (Spec, []string) {
	dirs := make([]string, len(s.Overlays))
	for i, o := range s.Overlays {
		dirs[i] = o.Dir
	}
	move := func(path string) string {
		if in := innermost(path, dirs); in != "" {
			return s.Overlays[s.overlayAt(in)].upper(modeCopy) + strings.TrimPrefix(path, in)
		}
		return path
	}
	moved := s
	moved.Home, moved.Workdir, moved.Overlays, moved.Pinned = move(s.Home), move(s.Workdir), nil, nil
	moved.Writable = make([]string, 0, len(s.Writable)+len(s.Overlays))
	for _, w := range append(append([]string(nil), s.Writable...), dirs...) {
		moved.Writable = append(moved.Writable, move(w))
	}
	moved.Env = make([]string, len(s.Env))
	for i, kv := range s.Env {
		name, value, _ := strings.Cut(kv, "=")
		moved.Env[i] = name + "=" + move(value)
	}
	var notes []string
	for _, d := range dirs {
		notes = append(notes, fmt.Sprintf("%s is worked on at the path of its copy, %s.", d, move(d)))
	}
	return moved, notes
}

// reachable refuses where the payload's own user could not get to its copy:
// without mounts every directory on the way has to let it through.
func reachable(path string) error {
	for d := filepath.Dir(path); d != "/"; d = filepath.Dir(d) {
		fi, err := os.Stat(d) //nolint:gosec // the operator's own path
		if err != nil {
			return err
		}
		if fi.Mode().Perm()&0o001 == 0 {
			return fault.New("sandbox.start", fault.Unsupported,
				"without mounts the agent, which runs as another user when started by root, cannot reach its copy through the private directory %s; start as an ordinary user, or allow user and mount namespaces", d)
		}
	}
	return nil
}

// overlay mounts overlay number i in the staging area and gives back a
// detached mount of it. The staging paths are the only ones in the option
// string, so no name of the operator's can be taken for an option.
func (m *mounter) overlay(src *sources, i int) (int, error) {
	base := fmt.Sprintf("%s/overlay%d", stageDir, i)
	merged := base + "/merged"
	for _, d := range []string{base + "/lower", base + "/store", base + "/front", merged} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return -1, fmt.Errorf("staging area: %w", err)
		}
	}
	if err := attach(src.lower[i], base+"/lower"); err != nil {
		return -1, err
	}
	if err := attach(src.store[i], base+"/store"); err != nil {
		return -1, err
	}
	if err := mountOverlay(base, base+"/lower", i); err != nil {
		return -1, err
	}
	made, err := m.placeholders(i, merged, base+"/front")
	if err != nil {
		return -1, err
	}
	if made {
		if err := unix.Unmount(merged, 0); err != nil {
			return -1, fmt.Errorf("unmount overlay: %w", err)
		}
		if err := mountOverlay(base, base+"/front:"+base+"/lower", i); err != nil {
			return -1, err
		}
	}
	return cloneTree(merged, m.writeFlags())
}

// mountOverlay asks for the plainest overlayfs there is: what it writes is then
// all that a review has to understand. Without redirects and metadata-only
// copies (userxattr excludes both) a file in the upper layer is whole.
func mountOverlay(base, lower string, i int) error {
	opts := fmt.Sprintf("userxattr,index=off,xino=off,lowerdir=%s,upperdir=%s/store/%s,workdir=%s/store/%s", lower, base, storeUpper, base, storeWork)
	err := unix.Mount("overlay", base+"/merged", "overlay", unix.MS_NOSUID|unix.MS_NODEV, opts)
	if err == nil {
		return nil
	}
	se := &stepError{Primitive: "overlay", Overlay: i, Detail: fmt.Sprintf("mount overlay: %v", err), Fallback: true}
	if no, ok := errors.AsType[syscall.Errno](err); ok {
		se.Errno = unix.ErrnoName(no)
	}
	return se
}

// placeholders makes mountpoints for what the Spec puts beneath overlay i where
// nothing is yet. They lie in a layer of their own in front of the host's
// directory, so that no change of the agent's is invented. A directory that is
// there already lends its looks, because the front layer's are shown.
func (m *mounter) placeholders(i int, merged, front string) (bool, error) {
	s := m.c.Spec
	dir := s.Overlays[i].Dir
	made := false
	need := func(view string, isDir bool) error {
		if view == dir || innermost(view, s.writable()) != dir {
			return nil
		}
		rel := strings.TrimPrefix(view, dir+"/")
		fd, err := openPath(filepath.Join(merged, rel))
		if err == nil {
			unix.Close(fd)
			return nil
		}
		if !errors.Is(err, unix.ENOENT) {
			return refuseView(view, err)
		}
		made = true
		if err := m.likeDirs(merged, front, filepath.Dir(rel)); err != nil {
			return refuseView(view, err)
		}
		if isDir {
			return m.likeDirs(merged, front, rel)
		}
		return os.WriteFile(filepath.Join(front, rel), nil, 0o444) //nolint:gosec // an empty mountpoint
	}
	for n, mnt := range s.Mounts {
		if err := need(mnt.View, m.c.MountDirs[n]); err != nil {
			return false, err
		}
	}
	for _, f := range s.Files {
		if err := need(f.Path, false); err != nil {
			return false, err
		}
	}
	if !made {
		return false, nil
	}
	return true, likeness(merged, front)
}

// likeDirs makes the directories of rel below front, like those below merged.
func (m *mounter) likeDirs(merged, front, rel string) error {
	if rel == "." {
		return nil
	}
	if err := m.likeDirs(merged, front, filepath.Dir(rel)); err != nil {
		return err
	}
	err := os.Mkdir(filepath.Join(front, rel), 0o755)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if m.c.Root { // where there is nothing to be like, the payload owns it
		if err := unix.Lchown(filepath.Join(front, rel), m.c.UID, m.c.GID); err != nil {
			return err
		}
	}
	return likeness(filepath.Join(merged, rel), filepath.Join(front, rel))
}

// likeness gives a directory the owner and mode of another, if that exists.
func likeness(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		if err == unix.ENOENT {
			return nil
		}
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	if err := unix.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("owner of a mountpoint: %w", err)
	}
	return unix.Chmod(to, st.Mode&0o7777)
}
