package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/audit"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// opened opens the store of a new directory with real keys.
func opened(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	k, err := audit.OpenKeys(filepath.Join(dir, "keys"), "i")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{Dir: dir, Tree: k, Instance: "i"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// together runs ops in one batch, in order, and gives their errors.
func together(t *testing.T, s *Store, fns ...func(*tx) error) []error {
	t.Helper()
	ops := make([]*op, len(fns))
	begun, queued := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.do(t.Context(), "test", func(*tx) error { close(begun); <-queued; return nil })
		if err != nil && !errors.Is(err, errDoomed) {
			t.Error(err)
		}
	})
	<-begun
	for i, fn := range fns {
		ops[i] = &op{ctx: t.Context(), fn: fn, done: make(chan struct{})}
		s.ops <- ops[i]
	}
	close(queued)
	wg.Wait()
	errs := make([]error, len(ops))
	for i, o := range ops {
		<-o.done
		errs[i] = o.err
	}
	return errs
}

var (
	errOp     = fault.New("test", fault.Denied, "the op fails")
	errDoomed = fault.New("test", fault.Internal, "the batch fails")
)

func (t *tx) noteOf(name string) error { return t.note(record.Event{Type: name, Agent: name}) }

// TestOpsOfABatch: an op that fails undoes what it wrote, appended and named,
// and nothing of the others in its batch, whichever way it went.
func TestOpsOfABatch(t *testing.T) {
	s := opened(t)
	count := func(t *tx, name string) error {
		_, err := t.exec(`INSERT INTO counters VALUES ('s', ?, 1)`, name)
		return err
	}
	look := func(t *tx, want int) error {
		var n int
		if err := t.row(`SELECT count(*) FROM events`).Scan(&n); err != nil || n != want {
			return fmt.Errorf("%d events are there, not %d: %w", n, want, err)
		}
		return nil
	}
	for i, err := range together(t, s,
		func(t *tx) error { return t.noteOf("a") },
		func(t *tx) error { return errors.Join(t.noteOf("x1"), errOp) },
		func(t *tx) error { return errors.Join(t.noteOf("b"), count(t, "b")) },
		func(t *tx) error { return errors.Join(count(t, "x2"), t.noteOf("x2"), errOp) },
		func(t *tx) error { return t.noteOf("a") },
		func(t *tx) error { return errors.Join(t.noteOf("a"), look(t, 4), t.noteOf("x2"), errOp) },
		func(t *tx) error { return look(t, 3) },
		func(t *tx) error { return t.noteOf("b") },
		func(t *tx) error { t.certain(); return errors.Join(count(t, "c"), t.noteOf("c"), look(t, 5)) },
		func(t *tx) error { return errors.Join(t.noteOf("x3"), count(t, "x3"), look(t, 6), errOp) },
		func(t *tx) error { return t.noteOf("x3") },
		func(t *tx) error { err := count(t, "x4"); t.certain(); return errors.Join(err, errOp) },
	) {
		failing := i == 1 || i == 3 || i == 5 || i == 9 || i == 11
		if errors.Is(err, errOp) != failing || (err != nil) != failing || (failing && strings.Contains(err.Error(), "events are there")) {
			t.Errorf("op %d: %v", i, err)
		}
	}
	events, err := s.Events(t.Context(), Filter{})
	var got []string
	for i, e := range events {
		got = append(got, e.Agent)
		if e.ID != int64(i+1) || e.Leaf != int64(i) {
			t.Errorf("event %d has id %d and entry %d", i, e.ID, e.Leaf)
		}
	}
	if d := cmp.Diff("a b a b c x3", strings.Join(got, " ")); d != "" || err != nil {
		t.Errorf("%s %v", d, err)
	}
	names := func(query string) (out string) {
		err := s.each(t.Context(), "test", query, nil, func(scan func(...any) error) error { return scan(&out) })
		if err != nil {
			t.Error(err)
		}
		return out
	}
	if d := cmp.Diff("b c", names(`SELECT group_concat(name, ' ') FROM (SELECT name FROM counters ORDER BY name)`)); d != "" {
		t.Errorf("counters: %s", d)
	}
	if d := cmp.Diff("a b c x3", names(`SELECT group_concat(name, ' ') FROM (SELECT name FROM pseudonyms ORDER BY name)`)); d != "" {
		t.Errorf("pseudonyms: %s", d)
	}
	if err := s.CheckTree(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCertainOpDooms: an op that said it would not fail and does takes its
// batch along, because nothing can undo it alone; the next batch is not hurt.
func TestCertainOpDooms(t *testing.T) {
	s := opened(t)
	for i, err := range together(t, s,
		func(t *tx) error { return t.noteOf("a") },
		func(t *tx) error { t.certain(); return errors.Join(t.noteOf("b"), errDoomed) },
		func(t *tx) error { return t.noteOf("c") }, // was not begun, so it is in the next
	) {
		if errors.Is(err, errDoomed) != (i < 2) || (err != nil) != (i < 2) {
			t.Errorf("op %d: %v", i, err)
		}
	}
	if _, err := s.Append(context.Background(), record.Event{Type: "d"}); err != nil {
		t.Fatal(err)
	}
	events, err := s.Events(t.Context(), Filter{})
	if err != nil || len(events) != 2 || events[0].Type != "c" || events[0].Leaf != 0 || events[1].Type != "d" {
		t.Errorf("%v %v", events, err)
	}
}

// TestPendingSizes inserts batches of every size, larger than one statement's.
func TestPendingSizes(t *testing.T) {
	s := opened(t)
	want := int64(0)
	for n := 1; n <= 40; n += 3 {
		fns := make([]func(*tx) error, n)
		for i := range fns {
			fns[i] = func(t *tx) error { return t.noteOf("a") }
		}
		want += int64(n)
		if err := errors.Join(together(t, s, fns...)...); err != nil {
			t.Fatal(err)
		}
	}
	// One event never waits with more than its share of memory.
	big := strings.Repeat("x", maxString)
	fns := make([]func(*tx) error, 200)
	for i := range fns {
		fns[i] = func(t *tx) error {
			if t.bytes > maxPending+2*maxString {
				return errOp
			}
			return t.note(record.Event{Type: "big", Data: map[string]any{"text": big}})
		}
	}
	if err := errors.Join(together(t, s, fns...)...); err != nil {
		t.Fatal(err)
	}
	want += int64(len(fns))
	if size, _, err := s.Latest(t.Context()); size != want || err != nil {
		t.Errorf("%d entries, not %d: %v", size, want, err)
	}
	if err := s.CheckTree(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestAssign holds the writer's columns to what sql.Rows would do with them.
func TestAssign(t *testing.T) {
	s := opened(t)
	var n int64
	var i int
	var b bool
	var m record.Micros
	var text, blobText string
	var blob, textBlob, null []byte
	err := s.do(t.Context(), "test", func(t *tx) error {
		return t.row(`SELECT 1, 2, 3, 4, 'text', x'00ff', 'text', x'6162', NULL`).Scan(&n, &i, &b, &m, &text, &blob, &textBlob, &blobText, &null)
	})
	if err != nil || n != 1 || i != 2 || !b || m != 4 || text != "text" || string(blob) != "\x00\xff" || string(textBlob) != "text" || blobText != "ab" || null != nil {
		t.Error(n, i, b, m, text, blob, textBlob, blobText, null, err)
	}
	for query, dest := range map[string]any{`SELECT NULL`: &text, `SELECT 'x'`: &n, `SELECT 1`: &text, `SELECT 1, 2`: &n, `SELECT 1 WHERE 0`: &n} {
		if err := s.do(t.Context(), "test", func(t *tx) error { return t.row(query).Scan(dest) }); err == nil {
			t.Errorf("%s went into a %T", query, dest)
		}
	}
}
