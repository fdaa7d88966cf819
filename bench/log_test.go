package bench

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver that the store uses, for the bare insert

	"sallyport/internal/audit"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// happened is an event with 200 bytes of text.
func happened() record.Event {
	return record.Event{
		Type: "bench.event", Agent: "sarah", Session: "s", Channel: "SYSTEM", Level: "info",
		Data: map[string]any{"text": strings.Repeat("x", 200)},
	}
}

// bare is a SQLite database with one table, as durable as ours.
func bare(tb testing.TB) *sql.DB {
	tb.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(tb.TempDir(), "bare.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT, data TEXT)`); err != nil {
		tb.Fatal(err)
	}
	return db
}

// BenchmarkLogOne appends from one goroutine, each append durable before the
// next, in turns with a bare insert of the same size and durability.
func BenchmarkLogOne(b *testing.B) {
	_, st := installation(b, b.TempDir())
	db := bare(b)
	insert, err := db.Prepare(`INSERT INTO t (at, data) VALUES (?, ?)`)
	if err != nil {
		b.Fatal(err)
	}
	defer insert.Close()
	e := happened()
	text := strings.Repeat("x", 200)
	var ours, theirs samples
	for b.Loop() {
		start := time.Now()
		if _, err := st.Append(context.Background(), e); err != nil {
			b.Fatal(err)
		}
		ours.since(start)
		start = time.Now()
		if _, err := insert.Exec("2026-01-01 00:00:00.000", text); err != nil {
			b.Fatal(err)
		}
		theirs.since(start)
	}
	ours.report(b, "append-", time.Microsecond)
	b.ReportMetric(perSecond(ours), "appends/s")
	b.ReportMetric(perSecond(theirs), "bare-inserts/s")
	ratio(b, "x-bare", ours, theirs)
}

// perSecond is how many calls fit into a second one after the other.
func perSecond(s samples) float64 {
	var sum time.Duration
	for _, d := range s {
		sum += d
	}
	return float64(len(s)) / sum.Seconds()
}

// BenchmarkLogGrouped appends from many goroutines, which share commits.
func BenchmarkLogGrouped(b *testing.B) {
	_, st := installation(b, b.TempDir())
	e := happened()
	for _, n := range []int{64, 1024} {
		b.Run(fmt.Sprintf("goroutines=%d", n), func(b *testing.B) {
			lanes := make([]samples, n)
			err := each(n, b.N, func(i int) error {
				start := time.Now()
				_, err := st.Append(context.Background(), e)
				lanes[i].since(start)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			join(lanes).report(b, "", time.Microsecond)
		})
	}
}

// BenchmarkLogSecondProcess is what an append costs while another process
// writes to the same state directory as fast as it can from 64 goroutines.
func BenchmarkLogSecondProcess(b *testing.B) {
	home := b.TempDir()
	_, st := installation(b, home)
	e := happened()
	for _, busy := range []bool{false, true} {
		b.Run("other="+map[bool]string{false: "idle", true: "saturated"}[busy], func(b *testing.B) {
			if busy {
				defer fork(b, "writer", home)()
			}
			var took samples
			for b.Loop() {
				start := time.Now()
				if _, err := st.Append(context.Background(), e); err != nil {
					b.Fatal(err)
				}
				took.since(start)
			}
			took.report(b, "wait-", time.Microsecond)
		})
	}
}

// saturate writes into a state directory until in ends; a byte on out says that
// it has begun.
func saturate(home string, in io.Reader, out io.Writer) error {
	keys, err := os.ReadFile(filepath.Join(home, "keys", "instance"))
	if err != nil {
		return err
	}
	signer, err := audit.OpenKeys(filepath.Join(home, "keys"), strings.TrimSpace(string(keys)))
	if err != nil {
		return err
	}
	st, err := store.Open(context.Background(), store.Options{Dir: home, Tree: signer, Instance: signer.Origin()})
	if err != nil {
		return err
	}
	var stop, begun atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, in)
		stop.Store(true)
	}()
	ended := errors.New("ended")
	e := happened()
	err = each(64, 1<<40, func(int) error {
		if stop.Load() {
			return ended
		}
		_, err := st.Append(context.Background(), e)
		if err == nil && begun.CompareAndSwap(false, true) {
			_, err = out.Write([]byte{'.'})
		}
		return err
	})
	if errors.Is(err, ended) {
		err = nil
	}
	return errors.Join(err, st.Close())
}

