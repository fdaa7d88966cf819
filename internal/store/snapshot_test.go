package store_test

import (
	"sync"
	"testing"

	"sallyport/internal/record"
)

// TestFirstSnapshotsAtOnce: the first snapshots of a process, at once, must not
// wait for each other's readers.
func TestFirstSnapshotsAtOnce(t *testing.T) {
	for range 20 {
		s := open(t, t.TempDir())
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				if _, err := s.Snapshot(t.Context(), record.Scope{Agent: "bob", Session: "s", Context: "c"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}
