package sandbox

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// baseEntry is one line of Store/base.jsonl: something as it was copied, so
// that a later comparison can tell what changed in the copy, and whether the
// original changed meanwhile.
type baseEntry struct {
	Path   string `json:"path"` // relative to Dir, with slashes
	Type   string `json:"type"` // file, dir, link, or other, which is not in the copy
	Mode   uint32 `json:"mode"` // permission, setuid, setgid and sticky bits
	Size   int64  `json:"size"`
	Mtime  int64  `json:"mtime"`            // nanoseconds since 1970
	SHA256 string `json:"sha256,omitempty"` // of a file of at most hashedSize bytes
	Target string `json:"target,omitempty"` // of a link
}

// hashedSize is the largest file whose content is recorded; a larger one is
// told by size and time.
const hashedSize = 64 << 20

// copier copies one tree without following a link and within a budget.
type copier struct {
	ctx      context.Context //nolint:containedctx // lives for one call of copyTree
	from, to *os.Root
	base     *json.Encoder
	conf     *stageConfig
	uid, gid uint32                   // owner of the tree's top, who becomes the payload
	links    map[[2]uint64]*baseEntry // device and inode of what has several names -> first of them
	noClone  bool
	used     int64
	files    int
	skipped  []string // not copied: sockets, devices, pipes, unreadable things
}

// copyOnce makes the copy of an overlay's directory unless an earlier run did.
func copyOnce(ctx context.Context, o Overlay, conf *stageConfig) ([]string, error) {
	record := filepath.Join(o.Store, storeBase)
	if exists(record) && exists(o.upper(modeCopy)) {
		return nil, nil
	}
	root, err := os.OpenRoot(o.Store)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	defer root.Close()
	if err := root.RemoveAll(storeCopy); err != nil { // of a run that was interrupted
		return nil, fmt.Errorf("store: %w", err)
	}
	out, err := root.OpenFile(storeBase+".part", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	defer out.Close()
	w := bufio.NewWriterSize(out, 64<<10)
	c := &copier{ctx: ctx, conf: conf, base: json.NewEncoder(w), links: map[[2]uint64]*baseEntry{}}
	if err := c.copyTree(o.Dir, root); err != nil {
		return nil, errors.Join(err, root.RemoveAll(storeCopy))
	}
	if err := errors.Join(w.Flush(), out.Sync(), root.Rename(storeBase+".part", storeBase)); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return c.notes(o.Dir), nil
}

func (c *copier) notes(dir string) []string {
	n := len(c.skipped)
	if n == 0 {
		return nil
	}
	list := c.skipped[:min(n, 8)]
	return []string{fmt.Sprintf("%d sockets, devices, pipes or unreadable things in %s are not in its copy, among them %s.", n, dir, strings.Join(list, ", "))}
}

func (c *copier) copyTree(dir string, store *os.Root) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("copy: no owner known")
	}
	c.uid, c.gid = st.Uid, st.Gid
	if c.from, err = os.OpenRoot(dir); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	defer c.from.Close()
	if err := store.Mkdir(storeCopy, 0o700); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if c.to, err = store.OpenRoot(storeCopy); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	defer c.to.Close()
	return c.dir(".", fi)
}

// dir copies what a directory holds, then gives it its owner, mode and times.
func (c *copier) dir(rel string, fi fs.FileInfo) error {
	d, err := c.from.Open(rel)
	if errors.Is(err, fs.ErrPermission) && rel != "." {
		c.skipped = append(c.skipped, rel)
		return c.finish(rel, fi)
	}
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	defer d.Close()
	if is, err := d.Stat(); err != nil || !os.SameFile(is, fi) {
		return c.moved(rel, err)
	}
	for {
		entries, err := d.ReadDir(512)
		for _, e := range entries {
			if err := c.entry(filepath.Join(rel, e.Name())); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return c.finish(rel, fi)
		}
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
	}
}

func (c *copier) moved(rel string, err error) error {
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return fault.New("sandbox.start", fault.Conflict, "%s changed while it was being copied; start again when nothing else writes there", rel)
}

func (c *copier) entry(rel string) error {
	if err := c.ctx.Err(); err != nil {
		return fault.Wrap("sandbox.start", fault.Canceled, err)
	}
	fi, err := c.from.Lstat(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone since the directory was read
	}
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if c.files++; c.files > c.conf.Spec.Limits.DiskFiles {
		return c.tooMuch("%d files and directories", c.conf.Spec.Limits.DiskFiles)
	}
	e := baseEntry{Path: rel, Type: "other", Mode: modeBits(fi), Size: fi.Size(), Mtime: fi.ModTime().UnixNano()}
	switch {
	case fi.IsDir():
		e.Type, e.Size = "dir", 0
		if err := errors.Join(c.to.Mkdir(rel, 0o700), c.note(e)); err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		return c.dir(rel, fi)
	case fi.Mode()&fs.ModeSymlink != 0:
		if e.Target, err = c.from.Readlink(rel); err == nil {
			e.Type, err = "link", errors.Join(c.to.Symlink(e.Target, rel), c.own(rel, fi))
		}
	case fi.Mode().IsRegular():
		e.Type, err = "file", c.regular(&e, fi)
		if errors.Is(err, errSkip) {
			e.Type, err = "other", nil
		}
	default:
		c.skipped = append(c.skipped, rel)
	}
	if err == nil {
		err = c.note(e)
	}
	if _, ok := errors.AsType[*fault.Error](err); err != nil && !ok {
		return fmt.Errorf("copy: %w", err)
	}
	return err
}

