package store

import (
	"context"
	"database/sql"
	"errors"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// sealedRow is what a change of an item is checked against.
type sealedRow struct {
	n, version, epoch int64
	held              bool
}

// sealedRow gives an item's; ok is false if there is none.
func (t *tx) sealedRow(id string) (r sealedRow, ok bool, err error) {
	err = t.row(`SELECT n, version, epoch, held FROM sealed_items WHERE id=?`, id).Scan(&r.n, &r.version, &r.epoch, &r.held)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	return r, err == nil, err
}

// PutItem makes it the current row of its id; the row before it is destroyed,
// but Held stays as it was. fault.Conflict unless its epoch is the state's and
// its version is one more than the stored one's, which is 0 for an id that never
// existed; the id of an erased item is never used again. What WithBeside names is stored
// with it, or neither is.
func (b *Book) PutItem(ctx context.Context, it record.SealedItem) error {
	const name = "store.book.putItem"
	if !it.Label.Valid() || it.ID == "" {
		return fault.New(name, fault.Internal, "a sealed item has an id and a label")
	}
	conflict := fault.New(name, fault.Conflict, "the item %q changed meanwhile, or its name was used before; look at it again or choose another name", it.ID)
	return b.destroy(ctx, name, func(t *tx) (bool, error) {
		st, err := t.sealedState()
		if err != nil {
			return false, err
		}
		old, replaced, err := t.sealedRow(it.ID)
		if err != nil {
			return false, err
		}
		var used bool
		if err := t.row(`SELECT EXISTS (SELECT 1 FROM sealed_used WHERE id=?)`, it.ID).Scan(&used); err != nil {
			return false, err
		}
		if used || it.Epoch != st.Epoch || st.Epoch == 0 || it.Version != uint64(old.version)+1 { //nolint:gosec // stored from this type
			return false, conflict
		}
		if replaced {
			if _, err := t.exec(`DELETE FROM sealed_items WHERE n=?`, old.n); err != nil {
				return false, err
			}
		}
		if err := t.addItem(it, old.held); err != nil {
			return false, err
		}
		return replaced, t.putBeside(ctx, it)
	})
}

// addItem inserts a row at the end of the table: rows in the middle of which
// others are inserted get moved, and a move leaves copies.
func (t *tx) addItem(it record.SealedItem, held bool) error {
	_, err := t.exec(`INSERT INTO sealed_items (id, label, version, epoch, held, key, body) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		it.ID, it.Label.String(), int64(it.Version), int64(it.Epoch), held, it.Key, it.Body) //nolint:gosec // read back into the same type
	return err
}

// Rewrap replaces the wrapped record key of id and version, and its epoch; the
// old one is destroyed. fault.Conflict unless version and old epoch are the
// stored ones and the new epoch is the state's.
func (b *Book) Rewrap(ctx context.Context, id string, version uint64, oldEpoch, newEpoch uint32, key []byte) error {
	const name = "store.book.rewrap"
	return b.destroy(ctx, name, func(t *tx) (bool, error) {
		st, err := t.sealedState()
		if err != nil {
			return false, err
		}
		old, ok, err := t.sealedRow(id)
		if err != nil {
			return false, err
		}
		if !ok || uint64(old.version) != version || old.epoch != int64(oldEpoch) || newEpoch != st.Epoch { //nolint:gosec // stored from this type
			return false, fault.New(name, fault.Conflict, "the item %q or the vault's keys changed meanwhile; look at them again", id)
		}
		_, err = t.exec(`UPDATE sealed_items SET epoch=?, key=? WHERE n=?`, int64(newEpoch), key, old.n)
		return true, err
	})
}

// Erase destroys an item. fault.Conflict if version is not the stored one,
// fault.Denied if the item is held, fault.NotFound if there is none. That the id
// was used stays on record, without its label.
func (b *Book) Erase(ctx context.Context, id string, version uint64) error {
	const name = "store.book.erase"
	return b.destroy(ctx, name, func(t *tx) (bool, error) {
		old, ok, err := t.sealedRow(id)
		switch {
		case err != nil:
			return false, err
		case !ok:
			return false, noItem(name, id)
		case old.held:
			return false, fault.New(name, fault.Denied, "the item %q is under legal hold, which forbids to erase it; end the hold first", id)
		case uint64(old.version) != version: //nolint:gosec // stored from this type
			return false, fault.New(name, fault.Conflict, "the item %q has another version than %d by now; look at it again", id, version)
		}
		if _, err := t.exec(`DELETE FROM sealed_items WHERE n=?`, old.n); err != nil {
			return false, err
		}
		_, err = t.exec(`INSERT INTO sealed_used VALUES (?)`, id)
		return true, err
	})
}

// Hold sets or ends the legal hold of an item; fault.NotFound if there is none.
func (b *Book) Hold(ctx context.Context, id string, held bool) error {
	const name = "store.book.hold"
	err := b.s.do(ctx, name, func(t *tx) error {
		res, err := t.exec(`UPDATE sealed_items SET held=? WHERE id=?`, held, id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, noItem(name, id))
		}
		return nil
	})
	return b.s.explain(name, err)
}
