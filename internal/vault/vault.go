package vault

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
)

// Config is what a vault needs. Every field is required.
type Config struct {
	Book     Book
	Instance string // the installation's id, 1 to 255 bytes; it never changes
	Root     Root   // may be wiped when Create or Open returned
	Check    Check
}

// Vault seals and opens items. It is safe for concurrent use, also by several
// processes on one book.
type Vault struct {
	book   Book
	ring   *ring
	broker broker
	check  Check
}

const (
	maxID = 255 // bytes, of an item or an instance

	// attempts is how often an operation starts again because keys moved beneath
	// it. Every attempt that fails met a whole rotation of another caller, so only
	// a book that is rotated in a loop uses many of them up.
	attempts = 64
)

// Create makes a vault in an empty book. A book that has one is a fault.Conflict.
func Create(ctx context.Context, c Config) (*Vault, error) {
	v, err := newVault(c)
	if err != nil {
		return nil, err
	}
	st := State{Generation: 1, Epoch: 1, Oldest: 1}
	st.Seal = v.ring.root.seal(c.Instance, st)
	err = c.Book.SetState(ctx, State{}, st, nil)
	if fault.Is(err, fault.Conflict) {
		err = &fault.Error{Op: "vault.create", Kind: fault.Conflict, Err: err, Public: "there is a vault already; open it instead"}
	}
	if err == nil {
		_, err = v.ring.current(ctx)
	}
	if err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// Open opens the vault of a book. A wrong root key, or one of another instance,
// is fault.Denied; a book without a vault is fault.NotFound.
func Open(ctx context.Context, c Config) (*Vault, error) {
	v, err := newVault(c)
	if err != nil {
		return nil, err
	}
	if _, err = v.ring.current(ctx); err != nil {
		v.Close()
		if fault.Is(err, fault.NotFound) {
			err = &fault.Error{Op: "vault.open", Kind: fault.NotFound, Err: err, Public: "there is no vault yet; create one first"}
		}
		return nil, err
	}
	return v, nil
}

func newVault(c Config) (*Vault, error) {
	if c.Book == nil || c.Check == nil || !validID(c.Instance) {
		return nil, fault.New("vault.open", fault.Config, "a vault needs a book, an instance of 1 to %d bytes and a check that decides who may read; give all of them", maxID)
	}
	root, err := c.Root.derive()
	if err != nil {
		return nil, err
	}
	r := &ring{book: c.Book, instance: c.Instance, root: root, keks: map[KeyID]cipher.AEAD{}}
	return &Vault{book: c.Book, ring: r, broker: broker{ring: r, check: c.Check}, check: c.Check}, nil
}

// Close wipes the keys. Operations that run end first; later ones are
// fault.Unavailable.
func (v *Vault) Close() { v.ring.close() }

func validID(id string) bool {
	return id != "" && len(id) <= maxID && utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
}

func checkID(op, id string) error {
	if !validID(id) {
		return fault.New(op, fault.Usage, "the name of an item is 1 to %d bytes of UTF-8 without control characters; choose another", maxID)
	}
	return nil
}

// Put seals data as a new version and gives its reference. r.Version is the
// version it follows, 0 for a new item; r.Label is the label of a new item and
// must be the stored one otherwise: a label changes by Relabel only. A version
// that is not the current one, and the id of an erased item, are fault.Conflict.
func (v *Vault) Put(ctx context.Context, who principal.Principal, r Ref, data []byte) (Ref, error) {
	const op = "vault.put"
	if err := checkID(op, r.ID); err != nil {
		return Ref{}, err
	}
	if !r.Label.Valid() {
		return Ref{}, fault.New(op, fault.Usage, "the label of an item needs a level of 0 to 3 and an integrity of 0 to 2; correct it")
	}
	if len(data) > MaxBody {
		return Ref{}, fault.New(op, fault.Usage, "an item holds at most %d MiB; split the data", MaxBody>>20)
	}
	if err := v.check(ctx, Request{Who: who, Use: Write, Item: r}); err != nil {
		return Ref{}, err
	}
	if r.Version > 0 {
		stored, err := v.book.Item(ctx, r.ID)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return Ref{}, err
		}
		if err != nil || stored.Version != r.Version || stored.Label != r.Label {
			return Ref{}, errChanged(op, r.ID, err)
		}
	}
	return v.seal(ctx, op, Ref{ID: r.ID, Label: r.Label, Version: r.Version + 1}, data)
}

// seal stores an envelope.
func (v *Vault) seal(ctx context.Context, op string, r Ref, data []byte) (Ref, error) {
	err := v.again(ctx, func(st State) error {
		it, err := v.ring.seal(ctx, st.Epoch, r, data)
		if err != nil {
			return err
		}
		err = v.book.PutItem(ctx, it)
		if fault.Is(err, fault.Conflict) {
			return errChanged(op, r.ID, err)
		}
		return err
	})
	if err != nil {
		return Ref{}, err
	}
	return r, nil
}

func errChanged(op, id string, err error) error {
	return &fault.Error{Op: op, Kind: fault.Conflict, Err: err, Public: fmt.Sprintf(
		"the item %q changed meanwhile, has another label, or its name was used before; look at it again or choose another name", id)}
}

// seal makes an envelope with a fresh record key.
func (r *ring) seal(ctx context.Context, epoch uint32, ref Ref, data []byte) (Item, error) {
	s := newScratch()
	defer s.release()
	it := Item{SealedRef: ref, Epoch: epoch}
	id := KeyID{Level: ref.Label.Level, Compartments: ref.Label.Compartments, Epoch: epoch}
	err := r.with(ctx, id, true, func(kek cipher.AEAD) error {
		it.Key = s.wrap(kek, epoch, r.instance, ref)
		return nil
	})
	if err != nil {
		return Item{}, err
	}
	it.Body, err = s.seal(r.instance, ref, data)
	return it, err
}

