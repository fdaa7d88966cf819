package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"

	"sallyport/internal/record"
)

// writerConn is the writer's connection, used without database/sql, whose
// locks, conversions and look-ups per statement cost the one writer more than
// many a statement. It is lent by (*sql.Conn).Raw for the length of a
// transaction and belongs to the writer's goroutine.
type writerConn struct {
	prepare driver.ConnPrepareContext
	stmts   map[string]*writerStmt // queries are constants, so it is bounded
	args    []driver.NamedValue    // of the statement that runs
}

// writerStmt is a statement that is prepared once.
type writerStmt struct {
	stmt  driver.Stmt
	exec  driver.StmtExecContext
	query driver.StmtQueryContext
	late  bool // it concerns tables whose rows are inserted late, see (*tx).flush
}

// lateTables are inserted into when a batch ends, and before any statement that
// names one of them.
var lateTables = []string{"events", "leaves", "openings"}

// lend calls fn while this process may use the writer's connection directly.
func (s *Store) lend(fn func(*writerConn) error) error {
	return s.conn.Raw(func(raw any) error {
		if s.raw.prepare == nil {
			var ok bool
			if s.raw.prepare, ok = raw.(driver.ConnPrepareContext); !ok {
				return errors.New("store: the driver cannot prepare statements")
			}
			s.raw.stmts = map[string]*writerStmt{}
		}
		return fn(&s.raw)
	})
}

// The writer's statements run without the callers' contexts: one of them going
// away must not interrupt a transaction that others share.

func (c *writerConn) stmt(query string) (*writerStmt, error) {
	if st, ok := c.stmts[query]; ok {
		return st, nil
	}
	prepared, err := c.prepare.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	st := &writerStmt{stmt: prepared}
	var execs, queries bool
	st.exec, execs = prepared.(driver.StmtExecContext)
	st.query, queries = prepared.(driver.StmtQueryContext)
	if !execs || !queries {
		return nil, errors.Join(errors.New("store: the driver's statements lack methods"), prepared.Close())
	}
	for _, table := range lateTables {
		st.late = st.late || strings.Contains(query, table)
	}
	c.stmts[query] = st
	return st, nil
}

// bind makes arguments as the driver wants them. They are good until the next
// call: the driver copies what it keeps.
func (c *writerConn) bind(args []any) ([]driver.NamedValue, error) {
	c.args = c.args[:0]
	for i, a := range args {
		v := driver.NamedValue{Ordinal: i + 1}
		switch a := a.(type) {
		case nil, int64, float64, bool, string, []byte:
			v.Value = a
		case int:
			v.Value = int64(a)
		default:
			var err error
			if v.Value, err = driver.DefaultParameterConverter.ConvertValue(a); err != nil {
				return nil, fmt.Errorf("argument %d: %w", i+1, err)
			}
		}
		c.args = append(c.args, v)
	}
	return c.args, nil
}

func (c *writerConn) exec(query string, args ...any) error {
	st, err := c.stmt(query)
	if err == nil {
		_, err = c.run(st, args)
	}
	return err
}

func (c *writerConn) run(st *writerStmt, args []any) (driver.Result, error) {
	values, err := c.bind(args)
	if err != nil {
		return nil, err
	}
	return st.exec.ExecContext(context.Background(), values)
}

func (c *writerConn) ask(st *writerStmt, args []any) (*writerRows, error) {
	values, err := c.bind(args)
	if err != nil {
		return nil, err
	}
	rows, err := st.query.QueryContext(context.Background(), values)
	if err != nil {
		return nil, err
	}
	return &writerRows{rows: rows, values: make([]driver.Value, len(rows.Columns()))}, nil
}

// row asks for one row, of which Scan gives the columns.
func (c *writerConn) row(query string, args ...any) scanner {
	st, err := c.stmt(query)
	if err != nil {
		return failedRow{err}
	}
	return c.first(st, args)
}

func (c *writerConn) first(st *writerStmt, args []any) scanner {
	rows, err := c.ask(st, args)
	if err != nil {
		return failedRow{err}
	}
	return oneRow{rows}
}

func (c *writerConn) close() error {
	var errs []error
	for _, st := range c.stmts {
		errs = append(errs, st.stmt.Close())
	}
	c.stmts = nil
	return errors.Join(errs...)
}

// writerRows are the rows of a query.
type writerRows struct {
	rows   driver.Rows
	values []driver.Value
}

// next reports whether there is another row; Scan gives its columns.
func (r *writerRows) next() (bool, error) {
	err := r.rows.Next(r.values)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, err
}

func (r *writerRows) Scan(dest ...any) error { return assign(dest, r.values) }

// drain calls fn for each row and closes them.
func (r *writerRows) drain(fn func(scan func(...any) error) error) error {
	more, err := r.next()
	for ; more && err == nil; more, err = r.next() {
		if err = fn(r.Scan); err != nil {
			break
		}
	}
	return errors.Join(err, r.rows.Close())
}

// oneRow is the first of the rows; scanning it closes them.
type oneRow struct{ *writerRows }

func (o oneRow) Scan(dest ...any) error {
	more, err := o.next()
	if err == nil {
		err = sql.ErrNoRows
		if more {
			err = o.writerRows.Scan(dest...)
		}
	}
	if cerr := o.rows.Close(); err == nil {
		err = cerr
	}
	return err
}

// assign stores the values of a row as sql.Rows does, for the types that are
// used here. A blob belongs to the caller: the driver made it for this row.
func assign[V any](dest []any, values []V) error {
	if len(dest) != len(values) {
		return fmt.Errorf("store: a row of %d columns for %d variables", len(values), len(dest))
	}
	for i, d := range dest {
		if err := assignOne(d, values[i]); err != nil {
			return fmt.Errorf("column %d: %w", i, err)
		}
	}
	return nil
}

func assignOne(dest, v any) error {
	if s, ok := dest.(sql.Scanner); ok {
		return s.Scan(v)
	}
	switch v := v.(type) {
	case int64:
		switch d := dest.(type) {
		case *int64:
			*d = v
			return nil
		case *int:
			*d = int(v)
			return nil
		case *bool:
			*d = v != 0
			return nil
		case *record.Micros:
			*d = record.Micros(v)
			return nil
		}
	case string:
		switch d := dest.(type) {
		case *string:
			*d = v
			return nil
		case *[]byte:
			*d = []byte(v)
			return nil
		}
	case []byte:
		switch d := dest.(type) {
		case *[]byte:
			*d = v
			return nil
		case *string:
			*d = string(v)
			return nil
		}
	case nil:
		if d, ok := dest.(*[]byte); ok {
			*d = nil
			return nil
		}
	}
	return fmt.Errorf("store: a %T does not go into a %T", v, dest)
}
