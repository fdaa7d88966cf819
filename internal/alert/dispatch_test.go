package alert

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// box is an outbox in memory.
type box struct {
	mu     sync.Mutex
	alerts map[string]record.Alert
	list   []record.Delivery
}

func (b *box) owe(sink, rule string, ids ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		if b.alerts == nil {
			b.alerts = map[string]record.Alert{}
		}
		b.alerts[id] = record.Alert{ID: id, Rule: rule}
		b.list = append(b.list, record.Delivery{Alert: id, Sink: sink, State: record.DeliveryPending})
	}
}

func (b *box) Due(_ context.Context, now time.Time) (out []record.Delivery, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.list {
		if d.State == record.DeliveryPending && !d.Next.After(now) {
			out = append(out, d)
		}
	}
	return out, nil
}

func (b *box) Alert(_ context.Context, id string) (record.Alert, error) { return b.alerts[id], nil }

func (b *box) Delivered(_ context.Context, d record.Delivery) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, x := range b.list {
		if x.Alert == d.Alert && x.Sink == d.Sink && x.State == record.DeliveryPending {
			b.list[i] = d
			return nil
		}
	}
	return fault.New("box", fault.Conflict, "not pending")
}

func (b *box) states(sink string) map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]int{}
	for _, d := range b.list {
		if d.Sink == sink {
			out[d.State]++
		}
	}
	return out
}

// pipe is a sink under the test's control.
type pipe struct {
	name string
	send func(ctx context.Context) error

	mu  sync.Mutex
	got []string
	ids []string
}

func (p *pipe) Name() string { return p.name }

func (p *pipe) Send(ctx context.Context, a record.Alert, d Detail) error {
	p.mu.Lock()
	p.got, p.ids = append(p.got, fmt.Sprintf("%s+%d", a.ID, d.More)), append(p.ids, d.Message)
	p.mu.Unlock()
	if p.send == nil {
		return nil
	}
	return p.send(ctx)
}

func (p *pipe) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.got
	p.got = nil
	return out
}

// rounds lets d work for a while, a round every second.
func rounds(t *testing.T, d *Dispatcher, span time.Duration) {
	t.Helper()
	for range int(span / time.Second) {
		if err := d.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
	}
}

func ids(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(prefix, i)
	}
	return out
}

// TestDeadSink: one sink hangs, one refuses connections, one is gone from the
// configuration; the fourth hears of everything at once.
func TestDeadSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := &pipe{name: "hang", send: func(ctx context.Context) error {
			<-ctx.Done()
			return fault.Wrap("x", fault.Unavailable, ctx.Err())
		}}
		down := &pipe{name: "down", send: func(context.Context) error { return fault.New("x", fault.Unavailable, "nobody is there") }}
		good := &pipe{name: "good"}
		b := &box{}
		for _, s := range []string{"hang", "down", "gone", "good"} {
			b.owe(s, "r", s+"-1", s+"-2", s+"-3")
		}
		d := NewDispatcher([]Sink{hang, down, good}, b, DispatchOptions{})
		rounds(t, d, time.Second)
		if got := good.take(); !slices.Equal(got, []string{"good-1+0", "good-2+0", "good-3+0"}) {
			t.Errorf("the good sink got %v", got)
		}
		if got := b.states("gone"); got[record.DeliveryFailed] != 3 {
			t.Errorf("a sink that is no longer there: %v", got)
		}
		rounds(t, d, 3*time.Hour)
		for _, p := range []*pipe{hang, down} {
			if n := len(p.take()); n != 8 { // one try stands for all that was due
				t.Errorf("%s was tried %d times", p.name, n)
			}
			if got := b.states(p.name); got[record.DeliveryFailed] != 3 {
				t.Errorf("%s: %v", p.name, got)
			}
		}
		if len(slices.Compact(down.ids)) != 1 {
			t.Errorf("tries of one message have the ids %v", slices.Compact(down.ids))
		}
		d.Wait()
	})
}

// TestRecovers: a sink that comes back gets what it missed, once.
func TestRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		p := &pipe{name: "p", send: func(context.Context) error {
			if tries++; tries < 3 {
				return fault.New("x", fault.Unavailable, "not yet")
			}
			return nil
		}}
		b := &box{}
		b.owe("p", "r", "a", "b")
		d := NewDispatcher([]Sink{p}, b, DispatchOptions{})
		rounds(t, d, 40*time.Second)
		if d := cmp.Diff([]string{"a+0", "a+0", "a+0", "b+0"}, p.take()); d != "" {
			t.Error(d)
		}
		if got := b.states("p"); got[record.DeliveryDone] != 2 {
			t.Errorf("%v", got)
		}
	})
}

// TestFlood: 47 alerts of one rule are ten messages and one that stands for the
// rest; another rule is not held up, and what comes later waits its minute.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{name: "p"}
		b := &box{}
		b.owe("p", "flood", ids("f", 48)...)
		b.owe("p", "other", "o0")
		d := NewDispatcher([]Sink{p}, b, DispatchOptions{})
		rounds(t, d, time.Second)
		want := make([]string, 0, 12)
		for _, id := range ids("f", 10) {
			want = append(want, id+"+0")
		}
		if d := cmp.Diff(append(want, "f10+37", "o0+0"), p.take()); d != "" {
			t.Error(d)
		}
		b.owe("p", "flood", ids("g", 3)...)
		rounds(t, d, 50*time.Second)
		if got := p.take(); len(got) != 0 {
			t.Errorf("within the minute came %v", got)
		}
		rounds(t, d, 15*time.Second)
		if d := cmp.Diff([]string{"g0+0", "g1+0", "g2+0"}, p.take()); d != "" {
			t.Error(d)
		}
		if got := b.states("p"); got[record.DeliveryDone] != 52 {
			t.Errorf("%v", got)
		}
	})
}

// TestEndKeepsWhatIsOwed: ending in the middle of a try records nothing, so the
// next process delivers it.
func TestEndKeepsWhatIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{name: "p", send: func(ctx context.Context) error {
			<-ctx.Done()
			return fault.Wrap("x", fault.Unavailable, ctx.Err())
		}}
		b := &box{}
		b.owe("p", "r", "a", "b")
		ctx, cancel := context.WithCancel(t.Context())
		d := NewDispatcher([]Sink{p}, b, DispatchOptions{})
		if err := d.Round(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		d.Wait()
		for _, x := range b.list {
			if x.State != record.DeliveryPending || x.Tries != 0 {
				t.Errorf("%+v", x)
			}
		}
	})
}

func TestTellAndTest(t *testing.T) {
	good, bad := &pipe{name: "good"}, &pipe{name: "bad", send: func(context.Context) error { return fault.New("x", fault.Unavailable, "down") }}
	d := NewDispatcher([]Sink{good, bad}, &box{}, DispatchOptions{})
	if err := d.Tell(t.Context(), record.Alert{ID: "a"}); err == nil || len(good.take()) != 1 || len(bad.take()) != 1 {
		t.Errorf("tell: %v", err)
	}
	if err := d.Test(t.Context(), "good", record.Alert{}); err != nil || len(good.take()) != 1 || len(bad.take()) != 0 {
		t.Errorf("test: %v", err)
	}
	if err := d.Test(t.Context(), "none", record.Alert{}); !fault.Is(err, fault.NotFound) {
		t.Errorf("test of no sink: %v", err)
	}
}
