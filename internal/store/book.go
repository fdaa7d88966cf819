package store

import (
	"context"
	"database/sql"
	"errors"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Book keeps the rows of the vault: sealed items, the keys that wrap theirs, and
// the state that says which keys are in force. It is what the vault's interface
// of that name asks for. Each method is one transaction, durable when it
// returns; none of them is an event, since the actions that lead here are.
//
// Destroyed means: the row is gone, its bytes were overwritten in the database
// (secure_delete), and the write-ahead log was emptied before the method
// returned. fault.Unavailable says that a reader kept the log from being
// emptied: then that is tried again until it succeeds, also after a restart.
type Book struct{ s *Store }

// Vault gives the vault's book.
func (s *Store) Vault() *Book { return &Book{s} }

const selectState = `SELECT generation, epoch, oldest, seal FROM sealed_state`

func scanState(scan func(...any) error) (record.SealedState, error) {
	var generation, epoch, oldest int64
	var seal []byte
	err := scan(&generation, &epoch, &oldest, &seal)
	return record.SealedState{Generation: uint32(generation), Epoch: uint32(epoch), Oldest: uint32(oldest), Seal: string(seal)}, err //nolint:gosec // stored from these types
}

// sealedState gives the state; the zero one if there is none.
func (t *tx) sealedState() (record.SealedState, error) {
	st, err := scanState(t.row(selectState).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return record.SealedState{}, nil
	}
	return st, err
}

// State gives the state; fault.NotFound before the first SetState.
func (b *Book) State(ctx context.Context) (record.SealedState, error) {
	const name = "store.book.state"
	var out record.SealedState
	err := b.s.each(ctx, name, selectState, nil, func(scan func(...any) error) (err error) {
		out, err = scanState(scan)
		return err
	})
	if err == nil && out == (record.SealedState{}) {
		err = fault.New(name, fault.NotFound, "there is no vault yet; create one first")
	}
	return out, err
}

// SetState replaces prior by next; a zero prior stands for none, and then no
// state, no keys and no items may exist. fault.Conflict, with nothing changed, if
// the stored state is not prior, or if an item of an epoch before next.Oldest
// remains. Keys of epochs before next.Oldest are destroyed. If keys is not nil,
// it replaces the wrapped forms of all keys, which are destroyed: fault.Conflict
// unless it names exactly the stored ones, each once.
func (b *Book) SetState(ctx context.Context, prior, next record.SealedState, keys []record.SealedKey) error {
	const name = "store.book.setState"
	return b.destroy(ctx, name, func(t *tx) (bool, error) {
		stored, err := t.sealedState()
		if err != nil {
			return false, err
		}
		if stored != prior {
			return false, fault.New(name, fault.Conflict, "the vault's state moved meanwhile; look at it again")
		}
		var rows, behind int
		err = t.row(`SELECT (SELECT count(*) FROM sealed_keys) + EXISTS (SELECT 1 FROM sealed_items), EXISTS (SELECT 1 FROM sealed_items WHERE epoch < ?)`,
			int64(next.Oldest)).Scan(&rows, &behind)
		if err != nil {
			return false, err
		}
		if prior == (record.SealedState{}) && rows > 0 {
			return false, fault.New(name, fault.Conflict, "the book holds keys or items of a vault whose state is missing; restore a backup")
		}
		if behind > 0 {
			return false, fault.New(name, fault.Conflict, "an item still depends on a key that would be destroyed; wrap it again first")
		}
		if keys != nil {
			if err := t.rewrapKeys(name, keys); err != nil {
				return false, err
			}
		}
		if _, err := t.exec(`DELETE FROM sealed_keys WHERE epoch < ?`, int64(next.Oldest)); err != nil {
			return false, err
		}
		_, err = t.exec(`INSERT OR REPLACE INTO sealed_state VALUES (1, ?, ?, ?, ?)`,
			int64(next.Generation), int64(next.Epoch), int64(next.Oldest), []byte(next.Seal))
		return keys != nil || next.Oldest > prior.Oldest, err
	})
}

// rewrapKeys replaces the wrapped forms of all keys.
func (t *tx) rewrapKeys(op string, keys []record.SealedKey) error {
	mismatch := fault.New(op, fault.Conflict, "the vault's keys are others by now; look at them again")
	var stored int
	if err := t.row(`SELECT count(*) FROM sealed_keys`).Scan(&stored); err != nil {
		return err
	}
	seen := make(map[record.SealedKeyID]bool, len(keys))
	for _, k := range keys {
		res, err := t.exec(`UPDATE sealed_keys SET generation=?, wrapped=? WHERE level=? AND compartments=? AND epoch=?`,
			int64(k.Generation), k.Wrapped, int64(k.Level), int64(k.Compartments), int64(k.Epoch)) //nolint:gosec // the bits of a set
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 || seen[k.SealedKeyID] {
			return mismatch
		}
		seen[k.SealedKeyID] = true
	}
	if len(seen) != stored {
		return mismatch
	}
	return nil
}

const selectSealedKey = `SELECT level, compartments, epoch, generation, wrapped FROM sealed_keys`

func scanSealedKey(scan func(...any) error) (record.SealedKey, error) {
	var level, compartments, epoch, generation int64
	var k record.SealedKey
	err := scan(&level, &compartments, &epoch, &generation, &k.Wrapped)
	k.Level, k.Compartments, k.Epoch, k.Generation = label.Level(level), label.Compartments(compartments), uint32(epoch), uint32(generation) //nolint:gosec // stored from these types
	return k, err
}

// Key gives one key; fault.NotFound if there is none.
func (b *Book) Key(ctx context.Context, id record.SealedKeyID) (record.SealedKey, error) {
	keys, err := b.keys(ctx, selectSealedKey+` WHERE level=? AND compartments=? AND epoch=?`, int64(id.Level), int64(id.Compartments), int64(id.Epoch)) //nolint:gosec // the bits of a set
	if err == nil && len(keys) == 0 {
		err = fault.New("store.book.key", fault.NotFound, "the vault has no such key")
	}
	if err != nil {
		return record.SealedKey{}, err
	}
	return keys[0], nil
}

// Keys gives all of them, in any order.
func (b *Book) Keys(ctx context.Context) ([]record.SealedKey, error) {
	return b.keys(ctx, selectSealedKey)
}

func (b *Book) keys(ctx context.Context, query string, args ...any) ([]record.SealedKey, error) {
	var out []record.SealedKey
	err := b.s.each(ctx, "store.book.keys", query, args, func(scan func(...any) error) error {
		k, err := scanSealedKey(scan)
		out = append(out, k)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// AddKey adds a key. fault.Conflict if one with its id exists, or if its
// generation or epoch is not the state's.
func (b *Book) AddKey(ctx context.Context, k record.SealedKey) error {
	const name = "store.book.addKey"
	err := b.s.do(ctx, name, func(t *tx) error {
		st, err := t.sealedState()
		if err != nil {
			return err
		}
		moved := fault.New(name, fault.Conflict, "the vault's keys moved meanwhile; look at them again")
		if k.Generation != st.Generation || k.Epoch != st.Epoch {
			return moved
		}
		res, err := t.exec(`INSERT OR IGNORE INTO sealed_keys VALUES (?, ?, ?, ?, ?)`,
			int64(k.Level), int64(k.Compartments), int64(k.Epoch), int64(k.Generation), k.Wrapped) //nolint:gosec // the bits of a set
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, moved)
		}
		return nil
	})
	return b.s.explain(name, err)
}

const selectItem = `SELECT id, label, version, epoch, held, key, body FROM sealed_items`

func scanItem(scan func(...any) error) (record.SealedItem, error) {
	var it record.SealedItem
	var text string
	var version, epoch int64
	if err := scan(&it.ID, &text, &version, &epoch, &it.Held, &it.Key, &it.Body); err != nil {
		return it, err
	}
	it.Version, it.Epoch = uint64(version), uint32(epoch) //nolint:gosec // stored from these types
	var err error
	it.Label, err = storedLabel("store.book.item", text)
	return it, err
}

// storedLabel reads a label of the database.
func storedLabel(op, text string) (label.Label, error) {
	l, err := label.Parse(text)
	if err != nil {
		return label.Unlabelled, &fault.Error{Op: op, Kind: fault.Corrupt, Public: "a stored label cannot be read: restore a backup", Err: err}
	}
	return l, nil
}

// Item gives the current row of an id; fault.NotFound if there is none.
func (b *Book) Item(ctx context.Context, id string) (record.SealedItem, error) {
	const name = "store.book.item"
	items, err := b.items(ctx, name, selectItem+` WHERE id=?`, id)
	if err == nil && len(items) == 0 {
		err = noItem(name, id)
	}
	if err != nil {
		return record.SealedItem{}, err
	}
	return items[0], nil
}

func noItem(op, id string) error {
	return fault.New(op, fault.NotFound, "there is no item %q; list what there is", id)
}

func (b *Book) items(ctx context.Context, name, query string, args ...any) ([]record.SealedItem, error) {
	var out []record.SealedItem
	err := b.s.each(ctx, name, query, args, func(scan func(...any) error) error {
		it, err := scanItem(scan)
		out = append(out, it)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Items gives at most limit references, ascending by id, of ids greater than
// after.
func (b *Book) Items(ctx context.Context, after string, limit int) ([]record.SealedRef, error) {
	items, err := b.items(ctx, "store.book.items", `SELECT id, label, version, epoch, held, NULL, NULL FROM sealed_items WHERE id > ? ORDER BY id LIMIT ?`, after, max(limit, 0))
	if err != nil {
		return nil, err
	}
	var out []record.SealedRef
	for _, it := range items {
		out = append(out, it.SealedRef)
	}
	return out, nil
}

// Behind gives at most limit rows, without bodies, ascending by id, of ids
// greater than after and epochs before epoch.
func (b *Book) Behind(ctx context.Context, epoch uint32, after string, limit int) ([]record.SealedItem, error) {
	return b.items(ctx, "store.book.behind", `SELECT id, label, version, epoch, held, key, NULL FROM sealed_items WHERE epoch < ? AND id > ? ORDER BY id LIMIT ?`,
		int64(epoch), after, max(limit, 0))
}
