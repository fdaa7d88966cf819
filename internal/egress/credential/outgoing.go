package credential

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sallyport/internal/fault"
)

const opOut = "credential.outgoing"

// ErrUpgrade is in the chain of the error that refuses a change of protocol.
// Who answers it with status 426 makes clients that can do without one, Codex
// for its WebSocket, fall back at once instead of trying again.
var ErrUpgrade = errors.New("a change of protocol")

// foreign are the headers that carry credentials; towards a host that has a
// secret bound they hold a placeholder or the request is refused.
var foreign = map[string]bool{
	"authorization": true, "proxy-authorization": true, "cookie": true,
	"x-api-key": true, "api-key": true, "x-goog-api-key": true, "x-auth-token": true, "x-access-token": true, "private-token": true,
}

// foreignQuery are the query parameters that services read credentials from.
var foreignQuery = map[string]bool{
	"access_token": true, "api_key": true, "apikey": true, "auth_token": true, "oauth_token": true, "key": true, "x_goog_api_key": true,
	"token": true, "api_token": true, "private_token": true, "job_token": true, "authorization": true, "x_amz_signature": true, "x_amz_security_token": true,
}

// foreignEnds are how the many other headers are called that carry credentials:
// Xi-Api-Key, Job-Token, X-Auth-Key, X-Shopify-Access-Token.
var foreignEnds = []string{
	"api-key", "apikey", "api-token", "access-token", "access-key", "auth-token", "auth-key", "security-token", "job-token", "deploy-token", "vault-token", "subscription-key", "subscription-token",
}

// headerKey makes one of all spellings of a header that some server on the way
// reads as the same.
func headerKey(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

func canonicalHeader(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }

// fieldKey does the same for keys of queries and forms: case, "-" for "_", and
// the brackets that make lists.
func fieldKey(name string) string {
	name, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(name)), "[")
	return strings.ReplaceAll(name, "-", "_")
}

// use is one substitution that will be made.
type use struct {
	binding *Binding
	place   Place
	apply   func()
}

// request is one request while it is looked at. Nothing of it changes before
// all was found right and the gate said yes.
type request struct {
	set    *Set
	site   *site
	active []*Binding // those that may be put in
	host   string
	r      *http.Request
	uses   []use
	text   string // the body, if it was read
	stray  []string
}

// Outgoing puts values in for the placeholders of a request that is about to be
// sent to host:port; secure says that this proxy holds the TLS connection. The
// request must name the same host.
//
// It gives one sentence for every placeholder that leaves unreplaced, since it
// is not in its place or not on the way to its host; that is harmless, but
// worth a record. (Of bodies, only those it must read anyway are looked at.)
//
// An error means that the request must not be sent; it may have been partly
// read, but holds no value. fault.Denied: it carries a credential that is not
// ours, or the same place twice, or takes a form in which that could not be
// told; an error of grant, which is asked before anything is put in, once for
// every secret and place, is given as it is.
//
// Towards a host that has a secret bound it also removes Range, so that a value
// cannot be fetched in pieces, and asks for codings that Incoming can read.
func (s *Set) Outgoing(ctx context.Context, host string, port uint16, secure bool, r *http.Request, grant func(ctx context.Context, name, field string) error) ([]string, error) {
	q := &request{set: s, host: canonicalHost(host), r: r}
	if err := q.locate(port, secure); err != nil {
		return nil, err
	}
	if q.site == nil {
		q.strays(r.Host)
		return q.stray, nil
	}
	for _, check := range []func() error{q.shape, q.headers, q.query, q.body} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	for _, u := range q.uses {
		if u.binding.Value.Len() == 0 {
			return nil, fault.New(opOut, fault.Denied, "the secret %s was wiped when its run ended; start a new run", u.binding.Name)
		}
		if err := grant(ctx, u.binding.Name, u.place.String()); err != nil {
			return nil, err
		}
	}
	q.strays(net.JoinHostPort(q.host, strconv.Itoa(int(port))))
	for _, u := range q.uses {
		u.apply()
	}
	for name := range r.Header {
		switch headerKey(name) {
		case "range", "if-range", "accept-encoding":
			delete(r.Header, name)
		}
	}
	r.Header.Set("Accept-Encoding", "gzip, deflate")
	return q.stray, nil
}

