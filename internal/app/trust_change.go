package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// trustTarget is the document that trust.change changes here.
const trustTarget = "trust"

// trustLife is how long a version is in force.
const trustLife = 365 * 24 * time.Hour

// TrustChange is how far a change of the trust file is.
type TrustChange struct {
	Version int64    `json:"version"`
	Digest  string   `json:"sha256"`
	State   string   `json:"state"`             // applied or proposed
	Signed  []string `json:"signed"`            // owners, old and new, who signed
	Waits   string   `json:"waits,omitempty"`   // for what a proposal waits
	Changes []string `json:"changes,omitempty"` // against the version in force
	Ended   []string `json:"ended_grants,omitempty"`
}

// ChangeTrust proposes the next version of the trust file with a change made to
// it, signs it with the person's key and applies it when that is enough. A
// proposal that waits already is changed further, and its signatures are void.
func (a *App) ChangeTrust(ctx context.Context, change TrustEdit, by Signing) (TrustChange, error) {
	src, old, digest, err := a.trustBase(ctx)
	if err != nil {
		return TrustChange{}, err
	}
	next := old.Trust().Copy()
	if p, err := src.read(proposedFile); err == nil && follows(p, old, digest) {
		next = p.Trust.Copy()
	}
	next.Version, next.Previous = old.Trust().Version+1, digest
	next.Created = time.Now().UTC().Truncate(time.Second)
	next.Expires = next.Created.Add(trustLife)
	if next.Thresholds == nil {
		next.Thresholds = map[string]int{}
	}
	if err := change(&next); err != nil {
		return TrustChange{}, err
	}
	defaultThresholds(&next)
	s, err := approval.Propose(next)
	if err != nil {
		return TrustChange{}, err
	}
	signer, done, err := a.signerOf(ctx, src, by)
	if err != nil {
		return TrustChange{}, err
	}
	defer done()
	if err := s.Sign(signer, old); err != nil && (by.named() || !fault.Is(err, fault.Denied)) {
		return TrustChange{}, err // the local key of somebody who owns nothing is not insisted on
	}
	return a.settleTrust(ctx, src, old, digest, s, signer)
}

// defaultThresholds gives every group that people are in a threshold, and takes
// those of groups without people.
func defaultThresholds(t *approval.Trust) {
	members := map[string]bool{approval.OwnerGroup: true}
	for _, p := range t.People {
		for _, g := range p.Groups {
			members[g] = true
			t.Thresholds[g] = t.Threshold(g)
		}
	}
	for g := range t.Thresholds {
		if !members[g] {
			delete(t.Thresholds, g)
		}
	}
}

// SignTrust signs the proposal that waits, and applies it when that is enough.
func (a *App) SignTrust(ctx context.Context, by Signing) (TrustChange, error) {
	src, old, digest, err := a.trustBase(ctx)
	if err != nil {
		return TrustChange{}, err
	}
	s, err := src.proposal(old, digest)
	if err != nil {
		return TrustChange{}, err
	}
	signer, done, err := a.signerOf(ctx, src, by)
	if err != nil {
		return TrustChange{}, err
	}
	defer done()
	if err := s.Sign(signer, old); err != nil {
		return TrustChange{}, err
	}
	return a.settleTrust(ctx, src, old, digest, s, signer)
}

// TrustBytes gives the bytes of the proposal that another tool signs:
// `ssh-keygen -Y sign -n trust@sallyport`.
func (a *App) TrustBytes(ctx context.Context) ([]byte, error) {
	src, old, digest, err := a.trustBase(ctx)
	if err != nil {
		return nil, err
	}
	s, err := src.proposal(old, digest)
	if err != nil {
		return nil, err
	}
	return approval.PAE(s.Payload), nil
}

// ImportTrust adds a signature that another tool made to the proposal.
func (a *App) ImportTrust(ctx context.Context, armored []byte) (TrustChange, error) {
	src, old, digest, err := a.trustBase(ctx)
	if err != nil {
		return TrustChange{}, err
	}
	s, err := src.proposal(old, digest)
	if err != nil {
		return TrustChange{}, err
	}
	if err := s.Import(armored, old); err != nil {
		return TrustChange{}, err
	}
	return a.settleTrust(ctx, src, old, digest, s, nil)
}

