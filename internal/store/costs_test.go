package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// TestCosts: tokens and money by every grouping, a free call with tokens among
// them, one without either not; revoked keys keep their name.
func TestCosts(t *testing.T) {
	now := time.Date(2026, 5, 1, 23, 0, 0, 0, time.UTC)
	s := open(t, t.TempDir(), clock(&now))
	ctx := t.Context()
	spawn(t, s, "bob", "c1")
	k := apiKey("k1", "build")
	k.Expires = now.Add(48 * time.Hour)
	if err := s.PutKey(ctx, k, "op"); err != nil {
		t.Fatal(err)
	}
	call := func(model, key string, cost record.Micros, usage map[string]any) {
		t.Helper()
		in := intent(t, s, action.ModelCall, "bob", "c1", cost, -1)
		in.Action.Target, in.Reserve.Key = model, key
		r, err := s.Intend(ctx, in)
		if err == nil {
			err = s.Settle(ctx, record.Outcome{Intent: r.ID, Status: record.Done, Result: record.Result{Cost: cost, Data: map[string]any{"usage": usage}}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	full := map[string]any{"input_tokens": int64(10), "output_tokens": int64(20), "cache_read_tokens": int64(30), "cache_write_tokens": 40, "reasoning_tokens": 5.0}
	call("a/one", "k1", 100, full)
	call("a/one", "", 7, nil)
	call("builtin/x", "", 0, nil)
	now = now.Add(2 * time.Hour)
	call("local/two", "k1", 0, map[string]any{"input_tokens": 3})
	if err := s.RevokeKey(ctx, "k1", "op"); err != nil {
		t.Fatal(err)
	}
	one := store.CostRow{Calls: 1, Cost: 100, Input: 10, Output: 20, CacheRead: 30, CacheWrite: 40, Reasoning: 5}
	row := func(key string, calls int, cost record.Micros, input int64) store.CostRow {
		r := one
		r.Key, r.Calls, r.Cost, r.Input = key, calls, cost, input
		return r
	}
	for by, want := range map[string][]store.CostRow{
		store.ByAgent: {row("bob", 3, 107, 13)},
		store.ByModel: {row("a/one", 2, 107, 10), {Key: "local/two", Calls: 1, Input: 3}},
		store.ByKey:   {row("build", 2, 100, 13), {Calls: 1, Cost: 7}},
		store.ByDay:   {row("2026-05-01", 2, 107, 10), {Key: "2026-05-02", Calls: 1, Input: 3}},
	} {
		got, err := s.Costs(ctx, by, time.Time{})
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %s %v", by, d, err)
		}
	}
	if got, err := s.Costs(ctx, store.ByDay, now); err != nil || len(got) != 1 {
		t.Errorf("since: %+v %v", got, err)
	}
}
