package approval

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// Await publishes an ask and waits for its quorum: at the terminal if there is
// one, and for answers from other processes. Unattended and without Wait it
// returns at once. Whatever is not a complete, verified quorum in time is a
// fault.NeedsAsk error; a verified deny is fault.Denied.
func (s *Service) Await(ctx context.Context, req record.ApprovalRequest) ([]record.Approval, error) {
	if err := s.paused(ctx); err != nil {
		return nil, err
	}
	if len(req.Needs) == 0 {
		return nil, fault.New("approval.await", fault.Internal, "an ask names nobody who could answer it")
	}
	row, err := s.publish(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("approval.await: %w", err)
	}
	if got, done, err := s.look(ctx, row); done || err != nil {
		return got, err
	}
	if s.cfg.Asker == nil && s.cfg.Wait == 0 {
		return nil, s.unanswered(row, req, "nobody is at the terminal")
	}
	return s.wait(ctx, row, req)
}

func (s *Service) unanswered(row record.AskRow, req record.ApprovalRequest, why string) error {
	return fault.New("approval.await", fault.NeedsAsk, "%s; %s: `sallyport approve %s` until %s permits exactly this once",
		req.Because, why, row.ID, row.Expires.UTC().Format("15:04 UTC"))
}

// wait polls the book while the terminal, if any, is asked.
func (s *Service) wait(ctx context.Context, row record.AskRow, req record.ApprovalRequest) ([]record.Approval, error) {
	ctx, cancel := context.WithCancel(ctx)
	var answered <-chan error
	if s.cfg.Asker != nil {
		answered = s.ask(ctx, row, req)
	}
	defer drain(answered)
	defer cancel()
	deadline := time.NewTimer(s.patience(row))
	defer deadline.Stop()
	tick := time.NewTicker(s.cfg.Poll)
	defer tick.Stop()
	for {
		last := "" // why this look is the last one
		select {
		case <-ctx.Done():
			why := "the wait was cut short"
			if errors.Is(ctx.Err(), context.DeadlineExceeded) { // whoever asked waits no longer
				why = "nobody answered in time"
			}
			return nil, s.unanswered(row, req, why)
		case <-deadline.C:
			last = "nobody answered in time"
		case err := <-answered: // nil once the terminal is done
			answered = nil
			if err != nil {
				last = fault.PublicText(err)
			} else if s.cfg.Wait == 0 {
				last = "not everybody needed has answered"
			}
		case <-tick.C:
		}
		if got, done, err := s.look(ctx, row); done || err != nil {
			return got, err
		}
		if last != "" {
			return nil, s.unanswered(row, req, last)
		}
	}
}

// drain waits until the terminal is free again.
func drain(answered <-chan error) {
	if answered == nil {
		return
	}
	for {
		if _, open := <-answered; !open {
			return
		}
	}
}

// patience is how long to wait: at the terminal until the ask expires, unless
// less was configured.
func (s *Service) patience(row record.AskRow) time.Duration {
	left := row.Expires.Sub(s.cfg.Now())
	if s.cfg.Asker == nil || s.cfg.Wait > 0 {
		return min(left, s.cfg.Wait)
	}
	return left
}

// look reads what was answered until now.
func (s *Service) look(ctx context.Context, row record.AskRow) ([]record.Approval, bool, error) {
	rows, err := s.cfg.Book.Statements(ctx, row.Digest)
	if err != nil {
		return nil, false, fmt.Errorf("approval.look: %w", err)
	}
	r, err := s.roster(ctx)
	if err != nil {
		return nil, false, err
	}
	v, err := s.review(ctx, r, row, rows)
	switch {
	case err != nil:
		return nil, false, err
	case v.denier != "":
		return nil, true, fault.New("approval.await", fault.Denied, "%s said no to ask %s", v.denier, row.ID)
	case v.complete():
		return v.approvals, true, nil
	}
	return nil, false, nil
}

// ask puts the question to the terminal. The channel is closed when the
// terminal is free again; an error on it says why there was no answer.
func (s *Service) ask(ctx context.Context, row record.AskRow, req record.ApprovalRequest) <-chan error {
	out := make(chan error, 1)
	go func() {
		defer close(out)
		s.prompt.Lock()
		defer s.prompt.Unlock()
		if ctx.Err() != nil {
			return
		}
		render, err := s.Render(row, req.Advice)
		if err != nil {
			out <- &fault.Error{Op: "approval.ask", Kind: fault.Corrupt, Public: "the stored ask does not verify, so it was not shown", Err: err}
			return
		}
		yes, answered, err := s.cfg.Asker.Ask(ctx, row, render)
		switch {
		case err != nil:
			err = &fault.Error{Op: "approval.ask", Kind: fault.Unavailable, Public: "the terminal could not be asked", Err: err}
		case !answered || ctx.Err() != nil:
		case yes:
			err = s.Approve(ctx, row.ID, s.cfg.Signer)
		default:
			err = s.Deny(ctx, row.ID, s.cfg.Signer)
		}
		if err != nil {
			out <- err
		}
	}()
	return out
}
