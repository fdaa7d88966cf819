package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"sallyport/internal/action"
	"sallyport/internal/audit"
	"sallyport/internal/fault"
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

// prove looks the entries of events up and verifies them: each is under the root
// of the newest checkpoint, and its commitment opens to exactly the event's row.
// An error tells only that the log could not be read.
func (x *explainer) prove(ctx context.Context, rows []store.EventRow) ([]proven, error) {
	size, note, err := x.st.Latest(ctx)
	if err != nil {
		return nil, err
	}
	problem := ""
	cp, err := audit.OpenCheckpoint(note, x.app.Signer().Verifier())
	if err != nil || cp.Size != size {
		problem = "the newest checkpoint is not one that this instance signed"
	}
	out := make([]proven, len(rows))
	for i, r := range rows {
		e := &out[i]
		e.row = r
		e.place = LogPlace{Leaf: r.Leaf, Checkpoint: cp.Size, Root: base64.StdEncoding.EncodeToString(cp.Root[:]), Problem: problem}
		if problem == "" {
			if e.place.Problem, err = x.verify(ctx, e, cp); err != nil {
				return nil, err
			}
		}
		e.place.Verified = e.place.Problem == ""
	}
	return out, nil
}

// verify proves one event; it gives the problem, if there is one.
func (x *explainer) verify(ctx context.Context, e *proven, cp audit.Checkpoint) (problem string, err error) {
	raw, opened, err := x.st.Entry(ctx, e.row.Leaf)
	if fault.Is(err, fault.NotFound) || err == nil && e.row.Leaf >= cp.Size {
		return fmt.Sprintf("entry %d is not among the %d that the newest checkpoint covers", e.row.Leaf, cp.Size), nil
	}
	if err != nil {
		return "", err
	}
	proof, err := audit.Inclusion(cp.Size, e.row.Leaf, func(leaf int64, level int) (audit.Hash, error) { return x.st.TreeHash(ctx, leaf, level) })
	if err != nil && !fault.Is(err, fault.Corrupt) {
		return "", err
	}
	if err != nil || audit.CheckInclusion(proof, cp.Size, cp.Root, e.row.Leaf, raw) != nil {
		return fmt.Sprintf("entry %d is not under the root that the newest checkpoint signs", e.row.Leaf), nil
	}
	if problem := e.include(raw); problem != "" {
		return problem, nil
	}
	return e.open(opened), nil
}

// include reads the entry, which is under the checkpoint's root; it gives the
// problem, if there is one.
func (e *proven) include(raw []byte) string {
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
