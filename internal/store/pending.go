package store

import (
	"database/sql/driver"
	"strings"

	"sallyport/internal/action"
)

// pendingRow is an event with its entry in the log and what opens the entry's
// commitments, complete but not in the database yet.
type pendingRow struct {
	seq, event   int64
	leaf, hashes []byte
	when         string
	row          eventRow
	salts        [32]byte // two of 16 bytes
	digest       *action.Digest
}

// maxPending is how many bytes of events may wait for the end of their batch;
// their callers hold them in memory anyway.
const maxPending = 4 << 20

// insert is the statements that insert some rows at once.
type insert struct {
	rows                     int
	leaves, events, openings string
}

// inserts has the largest first. One statement with 16 rows takes about half
// the time of 16 with one.
var inserts = [...]insert{inserting(16), inserting(4), inserting(1)}

func inserting(rows int) insert {
	values := func(columns int) string {
		one := "(?" + strings.Repeat(",?", columns-1) + ")"
		return one + strings.Repeat(","+one, rows-1)
	}
	return insert{
		rows:     rows,
		leaves:   `INSERT INTO leaves VALUES ` + values(3),
		events:   `INSERT INTO events (id, timestamp, event_type, agent_id, session_id, channel, level, data, leaf) VALUES ` + values(9),
		openings: `INSERT INTO openings VALUES ` + values(5),
	}
}

// flush inserts the first n pending rows. It has no error of a single op: every
// one of them dooms the batch.
func (t *tx) flush(n int) error {
	t.own = max(t.own-n, 0)
	done := t.pending[:n]
	t.pending = t.pending[n:]
	for _, in := range inserts {
		for len(done) >= in.rows {
			if err := t.insertRows(in, done[:in.rows]); err != nil {
				return &doom{err}
			}
			done = done[in.rows:]
		}
	}
	if len(t.pending) == 0 {
		t.bytes = 0
	}
	return nil
}

func (t *tx) insertRows(in insert, rows []pendingRow) error {
	leaves, events, openings := make([]any, 0, 3*len(rows)), make([]any, 0, 9*len(rows)), make([]any, 0, 5*len(rows))
	for i := range rows {
		r := &rows[i]
		leaves = append(leaves, r.seq, r.leaf, r.hashes)
		events = append(events, r.event, r.when, r.row.typ, r.row.agent, r.row.session, r.row.channel, r.row.level, string(r.row.data), r.seq)
		if r.digest != nil {
			openings = append(openings, r.seq, r.event, r.salts[:16], r.salts[16:], r.digest[:])
		} else {
			openings = append(openings, r.seq, r.event, r.salts[:16], nil, nil)
		}
	}
	if err := t.conn.exec(in.leaves, leaves...); err != nil {
		return err
	}
	if err := t.conn.exec(in.events, events...); err != nil {
		return err
	}
	return t.conn.exec(in.openings, openings...)
}

// guard opens the op's savepoint, if it needs one and has none. The rows of the
// ops before it go in first: rolling back must not take them along.
func (t *tx) guard() error {
	if t.saved || t.sure {
		return nil
	}
	if err := t.flush(t.own); err != nil {
		return err
	}
	if err := t.conn.exec(`SAVEPOINT one`); err != nil {
		return &doom{err}
	}
	t.saved = true
	return nil
}

// certain says that the op has checked everything and will not fail from here
// on, so that it needs no savepoint. If it fails all the same, the batch does.
func (t *tx) certain() { t.sure = t.sure || !t.saved }

// The statements of ops. exec is for those that write; each and row must not.

func (t *tx) exec(query string, args ...any) (driver.Result, error) {
	st, err := t.conn.stmt(query)
	if err != nil {
		return nil, err
	}
	if err := t.guard(); err != nil {
		return nil, err
	}
	if err := t.complete(st); err != nil {
		return nil, err
	}
	return t.conn.run(st, args)
}

func (t *tx) row(query string, args ...any) scanner {
	st, err := t.conn.stmt(query)
	if err == nil {
		err = t.complete(st)
	}
	if err != nil {
		return failedRow{err}
	}
	return t.conn.first(st, args)
}

// each calls fn for each row of a query.
func (t *tx) each(fn func(scan func(...any) error) error, query string, args ...any) error {
	st, err := t.conn.stmt(query)
	if err != nil {
		return err
	}
	if err := t.complete(st); err != nil {
		return err
	}
	rows, err := t.conn.ask(st, args)
	if err != nil {
		return err
	}
	return rows.drain(fn)
}

// complete makes the database complete for a statement that concerns the tables
// of pending rows.
func (t *tx) complete(st *writerStmt) error {
	if !st.late || len(t.pending) == 0 {
		return nil
	}
	if len(t.pending) > t.own {
		if err := t.guard(); err != nil {
			return err
		}
	}
	return t.flush(len(t.pending))
}
