package credential

import (
	"strings"

	"sallyport/internal/fault"
)

// Set is the secrets of one run. It does not change and is safe for concurrent
// use.
type Set struct {
	hosts        map[string]*site
	bindings     []Binding
	values       *matcher // finds values, writes placeholders
	placeholders *matcher // finds placeholders
}

// site is what is known of a host.
type site struct {
	bindings []*Binding
	headers  map[string]bool // keys of the headers that places name
	queries  map[string]bool // keys of the query parameters that places name
	forms    map[string]bool // keys of the form fields that places name
	pointers []string        // the JSON members that places name
}

// body tells whether a place is in a body.
func (s *site) body() bool { return len(s.forms)+len(s.pointers) > 0 }

// NewSet checks the bindings and prepares them. Everything it refuses is
// fault.Config: a name used twice, a host that is not exact, port 80 (a secret
// leaves over TLS only), a value shorter than 8 bytes or longer than 64 KiB or
// unfit for a place, a place that is malformed or could be the same as another
// on its host, a placeholder that is unusable or is found in a value or
// holds one.
func NewSet(bindings []Binding) (*Set, error) {
	s := &Set{hosts: map[string]*site{}}
	names := map[string]bool{}
	for _, b := range bindings {
		b, err := b.normalized()
		if err != nil {
			return nil, err
		}
		if names[b.Name] {
			return nil, fault.New("credential.bind", fault.Config, "the secret %s is bound twice, and it belongs to one host; remove one", b.Name)
		}
		names[b.Name] = true
		s.bindings = append(s.bindings, b)
	}
	for i := range s.bindings {
		if err := s.add(&s.bindings[i]); err != nil {
			return nil, err
		}
	}
	var values, placeholders []string
	for i, b := range s.bindings {
		values = append(values, b.Value.Reveal())
		placeholders = append(placeholders, b.Placeholder)
		for j, c := range s.bindings {
			if i != j && strings.Contains(b.Placeholder, c.Placeholder) {
				return nil, fault.New("credential.bind", fault.Config,
					"the placeholders of the secrets %s and %s are found in each other; make new ones", b.Name, c.Name)
			}
		}
	}
	s.values = newMatcher(values, placeholders)
	s.placeholders = newMatcher(placeholders, placeholders)
	if err := s.disjoint(); err != nil {
		return nil, err
	}
	return s, nil
}

// disjoint makes sure that scrubbing never writes a value and that no value is
// taken for a placeholder.
func (s *Set) disjoint() error {
	for _, b := range s.bindings {
		if _, _, f := s.values.find([]byte(b.Placeholder), 0, true); f != nil {
			return fault.New("credential.bind", fault.Config,
				"the placeholder of the secret %s holds a value; check that its source gives the secret itself", b.Name)
		}
		if _, _, f := s.placeholders.find([]byte(b.Value.Reveal()), 0, true); f != nil {
			return fault.New("credential.bind", fault.Config,
				"the value of the secret %s holds a placeholder; check that its source gives the secret itself", b.Name)
		}
	}
	return nil
}

func (s *Set) add(b *Binding) error {
	at := s.hosts[b.Host]
	if at == nil {
		at = &site{headers: map[string]bool{}, queries: map[string]bool{}, forms: map[string]bool{}}
		s.hosts[b.Host] = at
	}
	at.bindings = append(at.bindings, b)
	for i, p := range b.Places {
		for _, other := range at.bindings {
			for j, q := range other.Places {
				if (other != b || i != j) && other.Port == b.Port && p.overlaps(q) {
					return fault.New("credential.bind", fault.Config,
						"the secrets %s and %s both go into %s of %s; give each its own place", other.Name, b.Name, p, b.Host)
				}
			}
		}
		switch {
		case p.header() != "":
			at.headers[p.header()] = true
		case p.In == Query:
			at.queries[fieldKey(p.Name)] = true
		case p.In == Form:
			at.forms[fieldKey(p.Name)] = true
		default:
			at.pointers = append(at.pointers, p.Name)
		}
	}
	return nil
}

// Bound tells whether a secret may go to host at port.
func (s *Set) Bound(host string, port uint16) bool {
	return len(s.active(canonicalHost(host), port)) > 0
}

func (s *Set) active(host string, port uint16) []*Binding {
	at := s.hosts[host]
	if at == nil {
		return nil
	}
	var out []*Binding
	for _, b := range at.bindings {
		if b.Port == port {
			out = append(out, b)
		}
	}
	return out
}

// seen names the secrets whose placeholders a text holds, in any form.
func (s *Set) seen(text string) []string {
	var out []string
	b := []byte(text)
	for at := 0; ; {
		_, end, f := s.placeholders.find(b, at, true)
		if f == nil {
			return out
		}
		for _, c := range s.bindings {
			if c.Placeholder == f.word {
				out = append(out, c.Name)
			}
		}
		at = end
	}
}

// isPlaceholder tells whether a text is a placeholder of the set, behind a
// scheme's name or as the password of basic authentication: a credential
// without power.
func (s *Set) isPlaceholder(text string) bool {
	if scheme, rest, ok := strings.Cut(text, " "); ok && scheme == safe(scheme) && len(scheme) <= 16 {
		if text = rest; strings.EqualFold(scheme, "basic") {
			_, text, _ = basicParts(rest)
		}
	}
	for _, b := range s.bindings {
		if b.Placeholder == text {
			return true
		}
	}
	return false
}
