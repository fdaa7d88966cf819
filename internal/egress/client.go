package egress

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"time"

	"sallyport/internal/fault"
)

// ClientOptions tunes an HTTP client; the zero value follows no redirect.
type ClientOptions struct {
	// Redirects is how many redirects are followed, each checked as a
	// connection of its own. At 0 the redirect itself is the answer.
	Redirects int
	// ResponseHeader bounds the wait for the answer's header; 0 = no bound,
	// for callers that watch the time themselves.
	ResponseHeader time.Duration
	// MaxConnsPerHost bounds connections; default 32.
	MaxConnsPerHost int
	// MaxIdlePerHost bounds those that are kept for the next request; default 4.
	MaxIdlePerHost int
}

// Client makes an HTTP client whose every connection is made by d. TLS is at
// least 1.2; the answer's body is not decompressed.
func (d *Dialer) Client(o ClientOptions) *http.Client {
	if o.MaxConnsPerHost <= 0 {
		o.MaxConnsPerHost = 32
	}
	if o.MaxIdlePerHost <= 0 {
		o.MaxIdlePerHost = 4
	}
	t := &http.Transport{
		Proxy:                  nil, // never from the environment
		DialContext:            d.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: d.cfg.RootCAs},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  o.ResponseHeader,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		MaxConnsPerHost:        o.MaxConnsPerHost,
		MaxIdleConnsPerHost:    o.MaxIdlePerHost,
		IdleConnTimeout:        90 * time.Second,
		ForceAttemptHTTP2:      true,
		// A compressed answer could be far larger than what was read.
		DisableCompression: true,
	}
	return &http.Client{Transport: guarded{t}, CheckRedirect: redirects(o.Redirects)}
}

// guarded refuses requests whose Host header names another host than the one
// that is dialled: what was decided about is what is asked.
type guarded struct{ next *http.Transport }

// RoundTrip implements http.RoundTripper.
func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Host != "" && !strings.EqualFold(r.Host, r.URL.Host) {
		if r.Body != nil {
			_ = r.Body.Close() // the refusal is what counts
		}
		return nil, fault.New("egress.request", fault.Denied,
			"the request's Host header %q differs from the destination %q", r.Host, r.URL.Host)
	}
	return g.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections through.
func (g guarded) CloseIdleConnections() { g.next.CloseIdleConnections() }

// credentials are headers that must not reach another host. net/http knows
// only the first three.
var credentials = []string{
	"Authorization", "Cookie", "Www-Authenticate", "Proxy-Authorization",
	"X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Auth-Token",
}

func redirects(most int) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		if most <= 0 {
			return http.ErrUseLastResponse
		}
		if len(via) > most {
			return fault.New("egress.redirect", fault.Denied, "more than %d redirects", most)
		}
		first := via[0].URL
		if first.Scheme == "https" && r.URL.Scheme != "https" {
			return fault.New("egress.redirect", fault.Denied,
				"the redirect from %s to %s would leave encryption", first.Host, fmt.Sprintf("%s://%s", r.URL.Scheme, r.URL.Host))
		}
		if !strings.EqualFold(first.Host, r.URL.Host) {
			for _, h := range credentials {
				r.Header.Del(h)
			}
		}
		return nil
	}
}
