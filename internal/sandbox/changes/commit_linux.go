package changes

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// How much is flushed to the disk together.
const (
	batchSteps = 1024
	batchBytes = 64 << 20
)

// Commit carries the given Changes, as List gave them, to the host. Each one is
// computed again and skipped if it is not the same any more; see the package
// documentation for what else is checked. A Change that is skipped is in the
// Result; an error means that the commit as a whole could not begin or had to
// stop (the disk is full, ctx ended), and the Result says how far it came.
// Calling it again goes on from there.
func (s *Set) Commit(ctx context.Context, list []Change, o CommitOptions) (Result, error) {
	const op = "changes.commit"
	release, err := s.own(op)
	if err != nil {
		return Result{}, err
	}
	defer release()
	c := &committer{opts: o, op: op, touched: map[string]bool{}}
	if c.view, err = s.open(op); err != nil {
		return Result{}, err
	}
	defer c.close()
	if c.linked == nil {
		c.linked = map[uint64]bool{}
	}
	if c.journal, err = s.openJournal(c.view); err != nil {
		return Result{}, err
	}
	defer c.journal.close()
	if err := c.reveal(ctx); err != nil {
		return Result{}, fault.Wrap(op, fault.Internal, err)
	}
	err = c.run(ctx, inOrder(list))
	return c.result, errors.Join(err, c.finish(ctx, StateCommitted))
}

// committer is one Commit at work.
type committer struct {
	*view
	opts    CommitOptions
	op      string
	journal *journal
	result  Result
	touched map[string]bool // directories of the session's tree that may be empty now
	batch   batch
	placer  *placer // of the batch
}

// step is one Change on its way.
type step struct {
	Change
	raw, dir, name string
	temp           string // name beside it, while it is not in place
	placed         bool
	err            error
}

// inOrder sorts what is to be done so that every step finds what it needs:
// directories before what is in them, git's objects before what refers to them,
// and modes that take rights away last, deepest first.
func inOrder(list []Change) []Change {
	rank := func(c Change) int {
		switch {
		case c.Kind == KindDeleted:
			return 4
		case c.Type == TypeDir && c.Kind == KindMode && c.Mode&0o200 == 0:
			return 5
		case c.Type == TypeDir:
			return 1
		case strings.Contains(c.Path, ".git/objects/"):
			return 2
		}
		return 3
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b Change) int {
		if n := cmp.Compare(rank(a), rank(b)); n != 0 {
			return n
		}
		if rank(a) == 5 {
			return cmp.Compare(b.Path, a.Path)
		}
		return cmp.Compare(a.Path, b.Path)
	})
	return out
}

func (c *committer) run(ctx context.Context, list []Change) error {
	var made []Change // new directories that get their mode when they are full
	seen := map[string]bool{}
	for _, change := range list {
		if err := ctx.Err(); err != nil {
			return errors.Join(fault.Wrap(c.op, fault.Canceled, err), c.flush(ctx))
		}
		if seen[change.Path] {
			c.skip(change.Path, "it was given twice; the first one counts")
			continue
		}
		seen[change.Path] = true
		if c.batch.full(change) {
			if err := c.flush(ctx); err != nil {
				return err
			}
		}
		st, ok := c.admit(ctx, change)
		if !ok {
			continue
		}
		c.batch.add(st)
		if st.Type != TypeDir {
			continue
		}
		if st.Kind == KindAdded {
			// It must stand before what is in it is looked at.
			st.err, st.placed = c.batchPlacer().mkdir(st), true
		}
		if st.Kind != KindMode && st.Kind != KindDeleted {
			made = append(made, change)
		}
	}
	err := c.flush(ctx)
	c.modes(made)
	return err
}

// batch is what becomes durable together.
type batch struct {
	steps []*step
	size  int64
	alone bool
}

func (b *batch) add(st *step) {
	b.steps, b.size, b.alone = append(b.steps, st), b.size+st.Size, alone(st.Change)
}

// full tells that a Change has to wait for the next batch.
func (b *batch) full(next Change) bool {
	return b.alone || alone(next) || len(b.steps) == batchSteps || b.size > batchBytes
}

// alone tells that nothing waits beside a Change: a directory goes, is replaced,
// or takes rights away.
func alone(c Change) bool {
	return c.OldType == TypeDir || c.Type == TypeDir && c.Kind != KindAdded
}

func (c *committer) skip(path, reason string) {
	c.result.Skipped = append(c.result.Skipped, Skip{path, reason})
}