func deny(format string, args ...any) error { return fault.New(opOut, fault.Denied, format, args...) }

// locate finds what is bound where the request really goes.
func (q *request) locate(port uint16, secure bool) error {
	q.site = q.set.hosts[q.host]
	for _, authority := range []string{q.r.Host, q.r.URL.Host} {
		if authority == "" {
			continue
		}
		name, portText := authority, ""
		if h, p, err := net.SplitHostPort(authority); err == nil {
			name, portText = h, p
		}
		name = canonicalHost(name)
		if q.site == nil && q.set.hosts[name] == nil {
			continue
		}
		if name != q.host || portText != "" && portText != strconv.Itoa(int(port)) {
			return deny("the request is sent to %s:%d and names %q, and one of them has a secret bound; name what it is sent to", q.host, port, authority)
		}
	}
	if q.active = q.set.active(q.host, port); len(q.active) > 0 && !secure {
		return deny("the secret %s is for %s:%d over TLS, and this request is not encrypted; use https", q.active[0].Name, q.host, port)
	}
	return nil
}

// shape refuses requests whose form would let a credential past the checks.
func (q *request) shape() error {
	r := q.r
	switch {
	case r.Method == http.MethodTrace || r.Method == http.MethodConnect:
		return deny("the method %s towards %s, which has a secret bound, is refused; use another", r.Method, q.host)
	case r.URL.User != nil:
		return deny("the URL for %s carries a credential that is not Sallyport's; remove it", q.host)
	case r.URL.Opaque != "":
		return deny("the URL for %s is not of the form https://host/path; write it so", q.host)
	case len(r.Trailer) > 0 || len(r.Header.Values("Trailer")) > 0:
		return deny("trailers in a request for %s, which has a secret bound, are refused; send them as headers", q.host)
	}
	for name, values := range r.Header {
		switch headerKey(name) {
		case "upgrade":
			return &fault.Error{Op: opOut, Kind: fault.Denied, Err: ErrUpgrade, Public: fmt.Sprintf(
				"a change of protocol towards %s, which has a secret bound, cannot be watched; use plain HTTP requests", q.host)}
		case "host":
			return deny("the request for %s names its host twice; name it once", q.host)
		case "connection", "proxy-connection":
			for token := range strings.SplitSeq(strings.Join(values, ","), ",") {
				if token = headerKey(strings.TrimSpace(token)); q.credential(token) {
					return deny("the request for %s has the header %s removed on the way (Connection); do not name it there", q.host, canonicalHeader(token))
				}
			}
		}
	}
	return nil
}

// credential tells the headers that carry credentials to this host.
func (q *request) credential(key string) bool {
	return foreign[key] || q.site.headers[key] || slices.ContainsFunc(foreignEnds, func(end string) bool { return strings.HasSuffix(key, end) })
}

func (q *request) foreign(where string) error {
	return deny("the request for %s carries a credential that is not Sallyport's in %s; remove it", q.host, where)
}

func (q *request) headers() error {
	count := map[string]int{}
	for name, values := range q.r.Header {
		key := headerKey(name)
		if !q.credential(key) {
			continue
		}
		if count[key] += len(values); count[key] > 1 {
			return deny("the request for %s carries the header %s more than once; send it once", q.host, canonicalHeader(key))
		}
		if strings.Contains(name, "_") {
			return deny("the request for %s writes the header %s with underscores; write hyphens", q.host, canonicalHeader(key))
		}
		for _, v := range values {
			if !q.header(name, key, v) && !q.set.isPlaceholder(v) {
				return q.foreign("the header " + canonicalHeader(key))
			}
		}
	}
	return nil
}

// header plans the substitution in one header, if its binding is active.
func (q *request) header(name, key, v string) bool {
	for _, b := range q.active {
		for _, p := range b.Places {
			if p.header() != key {
				continue
			}
			full := ""
			switch p.In {
			case Basic:
				scheme, rest, _ := strings.Cut(v, " ")
				user, password, ok := basicParts(rest)
				if !ok || !strings.EqualFold(scheme, "basic") || password != b.Placeholder || p.Name != "" && p.Name != user {
					continue
				}
				full = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+b.Value.Reveal()))
			default:
				before, after, _ := strings.Cut(p.template(), "{}")
				if len(v) < len(before) || !strings.EqualFold(v[:len(before)], before) || v[len(before):] != b.Placeholder+after {
					continue
				}
				full = p.fill(b.Value.Reveal())
			}
			q.uses = append(q.uses, use{b, p, func() {
				delete(q.r.Header, name)
				q.r.Header[canonicalHeader(key)] = []string{full}
			}})
			return true
		}
	}
	return false
}

