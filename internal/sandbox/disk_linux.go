package sandbox

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// The watch over the stores counts what the overlays' layers take on disk, and
// by how much the home grew, which is the payload's from one run to the next. It
// looks as soon as it can when the file system's free space has fallen by half
// of what is left to the sandbox, otherwise seldom enough to be cheap.
const (
	watchTick  = 100 * time.Millisecond
	watchShare = 10  // a routine walk waits this many times its own duration
	watchDepth = 256 // directories nested deeper than this end the sandbox
	watchIdle  = 30 * time.Second
)

// diskWatch measures the layers of one sandbox.
type diskWatch struct {
	layers []string // Store/upper or Store/copy of each overlay
	home   string   // written in place; "" if there is none, or if a layer takes it
	limits Limits
	userNS string // whose processes may hold deleted files open

	bytes int64
	files int
	held  int64              // bytes that the home had before the payload ran
	many  int                // files that it had
	seen  map[[2]uint64]bool // what has several names, counted once
}

// errTooMuch ends a walk: the limit is passed, the rest need not be counted.
var errTooMuch = errors.New("limit passed")

// watch starts what ends the sandbox when a limit on the whole of it is passed.
func (sb *Sandbox) watch() {
	if wall := sb.spec.Limits.Wall; wall > 0 {
		sb.mu.Lock()
		sb.wall = time.AfterFunc(wall, func() {
			sb.end(fault.New("sandbox.wall", fault.Budget, "the sandbox was ended because its time of %s is over; allow it more, or give it less to do", wall))
		})
		sb.mu.Unlock()
	}
	if len(sb.overlays) > 0 {
		w := &diskWatch{limits: sb.spec.Limits, userNS: sb.userNS}
		for _, o := range sb.overlays {
			w.layers = append(w.layers, o.Upper)
		}
		if h := sb.spec.Home; h != "" && sb.spec.overlayAt(h) < 0 {
			w.begin(h)
		}
		go sb.watchDisk(w)
	}
}

// end ends the sandbox for a reason that Ended tells.
func (sb *Sandbox) end(why error) {
	sb.mu.Lock()
	if sb.ended == nil {
		sb.ended = why
	}
	sb.mu.Unlock()
	sb.Kill()
}

// Ended tells which limit ended the sandbox: a fault of kind Budget whose
// sentence names it (time or disk), or Internal when a limit could no longer
// be watched. It is nil while the sandbox lives and after any other end.
func (sb *Sandbox) Ended() error {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.ended
}

// watchDisk ends the sandbox when its overlays take more than they may.
func (sb *Sandbox) watchDisk(w *diskWatch) {
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	start := w.free()
	before := int64(-1) // bytes in the layers at the start
	var last, soon, next time.Time
	var lastFree uint64
	for {
		select {
		case <-sb.done:
			return
		case <-tick.C:
		}
		now, free := time.Now(), w.free()
		fell := int64(lastFree) - int64(free)
		switch {
		case last.IsZero():
		case fell >= (w.limits.Disk-w.bytes)/2 && now.After(soon): // possibly near
		case now.Before(next):
			continue
		case fell == 0 && now.Sub(last) < watchIdle:
			continue // nothing was written on this file system
		}
		err := w.walk()
		if before < 0 {
			before = w.bytes
		}
		// more is gone than the layers show: deleted files may be held open
		if hidden := int64(start) - int64(free) - (w.bytes - before); err == nil && hidden > w.limits.Disk/4 {
			err = w.deleted()
		}
		if err != nil {
			sb.end(err)
			return
		}
		last, lastFree = now, free
		took := time.Since(now)
		soon, next = now.Add(2*took), now.Add(watchShare*took)
	}
}

// free is how many bytes are left on the stores' file systems.
func (w *diskWatch) free() uint64 {
	var sum uint64
	for _, l := range w.layers {
		var st unix.Statfs_t
		if unix.Statfs(l, &st) == nil {
			sum += st.Bfree * uint64(st.Bsize)
		}
	}
	return sum
}

// begin takes in what the home holds before the payload runs: that is not
// counted. A home that cannot be counted is found to be so by the first walk.
func (w *diskWatch) begin(home string) {
	n := diskWatch{limits: Limits{Disk: math.MaxInt64, DiskFiles: math.MaxInt}, layers: []string{home}}
	_ = n.walk()
	w.home, w.held, w.many = home, n.bytes, n.files
}

// walk counts the layers and what the home grew by. It returns a fault when a
// limit is passed.
func (w *diskWatch) walk() error {
	w.bytes, w.files, w.seen = 0, 0, map[[2]uint64]bool{}
	dirs := w.layers
	if w.home != "" {
		w.bytes, w.files = -w.held, -w.many
		dirs = append([]string{w.home}, dirs...)
	}
	for i, l := range dirs {
		if i == 1 && w.home != "" { // a home that shrank leaves no more to the layers
			w.bytes, w.files = max(w.bytes, 0), max(w.files, 0)
		}
		var st unix.Stat_t
		if err := unix.Lstat(l, &st); err != nil {
			return w.fault(err)
		}
		if err := w.enter(unix.AT_FDCWD, l, st.Mode, 1); err != nil {
			return w.fault(err)
		}
	}
	return nil
}

