package app

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/chacha20poly1305"

	"sallyport/internal/fault"
	"sallyport/internal/store"
)

// asksKey is the file, below the directory of keys, of the key that questions of
// sessions with a label are sealed with in the database. It is not the vault's:
// who answers must be able to read a question without the vault's passphrase.
const asksKey = "asks"

// askSealer seals questions and what was signed about them.
type askSealer struct {
	aead     cipher.AEAD
	instance []byte
}

var _ store.Sealer = askSealer{}

// Seal implements store.Sealer.
func (s askSealer) Seal(text []byte) []byte {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(text)+s.aead.Overhead())
	rand.Read(nonce) // never fails: crypto/rand ends the program instead
	return s.aead.Seal(nonce, nonce, text, s.instance)
}

// Unseal implements store.Sealer.
func (s askSealer) Unseal(sealed []byte) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return nil, errors.New("app.asks: cut short")
	}
	return s.aead.Open(nil, sealed[:n], sealed[n:], s.instance)
}

// openAskSealer reads the key, or makes it the first time.
func openAskSealer(dir, instance string) (askSealer, error) {
	const op = "app.asks"
	path := filepath.Join(dir, asksKey)
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(dir, path); err == nil {
			key, err = os.ReadFile(path) // another process may have been faster
		}
	}
	if err != nil {
		return askSealer{}, fault.Wrap(op, fault.Unavailable, err)
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return askSealer{}, &fault.Error{Op: op, Kind: fault.Corrupt, Err: err, Public: path + " is no key: restore it from a backup, or remove it, and with it every question that was sealed"}
	}
	return askSealer{aead, []byte(instance)}, nil
}

// makeKey makes a key file that appears whole, unless there is one.
func makeKey(dir, path string) (err error) {
	f, err := os.CreateTemp(dir, ".asks-") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	key := make([]byte, chacha20poly1305.KeySize)
	rand.Read(key) // never fails: crypto/rand ends the program instead
	_, werr := f.Write(key)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