// basicParts reads the credentials of basic authentication.
func basicParts(s string) (user, password string, ok bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(b), ":")
}

func (q *request) query() error {
	raw := q.r.URL.RawQuery
	parts, uses, err := q.pairs(raw, Query, "the query")
	if err != nil {
		return err
	}
	q.plan(uses, func() { q.r.URL.RawQuery = strings.Join(parts, "&") })
	return nil
}

// plan adds substitutions that are made together.
func (q *request) plan(uses []use, apply func()) {
	for i := range uses {
		uses[i].apply = func() {}
	}
	if len(uses) > 0 {
		uses[len(uses)-1].apply = apply
	}
	q.uses = append(q.uses, uses...)
}

// pairs reads key=value&… and gives its parts with the values put in. Keys are
// compared as the most generous server would.
func (q *request) pairs(raw string, in Where, where string) (parts []string, uses []use, err error) {
	if raw == "" {
		return nil, nil, nil
	}
	parts = strings.Split(raw, "&")
	count := map[string]bool{}
	for i, part := range parts {
		for j, sub := range strings.Split(part, ";") {
			k, v, _ := strings.Cut(sub, "=")
			name, errKey := url.QueryUnescape(k)
			value, errValue := url.QueryUnescape(v)
			key := fieldKey(name)
			if errKey != nil {
				return nil, nil, deny("%s of the request for %s is badly escaped; escape its keys", where, q.host)
			}
			if !q.guarded(in, key) {
				continue
			}
			if count[key] || j > 0 {
				return nil, nil, deny("%s of the request for %s carries %s more than once; send it once", where, q.host, key)
			}
			count[key] = true
			b, p := q.field(in, name, value)
			switch {
			case errValue == nil && b != nil:
				full := p.fill(b.Value.Reveal())
				uses = append(uses, use{binding: b, place: p})
				parts[i] = k + "=" + url.QueryEscape(full)
			case errValue != nil || !q.set.isPlaceholder(value):
				return nil, nil, q.foreign(fmt.Sprintf("%s (%s)", where, key))
			}
		}
	}
	return parts, uses, nil
}

// guarded tells which keys may hold a placeholder only.
func (q *request) guarded(in Where, key string) bool {
	if in == Query {
		return foreignQuery[key] || q.site.queries[key]
	}
	return q.site.forms[key]
}

// field finds the active binding whose place this is, spelled exactly.
func (q *request) field(in Where, name, value string) (*Binding, Place) {
	for _, b := range q.active {
		for _, p := range b.Places {
			if p.In == in && p.Name == name && value == p.fill(b.Placeholder) {
				return b, p
			}
		}
	}
	return nil, Place{}
}

// strays reports placeholders that stay what they are.
func (q *request) strays(to string) {
	replaced := map[string]int{}
	for _, u := range q.uses {
		replaced[whereOf(u.place)+"\x00"+u.binding.Name]++
	}
	note := func(where, text string) {
		for _, name := range q.set.seen(text) {
			if replaced[where+"\x00"+name]--; replaced[where+"\x00"+name] >= 0 {
				continue
			}
			sentence := fmt.Sprintf("the placeholder of the secret %s went to %q in %s, where it is not replaced", name, to, where)
			if !slices.Contains(q.stray, sentence) {
				q.stray = append(q.stray, sentence)
			}
		}
	}
	note("the path", q.r.URL.Path)
	note("the query", q.r.URL.RawQuery)
	for name, values := range q.r.Header {
		for _, v := range values {
			note("the header "+canonicalHeader(name), v)
		}
	}
	if q.text != "" {
		note("the body", q.text)
	}
}

func whereOf(p Place) string {
	switch p.In {
	case Basic:
		return "the header Authorization"
	case Header:
		return "the header " + canonicalHeader(p.Name)
	case Query:
		return "the query"
	default:
		return "the body"
	}
}
