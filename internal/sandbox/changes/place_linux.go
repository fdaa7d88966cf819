package changes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// errStale stops a step whose bytes or place moved at the last moment.
var errStale = errors.New("it changed while it was committed, and the host is as it was; list the changes again and look at it")

// placer writes to the host for one batch.
type placer struct {
	*committer
	dirs map[string]int // directories written to, open
	bulk bool           // flush the file system once instead of file by file
}

func (p *placer) close() {
	for _, fd := range p.dirs {
		_ = unix.Close(fd)
	}
}

// parent opens the directory a step writes to.
func (p *placer) parent(st *step) (int, error) {
	if fd, ok := p.dirs[st.dir]; ok {
		return fd, nil
	}
	fd, err := p.host.open(st.dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	p.dirs[st.dir] = fd
	return fd, nil
}

// stage prepares the new entry under its temporary name.
func (p *placer) stage(ctx context.Context, st *step) error {
	dir, err := p.parent(st)
	if err != nil || st.Kind == KindMode || st.Kind == KindDeleted {
		return err
	}
	switch st.Type {
	case TypeDir:
		if err := unix.Mkdirat(dir, st.temp, 0o700); err != nil {
			return err
		}
		return p.give(dir, st)
	case TypeLink:
		if err := unix.Symlinkat(st.Target, dir, st.temp); err != nil {
			return err
		}
		return p.give(dir, st)
	}
	return p.stageFile(ctx, dir, st)
}

// give hands a new entry to the owner of its directory, or to the owner of the
// file it replaces.
func (p *placer) give(dir int, st *step) error {
	want, err := p.owner(dir, st)
	if err != nil {
		return err
	}
	name := st.temp
	if name == "" {
		name = st.name
	}
	var now unix.Stat_t
	if err := unix.Fstatat(dir, name, &now, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if now.Uid == want.Uid && now.Gid == want.Gid {
		return nil
	}
	err = unix.Fchownat(dir, name, int(want.Uid), int(want.Gid), unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.EPERM) && st.Kind == KindAdded {
		return nil // an ordinary user's new files are that user's
	}
	return err
}

func (p *placer) owner(dir int, st *step) (unix.Stat_t, error) {
	var want unix.Stat_t
	if st.Kind == KindModified {
		return want, unix.Fstatat(dir, st.name, &want, unix.AT_SYMLINK_NOFOLLOW)
	}
	return want, unix.Fstat(dir, &want)
}

func (p *placer) stageFile(ctx context.Context, dir int, st *step) error {
	src, have, err := p.src.file(st.raw)
	if err != nil {
		return errors.Join(errStale, err)
	}
	defer src.Close()
	fd, err := unix.Openat(dir, st.temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	dst := os.NewFile(uintptr(fd), st.temp)
	defer dst.Close()
	if have.Size != st.Size {
		return errStale
	}
	if err := copyHashed(ctx, dst, src, st); err != nil {
		return err
	}
	if err := p.give(dir, st); err != nil {
		return err
	}
	if st.Kind == KindModified {
		if err := p.keepAttributes(st, fd); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(fd, uint32(st.Mode.Perm())); err != nil {
		return err
	}
	if p.bulk {
		return nil
	}
	return dst.Sync()
}

// copyHashed writes exactly the bytes that were listed, or fails.
func copyHashed(ctx context.Context, dst, src *os.File, st *step) error {
	h, at := sha256.New(), int64(0)
	err := eachPiece(ctx, src, st.Size, func(p piece) error {
		_, _ = h.Write(p.data)
		n := int64(len(p.data))
		if !p.hole {
			if _, err := dst.WriteAt(p.data, at); err != nil {
				return err
			}
		}
		at += n
		return nil
	})
	if errors.Is(err, errMoved) {
		return errStale
	}
	if err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != st.SHA256 {
		return errStale
	}
	return dst.Truncate(at) // a hole at the end
}

// keepAttributes copies what the host's owner attached to the file: the user's
// attributes and the access list. File capabilities go, as with any write.
func (p *placer) keepAttributes(st *step, to int) error {
	old, _, err := p.host.file(st.raw)
	if errors.Is(err, unix.EACCES) {
		return nil
	}
	if err != nil {
		return errors.Join(errStale, err)
	}
	defer old.Close()
	names := make([]byte, 64<<10)
	n, err := unix.Flistxattr(int(old.Fd()), names)
	if err != nil {
		return nil //nolint:nilerr // a file system without attributes
	}
	value := make([]byte, 64<<10)
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if name != "system.posix_acl_access" && (!strings.HasPrefix(name, "user.") || strings.HasPrefix(name, markPrefix)) {
			continue
		}
		n, err := unix.Fgetxattr(int(old.Fd()), name, value)
		if err == nil {
			err = unix.Fsetxattr(to, name, value[:n], 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// place puts a step's result where it belongs, if what stands there is still
// what was listed.
func (p *placer) place(ctx context.Context, st *step) error {
	dir, err := p.parent(st)
	if err != nil {
		return err
	}
	if st.Kind == KindAdded {
		return p.add(dir, st)
	}
	if err := p.unmoved(ctx, st); err != nil {
		return err
	}
	switch {
	case st.Kind == KindMode:
		return chmod(p.host, st.raw, st.Mode)
	case st.Kind == KindDeleted && st.Type != TypeDir:
		return unix.Unlinkat(dir, st.name, 0)
	case st.Kind == KindDeleted:
		return unix.Renameat2(dir, st.name, dir, st.temp, unix.RENAME_NOREPLACE)
	case st.Type != TypeDir && st.OldType != TypeDir:
		return unix.Renameat(dir, st.temp, dir, st.name)
	}
	return unix.Renameat2(dir, st.temp, dir, st.name, unix.RENAME_EXCHANGE)
}

// add puts a new entry in place and never over another one.
func (p *placer) add(dir int, st *step) error {
	err := unix.Renameat2(dir, st.temp, dir, st.name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) {
		err = unix.Linkat(dir, st.temp, dir, st.name, 0) // the temporary name is cleared later
	}
	if errors.Is(err, unix.EEXIST) {
		return errStale
	}
	return err
}

// mkdir makes a new directory, for its owner alone until it is full.
func (p *placer) mkdir(st *step) error {
	dir, err := p.parent(st)
	if err != nil {
		return err
	}
	if err = unix.Mkdirat(dir, st.name, 0o700); errors.Is(err, unix.EEXIST) {
		return errStale
	}
	if err != nil {
		return err
	}
	return p.give(dir, st)
}

// unmoved makes sure that the host still has what the Change was listed with.
func (p *placer) unmoved(ctx context.Context, st *step) error {
	host := lookOrBad(p.host, st.raw, false)
	now := p.fingerprint(host)
	var linked []uint64
	switch {
	case host.typ == TypeDir && st.Kind != KindMode:
		l := loss{view: p.view, hash: sha256.New()}
		if err := l.dir(ctx, st.raw); err != nil {
			return errors.Join(errStale, err)
		}
		now += "-" + hex.EncodeToString(l.hash.Sum(nil)[:16])
		linked = l.linked
	case host.typ == TypeFile && host.st.Nlink > 1:
		linked = append(linked, host.st.Ino)
	}
	if now != st.Host {
		return errStale
	}
	for _, ino := range linked {
		p.linked[ino] = true
	}
	return p.journal.unlinks(linked)
}

// clear removes what is left under a step's temporary name: an entry that was
// not put in place, or one that was replaced.
func (p *placer) clear(st *step) {
	if st.temp == "" {
		return
	}
	dir, err := p.parent(st)
	if err == nil {
		err = removeTree(dir, st.temp)
	}
	if err != nil {
		st.temp = "" // not done: the journal keeps it, and the next commit tries again
	}
}

// sync makes a batch durable: the new files, or later their names.
func (p *placer) sync(batch []*step) {
	var failed error
	for _, fd := range p.dirs {
		if p.bulk {
			failed = unix.Syncfs(fd)
			break
		}
		if err := unix.Fsync(fd); err != nil && !errors.Is(err, unix.EINVAL) {
			failed = err
		}
	}
	if failed == nil {
		return
	}
	for _, st := range batch {
		if st.err == nil {
			st.err = fmt.Errorf("flush: %w", failed)
		}
	}
}

// chmod sets the permission bits of a file or directory that no link leads to;
// a directory keeps its set-group-id bit, which is about who owns new files.
func chmod(t tree, raw string, mode fs.FileMode) error {
	fd, err := t.open(raw, unix.O_PATH)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	bits := uint32(mode.Perm())
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		bits |= st.Mode & unix.S_ISGID
		if mode&fs.ModeSticky != 0 {
			bits |= unix.S_ISVTX
		}
	case unix.S_IFREG:
	default:
		return errNotFile
	}
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), bits)
}
