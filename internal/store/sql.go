package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"sallyport/internal/fault"
)

// scanner is the part of sql.Row that is needed.
type scanner interface{ Scan(dest ...any) error }

// failedRow is a row that could not be asked for.
type failedRow struct{ err error }

func (f failedRow) Scan(...any) error { return f.err }

// doom marks an error that ends the whole batch.
type doom struct{ err error }

func (d *doom) Error() string { return d.err.Error() }
func (d *doom) Unwrap() error { return d.err }

// readStmt gives a statement prepared once for the readers.
func (s *Store) readStmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if v, ok := s.rstmts.Load(query); ok {
		if st, ok := v.(*sql.Stmt); ok {
			return st, nil
		}
	}
	st, err := s.read.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if v, loaded := s.rstmts.LoadOrStore(query, st); loaded {
		if old, ok := v.(*sql.Stmt); ok {
			return old, st.Close() //nolint:sqlclosecheck // another goroutine was faster, this one is not needed
		}
	}
	return st, nil
}

// each runs a query of the readers and calls fn for each row.
func (s *Store) each(ctx context.Context, name, query string, args []any, fn func(scan func(...any) error) error) error {
	st, err := s.readStmt(ctx, query) //nolint:sqlclosecheck // kept for the next time; release closes it
	if err != nil {
		return unavailable(name, err)
	}
	rows, err := st.QueryContext(ctx, args...)
	return s.explain(name, drain(rows, err, fn))
}

// drain calls fn for each row of a query and closes it.
func drain(rows *sql.Rows, err error, fn func(scan func(...any) error) error) error {
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err tells
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// codeOf gives SQLite's extended result code, 0 if err is not SQLite's.
func codeOf(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

// dooms reports whether an error of one op must end the batch: the database or
// the disk has a problem, not the op.
func dooms(err error) bool {
	if err == nil {
		return false
	}
	if _, ok := errors.AsType[*doom](err); ok {
		return true
	}
	switch codeOf(err) & 0xff {
	case 0, lib.SQLITE_CONSTRAINT, lib.SQLITE_ERROR, lib.SQLITE_MISMATCH, lib.SQLITE_RANGE, lib.SQLITE_TOOBIG:
		return false
	}
	return true
}

// unavailable classes an error of the database for callers.
func unavailable(op string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(op, fault.Canceled, err)
	}
	f := &fault.Error{Op: op, Kind: fault.Unavailable, Err: err}
	code := codeOf(err) & 0xff
	switch { // the files beside the database are opened without it
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		code = lib.SQLITE_READONLY
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		code = lib.SQLITE_FULL
	}
	switch code {
	case lib.SQLITE_FULL:
		f.Public = "the disk that holds the state directory is full, so nothing can be recorded and nothing may be done: free space and try again"
	case lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_PERM:
		f.Public = "the state directory cannot be written, so nothing can be recorded and nothing may be done: make it writable for this user, or name another with --home"
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		f.Public = "another program holds the database, so nothing can be recorded and nothing may be done: close it and try again"
	case lib.SQLITE_IOERR:
		f.Public = "the disk that holds the state directory reports errors, so nothing can be recorded and nothing may be done: check the disk, then start again"
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		f.Kind = fault.Corrupt
		f.Public = "the database is damaged: run `sallyport verify` and restore a backup"
	default:
		f.Kind = fault.Internal
	}
	return f
}

// fail turns an error that ended a batch into what its callers get. After an
// I/O error nobody knows what a further sync would tell, and a damaged database
// must not grow: those stay until the process ends.
func (s *Store) fail(err error) error {
	var f *fault.Error
	if !errors.As(err, &f) {
		if !errors.As(unavailable("store.write", err), &f) {
			return err
		}
	}
	code := codeOf(err) & 0xff
	if code == lib.SQLITE_IOERR || f.Kind == fault.Corrupt {
		if s.broken.CompareAndSwap(nil, f) {
			close(s.failed)
		}
	}
	return f
}

// readPeaks reads the peaks of the tree with size entries.
func readPeaks(tree Tree, size int64, row func(string, ...any) scanner) ([]Hash, error) {
	leaves, levels := tree.Peaks(size)
	peaks := make([]Hash, len(leaves))
	for i, leaf := range leaves {
		var b []byte
		if err := row(`SELECT substr(hashes, ?, 32) FROM leaves WHERE seq=?`, levels[i]*32+1, leaf).Scan(&b); err != nil {
			return nil, fmt.Errorf("entry %d: %w", leaf, err)
		}
		if copy(peaks[i][:], b) != len(peaks[i]) {
			return nil, fault.New("store.peaks", fault.Corrupt, "entry %d of the log lacks its tree hashes: the database was changed from outside; restore a backup", leaf)
		}
	}
	return peaks, nil
}

// checkHead compares the newest checkpoint with the head and the stored tree.
func (s *Store) checkHead(ctx context.Context) error {
	const name = "store.checkHead"
	row := func(q string, args ...any) scanner { return s.conn.QueryRowContext(ctx, q, args...) }
	var size int64
	var root, note []byte
	if err := row(`SELECT size, root FROM head`).Scan(&size, &root); err != nil {
		return err
	}
	var last sql.NullInt64
	if err := row(`SELECT max(seq) FROM leaves`).Scan(&last); err != nil {
		return err
	}
	wrong := func(what string) error {
		return fault.New(name, fault.Corrupt, "the log does not verify at start: %s; keep a copy, run `sallyport verify` on it and restore a backup", what)
	}
	if (size == 0 && last.Valid) || (size > 0 && last.Int64 != size-1) {
		return wrong("entries and tree head differ in number")
	}
	if size == 0 {
		return nil
	}
	peaks, err := readPeaks(s.opt.Tree, size, row)
	if errors.Is(err, sql.ErrNoRows) {
		return wrong("an entry is missing")
	}
	if err != nil {
		return err
	}
	have := s.opt.Tree.Root(peaks)
	if string(have[:]) != string(root) {
		return wrong("the stored tree has another root")
	}
	if err = row(`SELECT note FROM checkpoints WHERE size=?`, size).Scan(&note); errors.Is(err, sql.ErrNoRows) {
		return wrong("the newest checkpoint is missing")
	} else if err != nil {
		return err
	}
	signed, signedRoot, err := s.opt.Tree.Check(note)
	if err != nil || signed != size || signedRoot != have {
		return wrong("the newest checkpoint is not this instance's signature over this tree")
	}
	return nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, says its documentation
	return hex.EncodeToString(b)
}
