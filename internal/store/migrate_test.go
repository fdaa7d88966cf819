package store_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// version1 makes the database that a version 1 of the schema left: a dump of
// one that was written by it, with a call in flight, and the key it was signed
// with, which signs nothing else.
func version1(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	script, err := os.ReadFile("testdata/version1.sql")
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile("testdata/version1.key")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keys", "log.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	alter(t, dir, string(script))
	return dir
}

func TestMigrateVersion1(t *testing.T) {
	dir := version1(t)
	ctx := t.Context()
	s := open(t, dir)
	if note, ok, err := s.Memory(ctx, "bob", internalForeign); note != "the note" || !ok || err != nil {
		t.Errorf("memory %q %t %v", note, ok, err)
	}
	if snap := snapshot(t, s, "bob", "c1"); snap.Bits != 0 || snap.Context != internalForeign {
		t.Errorf("%+v", snap)
	}
	old, err := s.Costs(ctx, store.ByModel, time.Time{})
	if d := cmp.Diff([]store.CostRow{{Key: "anthropic/m", Calls: 1, Cost: 321}}, old); d != "" || err != nil {
		t.Errorf("%s %v", d, err)
	}
	// The call in flight knows nothing of allowances.
	flying, err := s.Recover(ctx)
	if err != nil || len(flying) != 1 || flying[0].Reserved != 77 {
		t.Fatalf("%+v %v", flying, err)
	}
	if spent, reserved, err := s.Budget(ctx, "bob"); spent != 321+77 || reserved != 0 || err != nil {
		t.Errorf("spent %d, reserved %d %v", spent, reserved, err)
	}
	in := intent(t, s, action.ModelCall, "bob", "c1", 5, 1000)
	in.Reserve.Also = []record.Allowance{{Account: "day:2026-11-21", Limit: 10}}
	r, err := s.Intend(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(ctx, record.Outcome{Intent: r.ID, Status: record.Done, Result: record.Result{Cost: 4}}); err != nil {
		t.Fatal(err)
	}
	if spent, reserved, err := s.Budget(ctx, "day:2026-11-21"); spent != 4 || reserved != 0 || err != nil {
		t.Errorf("spent %d, reserved %d %v", spent, reserved, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := checkAll(t, dir); err != nil {
		t.Fatal(err)
	}
}
