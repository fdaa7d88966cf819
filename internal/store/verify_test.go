package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/action"
	"sallyport/internal/audit"
	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

func keys(t testing.TB, dir string) *audit.Signer {
	t.Helper()
	k, err := audit.OpenKeys(filepath.Join(dir, "keys"), instance)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func export(t testing.TB, s *store.Store, dir string, values bool) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := audit.Export(t.Context(), &b, s, keys(t, dir), values); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func verify(t testing.TB, dir string, data []byte, anchors ...[]byte) (audit.Report, error) {
	t.Helper()
	return audit.Verify(bytes.NewReader(data), audit.VerifyOptions{Verifier: keys(t, dir).Verifier(), Anchors: anchors})
}

// fill makes some history.
func fill(t testing.TB, s *store.Store, n int) {
	t.Helper()
	spawn(t, s, "bob", "c1")
	for i := range n {
		r, err := s.Intend(t.Context(), intent(t, s, action.Exec, "bob", "c1", 1, -1))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(t.Context(), record.Outcome{Intent: r.ID, Status: record.Done, Result: record.Result{Output: fmt.Sprint("out ", i), Cost: 1, Label: internalForeign}}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExportVerifies(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	empty := export(t, s, dir, true)
	if r, err := verify(t, dir, empty); err != nil || r.Size != 0 {
		t.Fatalf("an empty log: %+v %v", r, err)
	}
	fill(t, s, 20)
	_, anchor, err := s.Latest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), record.Event{Type: "later", Data: map[string]any{"x": "<&>\u2028"}}); err != nil {
		t.Fatal(err)
	}
	for _, values := range []bool{true, false} {
		data := export(t, s, dir, values)
		r, err := verify(t, dir, data, anchor)
		if err != nil {
			t.Fatal(err)
		}
		if r.Size != 43 || r.Anchors != 1 || !r.Pinned || r.Checkpoints == 0 || (r.Opened > 0) != values || r.Erased != 0 {
			t.Fatalf("values %t: %+v", values, r)
		}
		if !values && bytes.Contains(data, []byte("bob")) {
			t.Fatal("an export without values names an agent")
		}
	}
	if err := s.CheckTree(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestEraseKeepsProofs(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	const canary = "canary-7b1f"
	if _, err := s.Append(t.Context(), record.Event{Type: "mail", Agent: "ann-" + canary, Data: map[string]any{"text": canary}}); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 3)
	_, anchor, err := s.Latest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Erase(t.Context(), 1, "operator"); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(t.Context(), "agent", "ann-"+canary); err != nil {
		t.Fatal(err)
	}
	r, err := verify(t, dir, export(t, s, dir, true), anchor)
	if err != nil || r.Erased != 1 || r.Anchors != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	wantKind(t, s.Erase(t.Context(), 1, "operator"), fault.Conflict, "before")
	wantKind(t, s.Erase(t.Context(), 99, "operator"), fault.NotFound, "99")
	events, err := s.Events(t.Context(), store.Filter{Types: []string{"data.*"}})
	if err != nil || len(events) != 1 {
		t.Fatalf("%v %v", events, err)
	}
	wantKind(t, s.Erase(t.Context(), events[0].ID, "operator"), fault.Denied, "records an erasure")
	for _, f := range []string{"state.db", "state.db-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(canary)) {
			t.Errorf("%s still holds what was erased", f)
		}
	}
}

// TestTamperedExport flips bits anywhere in an export: each flip is detected.
func TestTamperedExport(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s, 6)
	good := export(t, s, dir, true)
	pinned := keys(t, dir).Verifier()
	verify := func(t *testing.T, _ string, data []byte) (audit.Report, error) {
		t.Helper()
		return audit.Verify(bytes.NewReader(data), audit.VerifyOptions{Verifier: pinned})
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		bad := bytes.Clone(good)
		bit := rng.IntN(len(bad) * 8)
		bad[bit/8] ^= 1 << (bit % 8)
		r, err := verify(t, dir, bad)
		if err == nil {
			t.Fatalf("bit %d of %q went unnoticed", bit, around(good, bit/8))
		}
		if !fault.Is(err, fault.Corrupt) || r.Bad == nil {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
	lines := bytes.SplitAfter(good, []byte("\n"))
	lines = lines[:len(lines)-1]
	for i := range lines {
		// A checkpoint before the last one adds nothing that the last does not prove.
		redundant := bytes.HasPrefix(lines[i], []byte(`{"checkpoint"`)) && i+1 < len(lines)
		if _, err := verify(t, dir, bytes.Join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...), nil)); err == nil && !redundant {
			t.Fatalf("line %d can be left out: %s", i+1, lines[i])
		}
		if i+1 < len(lines) {
			swapped := append([][]byte{}, lines...)
			swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
			if _, err := verify(t, dir, bytes.Join(swapped, nil)); err == nil {
				t.Fatalf("lines %d and %d can be swapped: %s", i+1, i+2, lines[i])
			}
		}
	}
}

func around(b []byte, i int) []byte { return b[max(0, i-40):min(len(b), i+40)] }

// TestTamperedDatabase changes the database with SQL, as its owner could.
func TestTamperedDatabase(t *testing.T) {
	for _, tc := range []struct{ name, change string }{
		{"entry", `UPDATE leaves SET leaf = replace(leaf, 'allow', 'deny ') WHERE seq = 4`},
		{"entry gone", `DELETE FROM leaves WHERE seq = 4`},
		{"tree hash", `UPDATE leaves SET hashes = zeroblob(32) WHERE seq = 4`},
		{"inner hash", `UPDATE leaves SET hashes = substr(hashes, 1, 32) || zeroblob(length(hashes) - 32) WHERE seq = 3`},
		{"event data", `UPDATE events SET data = replace(data, 'uptime', 'reboot') WHERE leaf = 4`},
		{"event type", `UPDATE events SET event_type = 'harmless' WHERE leaf = 4`},
		{"event agent", `UPDATE events SET agent_id = 'eve' WHERE leaf = 4`},
		{"event session", `UPDATE events SET session_id = 'other' WHERE leaf = 4`},
		{"event time", `UPDATE events SET timestamp = '2020-01-01 00:00:00.000' WHERE leaf = 4`},
		{"event channel", `UPDATE events SET channel = 'X' WHERE leaf = 4`},
		{"event level", `UPDATE events SET level = 'debug' WHERE leaf = 4`},
		{"alert", `UPDATE events SET data = json_set(data, '$.alert', 'dangerous') WHERE leaf = 4`},
		{"event gone", `DELETE FROM events WHERE leaf = 4`},
		{"salt", `UPDATE openings SET row_salt = zeroblob(16) WHERE leaf = 4`},
		{"digest", `UPDATE openings SET digest = zeroblob(32) WHERE leaf = 4`},
		{"silent erasure", `DELETE FROM openings WHERE leaf = 4`},
		{"swapped openings", `UPDATE openings SET event = 3 WHERE leaf = 4`},
		{"checkpoint", `UPDATE checkpoints SET note = replace(note, char(10), ' ')`},
		{"checkpoint gone", `DELETE FROM checkpoints`},
		{"head", `UPDATE head SET size = size - 1`},
		{"root", `UPDATE head SET root = zeroblob(32)`},
		{"tail", `DELETE FROM leaves WHERE seq >= 10; DELETE FROM events WHERE leaf >= 10; DELETE FROM openings WHERE leaf >= 10; UPDATE head SET size = 10`},
		{"row added", `INSERT INTO leaves SELECT max(seq)+1, leaf, hashes FROM leaves`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			fill(t, s, 10)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			alter(t, dir, tc.change)
			if err := checkAll(t, dir); err == nil {
				t.Fatal("went unnoticed")
			} else if !fault.Is(err, fault.Corrupt) {
				t.Fatalf("%v is %s", err, fault.KindOf(err))
			}
		})
	}
}

func alter(t testing.TB, dir, change string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(context.Background(), change); err != nil {
		t.Fatal(err)
	}
}

// checkAll is the full verification: start, stored hashes, export.
func checkAll(t testing.TB, dir string, anchors ...[]byte) error {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: dir, Tree: keys(t, dir), Instance: instance})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.CheckTree(t.Context()); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := audit.Export(t.Context(), &b, s, keys(t, dir), true); err != nil {
		return err
	}
	_, err = verify(t, dir, b.Bytes(), anchors...)
	return err
}

// TestRolledBack restores an older copy: it agrees with itself, so only an
// anchor tells.
func TestRolledBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if _, err := s.Append(t.Context(), record.Event{Type: "x"}); err != nil {
		t.Fatal(err)
	}
	_, anchor, err := s.Latest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "state.db"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkAll(t, dir); err != nil {
		t.Fatalf("without an anchor: %v", err)
	}
	if err := checkAll(t, dir, anchor); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Fatalf("with an anchor: %v", err)
	}
}
