package store

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/audit"
	"sallyport/internal/record"
)

// TestAlertIndex finds events by their alert through the index that leaves the
// usual ones out, whatever else stands in their data, and also those of rows
// from before, whose data begin otherwise.
func TestAlertIndex(t *testing.T) {
	dir := t.TempDir()
	k, err := audit.OpenKeys(filepath.Join(dir, "keys"), "i")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{Dir: dir, Tree: k, Instance: "i"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, e := range []record.Event{
		{Type: "plain"},
		{Type: "looks", Data: map[string]any{"a": `{"alert":"suspicious"}`, "advice": 1}},
		{Type: "bad", Alert: "dangerous", Data: map[string]any{"advice": 1}},
		{Type: "odd", Alert: "suspicious"},
	} {
		if _, err := s.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	err = s.do(t.Context(), "test", func(t *tx) error {
		_, err := t.exec(`INSERT INTO events (timestamp, event_type, channel, level, data, leaf) VALUES
			('2026-01-01 00:00:00.000', 'old', 'X', 'info', '{"a":1,"alert":"none"}', 9), ('2026-01-01 00:00:00.000', 'oldbad', 'X', 'info', '{"a":1,"alert":"dangerous"}', 9)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for alert, want := range map[string]string{"any": "bad odd oldbad", "dangerous": "bad oldbad", "suspicious": "odd", "": "plain looks bad odd old oldbad"} {
		f := Filter{Alert: alert}
		events, err := s.Events(t.Context(), f)
		var got []string
		for _, e := range events {
			got = append(got, e.Type)
		}
		if d := cmp.Diff(want, strings.Join(got, " ")); d != "" || err != nil {
			t.Errorf("%q: %s %v", alert, d, err)
		}
		if plan := plan(t, s, f); (alert == "dangerous" || alert == "suspicious") && !strings.Contains(plan, "events_alert") {
			t.Errorf("%q is looked up by %s", alert, plan)
		}
	}
}

func plan(t *testing.T, s *Store, f Filter) string {
	t.Helper()
	where, args := f.where()
	var out strings.Builder
	rows, err := s.read.QueryContext(context.Background(), `EXPLAIN QUERY PLAN SELECT data FROM events`+where+` ORDER BY id`, args...)
	if err == nil {
		defer rows.Close()
		for rows.Next() {
			var a, b, c int
			var detail string
			err = rows.Scan(&a, &b, &c, &detail)
			out.WriteString(detail)
		}
	}
	if err != nil || rows.Err() != nil {
		t.Fatal(err)
	}
	return out.String()
}
