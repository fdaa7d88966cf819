package credential

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"sallyport/internal/fault"
)

// Where is a kind of place in an HTTP request.
type Where uint8

// The kinds of places.
const (
	Header Where = iota // a header field, by name, with a template
	Query               // a query parameter, by key, with a template
	JSON                // a string in a JSON body, by JSON pointer ("/auth/token"), objects only
	Form                // a field of a form body (application/x-www-form-urlencoded), by key
	Basic               // the password of basic authentication; Name, if set, is the user it must be for
)

var whereNames = [...]string{"header", "query", "json", "form", "basic"}

// String gives the kind's name as the configuration writes it.
func (w Where) String() string {
	if int(w) < len(whereNames) {
		return whereNames[w]
	}
	return fmt.Sprintf("where(%d)", uint8(w))
}

// Place is one place of a request that may carry the secret.
type Place struct {
	In   Where
	Name string // by kind, see there
	// Template holds "{}" once, where the secret goes: "Bearer {}". For
	// headers and query parameters; empty means "{}".
	Template string
}

// String names the place, as the gate and the operator see it:
// "header Authorization", "json /auth/token", "basic".
func (p Place) String() string {
	if p.In == Header {
		return "header " + canonicalHeader(p.Name)
	}
	return strings.TrimSpace(p.In.String() + " " + p.Name)
}

// Binding ties a secret to one host and to the places where it may appear.
type Binding struct {
	Name  string // of the secret; unique in a Set
	Host  string // one exact name or address: no wildcard
	Port  uint16 // 0 = 443
	Value Value
	// Places are not empty. A request may use several; each holds the
	// placeholder or nothing.
	Places      []Place
	Placeholder string // what the agent holds, from NewPlaceholder
}

// NewPlaceholder makes a placeholder with 128 random bits. shape is what a
// client accepts as the form of its key, with {random} where the changing part
// goes ("sk-ant-api03-{random}"); without it the random part comes last. Of the
// shape only letters, digits, hyphens and underscores are kept, so the result
// needs no escaping in a header, a URL or JSON; it contains "sallyport", so
// people recognise it.
func NewPlaceholder(shape string) string {
	var r [16]byte
	_, _ = rand.Read(r[:]) // never fails
	random := "sallyport" + hex.EncodeToString(r[:])
	before, after, _ := strings.Cut(shape, "{random}")
	return safe(before) + random + safe(after)
}

func safe(s string) string {
	return strings.Map(func(c rune) rune {
		if safeRune(c) {
			return c
		}
		return -1
	}, s)
}

func safeRune(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

const (
	minValue       = 8   // bytes; a shorter one would be found everywhere
	minPlaceholder = 16  // bytes; the same
	maxPlaceholder = 512 // bytes
)

// normalized gives the binding with its defaults, or says what is wrong with
// it. Nothing it says holds the value.
func (b Binding) normalized() (Binding, error) {
	wrong := func(format string, args ...any) (Binding, error) {
		return Binding{}, fault.New("credential.bind", fault.Config, "the secret %s %s", b.Name, fmt.Sprintf(format, args...))
	}
	if b.Name == "" {
		return Binding{}, fault.New("credential.bind", fault.Config, "a secret has no name; name it")
	}
	host := canonicalHost(b.Host)
	if !validHost(host) {
		return wrong("is bound to %q, which is no exact host; write one name or address without scheme, port or wildcard", b.Host)
	}
	b.Host = host
	switch b.Port {
	case 0:
		b.Port = 443
	case 80:
		return wrong("is bound to port 80, and a secret leaves over TLS only; bind it to the port of https")
	}
	v := b.Value.Reveal()
	if len(v) < minValue {
		return wrong("is %d bytes long, and below %d it could not be told from other text; use a longer one", len(v), minValue)
	}
	if len(v) > maxSecret {
		return wrong("is longer than %d KiB, which is no credential; name the right source", maxSecret>>10)
	}
	if n := len(b.Placeholder); n < minPlaceholder || n > maxPlaceholder || safe(b.Placeholder) != b.Placeholder {
		return wrong("has no usable placeholder; make it of %d to %d letters, digits, hyphens and underscores", minPlaceholder, maxPlaceholder)
	}
	if len(b.Places) == 0 {
		return wrong("has no place where it may be put; declare a header, query, json, form or basic place")
	}
	for _, p := range b.Places {
		if why := p.problem(v); why != "" {
			return wrong("cannot go into %s: %s", p, why)
		}
	}
	return b, nil
}

// problem tells what is wrong with a place for this value.
func (p Place) problem(value string) string {
	if p.In != Header && p.In != Query && p.Template != "" {
		return "only headers and query parameters take a template; remove it"
	}
	if strings.Count(p.template(), "{}") != 1 {
		return "its template needs {} exactly once; write it where the secret goes"
	}
	switch p.In {
	case Header:
		if safe(p.Name) != p.Name || p.Name == "" || strings.Contains(p.Name, "_") {
			return "this is no header's name; write it as the service documents it"
		}
		if unbindable[headerKey(p.Name)] {
			return "this header belongs to the connection; choose the service's own"
		}
		if full := p.fill(value); strings.ContainsFunc(full, control) || strings.TrimSpace(full) != full {
			return "the value has characters that no header may hold; check what its source gives"
		}
	case Query, Form:
		if p.Name == "" {
			return "the key is missing; write it"
		}
	case JSON:
		if _, ok := pointer(p.Name); !ok {
			return `the path is no JSON pointer; write it as "/auth/token"`
		}
		if !utf8.ValidString(value) {
			return "the value is no UTF-8 text; check what its source gives"
		}
	case Basic:
		if strings.Contains(p.Name, ":") {
			return "a user's name has no colon; remove it"
		}
	default:
		return "this kind of place is unknown; use header, query, json, form or basic"
	}
	return ""
}

func (p Place) template() string {
	if p.Template == "" {
		return "{}"
	}
	return p.Template
}

func (p Place) fill(s string) string { return strings.Replace(p.template(), "{}", s, 1) }

// overlaps tells whether two places could be the same one of a request.
func (p Place) overlaps(q Place) bool {
	switch {
	case p.In == JSON && q.In == JSON:
		a, b := strings.ToLower(p.Name)+"/", strings.ToLower(q.Name)+"/"
		return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
	case p.header() != "" || q.header() != "":
		return p.header() == q.header()
	}
	return p.In == q.In && fieldKey(p.Name) == fieldKey(q.Name)
}

// header gives the key of the header a place is in, or "".
func (p Place) header() string {
	switch p.In {
	case Header:
		return headerKey(p.Name)
	case Basic:
		return "authorization"
	default:
		return ""
	}
}

// unbindable headers are read by the proxies on the way, or decide where a
// request goes or where it ends.
var unbindable = map[string]bool{
	"host": true, "connection": true, "proxy-connection": true, "keep-alive": true, "te": true, "trailer": true,
	"transfer-encoding": true, "content-length": true, "content-type": true, "content-encoding": true, "upgrade": true,
	"accept-encoding": true, "expect": true, "range": true, "if-range": true, "proxy-authorization": true,
}

func control(c rune) bool { return c < ' ' || c == 0x7f }

func canonicalHost(host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && a.Zone() == "" {
		return a.Unmap().String()
	}
	return host
}

func validHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == ""
	}
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label != safe(label) || label != strings.ToLower(label) {
			return false
		}
	}
	// The last label of a name is never a number: what looks like an odd way
	// of writing an address is none.
	_, err := strconv.ParseUint(s[strings.LastIndexByte(s, '.')+1:], 0, 64)
	return err != nil
}
