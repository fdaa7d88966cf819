package vault

import (
	"context"
	"crypto/cipher"
	"fmt"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
)

// Use is what somebody wants with an item.
type Use uint8

// The uses. Read, Raise, Lower and Export release the record key.
const (
	Read   Use = iota // see the data, and the id and label in a list
	Write             // seal new data: a new item, or a new version with the same label
	Raise             // give it a label that the old one flows to
	Lower             // give it any other label: declassify or endorse
	Export            // seal it to another instance's recipient
	Erase             // destroy it
	Hold              // set or end its legal hold
)

var useNames = [...]string{"read", "write", "raise", "lower", "export", "erase", "hold"}

// String gives the use's stable name.
func (u Use) String() string {
	if int(u) < len(useNames) {
		return useNames[u]
	}
	return fmt.Sprintf("use(%d)", uint8(u))
}

// releases reports whether the use needs the record key.
func (u Use) releases() bool { return u == Read || u == Raise || u == Lower || u == Export }

// Request is what a Check judges.
type Request struct {
	Who principal.Principal
	Use Use
	// Item is the row as it is stored, or will be for a first Write. An item
	// that does not exist is asked about as label.Unlabelled and version 0, so
	// that only who may read everything learns that it is not there.
	Item Ref
	To   label.Label // of Raise and Lower: the new label
}

// about gives the request for the row that was found: whether a new label raises
// or lowers depends on the stored one.
func (r Request) about(stored Ref) Request {
	if r.Item = stored; r.Use == Raise && !stored.Label.FlowsTo(r.To) {
		r.Use = Lower
	}
	return r
}

// aboutNothing gives the request for an item that is not there, answered like
// one that nobody but who is cleared for everything may read.
func (r Request) aboutNothing() Request {
	r.Item = Ref{ID: r.Item.ID, Label: label.Unlabelled}
	if r.Use.releases() {
		r.Use = Read
	}
	return r
}

// Check answers a request: nil releases. It is asked before any key of the item
// is touched; its error goes to the caller as it is, and should be fault.Denied.
type Check func(ctx context.Context, r Request) error

// Clearance is rule R1 as a Check: what releases a record key needs a clearance
// that contains the item's level and compartments. clearanceOf gives a
// principal's clearance; an error of it denies. Lowering is always denied: no
// clearance allows it, only a signed grant, which whoever wires the vault checks
// before asking this. Write, Erase and Hold release nothing and pass here.
func Clearance(clearanceOf func(context.Context, principal.Principal) (label.Label, error)) Check {
	const op = "vault.clearance"
	return func(ctx context.Context, r Request) error {
		if !r.Use.releases() {
			return nil
		}
		c, err := clearanceOf(ctx, r.Who)
		if err != nil {
			return &fault.Error{Op: op, Kind: fault.Denied, Err: err, Public: "the clearance of the reader is not known, so nothing is released; configure one"}
		}
		if !c.Valid() || !r.Item.Label.Valid() || !r.Item.Label.ConfFlowsTo(c) {
			return fault.New(op, fault.Denied, "the item %q is not released (rule R1): the reader's clearance does not contain its label, or there is no such item; ask the operator for a clearance", r.Item.ID)
		}
		if r.Use == Lower {
			return fault.New(op, fault.Denied, "a label is lowered only by a signed grant, never by a clearance; ask for an approval")
		}
		return nil
	}
}

// broker is the only place where record keys of stored items are opened.
type broker struct {
	ring  *ring
	check Check
}

// release asks the check, opens the record key of an item, lets use have it and
// wipes it, whatever use does.
func (b *broker) release(ctx context.Context, r Request, it Item, use func(key *recordKey) error) error {
	if err := b.check(ctx, r); err != nil {
		return err
	}
	key := new(recordKey)
	defer clear(key[:])
	if err := b.unwrap(ctx, it, key); err != nil {
		return err
	}
	return use(key)
}

// unwrap opens the record key of an item. The label chooses the KEK, so a row
// whose label was altered is tried with a key that did not wrap it.
func (b *broker) unwrap(ctx context.Context, it Item, key *recordKey) error {
	epoch, err := epochOf(it.Key)
	if err != nil || epoch != it.Epoch || !it.Label.Valid() {
		return errItem(it.ID)
	}
	id := KeyID{Level: it.Label.Level, Compartments: it.Label.Compartments, Epoch: epoch}
	err = b.ring.with(ctx, id, false, func(kek cipher.AEAD) error {
		return unwrapKey(key, kek, b.ring.instance, it.SealedRef, it.Key)
	})
	if err == errEnvelope { //nolint:errorlint // it is never wrapped
		return errItem(it.ID)
	}
	return err
}

// errItem is the error of an item that does not open.
func errItem(id string) error {
	return &fault.Error{
		Op: "vault.open", Kind: fault.Corrupt, Err: errEnvelope,
		Public: fmt.Sprintf("the item %q does not open under its id, label and version: it was altered, moved, relabelled or replayed; restore it from a backup", id),
	}
}
