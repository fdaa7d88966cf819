package store_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

func apiKey(id, name string) record.APIKey {
	k := record.APIKey{
		ID: id, Name: name, Agent: "bob", Role: "agent,metrics", Client: "codex", Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond),
		Ceiling: label.New(label.Internal, label.Foreign, 0), LimitMicros: -1, DayMicros: 5, RequestsPerMinute: 60, TokensPerMinute: 1000,
	}
	copy(k.Hash[:], "hash-of-"+id)
	return k
}

// diskHas reports which of the database's files hold some bytes.
func diskHas(t testing.TB, dir string, what []byte) (in []string) {
	t.Helper()
	for _, f := range []string{"state.db", "state.db-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if bytes.Contains(b, what) {
			in = append(in, f)
		}
	}
	return in
}

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	s, other := open(t, dir), open(t, dir) // as two processes would
	ctx := t.Context()
	k := apiKey("k1", "build")
	rev := func() int64 {
		t.Helper()
		n, err := other.KeysRevision(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := rev()
	if err := s.PutKey(ctx, k, "op"); err != nil {
		t.Fatal(err)
	}
	made := rev()
	got, err := other.KeyByHash(ctx, k.Hash)
	if err != nil || got.Created.IsZero() || !got.Live(time.Now()) || !got.Has("metrics") || got.Has("ingest") || got.Has("") {
		t.Fatalf("%+v %v", got, err)
	}
	got.Created = time.Time{}
	if d := cmp.Diff(k, got); d != "" {
		t.Error(d)
	}
	_, err = s.KeyByHash(ctx, [32]byte{9})
	wantKind(t, err, fault.NotFound, "no such API key")
	for _, again := range []record.APIKey{apiKey("k1", "other"), apiKey("k2", "build"), {ID: "k3", Name: "x", Hash: k.Hash, Role: "agent", Expires: k.Expires}} {
		wantKind(t, s.PutKey(ctx, again, "op"), fault.Conflict, "already")
	}
	if err := s.RevokeKey(ctx, "k1", "op"); err != nil {
		t.Fatal(err)
	}
	if ended := rev(); before >= made || made >= ended {
		t.Errorf("revisions %d, %d, %d", before, made, ended)
	}
	wantKind(t, s.RevokeKey(ctx, "k1", "op"), fault.Conflict, "before")
	wantKind(t, s.RevokeKey(ctx, "k9", "op"), fault.NotFound, "k9")
	if got, err = other.KeyByHash(ctx, k.Hash); err != nil || got.Live(time.Now()) {
		t.Errorf("revoked: %+v %v", got, err)
	}
	if err := s.PutKey(ctx, apiKey("k2", "build"), "op"); err != nil { // the name is free again
		t.Fatal(err)
	}
	if all, err := s.Keys(ctx); err != nil || len(all) != 2 || all[0].ID != "k1" {
		t.Errorf("%+v %v", all, err)
	}
	events, err := s.Events(ctx, store.Filter{Types: []string{"key.*"}})
	if err != nil || len(events) != 3 || events[0].Type != "key.created" || events[1].Type != "key.revoked" {
		t.Fatalf("%v %v", events, err)
	}
	for _, e := range events {
		if bytes.Contains(e.Data, []byte("hash")) {
			t.Errorf("%s", e.Data)
		}
	}
	if err := checkAll(t, dir); err != nil {
		t.Fatal(err)
	}
}

func TestBadKeys(t *testing.T) {
	s := open(t, t.TempDir())
	for name, change := range map[string]func(*record.APIKey){
		"lower-case": func(k *record.APIKey) { k.ID = "a:b" }, "1 to 64": func(k *record.APIKey) { k.ID = "" }, "a name": func(k *record.APIKey) { k.Name = "" },
		"by its hash": func(k *record.APIKey) { k.Hash = [32]byte{} }, "expires": func(k *record.APIKey) { k.Expires = time.Time{} },
		`"root"`: func(k *record.APIKey) { k.Role = "agent,root" }, `role ""`: func(k *record.APIKey) { k.Role = "" },
		"not negative": func(k *record.APIKey) { k.RequestsPerMinute = -1 },
	} {
		k := apiKey("k1", "build")
		change(&k)
		wantKind(t, s.PutKey(t.Context(), k, "op"), fault.Usage, name)
	}
}

// TestTouchKey: the last use is exact to the minute and no event.
func TestTouchKey(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	if err := s.PutKey(ctx, apiKey("k1", "build"), "op"); err != nil {
		t.Fatal(err)
	}
	last, err := s.LastEvent(ctx)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().UTC().Truncate(time.Microsecond)
	for _, tc := range []struct{ after, want time.Duration }{{0, 0}, {59 * time.Second, 0}, {time.Minute, time.Minute}, {90 * time.Second, time.Minute}} {
		if err := s.TouchKey(ctx, "k1", begin.Add(tc.after)); err != nil {
			t.Fatal(err)
		}
		if ks, err := s.Keys(ctx); err != nil || !ks[0].LastUsed.Equal(begin.Add(tc.want)) {
			t.Errorf("after %s: %s, want %s (%v)", tc.after, ks[0].LastUsed.Sub(begin), tc.want, err)
		}
	}
	if now, err := s.LastEvent(ctx); now != last || err != nil {
		t.Errorf("a use is an event: %d, before %d %v", now, last, err)
	}
}

// TestEndedKeyIntends: whatever a process remembers of a key, the ledger does
// not let one act that was revoked, has expired or never was.
func TestEndedKeyIntends(t *testing.T) {
	now := time.Now()
	s := open(t, t.TempDir(), clock(&now))
	spawn(t, s, "bob", "c1")
	if err := s.PutKey(t.Context(), apiKey("k1", "build"), "op"); err != nil {
		t.Fatal(err)
	}
	use := func(key string) error {
		in := intent(t, s, action.ModelCall, "bob", "c1", 1, -1)
		in.Reserve.Key = key
		_, err := s.Intend(t.Context(), in)
		return err
	}
	if err := use("k1"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, use("k2"), fault.Denied, "API key k2")
	now = now.Add(2 * time.Hour)
	wantKind(t, use("k1"), fault.Denied, "expired")
	now = now.Add(-2 * time.Hour)
	if err := s.RevokeKey(t.Context(), "k1", "op"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, use("k1"), fault.Denied, "revoked")
}

func TestAlerts(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ctx := t.Context()
	begin := time.Now().UTC().Truncate(time.Microsecond)
	a := record.Alert{Rule: "denials", Subject: "bob", Severity: 3, Title: "five", Agent: "bob", Session: "s", Opened: begin, FirstEvent: 4, LastEvent: 8, Sinks: []string{"mail", "log"}}
	raise := func(a record.Alert, want bool) string {
		t.Helper()
		id, created, err := s.RaiseAlert(ctx, a)
		if err != nil || created != want {
			t.Fatal(id, created, err)
		}
		return id
	}
	id := raise(a, true)
	later := a
	later.Severity, later.Title, later.Updated, later.FirstEvent, later.LastEvent, later.Sinks = 4, "six", begin.Add(time.Second), 9, 9, nil
	if again := raise(later, false); again != id {
		t.Errorf("another alert %s beside %s", again, id)
	}
	other := a
	other.Subject, other.Sinks = "eve", nil
	raise(other, true)
	got, err := s.Alert(ctx, id)
	want := record.Alert{
		ID: id, Rule: "denials", Severity: 4, State: record.AlertOpen, Title: "six", Subject: "bob", Agent: "bob", Session: "s",
		Opened: begin, Updated: begin.Add(time.Second), Count: 2, FirstEvent: 4, LastEvent: 9,
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%s %v", d, err)
	}
	if err := s.SetAlert(ctx, id, record.AlertAcknowledged, "looking", "op"); err != nil {
		t.Fatal(err)
	}
	if again := raise(later, false); again != id { // still alive
		t.Errorf("another alert %s beside %s", again, id)
	}
	wantKind(t, s.SetAlert(ctx, id, record.AlertOpen, "", "op"), fault.Conflict, "cannot become")
	if err := s.SetAlert(ctx, id, record.AlertFalsePositive, "a test", "op"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.SetAlert(ctx, id, record.AlertResolved, "", "op"), fault.Conflict, "false_positive")
	wantKind(t, s.SetAlert(ctx, "zz", record.AlertResolved, "", "op"), fault.NotFound, "zz")
	if next := raise(a, true); next == id {
		t.Error("an ended alert counts up")
	}
	for want, f := range map[int]store.AlertFilter{
		3: {}, 2: {States: []string{record.AlertOpen, record.AlertAcknowledged}}, 1: {States: []string{record.AlertFalsePositive}, Rule: "denials", Agent: "bob"},
		0: {Agent: "nobody"},
	} {
		if as, err := s.Alerts(ctx, f); err != nil || len(as) != want {
			t.Errorf("%+v: %d alerts, want %d (%v)", f, len(as), want, err)
		}
	}
	var types []string
	events, err := s.Events(ctx, store.Filter{Types: []string{"alert.*"}})
	for _, e := range events {
		types = append(types, strings.TrimPrefix(e.Type, "alert."))
		if !bytes.Contains(e.Data, []byte(`"alert":"none"`)) {
			t.Errorf("an alert about an alert: %s", e.Data)
		}
	}
	if got := strings.Join(types, " "); got != "raised repeated raised acknowledged repeated false_positive raised" || err != nil {
		t.Errorf("events %s %v", got, err)
	}
	if err := checkAll(t, dir); err != nil {
		t.Fatal(err)
	}
}

func TestDeliveries(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	s := open(t, t.TempDir(), clock(&now))
	ctx := t.Context()
	a := record.Alert{Rule: "r", Sinks: []string{"log", "mail"}}
	id, _, err := s.RaiseAlert(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	due := func(at time.Time) string {
		t.Helper()
		ds, err := s.Due(ctx, at)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, d := range ds {
			names = append(names, fmt.Sprint(d.Sink, d.Tries, d.Error))
		}
		return strings.Join(names, " ")
	}
	put := func(sink, state string, tries int, next time.Time, problem string) {
		t.Helper()
		if err := s.Delivered(ctx, record.Delivery{Alert: id, Sink: sink, State: state, Tries: tries, Next: next, Error: problem}); err != nil {
			t.Fatal(err)
		}
	}
	if got := due(now); got != "log0 mail0" {
		t.Fatalf("due: %s", got)
	}
	if got := due(now.Add(-time.Second)); got != "" {
		t.Fatalf("due before: %s", got)
	}
	put("log", record.DeliveryDone, 1, time.Time{}, "")
	put("mail", record.DeliveryPending, 1, now.Add(time.Minute), "refused")
	if got := due(now); got != "" {
		t.Errorf("due: %s", got)
	}
	if got := due(now.Add(time.Minute)); got != "mail1refused" {
		t.Errorf("due later: %s", got)
	}
	if _, _, err := s.RaiseAlert(ctx, a); err != nil { // again: mail is still under way and keeps its time
		t.Fatal(err)
	}
	if got := due(now); got != "log0" {
		t.Errorf("due again: %s", got)
	}
	put("mail", record.DeliveryFailed, 2, time.Time{}, "gone")
	wantKind(t, s.Delivered(ctx, record.Delivery{Alert: id, Sink: "mail", State: record.DeliveryDone}), fault.Conflict, "pending")
	wantKind(t, s.Delivered(ctx, record.Delivery{Alert: id, Sink: "log", State: "lost"}), fault.Internal, "delivery")
	ds, err := s.Deliveries(ctx, id)
	if err != nil || len(ds) != 2 || ds[1].State != record.DeliveryFailed || ds[1].Error != "gone" {
		t.Errorf("%+v %v", ds, err)
	}
	events, err := s.Events(ctx, store.Filter{Types: []string{"alert.deliver*"}})
	if err != nil || len(events) != 2 || events[0].Type != "alert.delivered" || events[1].Type != "alert.delivery_failed" {
		t.Errorf("%v %v", events, err)
	}
}

func TestTail(t *testing.T) {
	dir := t.TempDir()
	s, other := open(t, dir), open(t, dir)
	ctx := t.Context()
	at, err := s.Cursor(ctx, "alerts")
	if at != 0 || err != nil {
		t.Fatal(at, err)
	}
	came := make(chan error, 1)
	go func() { came <- s.WaitEvent(ctx, at) }()
	if _, err := other.Append(ctx, record.Event{Type: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := <-came; err != nil {
		t.Fatal(err)
	}
	rows, err := s.EventsAfter(ctx, at, 10)
	if err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	if last, err := s.LastEvent(ctx); last != rows[0].ID || err != nil {
		t.Errorf("%d %v", last, err)
	}
	for _, id := range []int64{rows[0].ID, rows[0].ID - 1} { // never back
		if err := s.SetCursor(ctx, "alerts", id); err != nil {
			t.Fatal(err)
		}
		if at, err := other.Cursor(ctx, "alerts"); at != rows[0].ID || err != nil {
			t.Errorf("%d %v", at, err)
		}
	}
	if rows, err = s.EventsAfter(ctx, rows[0].ID, 10); err != nil || len(rows) != 0 {
		t.Errorf("moving a cursor is an event: %v %v", rows, err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.WaitEvent(gone, 1<<40); !fault.Is(err, fault.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