// admit decides whether a Change is carried out.
func (c *committer) admit(ctx context.Context, change Change) (*step, bool) {
	st := &step{Change: change}
	no := func(reason string) (*step, bool) {
		c.skip(change.Path, reason)
		return nil, false
	}
	var ok bool
	if st.raw, ok = rawPath(change.Path); !ok {
		return no("this is not the path of a change; list the changes again")
	}
	st.dir, st.name = split(st.raw)
	now, ok, err := c.examine(ctx, st.raw)
	switch {
	case err != nil:
		return no("it could not be looked at: " + reason(err))
	case !ok && c.carriedOut(ctx, st):
		c.settle(st)
		c.result.Committed = append(c.result.Committed, change.Path)
		return nil, false
	case !ok:
		return no("it is no longer among the changes; list them again")
	case now.Refused != "":
		return no(now.Refused)
	case now != change:
		return no("it is no longer what was listed: the host's entry or the session's changed meanwhile; list the changes again and look at it")
	case now.Protected != "" && !slices.Contains(c.opts.AllowProtected, change.Path):
		return no("it is protected (" + now.Protected + "); confirm it by name to commit it")
	case now.Conflict != "" && !slices.Contains(c.opts.AllowConflict, change.Path):
		return no(now.Conflict)
	case st.dir != "" && lookOrBad(c.host, st.dir, false).typ != TypeDir:
		return no("the directory it goes into is not on the host; commit that as well")
	}
	if c.opts.Before != nil {
		if err := c.opts.Before(change); err != nil {
			return no("it was not allowed: " + fault.PublicText(err))
		}
	}
	return st, true
}

// carriedOut tells that the host is already as a Change wants it: it was
// committed, and the commit ended before or after it took note of that.
func (c *committer) carriedOut(ctx context.Context, st *step) bool {
	host := lookOrBad(c.host, st.raw, false)
	if st.Kind == KindDeleted {
		return host.typ == ""
	}
	if host.typ != st.Type || permissions(host) != st.Mode {
		return false
	}
	switch st.Type {
	case TypeDir:
		return true
	case TypeLink:
		return host.target == st.Target
	}
	sum, err := c.host.digest(ctx, st.raw)
	return err == nil && sum == st.SHA256
}

// flush carries out a batch: what is new is written beside its place and made
// durable, then put in place, then that is made durable, and only then does the
// session's tree lose it.
func (c *committer) flush(ctx context.Context) error {
	batch := c.batch.steps
	if c.batch.steps, c.batch.size, c.batch.alone = nil, 0, false; len(batch) == 0 {
		return nil
	}
	p := c.batchPlacer()
	p.bulk = len(batch) > 8
	defer func() { p.close(); c.placer = nil }()
	err := c.announce(batch)
	for _, st := range batch {
		if !st.placed {
			if st.err = err; err == nil {
				st.err = p.stage(ctx, st)
			}
		}
		if fatal(st.err) {
			err = st.err
		}
	}
	if p.bulk {
		p.sync(batch)
	}
	for _, st := range batch {
		if st.err == nil && !st.placed {
			st.err = p.place(ctx, st)
		}
	}
	p.sync(batch)
	for _, st := range batch {
		c.conclude(p, st)
	}
	c.journal.done(batch)
	if err != nil {
		return fault.Wrap(c.op, fault.Unavailable, err)
	}
	return nil
}

func (c *committer) batchPlacer() *placer {
	if c.placer == nil {
		c.placer = &placer{committer: c, dirs: map[string]int{}}
	}
	return c.placer
}

// announce names the temporary entries of a batch in the journal.
func (c *committer) announce(batch []*step) error {
	for _, st := range batch {
		if st.Kind == KindMode || st.Kind == KindDeleted && st.Type != TypeDir || st.Kind == KindAdded && st.Type == TypeDir {
			continue
		}
		var b [8]byte
		_, _ = rand.Read(b[:])
		st.temp = ".sallyport-" + hex.EncodeToString(b[:]) + "~"
	}
	return c.journal.intend(batch)
}

// conclude counts a step, and takes it from the session's tree if it was done.
func (c *committer) conclude(p *placer, st *step) {
	if c.opts.After != nil {
		c.opts.After(st.Change, st.err)
	}
	if st.err != nil {
		p.clear(st)
		c.skip(st.Path, sentence(st.err))
		return
	}
	p.clear(st)
	c.settle(st)
	c.result.Committed = append(c.result.Committed, st.Path)
}

// fatal tells errors that the next file meets as well.
func fatal(err error) bool {
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// sentence explains to the user why a step was not carried out.
func sentence(err error) string {
	switch {
	case errors.Is(err, errStale):
		return errStale.Error()
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "the disk of the host is full, and the file there is as it was; make room and commit again"
	case errors.Is(err, unix.EROFS):
		return "the host's file system is read-only, and the file there is as it was; mount it writable and commit again"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "this user may not write there, and the host is as it was; commit as the owner of the directory"
	case errors.Is(err, unix.EXDEV):
		return "another file system is mounted there; a commit never crosses into it, copy the change by hand"
	}
	return "the host refused it: " + reason(err)
}

// modes gives new directories the mode they were listed with, now that what
// they hold is in place; deepest first.
func (c *committer) modes(made []Change) {
	slices.Reverse(made)
	for _, change := range made {
		raw, _ := rawPath(change.Path)
		if !slices.Contains(c.result.Committed, change.Path) {
			continue
		}
		if n, err := c.host.look(raw, false); err != nil || n.typ != TypeDir {
			continue
		}
		if err := chmod(c.host, raw, change.Mode); err != nil {
			c.skip(path.Clean(change.Path), "the directory is in place, but its mode could not be set: "+reason(err))
		}
	}
}
