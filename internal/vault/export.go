package vault

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
)

// MaxExport is the most bytes one export holds before it is sealed.
const MaxExport = 256 << 20

// exportHead begins the plain form of an export, which goes on with the
// exporting instance and the number of items, then id, label, version and data
// of each, all as length-prefixed fields.
const exportHead = "sallyport vault export 1"

// maxLabelText is in bytes: 64 compartments with long names.
const maxLabelText = 8192

// Exported is an item as an export tells it. Anybody can seal to a recipient, so
// all of it is the sender's claim: the integrity is always Foreign.
type Exported struct {
	ID      string
	Label   label.Label
	Version uint64
	Data    []byte
}

// Export opens the items for who and seals them to the recipients. Compartments
// are written by the names of scheme, since their numbers mean nothing to
// another instance. Nothing is written unless every item may be exported.
func (v *Vault) Export(ctx context.Context, who principal.Principal, w io.Writer, scheme label.Scheme, ids []string, to ...Recipient) error {
	refs, bodies, size := make([]Ref, 0, len(ids)), make([][]byte, 0, len(ids)), 1024
	defer func() {
		for _, data := range bodies {
			clear(data)
		}
	}()
	for _, id := range ids {
		data, r, err := v.open(ctx, "vault.export", Request{Who: who, Use: Export, Item: Ref{ID: id}})
		if err != nil {
			return err
		}
		refs, bodies = append(refs, r), append(bodies, data)
		if size += len(data) + len(r.ID) + len(scheme.Format(r.Label)) + 20; size > MaxExport {
			return fault.New("vault.export", fault.Usage, "an export holds at most %d MiB; export fewer items at once", MaxExport>>20)
		}
	}
	plain := appendField(make([]byte, 0, size), exportHead) // grown, it would leave copies behind
	defer func() { clear(plain) }()
	plain = appendUint64(appendField(plain, v.ring.instance), uint64(len(ids)))
	for i, r := range refs {
		plain = appendField(appendField(plain, r.ID), scheme.Format(r.Label))
		plain = appendField(appendUint64(plain, r.Version), bodies[i])
	}
	return sealTo(w, plain, to)
}

// OpenExport reads an export that was sealed to identity, whole or not at all.
// from is the instance that it claims to come from. A compartment that scheme
// does not name is fault.Config: an unknown compartment must not be lost. The
// caller puts the items, as new ones, through the gate like any foreign data.
func OpenExport(r io.Reader, scheme label.Scheme, identity Identity) (from string, items []Exported, err error) {
	plain, err := openFrom(r, identity, MaxExport)
	if err != nil {
		return "", nil, err
	}
	from, items, err = parseExport(plain, scheme)
	if err != nil {
		return "", nil, err
	}
	return from, items, nil
}

var errExport = errors.New("its fields do not have the form of an export")

// parseExport reads the plain form; the data of the items lies in plain.
func parseExport(plain []byte, scheme label.Scheme) (from string, items []Exported, err error) {
	const op = "vault.open_export"
	p := fields{rest: plain}
	ok := string(p.next(64)) == exportHead
	from = string(p.next(maxID))
	count := p.uint64()
	seen := map[string]bool{}
	for range count { // as many as it claims, or until one is not there
		if !ok || p.bad {
			break
		}
		it := Exported{ID: string(p.next(maxID))}
		text := string(p.next(maxLabelText))
		it.Version = p.uint64()
		it.Data = p.next(MaxBody)
		if p.bad || it.Version == 0 || !validID(it.ID) || seen[it.ID] {
			p.bad = true
			break
		}
		if it.Label, err = scheme.Parse(text); err != nil {
			return "", nil, &fault.Error{Op: op, Kind: fault.Config, Err: err, Public: "a label of the export is not one of this instance; configure its compartments under the same names first"}
		}
		it.Label.Integrity = label.Foreign
		seen[it.ID] = true
		items = append(items, it)
	}
	if !ok || p.bad || len(p.rest) != 0 || !validID(from) {
		return "", nil, &fault.Error{Op: op, Kind: fault.Corrupt, Err: errExport, Public: "the sealed file is no export of a vault; name the right file"}
	}
	return from, items, nil
}

// fields reads length-prefixed fields; bad stays set after the first that is
// not there.
type fields struct {
	rest []byte
	bad  bool
}

// next gives the next field of at most limit bytes, a slice of what is read.
func (f *fields) next(limit int) []byte {
	if f.bad || len(f.rest) < 4 {
		f.bad = true
		return nil
	}
	n := uint64(binary.BigEndian.Uint32(f.rest))
	if n > uint64(limit) || n > uint64(len(f.rest)-4) { //nolint:gosec // G115: neither is negative
		f.bad = true
		return nil
	}
	out := f.rest[4 : 4+n : 4+n]
	f.rest = f.rest[4+n:]
	return out
}

func (f *fields) uint64() uint64 {
	b := f.next(8)
	if len(b) != 8 {
		f.bad = true
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
