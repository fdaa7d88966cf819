package llmproxy

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"sallyport/internal/fault"
	"sallyport/internal/llmproxy/wire"
)

// Caller is who sends a request, by mechanism: an API key or a guarded program.
type Caller struct {
	Agent, Session, Context string
	Key                     string      // the API key's id; "" = a guarded program
	Client                  wire.Client // "" = by what the request says of itself
	RequestsPerMinute       int         // 0 = no limit
	TokensPerMinute         int         // 0 = no limit
}

// Keys finds whose key a token is. The error is fault.Denied for one that is
// unknown, expired or revoked; the work must not depend on which.
type Keys interface {
	Authenticate(ctx context.Context, token string) (Caller, error)
}

// Upstream is where a model is served.
type Upstream struct {
	Name   string                    // "anthropic"
	Target func(model string) string // of model.call: "anthropic/claude-x"; nil = Name/model
	Base   *url.URL                  // scheme, host and, if any, the path before /v1 or with it
	// Credential puts the upstream's key in, after the client's was taken out;
	// nil leaves the request's own credentials and path as they are.
	Credential func(h http.Header)
	Transport  http.RoundTripper
}

func (u *Upstream) target(model string) string {
	if u.Target != nil {
		return u.Target(model)
	}
	return u.Name + "/" + model
}

// credentials are the header fields in which a client sends its key.
var credentials = []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key", "Api-Key", "Cookie"}

// Handler serves a listener: it authenticates by the header, before the body is
// read, and serves the request.
func (p *Proxy) Handler(k Keys) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route, _ := routeOf(r)
		if h := p.local(r); h != nil {
			p.decline(w, r, route.API, h)
			return
		}
		token, err := takeToken(r)
		if err != nil {
			p.decline(w, r, route.API, unauthenticated(route.API, fault.PublicText(err)))
			return
		}
		who, err := k.Authenticate(r.Context(), token)
		switch {
		case err == nil:
			p.Serve(w, r, who, nil)
		case fault.Is(err, fault.Denied):
			p.decline(w, r, route.API, unauthenticated(route.API, "the Sallyport API key is unknown, expired or revoked; make one with `sallyport keys create`"))
		default:
			p.cfg.Log.Error("keys", "error", err)
			p.decline(w, r, route.API, unavailable(route.API, "", http.StatusServiceUnavailable, fault.PublicText(err)))
		}
	})
}

// local refuses what a web page of somebody else could send: a name that
// resolves to this machine, or a request from another origin.
func (p *Proxy) local(r *http.Request) *halt {
	if !p.knownHost(r.Host) {
		return refuse(http.StatusForbidden, "host.unknown", "the proxy is not addressed as "+plain(r.Host, 64)+"; use its address, localhost, or a name listed in proxy.hosts")
	}
	foreign := r.Header.Get("Sec-Fetch-Site") == "cross-site"
	for _, o := range r.Header["Origin"] {
		u, err := url.Parse(o)
		foreign = foreign || err != nil || u.Host != r.Host
	}
	if foreign {
		return refuse(http.StatusForbidden, "origin.foreign", "a web page of another origin may not use the proxy; call it from a program")
	}
	return nil
}

func (p *Proxy) knownHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return true
	}
	return slices.ContainsFunc(p.cfg.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// maxToken bounds what is given to Authenticate.
const maxToken = 512

// takeToken gives the one key of a request and removes it, so that it cannot be
// sent on.
func takeToken(r *http.Request) (string, error) {
	var found []string
	for _, v := range r.Header["Authorization"] {
		kind, token, _ := strings.Cut(v, " ")
		if !strings.EqualFold(kind, "Bearer") {
			return "", fault.New("llmproxy.token", fault.Denied, "the Authorization header is no Bearer token; send a Sallyport API key")
		}
		found = append(found, strings.TrimSpace(token))
	}
	found = append(found, r.Header["X-Api-Key"]...)
	found = append(found, r.Header["X-Goog-Api-Key"]...)
	if q := r.URL.Query(); q.Has("key") {
		found = append(found, q["key"]...)
		r.URL.RawQuery = without(r.URL.RawQuery, "key")
	}
	for _, h := range credentials {
		r.Header.Del(h)
	}
	slices.Sort(found)
	switch found = slices.Compact(found); {
	case len(found) == 0:
		return "", fault.New("llmproxy.token", fault.Denied, "no API key was sent; give the client one made with `sallyport keys create`")
	case len(found) > 1:
		return "", fault.New("llmproxy.token", fault.Denied, "several different API keys were sent, so it is not clear whose request this is; send one")
	case found[0] == "" || len(found[0]) > maxToken:
		return "", fault.New("llmproxy.token", fault.Denied, "the API key is empty or too long; make one with `sallyport keys create`")
	}
	return found[0], nil
}

// without removes a parameter from a query and leaves the rest as it is.
func without(rawQuery, name string) string {
	var kept []string
	for part := range strings.SplitSeq(rawQuery, "&") {
		k, _, _ := strings.Cut(part, "=")
		if u, err := url.QueryUnescape(k); err != nil || u != name {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}
