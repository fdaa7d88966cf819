package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"sallyport/internal/fault"
	"sallyport/internal/label"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schemaVersion is the user_version that the newest migration sets.
const schemaVersion = 5

// busyMillis is how long a lock of a foreign program on the database is waited
// for; processes of ours take turns before they come to it.
const busyMillis = 2000

// Hash is a node of the log's tree.
type Hash = [32]byte

// Tree is what the store needs to know about the log: pure functions and a
// signature. n counts entries; peaks are the roots of the perfect subtrees of
// the tree with n entries, largest first.
type Tree interface {
	// Leaf encodes entry number seq.
	Leaf(seq int64, at time.Time, kind, agent, session, decision, label string, rules []string, commit map[string][32]byte) ([]byte, error)
	// Commit computes a salted commitment to a named value.
	Commit(name string, salt, value []byte) [32]byte
	// Grow appends an entry: the hashes to store with it and the new peaks.
	Grow(n int64, peaks []Hash, leaf []byte) (stored, next []Hash, err error)
	// Root folds peaks into the root.
	Root(peaks []Hash) Hash
	// Peaks tells which stored hashes are the peaks: the levels[i]-th of entry leaves[i].
	Peaks(n int64) (leaves []int64, levels []int)
	// Sign makes a signed checkpoint, Check reads one that this instance signed.
	Sign(size int64, root Hash) ([]byte, error)
	Check(note []byte) (size int64, root Hash, err error)
}

// Options configure a Store. Dir, Tree and Instance are required.
type Options struct {
	Dir      string // state directory, made with mode 0700; holds state.db
	Tree     Tree
	Instance string           // id of the instance; a database of another one is refused
	Now      func() time.Time // default time.Now
	ReadOnly bool             // what Snapshot.ReadOnly says
	// Mask, if set, takes the data of each event before it is stored and gives it
	// back with the same shape and types, secrets replaced in strings. It must be
	// safe for concurrent use. Asks, statements and grants are stored as they are:
	// people sign them, and rules match them, to the letter.
	Mask func(v any) any
	// Sealer, if set, hides asks of sessions that know more than Clear, and the
	// statements about them, from whoever reads the file alone.
	Sealer Sealer
	// Clear is the label up to which the texts of events are stored as they are;
	// only its confidentiality counts. Of an event with a label that does not flow
	// to it (see the package documentation) what is said is not stored. The zero
	// value is internal without compartments.
	Clear label.Label
	// OnCheckpoint is called after each commit with the newest checkpoint, from
	// the writer: it must return at once.
	OnCheckpoint func(size int64, note []byte)
}

// Store is safe for concurrent use.
type Store struct {
	opt   Options
	owner string
	path  string
	read  *sql.DB
	write *sql.DB
	conn  *sql.Conn // the writer's connection
	turn  *turnstile
	raw   writerConn        // conn without database/sql; owned by the writer
	tree  treeState         // cached head; owned by the writer
	alias map[string]string // cached pseudonyms; owned by the writer
	// sessions caches the labels of sessions, see sessionLabel; owned by the writer.
	sessions map[string]label.Label

	ops     chan *op
	quit    chan struct{}
	done    chan struct{}
	closing sync.Once
	broken  atomic.Pointer[fault.Error]
	failed  chan struct{}
	rstmts  sync.Map // query → *sql.Stmt on read
	touched sync.Map // key's id → time.Time of its last recorded use
	wiper   wiper
}

