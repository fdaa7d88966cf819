package approval

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
	"pgregory.net/rapid"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// court is three people with a key each and what holds before there is a trust
// file.
type court struct {
	ann, bob, cleo ssh.Signer
	base           *Roster
}

func newCourt(t testing.TB) *court {
	t.Helper()
	c := &court{ann: newKey(t), bob: newKey(t), cleo: newKey(t)}
	c.base = c.roster(t, Trust{Instance: "i", People: []Person{person("ann", c.ann, "owner")}})
	return c
}

func (c *court) roster(t testing.TB, tr Trust) *Roster {
	t.Helper()
	r, err := NewRoster(tr)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func person(name string, k ssh.Signer, groups ...string) Person {
	return Person{Name: name, Groups: groups, Keys: []ssh.PublicKey{k.PublicKey()}, Clearance: label.New(label.Secret, label.Foreign, 0)}
}

// version makes a trust file that follows one.
func version(n int64, previous string, owners int, people ...Person) Trust {
	return Trust{
		Instance: "i", Version: n, Previous: previous, Created: epoch, Expires: epoch.Add(24 * time.Hour),
		People: people, Thresholds: map[string]int{"owner": owners},
	}
}

func proposed(t testing.TB, tr Trust) *SignedTrust {
	t.Helper()
	s, err := Propose(tr)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTrustRotation: a version counts with the threshold of the owners before
// it and of its own, and of nobody else.
func TestTrustRotation(t *testing.T) {
	c := newCourt(t)
	ann, bob, cleo := person("ann", c.ann, "owner"), person("bob", c.bob, "owner"), person("cleo", c.cleo, "finance")
	one := proposed(t, version(1, "", 2, ann, bob, cleo))
	if _, err := one.VerifyFrom(c.base, ""); !fault.Is(err, fault.NeedsAsk) {
		t.Errorf("unsigned: %v", err)
	}
	if err := one.Sign(c.cleo, c.base); !fault.Is(err, fault.Denied) {
		t.Errorf("somebody who owns neither version: %v", err)
	}
	for _, k := range []ssh.Signer{c.ann, c.ann} { // twice the same person
		if err := one.Sign(k, c.base); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := one.VerifyFrom(c.base, ""); !fault.Is(err, fault.NeedsAsk) {
		t.Errorf("the old owner alone: %v", err)
	}
	if err := one.Sign(c.bob, c.base); err != nil {
		t.Fatal(err)
	}
	r1, err := one.VerifyFrom(c.base, "")
	if err != nil {
		t.Fatal(err)
	}
	// The new version lowers the threshold: still two of the old ones.
	two := proposed(t, version(2, one.Digest(), 1, bob))
	if err := two.Sign(c.bob, r1); err != nil {
		t.Fatal(err)
	}
	if _, err := two.VerifySelf("i"); err != nil {
		t.Errorf("its own owners: %v", err)
	}
	if _, err := two.VerifyFrom(r1, one.Digest()); !fault.Is(err, fault.NeedsAsk) {
		t.Errorf("one of two old owners: %v", err)
	}
	if err := two.Sign(c.ann, r1); err != nil { // who is being removed agrees
		t.Fatal(err)
	}
	if _, err := two.VerifyFrom(r1, one.Digest()); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]Trust{
		"skips a version":     version(4, one.Digest(), 1, bob),
		"the same version":    version(1, "", 1, bob),
		"of another previous": version(2, strings.Repeat("0", 64), 1, bob),
		"another instance":    func() Trust { x := version(2, one.Digest(), 1, bob); x.Instance = "j"; return x }(),
	} {
		s := proposed(t, bad)
		for _, k := range []ssh.Signer{c.ann, c.bob} {
			if err := s.Sign(k, r1); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.VerifyFrom(r1, one.Digest()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestTrustRefuses changes one thing each.
func TestTrustRefuses(t *testing.T) {
	c := newCourt(t)
	ann, bob := person("ann", c.ann, "owner"), person("bob", c.bob, "finance")
	shared := person("bob", c.ann, "finance")
	for name, change := range map[string]func(*Trust){
		"nobody":                   func(x *Trust) { x.People = nil },
		"no owner":                 func(x *Trust) { x.People[0].Groups = nil },
		"threshold beyond people":  func(x *Trust) { x.Thresholds["owner"] = 2 },
		"threshold of nothing":     func(x *Trust) { x.Thresholds["owner"] = 0 },
		"a group of nobody":        func(x *Trust) { x.Thresholds["audit"] = 1 },
		"lives for ever":           func(x *Trust) { x.Expires = x.Created.Add(MaxTrustLife + time.Second) },
		"lives backwards":          func(x *Trust) { x.Expires = x.Created },
		"version 0":                func(x *Trust) { x.Version = 0 },
		"version 1 with a past":    func(x *Trust) { x.Previous = strings.Repeat("0", 64) },
		"version 2 without a past": func(x *Trust) { x.Version = 2 },
		"no instance":              func(x *Trust) { x.Instance = "" },
		"shared key":               func(x *Trust) { x.People[1] = shared },
		"same name":                func(x *Trust) { x.People[1].Name = "ann" },
		"name with a line feed":    func(x *Trust) { x.People[1].Name = "b\nann" },
		"group with a comma":       func(x *Trust) { x.People[1].Groups = []string{"a,b"} },
	} {
		x := version(1, "", 1, ann, bob).Copy()
		change(&x)
		if s, err := Propose(x); err == nil {
			t.Errorf("%s: %s", name, s.Payload)
		}
	}
}

// TestTrustBytes: a file whose bytes say anything else, or say it otherwise, is
// refused though its signatures are good.
func TestTrustBytes(t *testing.T) {
	c := newCourt(t)
	good := proposed(t, version(1, "", 1, person("ann", c.ann, "owner"), person("bob", c.bob, "finance")))
	read := func(payload []byte) error {
		sig, err := sshsig.Sign(bytes.NewReader(PAE(payload)), c.ann, sshsig.HashSHA512, TrustNamespace)
		if err != nil {
			t.Fatal(err)
		}
		e, err := wrap(payload, sig)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ReadTrust(e)
		if err != nil {
			return err
		}
		_, err = s.VerifyFrom(c.base, "")
		return err
	}
	if err := read(good.Payload); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	for name, swap := range map[string][2]string{
		"unknown field":       {`"version":1`, `"version":1,"x":1`},
		"white space":         {`"version":1`, `"version": 1`},
		"duplicate key":       {`"version":1`, `"version":1,"version":1`},
		"version as text":     {`"version":1`, `"version":"1"`},
		"version as fraction": {`"version":1`, `"version":1.5`},
		"clearance":           {`"secret/foreign"`, `"secret"`},
		"predicate type":      {TrustType, PredicateType},
		"people in disorder":  {`"name":"bob"`, `"name":"Aob"`},
		"digest":              {`"sha256":"`, `"sha256":"0`},
		"a key with options":  {`"ssh-ed25519 `, `"no-pty ssh-ed25519 `},
		"threshold":           {`"threshold":1`, `"threshold":1.0`},
	} {
		payload := bytes.Replace(good.Payload, []byte(swap[0]), []byte(swap[1]), 1)
		if bytes.Equal(payload, good.Payload) {
			t.Fatalf("%s: nothing was changed in %s", name, payload)
		}
		if err := read(payload); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestTrustSignaturesAreOfTrust: an approval is no signature of a trust file
// and the other way round, though key and payload are the same.
func TestTrustSignaturesAreOfTrust(t *testing.T) {
	c := newCourt(t)
	s := proposed(t, version(1, "", 1, person("ann", c.ann, "owner")))
	sig, err := sshsig.Sign(bytes.NewReader(PAE(s.Payload)), c.ann, sshsig.HashSHA512, Namespace)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Import(sshsig.Armor(sig), c.base); !fault.Is(err, fault.Denied) {
		t.Errorf("an approval's namespace: %v", err)
	}
	s.sigs = []*sshsig.Signature{sig} // as a changed file has it
	if _, err := s.VerifyFrom(c.base, ""); !fault.Is(err, fault.Denied) {
		t.Errorf("in the file: %v", err)
	}
	k := newToken(t)
	hw := proposed(t, version(1, "", 1, Person{Name: "ann", Groups: []string{"owner"}, Keys: []ssh.PublicKey{c.ann.PublicKey(), k.pub}}))
	for flags, want := range map[byte]bool{0: false, 1: false, 5: true} {
		k.flags = flags
		if err := hw.Sign(k, c.base); (err == nil) != want {
			t.Errorf("hardware key with flags %#x: %v", flags, err)
		}
	}
}

// TestTrustKeygen: ssh-keygen accepts what we sign and we what it signs.
func TestTrustKeygen(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("SKIPPED: ssh-keygen is not installed (apt-get install openssh-client); interoperability of the trust file is NOT tested")
	}
	dir := t.TempDir()
	owner, err := LoadOrCreateOwner(dir)
	if err != nil {
		t.Fatal(err)
	}
	base, err := NewRoster(Trust{Instance: "i", People: []Person{person("ann", owner, "owner")}})
	if err != nil {
		t.Fatal(err)
	}
	s := proposed(t, version(1, "", 1, person("ann", owner, "owner")))
	file := filepath.Join(dir, "t")
	for name, data := range map[string][]byte{file: PAE(s.Payload), file + ".allowed": base.AllowedSigners()} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(stdin []byte, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), keygen, args...)
		cmd.Stdin = bytes.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen %v: %s", args, out)
		}
	}
	run(nil, "-Y", "sign", "-f", filepath.Join(dir, OwnerKey), "-n", TrustNamespace, file)
	armored, err := os.ReadFile(file + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Import(armored, base); err != nil {
		t.Fatal(err)
	}
	if _, err := s.VerifyFrom(base, ""); err != nil {
		t.Fatal(err)
	}
	ours := proposed(t, version(1, "", 1, person("ann", owner, "owner")))
	if err := ours.Sign(owner, base); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".ours", sshsig.Armor(ours.Signatures()[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	run(PAE(ours.Payload), "-Y", "verify", "-f", file+".allowed", "-I", "ann", "-n", TrustNamespace, "-s", file+".ours")
}

// TestTrustRoundTrip: whatever trust is accepted comes back as it was, in one
// form whatever order it was written in.
func TestTrustRoundTrip(t *testing.T) {
	keys := make([]ssh.PublicKey, 6)
	for i := range keys {
		keys[i] = newKey(t).PublicKey()
	}
	rapid.Check(t, func(rt *rapid.T) {
		x := version(1, "", 1)
		free := slices.Clone(keys)
		for i, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._@-]{0,8}`), 1, 4, rapid.ID[string]).Draw(rt, "names") {
			p := Person{
				Name: name, Groups: rapid.SliceOfDistinct(rapid.SampledFrom([]string{"owner", "a", "b"}), rapid.ID[string]).Draw(rt, "groups"),
				Clearance: label.New(label.Level(rapid.IntRange(0, 3).Draw(rt, "level")), label.Foreign, label.Compartments(rapid.Uint64().Draw(rt, "compartments"))),
			}
			if i == 0 {
				p.Groups = []string{"owner"}
			}
			n := rapid.IntRange(0, min(2, len(free))).Draw(rt, "keys")
			p.Keys, free = free[:n:n], free[n:]
			x.People = append(x.People, p)
		}
		s, err := Propose(x)
		if err != nil {
			rt.Fatal(err)
		}
		slices.Reverse(x.People)
		again, err := s.Trust.Payload()
		turned, err2 := x.Payload()
		if err != nil || err2 != nil || !bytes.Equal(again, s.Payload) || !bytes.Equal(turned, s.Payload) {
			rt.Fatalf("%s\n%s\n%s (%v, %v)", s.Payload, again, turned, err, err2)
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(names(x))), slices.Sorted(maps.Keys(names(s.Trust)))); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func names(t Trust) map[string]bool {
	out := map[string]bool{}
	for _, p := range t.People {
		out[p.Name] = true
	}
	return out
}

// FuzzTrust: nothing that was not signed by ann is a trust file of ann's, and
// what is read is in its one form.
func FuzzTrust(f *testing.F) {
	c := newCourt(f)
	s := proposed(f, version(1, "", 1, person("ann", c.ann, "owner"), person("bob", c.bob, "owner")))
	if err := s.Sign(c.bob, c.base); err != nil { // not by ann
		f.Fatal(err)
	}
	e, err := s.Envelope()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e)
	f.Add(s.Payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		if x, err := ParseTrust(b); err == nil {
			if again, err := x.Payload(); err != nil || !bytes.Equal(again, b) {
				t.Errorf("two forms: %s", b)
			}
		}
		x, err := ReadTrust(b)
		if err != nil {
			return
		}
		if again, err := x.Envelope(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("two forms: %s", b)
		}
		if _, err := x.VerifyFrom(c.base, ""); err == nil {
			t.Errorf("accepted: %s", b)
		}
	})
}

// TestTrustIsInToto checks the shape that other tools read.
func TestTrustIsInToto(t *testing.T) {
	c := newCourt(t)
	s := proposed(t, version(1, "", 1, person("ann", c.ann, "owner")))
	var got struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"`
		Subject       []struct{ Digest map[string]string }
		Predicate     json.RawMessage
	}
	if err := json.Unmarshal(s.Payload, &got); err != nil {
		t.Fatal(err)
	}
	if got.Type != StatementType || got.PredicateType != TrustType || got.Subject[0].Digest["sha256"] != digestOf(got.Predicate) {
		t.Errorf("%s", s.Payload)
	}
}

func digestOf(b []byte) string { return action.Digest(sha256.Sum256(b)).String() }
