package approval

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// OwnerGroup is the group that always exists: it changes the trust file and
// gives grants.
const OwnerGroup = "owner"

// Person is somebody whose signature counts.
type Person struct {
	Name   string
	Groups []string // OwnerGroup and others
	Keys   []ssh.PublicKey
	// Clearance is the most confidential that the person may see, and so sign
	// for. Its integrity means nothing.
	Clearance label.Label
}

// Trust names who may approve: one version of the trust file, or, as version 0,
// what holds without one.
type Trust struct {
	Instance string    // the installation it is for
	Version  int64     // 1, 2, …; 0 is not a file
	Previous string    // SHA-256 of the previous version's payload, hex; "" for version 1
	Created  time.Time // whole seconds, UTC; zero for version 0
	Expires  time.Time // at most MaxTrustLife later; zero for version 0, which never expires
	People   []Person
	// Thresholds gives for OwnerGroup how many owners sign a new version, and for
	// another group how many of it must sign before any of them counts. A group
	// that is not in it has 1.
	Thresholds map[string]int
}

// Threshold gives a group's threshold, at least 1.
func (t Trust) Threshold(group string) int { return max(1, t.Thresholds[group]) }

// members counts the people of a group.
func (t Trust) members(group string) int {
	n := 0
	for i := range t.People {
		if slices.Contains(t.People[i].Groups, group) {
			n++
		}
	}
	return n
}

// Person gives the person of that name.
func (t Trust) Person(name string) (Person, bool) {
	i := slices.IndexFunc(t.People, func(p Person) bool { return p.Name == name })
	if i < 0 {
		return Person{}, false
	}
	return t.People[i], true
}

// Copy gives a Trust that can be changed without changing t. Keys are shared:
// they never change.
func (t Trust) Copy() Trust {
	t.People, t.Thresholds = slices.Clone(t.People), maps.Clone(t.Thresholds)
	for i := range t.People {
		p := &t.People[i]
		p.Groups, p.Keys = slices.Clone(p.Groups), slices.Clone(p.Keys)
	}
	return t
}

// The forms of names: a person's can be written in an allowed_signers file, a
// group's in a policy.
var (
	personForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)
	groupForm  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
)

// ValidPerson reports whether a person may have that name: 1 to 64 letters,
// digits and . _ @ -, beginning with a letter or digit.
func ValidPerson(name string) bool { return personForm.MatchString(name) }

// holder is a person and one of their keys.
type holder struct {
	person *Person
	key    ssh.PublicKey
}

// Roster is a Trust whose keys were looked at: who holds which. It never
// changes.
type Roster struct {
	trust Trust
	keys  map[string]holder // by fingerprint
}

// NewRoster indexes the keys. A key that two people share would make one person
// count twice, so it is refused, and so are names, groups and key types that
// cannot be used and thresholds that nobody could reach.
func NewRoster(t Trust) (*Roster, error) {
	r := &Roster{trust: t.Copy(), keys: map[string]holder{}}
	names := map[string]bool{}
	for i := range r.trust.People {
		p := &r.trust.People[i]
		if !ValidPerson(p.Name) || names[p.Name] {
			return nil, wrong("person %q has no name of their own: use 1 to 64 letters, digits and . _ @ -", p.Name)
		}
		names[p.Name] = true
		for _, g := range p.Groups {
			if !groupForm.MatchString(g) {
				return nil, wrong("%s: group %q is no lower-case letter and up to 31 of a-z, 0-9 and _", p.Name, g)
			}
		}
		if !p.Clearance.Valid() {
			return nil, wrong("%s: the clearance is out of range", p.Name)
		}
		for _, k := range p.Keys {
			if !slices.Contains(keyTypes, k.Type()) {
				return nil, wrong("%s: key type %s is not accepted: use %s", p.Name, k.Type(), strings.Join(keyTypes, ", "))
			}
			id := ssh.FingerprintSHA256(k)
			if other, taken := r.keys[id]; taken {
				return nil, wrong("%s and %s share key %s: a key stands for one person", other.person.Name, p.Name, id)
			}
			r.keys[id] = holder{p, k}
		}
	}
	for g, n := range r.trust.Thresholds {
		if have := r.trust.members(g); !groupForm.MatchString(g) || n < 1 || n > have {
			return nil, wrong("group %s needs %d to sign and holds %d: nobody could sign for it", g, n, have)
		}
	}
	return r, nil
}

func wrong(format string, args ...any) error {
	return fault.New("approval.trust", fault.Config, "the trust file is refused: %s", fmt.Sprintf(format, args...))
}

// Trust gives what the roster was made of; it must not be changed.
func (r *Roster) Trust() Trust { return r.trust }

// Holder gives the person who holds a key.
func (r *Roster) Holder(k ssh.PublicKey) (Person, bool) {
	h, ok := r.keys[ssh.FingerprintSHA256(k)]
	if !ok {
		return Person{}, false
	}
	return *h.person, true
}

// inForce refuses a trust file outside its time.
func (r *Roster) inForce(now time.Time) error {
	t := r.trust
	switch {
	case t.Version == 0:
		return nil
	case !now.Before(t.Expires):
		return fault.New("approval.trust", fault.Config,
			"version %d of the trust file expired on %s, so no signature counts; `sallyport trust renew` proposes a new one for its owners to sign", t.Version, t.Expires.Format(time.DateOnly))
	case now.Before(t.Created.Add(-clockSlack)):
		return fault.New("approval.trust", fault.Config, "version %d of the trust file is dated in the future, so no signature counts; check the clock", t.Version)
	}
	return nil
}

// Always gives one roster for Config.Trust.
func Always(r *Roster) func(context.Context) (*Roster, error) {
	return func(context.Context) (*Roster, error) { return r, nil }
}

// AllowedSigners writes the people and keys as `ssh-keygen -Y verify` takes
// them.
func (r *Roster) AllowedSigners() []byte {
	var b strings.Builder
	for _, p := range r.trust.People {
		for _, k := range p.Keys {
			fmt.Fprintf(&b, "%s namespaces=\"%s,%s\" %s", p.Name, Namespace, TrustNamespace, ssh.MarshalAuthorizedKey(k))
		}
	}
	return []byte(b.String())
}
