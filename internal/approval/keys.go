package approval

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/fault"
)

// The files of the owner's key in the keys directory.
const (
	OwnerKey = "owner"     // private, OpenSSH format, mode 0600
	OwnerPub = "owner.pub" // public, as authorized_keys wants it
)

// LoadOrCreateOwner gives the instance's owner key, an Ed25519 key that
// ssh-keygen reads, and makes it on first use. Several processes may race: one
// key wins. A key that others can read is refused.
func LoadOrCreateOwner(dir string) (ssh.Signer, error) {
	path := filepath.Join(dir, OwnerKey)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := createOwner(dir, path); err != nil {
			return nil, fmt.Errorf("approval.owner: %w", err)
		}
	}
	return loadOwner(path)
}

func loadOwner(path string) (ssh.Signer, error) {
	const op = "approval.owner"
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fault.New(op, fault.Config, "the owner key %s is open to others (mode %s): run chmod 600 on it", OwnerKey, info.Mode())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	signer, err := ssh.ParsePrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if t := signer.PublicKey().Type(); t != ssh.KeyAlgoED25519 {
		return nil, fault.New(op, fault.Config, "the owner key is of type %s; Sallyport makes and takes ed25519", t)
	}
	return signer, nil
}

// createOwner writes the key completely before it gets its name; the link
// fails if another process was faster, whose key is then used.
func createOwner(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(priv, "sallyport owner")
	if err != nil {
		return err
	}
	tmp, err := writeTemp(dir, pem.EncodeToMemory(block), 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp) }() // a left-over temporary name harms nobody
	if err := os.Link(tmp, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return err
	}
	public, err := writeTemp(dir, ssh.MarshalAuthorizedKey(sshPub), 0o644)
	if err != nil {
		return err
	}
	return os.Rename(public, filepath.Join(dir, OwnerPub))
}

func writeTemp(dir string, data []byte, mode os.FileMode) (string, error) {
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}
