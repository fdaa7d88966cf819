package changes

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// Set is one directory's changes. Its methods are not to be called from several
// goroutines at once; several processes may hold the same Set.
type Set struct {
	store string // absolute
	meta  Meta
	guard guard
	lock  *os.File // held while the session that Create began lives
}

// Create begins a Set for a session that is about to start: it makes the Store,
// a directory of its own below parent, and holds its lock until End. Of m it
// takes Session, Agent, Dir (absolute and resolved) and Protected, and Mode if it
// is known.
func Create(parent string, m Meta) (*Set, error) {
	const op = "changes.create"
	if !identifier().MatchString(m.Session) || len(m.Session) > 100 {
		return nil, fault.New(op, fault.Usage, "a session is named by at most 100 letters, digits, dots, dashes and underscores; choose such a name")
	}
	dir, st, err := openTree(m.Dir)
	if err != nil {
		return nil, fault.Wrap(op, fault.NotFound, err)
	}
	dir.close()
	m.Version, m.State, m.Ended = metaVersion, StateOpen, time.Time{}
	// File times come from a clock that runs up to a tick behind this one: no
	// change of before looks like one of the session. Of after, those of the
	// first milliseconds may be missed, when no sandbox has started yet.
	m.Device, m.Inode, m.Started = st.Dev, st.Ino, time.Now().UTC()
	if m.ID, err = makeStore(parent, m.Session); err != nil {
		return nil, fault.Wrap(op, fault.Internal, err)
	}
	s := &Set{store: filepath.Join(parent, m.ID), meta: m, guard: newGuard(Shipped())}
	s.protectAsMade()
	if s.lock, err = s.acquire(op); err != nil {
		return nil, err
	}
	if err := errors.Join(m.validate(), s.save()); err != nil {
		_ = s.lock.Close()
		return nil, fault.Wrap(op, fault.Internal, err)
	}
	return s, nil
}

// makeStore makes an empty Store named after the session.
func makeStore(parent, session string) (id string, err error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	id = session
	for n := 2; ; n++ {
		err := os.Mkdir(filepath.Join(parent, id), 0o700)
		if !errors.Is(err, fs.ErrExist) {
			return id, err
		}
		id = session + "-" + strconv.Itoa(n)
	}
}

// Open opens the Set of the given id below parent.
func Open(parent, id string) (*Set, error) {
	const op = "changes.open"
	if !identifier().MatchString(id) {
		return nil, fault.New(op, fault.Usage, "%q names no set of changes; list them to see their names", Visible(id, false))
	}
	s := &Set{store: filepath.Join(parent, id), guard: newGuard(Shipped())}
	if err := s.load(); errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(op, fault.NotFound, "there are no changes named %s; list them to see their names", id)
	} else if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Corrupt, Public: "the description of changes " + id + " is damaged, so nothing of it is used; look at its meta.json, or remove its directory", Err: err}
	}
	s.protectAsMade()
	if s.meta.ID != id {
		return nil, fault.New(op, fault.Corrupt, "the changes %s describe themselves as %s, so nothing of them is used; give the directory its own name back", id, s.meta.ID)
	}
	return s, nil
}

// Found is one Set below a parent directory, or why it cannot be used.
type Found struct {
	ID   string
	Meta Meta
	Live bool
	Err  error
}

// Sets lists what is below parent, by name. Entries that are no directories or
// cannot be the name of a Set are left out; an absent parent is empty.
func Sets(parent string) ([]Found, error) {
	entries, err := os.ReadDir(parent)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap("changes.sets", fault.Internal, err)
	}
	var out []Found
	for _, e := range entries {
		if !e.IsDir() || !identifier().MatchString(e.Name()) {
			continue
		}
		f := Found{ID: e.Name()}
		s, err := Open(parent, f.ID)
		if f.Err = err; err == nil {
			f.Meta, f.Live = s.meta, s.Live()
		}
		out = append(out, f)
	}
	return out, nil
}

// Store is the directory the sandbox is to be given as Overlay.Store.
func (s *Set) Store() string { return s.store }

