package app

import (
	"context"
	"os/user"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/store"
)

// The store is the approval room's book.
var _ approval.Book = (*store.Store)(nil)

// People wires the approval room and gives the owner's key with it, which is
// the one that is trusted. asker is nil where nobody can be asked.
func (a *App) People(ctx context.Context, asker approval.Asker) (*approval.Service, ssh.Signer, error) {
	return a.people(ctx, asker, 0)
}

// people is People for who waits for answers from elsewhere.
func (a *App) people(ctx context.Context, asker approval.Asker, wait time.Duration) (*approval.Service, ssh.Signer, error) {
	st, err := a.Store(ctx)
	if err != nil {
		return nil, nil, err
	}
	signer, err := approval.LoadOrCreateOwner(a.Paths.Keys)
	if err != nil {
		return nil, nil, err
	}
	svc, err := approval.New(approval.Config{
		Book: st, Instance: a.Signer().Origin(), Now: time.Now, Signer: signer, Asker: asker, Wait: wait,
		Trust:    approval.Trust{People: []approval.Person{{Name: ownerName(), Groups: []string{"owner"}, Keys: []ssh.PublicKey{signer.PublicKey()}}}},
		LastTime: st.LastTime,
	})
	return svc, signer, fault.Wrap("app.people", fault.Internal, err)
}

// ownerName names the person behind the owner key: the OS user, who is the
// operator because the state directory is theirs.
func ownerName() string {
	u, err := user.Current()
	if err != nil || u.Username == "" {
		return "owner"
	}
	return u.Username
}
