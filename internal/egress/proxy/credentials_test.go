package proxy

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/egress/credential"
)

const secretValue = "the-real-value-of-it"

// wired is the credential room as app wires it.
type wired struct {
	*credential.Set
	granted []string
}

func (b *wired) Outgoing(ctx context.Context, d Dest, tls bool, r *http.Request) error {
	_, err := b.Set.Outgoing(ctx, d.Host, d.Port, tls, r, func(_ context.Context, name, field string) error {
		b.granted = append(b.granted, name+" "+field)
		return nil
	})
	return err
}

func (b *wired) Incoming(d Dest, resp *http.Response) error {
	return b.Set.Incoming(d.Host, d.Port, resp)
}

// newWired binds one secret to good.test:443 and gives its placeholder.
func newWired(t *testing.T) (*wired, string) {
	t.Helper()
	value, err := credential.Source{Env: "TOKEN"}.Read(t.Context(), func(string) (string, bool) { return secretValue, true })
	if err != nil {
		t.Fatal(err)
	}
	placeholder := credential.NewPlaceholder("key-{random}")
	set, err := credential.NewSet([]credential.Binding{{
		Name: "api", Host: "good.test", Value: value, Placeholder: placeholder,
		Places: []credential.Place{{In: credential.Header, Name: "Authorization", Template: "Bearer {}"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &wired{Set: set}, placeholder
}

// TestCredentials: a host with a credential is looked into whatever its level,
// over TLS only, and nothing it sends back passes by the one who takes the
// value out again.
func TestCredentials(t *testing.T) {
	outside, outsideRoots := authority(t)
	run, runRoots := authority(t)
	secrets, placeholder := newWired(t)
	var seen []string
	w := newWorld(t, func(c *Config) {
		c.Authority, c.RootCAs, c.Credentials = run, outsideRoots, secrets
		c.Level = func(Dest) Level { return LevelConnect }
	})
	w.webTLS(outside, func(rw http.ResponseWriter, r *http.Request) {
		auth := r.Header.Get("Authorization")
		seen = append(seen, auth)
		rw.Header().Set("Echo", auth)
		if r.URL.Path == "/hints" {
			rw.WriteHeader(http.StatusEarlyHints)
		}
		fmt.Fprint(rw, "auth ", auth)
	}, "good.test:443", "good.test:8443")
	w.web(func(rw http.ResponseWriter, r *http.Request) { t.Error("plain HTTP reached the host") }, "good.test:80")
	cl := w.client("198.18.0.1:443", runRoots)
	for _, path := range []string{"/", "/hints"} {
		req, _ := http.NewRequest("GET", "https://good.test"+path, nil)
		req.Header.Set("Authorization", "Bearer "+placeholder)
		hints := 0
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(int, textproto.MIMEHeader) error { hints++; return nil },
		}))
		got, err := do(t, cl, req)
		if err != nil || got.code != 200 || got.body != "auth Bearer "+placeholder || got.header.Get("Echo") != "Bearer "+placeholder || hints != 0 {
			t.Errorf("%s: %+v %v, %d informational answers", path, got, err, hints)
		}
	}
	real := "Bearer " + secretValue
	if diff := cmp.Diff([]string{real, real}, seen); diff != "" {
		t.Errorf("the host saw (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"api header Authorization", "api header Authorization"}, secrets.granted); diff != "" {
		t.Errorf("granted (-want +got)\n%s", diff)
	}
	req, _ := http.NewRequest("GET", "https://good.test/", nil)
	req.Header.Set("Cookie", "session=mine")
	if got, err := do(t, cl, req); err != nil || got.code != 403 || !strings.Contains(got.body, "remove it") {
		t.Errorf("a refused request: %+v %v", got, err)
	}
	// The same name on a port without credential: its TLS stays closed.
	if got, err := get(t, w.client("198.18.0.1:8443", outsideRoots), "https://good.test:8443/"); err != nil || got.body != "auth " {
		t.Errorf("another port: %+v %v", got, err)
	}
	cl = w.client("198.18.0.1:443", runRoots)
	cl.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	req, _ = http.NewRequest("GET", "https://good.test/", nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	if got, err := do(t, cl, req); err != nil || got.code != 426 || !strings.Contains(got.body, "WebSocket") {
		t.Errorf("WebSocket: %+v %v", got, err)
	}
	for _, text := range []string{"GET / HTTP/1.1\r\nHost: good.test:443\r\n\r\n"} {
		c := w.dial("198.18.0.1:443")
		if got := exchangeOn(t, c, bufio.NewReader(c), text); got.code != 403 || !strings.Contains(got.body, "use https") {
			t.Errorf("plain HTTP: %+v", got)
		}
	}
	c := w.dial("")
	if got := exchangeOn(t, c, bufio.NewReader(c), "GET http://good.test:443/ HTTP/1.1\r\nHost: good.test:443\r\n\r\n"); got.code != 403 {
		t.Errorf("plain HTTP through the proxy: %+v", got)
	}
}