// Meta describes the Set as this process last saw it.
func (s *Set) Meta() Meta { return s.meta }

// Protect adds protections to the shipped ones. It holds for this Set value.
func (s *Set) Protect(more ...Protection) {
	s.guard.globs = append(s.guard.globs, newGuard(more).globs...)
}

// protectAsMade adds what the session's profile protects.
func (s *Set) protectAsMade() {
	for _, glob := range s.meta.Protected {
		s.Protect(Protection{Glob: glob, Reason: "the profile protects it"})
	}
}

// Began records how the sandbox keeps the changes apart: ModeOverlay or ModeCopy.
func (s *Set) Began(mode string) error {
	if mode != ModeOverlay && mode != ModeCopy {
		return fault.New("changes.began", fault.Usage, "the mode %q does not exist; use overlay or copy", mode)
	}
	s.meta.Mode = mode
	return fault.Wrap("changes.began", fault.Internal, s.save())
}

// End says that the session is over and lets go of the lock: from now on the
// changes can be committed. The caller must have ended the sandbox before.
func (s *Set) End() error {
	if s.lock == nil {
		return nil
	}
	s.meta.State, s.meta.Ended = StateEnded, time.Now().UTC()
	err := s.save()
	_ = s.lock.Close()
	s.lock = nil
	return fault.Wrap("changes.end", fault.Internal, err)
}

// Live tells whether somebody holds the Set: its session, or a commit at work.
func (s *Set) Live() bool {
	f, err := os.OpenFile(filepath.Join(s.store, "lock"), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// acquire takes the lock or says who has it. Closing the file lets go.
func (s *Set) acquire(op string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(s.store, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fault.Wrap(op, fault.Internal, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if s.meta.State == StateOpen {
			return nil, fault.New(op, fault.Conflict, "the changes of a session are committed or discarded when it has ended, and %s still runs; stop it first", s.meta.ID)
		}
		return nil, fault.New(op, fault.Conflict, "somebody else works on the changes %s; wait until that is done", s.meta.ID)
	}
	return f, nil
}

// own takes the lock for a commit or discard and reads again what may have
// changed before it was ours.
func (s *Set) own(op string) (release func(), err error) {
	if s.lock != nil {
		return nil, fault.New(op, fault.Conflict, "the changes of a session are committed or discarded when it has ended, and %s still runs; stop it first", s.meta.ID)
	}
	lock, err := s.acquire(op)
	if err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		_ = lock.Close()
		return nil, fault.Wrap(op, fault.Corrupt, err)
	}
	return func() { _ = lock.Close() }, nil
}

// settleState records that nothing is left.
func (s *Set) settleState(state string) error {
	s.meta.State = state
	if s.meta.Ended.IsZero() {
		s.meta.Ended = time.Now().UTC()
	}
	return s.save()
}

func (s *Set) load() error {
	f, err := os.OpenFile(filepath.Join(s.store, "meta.json"), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMeta+1))
	if err != nil {
		return err
	}
	m, err := parseMeta(data)
	if err != nil {
		return err
	}
	s.meta = m
	return nil
}

// save writes meta.json as a whole, or not at all.
func (s *Set) save() error {
	data, err := json.MarshalIndent(s.meta, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(s.store, "meta.json.new")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(s.store, "meta.json")); err != nil {
		return err
	}
	d, err := os.Open(s.store)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Remove deletes the Store. It refuses while changes wait in it.
func (s *Set) Remove() error {
	const op = "changes.remove"
	release, err := s.own(op)
	if err != nil {
		return err
	}
	defer release()
	if s.meta.State != StateCommitted && s.meta.State != StateDiscarded {
		return fault.New(op, fault.Conflict, "the changes %s are neither committed nor discarded; do one of both first", s.meta.ID)
	}
	parent, err := unix.Open(filepath.Dir(s.store), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fault.Wrap(op, fault.Internal, err)
	}
	defer func() { _ = unix.Close(parent) }()
	return fault.Wrap(op, fault.Internal, removeTree(parent, filepath.Base(s.store)))
}
