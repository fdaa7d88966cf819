package approval

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"pgregory.net/rapid"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

func TestOwnerKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	var wg sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		wg.Go(func() {
			s, err := LoadOrCreateOwner(dir)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = ssh.FingerprintSHA256(s.PublicKey())
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("racing processes have different keys: %v", ids)
		}
	}
	path := filepath.Join(dir, OwnerKey)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	pub, err := os.ReadFile(filepath.Join(dir, OwnerPub))
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(pub)
	if err != nil || ssh.FingerprintSHA256(key) != ids[0] {
		t.Errorf("public key %v, %v", key, err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateOwner(dir); !fault.Is(err, fault.Config) {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := os.Rename(path, path+".real"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path+".real", path); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateOwner(dir); !fault.Is(err, fault.Config) {
		t.Errorf("a link: %v", err)
	}
}

// TestSSHKeygen checks both ways with the real ssh-keygen: it accepts what we
// sign, and we accept what it signs.
func TestSSHKeygen(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("SKIPPED: ssh-keygen is not installed (apt-get install openssh-client); interoperability of approvals is NOT tested")
	}
	dir := t.TempDir()
	owner, err := LoadOrCreateOwner(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, func(c *Config) {
		c.Signer = owner
		c.Trust = rosterOf(t, Person{Name: "ann", Groups: []string{"owner"}, Clearance: label.Unlabelled, Keys: []ssh.PublicKey{owner.PublicKey()}})
	})
	req := request(t, "ls")
	row := l.published(t, req)
	pae, err := l.Export(t.Context(), row.ID, record.StatementApprove)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "statement")
	write := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(stdin []byte, args ...string) error {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), keygen, args...)
		cmd.Stdin = bytes.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		t.Logf("ssh-keygen %s: %s", strings.Join(args, " "), out)
		return err
	}
	write(file, pae)
	if err := run(nil, "-Y", "sign", "-f", filepath.Join(dir, OwnerKey), "-n", Namespace, file); err != nil {
		t.Fatal(err)
	}
	armored, err := os.ReadFile(file + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Import(t.Context(), row.ID, record.StatementApprove, armored); err != nil {
		t.Fatalf("what ssh-keygen signed: %v", err)
	}
	if err := l.Import(t.Context(), row.ID, record.StatementDeny, armored); !fault.Is(err, fault.Denied) {
		t.Errorf("a yes imported as a no: %v", err)
	}
	if got := l.found(t, req.Digest); len(got) != 1 {
		t.Fatalf("approvals %v", got)
	}

	envelope, err := Sign(row.Payload, owner)
	if err != nil {
		t.Fatal(err)
	}
	sig, signed, err := ExportSignature(envelope)
	if err != nil {
		t.Fatal(err)
	}
	write(file+".ours", sig)
	allowed := filepath.Join(dir, "allowed")
	write(allowed, append([]byte("ann "), ssh.MarshalAuthorizedKey(owner.PublicKey())...))
	verifyArgs := []string{"-Y", "verify", "-f", allowed, "-I", "ann", "-n", Namespace, "-s", file + ".ours"}
	if err := run(signed, verifyArgs...); err != nil {
		t.Errorf("ssh-keygen refuses our signature: %v", err)
	}
	if err := run(append(signed, 'x'), verifyArgs...); err == nil {
		t.Error("ssh-keygen accepts a changed statement")
	}
}

// token is a hardware key made of software: it signs as OpenSSH's sk-ed25519
// does, with any flags.
type token struct {
	pub   ssh.PublicKey
	priv  ed25519.PrivateKey
	flags byte
}

func newToken(t *testing.T) *token {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, pub, "ssh:"}))
	if err != nil {
		t.Fatal(err)
	}
	return &token{pub: key, priv: priv}
}

func (k *token) PublicKey() ssh.PublicKey { return k.pub }

func (k *token) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	application, message := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	rest := []byte{k.flags, 0, 0, 0, 9}
	blob := append(append(append([]byte(nil), application[:]...), rest...), message[:]...)
	return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(k.priv, blob), Rest: rest}, nil
}

func TestHardwareKeyFlags(t *testing.T) {
	k := newToken(t)
	l := newLab(t, func(c *Config) {
		c.Trust = rosterOf(t, Person{Name: "cleo", Groups: []string{"owner"}, Clearance: label.Unlabelled, Keys: []ssh.PublicKey{k.pub}})
	})
	for flags, want := range map[byte]bool{0: false, 1: false, 4: false, 5: true, 0x85: true} {
		req := request(t, "flags "+string('a'+flags))
		row := l.published(t, req)
		k.flags = flags
		err := l.Approve(t.Context(), row.ID, k)
		if (err == nil) != want {
			t.Errorf("flags %#x: %v", flags, err)
		}
		if got := len(l.found(t, req.Digest)) == 1; got != want {
			t.Errorf("flags %#x count: %v", flags, got)
		}
	}
}

