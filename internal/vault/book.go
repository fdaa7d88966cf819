package vault

import (
	"context"

	"sallyport/internal/record"
)

// The rows of a book; their words are in record, because the store keeps them.
type (
	// Item is an envelope and what it is bound to.
	Item = record.SealedItem
	// KeyID names a KEK.
	KeyID = record.SealedKeyID
	// Key is a KEK wrapped by the root key.
	Key = record.SealedKey
	// State says which keys are in force.
	State = record.SealedState
)

// Book keeps the rows; the store does. Every method is one transaction that is
// durable when it returns. Whoever can write to the book can destroy items and
// can put all of its rows back to what they once were; he can neither read nor
// alter one.
//
// Errors have the kinds of package fault; those named here are part of the
// contract.
type Book interface {
	// State gives the state; NotFound before the first SetState.
	State(ctx context.Context) (State, error)

	// SetState replaces prior by next. A zero prior stands for none: then no
	// state, no keys and no items may exist. Conflict, with nothing changed, if
	// the stored state is not prior, or if an item of an epoch before
	// next.Oldest remains. Keys of epochs before next.Oldest are destroyed the
	// way Erase destroys. If keys is not nil it replaces the wrapped forms of
	// all keys: Conflict unless it names exactly the stored ones; the old forms
	// are destroyed the same way.
	SetState(ctx context.Context, prior, next State, keys []Key) error

	// Key gives one key; NotFound if there is none.
	Key(ctx context.Context, id KeyID) (Key, error)

	// Keys gives all of them, in any order.
	Keys(ctx context.Context) ([]Key, error)

	// AddKey adds a key. Conflict if one with its id exists, or if its
	// generation or epoch is not the state's.
	AddKey(ctx context.Context, k Key) error

	// Item gives the current row of an id; NotFound if there is none.
	Item(ctx context.Context, id string) (Item, error)

	// Items gives at most limit references, ascending by id, of ids greater
	// than after.
	Items(ctx context.Context, after string, limit int) ([]Ref, error)

	// PutItem makes it the current row of its id; the row before it is
	// destroyed the way Erase destroys, but Held stays as it was. Conflict
	// unless its epoch is the state's and its version is one more than the
	// stored one's: 1 for an id that never existed. An id that was erased is
	// never used again: its old versions may survive in backups.
	PutItem(ctx context.Context, it Item) error

	// Behind gives at most limit rows, without bodies, ascending by id, of ids
	// greater than after and epochs before epoch.
	Behind(ctx context.Context, epoch uint32, after string, limit int) ([]Item, error)

	// Rewrap replaces the wrapped record key of id and version, and its epoch;
	// the old one is destroyed the way Erase destroys. Conflict unless version
	// and old epoch are the stored ones and the new epoch is the state's.
	Rewrap(ctx context.Context, id string, version uint64, oldEpoch, newEpoch uint32, key []byte) error

	// Erase destroys an item. Conflict if version is not the stored one, Denied
	// if the item is held, NotFound if there is none.
	//
	// Destroyed means that no byte of the row's Key and Body is left in any file
	// of the book when Erase returns: deleting a row leaves it readable in the
	// database and in its write-ahead log. For SQLite: secure_delete on, delete,
	// then a checkpoint that truncates the log. If a reader keeps the log from
	// being truncated, Erase says Unavailable: the row is gone, its bytes are
	// not, and the book truncates as soon as it can. That the id was used stays
	// on record, without its label. Copies in backups become unreadable when the
	// item's epoch is retired and the backups that held its keys are gone.
	Erase(ctx context.Context, id string, version uint64) error

	// Hold sets or ends the legal hold of an item; NotFound if there is none.
	Hold(ctx context.Context, id string, held bool) error
}
