package store_test

import (
	"testing"

	"sallyport/internal/audit"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// TestEntryIsProven: each entry of logs of different sizes is proven against
// the newest checkpoint with the hashes that are stored.
func TestEntryIsProven(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for n := range int64(9) {
		if _, err := s.Append(t.Context(), record.Event{Type: "x", Data: map[string]any{"n": n}}); err != nil {
			t.Fatal(err)
		}
		size, note, err := s.Latest(t.Context())
		if err != nil || size != n+1 {
			t.Fatal(size, err)
		}
		_, root, err := keys(t, dir).Check(note)
		if err != nil {
			t.Fatal(err)
		}
		for seq := range size {
			leaf, opened, err := s.Entry(t.Context(), seq)
			if err != nil || len(opened) != 1 {
				t.Fatal(opened, err)
			}
			proof, err := audit.Inclusion(size, seq, func(leaf int64, level int) (audit.Hash, error) { return s.TreeHash(t.Context(), leaf, level) })
			if err != nil {
				t.Fatal(err)
			}
			if err := audit.CheckInclusion(proof, size, root, seq, leaf); err != nil {
				t.Errorf("entry %d of %d: %v", seq, size, err)
			}
		}
	}
	if _, _, err := s.Entry(t.Context(), 9); !fault.Is(err, fault.NotFound) {
		t.Errorf("an entry that is not there: %v", err)
	}
	for seq, level := range map[int64]int{9: 0, 2: 1} { // entry 2 completes none
		if _, err := s.TreeHash(t.Context(), seq, level); !fault.Is(err, fault.Corrupt) {
			t.Errorf("entry %d, level %d: %v", seq, level, err)
		}
	}
}
