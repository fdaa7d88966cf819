package changes

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The largest things that are looked at.
const (
	maxPath = 4000     // bytes of a path relative to Dir: the kernel takes 4095
	maxFile = 16 << 30 // bytes of one file, holes included
)

const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// tree is a directory tree that is only ever reached beneath its descriptor.
type tree struct {
	fd int // O_PATH
}

// openTree opens an absolute directory without following a link anywhere.
func openTree(dir string) (tree, unix.Stat_t, error) {
	var st unix.Stat_t
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, dir, &how)
	if err != nil {
		return tree{-1}, st, &fs.PathError{Op: "openat2", Path: dir, Err: err}
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return tree{-1}, st, &fs.PathError{Op: "fstat", Path: dir, Err: err}
	}
	return tree{fd}, st, nil
}

func (t tree) close() {
	if t.fd >= 0 {
		_ = unix.Close(t.fd)
	}
}

// open opens an entry beneath the tree; "" is its root. A link is never
// followed: only O_PATH opens one.
func (t tree) open(raw string, flags int) (int, error) {
	if raw == "" {
		raw = "."
	}
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: resolve}
	for {
		fd, err := unix.Openat2(t.fd, raw, &how)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		return fd, err
	}
}

// file opens a regular file to read. O_NONBLOCK: a pipe must not hold us up.
func (t tree) file(raw string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := t.open(raw, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, st, err
	}
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd)
		return nil, st, errors.Join(err, errNotFile)
	}
	return os.NewFile(uintptr(fd), path.Base(raw)), st, nil
}

var errNotFile = errors.New("not a regular file")

// names lists a directory, sorted; an absent one is empty.
func (t tree) names(raw string) ([]string, error) {
	fd, err := t.open(raw, unix.O_RDONLY|unix.O_DIRECTORY)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "directory")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// absent tells that a path leads nowhere, or through something that is no directory.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// node is what stands at one path of one tree.
type node struct {
	typ    string // one of the Type constants, typWhiteout, or "" for nothing
	st     unix.Stat_t
	target string
	opaque bool   // a directory that hides the host's
	bad    string // why it can never be committed
}

const typWhiteout = "whiteout"

func (n node) perm() fs.FileMode { return fs.FileMode(n.st.Mode & 0o777) }

// look tells what stands at a path. Overlay marks are read if marks is true.
func (t tree) look(raw string, marks bool) (node, error) {
	var n node
	fd, err := t.open(raw, unix.O_PATH)
	if absent(err) {
		return n, nil
	}
	if errors.Is(err, unix.EXDEV) {
		return node{typ: TypeOther, bad: "another file system is mounted there; a commit never crosses into it, copy the change by hand"}, nil
	}
	if err != nil {
		return n, err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Fstat(fd, &n.st); err != nil {
		return n, err
	}
	switch n.st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		n.typ = TypeFile
	case unix.S_IFDIR:
		n.typ = TypeDir
	case unix.S_IFLNK:
		n.typ = TypeLink
		n.target, err = readlink(fd)
		return n, err
	case unix.S_IFCHR:
		if n.typ = TypeOther; marks && n.st.Rdev == 0 {
			n.typ = typWhiteout
		}
	default:
		n.typ = TypeOther
	}
	if marks && (n.typ == TypeFile || n.typ == TypeDir) {
		err = n.readMarks(fd)
	}
	return n, err
}

func readlink(fd int) (string, error) {
	buf := make([]byte, maxPath+1)
	n, err := unix.Readlinkat(fd, "", buf)
	return string(buf[:max(n, 0)]), err
}

const markPrefix = "user.overlay."

// readMarks reads overlayfs' own attributes of the entry behind an O_PATH
// descriptor. The magic link is the kernel's, to that very inode.
func (n *node) readMarks(fd int) error {
	proc := fmt.Sprintf("/proc/self/fd/%d", fd)
	buf := make([]byte, 4<<10)
	size, err := unix.Listxattr(proc, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 64<<10)
		size, err = unix.Listxattr(proc, buf)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range bytes.SplitSeq(buf[:size], []byte{0}) {
		mark, ok := strings.CutPrefix(string(name), markPrefix)
		if !ok {
			continue
		}
		var value [1]byte
		switch mark {
		case "origin", "impure", "uuid", "nlink", "upper":
		case "opaque":
			if size, err := unix.Getxattr(proc, string(name), value[:]); err == nil && size == 1 && value[0] == 'y' {
				n.opaque = n.typ == TypeDir
			}
		case "whiteout":
			if n.typ == TypeFile && n.st.Size == 0 {
				n.typ = typWhiteout
				return nil
			}
		default:
			if !strings.HasPrefix(mark, "overlay.") { // an inner overlay's own
				n.bad = fmt.Sprintf("the overlay attribute %s is not supported, so its content is not known; copy the file inside the session", Visible(mark, false))
			}
		}
	}
	return nil
}

// digest hashes a regular file as it is read; holes are not read.
func (t tree) digest(ctx context.Context, raw string) (string, error) {
	f, st, err := t.file(raw)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if err := eachPiece(ctx, f, st.Size, func(p piece) error {
		_, err := h.Write(p.data)
		return err
	}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// piece is part of a file: data, which in a hole is zeros.
type piece struct {
	data []byte
	hole bool
}

// eachPiece reads a file of the given size piece by piece. A file that is
// shorter or longer by now is an error.
func eachPiece(ctx context.Context, f *os.File, size int64, use func(piece) error) error {
	if size > maxFile {
		return errTooLarge
	}
	buf := make([]byte, min(size, 256<<10)+1)
	zero := make([]byte, 0)
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			start = size
		} else if err != nil {
			start = at // a file system without holes
		}
		start = min(start, size)
		for at < start {
			if len(zero) == 0 {
				zero = make([]byte, 64<<10)
			}
			n := min(start-at, int64(len(zero)))
			if err := errors.Join(ctx.Err(), use(piece{zero[:n], true})); err != nil {
				return err
			}
			at += n
		}
		if at == size {
			break
		}
		n, err := f.ReadAt(buf[:min(size-at, int64(len(buf)))], at)
		if n == 0 {
			return errors.Join(errMoved, err)
		}
		if err := errors.Join(ctx.Err(), use(piece{buf[:n], false})); err != nil {
			return err
		}
		at += int64(n)
	}
	if n, err := f.ReadAt(buf[:1], size); n != 0 || err != nil && !errors.Is(err, io.EOF) {
		return errors.Join(errMoved, err)
	}
	return nil
}

var (
	errMoved    = errors.New("the file changes while it is read")
	errTooLarge = errors.New("the file is larger than 16 GiB")
)
