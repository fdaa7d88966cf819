package approval

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

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
	r, err := s.roster(ctx)
	if err != nil {
		return g, nil, err
	}
	id := ssh.FingerprintSHA256(signer.PublicKey())
	if !r.owns(signer.PublicKey()) {
		return g, nil, fault.New(op, fault.Denied, "only an owner gives grants, and nobody in the trust file holds key %s as one", id)
	}
	g.ID = strings.ToLower(rand.Text()[:8])
	envelope, err := s.signGrant(g, now, signer)
	if err != nil {
		return g, nil, err
	}
	// The statement first: a grant without one does not outlive a change of trust.
	if err := s.cfg.Book.PutStatement(ctx, grantKey(g.ID), envelope, record.StatementGrant); err != nil {
		return g, nil, err
	}
	p, _ := r.Holder(signer.PublicKey())
	if g.ID, err = s.cfg.Book.PutGrant(ctx, g, p.Name+" "+id); err != nil {
		return g, nil, err
	}
	return g, envelope, nil
}

// grantKey is where the book keeps the statement of a grant.
func grantKey(id string) action.Digest { return sha256.Sum256([]byte("sallyport grant " + id)) }

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
	object := grantObject(g)
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
	return envelope, verify(payload, sig, signer.PublicKey(), Namespace)
}

func grantObject(g record.Grant) map[string]any {
	return map[string]any{
		"id": g.ID, "agent": g.Agent, "kind": string(g.Kind), "target": g.Target, "parent": g.Parent, "uses": g.Uses,
		"expires": stamp(g.Expires), "because": g.Because,
	}
}

// EndGrants ends every live grant that no owner of this moment has signed, and
// those delegated from them, and gives their ids. It is called when the trust
// file changes, so that a person or key that is removed leaves nothing behind.
func (s *Service) EndGrants(ctx context.Context, by string) ([]string, error) {
	r, err := s.roster(ctx)
	if err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	all, err := s.cfg.Book.Grants(ctx, "", now)
	if err != nil {
		return nil, err
	}
	var ended []string
	for _, g := range all {
		if g.Revoked || !now.Before(g.Expires) {
			continue
		}
		rows, err := s.cfg.Book.Statements(ctx, grantKey(g.ID))
		if err != nil {
			return ended, err
		}
		if slices.ContainsFunc(rows, func(st record.Statement) bool { return r.granted(g, st.Envelope, s.cfg.Instance) }) {
			continue
		}
		if err := s.cfg.Book.Revoke(ctx, g.ID, by); err != nil {
			return ended, err
		}
		ended = append(ended, g.ID)
	}
	return ended, nil
}

// granted reports whether an envelope is an owner's statement of that grant. The
// uses that are left may be fewer than those that were signed.
func (r *Roster) granted(g record.Grant, envelope []byte, instance string) bool {
	payload, sig, err := open(envelope)
	if err != nil || !r.owns(sig.PublicKey) || verify(payload, sig, sig.PublicKey, Namespace) != nil {
		return false
	}
	all, err := action.ParseObject(payload)
	if err != nil {
		return false
	}
	p, _ := all["predicate"].(map[string]any)
	signed, _ := p["grant"].(map[string]any)
	uses, _ := signed["uses"].(int64)
	if p["kind"] != record.StatementGrant || p["instance"] != instance || all["predicateType"] != PredicateType {
		return false
	}
	if uses > 0 && (g.Uses == 0 || int64(g.Uses) > uses) {
		return false
	}
	g.Uses = int(uses)
	want, err := action.Canonical(grantObject(g))
	have, err2 := action.Canonical(signed)
	return err == nil && err2 == nil && bytes.Equal(want, have)
}

// given remembers which grants were found to be signed by an owner, as long as
// the same people are trusted.
type given struct {
	mu     sync.Mutex
	by     *Roster
	grants map[string]record.Grant
}

// maxGiven bounds how many grants are remembered.
const maxGiven = 1024

// Given gives those of an agent's live grants that an owner of this moment has
// signed just as they are, and so all that they were delegated from: a row that
// somebody wrote or widened permits nothing. While no signature counts, none does.
func (s *Service) Given(ctx context.Context, live []record.Grant) ([]record.Grant, error) {
	r, err := s.roster(ctx)
	if err != nil {
		return nil, nil //nolint:nilerr // what is not permitted in advance is asked for, and there the error is told
	}
	signed := make(map[string]record.Grant, len(live))
	for _, g := range live {
		ok, err := s.signed(ctx, r, g)
		if err != nil {
			return nil, err
		}
		if ok {
			signed[g.ID] = g
		}
	}
	var out []record.Grant
	for _, g := range live {
		at, ok := signed[g.ID]
		for depth := 0; ok && at.Parent != "" && depth <= len(live); depth++ {
			at, ok = signed[at.Parent]
		}
		if ok && at.Parent == "" {
			out = append(out, g)
		}
	}
	return out, nil
}

// signed reports whether an owner's statement of a grant is stored.
func (s *Service) signed(ctx context.Context, r *Roster, g record.Grant) (bool, error) {
	s.given.mu.Lock()
	defer s.given.mu.Unlock()
	if s.given.by != r || len(s.given.grants) >= maxGiven {
		s.given.by, s.given.grants = r, map[string]record.Grant{}
	}
	had, ok := s.given.grants[g.ID]
	fewer := had.Uses == g.Uses || 0 < g.Uses && g.Uses < had.Uses
	if had.Uses = g.Uses; ok && fewer && had == g {
		return true, nil
	}
	rows, err := s.cfg.Book.Statements(ctx, grantKey(g.ID))
	if err != nil {
		return false, fmt.Errorf("approval.given: %w", err)
	}
	if !slices.ContainsFunc(rows, func(st record.Statement) bool { return r.granted(g, st.Envelope, s.cfg.Instance) }) {
		return false, nil
	}
	s.given.grants[g.ID] = g
	return true, nil
}

// Revoke ends a grant at once. Narrowing needs no signature.
func (s *Service) Revoke(ctx context.Context, id, by string) error {
	return s.cfg.Book.Revoke(ctx, id, by)
}
