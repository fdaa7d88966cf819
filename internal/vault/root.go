package vault

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"sallyport/internal/fault"
)

// Root is a root key. Copies share one memory, so that wiping one wipes all; no
// verb and no encoder prints it. The zero Root is none and opens nothing.
type Root struct {
	// use calls with the key. Nothing can print what a closure holds.
	use func(func(*[keySize]byte))
}

// NewRoot makes a random root key.
func NewRoot() Root {
	var k [keySize]byte
	rand.Read(k[:]) // never fails: crypto/rand ends the program instead
	return rootOf(&k)
}

// rootOf takes a copy of k, which it wipes.
func rootOf(k *[keySize]byte) Root {
	own := *k
	clear(k[:])
	return Root{func(f func(*[keySize]byte)) { f(&own) }}
}

// Wipe overwrites the key. It must not run beside other uses of it.
func (r Root) Wipe() {
	if r.use != nil {
		r.use(func(k *[keySize]byte) { clear(k[:]) })
	}
}

const redacted = "[root key]"

// String gives "[root key]".
func (Root) String() string { return redacted }

// Format writes "[root key]" whatever the verb is.
func (Root) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText gives "[root key]".
func (Root) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue gives "[root key]".
func (Root) LogValue() slog.Value { return slog.StringValue(redacted) }

// derived are the two keys a vault works with; the root key itself is not kept.
type derived struct {
	wrap cipher.AEAD // wraps KEKs
	mac  [keySize]byte
}

// derive parts the root key by purpose.
func (r Root) derive() (*derived, error) {
	const op = "vault.root"
	if r.use == nil {
		return nil, fault.New(op, fault.Config, "the vault has no root key; give a passphrase, a key file or a keyring entry")
	}
	var d derived
	var err error
	r.use(func(k *[keySize]byte) {
		if *k == ([keySize]byte{}) {
			err = fault.New(op, fault.Config, "the root key was wiped; read it again from where it is kept")
			return
		}
		var wrap, mac []byte
		if wrap, err = hkdf.Key(sha256.New, k[:], nil, purposeKEK, keySize); err != nil {
			return
		}
		defer clear(wrap)
		if mac, err = hkdf.Key(sha256.New, k[:], nil, purposeState, keySize); err != nil {
			return
		}
		d.mac = [keySize]byte(mac)
		clear(mac)
		d.wrap, err = newAEAD(wrap)
	})
	if err != nil {
		return nil, fault.Wrap(op, fault.KindOf(err), err)
	}
	return &d, nil
}

func (d *derived) wipe() {
	wipeAEAD(d.wrap)
	clear(d.mac[:])
}

// seal computes the seal of a state.
func (d *derived) seal(instance string, s State) string {
	b := appendField(nil, purposeState)
	b = appendField(b, instance)
	b = appendUint32(b, s.Generation)
	b = appendUint32(b, s.Epoch)
	b = appendUint32(b, s.Oldest)
	h := hmac.New(sha256.New, d.mac[:])
	h.Write(b)
	return string(h.Sum(nil))
}

// rootText is how a root key is written where it is kept in the clear: one line.
const rootText = "sallyport-root-1 key "

// text renders the key; the caller wipes what it gets.
func (r Root) text() []byte {
	b := []byte(rootText)
	r.use(func(k *[keySize]byte) { b = base64.RawURLEncoding.AppendEncode(b, k[:]) })
	return append(b, '\n')
}

// parseRoot reads what text renders.
func parseRoot(b []byte) (Root, error) {
	line, _ := strings.CutSuffix(string(b), "\n")
	enc, ok := strings.CutPrefix(line, rootText)
	if !ok || strings.ContainsAny(enc, "\r\n") { // the decoder would pass over them
		return Root{}, errors.New("it is no root key of a vault")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(enc)
	if err != nil || len(raw) != keySize {
		clear(raw)
		return Root{}, errors.New("the root key in it is damaged")
	}
	defer clear(raw)
	return rootOf((*[keySize]byte)(raw)), nil
}

// maxRootFile bounds what is read of a key file, in bytes.
const maxRootFile = 4096

// CreateRootFile makes a root key and writes it to a new file with mode 0600.
// An existing file is a fault.Conflict and stays as it is: the key in it may be
// the only one that opens a vault.
func CreateRootFile(path string) (Root, error) {
	r := NewRoot()
	text := r.text()
	defer clear(text)
	if err := WriteKeyFile(path, text); err != nil {
		r.Wipe()
		return Root{}, err
	}
	return r, nil
}

// WriteKeyFile writes text, a sealed root key or a backup, durably to a new file
// with mode 0600. An existing file is a fault.Conflict and stays as it is.
func WriteKeyFile(path string, text []byte) (err error) {
	const op = "vault.write_key"
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return &fault.Error{Op: op, Kind: fault.Conflict, Err: err, Public: "the key file exists already and is never overwritten; name another one or move it away"}
	}
	if err != nil {
		return &fault.Error{Op: op, Kind: fault.Config, Err: err, Public: "the key file cannot be created; correct its path or the directory's rights"}
	}
	defer func() {
		if err != nil {
			_ = os.Remove(path) // half a key is none
			err = fault.Wrap(op, fault.Internal, err)
		}
	}()
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = dir.Sync()
	_ = dir.Close() // nothing was written through it
	return err
}

// ReadRootFile reads a root key from a regular file nobody but its owner can
// read; a symbolic link is refused.
func ReadRootFile(path string) (Root, error) {
	b, err := ReadKeyFile(path)
	if err != nil {
		return Root{}, err
	}
	defer clear(b)
	r, err := parseRoot(b)
	if err != nil {
		return Root{}, &fault.Error{Op: opReadKey, Kind: fault.Config, Err: err, Public: "the key file holds no whole root key; name the right file, or restore the key from its backup"}
	}
	return r, nil
}

const opReadKey = "vault.read_key"

// ReadKeyFile reads a file of at most 4 KiB under the rules of ReadRootFile: a
// root key or a sealed one. The caller wipes what it gets.
func ReadKeyFile(path string) ([]byte, error) {
	// Without O_NONBLOCK the open of a pipe would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|noFollow|syscall.O_NONBLOCK, 0)
	if err != nil {
		kind := fault.Config
		if errors.Is(err, os.ErrNotExist) {
			kind = fault.NotFound
		}
		return nil, &fault.Error{Op: opReadKey, Kind: kind, Err: err, Public: "the key file cannot be opened as a regular file; correct the path, a link is not followed"}
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, fault.Wrap(opReadKey, fault.Internal, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fault.New(opReadKey, fault.Config, "the key file is no regular file (%s); name a regular file", info.Mode().Type())
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fault.New(opReadKey, fault.Config, "the key file has mode %04o, so others can reach it; set its mode to 0600 and consider the key read", info.Mode().Perm())
	}
	b := make([]byte, maxRootFile+1)
	n, err := io.ReadFull(f, b)
	switch {
	case err == nil:
		clear(b)
		return nil, fault.New(opReadKey, fault.Config, "the key file is longer than %d bytes, which is no key; name the right one", maxRootFile)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return b[:n], nil
	}
	return nil, fault.Wrap(opReadKey, fault.Unavailable, err)
}
