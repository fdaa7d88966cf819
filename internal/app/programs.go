package app

import (
	"context"
	"errors"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/sandbox"
	"sallyport/internal/sandbox/changes"
)

// attach is where a program is seen and typed to.
type attach interface {
	// size of the terminal that the program gets; nil for pipes.
	size() *sandbox.WinSize
	// serve carries bytes until the program's side is closed, or ctx ends.
	serve(ctx context.Context, p *sandbox.Process) error
}

// lastWords bounds how long output is still carried after the sandbox ended.
const lastWords = 5 * time.Second

// run performs exec of one program: it lives as long as the program does, and
// what the program leaves behind ends with it.
func (s execScript) run(ctx context.Context, a action.Action) (record.Result, error) {
	r := argReader{}
	argv, dir := r.list(a.Args, "argv"), r.text(a.Args, "dir")
	if r.err != nil {
		return record.Result{}, fault.Wrap("app.exec", fault.Usage, r.err)
	}
	s.mu.Lock()
	live, term := s.live[a.Target], s.terminals[a.Target]
	s.mu.Unlock()
	if live == nil || term == nil {
		return record.Result{}, fault.New("app.exec", fault.NotFound, "session %s has no place for a program; the session ended", a.Target)
	}
	p, err := live.box.Exec(ctx, sandbox.Command{Argv: argv, Dir: dir, TTY: term.size()})
	if err != nil {
		return record.Result{}, err
	}
	serveCtx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- term.serve(serveCtx, p) }()
	st, err := p.Wait(ctx)
	// Daemons it left behind would hold its terminal open.
	err = errors.Join(err, live.box.Close())
	timer := time.AfterFunc(lastWords, stop)
	defer timer.Stop()
	if serr := <-served; err == nil && serveCtx.Err() == nil {
		err = serr
	}
	if ended := live.box.Ended(); ended != nil {
		err = ended
	}
	return record.Result{
		Payload: record.ExecResult{Exit: st.Code, Signal: st.Signal},
		Data:    map[string]any{"exit": int64(st.Code), "signal": st.Signal},
	}, err
}

// began tells the sets of changes how the sandbox keeps them, and hands them to
// the session that fills them.
func (s *sessions) began(live *session) error {
	var errs []error
	for _, o := range live.box.Overlays() {
		s.mu.Lock()
		set := s.sets[o.Store]
		s.mu.Unlock()
		if set == nil {
			errs = append(errs, fault.New("app.changes", fault.Internal, "the changes of %s have no record", o.Dir))
			continue
		}
		live.sets = append(live.sets, set)
		mode := changes.ModeOverlay
		if o.Mode != "overlay" {
			mode = changes.ModeCopy
		}
		errs = append(errs, set.Began(mode))
	}
	return errors.Join(errs...)
}
