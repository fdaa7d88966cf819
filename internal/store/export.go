package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// Checkpoints calls fn for each stored checkpoint, smallest first.
func (s *Store) Checkpoints(ctx context.Context, fn func(size int64, note []byte) error) error {
	return s.each(ctx, "store.checkpoints", `SELECT size, note FROM checkpoints ORDER BY size`, nil, func(scan func(...any) error) error {
		var size int64
		var note []byte
		if err := scan(&size, &note); err != nil {
			return err
		}
		return fn(size, note)
	})
}

// Latest gives the newest signed checkpoint; size 0 and no note if the log is
// empty.
func (s *Store) Latest(ctx context.Context) (size int64, note []byte, err error) {
	err = s.each(ctx, "store.latest", `SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1`, nil, func(scan func(...any) error) error {
		return scan(&size, &note)
	})
	return size, note, err
}

// LastTime gives the time of the newest entry of the log, zero if there is none.
// The machine's clock may be behind it after it was set back.
func (s *Store) LastTime(ctx context.Context) (at time.Time, err error) {
	err = s.each(ctx, "store.lastTime", `SELECT clock FROM head WHERE size > 0`, nil, func(scan func(...any) error) error {
		var micros int64
		err := scan(&micros)
		at = time.UnixMicro(micros).UTC()
		return err
	})
	return at, err
}

// page is how many entries are read at a time, so that a long export does not
// hold back the cleaning of the write-ahead log.
const page = 4096

