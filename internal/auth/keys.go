package auth

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// Book keeps keys; the store does.
type Book interface {
	KeyByHash(ctx context.Context, hash [sha256.Size]byte) (record.APIKey, error) // fault.NotFound
	KeysRevision(ctx context.Context) (int64, error)                              // moves when any key changes
	TouchKey(ctx context.Context, id string, at time.Time) error
}

// Keys looks tokens up. It keeps what it found until any key changes, and is
// safe for concurrent use.
type Keys struct {
	book Book
	now  func() time.Time

	mu       sync.Mutex
	revision int64
	known    map[[sha256.Size]byte]record.APIKey
	touched  map[string]time.Time // by id
}

// maxKnown bounds how many keys are kept in memory.
const maxKnown = 10_000

// touchEvery is how often a key's last use is written down.
const touchEvery = time.Minute

// NewKeys makes a lookup; now is the clock that keys expire by.
func NewKeys(book Book, now func() time.Time) *Keys {
	return &Keys{book: book, now: now, revision: -1, known: map[[sha256.Size]byte]record.APIKey{}, touched: map[string]time.Time{}}
}

// errUnknown is the one answer to every token that opens nothing.
func errUnknown() error {
	return fault.New("auth.key", fault.Denied, "the API key is missing, unknown, expired or revoked; `sallyport keys create` makes one")
}

// Find gives the key that a token is, if it is live and has the role. Errors are
// fault.Denied, the same for every reason, or what the book could not do.
func (k *Keys) Find(ctx context.Context, token, role string) (record.APIKey, error) {
	if !WellFormed(token) {
		return record.APIKey{}, errUnknown()
	}
	key, err := k.find(ctx, Hash(token))
	if err != nil {
		return record.APIKey{}, err
	}
	now := k.now()
	if !key.Live(now) || !key.Has(role) {
		return record.APIKey{}, errUnknown()
	}
	return key, k.touch(ctx, key.ID, now)
}

// find looks a hash up, in memory while no key changed.
func (k *Keys) find(ctx context.Context, hash [sha256.Size]byte) (record.APIKey, error) {
	revision, err := k.book.KeysRevision(ctx)
	if err != nil {
		return record.APIKey{}, err
	}
	k.mu.Lock()
	if revision != k.revision || len(k.known) >= maxKnown {
		clear(k.known)
		k.revision = revision
	}
	key, ok := k.known[hash]
	k.mu.Unlock()
	if ok {
		return key, nil
	}
	key, err = k.book.KeyByHash(ctx, hash)
	if fault.Is(err, fault.NotFound) {
		return record.APIKey{}, errUnknown()
	}
	if err != nil {
		return record.APIKey{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if revision == k.revision {
		k.known[hash] = key
	}
	return key, nil
}

// touch writes down that a key was used, once in a while.
func (k *Keys) touch(ctx context.Context, id string, now time.Time) error {
	k.mu.Lock()
	due := now.Sub(k.touched[id]) >= touchEvery
	if due {
		if len(k.touched) >= maxKnown {
			clear(k.touched)
		}
		k.touched[id] = now
	}
	k.mu.Unlock()
	if !due {
		return nil
	}
	return k.book.TouchKey(ctx, id, now)
}
