package approval

import (
	"context"
	"errors"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// Approve signs an ask's statement and stores it; it counts towards the quorum
// like every other answer.
func (s *Service) Approve(ctx context.Context, askID string, signer ssh.Signer) error {
	return s.answer(ctx, askID, record.StatementApprove, signer)
}

// Deny signs and stores a no; one verified no ends the ask.
func (s *Service) Deny(ctx context.Context, askID string, signer ssh.Signer) error {
	return s.answer(ctx, askID, record.StatementDeny, signer)
}

func (s *Service) answer(ctx context.Context, askID, kind string, signer ssh.Signer) error {
	row, payload, err := s.payload(ctx, askID, kind)
	if err != nil {
		return err
	}
	envelope, err := Sign(payload, signer)
	if err != nil {
		return err
	}
	return s.Submit(ctx, row.ID, envelope)
}

// payload gives the statement that answers an open ask.
func (s *Service) payload(ctx context.Context, askID, kind string) (record.AskRow, []byte, error) {
	const op = "approval.answer"
	row, err := s.cfg.Book.Ask(ctx, askID)
	if err != nil {
		return row, nil, err
	}
	if row.State != record.AskOpen && row.State != record.AskApproved {
		return row, nil, fault.New(op, fault.Conflict, "ask %s is over: it was %s", askID, row.State)
	}
	t, err := readAsk(row, s.cfg.Instance)
	if err != nil {
		return row, nil, &fault.Error{Op: op, Kind: fault.Corrupt, Public: "the stored ask " + askID + " does not verify, so nobody can answer it", Err: err}
	}
	if err := s.inTime(t); err != nil {
		return row, nil, err
	}
	if kind == record.StatementApprove {
		return row, row.Payload, nil
	}
	payload, err := t.withKind(kind)
	return row, payload, err
}

// Export gives the exact bytes to sign for an answer with another tool:
// `ssh-keygen -Y sign -n approve@sallyport`.
func (s *Service) Export(ctx context.Context, askID, kind string) ([]byte, error) {
	if kind != record.StatementApprove && kind != record.StatementDeny {
		return nil, fault.New("approval.export", fault.Usage, "an answer is %s or %s", record.StatementApprove, record.StatementDeny)
	}
	_, payload, err := s.payload(ctx, askID, kind)
	if err != nil {
		return nil, err
	}
	return PAE(payload), nil
}

// Import stores an answer that another tool signed, as an armored SSH
// signature over the exported bytes.
func (s *Service) Import(ctx context.Context, askID, kind string, armored []byte) error {
	row, payload, err := s.payload(ctx, askID, kind)
	if err != nil {
		return err
	}
	sig, err := sshsig.Unarmor(armored)
	if err != nil {
		return &fault.Error{Op: "approval.import", Kind: fault.Usage, Public: "that is no armored SSH signature", Err: err}
	}
	envelope, err := wrap(payload, sig)
	if err != nil {
		return err
	}
	return s.Submit(ctx, row.ID, envelope)
}

// ExportSignature gives the armored SSH signature and the signed bytes of a
// stored envelope, as `ssh-keygen -Y verify` takes them.
func ExportSignature(envelope []byte) (armored, signed []byte, err error) {
	payload, sig, err := open(envelope)
	if err != nil {
		return nil, nil, err
	}
	return sshsig.Armor(sig), PAE(payload), nil
}

// Publish stores an ask, or finds the one that asks the same already and is not
// over, without waiting for answers.
func (s *Service) Publish(ctx context.Context, req record.ApprovalRequest) (record.AskRow, error) {
	if err := s.paused(ctx); err != nil {
		return record.AskRow{}, err
	}
	return s.publish(ctx, req)
}

// Submit verifies an envelope about an ask and stores it. What does not verify
// is not stored.
func (s *Service) Submit(ctx context.Context, askID string, envelope []byte) error {
	const op = "approval.submit"
	row, err := s.cfg.Book.Ask(ctx, askID)
	if err != nil {
		return err
	}
	if err := s.paused(ctx); err != nil {
		return err
	}
	t, err := readAsk(row, s.cfg.Instance)
	if err != nil {
		return &fault.Error{Op: op, Kind: fault.Corrupt, Public: "the stored ask " + askID + " does not verify, so nobody can answer it", Err: err}
	}
	if err := s.inTime(t); err != nil {
		return err
	}
	if used, err := s.cfg.Book.Consumed(ctx, t.nonce); err != nil {
		return err
	} else if used {
		return fault.New(op, fault.Conflict, "ask %s was answered and used: an approval is good for one action", askID)
	}
	r, err := s.roster(ctx)
	if err != nil {
		return err
	}
	kind, _, err := r.check(row, t, envelope)
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err // it says itself who may not
	}
	if err != nil {
		return &fault.Error{Op: op, Kind: fault.Denied, Public: "the signature does not verify as an answer to ask " + askID + " by somebody who may give one", Err: err}
	}
	if err := s.cfg.Book.PutStatement(ctx, row.Digest, envelope, kind); err != nil {
		return err
	}
	return s.conclude(ctx, r, row)
}

// conclude closes the ask when the answers decide it. Another process may have
// closed it already.
func (s *Service) conclude(ctx context.Context, r *Roster, row record.AskRow) error {
	rows, err := s.cfg.Book.Statements(ctx, row.Digest)
	if err != nil {
		return err
	}
	v, err := s.review(ctx, r, row, rows)
	if err != nil {
		return err
	}
	state := ""
	switch {
	case v.denier != "":
		state = record.AskDenied
	case v.complete():
		state = record.AskApproved
	default:
		return nil
	}
	if err := s.cfg.Book.CloseAsk(ctx, row.ID, state); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	return nil
}
