package app

import (
	"strings"
	"testing"

	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// TestHalfAnItemCanBeErased: of an item of which one of its two rows is missing,
// as after tampering or by a program before this one, the other can be erased,
// and the check says so until then.
func TestHalfAnItemCanBeErased(t *testing.T) {
	for name, missing := range map[string]string{"sealed alone": "objects", "described alone": "sealed_items"} {
		t.Run(name, func(t *testing.T) {
			a := atDesk(t, agency)
			put(t, a, "plan", "confidential", canary)
			key, _ := wrappedKey(t, a, "plan")
			sqlOn(t, a, `DELETE FROM `+missing+` WHERE id='plan'`)
			if _, faults, err := a.CheckItems(t.Context()); err != nil || len(faults) != 1 {
				t.Errorf("the check found %v, %v", faults, err)
			}
			if data, _, err := a.GetItem(t.Context(), "plan"); err == nil || data != nil {
				t.Errorf("half an item was read: %q", data)
			}
			if missing == "objects" {
				if err := a.EraseItem(t.Context(), "plan", "", nil); !fault.Is(err, fault.Denied) {
					t.Errorf("erased without a signature: %v", err)
				}
			}
			if err := a.EraseItem(t.Context(), "plan", "", yes); err != nil {
				t.Fatal(err)
			}
			if n, faults, err := a.CheckItems(t.Context()); n != 0 || len(faults) != 0 || err != nil {
				t.Errorf("after the erasure: %d, %v, %v", n, faults, err)
			}
			if found := holding(t, a.Paths.Home, key); missing == "objects" && len(found) > 0 {
				t.Errorf("the wrapped key is still in %v", found)
			}
			if err := a.EraseItem(t.Context(), "plan", "", yes); !fault.Is(err, fault.NotFound) {
				t.Errorf("erased again: %v", err)
			}
		})
	}
}

// TestNotesAreNoOrphans: a sealed session note is described by its slot.
func TestNotesAreNoOrphans(t *testing.T) {
	a := atDesk(t, agency)
	b := benchOf(t, a, nil)
	r, err := a.newReadable(b.desk.rows)
	if err != nil {
		t.Fatal(err)
	}
	m := memory{&engine{app: a, store: r, desk: b.desk}}
	slot := label.New(label.Secret, label.Member, 1)
	if err := m.SaveMemory(t.Context(), "chief", canary, slot, slot); err != nil {
		t.Fatal(err)
	}
	page, err := b.desk.room.book.Items(t.Context(), "", 9)
	if err != nil || len(page) != 1 || !isMemory(page[0].ID) {
		t.Fatalf("sealed %v, %v", page, err)
	}
	if _, faults, err := a.CheckItems(t.Context()); err != nil || len(faults) != 0 {
		t.Errorf("the check found %v, %v", faults, err)
	}
	if err := a.EraseItem(t.Context(), page[0].ID, "", yes); !fault.Is(err, fault.NotFound) {
		t.Errorf("a note was erased from its slot: %v", err)
	}
}

// TestErasedMailIsGone: with a message goes what the list says of it.
func TestErasedMailIsGone(t *testing.T) {
	a := atDesk(t, agency)
	b := benchOf(t, a, nil)
	fork(t, b, "scout", "y", member, label.Label{})
	if err := send(t, b, "scout", "y", "chief", "edge", "hello"); err != nil {
		t.Fatal(err)
	}
	rows, err := b.desk.rows.Messages(t.Context(), "chief", "edge", 2)
	if err != nil || len(rows) != 1 || rows[0].Made != member {
		t.Fatalf("sent %+v, %v", rows, err)
	}
	if err := a.EraseItem(t.Context(), rows[0].ID, "", yes); err != nil {
		t.Fatal(err)
	}
	fork(t, b, "chief", "x", member, label.New(label.Secret, label.Foreign, 2))
	if res, err := agentRead(t, b, "chief", "x", "mail/chief/edge", "yes"); err != nil || !strings.Contains(res.Output, "no messages") {
		t.Errorf("the list says %q, %v", res.Output, err)
	}
}
