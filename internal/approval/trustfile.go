package approval

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// The names that bind a trust file to its purpose: its signatures are no
// approvals and approvals are no signatures of it.
const (
	TrustType      = "urn:sallyport:trust:v1" // predicate type
	TrustNamespace = "trust@sallyport"        // of the SSH signatures
)

// MaxTrustLife bounds how long a version of the trust file is in force: who
// left must not count for ever because nobody looked.
const MaxTrustLife = 366 * 24 * time.Hour

// MaxTrustFile bounds a trust file, in bytes.
const MaxTrustFile = 1 << 20

const maxSignatures = 128

// Payload gives the statement that owners sign, in its one form: people, groups
// and keys in order.
func (t Trust) Payload() ([]byte, error) {
	if _, err := NewRoster(t); err != nil {
		return nil, err
	}
	if err := t.checkVersion(); err != nil {
		return nil, err
	}
	predicate := t.predicate()
	b, err := action.Canonical(predicate)
	if err != nil {
		return nil, fmt.Errorf("approval.trust: %w", err)
	}
	s := statement("trust", action.Digest(sha256.Sum256(b)).String(), predicate)
	s["predicateType"] = TrustType
	return action.Canonical(s)
}

func (t Trust) checkVersion() error {
	switch {
	case t.Version < 1 || t.Instance == "" || (t.Version == 1) != (t.Previous == ""):
		return wrong("it names no instance, no version, or no previous version")
	case t.members(OwnerGroup) < 1 || t.Thresholds[OwnerGroup] < 1:
		return wrong("nobody owns it: the group %s needs a person and a threshold", OwnerGroup)
	case !t.Expires.After(t.Created) || t.Expires.Sub(t.Created) > MaxTrustLife:
		return wrong("it lives no time or longer than %d days", int(MaxTrustLife.Hours()/24))
	}
	return nil
}

func (t Trust) predicate() map[string]any {
	people := []any{}
	for _, p := range slices.SortedFunc(slices.Values(t.People), func(a, b Person) int { return cmp.Compare(a.Name, b.Name) }) {
		keys := []string{}
		for _, k := range p.Keys {
			keys = append(keys, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))))
		}
		slices.Sort(keys)
		groups := append([]string{}, p.Groups...)
		slices.Sort(groups)
		people = append(people, map[string]any{
			"name": p.Name, "groups": slices.Compact(groups), "keys": keys, "clearance": clearanceOf(p).String(),
		})
	}
	groups := map[string]any{}
	for g, n := range t.Thresholds {
		groups[g] = map[string]any{"threshold": n}
	}
	return map[string]any{
		"instance": t.Instance, "version": t.Version, "previous": t.Previous, "created": stamp(t.Created), "expires": stamp(t.Expires),
		"people": people, "groups": groups,
	}
}

// clearanceOf gives a clearance in its one form.
func clearanceOf(p Person) label.Label {
	p.Clearance.Integrity = label.Foreign
	return p.Clearance
}

// ParseTrust reads a payload. Only the one form of it is accepted, so unknown
// fields, other orders and other spellings are refused.
func ParseTrust(payload []byte) (Trust, error) {
	var t Trust
	if len(payload) > MaxTrustFile {
		return t, wrong("it is larger than 1 MiB")
	}
	all, err := action.ParseObject(payload)
	if err != nil {
		return t, wrong("it is not exact JSON")
	}
	p, _ := all["predicate"].(map[string]any)
	t.Instance, _ = p["instance"].(string)
	t.Version, _ = p["version"].(int64)
	t.Previous, _ = p["previous"].(string)
	if t.Created, err = parseStamp(p["created"]); err != nil {
		return t, wrong("%v", err)
	}
	if t.Expires, err = parseStamp(p["expires"]); err != nil {
		return t, wrong("%v", err)
	}
	people, _ := p["people"].([]any)
	for _, e := range people {
		one, err := parsePerson(e)
		if err != nil {
			return t, err
		}
		t.People = append(t.People, one)
	}
	t.Thresholds = map[string]int{}
	groups, _ := p["groups"].(map[string]any)
	for g, v := range groups {
		m, _ := v.(map[string]any)
		n, _ := m["threshold"].(int64)
		t.Thresholds[g] = int(max(0, min(n, 1<<16)))
	}
	again, err := t.Payload()
	if err != nil {
		return t, err
	}
	if !bytes.Equal(again, payload) {
		return t, wrong("it is not in canonical form or has fields that nobody knows")
	}
	return t, nil
}

