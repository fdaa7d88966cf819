package agent

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errInterrupted is the cause of a context that Ctrl-C cancelled.
var errInterrupted = errors.New("interrupted by the operator")

// twice is how soon a second Ctrl-C must follow the first to end the run.
const twice = 2 * time.Second

// interrupts turns Ctrl-C into cancellations: the first ends the operation in
// flight, a second within two seconds, or one while nothing is in flight, ends
// the run.
type interrupts struct {
	now func() time.Time
	end context.CancelCauseFunc

	mu   sync.Mutex
	stop context.CancelCauseFunc // of the operation in flight; nil when idle
	last time.Time
}

// watch serves signals until ctx ends. The returned function waits for that.
func (i *interrupts) watch(ctx context.Context, signals <-chan struct{}) (wait func()) {
	var wg sync.WaitGroup
	if signals != nil {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case _, open := <-signals:
					if !open {
						return
					}
					i.hit()
				}
			}
		})
	}
	return wg.Wait
}

func (i *interrupts) hit() {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	again := !i.last.IsZero() && now.Sub(i.last) < twice
	i.last = now
	if i.stop == nil || again {
		i.end(errInterrupted)
		return
	}
	i.stop(errInterrupted)
}

// during runs op so that Ctrl-C ends it alone. interrupted tells that this
// happened; op's error is then whatever the cancellation made of it.
func (i *interrupts) during(ctx context.Context, op func(context.Context) error) (interrupted bool, err error) {
	opCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	i.mu.Lock()
	i.stop = stop
	i.mu.Unlock()
	err = op(opCtx)
	i.mu.Lock()
	i.stop = nil
	i.mu.Unlock()
	return ctx.Err() == nil && errors.Is(context.Cause(opCtx), errInterrupted), err
}