// entries is how many entries the verified export has.
func entries(tb testing.TB) int64 {
	tb.Helper()
	text := os.Getenv("BENCH_ENTRIES")
	if text == "" {
		return 200_000
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		tb.Fatalf("BENCH_ENTRIES is %q, not a number above 0", text)
	}
	return n
}

// BenchmarkVerify verifies an export as `sallyport verify` does: every entry
// parsed, hashed into the tree, every checkpoint's signature checked. The
// export is made by the real exporter over entries that are made on the way.
func BenchmarkVerify(b *testing.B) {
	k, err := audit.OpenKeys(filepath.Join(b.TempDir(), "keys"), "bench-instance")
	if err != nil {
		b.Fatal(err)
	}
	n := entries(b)
	var data bytes.Buffer
	if err := audit.Export(context.Background(), &data, &synthetic{k: k, size: n}, k, false); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(data.Len()))
	var took samples
	for b.Loop() {
		start := time.Now()
		r, err := audit.Verify(bytes.NewReader(data.Bytes()), audit.VerifyOptions{Verifier: k.Verifier()})
		if err != nil || r.Size != n {
			b.Fatal(r, err)
		}
		took.since(start)
	}
	b.ReportMetric(took.at(.5).Seconds()*1e6/float64(n), "s/million")
	b.ReportMetric(float64(data.Len())/float64(n), "bytes/entry")
}

// synthetic is a log of intents, made while it is read, with a kept checkpoint
// each 1,024 entries as the store keeps them.
type synthetic struct {
	k    *audit.Signer
	size int64
}

func (s *synthetic) each(entry func(seq int64, leaf, hash []byte) error, checkpoint func(size int64, note []byte) error) error {
	var peaks []audit.Hash
	at := time.UnixMicro(1_700_000_000_000_000)
	for seq := range s.size {
		leaf, err := s.k.Leaf(seq, at.Add(time.Duration(seq)*time.Millisecond), "intent", "0011223344556677", "8899aabbccddeeff", "allow", "internal/foreign",
			[]string{"exec.session"}, map[string][32]byte{"row": {byte(seq), byte(seq >> 8)}, "action": {byte(seq >> 16), byte(seq)}})
		if err != nil {
			return err
		}
		if entry != nil {
			hash, _, err := s.k.Grow(0, nil, leaf) // the entry's own hash
			if err != nil {
				return err
			}
			if err := entry(seq, leaf, hash[0][:]); err != nil {
				return err
			}
			continue
		}
		if _, peaks, err = s.k.Grow(seq, peaks, leaf); err != nil {
			return err
		}
		if (seq+1)%1024 != 0 && seq+1 != s.size {
			continue
		}
		note, err := s.k.Sign(seq+1, s.k.Root(peaks))
		if err != nil {
			return err
		}
		if err := checkpoint(seq+1, note); err != nil {
			return err
		}
	}
	return nil
}

// Checkpoints implements audit.Source.
func (s *synthetic) Checkpoints(_ context.Context, fn func(int64, []byte) error) error {
	return s.each(nil, fn)
}

// Entries implements audit.Source.
func (s *synthetic) Entries(_ context.Context, _ int64, _ bool, fn func(int64, []byte, []byte, map[string][2][]byte) error) error {
	return s.each(func(seq int64, leaf, hash []byte) error { return fn(seq, leaf, hash, nil) }, nil)
}
