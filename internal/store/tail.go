package store

import (
	"context"
	"time"

	"sallyport/internal/fault"
)

// EventsAfter gives the events with a greater id, in order, at most limit. Ids
// are given in the order of commits, so none can appear behind a reader.
func (s *Store) EventsAfter(ctx context.Context, id int64, limit int) ([]EventRow, error) {
	return s.Events(ctx, Filter{AfterID: id, Limit: limit})
}

// LastEvent gives the newest event's id, 0 if there is none.
func (s *Store) LastEvent(ctx context.Context) (id int64, err error) {
	err = s.each(ctx, "store.lastEvent", `SELECT COALESCE(max(id), 0) FROM events`, nil, func(scan func(...any) error) error { return scan(&id) })
	return id, err
}

// eventPoll is how often another process's events are looked for.
const eventPoll = 100 * time.Millisecond

// WaitEvent returns when there is an event with an id greater than after,
// whichever process wrote it. Its error is fault.Canceled when ctx ended and
// fault.Unavailable when the store was closed.
func (s *Store) WaitEvent(ctx context.Context, after int64) error {
	const name = "store.waitEvent"
	tick := time.NewTicker(eventPoll)
	defer tick.Stop()
	for {
		if last, err := s.LastEvent(ctx); err != nil {
			return err
		} else if last > after {
			return nil
		}
		select {
		case <-ctx.Done():
			return fault.Wrap(name, fault.Canceled, ctx.Err())
		case <-s.quit:
			return fault.New(name, fault.Unavailable, "the store is closed")
		case <-tick.C:
		}
	}
}

// Cursor gives the id of the last event that a reader of that name was done
// with, 0 if it never was.
func (s *Store) Cursor(ctx context.Context, reader string) (event int64, err error) {
	err = s.each(ctx, "store.cursor", `SELECT event FROM cursors WHERE name=?`, []any{reader}, func(scan func(...any) error) error { return scan(&event) })
	return event, err
}

// SetCursor records how far a reader has come; it never goes back. It is no
// event, or a reader would never be done.
func (s *Store) SetCursor(ctx context.Context, reader string, event int64) error {
	const name = "store.setCursor"
	err := s.do(ctx, name, func(t *tx) error {
		_, err := t.exec(`INSERT INTO cursors VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET event = max(event, ?2)`, reader, event)
		return err
	})
	return s.explain(name, err)
}