func parsePerson(v any) (Person, error) {
	m, _ := v.(map[string]any)
	var p Person
	p.Name, _ = m["name"].(string)
	p.Groups = texts(m["groups"])
	for _, line := range texts(m["keys"]) {
		k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return p, wrong("%s: %.40q is no public SSH key", p.Name, line)
		}
		p.Keys = append(p.Keys, k)
	}
	clearance, _ := m["clearance"].(string)
	l, err := label.Parse(clearance)
	if err != nil {
		return p, wrong("%s: %v", p.Name, err)
	}
	p.Clearance = l
	return p, nil
}

func texts(v any) []string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, _ := e.(string) // what is no text does not come out as it went in
		out = append(out, s)
	}
	return out
}

// SignedTrust is a version of the trust file with the signatures it has.
type SignedTrust struct {
	Trust   Trust
	Payload []byte
	sigs    []*sshsig.Signature // one per key
}

// Propose makes the unsigned file of a version.
func Propose(t Trust) (*SignedTrust, error) {
	payload, err := t.Payload()
	if err != nil {
		return nil, err
	}
	t, err = ParseTrust(payload)
	return &SignedTrust{Trust: t, Payload: payload}, err
}

// ReadTrust reads a trust file. What its signatures are worth, VerifySelf and
// VerifyFrom say.
func ReadTrust(envelope []byte) (*SignedTrust, error) {
	payload, sigs, err := openAll(envelope)
	if err != nil {
		return nil, &fault.Error{Op: "approval.trust", Kind: fault.Config, Public: "the trust file is refused: it is no envelope in canonical form", Err: err}
	}
	t, err := ParseTrust(payload)
	if err != nil {
		return nil, err
	}
	return &SignedTrust{Trust: t, Payload: payload, sigs: sigs}, nil
}

// Digest identifies the version: SHA-256 of the payload, hex.
func (s *SignedTrust) Digest() string {
	sum := sha256.Sum256(s.Payload)
	return hex.EncodeToString(sum[:])
}

// Envelope gives the file.
func (s *SignedTrust) Envelope() ([]byte, error) { return wrap(s.Payload, s.sigs...) }

// Signatures gives the signatures, in the order of their keys.
func (s *SignedTrust) Signatures() []*sshsig.Signature { return slices.Clone(s.sigs) }

// Sign adds a signature with a key that an owner of either version holds.
func (s *SignedTrust) Sign(signer ssh.Signer, old *Roster) error {
	sig, err := sshsig.Sign(bytes.NewReader(PAE(s.Payload)), signer, sshsig.HashSHA512, TrustNamespace)
	if err != nil {
		return fault.Wrap("approval.trust", fault.Unavailable, err)
	}
	return s.add(sig, old)
}

// Import adds an armored SSH signature over PAE(Payload), made with
// `ssh-keygen -Y sign -n trust@sallyport`.
func (s *SignedTrust) Import(armored []byte, old *Roster) error {
	sig, err := sshsig.Unarmor(armored)
	if err != nil {
		return &fault.Error{Op: "approval.trust", Kind: fault.Usage, Public: "that is no armored SSH signature", Err: err}
	}
	return s.add(sig, old)
}

