package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"sync"
	"time"

	"sallyport/internal/egress/credential"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/store"
	"sallyport/internal/vault"
)

// The store is the vault's book.
var _ vault.Book = (*store.Book)(nil)

// strongroom opens the vault when an item is first touched: what touches none
// pays for no key derivation and asks for no passphrase. It is safe for
// concurrent use.
type strongroom struct {
	app  *App
	book vault.Book

	mu    sync.Mutex
	vault *vault.Vault
}

// scheme gives levels and compartments the operator's names.
func (a *App) scheme() label.Scheme {
	return label.Scheme{Levels: a.Config.Labels.Levels, Compartments: a.Config.Labels.Compartments}
}

// clearanceOf gives what somebody may read: the operator, whose disk it is,
// everything; an agent what is configured for it; nobody else anything but
// public.
func (a *App) clearanceOf(_ context.Context, who principal.Principal) (label.Label, error) {
	switch who.Kind {
	case principal.Operator:
		return label.Unlabelled, nil
	case principal.Agent:
		return a.scheme().Parse(a.Config.Agent(who.Name).Clearance)
	default:
		return label.Label{}, nil
	}
}

// open gives the vault. Where there is none yet it is made if create is set,
// with its root key; else that is fault.NotFound.
func (s *strongroom) open(ctx context.Context, create bool) (*vault.Vault, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vault != nil {
		return s.vault, nil
	}
	if err := credential.ProtectProcess(os.Geteuid() != 0); err != nil {
		return nil, err
	}
	_, err := s.book.State(ctx)
	begun := err == nil
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if !begun && !create {
		return nil, fault.New("app.vault", fault.NotFound, "there is no vault yet; `sallyport data put` makes it")
	}
	root, err := s.app.root(ctx, !begun)
	if err != nil {
		return nil, err
	}
	defer root.Wipe()
	c := s.config(root)
	if !begun {
		if s.vault, err = vault.Create(ctx, c); fault.Is(err, fault.Conflict) {
			begun = true // another process was faster
		}
	}
	if begun {
		s.vault, err = vault.Open(ctx, c)
	}
	return s.vault, err
}

func (s *strongroom) config(root vault.Root) vault.Config {
	return vault.Config{Book: s.book, Instance: s.app.Signer().Origin(), Root: root, Check: vault.Clearance(s.app.clearanceOf)}
}

// close wipes the keys.
func (s *strongroom) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vault != nil {
		s.vault.Close()
		s.vault = nil
	}
}

// Files below the directory of keys.
const (
	rootFile   = "vault"        // the root key in the clear, vault.root: file
	sealedFile = "vault.sealed" // sealed by the passphrase, vault.root: passphrase
)

// rootPath is where a root key in a file lies.
func (a *App) rootPath() string {
	if a.Config.Vault.Root == "passphrase" {
		return filepath.Join(a.Paths.Keys, sealedFile)
	}
	if f := a.Config.Vault.File; f != "" {
		return f
	}
	return filepath.Join(a.Paths.Keys, rootFile)
}

// keyringEntry names the keyring's entry: of the configuration, else of this
// installation.
func (a *App) keyringEntry() string {
	if e := a.Config.Vault.Keyring; e != "" {
		return e
	}
	return "sallyport/" + a.Signer().Origin()
}

// root reads the root key from where vault.root says, or makes it the first
// time. A key that is missing is never made anew once something was sealed with
// it. The caller wipes it.
func (a *App) root(ctx context.Context, first bool) (vault.Root, error) {
	switch a.Config.Vault.Root {
	case "keyring":
		r, err := vault.ReadRootFromKeyring(ctx, a.keyringEntry(), a.Env.Lookup)
		if first && fault.Is(err, fault.NotFound) {
			return vault.CreateRootInKeyring(ctx, a.keyringEntry(), a.Env.Lookup)
		}
		return r, err
	case "passphrase":
		return a.sealedRoot(ctx, first)
	default:
		return a.plainRoot(ctx, first)
	}
}

// plainRoot reads the root key's file. Who loses the race to make it reads what
// the other wrote, as soon as it is whole.
func (a *App) plainRoot(ctx context.Context, first bool) (vault.Root, error) {
	path := a.rootPath()
	for try := 0; ; try++ {
		r, err := vault.ReadRootFile(path)
		switch {
		case err == nil:
			return r, nil
		case fault.Is(err, fault.NotFound) && !first:
			return vault.Root{}, missingRoot(path, err)
		case fault.Is(err, fault.NotFound):
			if r, err = vault.CreateRootFile(path); !fault.Is(err, fault.Conflict) {
				return r, err
			}
		case !first || try == 20:
			return vault.Root{}, err
		}
		select {
		case <-ctx.Done():
			return vault.Root{}, fault.Wrap("app.vault", fault.Canceled, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func missingRoot(path string, err error) error {
	return &fault.Error{
		Op: "app.vault", Kind: fault.NotFound, Err: err,
		Public: "the vault's root key is not at " + path + ", so no item opens and no new key is made in its place; put the file back, or restore a backup",
	}
}

// sealedRoot opens the root key with the passphrase, or makes both.
func (a *App) sealedRoot(ctx context.Context, first bool) (vault.Root, error) {
	path := a.rootPath()
	sealed, err := vault.ReadKeyFile(path)
	if err != nil {
		if !fault.Is(err, fault.NotFound) {
			return vault.Root{}, err
		}
		if !first {
			return vault.Root{}, missingRoot(path, err)
		}
		return a.newSealedRoot(ctx, path)
	}
	pass, err := a.unlock.passphrase(ctx, "Passphrase of the vault: ", false)
	if err != nil {
		return vault.Root{}, err
	}
	defer clear(pass)
	return vault.OpenRoot(sealed, pass)
}

// guessTime is how long one guess at the passphrase takes on this machine.
const guessTime = 300 * time.Millisecond

func (a *App) newSealedRoot(ctx context.Context, path string) (vault.Root, error) {
	pass, err := a.unlock.passphrase(ctx, "New passphrase of the vault, at least 12 characters: ", true)
	if err != nil {
		return vault.Root{}, err
	}
	defer clear(pass)
	r := vault.NewRoot()
	sealed, err := vault.SealRoot(r, pass, vault.Calibrate(guessTime))
	if err == nil {
		err = vault.WriteKeyFile(path, sealed)
	}
	if err != nil {
		r.Wipe()
		return vault.Root{}, err
	}
	return r, nil
}

// handle makes an opaque name of an item: it says nothing about it.
func handle(kind string) string {
	b := make([]byte, 10)
	_, _ = rand.Read(b) // never fails, says its documentation
	return kind + "-" + hex.EncodeToString(b)
}
