package app

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"sallyport/internal/action"
	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// estate is an installation with an organisation, in which people have keys.
type estate struct {
	*App
	dir string
}

const estateConfig = `
agents:
  chief: {clearance: secret}
organisation:
  tiers:
    - {name: core, agents: [chief]}
`

func newEstate(t *testing.T, environ ...string) estate {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sallyport.yaml"), []byte(estateConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	return openEstate(t, dir, environ...)
}

// openEstate opens it as a process does.
func openEstate(t *testing.T, dir string, environ ...string) estate {
	t.Helper()
	a, err := Open(t.Context(), Options{Home: filepath.Join(dir, "state"), Config: filepath.Join(dir, "sallyport.yaml"), Environ: environ, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return estate{a, dir}
}

// key makes the key of a person, as files NAME and NAME.pub.
func (h estate) key(t *testing.T, name, passphrase string) string {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, name)
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(priv, name, []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.dir, name)
	for file, data := range map[string][]byte{path: pem.EncodeToMemory(block), path + ".pub": ssh.MarshalAuthorizedKey(public)} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// change edits the trust file and expects it to be in force.
func (h estate) change(t *testing.T, edit TrustEdit, by Signing) TrustChange {
	t.Helper()
	c, err := h.ChangeTrust(t.Context(), edit, by)
	if err != nil || c.State != "applied" {
		t.Fatalf("%+v, %v", c, err)
	}
	return c
}

func (h estate) add(t *testing.T, name string, groups ...string) string {
	t.Helper()
	key := h.key(t, name, "")
	h.change(t, h.AddPerson(name, []string{key + ".pub"}, groups, "secret"), Signing{})
	return key
}

func (h estate) file(name string) string { return filepath.Join(h.Paths.Keys, name) }

// TestTrustRollback: an older trust file, another one and none are refused, by a
// process that runs and by one that starts; the right one is taken again.
func TestTrustRollback(t *testing.T) {
	h := newEstate(t)
	bob := h.add(t, "bob", "owner")
	old, err := os.ReadFile(h.file(trustFile))
	if err != nil {
		t.Fatal(err)
	}
	h.change(t, RemovePerson("bob"), Signing{})
	good, err := os.ReadFile(h.file(trustFile))
	if err != nil {
		t.Fatal(err)
	}
	other := newEstate(t)
	other.add(t, "bob", "owner")
	other.change(t, RemovePerson("bob"), Signing{})
	foreign, err := os.ReadFile(other.file(trustFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"rolled back": {old, "an older file was put back"}, "missing": {nil, "is missing"}, "cut": {good[:len(good)/2], "canonical form"},
		"of another installation": {foreign, "is not the version 2"}, "two line feeds": {append(slices.Clip(good), '\n'), "canonical form"},
	} {
		if err := os.Remove(h.file(trustFile)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if tt.data != nil {
			if err := os.WriteFile(h.file(trustFile), tt.data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for who, in := range map[string]estate{"running": h, "started": openEstate(t, h.dir)} {
			_, err := in.Instruct(t.Context(), InstructionRequest{To: "chief", Text: "go", By: Signing{Key: bob}})
			if !fault.Is(err, fault.Config) || !strings.Contains(fault.PublicText(err), tt.want) {
				t.Errorf("%s, %s: %v", name, who, err)
			}
			if _, err := in.Trust(t.Context()); err == nil {
				t.Errorf("%s, %s: shown", name, who)
			}
		}
	}
	if err := os.WriteFile(h.file(trustFile), good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.VerifyTrust(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := h.Instruct(t.Context(), InstructionRequest{To: "chief", Text: "go", By: Signing{Key: bob}}); !fault.Is(err, fault.Denied) {
		t.Errorf("a removed owner instructs: %v", err)
	}
}

// TestUnappliedTrust: a file that lies there without having been applied makes
// nobody an owner, though it is signed well.
func TestUnappliedTrust(t *testing.T) {
	h := newEstate(t)
	h.add(t, "bob", "owner")
	data, err := os.ReadFile(h.file(trustFile))
	if err != nil {
		t.Fatal(err)
	}
	fresh := newEstate(t)
	if _, err := fresh.Store(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(fresh.Paths.Keys, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(fresh.file(trustFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Trust(t.Context()); !fault.Is(err, fault.Config) || !strings.Contains(err.Error(), "never applied here") {
		t.Errorf("%v", err)
	}
}

// TestTrustCrash: a process that dies between pinning a version and moving its
// file leaves it in force, and the next change finishes the move.
func TestTrustCrash(t *testing.T) {
	h := newEstate(t)
	h.add(t, "bob", "owner")
	h.change(t, h.ChangePerson("bob", []string{"owner", "finance"}, ""), Signing{})
	if err := os.Rename(h.file(trustFile), h.file(proposedFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(h.file("trust.1.json"), h.file(trustFile)); err != nil {
		t.Fatal(err)
	}
	again := openEstate(t, h.dir)
	info, err := again.Trust(t.Context())
	if err != nil || info.Version != 2 || info.Proposal != nil {
		t.Fatalf("%+v, %v", info, err)
	}
	steps, err := again.VerifyTrust(t.Context())
	if err != nil || len(steps) != 2 {
		t.Errorf("%+v, %v", steps, err)
	}
}

// TestInstructionMustStand: an agent is shown an instruction only as it was
// signed, by people who count now; a change of trust reaches a process that
// runs.
func TestInstructionMustStand(t *testing.T) {
	h := newEstate(t)
	bob := h.add(t, "bob", "owner")
	running := openEstate(t, h.dir)
	if _, err := h.Instruct(t.Context(), InstructionRequest{To: "chief", Text: "sum up", Clearance: "secret", By: Signing{Key: bob}}); err != nil {
		t.Fatal(err)
	}
	st, err := running.Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows, err := st.Instructions(t.Context(), "chief", false)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%+v, %v", rows, err)
	}
	good := rows[0]
	if by, err := running.InstructionSigners(t.Context(), good); err != nil || len(by) != 1 || by[0] != "bob" {
		t.Fatalf("%v, %v", by, err)
	}
	for name, change := range map[string]func(*record.Instruction){
		"text":      func(x *record.Instruction) { x.Text = "delete it all" },
		"recipient": func(x *record.Instruction) { x.To = "scout" },
		"label":     func(x *record.Instruction) { x.Label = label.Bottom.Join(label.Unlabelled) },
		"ceiling":   func(x *record.Instruction) { x.Ceiling.Compartments = label.AllCompartments },
		"type":      func(x *record.Instruction) { x.Type = "payment" },
		"id":        func(x *record.Instruction) { x.ID = "i-other" },
		"expiry":    func(x *record.Instruction) { x.Expires = x.Expires.Add(time.Hour) },
		"digest":    func(x *record.Instruction) { x.Digest = strings.Repeat("0", 64) },
		"no digest": func(x *record.Instruction) { x.Digest = "" },
	} {
		bad := good
		change(&bad)
		if err := running.VerifyInstruction(t.Context(), bad); !fault.Is(err, fault.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.change(t, RemovePerson("bob"), Signing{})
	if err := running.VerifyInstruction(t.Context(), good); !fault.Is(err, fault.Denied) {
		t.Errorf("signed by somebody who was removed: %v", err)
	}
}

// TestClearanceBoundsInstructions: nobody lends more clearance than they have.
func TestClearanceBoundsInstructions(t *testing.T) {
	h := newEstate(t)
	bob := h.add(t, "bob", "owner")
	h.change(t, h.ChangePerson("bob", nil, "internal"), Signing{})
	for clearance, want := range map[string]bool{"public": true, "internal": true, "confidential": false, "secret": false, "internal{c1}": false} {
		_, err := h.Instruct(t.Context(), InstructionRequest{To: "chief", Text: "go", Clearance: clearance, By: Signing{Key: bob}})
		if (err == nil) != want {
			t.Errorf("%s: %v", clearance, err)
		}
	}
}

// TestTrustEndsGrants: what a removed owner permitted ends with them.
func TestTrustEndsGrants(t *testing.T) {
	h := newEstate(t)
	mine, err := h.Grant(t.Context(), record.Grant{Agent: "chief", Kind: action.Exec, Target: "*", Expires: time.Now().Add(time.Hour)}, Signing{})
	if err != nil {
		t.Fatal(err)
	}
	bob := h.add(t, "bob", "owner")
	// Only the key of the state directory gives grants; take it away.
	c := h.change(t, RemovePerson(ownerName()), Signing{Key: bob})
	if len(c.Ended) != 1 || c.Ended[0] != mine.ID {
		t.Errorf("ended %v, want %s", c.Ended, mine.ID)
	}
	if live, err := h.Grants(t.Context(), "", false); err != nil || len(live) != 0 {
		t.Errorf("%+v, %v", live, err)
	}
	if _, err := h.Grant(t.Context(), record.Grant{Agent: "chief", Kind: action.Exec, Target: "*", Expires: time.Now().Add(time.Hour)}, Signing{}); !fault.Is(err, fault.Denied) {
		t.Errorf("a grant by a key that owns nothing: %v", err)
	}
}

// TestSigners: a private key, one with a passphrase, a public key whose private
// half is in ssh-agent, and whatever ssh-agent has.
func TestSigners(t *testing.T) {
	keys := agent.NewKeyring()
	sock := serveAgent(t, keys)
	h := newEstate(t, "SSH_AUTH_SOCK="+sock)
	bob, cleo := h.add(t, "bob", "owner"), h.add(t, "cleo", "owner")
	locked := h.key(t, "locked", "pass")
	h.change(t, AddKeys("bob", []string{locked + ".pub"}), Signing{})
	instruct := func(by Signing) error {
		_, err := h.Instruct(t.Context(), InstructionRequest{To: "chief", Text: "go", By: by})
		return err
	}
	pass := func(p string) func(string) ([]byte, error) {
		return func(string) ([]byte, error) { return []byte(p), nil }
	}
	if err := instruct(Signing{Agent: true}); !fault.Is(err, fault.NotFound) {
		t.Errorf("an empty agent: %v", err)
	}
	addKey(t, keys, bob)
	for name, tt := range map[string]struct {
		by   Signing
		kind fault.Kind
		ok   bool
	}{
		"a file":                       {Signing{Key: cleo}, 0, true},
		"a passphrase":                 {Signing{Key: locked, Passphrase: pass("pass")}, 0, true},
		"a wrong passphrase":           {Signing{Key: locked, Passphrase: pass("x")}, fault.Denied, false},
		"nobody to ask":                {Signing{Key: locked}, fault.Usage, false},
		"the agent's":                  {Signing{Agent: true}, 0, true},
		"a public key":                 {Signing{Key: bob + ".pub"}, 0, true},
		"a public key not in it":       {Signing{Key: cleo + ".pub"}, fault.NotFound, false},
		"both":                         {Signing{Key: bob, Agent: true}, fault.Usage, false},
		"no file":                      {Signing{Key: bob + ".no"}, fault.NotFound, false},
		"no key":                       {Signing{Key: h.Config.Path}, fault.Usage, false},
		"the key of the state itself":  {Signing{}, 0, true},
		"a key that is open to others": {Signing{Key: leftOpen(t, cleo)}, fault.Config, false},
	} {
		if err := instruct(tt.by); (err == nil) != tt.ok || err != nil && !fault.Is(err, tt.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	addKey(t, keys, cleo)
	if err := instruct(Signing{Agent: true}); !fault.Is(err, fault.Usage) {
		t.Errorf("keys of two people: %v", err)
	}
	if err := instruct(Signing{Key: cleo + ".pub"}); err != nil {
		t.Errorf("one of them named: %v", err)
	}
}

// leftOpen copies a key to a file that others can read.
func leftOpen(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".open", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path+".open", 0o640); err != nil {
		t.Fatal(err)
	}
	return path + ".open"
}

func addKey(t *testing.T, keys agent.Agent, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ssh.ParseRawPrivateKey(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Add(agent.AddedKey{PrivateKey: k}); err != nil {
		t.Fatal(err)
	}
}

// serveAgent runs an ssh-agent until the test ends.
func serveAgent(t *testing.T, keys agent.Agent) string {
	t.Helper()
	sock := filepath.Join(t.TempDir(), "agent")
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(keys, c) }()
		}
	}()
	return sock
}

// TestLastSignatureCarriesOut: an instruction that needs two is given by the
// second, exactly as it was signed, and only once.
func TestLastSignatureCarriesOut(t *testing.T) {
	h := newEstate(t)
	dir := h.dir
	text := estateConfig + "  agencies:\n    - {kinds: [agent.instruct, trust.change], sign: [\"2:owner\"]}\n"
	bob, cleo := h.add(t, "bob", "owner"), h.add(t, "cleo", "owner")
	if err := os.WriteFile(filepath.Join(dir, "sallyport.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h = openEstate(t, dir)
	info, err := h.Instruct(t.Context(), InstructionRequest{To: "chief", Text: "sum up"})
	if err != nil || info.State != "asked" || info.Ask == "" {
		t.Fatalf("%+v, %v", info, err)
	}
	first, err := h.Answer(t.Context(), info.Ask, true, Signing{Key: bob})
	if err != nil || first.Carried {
		t.Fatalf("%+v, %v", first, err)
	}
	last, err := h.Answer(t.Context(), info.Ask, true, Signing{Key: cleo})
	if err != nil || !last.Carried {
		t.Fatalf("%+v, %v", last, err)
	}
	if _, err := h.Answer(t.Context(), info.Ask, true, Signing{Key: cleo}); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second use: %v", err)
	}
	list, err := h.Instructions(t.Context(), "", true)
	if err != nil || len(list) != 1 || list[0].State != "waiting" || fmt.Sprint(list[0].Signed) != "[bob cleo]" {
		t.Errorf("%+v, %v", list, err)
	}
	// A change of the trust file passes the same gate: signed by its owner, it
	// waits for the agency.
	if _, err := h.ChangeTrust(t.Context(), RemovePerson("cleo"), Signing{}); !fault.Is(err, fault.Denied) {
		t.Fatalf("a change of trust without the agency: %v", err)
	}
	asks, err := h.Asks(t.Context(), false)
	if err != nil || len(asks) != 1 || asks[0].Kind != string(action.TrustChange) {
		t.Fatalf("%+v, %v", asks, err)
	}
	for _, k := range []string{bob, cleo} {
		if last, err = h.Answer(t.Context(), asks[0].ID, true, Signing{Key: k}); err != nil {
			t.Fatal(err)
		}
	}
	if trust, err := h.Trust(t.Context()); err != nil || !last.Carried || trust.Version != 3 || len(trust.People) != 2 {
		t.Errorf("%+v, %v", trust, err)
	}
}

// TestRunningServiceFollowsTrust: the approval room of a process that runs asks
// who counts at each decision.
func TestRunningServiceFollowsTrust(t *testing.T) {
	h := newEstate(t)
	running := openEstate(t, h.dir)
	svc, _, err := running.People(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	act := action.Action{Kind: action.Exec, Target: "s", Agent: "chief", Args: map[string]any{"script": "ls"}}
	d, err := act.Digest(label.Bottom, "set")
	if err != nil {
		t.Fatal(err)
	}
	row, err := svc.Publish(t.Context(), record.ApprovalRequest{Action: act, Digest: d, Context: label.Bottom, PolicySet: "set", Needs: []record.Need{{Count: 1, Group: approval.OwnerGroup}}})
	if err != nil {
		t.Fatal(err)
	}
	found := func() int {
		got, err := svc.Find(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return len(got)
	}
	bob := h.add(t, "bob", "owner")
	if _, err := h.Answer(t.Context(), row.ID, true, Signing{Key: bob}); err != nil || found() != 1 {
		t.Fatalf("%v", err)
	}
	h.change(t, RemovePerson("bob"), Signing{})
	if n := found(); n != 0 {
		t.Errorf("%d approvals by nobody", n)
	}
}
