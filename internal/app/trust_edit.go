package app

import (
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// TrustEdit is one change of the trust file, for ChangeTrust.
type TrustEdit func(*approval.Trust) error

// RenameFirst gives the one person of a new trust file their name.
func RenameFirst(name string) TrustEdit {
	return func(t *approval.Trust) error {
		if t.Version != 1 || len(t.People) != 1 {
			return fault.New("app.trust", fault.Conflict, "there is a trust file already, or a proposal of one; `sallyport trust show` shows it")
		}
		if name != "" {
			t.People[0].Name = name
		}
		return nil
	}
}

// Renew changes nothing but the date of expiry.
func Renew() TrustEdit { return func(*approval.Trust) error { return nil } }

// AddPerson adds somebody, with the public keys of files.
func (a *App) AddPerson(name string, files, groups []string, clearance string) TrustEdit {
	return func(t *approval.Trust) error {
		keys, err := publicKeys(files...)
		if err != nil {
			return err
		}
		if _, ok := t.Person(name); ok {
			return fault.New("app.trust", fault.Conflict, "%s is in the trust file; change them with `sallyport trust add-key`, `remove-key` or `change-person`", name)
		}
		l, err := a.parseLabel("--clearance", clearance)
		if err != nil {
			return err
		}
		l.Integrity = label.Foreign
		t.People = append(t.People, approval.Person{Name: name, Keys: keys, Groups: groups, Clearance: l})
		return nil
	}
}

// ChangePerson gives somebody other groups or another clearance; nil and "" leave
// them.
func (a *App) ChangePerson(name string, groups []string, clearance string) TrustEdit {
	return editPerson(name, func(p *approval.Person) error {
		if groups != nil {
			p.Groups = slices.DeleteFunc(slices.Clone(groups), func(g string) bool { return g == "none" })
		}
		if clearance == "" {
			return nil
		}
		l, err := a.parseLabel("--clearance", clearance)
		l.Integrity = label.Foreign
		p.Clearance = l
		return err
	})
}

// RemovePerson removes somebody with all their keys.
func RemovePerson(name string) TrustEdit {
	return func(t *approval.Trust) error {
		i := slices.IndexFunc(t.People, func(p approval.Person) bool { return p.Name == name })
		if i < 0 {
			return unknownPerson(name)
		}
		t.People = slices.Delete(t.People, i, i+1)
		return nil
	}
}

// AddKeys gives somebody the public keys of files.
func AddKeys(name string, files []string) TrustEdit {
	return editPerson(name, func(p *approval.Person) error {
		keys, err := publicKeys(files...)
		if err != nil {
			return err
		}
		p.Keys = append(p.Keys, keys...)
		return nil
	})
}

// RemoveKey takes a key from somebody, by its fingerprint (SHA256:…) or its file.
func RemoveKey(name, key string) TrustEdit {
	return editPerson(name, func(p *approval.Person) error {
		fingerprint := key
		if !strings.HasPrefix(key, "SHA256:") {
			keys, err := publicKeys(key)
			if err != nil {
				return err
			}
			fingerprint = ssh.FingerprintSHA256(keys[0])
		}
		n := len(p.Keys)
		p.Keys = slices.DeleteFunc(p.Keys, func(k ssh.PublicKey) bool { return ssh.FingerprintSHA256(k) == fingerprint })
		if len(p.Keys) == n {
			return fault.New("app.trust", fault.NotFound, "%s has no key %s; `sallyport trust show` lists theirs", name, fingerprint)
		}
		return nil
	})
}

// SetThreshold says how many of a group must sign.
func SetThreshold(group string, n int) TrustEdit {
	return func(t *approval.Trust) error {
		if !slices.ContainsFunc(t.People, func(p approval.Person) bool { return slices.Contains(p.Groups, group) }) {
			return fault.New("app.trust", fault.NotFound, "nobody is in group %s; put somebody in it with `sallyport trust add-person --group` or `change-person --group`", group)
		}
		t.Thresholds[group] = n
		return nil
	}
}

func editPerson(name string, edit func(*approval.Person) error) TrustEdit {
	return func(t *approval.Trust) error {
		i := slices.IndexFunc(t.People, func(p approval.Person) bool { return p.Name == name })
		if i < 0 {
			return unknownPerson(name)
		}
		return edit(&t.People[i])
	}
}

func unknownPerson(name string) error {
	return fault.New("app.trust", fault.NotFound, "nobody in the trust file is called %s; `sallyport trust show` lists who is", name)
}
