package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"sallyport/internal/fault"
)

// Emptying the write-ahead log.
const (
	emptyTries = 20
	emptyPause = 50 * time.Millisecond
	emptyBusy  = 5 // milliseconds for which readers are waited for while writers wait
)

// maintenance is long work in small steps that leaves room for everybody else.
// It has a connection and a turnstile of its own: checkpoints it makes itself,
// beside the writer, are none that the writer must make.
type maintenance struct {
	s     *Store
	db    *sql.DB
	turn  *turnstile
	steps int
}

func (s *Store) maintain() (*maintenance, error) {
	const name = "store.maintain"
	db, err := sql.Open("sqlite", dsn(s.path, "busy_timeout("+strconv.Itoa(emptyBusy)+")", "trusted_schema(0)"))
	if err != nil {
		return nil, unavailable(name, err)
	}
	db.SetMaxOpenConns(1)
	turn, err := openTurnstile(s.opt.Dir)
	if err != nil {
		return nil, errors.Join(fault.Wrap(name, fault.Unavailable, err), db.Close())
	}
	return &maintenance{s: s, db: db, turn: turn}, nil
}

func (m *maintenance) close() error { return errors.Join(m.db.Close(), m.turn.close()) }

// step runs fn in the writer's next batch and then rests as long as that took.
func (m *maintenance) step(ctx context.Context, name string, fn func(*tx) error) error {
	start := time.Now()
	if err := m.s.do(ctx, name, fn); err != nil {
		return m.s.explain(name, err)
	}
	took := time.Since(start)
	if m.steps++; m.steps%settleEvery == 0 {
		if _, err := m.checkpoint(ctx, "PASSIVE"); err != nil {
			return unavailable(name, err)
		}
	}
	return rest(ctx, name, took)
}

func rest(ctx context.Context, name string, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fault.Wrap(name, fault.Canceled, ctx.Err())
	case <-t.C:
		return nil
	}
}

// checkpoint moves the write-ahead log into the database; whole tells whether
// all of it was.
func (m *maintenance) checkpoint(ctx context.Context, how string) (whole bool, err error) {
	var busy bool
	var pages, moved int
	err = m.db.QueryRowContext(ctx, `PRAGMA wal_checkpoint(`+how+`)`).Scan(&busy, &pages, &moved)
	return !busy && moved == pages, err
}

// vacuum gives free pages back to the file system.
func (m *maintenance) vacuum(ctx context.Context) error {
	var mode, free, pages int
	for last := -1; ; last = free {
		err := m.step(ctx, "store.vacuum", func(t *tx) error {
			err := errors.Join(t.row(`PRAGMA auto_vacuum`).Scan(&mode), t.row(`PRAGMA freelist_count`).Scan(&free), t.row(`PRAGMA page_count`).Scan(&pages))
			if err != nil || mode == 0 || free <= pages/vacuumKeep {
				return err
			}
			return t.each(func(func(...any) error) error { return nil }, `PRAGMA incremental_vacuum(`+strconv.Itoa(vacuumPages)+`)`)
		})
		if err != nil || mode == 0 || free <= pages/vacuumKeep || free == last { // nothing to do, or nothing comes of it
			return err
		}
	}
}

// emptyWAL empties the write-ahead log, in which old copies of removed content
// linger. Most of it is moved while others write; the rest in this process's
// turn, so that they queue instead of sleeping on a lock.
func (m *maintenance) emptyWAL(ctx context.Context) error {
	const name = "store.emptyWAL"
	for range emptyTries {
		if _, err := m.checkpoint(ctx, "PASSIVE"); err != nil {
			return unavailable(name, err)
		}
		if err := m.turn.lock(); err != nil {
			return fault.Wrap(name, fault.Unavailable, err)
		}
		empty, err := m.checkpoint(ctx, "TRUNCATE")
		if uerr := m.turn.unlock(); err != nil || uerr != nil {
			return unavailable(name, errors.Join(err, uerr))
		}
		if empty {
			return nil
		}
		if err := rest(ctx, name, emptyPause); err != nil {
			return err
		}
	}
	return fault.New(name, fault.Unavailable, "a reader holds the write-ahead log: what was removed leaves the disk with a later checkpoint; end long-running exports and try again")
}
