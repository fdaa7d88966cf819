package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/store"
)

// The files of the trust file in the keys directory.
const (
	trustFile     = "trust.json"          // the version in force
	proposedFile  = "trust.proposed.json" // the next one, while it is being signed
	oldTrustFiles = "trust.%d.json"       // those before, so that the chain can be verified
)

// trustPins remembers which version is in force, where putting an older file
// back does not reach. The store implements it.
type trustPins interface {
	// TrustPin gives the version in force and the digest of its payload; 0 and ""
	// while there is none.
	TrustPin(ctx context.Context) (version int64, digest string, err error)
	// SetTrustPin moves to a greater version; fault.Conflict for any other.
	SetTrustPin(ctx context.Context, version int64, digest string) error
}

var _ trustPins = (*store.Store)(nil)

// trustSource gives who is trusted at this moment. It reads the file again when
// the file or the pin moved, so that a running process follows a change at its
// next decision. It is safe for concurrent use.
type trustSource struct {
	dir      string // of keys
	instance string
	owner    ssh.PublicKey
	pins     trustPins

	mu     sync.Mutex
	cached *approval.Roster
	pin    string      // digest that cached belongs to
	seen   fs.FileInfo // of the file that cached was read from
}

// trusted gives the source of trust and the key of this state directory.
func (a *App) trusted(ctx context.Context) (*trustSource, ssh.Signer, error) {
	st, err := a.Store(ctx)
	if err != nil {
		return nil, nil, err
	}
	signer, err := approval.LoadOrCreateOwner(a.Paths.Keys)
	if err != nil {
		return nil, nil, err
	}
	return &trustSource{dir: a.Paths.Keys, instance: a.Signer().Origin(), owner: signer.PublicKey(), pins: st}, signer, nil
}

// roster implements approval.Config.Trust.
func (t *trustSource) roster(ctx context.Context) (*approval.Roster, error) {
	r, _, err := t.current(ctx)
	return r, err
}

// current gives the roster in force and its digest, "" without a trust file.
func (t *trustSource) current(ctx context.Context) (*approval.Roster, string, error) {
	version, digest, err := t.pins.TrustPin(ctx)
	if err != nil {
		return nil, "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Lstat(filepath.Join(t.dir, trustFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", fault.Wrap("app.trust", fault.Unavailable, err)
	}
	if t.cached != nil && t.pin == digest && same(t.seen, info) {
		return t.cached, digest, nil
	}
	t.cached = nil
	r, err := t.load(version, digest, info != nil)
	if err != nil {
		return nil, "", err
	}
	t.cached, t.pin, t.seen = r, digest, info
	return r, digest, nil
}

// same reports whether a file is the one that was read.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func (t *trustSource) load(version int64, digest string, exists bool) (*approval.Roster, error) {
	const op = "app.trust"
	if version == 0 {
		if exists {
			return nil, fault.New(op, fault.Config, "keys/%s was never applied here, so nobody in it is trusted and no signature counts; remove it, or make one with `sallyport trust init`", trustFile)
		}
		return approval.NewRoster(approval.Trust{Instance: t.instance, People: []approval.Person{{
			Name: ownerName(), Groups: []string{approval.OwnerGroup}, Keys: []ssh.PublicKey{t.owner}, Clearance: label.Unlabelled,
		}}})
	}
	s, err := t.read(trustFile)
	if err == nil && s.Digest() == digest {
		return s.VerifySelf(t.instance)
	}
	// A change that was pinned and whose process died before it moved the file.
	if p, perr := t.read(proposedFile); perr == nil && p.Digest() == digest {
		return p.VerifySelf(t.instance)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.New(op, fault.Config, "keys/%s is missing and version %d of it is in force (SHA-256 %s), so no signature counts; put it back from a backup", trustFile, version, digest)
	case err != nil:
		return nil, err
	case s.Trust.Version < version:
		return nil, fault.New(op, fault.Config, "keys/%s is version %d and version %d is in force: an older file was put back, so no signature counts; put version %d (SHA-256 %s) back from a backup", trustFile, s.Trust.Version, version, version, digest)
	}
	return nil, fault.New(op, fault.Config, "keys/%s is not the version %d that was applied here (SHA-256 %s), so no signature counts; put that back, and change it with `sallyport trust`", trustFile, version, digest)
}

// read reads one of the files.
func (t *trustSource) read(name string) (*approval.SignedTrust, error) {
	f, err := openRegular(filepath.Join(t.dir, name))
	if err != nil {
		return nil, &fault.Error{Op: "app.trust", Kind: fault.Config, Public: "keys/" + name + " cannot be read, so no signature counts", Err: err}
	}
	defer f.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(io.LimitReader(f, approval.MaxTrustFile+1))
	if err != nil {
		return nil, fault.Wrap("app.trust", fault.Unavailable, err)
	}
	if len(b) > approval.MaxTrustFile {
		return nil, fault.New("app.trust", fault.Config, "keys/%s is larger than 1 MiB and no trust file", name)
	}
	return approval.ReadTrust(bytes.TrimSuffix(b, []byte("\n")))
}

// write replaces one of the files whole, mode 0600.
func (t *trustSource) write(name string, s *approval.SignedTrust) error {
	b, err := s.Envelope()
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(t.dir, name), append(b, '\n'))
}

// replaceFile gives a file new content: a reader sees the old one or the new
// one, whole.
func replaceFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err == nil {
		_, err = tmp.Write(data)
		err = errors.Join(err, tmp.Sync(), tmp.Close())
		if err == nil {
			err = os.Rename(tmp.Name(), path)
		}
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return fault.Wrap("app.write", fault.Unavailable, err)
}

// syncDir makes names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// keep puts the version in force beside the new one, for who verifies the chain.
func (t *trustSource) keep(version int64) error {
	if version == 0 {
		return nil
	}
	err := os.Link(filepath.Join(t.dir, trustFile), filepath.Join(t.dir, fmt.Sprintf(oldTrustFiles, version)))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return fault.Wrap("app.trust", fault.Unavailable, err)
}
