package store

import (
	"context"
	"errors"
	"time"

	"sallyport/internal/record"
)

// Bounds of what Retain does while other writes wait.
const (
	retainRows  = 64                   // at most, in one piece
	retainTime  = 2 * time.Millisecond // a piece ends after the row that passed it
	vacuumPages = 16                   // given back to the file system at a time
	vacuumKeep  = 4                    // of so many pages one may stay free: what comes next fills it
	settleEvery = 4                    // pieces between checkpoints
)

// Retain removes the events before a time, oldest first, at most most of them
// (0 or less: all), with what opens their entries: as after Erase nothing tells
// what they said, and every proof stays valid. It keeps events that an alert
// points to, those of intents that are open, and records of erasures. With them
// go alerts that ended, questions and instructions that expired, answers to them,
// notes and allowances of days, all from before that time. What was spent stays, by agent,
// model, key and day.
//
// It works in small pieces, each with its own record in the log, and rests after
// each, so that others write meanwhile; n counts the events removed, also when
// there is an error. At the end it is one event retention.done, if anything was
// removed, and the file gives back what became free but a quarter (a database
// that began with version 1 of the schema reuses all of it instead). fault.Unavailable says that a reader holds the
// write-ahead log: then old copies leave the disk with a later checkpoint.
func (s *Store) Retain(ctx context.Context, before time.Time, most int) (n int, err error) {
	const name = "store.retain"
	var end int64 // times never decrease with ids
	err = s.each(ctx, name, `SELECT COALESCE((SELECT id FROM events WHERE timestamp >= ? ORDER BY timestamp, id LIMIT 1), (SELECT max(id) + 1 FROM events), 0)`,
		[]any{stamp(before.UnixMicro())}, func(scan func(...any) error) error { return scan(&end) })
	if err != nil {
		return 0, err
	}
	m, err := s.maintain()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	swept, err := m.sweep(ctx, before)
	if err != nil {
		return 0, err
	}
	p := piece{end: end}
	for !p.done && (most <= 0 || n < most) {
		p.room = retainRows
		if most > 0 {
			p.room = min(p.room, most-n)
		}
		if err := m.step(ctx, name, func(t *tx) error { return t.retire(&p) }); err != nil {
			return n, err
		}
		n += p.removed
	}
	if n == 0 && swept == 0 {
		return 0, nil
	}
	done := map[string]any{"before": before.UTC().Format(time.RFC3339), "count": n, "other_rows": swept}
	if _, err := s.Append(ctx, record.Event{Type: "retention.done", Data: done}); err != nil {
		return n, err
	}
	if err := m.vacuum(ctx); err != nil {
		return n, err
	}
	return n, m.emptyWAL(ctx)
}

// sweeps remove what is no event, a few rows at a time. Of asks and answers only
// those go that can serve no more: an expired question cannot be answered.
var sweeps = []string{
	`DELETE FROM deliveries WHERE (alert, sink) IN (SELECT d.alert, d.sink FROM deliveries d JOIN alerts a ON a.id = d.alert
		WHERE a.state NOT IN ('open', 'acknowledged') AND a.updated < ?1 LIMIT ?3)`,
	`DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE state NOT IN ('open', 'acknowledged') AND updated < ?1 LIMIT ?3)`,
	`DELETE FROM asks WHERE id IN (SELECT id FROM asks WHERE expires < min(?1, ?2) LIMIT ?3)`,
	`DELETE FROM statements WHERE id IN (SELECT id FROM statements s WHERE kind <> 'grant' AND created < ?1
		AND NOT EXISTS (SELECT 1 FROM asks a WHERE a.digest = s.digest) LIMIT ?3)`,
	`DELETE FROM memory WHERE (agent, slot) IN (SELECT agent, slot FROM memory WHERE time < ?1 LIMIT ?3)`,
	`DELETE FROM instructions WHERE n IN (SELECT n FROM instructions WHERE expires < min(?1, ?2) LIMIT ?3)`,
	`DELETE FROM allowances WHERE account IN (SELECT account FROM allowances WHERE account >= 'day:' AND account < 'day:' || date(?1/1000000, 'unixepoch')
		AND reserved = 0 LIMIT ?3)`,
}

func (m *maintenance) sweep(ctx context.Context, before time.Time) (swept int64, err error) {
	for _, query := range sweeps {
		for n := int64(retainRows); n == retainRows; swept += n {
			err := m.step(ctx, "store.sweep", func(t *tx) error {
				res, err := t.exec(query, before.UnixMicro(), t.s.opt.Now().UnixMicro(), retainRows)
				if err == nil {
					n, err = res.RowsAffected()
				}
				return err
			})
			if err != nil {
				return swept, err
			}
		}
	}
	return swept, nil
}

// piece is one step of removing events; after and done carry over to the next.
type piece struct {
	end     int64 // first event that stays
	after   int64 // last one that was looked at
	room    int   // how many may be removed
	removed int
	done    bool
}

// retire removes the next events and records which entries lost their values.
func (t *tx) retire(p *piece) error {
	start := time.Now()
	after := p.after // what a batch that fails has moved must not count
	p.removed, p.done = 0, false
	rows, err := t.candidates(after, p.end)
	if err != nil {
		return err
	}
	var spans []any // of leaves, first and last of each
	var from, to int64
	for _, r := range rows {
		after = r.event
		if r.keep {
			continue
		}
		if err := t.retireOne(r); err != nil {
			return err
		}
		if p.removed > 0 && r.leaf != to+1 {
			spans, from = append(spans, []any{from, to}), r.leaf
		}
		if p.removed == 0 {
			from = r.leaf
		}
		to = r.leaf
		if p.removed++; p.removed == p.room || time.Since(start) > retainTime {
			break
		}
	}
	if p.removed > 0 {
		err = t.note(record.Event{Type: eraseType, Data: map[string]any{"erased_leaves": append(spans, []any{from, to}), "by": "retention"}})
	}
	p.after, p.done = after, len(rows) == 0
	return err
}

type candidate struct {
	event, leaf int64
	keep        bool
}

func (t *tx) candidates(after, end int64) ([]candidate, error) {
	pointed := map[int64]bool{}
	err := t.each(func(scan func(...any) error) error {
		var first, last int64
		err := scan(&first, &last)
		pointed[first], pointed[last] = true, true
		return err
	}, `SELECT first_event, last_event FROM alerts`)
	if err != nil {
		return nil, err
	}
	var out []candidate
	err = t.each(func(scan func(...any) error) error {
		var c candidate
		err := scan(&c.event, &c.leaf, &c.keep)
		c.keep = c.keep || pointed[c.event]
		out = append(out, c)
		return err
	}, `SELECT id, leaf, event_type = ? OR EXISTS (SELECT 1 FROM intents i WHERE i.leaf = events.leaf AND i.status = 'open')
		FROM events WHERE id > ? AND id < ? ORDER BY id LIMIT ?`, eraseType, after, end, retainRows)
	return out, err
}

func (t *tx) retireOne(c candidate) error {
	for _, q := range []struct {
		query string
		id    int64
	}{
		{`DELETE FROM events WHERE id=?`, c.event},
		{`DELETE FROM openings WHERE leaf=?`, c.leaf},
		{forgetTarget, c.leaf},
	} {
		if _, err := t.exec(q.query, q.id); err != nil {
			return err
		}
	}
	return nil
}
