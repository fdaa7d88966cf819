package schedule

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestEvery(t *testing.T) {
	boom := errors.New("boom")
	tests := map[string]struct {
		plan    Plan
		took    []time.Duration // of each run; the schedule is cancelled in the last
		starts  []time.Duration
		skipped []int
	}{
		"quick runs": {
			plan: Plan{Every: time.Hour}, took: []time.Duration{0, time.Minute, 0},
			starts: []time.Duration{0, time.Hour, 2 * time.Hour}, skipped: []int{0, 0},
		},
		"a long run skips and does not drift": {
			plan: Plan{Every: time.Hour}, took: []time.Duration{150 * time.Minute, 0, 0},
			starts: []time.Duration{0, 3 * time.Hour, 4 * time.Hour}, skipped: []int{2, 0},
		},
		"a run as long as the interval": {
			plan: Plan{Every: time.Hour}, took: []time.Duration{time.Hour, 0, 0},
			starts: []time.Duration{0, time.Hour, 2 * time.Hour}, skipped: []int{0, 0},
		},
		"jitter does not add up": {
			plan:   Plan{Every: time.Hour, Jitter: 10 * time.Minute, Random: func() float64 { return 0.5 }},
			took:   []time.Duration{0, 0, 0},
			starts: []time.Duration{0, 65 * time.Minute, 125 * time.Minute}, skipped: []int{0, 0},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				var starts []time.Duration
				var skipped []int
				began, running := time.Now(), false
				tt.plan.Next = func(_ time.Duration, n int) { skipped = append(skipped, n) }
				err := Every(ctx, tt.plan, func(context.Context) error {
					if running {
						t.Error("two runs at once")
					}
					running = true
					defer func() { running = false }()
					starts = append(starts, time.Since(began))
					time.Sleep(tt.took[len(starts)-1])
					if len(starts) == len(tt.took) {
						cancel(boom)
					}
					return errors.New("a failed run changes nothing")
				})
				if !errors.Is(err, boom) {
					t.Errorf("error %v", err)
				}
				if diff := cmp.Diff(tt.starts, starts); diff != "" {
					t.Errorf("starts:\n%s", diff)
				}
				if diff := cmp.Diff(tt.skipped, skipped); diff != "" {
					t.Errorf("skipped:\n%s", diff)
				}
			})
		})
	}
}

func TestEveryEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Minute)
		defer cancel()
		began, runs := time.Now(), 0
		err := Every(ctx, Plan{Every: time.Hour}, func(context.Context) error { runs++; return nil })
		if !errors.Is(err, context.DeadlineExceeded) || runs != 2 || time.Since(began) != 90*time.Minute {
			t.Errorf("%v after %d runs and %v", err, runs, time.Since(began))
		}
	})
}

func TestEveryFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fatal, runs := errors.New("no key"), 0
		err := Every(t.Context(), Plan{Every: time.Minute, Failed: func(err error) error {
			if runs == 2 {
				return err
			}
			return nil
		}}, func(context.Context) error {
			if runs++; runs == 1 {
				panic("oh")
			}
			return fatal
		})
		if !errors.Is(err, fatal) || runs != 2 {
			t.Errorf("%v after %d runs", err, runs)
		}
	})
}

func TestEveryRefuses(t *testing.T) {
	run := func(context.Context) error { t.Error("it ran"); return nil }
	for _, p := range []Plan{{}, {Every: time.Millisecond}, {Every: time.Hour, Jitter: -1}, {Every: time.Hour, Jitter: 2 * time.Hour}} {
		if err := Every(t.Context(), p, run); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
	if err := Every(t.Context(), Plan{Every: time.Hour}, nil); err == nil {
		t.Error("nothing was run every hour")
	}
}

// TestDue: the next due time is never in the past, never a whole interval too
// late and always a later tick.
func TestDue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		every := time.Duration(rapid.Int64Range(int64(time.Second), int64(1000*time.Hour)).Draw(t, "every"))
		last := rapid.Int64Range(0, 1000).Draw(t, "last")
		elapsed := time.Duration(last)*every + time.Duration(rapid.Int64Range(0, int64(5*every)).Draw(t, "took"))
		tick, wait := due(elapsed, every, last)
		if wait < 0 || wait > every || tick <= last {
			t.Fatalf("tick %d in %v", tick, wait)
		}
	})
}
