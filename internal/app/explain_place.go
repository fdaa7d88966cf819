package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"sallyport/internal/action"
	"sallyport/internal/audit"
	"sallyport/internal/store"
)

// LogPlace is where an event stands in the verifiable log, and what could be
// verified of it.
type LogPlace struct {
	Leaf       int64  `json:"leaf"`
	Kind       string `json:"kind,omitempty"`       // intent, deny, outcome or event, as it was hashed
	Hash       string `json:"hash,omitempty"`       // of the entry, base64
	Checkpoint int64  `json:"checkpoint,omitempty"` // entries under the newest signed checkpoint
	Root       string `json:"root,omitempty"`       // that it signs, base64
	Included   bool   `json:"included"`             // the entry is under that root
	Row        bool   `json:"row_verified"`         // the event says what the entry committed to
	Erased     bool   `json:"erased,omitempty"`     // its content and what opened the commitment are gone
	Verified   bool   `json:"verified"`             // included, and the row is verified or erased
	Problem    string `json:"problem,omitempty"`    // why it does not verify
}

// proven is an event with what the log says about it.
type proven struct {
	row    store.EventRow
	place  LogPlace
	leaf   audit.Leaf // zero unless included
	digest []byte     // of the action, nil if the entry has none or it was erased
}

// prove looks the entries of events up and verifies them: the tree of all
// entries has the root of the newest checkpoint, and the commitment of each
// opens to exactly the event's row. An error tells only that the log could not
// be read.
func (x *explainer) prove(ctx context.Context, rows []store.EventRow) ([]proven, error) {
	out := make([]proven, len(rows))
	for i, r := range rows {
		out[i] = proven{row: r, place: LogPlace{Leaf: r.Leaf}}
	}
	size, note, err := x.st.Latest(ctx)
	if err != nil {
		return nil, err
	}
	raw, root, err := x.tree(ctx, size, rows)
	if err != nil {
		return nil, err
	}
	problem := ""
	cp, err := audit.OpenCheckpoint(note, x.app.Signer().Verifier())
	switch {
	case err != nil || cp.Size != size:
		problem = "the newest checkpoint is not one that this instance signed"
	case root != cp.Root:
		problem = "the stored entries do not have the root that the newest checkpoint signs"
	}
	opened, err := x.openings(ctx, rows)
	if err != nil {
		return nil, err
	}
	for i := range out {
		e := &out[i]
		e.place.Checkpoint, e.place.Root = cp.Size, base64.StdEncoding.EncodeToString(cp.Root[:])
		if e.place.Problem = problem; problem == "" {
			e.place.Problem = e.include(raw[e.row.Leaf], size)
		}
		if e.place.Included {
			e.place.Problem = e.open(opened[e.row.Leaf])
		}
		e.place.Verified = e.place.Problem == ""
	}
	return out, nil
}

// tree computes the root over the first size entries and gives those of rows.
func (x *explainer) tree(ctx context.Context, size int64, rows []store.EventRow) (raw map[int64][]byte, root audit.Hash, err error) {
	raw = map[int64][]byte{}
	var peaks []audit.Hash
	next := int64(0)
	err = x.st.Entries(ctx, size, false, func(seq int64, leaf, _ []byte, _ map[string][2][]byte) error {
		if seq != next {
			return nil // one is missing: the root will not fit
		}
		if slices.ContainsFunc(rows, func(r store.EventRow) bool { return r.Leaf == seq }) {
			raw[seq] = bytes.Clone(leaf)
		}
		_, grown, err := audit.Grow(next, peaks, leaf)
		peaks, next = grown, next+1
		return err
	})
	return raw, audit.Root(peaks), err
}

// openings gives what opens the commitments of the entries of rows.
func (x *explainer) openings(ctx context.Context, rows []store.EventRow) (map[int64]map[string][2][]byte, error) {
	out, last := map[int64]map[string][2][]byte{}, int64(-1)
	for _, r := range rows {
		last = max(last, r.Leaf)
	}
	err := x.st.Entries(ctx, last+1, true, func(seq int64, _, _ []byte, o map[string][2][]byte) error {
		if slices.ContainsFunc(rows, func(r store.EventRow) bool { return r.Leaf == seq }) {
			out[seq] = o
		}
		return nil
	})
	return out, err
}

// include reads the entry, which is under the checkpoint's root; it gives the
// problem, if there is one.
func (e *proven) include(raw []byte, size int64) string {
	if raw == nil {
		return fmt.Sprintf("entry %d is not among the %d that the newest checkpoint covers", e.row.Leaf, size)
	}
	leaf, err := audit.ParseLeaf(raw)
	if err != nil || leaf.Seq != e.row.Leaf {
		return fmt.Sprintf("entry %d cannot be read", e.row.Leaf)
	}
	stored, _, err := audit.Grow(0, nil, raw) // the hash of an entry is the root of a tree of one
	if err != nil {
		return fmt.Sprintf("entry %d cannot be hashed", e.row.Leaf)
	}
	e.leaf = leaf
	e.place.Kind, e.place.Included, e.place.Hash = leaf.Kind, true, base64.StdEncoding.EncodeToString(stored[0][:])
	return ""
}

// digestValue names the commitment to an action's digest.
const digestValue = "action"

// open compares the row with what its entry committed to.
func (e *proven) open(opened map[string][2][]byte) string {
	if opened == nil {
		if e.place.Erased = isErased(e.row); !e.place.Erased {
			return "what opens its commitment is gone, but the event does not say that it was erased"
		}
		return ""
	}
	row := e.row
	want, err := action.Canonical([]string{
		row.Time.UTC().Format("2006-01-02 15:04:05.000"), row.Type, row.Agent, row.Session, row.Channel, row.Level, string(row.Data),
	})
	salted := opened[audit.RowValue]
	if err != nil || !bytes.Equal(salted[1], want) || audit.Commit(audit.RowValue, salted[0], salted[1]) != e.leaf.Commit[audit.RowValue] {
		return "the event was changed: its entry in the log committed to another text"
	}
	e.place.Row = true
	if d, ok := opened[digestValue]; ok {
		if audit.Commit(digestValue, d[0], d[1]) != e.leaf.Commit[digestValue] {
			return "the action's digest was changed: its entry in the log committed to another"
		}
		e.digest = bytes.Clone(d[1])
	}
	return ""
}

func isErased(row store.EventRow) bool {
	var m struct {
		Erased bool `json:"erased"`
	}
	return json.Unmarshal(row.Data, &m) == nil && m.Erased
}
