package store_test

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// alterLock holds the database's write lock as a foreign program would.
func alterLock(t *testing.T, dir string, while func()) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(context.Background(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	while()
	if _, err := db.ExecContext(context.Background(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	s := open(t, dir)
	if _, err := s.Append(t.Context(), record.Event{Type: "x"}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v (%v)", e.Name(), info.Mode(), err)
		}
	}
}

func TestAnotherInstance(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(t.Context(), store.Options{Dir: dir, Tree: keys(t, dir), Instance: "other"})
	wantKind(t, err, fault.Corrupt, "belongs to instance")
	alter(t, dir, `PRAGMA user_version = 99`)
	_, err = store.Open(t.Context(), store.Options{Dir: dir, Tree: keys(t, dir), Instance: instance})
	wantKind(t, err, fault.Unsupported, "newer sallyport")
}

func TestClockBack(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := open(t, dir, clock(&now))
	put := func() {
		t.Helper()
		if _, err := s.Append(t.Context(), record.Event{Type: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	now = now.Add(-time.Hour)
	put()
	put()
	now = now.Add(2 * time.Hour)
	put()
	now = now.Add(-time.Minute)
	put()
	events, err := s.Events(t.Context(), store.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, e.Type+" "+e.Time.Format("15:04"))
	}
	if want := "x 12:00,clock_back 12:00,x 12:00,x 12:00,x 13:00,clock_back 13:00,x 13:00"; strings.Join(got, ",") != want {
		t.Fatalf("got %s, want %s", strings.Join(got, ","), want)
	}
	if err := checkAll(t, dir); err != nil {
		t.Fatal(err)
	}
}

// seedSQL is what readers of Cylestio's events run, to the letter.
const seedSQL = `
    SELECT * FROM events
    WHERE json_extract(data, '$.alert') = 'suspicious'
    AND timestamp > datetime('now', '-1 day')
    ORDER BY timestamp DESC
`

func TestSeedSQL(t *testing.T) {
	bin, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("SKIPPED LOUDLY: the sqlite3 command line is not installed: apt-get install sqlite3")
	}
	dir := t.TempDir()
	start := time.Now()
	now := start.Add(-24*time.Hour - 30*time.Minute)
	s := open(t, dir, clock(&now))
	put := func(name, alert string) {
		t.Helper()
		if _, err := s.Append(t.Context(), record.Event{Type: name, Alert: alert}); err != nil {
			t.Fatal(err)
		}
	}
	put("old", "suspicious")
	now = start.Add(-23*time.Hour - 30*time.Minute)
	put("recent", "suspicious")
	put("harmless", "")
	put("worse", "dangerous")
	now = start
	put("latest", "suspicious")
	for _, tz := range []string{"UTC", "Pacific/Auckland", "America/Los_Angeles"} {
		cmd := exec.Command(bin, "-header", "-separator", "|", s.Path(), seedSQL)
		cmd.Env = append(os.Environ(), "TZ="+tz)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if len(lines) != 3 || lines[0] != "id|timestamp|event_type|agent_id|session_id|channel|level|data|leaf" ||
			!strings.Contains(lines[1], "|latest|") || !strings.Contains(lines[2], "|recent|") {
			t.Errorf("%s: %s", tz, out)
		}
	}
}

// TestChangedUnderneath changes the head behind a running store: it stops for
// good, because nobody knows what else was changed.
func TestChangedUnderneath(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put := func() error {
		_, err := s.Append(t.Context(), record.Event{Type: "x"})
		return err
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	alter(t, dir, `UPDATE head SET root = zeroblob(32)`)
	wantKind(t, put(), fault.Corrupt, "changed from outside")
	<-s.Failed()
	wantKind(t, s.Err(), fault.Corrupt, "changed from outside")
	alter(t, dir, `UPDATE head SET root = (SELECT substr(hashes, 1, 32) FROM leaves WHERE seq=0)`)
	wantKind(t, put(), fault.Corrupt, "changed from outside")
	_, err := store.Open(t.Context(), store.Options{Dir: dir, Tree: keys(t, dir), Instance: instance})
	if err != nil {
		t.Fatalf("repaired: %v", err)
	}
}

func TestClosed(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Append(t.Context(), record.Event{Type: "x"})
	wantKind(t, err, fault.Unavailable, "closed")
}
