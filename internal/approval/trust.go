package approval

import (
	"fmt"

	"golang.org/x/crypto/ssh"
)

// Person is somebody whose signature counts.
type Person struct {
	Name   string
	Groups []string // "owner", later others
	Keys   []ssh.PublicKey
}

// Trust names who may approve.
type Trust struct{ People []Person }

// holder is a person and one of their keys.
type holder struct {
	person *Person
	key    ssh.PublicKey
}

// byKey indexes the keys; a key that two people share would make one person
// count twice, so it is refused.
func (t Trust) byKey() (map[string]holder, error) {
	out := map[string]holder{}
	names := map[string]bool{}
	for i := range t.People {
		p := &t.People[i]
		if p.Name == "" || names[p.Name] {
			return nil, fmt.Errorf("approval.trust: person %q has no name of their own", p.Name)
		}
		names[p.Name] = true
		for _, k := range p.Keys {
			id := ssh.FingerprintSHA256(k)
			if other, taken := out[id]; taken {
				return nil, fmt.Errorf("approval.trust: %s and %s share key %s", other.person.Name, p.Name, id)
			}
			out[id] = holder{p, k}
		}
	}
	return out, nil
}
