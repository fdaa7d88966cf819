package changes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// reveal replaces opaque marks by what they mean: a whiteout for every entry of
// the host that the session's directory does not have. Else an entry that is
// committed, and thereby leaves the session's tree, would look deleted. The mark
// of a directory goes when all beneath it is spelt out, so that a stop at any
// point leaves the same changes.
func (v *view) reveal(ctx context.Context) error {
	if v.base != nil || v.src.fd < 0 {
		return nil
	}
	return v.revealDir(ctx, "", lookOrBad(v.src, "", true), false)
}

func (v *view) revealDir(ctx context.Context, dir string, n node, hidden bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	hidden = hidden || n.opaque
	names, err := v.src.names(dir)
	if err != nil {
		return nil //nolint:nilerr // a directory that cannot be read is refused, and nothing in it is committed
	}
	for _, name := range names {
		sub := lookOrBad(v.src, join(dir, name), true)
		if sub.typ != TypeDir || sub.bad != "" {
			continue
		}
		if err := v.revealDir(ctx, join(dir, name), sub, hidden); err != nil {
			return err
		}
	}
	if !hidden {
		return nil
	}
	old, err := v.host.names(dir)
	if err != nil {
		return err
	}
	return v.src.writable(dir, func(fd int) error {
		for _, name := range old {
			if _, kept := slices.BinarySearch(names, name); kept {
				continue
			}
			if err := unix.Mknodat(fd, name, unix.S_IFCHR, 0); err != nil && !errors.Is(err, unix.EEXIST) {
				return err
			}
		}
		if !n.opaque {
			return nil
		}
		return unix.Fremovexattr(fd, markPrefix+"opaque")
	})
}

