package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sallyport/internal/fault"
)

// Names of the key files in the key directory.
const (
	KeyFile      = "log.key" // private, mode 0600
	VerifierFile = "log.pub" // public verifier, to be pinned elsewhere
)

// Checkpoint is a tree head.
type Checkpoint struct {
	Origin string // the instance whose log it is
	Size   int64  // entries
	Root   Hash
}

func (c Checkpoint) text() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" +
		base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// Signer signs checkpoints of one instance.
type Signer struct {
	origin   string
	signer   note.Signer
	verifier note.Verifier
	public   string
}

// OpenKeys reads the log's keys from dir and makes them when neither file
// exists. The instance id is the keys' name and the checkpoints' origin; it
// must be non-empty without space or plus sign. One file without the other, a
// key others may read, and a key of another instance are errors.
func OpenKeys(dir, instance string) (*Signer, error) {
	const op = "audit.openKeys"
	key := filepath.Join(dir, KeyFile)
	info, err := os.Stat(key)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, VerifierFile)); err == nil {
			return nil, fault.New(op, fault.Corrupt,
				"the log's private key is gone but its public half is there: restore keys/%s from a backup, a new key would make old checkpoints unverifiable", KeyFile)
		}
		if err := makeKeys(dir, instance); err != nil {
			return nil, fault.Wrap(op, fault.Internal, err)
		}
		info, err = os.Stat(key)
	}
	if err != nil {
		return nil, fault.Wrap(op, fault.Internal, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fault.New(op, fault.Config, "keys/%s may be read by others (mode %04o): run chmod 600 on it", KeyFile, info.Mode().Perm())
	}
	skey, err := os.ReadFile(key)
	if err != nil {
		return nil, fault.Wrap(op, fault.Internal, err)
	}
	vkey, err := os.ReadFile(filepath.Join(dir, VerifierFile))
	if errors.Is(err, os.ErrNotExist) {
		// A run that was killed between the two files left the private one.
		var public string
		if public, err = publicOf(strings.TrimSpace(string(skey))); err == nil {
			vkey, err = []byte(public), writeNew(filepath.Join(dir, VerifierFile), public, 0o644)
		}
	}
	if err != nil {
		return nil, fault.Wrap(op, fault.Internal, err)
	}
	return newSigner(instance, strings.TrimSpace(string(skey)), strings.TrimSpace(string(vkey)))
}

// publicOf derives the verifier from a private key in note's encoding,
// PRIVATE+KEY+name+hash+base64(algorithm, seed).
func publicOf(skey string) (string, error) {
	parts := strings.SplitN(skey, "+", 5)
	if len(parts) != 5 {
		return "", errors.New("the private key is damaged")
	}
	raw, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return "", errors.New("the private key is damaged")
	}
	public, ok := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", errors.New("the private key is of another kind")
	}
	return note.NewEd25519VerifierKey(parts[2], public)
}

func newSigner(instance, skey, vkey string) (*Signer, error) {
	const op = "audit.newSigner"
	s, err := note.NewSigner(skey)
	if err != nil {
		// The error of note may quote the key; it must not travel.
		return nil, fault.New(op, fault.Corrupt, "the log's private key is damaged: restore keys/%s from a backup", KeyFile)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil || v.KeyHash() != s.KeyHash() || v.Name() != s.Name() {
		return nil, fault.New(op, fault.Corrupt, "keys/%s and keys/%s are not a pair: restore them from a backup", KeyFile, VerifierFile)
	}
	if s.Name() != instance {
		return nil, fault.New(op, fault.Corrupt, "the log's key belongs to instance %s, not %s: keys and database were mixed up", s.Name(), instance)
	}
	return &Signer{origin: instance, signer: s, verifier: v, public: vkey}, nil
}

// makeKeys writes the public half last: it can be derived from the private one.
func makeKeys(dir, instance string) error {
	skey, vkey, err := note.GenerateKey(rand.Reader, instance)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := writeNew(filepath.Join(dir, KeyFile), skey, 0o600); err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, VerifierFile), vkey, 0o644)
}