// ApplyTrust puts a completely signed proposal in force.
func (a *App) ApplyTrust(ctx context.Context) (TrustChange, error) {
	src, old, digest, err := a.trustBase(ctx)
	if err != nil {
		return TrustChange{}, err
	}
	s, err := src.proposal(old, digest)
	if err != nil {
		return TrustChange{}, err
	}
	if _, err := s.VerifyFrom(old, digest); err != nil {
		return TrustChange{}, err
	}
	return a.settleTrust(ctx, src, old, digest, s, nil)
}

// DiscardTrust removes the proposal that waits.
func (a *App) DiscardTrust(ctx context.Context) error {
	src, old, digest, err := a.trustBase(ctx)
	if err != nil {
		return err
	}
	if _, err := src.proposal(old, digest); fault.Is(err, fault.NotFound) {
		return err
	}
	return fault.Wrap("app.trust", fault.Unavailable, os.Remove(filepath.Join(src.dir, proposedFile)))
}

// trustBase gives what a change starts from, after finishing one that was
// pinned by a process that died.
func (a *App) trustBase(ctx context.Context) (*trustSource, *approval.Roster, string, error) {
	src, _, err := a.trusted(ctx)
	if err != nil {
		return nil, nil, "", err
	}
	old, digest, err := src.current(ctx)
	if err != nil {
		return nil, nil, "", err
	}
	if p, err := src.read(proposedFile); err == nil && digest != "" && p.Digest() == digest {
		if err := src.install(p); err != nil {
			return nil, nil, "", err
		}
	}
	return src, old, digest, nil
}

// install moves a version that is pinned to its place.
func (t *trustSource) install(s *approval.SignedTrust) error {
	if cur, err := t.read(trustFile); err == nil && cur.Digest() != s.Digest() {
		if err := t.keep(cur.Trust.Version); err != nil {
			return err
		}
	}
	if err := t.write(trustFile, s); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(t.dir, proposedFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap("app.trust", fault.Unavailable, err)
	}
	return nil
}

func follows(s *approval.SignedTrust, old *approval.Roster, digest string) bool {
	return s.Trust.Version == old.Trust().Version+1 && s.Trust.Previous == digest && s.Trust.Instance == old.Trust().Instance
}

// proposal gives the next version that waits for signatures.
func (t *trustSource) proposal(old *approval.Roster, digest string) (*approval.SignedTrust, error) {
	s, err := t.read(proposedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New("app.trust", fault.NotFound, "no change of the trust file waits; `sallyport trust add-person` and its like propose one")
	}
	if err != nil {
		return nil, err
	}
	if !follows(s, old, digest) {
		return nil, fault.New("app.trust", fault.Conflict, "the proposal of version %d does not follow version %d, which is in force; `sallyport trust discard` and make the change again", s.Trust.Version, old.Trust().Version)
	}
	return s, nil
}

// settleTrust stores a proposal and, when everybody needed has signed it, passes
// it through the gate and puts it in force.
func (a *App) settleTrust(ctx context.Context, src *trustSource, old *approval.Roster, digest string, s *approval.SignedTrust, signer ssh.Signer) (TrustChange, error) {
	out := TrustChange{Version: s.Trust.Version, Digest: s.Digest(), State: "proposed", Signed: []string{}, Changes: trustDiff(old.Trust(), s.Trust)}
	out.Signed = signersOf(s, old)
	if err := src.write(proposedFile, s); err != nil {
		return out, err
	}
	if _, err := s.VerifyFrom(old, digest); fault.Is(err, fault.NeedsAsk) {
		out.Waits = fault.PublicText(err)
		return out, nil
	} else if err != nil {
		return out, err
	}
	person, _, err := a.localPerson(ctx)
	if err != nil {
		return out, err
	}
	if signer != nil {
		person = cmp.Or(personOf(old, signer.PublicKey()), person)
	}
	act := action.Action{Kind: action.TrustChange, Target: trustTarget, Args: map[string]any{
		"diff": strings.Join(out.Changes, "\n"), "version": s.Trust.Version, "sha256": s.Digest(),
	}}
	res, err := a.operate(ctx, act, operation{person: person, signer: signer})
	if err != nil {
		return out, err
	}
	out.State = "applied"
	out.Ended, _ = res.Payload.([]string)
	return out, nil
}

// signersOf names the owners who signed, of the old version or the new.
func signersOf(s *approval.SignedTrust, old *approval.Roster) []string {
	out := []string{}
	next, err := approval.NewRoster(s.Trust)
	if err != nil {
		return out // it was read, so it is one
	}
	for _, sig := range s.Signatures() {
		p, ok := next.Holder(sig.PublicKey)
		if !ok {
			p, ok = old.Holder(sig.PublicKey)
		}
		if ok && !slices.Contains(out, p.Name) {
			out = append(out, p.Name)
		}
	}
	slices.Sort(out)
	return out
}

