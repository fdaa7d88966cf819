package store

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/fault"
)

// wipePause is how long is waited before the log is tried to be emptied again
// after a reader was in the way.
const wipePause = time.Second

// wiper empties the write-ahead log after something was destroyed. Those who
// destroy at the same time share a run.
type wiper struct {
	asked atomic.Int64 // destructions that were committed

	mu   sync.Mutex   // one run at a time; it owns what follows
	done int64        // destructions whose bytes have left the log
	m    *maintenance // made when first needed
	shut bool

	late bool // somebody tries in the background

	waiting sync.WaitGroup
}

// destroy runs fn as one transaction. If it says that it destroyed something,
// nothing of that is in the files when destroy returns nil.
func (b *Book) destroy(ctx context.Context, name string, fn func(*tx) (destroyed bool, err error)) error {
	destroyed := false
	err := b.s.do(ctx, name, func(t *tx) (err error) {
		if destroyed, err = fn(t); err == nil && destroyed {
			// Whoever opens the database after a crash empties the log.
			_, err = t.exec(`INSERT OR IGNORE INTO meta VALUES ('residue', '1')`)
		}
		return err
	})
	if err != nil || !destroyed {
		return b.s.explain(name, err)
	}
	if err := b.s.wipe(ctx, b.s.wiper.asked.Add(1)); err != nil {
		b.s.wipeLater()
		return b.s.explain(name, err)
	}
	return nil
}

// wipe empties the log, unless somebody did since the asked-th destruction.
func (s *Store) wipe(ctx context.Context, asked int64) error {
	w := &s.wiper
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done >= asked {
		return nil
	}
	if w.shut {
		return fault.New("store.wipe", fault.Unavailable, "the store is closed: what was destroyed leaves the disk when it is opened again")
	}
	if w.m == nil {
		m, err := s.maintain()
		if err != nil {
			return err
		}
		w.m = m
	}
	upto := w.asked.Load()
	if err := w.m.emptyWAL(ctx); err != nil {
		return err
	}
	w.done = upto
	return nil
}

// wipeLater goes on trying until it succeeds or the store is closed.
func (s *Store) wipeLater() {
	w := &s.wiper
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shut || w.late {
		return
	}
	w.late = true
	w.waiting.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-s.quit:
				cancel()
			case <-ctx.Done():
			}
		}()
		for rest(ctx, "store.wipe", wipePause) == nil {
			if s.wipe(ctx, w.asked.Load()) == nil && w.rested() {
				return
			}
		}
	})
}

// rested ends the tries in the background, unless something was destroyed since.
func (w *wiper) rested() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = w.done < w.asked.Load()
	return !w.late
}

// stop ends what runs in the background; the store was told to quit.
func (w *wiper) stop() error {
	w.mu.Lock()
	w.shut = true
	m := w.m
	w.m = nil
	w.mu.Unlock()
	w.waiting.Wait()
	if m == nil {
		return nil
	}
	return m.close()
}

// wipeLeft empties the log if a process that ended had no time to. It runs
// while this process has its turn, so nothing is destroyed between the emptying
// and the note that it was done. left says that a reader was in the way.
func (s *Store) wipeLeft(ctx context.Context) (left bool, err error) {
	if err := s.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM meta WHERE key='residue')`).Scan(&left); err != nil || !left {
		return false, err
	}
	if _, err := s.conn.ExecContext(ctx, `PRAGMA busy_timeout = `+strconv.Itoa(emptyBusy)); err != nil {
		return false, err
	}
	var busy bool
	var pages, moved int
	if err := s.conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &pages, &moved); err != nil {
		return false, err
	}
	if _, err := s.conn.ExecContext(ctx, `PRAGMA busy_timeout = `+strconv.Itoa(busyMillis)); err != nil {
		return false, err
	}
	if busy {
		return true, nil
	}
	_, err = s.conn.ExecContext(ctx, `DELETE FROM meta WHERE key='residue'`)
	return false, err
}
