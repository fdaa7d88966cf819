// Package schedule repeats a run at fixed times: the "every hour or so" of an
// agent that patrols.
//
// Invariants: two runs never overlap; a run that took too long skips the times
// it missed instead of catching up; intervals are measured by the monotonic
// clock, so setting the wall clock neither starts a run nor holds one back.
//
// It imports nothing of ours: what a run does, and that it passes the gate, is
// the caller's matter. Only app imports it.
package schedule

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// MinInterval is the shortest interval that Every accepts; a shorter one is a
// mistake in the unit.
const MinInterval = time.Second

// Plan says when to run.
type Plan struct {
	Every  time.Duration // from one due time to the next; at least MinInterval
	Jitter time.Duration // each start is up to this much later; at most Every
	// Next is told when the next run is due, before the wait; nil = nobody is.
	// skipped counts the due times that the last run made impossible.
	Next func(in time.Duration, skipped int)
	// Failed decides whether the schedule goes on after a run's error; nil =
	// it does. A returned error ends the schedule.
	Failed func(err error) error
	// Random gives a number in [0, 1) for the jitter; nil = a random one.
	Random func() float64
}

// Every runs at once and then at each interval, counted from its own start,
// until ctx ends, which gives ctx's cause, or Plan.Failed gives an error. A run
// that is in flight when ctx ends is waited for.
func Every(ctx context.Context, p Plan, run func(ctx context.Context) error) error {
	switch {
	case p.Every < MinInterval:
		return fmt.Errorf("schedule.every: an interval of %v is below %v", p.Every, MinInterval)
	case p.Jitter < 0 || p.Jitter > p.Every:
		return fmt.Errorf("schedule.every: a jitter of %v is not between 0 and the interval %v", p.Jitter, p.Every)
	case run == nil:
		return errors.New("schedule.every: nothing to run")
	}
	if p.Random == nil {
		p.Random = rand.Float64
	}
	start := time.Now()
	for tick := int64(0); ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := once(ctx, run); err != nil && ctx.Err() == nil && p.Failed != nil {
			if err := p.Failed(err); err != nil {
				return err
			}
		}
		next, wait := due(time.Since(start), p.Every, tick)
		skipped := next - tick - 1
		tick = next
		wait += time.Duration(p.Random() * float64(p.Jitter))
		if p.Next != nil && ctx.Err() == nil {
			p.Next(wait, int(skipped))
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// due gives the first tick after the last one that is not in the past, and how
// long to wait for it. elapsed is monotonic: time.Since of a time that this
// process read.
func due(elapsed, every time.Duration, last int64) (tick int64, wait time.Duration) {
	tick = max(last+1, int64((elapsed+every-1)/every))
	return tick, time.Duration(tick)*every - elapsed
}

// once runs and turns a panic into an error: a schedule outlives a bad run.
func once(ctx context.Context, run func(ctx context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("schedule.run: panic: %v", p)
		}
	}()
	return run(ctx)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