// applyTrust performs a change of the trust file: it puts exactly the proposal
// in force that the action names.
func (a *App) applyTrust(ctx context.Context, act action.Action) (record.Result, error) {
	src, old, digest, err := a.trustBase(ctx)
	if err != nil {
		return record.Result{}, err
	}
	s, err := src.proposal(old, digest)
	if err != nil {
		return record.Result{}, err
	}
	if s.Digest() != act.Arg("sha256") {
		return record.Result{}, fault.New("app.trust", fault.Conflict, "the proposal was changed while its approval was awaited; sign the new one")
	}
	next, err := s.VerifyFrom(old, digest)
	if err != nil {
		return record.Result{}, err
	}
	// Before the change, so that a process that dies leaves no grant of somebody
	// who is gone, and after it, because one may have been given meanwhile.
	ended, err := a.endGrants(ctx, next)
	if err != nil {
		return record.Result{}, err
	}
	if err := src.pins.SetTrustPin(ctx, s.Trust.Version, s.Digest()); err != nil {
		return record.Result{}, err
	}
	if err := src.install(s); err != nil {
		return record.Result{}, err
	}
	more, err := a.endGrants(ctx, next)
	return record.Result{Payload: append(ended, more...), Data: map[string]any{"version": s.Trust.Version, "sha256": s.Digest()}}, err
}

func (a *App) endGrants(ctx context.Context, r *approval.Roster) ([]string, error) {
	svc, err := a.service(ctx, approval.Config{Trust: approval.Always(r)})
	if err != nil {
		return nil, err
	}
	return svc.EndGrants(ctx, "trust version "+fmt.Sprint(r.Trust().Version))
}

// trustDiff says in words what a version changes.
func trustDiff(old, next approval.Trust) []string {
	out := []string{}
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, p := range old.People {
		if _, ok := next.Person(p.Name); !ok {
			say("remove %s", p.Name)
		}
	}
	for _, p := range next.People {
		was, ok := old.Person(p.Name)
		if !ok {
			say("add %s (%s), cleared for %s, keys %s", p.Name, cmp.Or(strings.Join(sorted(p.Groups), ", "), "no group"), p.Clearance, strings.Join(prints(p.Keys), " "))
			continue
		}
		if x, y := strings.Join(sorted(was.Groups), ", "), strings.Join(sorted(p.Groups), ", "); x != y {
			say("%s: groups %s instead of %s", p.Name, y, x)
		}
		if !was.Clearance.ConfFlowsTo(p.Clearance) || !p.Clearance.ConfFlowsTo(was.Clearance) {
			say("%s: cleared for %s instead of %s", p.Name, p.Clearance, was.Clearance)
		}
		before, after := prints(was.Keys), prints(p.Keys)
		for _, k := range before {
			if !slices.Contains(after, k) {
				say("%s: remove key %s", p.Name, k)
			}
		}
		for _, k := range after {
			if !slices.Contains(before, k) {
				say("%s: add key %s", p.Name, k)
			}
		}
	}
	for _, g := range groupsOf(old, next) {
		if x, y := old.Threshold(g), next.Threshold(g); x != y {
			say("group %s: %d instead of %d must sign", g, y, x)
		}
	}
	if len(out) == 0 {
		return trustSame(old, next)
	}
	return out
}

// trustSame says what a version is for that changes nobody.
func trustSame(old, next approval.Trust) []string {
	if old.Version > 0 {
		return []string{"nothing but the date of expiry, " + next.Expires.Format(time.DateOnly)}
	}
	out := []string{}
	for _, p := range next.People {
		out = append(out, fmt.Sprintf("%s (%s), cleared for %s, as it was without a file", p.Name, strings.Join(sorted(p.Groups), ", "), p.Clearance))
	}
	return out
}

func sorted(ss []string) []string { return slices.Sorted(slices.Values(ss)) }

func prints(keys []ssh.PublicKey) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = ssh.FingerprintSHA256(k)
	}
	slices.Sort(out)
	return out
}

func groupsOf(ts ...approval.Trust) []string {
	var out []string
	for _, t := range ts {
		for g := range t.Thresholds {
			out = append(out, g)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
