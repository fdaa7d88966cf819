package app

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// TestPace: a burst passes at once, what comes after at the rate, and who gives
// up waiting takes nothing.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, began := newPace(10, 2), time.Now()
		for range 10 {
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the burst took %s", took)
		}
		if p.now() {
			t.Error("more than the burst was there")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			if err := p.wait(ctx); !fault.Is(err, fault.Canceled) {
				t.Fatal(err)
			}
		}
		for range 6 {
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 2900*time.Millisecond || took > 3100*time.Millisecond {
			t.Errorf("six more took %s, want 3s", took)
		}
		time.Sleep(time.Hour)
		for range 10 {
			if !p.now() {
				t.Fatal("an hour later the burst is not there again")
			}
		}
		if p.now() {
			t.Error("more than a burst was saved up")
		}
	})
}

// TestRoom: a disk that is nearly full stops what would be written to it, and
// so does one that cannot be asked.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free, fails, asked := uint64(leastFree), error(nil), 0
		r := newRoom("/state")
		r.free = func(string) (uint64, error) { asked++; return free, fails }
		for _, tt := range []struct {
			free uint64
			err  error
			kind fault.Kind
		}{{leastFree, nil, 0}, {leastFree - 1, nil, fault.Budget}, {leastFree, errors.New("gone"), fault.Unavailable}, {1 << 40, nil, 0}} {
			free, fails = tt.free, tt.err
			time.Sleep(time.Second)
			for range 3 {
				if err := r.check(); (err != nil) != (tt.kind != 0) || err != nil && !fault.Is(err, tt.kind) {
					t.Errorf("%d bytes, %v: %v", tt.free, tt.err, err)
				}
			}
		}
		if asked != 4 {
			t.Errorf("asked %d times", asked)
		}
		if _, err := freeOf(t.TempDir()); err != nil {
			t.Error(err)
		}
	})
}

// events counts what is appended.
type events struct{ lines, counted int64 }

func (e *events) Append(_ context.Context, ev record.Event) (int64, error) {
	e.lines++
	e.counted += ev.Data["count"].(int64) + ev.Data["missed"].(int64)
	return e.lines, nil
}

// TestRefusalsAreBounded: however often a program is refused, the log gets few
// lines, and they account for every time.
func TestRefusalsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got events
		o := &outlet{tally: newTally(nil), notes: newRefusals(&got, action.Action{Agent: "a"})}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { o.notes.write(ctx) })
		const flood = 100_000
		for i := range flood {
			o.refused("net.connect", "x:1", "protocol", 1)
			if i%1000 == 0 {
				time.Sleep(100 * time.Millisecond) // 10 s in all
			}
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		if got.lines > noteBurst+10*notesPerSecond+2 || got.lines < 64 {
			t.Errorf("%d lines", got.lines)
		}
		if got.counted != flood {
			t.Errorf("%d of %d are accounted for", got.counted, flood)
		}
	})
}
