package vault

import (
	"context"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"sync"

	"sallyport/internal/fault"
)

// ring holds the keys of a vault in memory: the derived root keys and the KEKs
// that were needed so far. A KEK is used under the read lock only, so that
// wiping, which takes the write lock, waits for its uses.
type ring struct {
	book     Book
	instance string

	mu    sync.RWMutex
	root  *derived // nil once closed
	state State    // the last one seen, verified
	keks  map[KeyID]cipher.AEAD
}

// current gives the state in force, and forgets the keys of retired epochs. It
// must be called by every operation, because another process may rotate.
func (r *ring) current(ctx context.Context) (State, error) {
	st, err := r.book.State(ctx)
	if err != nil {
		return State{}, err
	}
	r.mu.RLock()
	same, closed := st == r.state, r.root == nil
	r.mu.RUnlock()
	if closed {
		return State{}, errClosed()
	}
	if same {
		return st, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// What was read without the lock may be older than what another caller has
	// adopted since, which would look like a rollback.
	if st, err = r.book.State(ctx); err != nil {
		return State{}, err
	}
	if err := r.adopt(st); err != nil {
		return State{}, err
	}
	return st, nil
}

// adopt verifies a state and makes it the current one; under the write lock.
func (r *ring) adopt(st State) error {
	const op = "vault.state"
	if r.root == nil {
		return errClosed()
	}
	if r.state.Generation != 0 && st.Generation > r.state.Generation {
		return fault.New(op, fault.Conflict, "another process changed the root key of the vault; open the vault again with the new one")
	}
	if !hmac.Equal([]byte(st.Seal), []byte(r.root.seal(r.instance, st))) {
		return errRoot(op)
	}
	if st.Generation == 0 || st.Oldest == 0 || st.Oldest > st.Epoch {
		return fault.New(op, fault.Corrupt, "the state of the vault contradicts itself; restore the book from a backup")
	}
	if st.Generation < r.state.Generation || st.Epoch < r.state.Epoch || st.Oldest < r.state.Oldest {
		return fault.New(op, fault.Corrupt, "the state of the vault went back to an older one, so somebody restored old rows beneath a running vault; stop it before restoring")
	}
	r.state = st
	for id, kek := range r.keks {
		if id.Epoch < st.Oldest {
			wipeAEAD(kek)
			delete(r.keks, id)
		}
	}
	return nil
}

func errClosed() error {
	return fault.New("vault.state", fault.Unavailable, "the vault is closed; open it again")
}

// errRoot: nobody can tell a wrong root key from an altered state.
func errRoot(op string) error {
	return fault.New(op, fault.Denied, "the root key does not open this vault: it belongs to another vault or instance, or the vault's state was altered; give the right key, or restore the state from a backup")
}

// with calls use with a KEK, making it if it does not exist and create is set.
// Use must not call the ring.
func (r *ring) with(ctx context.Context, id KeyID, create bool, use func(kek cipher.AEAD) error) error {
	for {
		r.mu.RLock()
		if id.Epoch < r.state.Oldest {
			r.mu.RUnlock()
			return fault.New("vault.key", fault.Corrupt, "the item was sealed in epoch %d, which is retired; restore the item from a newer backup", id.Epoch)
		}
		if kek := r.keks[id]; kek != nil {
			err := use(kek)
			r.mu.RUnlock()
			return err
		}
		r.mu.RUnlock()
		if err := r.load(ctx, id, create); err != nil {
			return err
		}
	}
}

// load puts a KEK into memory.
func (r *ring) load(ctx context.Context, id KeyID, create bool) error {
	const op = "vault.key"
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root == nil {
		return errClosed()
	}
	if r.keks[id] != nil || id.Epoch < r.state.Oldest {
		return nil // with looks again
	}
	row, err := r.book.Key(ctx, id)
	if fault.Is(err, fault.NotFound) && create {
		if err = r.make(ctx, id); err != nil && !fault.Is(err, fault.Conflict) {
			return err
		}
		// Made by us or by another process in the same moment, or not at all
		// because the state moved: then this says NotFound.
		if row, err = r.book.Key(ctx, id); fault.Is(err, fault.NotFound) {
			return errMoved()
		}
	}
	if fault.Is(err, fault.NotFound) {
		return &fault.Error{Op: op, Kind: fault.Corrupt, Err: err, Public: "the key that this item was sealed under is not in the vault; restore the book from a backup"}
	}
	if err != nil {
		return err
	}
	var key [keySize]byte
	defer clear(key[:])
	if err := r.root.unwrapKEK(&key, r.instance, row); err != nil {
		return err
	}
	r.keks[id], err = newAEAD(key[:])
	return err
}

// errMoved: the state changed between two looks; whoever gets it looks again.
func errMoved() error {
	return fault.New("vault.key", fault.Conflict, "the keys of the vault were changed by another process meanwhile; try again")
}

// make adds a fresh KEK to the book.
func (r *ring) make(ctx context.Context, id KeyID) error {
	var key [keySize]byte
	rand.Read(key[:]) // never fails
	defer clear(key[:])
	return r.book.AddKey(ctx, r.root.wrapKEK(&key, r.instance, id, r.state.Generation))
}

// close wipes everything.
func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root != nil {
		r.root.wipe()
		r.root = nil
	}
	for _, kek := range r.keks {
		wipeAEAD(kek)
	}
	clear(r.keks)
}

func boundKEK(instance string, id KeyID, generation uint32) []byte {
	b := appendField(nil, purposeKEK)
	b = appendField(b, instance)
	b = appendUint32(b, uint32(id.Level))
	b = appendUint64(b, uint64(id.Compartments))
	b = appendUint32(b, id.Epoch)
	return appendUint32(b, generation)
}

// wrapKEK seals a KEK with the root key.
func (d *derived) wrapKEK(key *[keySize]byte, instance string, id KeyID, generation uint32) Key {
	out := make([]byte, nonceSize, nonceSize+keySize+tagSize)
	rand.Read(out) // never fails
	out = d.wrap.Seal(out, out[:nonceSize], key[:], boundKEK(instance, id, generation))
	return Key{SealedKeyID: id, Generation: generation, Wrapped: out}
}

// unwrapKEK opens a row's KEK into key.
func (d *derived) unwrapKEK(key *[keySize]byte, instance string, row Key) error {
	if len(row.Wrapped) == nonceSize+keySize+tagSize {
		bound := boundKEK(instance, row.SealedKeyID, row.Generation)
		if _, err := d.wrap.Open(key[:0], row.Wrapped[:nonceSize], row.Wrapped[nonceSize:], bound); err == nil {
			return nil
		}
	}
	return fault.New("vault.key", fault.Corrupt, "a key of the vault does not open under its level, compartments and epoch: its row was altered or moved; restore the book from a backup")
}