func TestTrustRefusesSharedKeys(t *testing.T) {
	k := newKey(t).PublicKey()
	for name, people := range map[string][]Person{
		"shared key": {{Name: "a", Keys: []ssh.PublicKey{k}}, {Name: "b", Keys: []ssh.PublicKey{k}}},
		"same name":  {{Name: "a"}, {Name: "a"}},
		"no name":    {{}},
	} {
		if _, err := NewRoster(Trust{People: people}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration is accepted")
	}
}

func TestGrant(t *testing.T) {
	l := newLab(t, nil)
	base := record.Grant{Agent: "night", Kind: action.Exec, Target: "s*", Expires: epoch.Add(time.Hour), Uses: 5, Because: "patrol"}
	g, envelope, err := l.Grant(t.Context(), base, l.owner)
	if err != nil || g.ID == "" {
		t.Fatalf("%+v, %v", g, err)
	}
	if _, _, err := ExportSignature(envelope); err != nil {
		t.Errorf("envelope: %v", err)
	}
	tests := map[string]struct {
		change func(*record.Grant)
		signer ssh.Signer
		kind   fault.Kind
	}{
		"no agent":     {func(g *record.Grant) { g.Agent = "" }, l.owner, fault.Usage},
		"no target":    {func(g *record.Grant) { g.Target = "" }, l.owner, fault.Usage},
		"unknown kind": {func(g *record.Grant) { g.Kind = "fly" }, l.owner, fault.Usage},
		"expired":      {func(g *record.Grant) { g.Expires = epoch }, l.owner, fault.Usage},
		"for ever":     {func(g *record.Grant) { g.Expires = epoch.Add(MaxGrant + time.Hour) }, l.owner, fault.Usage},
		"stranger":     {func(*record.Grant) {}, l.eve, fault.Denied},
		"wider":        {func(c *record.Grant) { c.Parent, c.Target = g.ID, "*" }, l.owner, fault.Denied},
		"more uses":    {func(c *record.Grant) { c.Parent, c.Uses = g.ID, 6 }, l.owner, fault.Denied},
		"unlimited":    {func(c *record.Grant) { c.Parent, c.Uses = g.ID, 0 }, l.owner, fault.Denied},
		"longer":       {func(c *record.Grant) { c.Parent, c.Expires = g.ID, epoch.Add(2*time.Hour) }, l.owner, fault.Denied},
		"no parent":    {func(c *record.Grant) { c.Parent = "g99" }, l.owner, fault.NotFound},
	}
	for name, tt := range tests {
		c := base
		tt.change(&c)
		if _, _, err := l.Grant(t.Context(), c, tt.signer); !fault.Is(err, tt.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := l.Revoke(t.Context(), g.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	child := base
	child.Parent = g.ID
	if _, _, err := l.Grant(t.Context(), child, l.owner); !fault.Is(err, fault.NotFound) {
		t.Errorf("delegating from a revoked grant: %v", err)
	}
}

// TestGrantsNeverWiden: whatever chain of delegations is accepted, a child
// covers nothing that its parent does not.
func TestGrantsNeverWiden(t *testing.T) {
	l := newLab(t, nil)
	target := rapid.StringMatching(`[ab]{1,3}\*?|\*`)
	rapid.Check(t, func(rt *rapid.T) {
		g := record.Grant{Agent: "night", Kind: action.Exec, Target: target.Draw(rt, "root"), Expires: epoch.Add(time.Hour)}
		parent, _, err := l.Grant(t.Context(), g, l.owner)
		if err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(1, 4).Draw(rt, "depth") {
			c := record.Grant{
				Agent: "night", Kind: action.Exec, Parent: parent.ID, Target: target.Draw(rt, "target"),
				Expires: epoch.Add(time.Duration(rapid.IntRange(1, 90).Draw(rt, "minutes")) * time.Minute),
				Uses:    rapid.IntRange(0, 3).Draw(rt, "uses"),
			}
			child, _, err := l.Grant(t.Context(), c, l.owner)
			if err != nil {
				continue
			}
			a := action.Action{Agent: "night", Kind: action.Exec, Target: strings.TrimSuffix(target.Draw(rt, "action"), "*")}
			at := epoch.Add(time.Duration(rapid.IntRange(0, 100).Draw(rt, "at")) * time.Minute)
			if child.Covers(a, at) && !parent.Covers(a, at) {
				rt.Fatalf("child %+v covers %q at %v, parent %+v does not", child, a.Target, at, parent)
			}
			parent = child
		}
	})
}
