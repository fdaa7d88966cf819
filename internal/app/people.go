package app

import (
	"context"
	"os/user"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// The store is the approval room's book.
var _ approval.Book = (*store.Store)(nil)

// People wires the approval room and gives the owner's key with it, which is
// the one that signs unless another is named. asker is nil where nobody can be
// asked.
func (a *App) People(ctx context.Context, asker approval.Asker) (*approval.Service, ssh.Signer, error) {
	return a.people(ctx, asker, 0)
}

// people is People for who waits for answers from elsewhere.
func (a *App) people(ctx context.Context, asker approval.Asker, wait time.Duration) (*approval.Service, ssh.Signer, error) {
	trust, signer, err := a.trusted(ctx)
	if err != nil {
		return nil, nil, err
	}
	svc, err := a.service(ctx, approval.Config{Signer: signer, Asker: asker, Wait: wait, Trust: trust.roster, Requester: requesterOf(trust, signer)})
	return svc, signer, err
}

// service wires an approval room to this installation.
func (a *App) service(ctx context.Context, cfg approval.Config) (*approval.Service, error) {
	st, err := a.Store(ctx)
	if err != nil {
		return nil, err
	}
	cfg.Book, cfg.Instance, cfg.Now, cfg.LastTime = st, a.Signer().Origin(), time.Now, st.LastTime
	svc, err := approval.New(cfg)
	return svc, fault.Wrap("app.people", fault.Internal, err)
}

// requesterOf names who is behind what agents ask: the person whose key lies in
// this state directory, because the agents run on their word.
func requesterOf(trust *trustSource, owner ssh.Signer) func(context.Context, action.Action) string {
	return func(ctx context.Context, _ action.Action) string {
		r, err := trust.roster(ctx)
		if err != nil {
			return ""
		}
		return personOf(r, owner.PublicKey())
	}
}

// provenLedger is a ledger whose grants were signed by an owner of this moment.
type provenLedger struct {
	gate.Ledger
	people *approval.Service
}

// Snapshot implements gate.Ledger.
func (p provenLedger) Snapshot(ctx context.Context, scope record.Scope) (record.Snapshot, error) {
	snap, err := p.Ledger.Snapshot(ctx, scope)
	if err == nil && len(snap.Grants) > 0 {
		snap.Grants, err = p.people.Given(ctx, snap.Grants)
	}
	return snap, err
}

// personOf names who holds a key; who is not in the trust file is nobody.
func personOf(r *approval.Roster, k ssh.PublicKey) string {
	p, _ := r.Holder(k)
	return p.Name
}

// ownerName names the person behind the owner key while there is no trust file:
// the OS user, who is the operator because the state directory is theirs.
func ownerName() string {
	u, err := user.Current()
	if err != nil || !approval.ValidPerson(u.Username) {
		return "owner"
	}
	return u.Username
}
