package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"sallyport/internal/fault"
)

const secretValue = "the-real-one"

// bound puts a credential into requests to good.test:443 and takes it out of
// answers.
type bound struct{ w **world }

func (bound) Bound(host string, port uint16) bool { return host == "good.test" && port == 443 }

func (b bound) Outgoing(_ context.Context, d Dest, tls bool, r *http.Request) error {
	if !b.Bound(d.Host, d.Port) {
		return nil
	}
	if n := len((*b.w).judge.questions()); n == 0 || !tls {
		return fault.New("test", fault.Internal, "asked before the judge, or without TLS")
	}
	if r.Header.Get("Cookie") != "" {
		return fault.New("test", fault.Denied, "a foreign credential; remove it")
	}
	r.Header.Set("Authorization", secretValue)
	return nil
}

func (b bound) Incoming(_ Dest, resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(bytes.ReplaceAll(body, []byte(secretValue), []byte("[placeholder]"))))
	resp.Header.Del("Content-Length")
	for _, v := range resp.Header {
		v[0] = strings.ReplaceAll(v[0], secretValue, "[placeholder]")
	}
	return err
}

// TestCredentials: a host with a credential is looked into whatever its level,
// over TLS only, and nothing it sends back passes by the one who takes the
// value out again.
func TestCredentials(t *testing.T) {
	outside, outsideRoots := authority(t)
	run, runRoots := authority(t)
	var w *world
	w = newWorld(t, func(c *Config) {
		c.Authority, c.RootCAs, c.Credentials = run, outsideRoots, bound{&w}
		c.Level = func(Dest) Level { return LevelConnect }
	})
	w.webTLS(outside, func(rw http.ResponseWriter, r *http.Request) {
		auth := r.Header.Get("Authorization")
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
		hints := 0
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(int, textproto.MIMEHeader) error { hints++; return nil },
		}))
		got, err := do(t, cl, req)
		if err != nil || got.code != 200 || got.body != "auth [placeholder]" || got.header.Get("Echo") != "[placeholder]" || hints != 0 {
			t.Errorf("%s: %+v %v, %d informational answers", path, got, err, hints)
		}
	}
	req, _ := http.NewRequest("GET", "https://good.test/", nil)
	req.Header.Set("Cookie", "mine")
	if got, err := do(t, cl, req); err != nil || got.code != 403 || !strings.Contains(got.body, "foreign credential") {
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
	if got, err := do(t, cl, req); err != nil || got.code != 403 || !strings.Contains(got.body, "WebSocket") {
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