// Get opens an item for who. version, if not 0, must be the current one, so that
// a reference to one version never gives another.
func (v *Vault) Get(ctx context.Context, who principal.Principal, id string, version uint64) ([]byte, Ref, error) {
	return v.open(ctx, "vault.get", Request{Who: who, Use: Read, Item: Ref{ID: id, Version: version}})
}

// open looks an item up and opens it; r.Item names id and version.
func (v *Vault) open(ctx context.Context, op string, r Request) ([]byte, Ref, error) {
	var data []byte
	var it Item
	err := v.again(ctx, func(State) (err error) {
		if it, err = v.find(ctx, op, r); err != nil {
			return err
		}
		return v.broker.release(ctx, r.about(it.SealedRef), it, func(key *recordKey) (err error) {
			if data, err = openBody(key, v.ring.instance, it.SealedRef, it.Body); errors.Is(err, errEnvelope) {
				return errItem(it.ID)
			}
			return err
		})
	})
	if err != nil {
		return nil, Ref{}, err
	}
	return data, it.SealedRef, nil
}

// again calls do with the state in force, and once more when it failed while
// another process moved the keys: a row read before and a key looked for
// afterwards need not fit.
func (v *Vault) again(ctx context.Context, do func(State) error) error {
	for range attempts {
		before, err := v.ring.current(ctx)
		if err != nil {
			return err
		}
		if err = do(before); !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.Corrupt) {
			return err
		}
		if after, moved := v.ring.current(ctx); moved != nil {
			return moved
		} else if after == before {
			return err
		}
	}
	return errMoved()
}

// find gives the row that a request is about. Of an item that is not there, or
// has another version, who is told only if the check lets him.
func (v *Vault) find(ctx context.Context, op string, r Request) (Item, error) {
	if err := checkID(op, r.Item.ID); err != nil {
		return Item{}, err
	}
	it, err := v.book.Item(ctx, r.Item.ID)
	if fault.Is(err, fault.NotFound) {
		if denied := v.check(ctx, r.aboutNothing()); denied != nil {
			return Item{}, denied
		}
		return Item{}, fault.New(op, fault.NotFound, "there is no item %q; list what there is", r.Item.ID)
	}
	if err != nil {
		return Item{}, err
	}
	if it.ID != r.Item.ID {
		return Item{}, errItem(r.Item.ID)
	}
	if r.Item.Version != 0 && r.Item.Version != it.Version {
		if denied := v.check(ctx, r.about(it.SealedRef)); denied != nil {
			return Item{}, denied
		}
		return Item{}, fault.New(op, fault.Conflict, "the item %q has another version than %d by now; look at it again", it.ID, r.Item.Version)
	}
	return it, nil
}

// Relabel gives an item another label, under a new record key and version: the
// old envelope opens no more, and who had the old key has nothing of the new
// one. Whether it is asked as Raise or as Lower depends on the labels alone.
func (v *Vault) Relabel(ctx context.Context, who principal.Principal, id string, version uint64, to label.Label) (Ref, error) {
	const op = "vault.relabel"
	if !to.Valid() {
		return Ref{}, fault.New(op, fault.Usage, "the label of an item needs a level of 0 to 3 and an integrity of 0 to 2; correct it")
	}
	data, old, err := v.open(ctx, op, Request{Who: who, Use: Raise, Item: Ref{ID: id, Version: version}, To: to})
	if err != nil {
		return Ref{}, err
	}
	defer clear(data)
	if old.Label == to {
		return old, nil
	}
	return v.seal(ctx, op, Ref{ID: id, Label: to, Version: old.Version + 1}, data)
}

// Erase destroys an item as the book's contract says. It needs no key, so what
// does not open can be erased too.
func (v *Vault) Erase(ctx context.Context, who principal.Principal, id string, version uint64) error {
	const op = "vault.erase"
	r := Request{Who: who, Use: Erase, Item: Ref{ID: id, Version: version}}
	it, err := v.find(ctx, op, r)
	if err != nil {
		return err
	}
	r.Item = it.SealedRef
	if err := v.check(ctx, r); err != nil {
		return err
	}
	return v.book.Erase(ctx, id, it.Version)
}

// Hold sets or ends the legal hold of an item: while it is held, Erase is
// fault.Denied.
func (v *Vault) Hold(ctx context.Context, who principal.Principal, id string, held bool) error {
	r := Request{Who: who, Use: Hold, Item: Ref{ID: id}}
	it, err := v.find(ctx, "vault.hold", r)
	if err != nil {
		return err
	}
	r.Item = it.SealedRef
	if err := v.check(ctx, r); err != nil {
		return err
	}
	return v.book.Hold(ctx, id, held)
}

// listPage is how many rows List asks the book for at once.
const listPage = 256

// List gives the references of the items that who may read, at most limit,
// ascending by id, of ids greater than after. It opens nothing, so ids and
// labels are the book's word.
func (v *Vault) List(ctx context.Context, who principal.Principal, after string, limit int) ([]Ref, error) {
	var out []Ref
	for len(out) < limit {
		page, err := v.book.Items(ctx, after, listPage)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			after = r.ID
			err := v.check(ctx, Request{Who: who, Use: Read, Item: r})
			if err == nil {
				out = append(out, r)
			} else if !fault.Is(err, fault.Denied) {
				return nil, err
			}
			if len(out) == limit {
				break
			}
		}
		if len(page) < listPage {
			break
		}
	}
	return out, nil
}