// Open opens or creates the database and starts its writer. It migrates the
// schema and checks that the newest checkpoint is ours and matches the tree;
// if it does not, the error is fault.Corrupt.
func Open(ctx context.Context, o Options) (*Store, error) {
	const name = "store.open"
	if o.Dir == "" || o.Tree == nil || o.Instance == "" {
		return nil, fault.New(name, fault.Internal, "directory, tree and instance are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	owner, err := self()
	if err != nil {
		return nil, fault.Wrap(name, fault.Unsupported, err)
	}
	s := &Store{
		opt: o, owner: owner, path: filepath.Join(o.Dir, "state.db"),
		alias: map[string]string{}, sessions: map[string]label.Label{},
		ops: make(chan *op, maxBatch), quit: make(chan struct{}), done: make(chan struct{}), failed: make(chan struct{}),
	}
	if err := s.open(ctx); err != nil {
		err = errors.Join(err, s.release())
		if fault.KindOf(err) != fault.Internal {
			return nil, err
		}
		return nil, unavailable(name, err)
	}
	go s.run()
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	if err := makeFiles(s.opt.Dir, s.path); err != nil {
		return err
	}
	var err error
	if s.turn, err = openTurnstile(s.opt.Dir); err != nil {
		return err
	}
	// The tmpfs of a sandbox or a hostile TMPDIR is no place for sort files.
	common := []string{"busy_timeout(" + strconv.Itoa(busyMillis) + ")", "temp_store(memory)", "foreign_keys(1)", "trusted_schema(0)"}
	if s.write, err = sql.Open("sqlite", dsn(s.path, append(common,
		"auto_vacuum(2)", "journal_mode(WAL)", "synchronous(FULL)", "secure_delete(1)", "journal_size_limit(67108864)")...)); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if err := s.turn.lock(); err != nil {
		return err
	}
	var left bool
	if err = s.prepare(ctx); err == nil {
		left, err = s.wipeLeft(ctx)
	}
	if uerr := s.turn.unlock(); err != nil || uerr != nil {
		return errors.Join(err, uerr)
	}
	if s.read, err = sql.Open("sqlite", dsn(s.path, append(common, "query_only(1)")...)); err != nil {
		return err
	}
	s.read.SetMaxOpenConns(4)
	s.read.SetMaxIdleConns(4)
	if err = s.read.PingContext(ctx); err == nil && left {
		s.wiper.asked.Add(1)
		s.wipeLater()
	}
	return err
}

// makeFiles makes directory and database with modes that keep others out;
// SQLite gives its companion files the database's mode.
func makeFiles(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return f.Chmod(0o600)
	}
	return nil
}

func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// prepare migrates, claims the database for this instance and checks the head.
func (s *Store) prepare(ctx context.Context) error {
	if err := s.migrate(ctx); err != nil {
		return err
	}
	var err error
	if s.conn, err = s.write.Conn(ctx); err != nil {
		return err
	}
	var owner string
	err = s.conn.QueryRowContext(ctx, `SELECT value FROM meta WHERE key='instance'`).Scan(&owner)
	if errors.Is(err, sql.ErrNoRows) {
		owner = s.opt.Instance
		root := s.opt.Tree.Root(nil)
		// The head first: a database with an instance has one.
		if _, err = s.conn.ExecContext(ctx, `INSERT OR IGNORE INTO head VALUES (1, 0, ?, 0, 0)`, root[:]); err == nil {
			_, err = s.conn.ExecContext(ctx, `INSERT INTO meta VALUES ('instance', ?)`, owner)
		}
	}
	if err != nil {
		return err
	}
	if owner != s.opt.Instance {
		return fault.New("store.open", fault.Corrupt, "the database belongs to instance %s, not %s: keys and database were mixed up", owner, s.opt.Instance)
	}
	return s.checkHead(ctx)
}

func (s *Store) migrate(ctx context.Context) error {
	var version int
	if err := s.write.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return err
	}
	if version == schemaVersion { // the usual start: goose's own look-up takes longer
		return nil
	}
	if version > schemaVersion {
		return fault.New("store.open", fault.Unsupported,
			"the database was written by a newer sallyport (schema %d, this one knows %d): use that one", version, schemaVersion)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.write, files)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if _, err = p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// Path gives the database's path.
func (s *Store) Path() string { return s.path }

// Err gives the error after which nothing is accepted any more, nil if all is
// well. The process should exit: what a failed sync left on disk is only known
// after reading it again.
func (s *Store) Err() error {
	if e := s.broken.Load(); e != nil {
		return e
	}
	return nil
}

// Failed is closed when Err becomes non-nil.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Close waits for writes that were accepted and closes the database.
func (s *Store) Close() error {
	s.closing.Do(func() { close(s.quit) })
	<-s.done
	return errors.Join(s.wiper.stop(), s.release())
}

func (s *Store) release() error {
	var errs []error
	s.rstmts.Range(func(_, v any) bool {
		if st, ok := v.(*sql.Stmt); ok {
			errs = append(errs, st.Close())
		}
		return true
	})
	s.rstmts.Clear()
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	if s.conn != nil {
		errs = append(errs, s.raw.close())
		if err := s.conn.Close(); err != nil && !errors.Is(err, sql.ErrConnDone) {
			errs = append(errs, err)
		}
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	if s.turn != nil {
		errs = append(errs, s.turn.close())
	}
	return errors.Join(errs...)
}
