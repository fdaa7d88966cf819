package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// eraser stores and erases items until it is killed. It prints each before and
// after it erases it.
func eraser(s *store.Store) error {
	ctx, b := context.Background(), s.Vault()
	if err := b.SetState(ctx, record.SealedState{}, firstState, nil); err != nil && !fault.Is(err, fault.Conflict) {
		return err
	}
	run := time.Now().UnixNano()
	for i := 0; ; i++ {
		doomed, kept := sealed(fmt.Sprintf("%d-%d", run, i), 1, 1, 300+i%5000), sealed(fmt.Sprintf("%d-%d-kept", run, i), 1, 1, 300)
		for _, it := range []record.SealedItem{doomed, kept} {
			if err := b.PutItem(ctx, it); err != nil {
				return err
			}
		}
		fmt.Printf("kept %s %x\n", kept.ID, kept.Key)
		fmt.Printf("erasing %s %x\n", doomed.ID, doomed.Key)
		if err := b.Erase(ctx, doomed.ID, 1); err != nil {
			return err
		}
		fmt.Printf("erased %s %x\n", doomed.ID, doomed.Key)
	}
}

// TestKillDuringErase: what was said to be erased is gone from the files, what
// was being erased is either whole or gone after the next start, and nothing
// else is lost.
func TestKillDuringErase(t *testing.T) {
	dir := t.TempDir()
	keys(t, dir)
	kept, erased, erasing := map[string][]byte{}, map[string][]byte{}, map[string][]byte{}
	for k := range 10 {
		cmd, lines := startChild(t, dir, "erase")
		for n := 0; lines.Scan(); n++ {
			var what, id string
			var key []byte
			if c, _ := fmt.Sscanf(lines.Text(), "%s %s %x", &what, &id, &key); c != 3 || what == "error" {
				t.Fatalf("child: %s", lines.Text())
			}
			map[string]map[string][]byte{"kept": kept, "erased": erased, "erasing": erasing}[what][id] = key
			if n == 3+k*5 {
				must(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait()
		b := open(t, dir).Vault()
		for id, key := range erasing {
			it, err := b.Item(t.Context(), id)
			gone := fault.Is(err, fault.NotFound)
			if _, done := erased[id]; done && !gone || !gone && (err != nil || string(it.Key) != string(key)) {
				t.Errorf("%s is there: %v", id, err)
			}
			if left := found(t, dir, key); gone && left != nil {
				t.Errorf("%s is gone, but its key is left in %v", id, left)
			}
		}
		for id, key := range kept {
			if it, err := b.Item(t.Context(), id); err != nil || string(it.Key) != string(key) {
				t.Errorf("%s is lost: %v", id, err)
			}
		}
	}
	if len(erased) < 10 || len(kept) < 10 {
		t.Errorf("%d erased, %d kept: too few to show anything", len(erased), len(kept))
	}
	must(t, checkAll(t, filepath.Clean(dir)))
}
