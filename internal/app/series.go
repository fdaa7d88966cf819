package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/schedule"
	"sallyport/internal/store"
)

// series runs an agent's patrols, one or many. A stop and a log that cannot be
// written end it at any time, also between two patrols.
func (e *engine) series(ctx context.Context, agent string, interrupts <-chan struct{}, run func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stopped := e.store.WatchStop(ctx, agent)
	go func() {
		select {
		case <-stopped:
			cancel(fault.New("app.stop", fault.Denied, "%s was stopped by the operator", agent))
		case <-e.store.Failed():
			cancel(fault.New("app.log", fault.Unavailable, "the log can no longer be written, so nothing more may happen; check the disk and run `sallyport verify`"))
		case <-ctx.Done():
		}
	}()
	if e.opts.Every == 0 {
		return run(ctx)
	}
	waiting := func() {} // ends the wait that is under way
	plan := schedule.Plan{
		Every: e.opts.Every, Jitter: e.opts.Every / 20,
		Next: func(in time.Duration, skipped int) {
			fmt.Fprintf(e.opts.Out, "Next patrol of %s in %s (%d skipped).\n", agent, in.Round(time.Second), skipped)
			waiting = endAt(interrupts, cancel)
		},
		Failed: func(err error) error {
			if lasting(err) {
				return err
			}
			fmt.Fprintln(e.opts.Out, sentence(err))
			return nil
		},
	}
	err := schedule.Every(ctx, plan, func(ctx context.Context) error {
		waiting()
		return run(ctx)
	})
	waiting()
	return because(ctx, err)
}

// release takes back the stops of agents that are started: that is the
// operator's word that they may run again. A stop of everybody is first
// narrowed to those whose process still is there, so that it holds for them.
func release(ctx context.Context, st *store.Store, agents []string) error {
	rep, err := st.Status(ctx)
	if err != nil {
		return err
	}
	everybody := slices.IndexFunc(rep.Stops, func(s store.Stop) bool { return s.Agent == "" })
	if everybody >= 0 {
		runs, err := affected(ctx, st, "")
		if err != nil {
			return err
		}
		for _, r := range runs {
			for _, name := range r.Agents {
				if err := st.RequestStop(ctx, name, rep.Stops[everybody].By); err != nil {
					return err
				}
			}
		}
		agents = append(slices.Clone(agents), "")
	}
	for _, name := range agents {
		if err := st.ClearStop(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// endAt ends a series at the next Ctrl-C: between two patrols nobody else hears
// of one. The function it gives takes that back.
func endAt(interrupts <-chan struct{}, end context.CancelCauseFunc) (forget func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-interrupts:
			end(fault.New("app.run", fault.Canceled, "interrupted by the operator between two patrols"))
		case <-over:
		}
	}()
	return func() {
		select {
		case <-over: // it was taken back before
		default:
			close(over)
		}
		<-done
	}
}

// fanOut lets each of n agents hear of every Ctrl-C. An agent that is too busy
// to listen keeps the last two in mind: one for its command, one for its run.
func fanOut(ctx context.Context, in <-chan struct{}, n int) []<-chan struct{} {
	outs := make([]chan struct{}, n)
	heard := make([]<-chan struct{}, n)
	for i := range outs {
		outs[i] = make(chan struct{}, 2)
		heard[i] = outs[i]
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case _, open := <-in:
				if !open {
					return
				}
				for _, out := range outs {
					select {
					case out <- struct{}{}:
					default:
					}
				}
			}
		}
	}()
	return heard
}

// because makes an error say why the run was ended from outside, if it was: a
// store or a provider that met the cancelled context can only say that it was
// cancelled, and a stop would pass for a Ctrl-C.
func because(ctx context.Context, err error) error {
	cause, told := errors.AsType[*fault.Error](context.Cause(ctx))
	switch {
	case !told:
		return err
	case err == nil:
		return cause
	case errors.Is(err, context.Canceled):
		return &fault.Error{Op: cause.Op, Kind: cause.Kind, Public: cause.Public, Err: errors.New(err.Error())}
	case !errors.Is(err, cause) && fault.KindOf(err) != cause.Kind:
		return errors.Join(cause, err)
	}
	return err
}

// lasting tells errors that the next patrol would meet again or must not
// override: a stop, a spent budget, a configuration.
func lasting(err error) bool {
	switch fault.KindOf(err) {
	case fault.Denied, fault.Budget, fault.Config, fault.Canceled, fault.Corrupt, fault.Unsupported:
		return true
	default:
		return false
	}
}