// writable opens a directory of the session's tree for a change, granting its
// owner the right meanwhile.
func (t tree) writable(raw string, f func(fd int) error) error {
	var st unix.Stat_t
	fd, err := t.open(raw, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&0o700 != 0o700 && unix.Fchmod(fd, st.Mode&0o7777|0o700) == nil {
		defer func() { _ = unix.Fchmod(fd, st.Mode&0o7777) }()
	}
	return f(fd)
}

// settle takes a change that was carried out from the session's tree. What
// fails here is found carried out by the next commit.
func (c *committer) settle(st *step) {
	if c.src.fd < 0 {
		return
	}
	if c.base != nil {
		c.journal.note(c.record(st))
		return
	}
	c.touched[st.dir] = true
	if n := lookOrBad(c.src, st.raw, true); n.typ == TypeDir {
		c.touched[st.raw] = true
		return
	}
	_ = c.src.writable(st.dir, func(fd int) error { return unix.Unlinkat(fd, st.name, 0) })
}

// record is how a path of the copy is from now on taken to have been.
func (c *committer) record(st *step) record {
	r := record{Path: st.raw}
	if n := lookOrBad(c.src, st.raw, false); st.Kind != KindDeleted && n.bad == "" {
		r.Type, r.Mode, r.Size, r.MTime = n.typ, n.st.Mode&0o7777, n.st.Size, n.st.Mtim.Nano()
		r.SHA256, r.Target = st.SHA256, n.target
	}
	c.base.put(r)
	return r
}

// finish removes directories of the session's tree that say nothing any more,
// and records when nothing is left at all.
func (c *committer) finish(ctx context.Context, state string) error {
	ctx = context.WithoutCancel(ctx) // what was done is noted even if the rest is not wanted any more
	for _, dir := range slices.Backward(slices.Sorted(maps.Keys(c.touched))) {
		for ; dir != ""; dir, _ = split(dir) {
			if _, differs, err := c.examine(ctx, dir); err != nil || differs {
				break
			}
			up, name := split(dir)
			if c.src.writable(up, func(fd int) error { return unix.Unlinkat(fd, name, unix.AT_REMOVEDIR) }) != nil {
				break
			}
		}
	}
	err := c.walk(ctx, func(Change) error { return errStop })
	if errors.Is(err, errStop) {
		return nil
	}
	if err == nil {
		err = c.set.settleState(state)
	}
	return fault.Wrap(c.op, fault.Internal, err)
}

var errStop = errors.New("one is enough")

// journal appends to Store/journal, and to base.jsonl in copy mode.
type journal struct {
	file *os.File
	base *os.File // nil in overlay mode
	err  error
}

// openJournal finishes what a commit that was killed left behind on the host,
// then opens the journal for this one.
func (s *Set) openJournal(v *view) (*journal, error) {
	const op = "changes.recover"
	f, err := os.OpenFile(filepath.Join(s.store, "journal"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fault.Wrap(op, fault.Internal, err)
	}
	j := &journal{file: f}
	if err := cutTorn(f); err != nil {
		j.close()
		return nil, fault.Wrap(op, fault.Internal, err)
	}
	if err := j.recover(v); err != nil {
		j.close()
		return nil, &fault.Error{Op: op, Kind: fault.Unavailable, Public: "what an earlier commit left behind could not be removed, so no new one begins; make the directory writable and try again", Err: err}
	}
	if v.base != nil {
		j.base, err = os.OpenFile(filepath.Join(s.store, "base.jsonl"), os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err == nil {
			err = cutTorn(j.base)
		}
		if err != nil {
			j.close()
			return nil, fault.Wrap(op, fault.Internal, err)
		}
	}
	return j, nil
}

// cutTorn removes a last line without its end, and goes to the end of the file.
func cutTorn(f *os.File) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	buf := make([]byte, min(end, maxLine))
	if _, err := f.ReadAt(buf, end-int64(len(buf))); err != nil {
		return err
	}
	if torn := int64(len(buf) - 1 - bytes.LastIndexByte(buf, '\n')); torn > 0 {
		end -= torn
		if err := f.Truncate(end); err != nil {
			return err
		}
	}
	_, err = f.Seek(end, io.SeekStart)
	return err
}

func (j *journal) recover(v *view) error {
	for _, e := range v.left {
		raw, _ := rawPath(e.Path)
		dir, _ := split(raw)
		fd, err := v.host.open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
		if absent(err) {
			continue
		}
		if err != nil {
			return err
		}
		err = errors.Join(removeTree(fd, e.Temp), unix.Close(fd))
		if err != nil {
			return err
		}
	}
	for i := range v.left {
		v.left[i].Op = opDone
	}
	return j.write(v.left)
}

func (j *journal) write(entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	for _, e := range entries {
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	if _, err := j.file.WriteString(b.String()); err != nil {
		return err
	}
	return nil
}

// intend is durable before anything temporary is made.
func (j *journal) intend(batch []*step) error {
	var list []entry
	for _, st := range batch {
		if st.temp != "" {
			list = append(list, entry{Op: opIntent, Path: st.Path, Temp: st.temp})
		}
	}
	if len(list) == 0 {
		return nil
	}
	return errors.Join(j.write(list), j.file.Sync())
}

// unlinks notes files that lose one of their names.
func (j *journal) unlinks(inodes []uint64) error {
	var list []entry
	for _, ino := range inodes {
		list = append(list, entry{Op: opLinked, Ino: ino})
	}
	return j.write(list)
}

// done need not be durable: what is not noted is looked for once more.
func (j *journal) done(batch []*step) {
	var list []entry
	for _, st := range batch {
		if st.temp != "" {
			list = append(list, entry{Op: opDone, Path: st.Path, Temp: st.temp})
		}
	}
	_ = j.write(list)
}

// note appends a record to base.jsonl. Without it the path is compared with the
// host, which is as the session has it.
func (j *journal) note(r record) {
	if j.err != nil || j.base == nil {
		return
	}
	line, err := json.Marshal(r)
	if err == nil {
		_, err = j.base.Write(append(line, '\n'))
	}
	j.err = err
}

func (j *journal) close() {
	_ = j.file.Close()
	if j.base != nil {
		_ = j.base.Close()
	}
}