func (w *diskWatch) fault(err error) error {
	if errors.Is(err, errTooMuch) {
		return w.tooMuch()
	}
	return fault.New("sandbox.disk", fault.Internal, "the sandbox was ended because the disk space it takes can no longer be measured (%v); commit or discard its changes and start again", err)
}

func (w *diskWatch) tooMuch() error {
	switch {
	case w.bytes > w.limits.Disk:
		return fault.New("sandbox.disk", fault.Budget, "the sandbox was ended because its changes and what its home grew by take more than %d bytes on disk; raise the disk limit, or have it write less", w.limits.Disk)
	case w.files > w.limits.DiskFiles:
		return fault.New("sandbox.disk", fault.Budget, "the sandbox was ended because its changes and what its home grew by are more than %d files and directories; raise the limit of files, or have it write fewer", w.limits.DiskFiles)
	}
	return fault.New("sandbox.disk", fault.Budget, "the sandbox was ended because it nested directories deeper than %d; have it write flatter trees", watchDepth)
}

// dir counts what d holds and closes it. Everything is opened relative to its
// directory and without following links: the tree belongs to the payload,
// which may change it meanwhile.
func (w *diskWatch) dir(d *os.File, depth int) error {
	defer d.Close()
	fd := int(d.Fd())
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if err := w.entry(fd, name, depth); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if errors.Is(err, unix.ENOENT) { // removed meanwhile
				return nil
			}
			return err
		}
	}
}

func (w *diskWatch) entry(dir int, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if err == unix.ENOENT {
			return nil
		}
		return fmt.Errorf("stat: %w", err)
	}
	w.count(&st)
	if w.files++; w.files > w.limits.DiskFiles || w.bytes > w.limits.Disk {
		return errTooMuch
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	return w.enter(dir, name, st.Mode, depth+1)
}

// enter counts what a directory holds. An ordinary user's payload may deny its
// own user a directory, and with it the count of what is in it; such a one is
// opened for the time of counting. Beneath an overlay the payload does not see
// that: the kernel shows it the mode it remembers.
func (w *diskWatch) enter(dir int, name string, mode uint32, depth int) error {
	if depth > watchDepth {
		return errTooMuch
	}
	if os.Geteuid() != 0 && mode&0o500 != 0o500 {
		restore, err := openUp(dir, name)
		if err != nil {
			return vanished(err)
		}
		defer restore()
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return vanished(err)
	}
	return w.dir(os.NewFile(uintptr(fd), name), depth)
}

// vanished passes over what was replaced meanwhile; the next walk sees it.
func vanished(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	return fmt.Errorf("open: %w", err)
}

func (w *diskWatch) count(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		key := [2]uint64{uint64(st.Dev), st.Ino}
		if w.seen[key] {
			return
		}
		w.seen[key] = true
	}
	w.bytes += st.Blocks * 512
}

// openUp lets the supervisor's own user into a directory of its own, and gives
// back what puts the mode back.
func openUp(dir int, name string) (func(), error) {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	self, was := "/proc/self/fd/"+strconv.Itoa(fd), st.Mode&0o7777
	if err := unix.Chmod(self, was|0o500); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return func() {
		defer unix.Close(fd)
		if unix.Fstat(fd, &st) == nil && st.Mode&0o7777 == was|0o500 { // else the payload has changed it
			_ = unix.Chmod(self, was)
		}
	}, nil
}

// deleted adds the files that the sandbox's processes hold open or mapped and
// that no directory names any more.
func (w *diskWatch) deleted() error {
	seen := map[[2]uint64]bool{}
	for _, p := range processTable() {
		dir := "/proc/" + strconv.Itoa(p.pid)
		if ns, err := os.Readlink(dir + "/ns/user"); err != nil || ns != w.userNS || p.zombie {
			continue
		}
		for _, sub := range []string{"/fd", "/map_files"} {
			entries, _ := os.ReadDir(dir + sub)
			for _, e := range entries {
				w.unnamed(dir+sub+"/"+e.Name(), seen)
			}
		}
		if w.bytes > w.limits.Disk {
			return w.tooMuch()
		}
	}
	return nil
}

func (w *diskWatch) unnamed(link string, seen map[[2]uint64]bool) {
	var st unix.Stat_t
	if unix.Stat(link, &st) != nil || st.Nlink > 0 || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	var fsys unix.Statfs_t
	if unix.Statfs(link, &fsys) != nil || fsys.Type == unix.TMPFS_MAGIC {
		return // memory, which is bounded otherwise
	}
	key := [2]uint64{uint64(st.Dev), st.Ino}
	if !seen[key] {
		seen[key] = true
		w.bytes += st.Blocks * 512
	}
}
