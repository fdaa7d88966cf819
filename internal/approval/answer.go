package approval

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
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
	kind, _, err := s.check(row, t, envelope)
	if err != nil {
		return &fault.Error{Op: op, Kind: fault.Denied, Public: "the signature does not verify as an answer to ask " + askID + " by somebody who may give one", Err: err}
	}
	if err := s.cfg.Book.PutStatement(ctx, row.Digest, envelope, kind); err != nil {
		return err
	}
	return s.conclude(ctx, row)
}

// conclude closes the ask when the answers decide it. Another process may have
// closed it already.
func (s *Service) conclude(ctx context.Context, row record.AskRow) error {
	rows, err := s.cfg.Book.Statements(ctx, row.Digest)
	if err != nil {
		return err
	}
	v, err := s.review(ctx, row, rows)
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

// MaxGrant bounds how long a standing permission lives.
const MaxGrant = 90 * 24 * time.Hour

// Grant gives a standing permission, signed by an owner: scoped to one agent,
// kind and target, expiring, never wider than its parent. It returns the grant
// with its id and the signed envelope.
func (s *Service) Grant(ctx context.Context, g record.Grant, signer ssh.Signer) (record.Grant, []byte, error) {
	const op = "approval.grant"
	now := s.cfg.Now()
	g.Expires = stampOf(g.Expires) // what is signed has whole seconds
	if err := s.paused(ctx); err != nil {
		return g, nil, err
	}
	_, known := action.RowOf(g.Kind)
	switch {
	case !known:
		return g, nil, fault.New(op, fault.Usage, "%q is not a capability", g.Kind)
	case g.Agent == "" || g.Target == "" || g.Uses < 0 || g.Revoked:
		return g, nil, fault.New(op, fault.Usage, "a grant names an agent, a target (exact, or ending in *) and no negative number of uses")
	case !g.Expires.After(now) || g.Expires.Sub(now) > MaxGrant:
		return g, nil, fault.New(op, fault.Usage, "a grant expires within %d days from now", int(MaxGrant.Hours()/24))
	}
	if err := s.checkParent(ctx, g, now); err != nil {
		return g, nil, err
	}
	id := ssh.FingerprintSHA256(signer.PublicKey())
	h, ok := s.keys[id]
	if !ok || !slices.Contains(h.person.Groups, "owner") {
		return g, nil, fault.New(op, fault.Denied, "only an owner gives grants, and nobody trusted holds this key as one")
	}
	envelope, err := s.signGrant(g, now, signer)
	if err != nil {
		return g, nil, err
	}
	if g.ID, err = s.cfg.Book.PutGrant(ctx, g, h.person.Name+" "+id); err != nil {
		return g, nil, err
	}
	return g, envelope, nil
}

func (s *Service) checkParent(ctx context.Context, g record.Grant, now time.Time) error {
	if g.Parent == "" {
		return nil
	}
	all, err := s.cfg.Book.Grants(ctx, g.Agent, now)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(p record.Grant) bool { return p.ID == g.Parent })
	if i < 0 {
		return fault.New("approval.grant", fault.NotFound, "agent %s has no live grant %s to delegate from", g.Agent, g.Parent)
	}
	if !g.Within(all[i]) {
		return fault.New("approval.grant", fault.Denied, "the grant would be wider than grant %s it comes from: narrow it", g.Parent)
	}
	return nil
}

// signGrant makes the statement about a grant; its subject is the digest of
// the grant itself.
func (s *Service) signGrant(g record.Grant, now time.Time, signer ssh.Signer) ([]byte, error) {
	object := map[string]any{
		"agent": g.Agent, "kind": string(g.Kind), "target": g.Target, "parent": g.Parent, "uses": g.Uses,
		"expires": stamp(g.Expires), "because": g.Because,
	}
	b, err := action.Canonical(object)
	if err != nil {
		return nil, fmt.Errorf("approval.grant: %w", err)
	}
	payload, err := action.Canonical(statement("grant", action.Digest(sha256.Sum256(b)).String(), map[string]any{
		"instance": s.cfg.Instance, "kind": record.StatementGrant, "grant": object, "not_before": stamp(now), "expires": stamp(g.Expires),
	}))
	if err != nil {
		return nil, fmt.Errorf("approval.grant: %w", err)
	}
	envelope, err := Sign(payload, signer)
	if err != nil {
		return nil, err
	}
	// Verify what was just made: a signer that answers with rubbish must not
	// leave a grant behind.
	_, sig, err := open(envelope)
	if err != nil {
		return nil, err
	}
	return envelope, verify(payload, sig, signer.PublicKey())
}

// Revoke ends a grant at once. Narrowing needs no signature.
func (s *Service) Revoke(ctx context.Context, id, by string) error {
	return s.cfg.Book.Revoke(ctx, id, by)
}