// note writes an entry down. JSON holds no name that is not UTF-8: such a one
// is copied, and a review will call it new.
func (c *copier) note(e baseEntry) error {
	if !utf8.ValidString(e.Path) || !utf8.ValidString(e.Target) {
		return nil
	}
	return c.base.Encode(e)
}

var errSkip = errors.New("not copied")

func modeBits(fi fs.FileInfo) uint32 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Mode & 0o7777
	}
	return uint32(fi.Mode().Perm())
}

func (c *copier) tooMuch(format string, limit any) error {
	return fault.New("sandbox.start", fault.Budget,
		"the directory is larger than the "+format+" the sandbox may take on disk, and overlayfs is not available to spare the copy; raise the disk limit or name a narrower directory", limit)
}

// regular copies a file. A further name of something already copied becomes a
// further name in the copy too.
func (c *copier) regular(e *baseEntry, fi fs.FileInfo) (err error) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || st.Nlink < 2 {
		e.SHA256, err = c.file(e.Path, fi)
		return err
	}
	key := [2]uint64{uint64(st.Dev), st.Ino}
	if first, ok := c.links[key]; ok && c.to.Link(first.Path, e.Path) == nil {
		e.SHA256 = first.SHA256
		return nil
	}
	if e.SHA256, err = c.file(e.Path, fi); err == nil {
		c.links[key] = e
	}
	return err
}

func (c *copier) file(rel string, fi fs.FileInfo) (string, error) {
	src, err := c.from.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a pipe by now
	if errors.Is(err, fs.ErrPermission) {
		c.skipped = append(c.skipped, rel)
		return "", errSkip
	}
	if err != nil {
		return "", err
	}
	defer src.Close()
	if is, err := src.Stat(); err != nil || !os.SameFile(is, fi) {
		return "", c.moved(rel, err)
	}
	dst, err := c.to.OpenFile(rel, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer dst.Close()
	if err := c.content(dst, src, fi.Size()); err != nil {
		return "", err
	}
	sum := ""
	if fi.Size() <= hashedSize {
		h := sha256.New()
		if _, err := dst.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
		if _, err := io.Copy(h, dst); err != nil {
			return "", err
		}
		sum = hex.EncodeToString(h.Sum(nil))
	}
	return sum, c.finish(rel, fi)
}

// content copies a file's data, sharing blocks where the file system can, and
// leaves its holes holes.
func (c *copier) content(dst, src *os.File, size int64) error {
	if !c.noClone {
		if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
			return nil
		}
		c.noClone = true
	}
	for at := int64(0); at < size; {
		from, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // only a hole is left
		}
		if err != nil {
			return err
		}
		to, err := unix.Seek(int(src.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		to = min(to, from+8<<20) // look at the clock and the budget now and then
		if c.used += to - from; c.used > c.conf.Spec.Limits.Disk {
			return c.tooMuch("%d bytes", c.conf.Spec.Limits.Disk)
		}
		if err := c.ctx.Err(); err != nil {
			return fault.Wrap("sandbox.start", fault.Canceled, err)
		}
		if _, err := src.Seek(from, io.SeekStart); err != nil {
			return err
		}
		if _, err := dst.Seek(from, io.SeekStart); err != nil {
			return err
		}
		n, err := io.CopyN(dst, src, to-from)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			break // it shrank
		}
		at = from + n
	}
	return dst.Truncate(size)
}

// own gives the copy its owner: the payload for what belongs to the owner of
// the whole tree.
func (c *copier) own(rel string, fi fs.FileInfo) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !c.conf.Root {
		return nil
	}
	uid, gid := int(st.Uid), int(st.Gid)
	if st.Uid == c.uid {
		uid = PayloadUID
	}
	if st.Gid == c.gid {
		gid = PayloadUID
	}
	return c.to.Lchown(rel, uid, gid)
}

// finish gives a copied file or directory its owner, mode and time. A setuid
// bit stays, for the copy is to differ in nothing; the store is private and the
// view's mount ignores the bit.
func (c *copier) finish(rel string, fi fs.FileInfo) error {
	if err := c.own(rel, fi); err != nil {
		return err
	}
	mode := fi.Mode() & (fs.ModePerm | fs.ModeSticky | fs.ModeSetgid | fs.ModeSetuid)
	return errors.Join(c.to.Chmod(rel, mode), c.to.Chtimes(rel, time.Time{}, fi.ModTime()))
}
