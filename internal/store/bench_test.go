package store_test

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/audit"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

func BenchmarkAppendSingle(b *testing.B) {
	s := open(b, b.TempDir())
	e := record.Event{Type: "bench", Agent: "bob", Session: "s", Data: map[string]any{"text": string(bytes.Repeat([]byte("x"), 200))}}
	for b.Loop() {
		if _, err := s.Append(context.Background(), e); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
}

func BenchmarkAppendGrouped64(b *testing.B) {
	s := open(b, b.TempDir())
	e := record.Event{Type: "bench", Agent: "bob", Session: "s", Data: map[string]any{"text": string(bytes.Repeat([]byte("x"), 200))}}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := s.Append(context.Background(), e); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
}

// BenchmarkAction is the ledger's part of one mediated action.
func BenchmarkAction(b *testing.B) {
	s := open(b, b.TempDir())
	spawn(b, s, "bob", "c1")
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		r, err := s.Intend(context.Background(), intent(b, s, action.Exec, "bob", "c1", 1, -1))
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Settle(context.Background(), record.Outcome{Intent: r.ID, Status: record.Done, Result: record.Result{Output: "ok", Cost: 1}}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkFair measures how long a second process waits for a write while the
// first one writes as fast as it can.
func BenchmarkFair(b *testing.B) {
	dir := b.TempDir()
	s := open(b, dir)
	cmd, lines := startChild(b, dir, "")
	if !lines.Scan() {
		b.Fatal("the other process does not write")
	}
	go func() {
		for lines.Scan() { // else it would stop at a full pipe
			continue
		}
	}()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := s.Append(context.Background(), record.Event{Type: "x"}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// million is the size of the export that BenchmarkVerify reads.
const million = 1_000_000

func BenchmarkVerify(b *testing.B) {
	k, err := audit.OpenKeys(filepath.Join(b.TempDir(), "keys"), instance)
	if err != nil {
		b.Fatal(err)
	}
	var data bytes.Buffer
	if err := audit.Export(context.Background(), &data, &synthetic{k, million}, k, false); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(data.Len()))
	for b.Loop() {
		r, err := audit.Verify(bytes.NewReader(data.Bytes()), audit.VerifyOptions{Verifier: k.Verifier()})
		if err != nil || r.Size != million {
			b.Fatal(r, err)
		}
	}
}

// synthetic is a log that is made while it is read.
type synthetic struct {
	k    *audit.Signer
	size int64
}

func (s *synthetic) each(fn func(seq int64, leaf []byte, hash, root audit.Hash) error) error {
	var peaks []audit.Hash
	at := time.UnixMicro(1_700_000_000_000_000)
	for seq := range s.size {
		leaf, err := s.k.Leaf(seq, at.Add(time.Duration(seq)*time.Millisecond), "intent", "0011223344556677", "8899aabbccddeeff", "allow", "internal/foreign",
			[]string{"exec.session"}, map[string][32]byte{"row": {byte(seq)}, "action": {byte(seq >> 8)}})
		if err != nil {
			return err
		}
		stored, next, err := s.k.Grow(seq, peaks, leaf)
		if err != nil {
			return err
		}
		peaks = next
		var root audit.Hash
		if (seq+1)%1024 == 0 || seq+1 == s.size {
			root = s.k.Root(peaks)
		}
		if err := fn(seq, leaf, stored[0], root); err != nil {
			return err
		}
	}
	return nil
}

func (s *synthetic) Checkpoints(_ context.Context, fn func(int64, []byte) error) error {
	return s.each(func(seq int64, _ []byte, _, root audit.Hash) error {
		if root == (audit.Hash{}) {
			return nil
		}
		note, err := s.k.Sign(seq+1, root)
		if err != nil {
			return err
		}
		return fn(seq+1, note)
	})
}

func (s *synthetic) Entries(_ context.Context, _ int64, _ bool, fn func(int64, []byte, []byte, map[string][2][]byte) error) error {
	return s.each(func(seq int64, leaf []byte, hash, _ audit.Hash) error { return fn(seq, leaf, hash[:], nil) })
}

var _ audit.Source = (*store.Store)(nil)

// BenchmarkRetain removes 20,000 old events while another process appends: how
// long one of its appends takes meanwhile, and how long without.
func BenchmarkRetain(b *testing.B) {
	for b.Loop() {
		dir := b.TempDir()
		now := time.Now().Add(-48 * time.Hour)
		s, other := open(b, dir, clock(&now)), open(b, dir)
		text := string(bytes.Repeat([]byte("x"), 2000))
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range 20_000 / 64 {
					if _, err := s.Append(b.Context(), record.Event{Type: "old", Data: map[string]any{"text": text}}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		var took []time.Duration
		appendFor := func(done func() bool) {
			took = took[:0]
			for !done() {
				start := time.Now()
				if _, err := other.Append(b.Context(), record.Event{Type: "new"}); err != nil {
					b.Error(err)
					return
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
		}
		report := func(name string) {
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), name+"-p99-µs")
			b.ReportMetric(float64(took[len(took)-1].Microseconds()), name+"-max-µs")
		}
		begin := time.Now()
		appendFor(func() bool { return time.Since(begin) > 2*time.Second })
		report("alone")
		var over atomic.Bool
		begin = time.Now()
		go func() {
			defer over.Store(true)
			if n, err := s.Retain(b.Context(), time.Now().Add(-24*time.Hour), 0); err != nil || n < 19_000 {
				b.Error(n, err)
			}
		}()
		appendFor(over.Load)
		b.ReportMetric(time.Since(begin).Seconds(), "retain-s")
		report("during")
	}
}

// BenchmarkSnapshot is the reading part of one mediated action.
func BenchmarkSnapshot(b *testing.B) {
	s := open(b, b.TempDir())
	spawn(b, s, "bob", "c1")
	if _, err := s.Intend(b.Context(), intent(b, s, action.Exec, "bob", "c1", 1, -1)); err != nil {
		b.Fatal(err)
	}
	sc := record.Scope{Agent: "bob", Session: "bob-s", Context: "c1"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Snapshot(context.Background(), sc); err != nil {
			b.Fatal(err)
		}
	}
}