func writeNew(path, text string, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text + "\n")
	return errors.Join(err, f.Sync(), f.Close())
}

// Verifier gives the public verifier key, to be pinned elsewhere.
func (s *Signer) Verifier() string { return s.public }

// Origin gives the instance id.
func (s *Signer) Origin() string { return s.origin }

// Sign makes the signed note of a checkpoint.
func (s *Signer) Sign(size int64, root Hash) ([]byte, error) {
	b, err := note.Sign(&note.Note{Text: Checkpoint{s.origin, size, root}.text()}, s.signer)
	if err != nil {
		return nil, fmt.Errorf("audit.sign: %w", err)
	}
	return b, nil
}

// Check reads a checkpoint that this instance signed.
func (s *Signer) Check(signed []byte) (size int64, root Hash, err error) {
	c, err := openCheckpoint(signed, s.verifier)
	return c.Size, c.Root, err
}

// Leaf, Commit, Grow, Root and Peaks make Signer the one value that a store
// needs; they are the package's pure functions.

// Leaf encodes an entry; texts are made to fit.
func (s *Signer) Leaf(seq int64, at time.Time, kind, agent, session, decision, label string, rules []string, commit map[string][32]byte) ([]byte, error) {
	l := Leaf{
		Seq: seq, Time: at.Truncate(time.Microsecond), Kind: Text(kind), Agent: Text(agent), Session: Text(session),
		Decision: Text(decision), Label: Text(label), Commit: commit, Rules: make([]string, 0, min(len(rules), maxRules)),
	}
	for i, r := range rules {
		if i == maxRules {
			break
		}
		l.Rules = append(l.Rules, Text(r))
	}
	return l.Bytes()
}

// Commit is the function Commit.
func (s *Signer) Commit(name string, salt, value []byte) [32]byte { return Commit(name, salt, value) }

// Grow is the function Grow.
func (s *Signer) Grow(n int64, peaks []Hash, leaf []byte) (stored, next []Hash, err error) {
	return Grow(n, peaks, leaf)
}

// Root is the function Root.
func (s *Signer) Root(peaks []Hash) Hash { return Root(peaks) }

// Peaks is the function Peaks.
func (s *Signer) Peaks(n int64) (leaves []int64, levels []int) { return Peaks(n) }

// OpenCheckpoint checks a signed checkpoint against a public verifier key and
// reads it. Anything but exactly one signature by that key, over exactly the
// canonical text of the key's own origin, is an error.
func OpenCheckpoint(signed []byte, verifier string) (Checkpoint, error) {
	v, err := note.NewVerifier(strings.TrimSpace(verifier))
	if err != nil {
		return Checkpoint{}, fault.New("audit.openCheckpoint", fault.Usage, "the public key is not one: give the one line of keys/%s", VerifierFile)
	}
	return openCheckpoint(signed, v)
}

func openCheckpoint(signed []byte, v note.Verifier) (Checkpoint, error) {
	const op = "audit.openCheckpoint"
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%s: %w", op, err)
	}
	if len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		return Checkpoint{}, fmt.Errorf("%s: other than one signature", op)
	}
	// The signature's encoding must be its only one, too.
	want := n.Text + "\n— " + n.Sigs[0].Name + " " + n.Sigs[0].Base64 + "\n"
	if raw, err := base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64); err != nil || string(signed) != want || len(raw) == 0 {
		return Checkpoint{}, fmt.Errorf("%s: not in canonical form", op)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 {
		return Checkpoint{}, fmt.Errorf("%s: not three lines", op)
	}
	c := Checkpoint{Origin: lines[0]}
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return Checkpoint{}, fmt.Errorf("%s: size: %w", op, err)
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != HashSize {
		return Checkpoint{}, fmt.Errorf("%s: root is no hash", op)
	}
	copy(c.Root[:], root)
	if c.text() != n.Text || c.Origin != v.Name() || c.Size < 0 {
		return Checkpoint{}, fmt.Errorf("%s: not in canonical form or of another instance", op)
	}
	return c, nil
}
