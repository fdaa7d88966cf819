package store_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

const oldCanary = "canary-of-long-ago"

// history makes n old events with a canary in a few kilobytes each, and what
// retention must keep: an alert's event, an erasure, an intent in flight.
func history(t testing.TB, s *store.Store, n int) (kept []int64) {
	t.Helper()
	ctx := t.Context()
	fill(t, s, 5)
	id := func() int64 {
		t.Helper()
		last, err := s.LastEvent(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return last
	}
	for i := range n {
		text := strings.Repeat(oldCanary+" gone ", 1+i%200)
		if i == n/2-1 || i == n/2 {
			text = oldCanary + " kept"
		}
		if _, err := s.Append(ctx, record.Event{Type: "old", Agent: "ann-" + oldCanary, Data: map[string]any{"text": text}}); err != nil {
			t.Fatal(err)
		}
		if i == n/2 {
			if _, _, err := s.RaiseAlert(ctx, record.Alert{Rule: "r", FirstEvent: id() - 1, LastEvent: id()}); err != nil {
				t.Fatal(err)
			}
			kept = append(kept, id()-2, id()-1) // the alert's own event came after
		}
	}
	if err := s.Erase(ctx, id(), "op"); err != nil {
		t.Fatal(err)
	}
	kept = append(kept, id())
	if _, err := s.Intend(ctx, intent(t, s, action.Exec, "bob", "c1", 1, -1)); err != nil {
		t.Fatal(err)
	}
	return append(kept, id())
}

func ids(t testing.TB, s *store.Store, f store.Filter) (out []int64) {
	t.Helper()
	events, err := s.Events(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		out = append(out, e.ID)
	}
	return out
}

func TestRetain(t *testing.T) {
	dir := t.TempDir()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := begin
	s := open(t, dir, clock(&now))
	ctx := t.Context()
	const old = 700
	kept := history(t, s, old)
	total := len(ids(t, s, store.Filter{Limit: 5000}))
	now = begin.Add(31 * 24 * time.Hour)
	if _, err := s.Append(ctx, record.Event{Type: "new"}); err != nil {
		t.Fatal(err)
	}
	cutoff := now.Add(-30 * 24 * time.Hour)
	_, anchor, err := s.Latest(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(diskHas(t, dir, []byte(oldCanary))) == 0 {
		t.Fatal("there is nothing to remove")
	}
	before := size(t, s)
	if n, err := s.Retain(ctx, begin, 0); n != 0 || err != nil {
		t.Fatalf("removed %d that are not old: %v", n, err)
	}
	if n, err := s.Retain(ctx, cutoff, 100); n != 100 || err != nil {
		t.Fatalf("removed %d of at most 100: %v", n, err)
	}
	if n, err := s.Retain(ctx, cutoff, 0); n != total-100-len(kept) || err != nil {
		t.Fatalf("removed %d of %d: %v", n, total-100, err)
	}
	if d := cmp.Diff(kept, ids(t, s, store.Filter{Until: cutoff})); d != "" {
		t.Error(d)
	}
	if err := s.Forget(ctx, "agent", "ann-"+oldCanary); err != nil {
		t.Fatal(err)
	}
	if in := diskHas(t, dir, []byte(oldCanary+" gone")); len(in) > 0 {
		t.Errorf("%v hold what was removed", in)
	}
	if got := where(t, dir, oldCanary); got != "events.agent_id events.data" { // the alert's two events
		t.Errorf("what was removed is in %s", got)
	}
	if after := size(t, s); after > before/2 {
		t.Errorf("the file had %d bytes and has %d", before, after)
	}
	costs, err := s.Costs(ctx, store.ByAgent, time.Time{})
	if err != nil || len(costs) != 1 || costs[0].Calls != 5 {
		t.Errorf("costs %+v %v", costs, err)
	}
	checkRetained(t, s, dir, anchor, total-len(kept))
	if n, err := s.Retain(ctx, cutoff, 0); n != 0 || err != nil {
		t.Errorf("again %d: %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	alter(t, dir, fmt.Sprintf(`DELETE FROM openings WHERE event = %d; DELETE FROM events WHERE id = %[1]d`, kept[0]))
	if err := checkAll(t, dir); !fault.Is(err, fault.Corrupt) {
		t.Errorf("what was kept, amid what was removed, can be removed without a record: %v", err)
	}
}

// checkRetained verifies everything and reads the events that tell.
func checkRetained(t *testing.T, s *store.Store, dir string, anchor []byte, erased int) {
	t.Helper()
	r, err := verify(t, dir, export(t, s, dir, true), anchor)
	if err != nil || int(r.Erased) != erased || r.Anchors != 1 {
		t.Errorf("%+v, want %d erased: %v", r, erased, err)
	}
	if err := s.CheckTree(t.Context()); err != nil {
		t.Error(err)
	}
	events, err := s.Events(t.Context(), store.Filter{Types: []string{"retention.done"}})
	if err != nil || len(events) != 2 {
		t.Fatal(events, err)
	}
	var done struct {
		Before string
		Count  int
	}
	if err := json.Unmarshal(events[0].Data, &done); err != nil || done.Count != 100 || done.Before != "2026-01-02T00:00:00Z" {
		t.Errorf("%s %v", events[0].Data, err)
	}
}

// column lists what a column holds, given as table.column.
func column(t *testing.T, dir, name string) (out string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	table, col, _ := strings.Cut(name, ".")
	if err := db.QueryRowContext(t.Context(), `SELECT COALESCE(group_concat(x, ' '), '') FROM (SELECT "`+col+`" AS x FROM "`+table+`" ORDER BY 1)`).Scan(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func size(t testing.TB, s *store.Store) int64 {
	t.Helper()
	info, err := os.Stat(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestRetainSweeps: what is no event and serves no more goes too, what still
// serves stays.
func TestRetainSweeps(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := begin
	dir := t.TempDir()
	s := open(t, dir, clock(&now))
	ctx := t.Context()
	put := func(suffix string) {
		t.Helper()
		spawn(t, s, "bob", "c-"+suffix)
		d := action.Digest{suffix[0]}
		in := intent(t, s, action.ModelCall, "bob", "c-"+suffix, 1, -1)
		in.Reserve.Also = []record.Allowance{{Account: now.Format("day:2006-01-02"), Limit: -1}, {Account: "key:k", Limit: -1}}
		r, err := s.Intend(ctx, in)
		if err == nil {
			err = s.Settle(ctx, record.Outcome{Intent: r.ID, Status: record.Done, Result: record.Result{Cost: 1}})
		}
		var alert string
		if err == nil {
			alert, _, err = s.RaiseAlert(ctx, record.Alert{Rule: "ended-" + suffix, Sinks: []string{"log"}})
		}
		if err == nil {
			err = s.SetAlert(ctx, alert, record.AlertResolved, "", "op")
		}
		if err == nil {
			_, _, err = s.RaiseAlert(ctx, record.Alert{Rule: "alive-" + suffix, Sinks: []string{"log"}})
		}
		if err == nil {
			_, err = s.PutAsk(ctx, record.AskRow{ID: suffix, Digest: d, Expires: now.Add(time.Hour), Nonce: suffix, Payload: []byte("{}")})
		}
		if err == nil {
			err = s.PutStatement(ctx, d, []byte("{}"), record.StatementApprove)
		}
		if err == nil {
			err = s.SaveMemory(ctx, suffix, "note", internalForeign, internalForeign)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("old")
	now = begin.Add(40 * 24 * time.Hour)
	put("new")
	if _, err := s.Retain(ctx, now.Add(-24*time.Hour), 0); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]string{
		"alerts.rule": "alive-new alive-old ended-new", "deliveries.state": "pending pending pending", "asks.id": "new",
		"statements.kind": "approve", "memory.agent": "new", "allowances.account": "day:2026-02-10 key:k",
	} {
		if got := column(t, dir, table); got != want {
			t.Errorf("%s: %s, want %s", table, got, want)
		}
	}
	if err := checkAll(t, dir); err != nil {
		t.Fatal(err)
	}
}

// TestRetainAmongWriters removes while others write and read: nothing of theirs
// fails, and the log verifies.
func TestRetainAmongWriters(t *testing.T) {
	dir := t.TempDir()
	now := time.Now().Add(-48 * time.Hour)
	s := open(t, dir, clock(&now))
	history(t, s, 600)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, other := open(t, dir), open(t, dir) // as two processes would
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, w := range []*store.Store{s, s, other} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := w.Append(t.Context(), record.Event{Type: "new"}); err != nil {
					t.Error(err)
					return
				}
				if _, err := w.Events(t.Context(), store.Filter{Newest: true, Limit: 5}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	n, err := s.Retain(t.Context(), time.Now().Add(-24*time.Hour), 0)
	close(stop)
	wg.Wait()
	if n < 600 || (err != nil && !fault.Is(err, fault.Unavailable)) { // readers may hold the write-ahead log
		t.Errorf("removed %d: %v", n, err)
	}
	if err := checkAll(t, dir); err != nil {
		t.Fatal(err)
	}
}

// TestRetainVersion1: a file that cannot shrink is used again.
func TestRetainVersion1(t *testing.T) {
	dir := version1(t)
	begin := time.Now().Add(365 * 24 * time.Hour)
	now := begin
	s := open(t, dir, clock(&now))
	round := func() int64 {
		t.Helper()
		for range 300 {
			if _, err := s.Append(t.Context(), record.Event{Type: "old", Data: map[string]any{"text": strings.Repeat(oldCanary+" gone ", 200)}}); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(48 * time.Hour)
		if n, err := s.Retain(t.Context(), now.Add(-time.Hour), 0); n < 300 || err != nil {
			t.Fatal(n, err)
		}
		if in := diskHas(t, dir, []byte(oldCanary+" gone")); len(in) > 0 {
			t.Errorf("%v hold what was removed", in)
		}
		return size(t, s)
	}
	if first, again := round(), round(); again > first+first/4 {
		t.Errorf("%d bytes after the first history, %d after a second in place of it", first, again)
	}
	if err := checkAll(t, dir); err != nil {
		t.Fatal(err)
	}
}

// TestErasureOfTheFuture: a record of an erasure excuses nothing that comes
// after it, or whoever can write one event could hide all that follows.
func TestErasureOfTheFuture(t *testing.T) {
	for name, spans := range map[string][]any{"before": {[]any{1, 3}}, "after": {[]any{1, 1 << 40}}, "backwards": {[]any{3, 1}}, "no pair": {[]any{1}, 2, "3"}} {
		dir := t.TempDir()
		s := open(t, dir)
		fill(t, s, 2)
		if _, err := s.Append(t.Context(), record.Event{Type: "data.erase", Data: map[string]any{"erased_leaves": spans}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		alter(t, dir, `DELETE FROM events WHERE leaf IN (1, 3); DELETE FROM openings WHERE leaf IN (1, 3)`)
		if err := checkAll(t, dir); (err == nil) != (name == "before") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
