package vault

import (
	"context"
	"crypto/cipher"

	"sallyport/internal/fault"
)

// State gives the state in force.
func (v *Vault) State(ctx context.Context) (State, error) { return v.ring.current(ctx) }

// Rotate begins a new epoch: from now on record keys are wrapped in it. Older
// epochs stay readable until they are retired.
func (v *Vault) Rotate(ctx context.Context) (State, error) {
	return v.advance(ctx, func(s *State) { s.Epoch++ })
}

// Retire destroys the KEKs of all epochs before oldest, at most the current
// epoch. An item that still depends on one is a fault.Conflict: Rewrap first.
func (v *Vault) Retire(ctx context.Context, oldest uint32) (State, error) {
	st, err := v.ring.current(ctx)
	if err != nil {
		return State{}, err
	}
	if oldest > st.Epoch {
		return State{}, fault.New("vault.retire", fault.Usage, "epoch %d is the current one and cannot be retired; rotate first", st.Epoch)
	}
	return v.advance(ctx, func(s *State) { s.Oldest = max(s.Oldest, oldest) })
}

// advance changes the state.
func (v *Vault) advance(ctx context.Context, change func(*State)) (State, error) {
	prior, err := v.ring.current(ctx)
	if err != nil {
		return State{}, err
	}
	v.ring.mu.Lock()
	defer v.ring.mu.Unlock()
	if v.ring.root == nil {
		return State{}, errClosed()
	}
	next := prior
	change(&next)
	next.Seal = v.ring.root.seal(v.ring.instance, next)
	if next == prior {
		return prior, nil
	}
	if err := v.book.SetState(ctx, prior, next, nil); err != nil {
		return State{}, err
	}
	return next, v.ring.adopt(next)
}

// Rewrapped says what a run of Rewrap did.
type Rewrapped struct {
	Done   int      // record keys now in the current epoch
	Failed []string // ids whose record key does not open: erase or restore them
}

// Rewrap wraps the record keys of older epochs in the current one, at most limit
// of them; bodies are neither read nor written, and no check is asked, since
// nothing is released. Done and Failed both empty mean that nothing is left.
// after continues behind an id, to pass over what failed.
func (v *Vault) Rewrap(ctx context.Context, after string, limit int) (Rewrapped, error) {
	var out Rewrapped
	st, err := v.ring.current(ctx)
	if err != nil {
		return out, err
	}
	if limit <= 0 {
		return out, fault.New("vault.rewrap", fault.Usage, "a run wraps at least one key; give a limit above 0")
	}
	rows, err := v.book.Behind(ctx, st.Epoch, after, limit)
	if err != nil {
		return out, err
	}
	for _, it := range rows {
		err := v.rewrap(ctx, st.Epoch, it)
		if fault.Is(err, fault.Corrupt) {
			if now, moved := v.ring.current(ctx); moved != nil || now != st {
				err = errMoved() // the row was read before its key was retired
			}
		}
		switch {
		case err == nil:
			out.Done++
		case fault.Is(err, fault.Corrupt):
			out.Failed = append(out.Failed, it.ID)
		case fault.Is(err, fault.Conflict):
			// Changed meanwhile: the next run finds it if it is still behind.
		default:
			return out, err
		}
	}
	return out, nil
}

func (v *Vault) rewrap(ctx context.Context, epoch uint32, it Item) error {
	s := newScratch()
	defer s.release()
	key := s.key() // the random one is replaced: only the nonce is used
	if err := v.broker.unwrap(ctx, it, key); err != nil {
		return err
	}
	id := KeyID{Level: it.Label.Level, Compartments: it.Label.Compartments, Epoch: epoch}
	var wrapped []byte
	err := v.ring.with(ctx, id, true, func(kek cipher.AEAD) error {
		wrapped = s.wrap(kek, epoch, v.ring.instance, it.SealedRef)
		return nil
	})
	if err != nil {
		return err
	}
	return v.book.Rewrap(ctx, it.ID, it.Version, it.Epoch, epoch, wrapped)
}

// Rekey wraps all KEKs with another root key; the old one opens nothing any
// more. Items are not touched. next may be wiped afterwards. It must be kept
// durably before Rekey is called: when it returns, nothing else opens the vault.
func (v *Vault) Rekey(ctx context.Context, next Root) error {
	to, err := next.derive()
	if err != nil {
		return err
	}
	if err := v.rekey(ctx, to); err != nil {
		to.wipe()
		return err
	}
	return nil
}

func (v *Vault) rekey(ctx context.Context, to *derived) error {
	prior, err := v.ring.current(ctx)
	if err != nil {
		return err
	}
	r := v.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root == nil {
		return errClosed()
	}
	rows, err := v.book.Keys(ctx)
	if err != nil {
		return err
	}
	st := State{Generation: prior.Generation + 1, Epoch: prior.Epoch, Oldest: prior.Oldest}
	st.Seal = to.seal(r.instance, st)
	keys := make([]Key, 0, len(rows))
	for _, row := range rows {
		var key [keySize]byte
		if err := r.root.unwrapKEK(&key, r.instance, row); err != nil {
			return err
		}
		keys = append(keys, to.wrapKEK(&key, r.instance, row.SealedKeyID, st.Generation))
		clear(key[:])
	}
	if err := v.book.SetState(ctx, prior, st, keys); err != nil {
		return err
	}
	r.root.wipe()
	r.root, r.state = to, st
	return nil
}