// Entries calls fn for entries 0 to size-1 in order, with the entry as it was
// hashed and its stored tree hash; with values also salt and value of each
// commitment that was not erased. An entry that is missing ends it, for the
// verifier to see.
func (s *Store) Entries(ctx context.Context, size int64, values bool, fn func(seq int64, leaf, hash []byte, opened map[string][2][]byte) error) error {
	query := `SELECT seq, leaf, substr(hashes, 1, 32), NULL, NULL, NULL, '', '', '', '', '', '', ''
		FROM leaves WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?`
	if values {
		query = selectEntry + ` WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?`
	}
	for next := int64(0); next < size; {
		n := 0
		err := s.each(ctx, "store.entries", query, []any{next, size, page}, func(scan func(...any) error) error {
			seq, leaf, hash, opened, err := scanEntry(scan)
			if err != nil {
				return err
			}
			n++
			next = seq + 1
			return fn(seq, leaf, hash, opened)
		})
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	return nil
}

func openings(rowSalt, digestSalt, digest []byte, when string, r eventRow) map[string][2][]byte {
	if rowSalt == nil {
		return nil
	}
	value, err := rowValue(when, r)
	if err != nil { // not valid UTF-8: it was changed; the verifier must see that it differs
		value = []byte("[]")
	}
	out := map[string][2][]byte{"row": {rowSalt, value}}
	if digestSalt != nil {
		out["action"] = [2][]byte{digestSalt, digest}
	}
	return out
}

// CheckTree recomputes every stored tree hash from the entries and compares
// the result with the newest checkpoint. It reads the whole log. Together with
// an export held against its verifier it is the full verification of a
// database.
func (s *Store) CheckTree(ctx context.Context) error {
	const name = "store.checkTree"
	size, note, err := s.Latest(ctx)
	if err != nil || size == 0 {
		return err
	}
	var peaks []Hash
	n := int64(0)
	grow := func(scan func(...any) error) error {
		var seq int64
		var leaf, hashes []byte
		if err := scan(&seq, &leaf, &hashes); err != nil {
			return err
		}
		stored, next, err := s.opt.Tree.Grow(n, peaks, leaf)
		if err != nil {
			return err
		}
		if seq != n || !bytes.Equal(hashes, flat(stored)) {
			return fault.New(name, fault.Corrupt, "entry %d of the log was changed or is missing: its tree hashes do not fit; restore a backup", n)
		}
		peaks, n = next, n+1
		return nil
	}
	for n < size {
		start := n
		err = s.each(ctx, name, `SELECT seq, leaf, hashes FROM leaves WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?`, []any{n, size, page}, grow)
		if err != nil {
			return err
		}
		if n == start {
			return fault.New(name, fault.Corrupt, "entries %d to %d of the log are missing: restore a backup", n, size-1)
		}
	}
	signed, root, err := s.opt.Tree.Check(note)
	if err != nil || signed != size || root != s.opt.Tree.Root(peaks) {
		return fault.New(name, fault.Corrupt, "the newest checkpoint is not this instance's signature over the stored entries: restore a backup")
	}
	return nil
}

// flat joins hashes as they are stored.
func flat(hashes []Hash) []byte {
	out := make([]byte, 0, len(hashes)*32)
	for _, h := range hashes {
		out = append(out, h[:]...)
	}
	return out
}

// eraseType is the type of the event that records an erasure. The verifier
// reads it: values may be missing only where one names their entry, in
// erased_leaf or in the spans of erased_leaves.
const eraseType = "data.erase"

// forgetTarget is for an intent whose event goes. The target of an action may be
// a path or a person; that of a model call is a model, which the costs are
// counted by.
const forgetTarget = `UPDATE intents SET target='' WHERE leaf=? AND kind <> 'model.call'`

// Erase removes what an event says and the salts of its entry's commitments:
// nothing is left from which its content could be told or guessed, and every
// proof stays valid. That it happened is an event of its own; by says who asked.
// The event keeps its id, time, type and alert. An erasure cannot be erased.
func (s *Store) Erase(ctx context.Context, event int64, by string) error {
	const name = "store.erase"
	err := s.do(ctx, name, func(t *tx) error {
		var leaf int64
		var typ, alert string
		err := t.row(`SELECT leaf, event_type, COALESCE(json_extract(data, '$.alert'), 'none') FROM events WHERE id=?`, event).Scan(&leaf, &typ, &alert)
		if errors.Is(err, sql.ErrNoRows) {
			return fault.New(name, fault.NotFound, "there is no event %d", event)
		}
		if err != nil {
			return err
		}
		if typ == eraseType {
			return fault.New(name, fault.Denied, "event %d records an erasure, which holds nothing to erase and proves that nothing else was", event)
		}
		res, err := t.exec(`DELETE FROM openings WHERE leaf=?`, leaf)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return fault.New(name, fault.Conflict, "event %d was erased before", event)
		}
		// A session note is kept for the next session as well.
		if _, err := t.exec(`DELETE FROM memory WHERE EXISTS (SELECT 1 FROM events WHERE id=? AND event_type='session.note'
			AND agent_id = agent AND instr(CAST(note AS TEXT), json_extract(data, '$.note')) = 1)`, event); err != nil {
			return err
		}
		data, err := marshal(map[string]any{"alert": validAlert(alert), "erased": true})
		if err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE events SET agent_id='', session_id='', data=? WHERE id=?`, string(data), event); err != nil {
			return err
		}
		if _, err := t.exec(forgetTarget, leaf); err != nil {
			return err
		}
		return t.note(record.Event{Type: eraseType, Channel: "OPERATOR", Data: map[string]any{"erased_leaf": leaf, "erased_event": event, "by": by}})
	})
	if err != nil {
		return s.explain(name, err)
	}
	return s.flushWAL(ctx)
}

// Forget removes the link between an agent or session (kind "agent" or
// "session") and its pseudonym in the log. Later entries get a new one.
func (s *Store) Forget(ctx context.Context, kind, who string) error {
	const name = "store.forget"
	err := s.do(ctx, name, func(t *tx) error {
		_, err := t.exec(`DELETE FROM pseudonyms WHERE kind=? AND name=?`, kind, who)
		delete(s.alias, kind+"\x00"+who)
		delete(t.fresh, kind+"\x00"+who)
		return err
	})
	if err != nil {
		return s.explain(name, err)
	}
	return s.flushWAL(ctx)
}

// flushWAL moves the write-ahead log into the database and empties it: deleted
// content is zeroed in the database, but old pages linger in the log.
func (s *Store) flushWAL(ctx context.Context) error {
	const name = "store.flush"
	var busy, a, b int
	if err := s.read.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &a, &b); err != nil {
		return unavailable(name, err)
	}
	if busy != 0 {
		return fault.Wrap(name, fault.Unavailable, errors.New("a reader holds the write-ahead log; what was erased leaves the disk with its next checkpoint"))
	}
	return nil
}
