package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

const selectObject = `SELECT o.id, o.version, o.label, o.made, o.by, o.created, COALESCE(i.held, 0)
	FROM objects o LEFT JOIN sealed_items i ON i.id = o.id `

// PutObject stores what is known of a version of an item, instead of what was
// known of the one before; a zero Created is now. Held is not stored: it is read
// from the vault's book, which keeps the hold. fault.Conflict if a later version
// is stored already, or this one with another label.
func (s *Store) PutObject(ctx context.Context, o record.Object) error {
	const name = "store.putObject"
	return s.explain(name, s.do(ctx, name, func(t *tx) error { return t.putObject(o) }))
}

func (t *tx) putObject(o record.Object) error {
	const name = "store.putObject"
	if o.ID == "" || !o.Label.Valid() || !o.Made.Valid() {
		return fault.New(name, fault.Internal, "an object has an id, a label, and the label of who made it")
	}
	var version int64
	var text string
	err := t.row(`SELECT version, label FROM objects WHERE id=?`, o.ID).Scan(&version, &text)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if stored := uint64(version); err == nil && (stored > o.Version || stored == o.Version && text != o.Label.String()) { //nolint:gosec // stored from this type
		return fault.New(name, fault.Conflict, "the item %q changed meanwhile; look at it again", o.ID)
	}
	created := o.Created.UnixMicro()
	if o.Created.IsZero() {
		created = t.now()
	}
	_, err = t.exec(`INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)`,
		o.ID, int64(o.Version), o.Label.String(), o.Made.String(), o.By, created) //nolint:gosec // read back into the same type
	return err
}

// Beside is what is stored in the same transaction as a sealed row, so that no
// crash leaves one without the other.
type Beside struct {
	Object  record.Object   // what is known of the item; version and label are the row's
	Message *record.Message // that the item is; nil for none
}

type besideKey struct{}

// WithBeside has Book.PutItem store b with the item that b is about: the vault,
// which seals in between, knows nothing of it.
func WithBeside(ctx context.Context, b Beside) context.Context {
	return context.WithValue(ctx, besideKey{}, b)
}

// putBeside stores what goes with a sealed row.
func (t *tx) putBeside(ctx context.Context, it record.SealedItem) error {
	b, ok := ctx.Value(besideKey{}).(Beside)
	if !ok {
		return nil
	}
	if b.Object.ID != it.ID || b.Message != nil && b.Message.ID != it.ID {
		return fault.New("store.putBeside", fault.Internal, "what is stored beside an item is about another one")
	}
	b.Object.Version, b.Object.Label = it.Version, it.Label
	if err := t.putObject(b.Object); err != nil || b.Message == nil {
		return err
	}
	return t.putMessage(*b.Message)
}

// now is the time of what is stored beside the log, which never goes back
// either. Microseconds.
func (t *tx) now() int64 { return max(t.tree.clock, t.s.opt.Now().UnixMicro()) }

func (s *Store) objects(ctx context.Context, name, where string, args ...any) ([]record.Object, error) {
	var out []record.Object
	err := s.each(ctx, name, selectObject+where, args, func(scan func(...any) error) error {
		var o record.Object
		var version, created int64
		var l, made string
		if err := scan(&o.ID, &version, &l, &made, &o.By, &created, &o.Held); err != nil {
			return err
		}
		var err1, err2 error
		o.Label, err1 = storedLabel(name, l)
		o.Made, err2 = storedLabel(name, made)
		o.Version, o.Created = uint64(version), time.UnixMicro(created).UTC() //nolint:gosec // stored from this type
		out = append(out, o)
		return errors.Join(err1, err2)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Object gives what is known of an item; fault.NotFound if nothing is.
func (s *Store) Object(ctx context.Context, id string) (record.Object, error) {
	const name = "store.object"
	all, err := s.objects(ctx, name, `WHERE o.id=?`, id)
	if err == nil && len(all) == 0 {
		err = noItem(name, id)
	}
	if err != nil {
		return record.Object{}, err
	}
	return all[0], nil
}

// Objects gives at most limit objects, ascending by id, of ids greater than
// after.
func (s *Store) Objects(ctx context.Context, after string, limit int) ([]record.Object, error) {
	return s.objects(ctx, "store.objects", `WHERE o.id > ? ORDER BY o.id LIMIT ?`, after, max(limit, 0))
}

// DropObject forgets what is known of an item that was erased, also that it was
// a message. That nothing is known of it is no error.
func (s *Store) DropObject(ctx context.Context, id string) error {
	const name = "store.dropObject"
	return s.explain(name, s.do(ctx, name, func(t *tx) error {
		_, err := t.exec(`DELETE FROM objects WHERE id=?`, id)
		if err == nil {
			_, err = t.exec(`DELETE FROM messages WHERE id=?`, id)
		}
		return err
	}))
}
