package approval

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// book is a Book in memory.
type book struct {
	mu         sync.Mutex
	asks       []record.AskRow
	statements map[action.Digest][]record.Statement
	used       map[string]bool
	grants     []record.Grant
}

func newBook() *book {
	return &book{statements: map[action.Digest][]record.Statement{}, used: map[string]bool{}}
}

func (b *book) PutAsk(_ context.Context, row record.AskRow) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	row.ID = fmt.Sprintf("ask%d", len(b.asks)+1)
	b.asks = append(b.asks, row)
	return row.ID, nil
}

func (b *book) find(id string) *record.AskRow {
	for i := range b.asks {
		if b.asks[i].ID == id {
			return &b.asks[i]
		}
	}
	return nil
}

func (b *book) Ask(_ context.Context, id string) (record.AskRow, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if row := b.find(id); row != nil {
		return *row, nil
	}
	return record.AskRow{}, fault.New("book", fault.NotFound, "there is no ask %s", id)
}

func (b *book) AsksAbout(_ context.Context, d action.Digest) ([]record.AskRow, error) {
	all, err := b.Asks(context.Background(), false)
	return slices.DeleteFunc(all, func(r record.AskRow) bool { return r.Digest != d }), err
}

func (b *book) Asks(_ context.Context, openOnly bool) ([]record.AskRow, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []record.AskRow
	for _, r := range b.asks {
		if !openOnly || r.State == record.AskOpen {
			out = append(out, r)
		}
	}
	return out, nil
}

func (b *book) CloseAsk(_ context.Context, id, state string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	row := b.find(id)
	if row == nil || row.State != record.AskOpen {
		return fault.New("book", fault.NotFound, "there is no open ask %s", id)
	}
	row.State = state
	return nil
}

func (b *book) PutStatement(_ context.Context, d action.Digest, envelope []byte, kind string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.statements[d] = append(b.statements[d], record.Statement{Kind: kind, Envelope: envelope})
	return nil
}

func (b *book) Statements(_ context.Context, d action.Digest) ([]record.Statement, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]record.Statement(nil), b.statements[d]...), nil
}

func (b *book) Consumed(_ context.Context, nonce string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used[nonce], nil
}

func (b *book) PutGrant(_ context.Context, g record.Grant, _ string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g.ID == "" {
		g.ID = fmt.Sprintf("g%d", len(b.grants)+1)
	}
	b.grants = append(b.grants, g)
	return g.ID, nil
}

func (b *book) Grants(_ context.Context, agent string, now time.Time) ([]record.Grant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []record.Grant
	for _, g := range b.grants {
		if agent == "" || g.Agent == agent && !g.Revoked && now.Before(g.Expires) {
			out = append(out, g)
		}
	}
	return out, nil
}

func (b *book) Revoke(_ context.Context, id, _ string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.grants {
		if b.grants[i].ID == id {
			b.grants[i].Revoked = true
			return nil
		}
	}
	return fault.New("book", fault.NotFound, "there is no grant %s", id)
}

// lab is a service with its people, a clock and a book.
type lab struct {
	*Service
	book  *book
	now   time.Time
	last  time.Time
	owner ssh.Signer // ann's first key
	spare ssh.Signer // ann's second key
	bob   ssh.Signer // in finance
	eve   ssh.Signer // nobody
	trust Trust      // who counts, now
}

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newLab(t testing.TB, change func(*Config)) *lab {
	t.Helper()
	l := &lab{book: newBook(), now: epoch, owner: newKey(t), spare: newKey(t), bob: newKey(t), eve: newKey(t)}
	cfg := Config{
		Book: l.book, Instance: "test-instance", Now: func() time.Time { return l.now }, Signer: l.owner,
		LastTime: func(context.Context) (time.Time, error) { return l.last, nil },
	}
	l.trust = Trust{People: []Person{
		{Name: "ann", Groups: []string{"owner"}, Clearance: label.Unlabelled, Keys: []ssh.PublicKey{l.owner.PublicKey(), l.spare.PublicKey()}},
		{Name: "bob", Groups: []string{"finance", "owner"}, Clearance: label.Unlabelled, Keys: []ssh.PublicKey{l.bob.PublicKey()}},
	}}
	cfg.Trust = func(context.Context) (*Roster, error) { return NewRoster(l.trust) }
	if change != nil {
		change(&cfg)
	}
	var err error
	if l.Service, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return l
}

func request(t testing.TB, script string, needs ...record.Need) record.ApprovalRequest {
	t.Helper()
	if len(needs) == 0 {
		needs = []record.Need{{Count: 1, Group: "owner"}}
	}
	a := action.Action{Kind: action.Exec, Target: "s1", Agent: "night", Session: "r1", Args: map[string]any{"script": script, "n": 3.5}}
	l := label.New(label.Internal, label.Foreign, 0)
	d, err := a.Digest(l, "set")
	if err != nil {
		t.Fatal(err)
	}
	return record.ApprovalRequest{Action: a, Digest: d, Context: l, PolicySet: "set", Needs: needs, Because: "the owner decides"}
}

// published gives the row of a new ask.
func (l *lab) published(t testing.TB, req record.ApprovalRequest) record.AskRow {
	t.Helper()
	if _, err := l.Await(t.Context(), req); !fault.Is(err, fault.NeedsAsk) {
		t.Fatalf("await: %v", err)
	}
	asks, _ := l.book.Asks(t.Context(), true)
	row := asks[len(asks)-1]
	if row.Digest != req.Digest {
		t.Fatalf("ask for %v, want %v", row.Digest, req.Digest)
	}
	return row
}

func (l *lab) found(t testing.TB, d action.Digest) []record.Approval {
	t.Helper()
	got, err := l.Find(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func rosterOf(t testing.TB, people ...Person) func(context.Context) (*Roster, error) {
	t.Helper()
	r, err := NewRoster(Trust{People: people})
	if err != nil {
		t.Fatal(err)
	}
	return Always(r)
}

// checked verifies one envelope against one ask, as Submit does.
func (l *lab) checked(t testing.TB, row record.AskRow, terms terms, envelope []byte) (string, record.Approval, error) {
	t.Helper()
	r, err := NewRoster(l.trust)
	if err != nil {
		t.Fatal(err)
	}
	return r.check(row, terms, envelope)
}