func (s *SignedTrust) add(sig *sshsig.Signature, old *Roster) error {
	const op = "approval.trust"
	next, err := NewRoster(s.Trust)
	if err != nil {
		return err
	}
	if !old.owns(sig.PublicKey) && !next.owns(sig.PublicKey) {
		return fault.New(op, fault.Denied, "key %s belongs to no owner of the trust file, old or new, so its signature would not count; sign with an owner's", ssh.FingerprintSHA256(sig.PublicKey))
	}
	if err := verify(s.Payload, sig, sig.PublicKey, TrustNamespace); err != nil {
		return &fault.Error{Op: op, Kind: fault.Denied, Public: "the signature does not verify over this version of the trust file", Err: err}
	}
	id := ssh.FingerprintSHA256(sig.PublicKey)
	s.sigs = slices.DeleteFunc(s.sigs, func(o *sshsig.Signature) bool { return ssh.FingerprintSHA256(o.PublicKey) == id })
	s.sigs = append(s.sigs, sig)
	slices.SortFunc(s.sigs, bySigner)
	return nil
}

func bySigner(a, b *sshsig.Signature) int {
	return cmp.Compare(ssh.FingerprintSHA256(a.PublicKey), ssh.FingerprintSHA256(b.PublicKey))
}

func (r *Roster) owns(k ssh.PublicKey) bool {
	p, ok := r.Holder(k)
	return ok && slices.Contains(p.Groups, OwnerGroup)
}

// signedBy names the owners of a roster who signed, each once. A signature by
// one of the roster's keys that does not verify is an error.
func (s *SignedTrust) signedBy(r *Roster) ([]string, error) {
	var out []string
	for _, sig := range s.sigs {
		h, ok := r.keys[ssh.FingerprintSHA256(sig.PublicKey)]
		if !ok {
			continue
		}
		if err := verify(s.Payload, sig, h.key, TrustNamespace); err != nil {
			return nil, &fault.Error{Op: "approval.trust", Kind: fault.Denied, Public: "the trust file is refused: the signature of " + h.person.Name + " does not verify", Err: err}
		}
		if slices.Contains(h.person.Groups, OwnerGroup) && !slices.Contains(out, h.person.Name) {
			out = append(out, h.person.Name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// VerifySelf gives the version's roster if the threshold of its own owners
// signed it.
func (s *SignedTrust) VerifySelf(instance string) (*Roster, error) {
	if s.Trust.Instance != instance {
		return nil, wrong("it is of the installation %.60q and not of this one", s.Trust.Instance)
	}
	r, err := NewRoster(s.Trust)
	if err != nil {
		return nil, err
	}
	by, err := s.signedBy(r)
	if err != nil {
		return nil, err
	}
	if n := s.Trust.Threshold(OwnerGroup); len(by) < n {
		return nil, unsigned(s.Trust.Version, "its own", n, by)
	}
	return r, nil
}

// VerifyFrom gives the version's roster if it follows the old one, whose digest
// is given, and the thresholds of the owners of both signed it.
func (s *SignedTrust) VerifyFrom(old *Roster, oldDigest string) (*Roster, error) {
	r, err := s.VerifySelf(old.trust.Instance)
	if err != nil {
		return nil, err
	}
	if s.Trust.Version != old.trust.Version+1 || s.Trust.Previous != oldDigest {
		return nil, fault.New("approval.trust", fault.Conflict, "version %d of the trust file does not follow version %d, which is in force; make the change again on that", s.Trust.Version, old.trust.Version)
	}
	by, err := s.signedBy(old)
	if err != nil {
		return nil, err
	}
	if n := old.trust.Threshold(OwnerGroup); len(by) < n {
		return nil, unsigned(s.Trust.Version, "the previous version's", n, by)
	}
	return r, nil
}

func unsigned(version int64, whose string, n int, by []string) error {
	have := "nobody did"
	if len(by) > 0 {
		have = strings.Join(by, ", ") + " did"
	}
	return fault.New("approval.trust", fault.NeedsAsk, "version %d of the trust file counts once %d of %s owners signed it, and %s; another owner signs with `sallyport trust sign`", version, n, whose, have)
}

// errNoSignature says that an envelope is not signed as an approval must be.
var errNoSignature = errors.New("approval.open: an envelope holds exactly one signature")
