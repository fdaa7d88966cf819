package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

func authority(t testing.TB) (*Authority, *x509.CertPool) {
	t.Helper()
	a, err := NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(a.PEM()) {
		t.Fatal("the PEM holds no certificate")
	}
	return a, pool
}

// webTLS starts an HTTPS server outside with a certificate for its hosts by an
// authority of the world outside.
func (w *world) webTLS(outside *Authority, h http.HandlerFunc, hosts ...string) {
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	bare, err := outside.certificate("9.9.9.9")
	if err != nil {
		w.t.Fatal(err)
	}
	s.TLS = &tls.Config{
		Certificates:   []tls.Certificate{*bare}, // for clients that name no host
		GetCertificate: func(i *tls.ClientHelloInfo) (*tls.Certificate, error) { return outside.certificate(i.ServerName) },
	}
	s.StartTLS()
	w.t.Cleanup(s.Close)
	for _, host := range hosts {
		w.hosts.Store(host, s.Listener.Addr().String())
	}
}

// TestTunnel: at LevelConnect TLS passes closed, whatever way it came.
func TestTunnel(t *testing.T) {
	w := newWorld(t, nil)
	outside, roots := authority(t)
	w.webTLS(outside, func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, r.Proto, " ", r.Host) }, "good.test:443", "9.9.9.9:443")
	for goal, host := range map[string]string{"198.18.0.1:443": "good.test", "[fd00:5a11::1]:443": "good.test", "9.9.9.9:443": "9.9.9.9"} {
		if got, err := get(t, w.client(goal, roots), "https://"+host+"/"); err != nil || got.body != "HTTP/2.0 "+host {
			t.Errorf("%s: %+v %v %s", goal, got, err, w.refusals())
		}
	}
	for name, negotiate := range map[string]func(net.Conn){
		"CONNECT": func(c net.Conn) {
			fmt.Fprint(c, "CONNECT good.test:443 HTTP/1.1\r\nHost: good.test:443\r\n\r\n")
			b := make([]byte, len("HTTP/1.1 200 Connection established\r\n\r\n"))
			if _, err := io.ReadFull(c, b); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200 ") {
				t.Errorf("%q %v", b, err)
			}
		},
		"SOCKS": func(c net.Conn) {
			fmt.Fprint(c, "\x05\x02\x00\x02\x05\x01\x00\x03\x09Good.test\x01\xbb")
			b := make([]byte, 12)
			if _, err := io.ReadFull(c, b); err != nil || string(b[:4]) != "\x05\x00\x05\x00" {
				t.Errorf("%x %v", b, err)
			}
		},
		"SOCKS to a fake address": func(c net.Conn) {
			fmt.Fprint(c, "\x05\x01\x00\x05\x01\x00\x01\xc6\x12\x00\x01\x01\xbb")
			if _, err := io.ReadFull(c, make([]byte, 12)); err != nil {
				t.Error(err)
			}
		},
	} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: func(context.Context, string, string) (net.Conn, error) {
			c := w.dial("")
			negotiate(c)
			return c, nil
		}}
		if got, err := get(t, &http.Client{Transport: tr}, "https://good.test/"); err != nil || got.body != "HTTP/1.1 good.test" {
			t.Errorf("%s: %+v %v %s", name, got, err, w.refusals())
		}
		tr.CloseIdleConnections()
	}
	for i, q := range w.judge.questions() {
		if q != "connect good.test:443" && q != "connect 9.9.9.9:443" {
			t.Errorf("question %d: %s", i, q)
		}
	}
}

// TestIntercept: at LevelRequest each request inside TLS is judged, in
// HTTP/1.1 and HTTP/2, and the server's certificate is checked.
func TestIntercept(t *testing.T) {
	outside, outsideRoots := authority(t)
	run, runRoots := authority(t)
	w := newWorld(t, func(c *Config) {
		c.Level, c.Authority, c.RootCAs = func(Dest) Level { return LevelRequest }, run, outsideRoots
	})
	w.webTLS(outside, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Trailer", "Grpc-Status")
		io.Copy(rw, r.Body)
		fmt.Fprint(rw, r.Proto, " ", r.Host, r.URL)
		rw.Header().Set("Grpc-Status", "0")
	}, "good.test:443", "9.9.9.9:8443")
	w.judge.deny = func(_ Dest, r *RequestInfo) error {
		if r.Path == "/no" {
			return errRule
		}
		return nil
	}
	for _, h2 := range []bool{true, false} {
		cl := w.client("198.18.0.1:443", runRoots)
		cl.Transport.(*http.Transport).ForceAttemptHTTP2 = h2
		for path, want := range map[string]string{"/a?b=c": "upHTTP/2.0 good.test/a?b=c", "/no": "sallyport: the rule forbids it; ask the owner\n"} {
			resp, err := cl.Post("https://good.test"+path, "application/grpc", strings.NewReader("up"))
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(b) != want || h2 != (resp.ProtoMajor == 2) || path != "/no" && resp.Trailer.Get("Grpc-Status") != "0" {
				t.Errorf("%v %s: %q, trailer %v", h2, path, b, resp.Trailer)
			}
		}
	}
	if got, err := get(t, w.client("9.9.9.9:8443", runRoots), "https://9.9.9.9:8443/x"); err != nil || got.body != "HTTP/2.0 9.9.9.9:8443/x" {
		t.Errorf("an address: %+v %v", got, err)
	}
	for _, q := range w.judge.questions() {
		if !strings.Contains(q, " https://") {
			t.Errorf("judged %q", q)
		}
	}
}

func TestInterceptRefusesAFalseServer(t *testing.T) {
	outside, _ := authority(t)
	run, runRoots := authority(t)
	w := newWorld(t, func(c *Config) {
		c.Level, c.Authority, c.RootCAs = func(Dest) Level { return LevelRequest }, run, x509.NewCertPool()
	})
	w.webTLS(outside, func(http.ResponseWriter, *http.Request) { t.Error("reached") }, "good.test:443")
	got, err := get(t, w.client("198.18.0.1:443", runRoots), "https://good.test/")
	if err != nil || got.code != 502 || !strings.Contains(got.body, "certificate could not be verified") {
		t.Errorf("%+v %v", got, err)
	}
}

// TestWithoutAuthority: what asks for a look inside and cannot have it stays
// out.
func TestWithoutAuthority(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Level = func(Dest) Level { return LevelRequest } })
	_, err := get(t, w.client("198.18.0.1:443", nil), "https://good.test/")
	if err == nil || !strings.Contains(err.Error(), "access denied") || w.refusals() != "tls-closed good.test" {
		t.Errorf("%v, %s", err, w.refusals())
	}
}

// TestAlert: a program whose TLS connection is refused learns that access was
// denied.
func TestAlert(t *testing.T) {
	w := newWorld(t, nil)
	w.judge.deny = func(Dest, *RequestInfo) error { return errRule }
	if _, err := get(t, w.client("198.18.0.1:443", nil), "https://good.test/"); err == nil || !strings.Contains(err.Error(), "access denied") {
		t.Errorf("error %v", err)
	}
	if w.refusals() != "" {
		t.Errorf("the judge's denial was reported as the proxy's: %s", w.refusals())
	}
}

// TestAlertUnreachable: what was allowed and cannot be reached is no denial.
func TestAlertUnreachable(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Dial = func(context.Context, string, string) (net.Conn, error) {
			return nil, fault.New("test", fault.Unavailable, "nobody is there")
		}
	})
	if _, err := get(t, w.client("198.18.0.1:443", nil), "https://good.test/"); err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("error %v", err)
	}
}

func TestAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := NewAuthority(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		block, rest := pem.Decode(a.PEM())
		if block.Type != "CERTIFICATE" || len(rest) > 0 || bytes.Contains(a.PEM(), []byte("KEY")) {
			t.Fatalf("PEM %s", a.PEM())
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil || !ca.IsCA || !ca.MaxPathLenZero || ca.KeyUsage != x509.KeyUsageCertSign || ca.PublicKey.(*ecdsa.PublicKey).Params().BitSize != 256 {
			t.Fatalf("%+v %v", ca, err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(ca)
		first, err := a.certificate("good.test")
		if err != nil {
			t.Fatal(err)
		}
		leaf := first.Leaf
		if leaf.IsCA || leaf.KeyUsage&x509.KeyUsageCertSign != 0 || leaf.NotAfter.Sub(leaf.NotBefore) > 24*time.Hour {
			t.Errorf("leaf %+v", leaf)
		}
		if diff := cmp.Diff([]string{"good.test"}, leaf.DNSNames); diff != "" {
			t.Error(diff)
		}
		for name, ok := range map[string]bool{"good.test": true, "a.good.test": false, "evil.test": false} {
			if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: pool, CurrentTime: time.Now()}); (err == nil) != ok {
				t.Errorf("%s: %v", name, err)
			}
		}
		if again, _ := a.certificate("good.test"); again != first {
			t.Error("not cached")
		}
		time.Sleep(23*time.Hour + 50*time.Minute)
		if again, _ := a.certificate("good.test"); again == first || again.Leaf.NotAfter.Before(time.Now().Add(23*time.Hour)) {
			t.Error("a leaf that is about to end was handed out")
		}
		for i := range maxLeaves + 10 {
			if _, err := a.certificate(fmt.Sprintf("n%d.test", i)); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(a.leaves); n > maxLeaves {
			t.Errorf("%d leaves kept", n)
		}
		if c, err := a.certificate("2001:db8::1"); err != nil || c.Leaf.IPAddresses[0].String() != "2001:db8::1" || len(c.Leaf.DNSNames) > 0 {
			t.Errorf("%v", err)
		}
	})
}

// helloOf records what a TLS client says first.
func helloOf(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	a, b := net.Pipe()
	go func() { tls.Client(a, cfg).Handshake(); a.Close() }()
	r := bufio.NewReader(b)
	head, err := r.Peek(5)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 5+int(head[3])<<8+int(head[4]))
	if _, err := io.ReadFull(r, out); err != nil {
		t.Fatal(err)
	}
	b.Close()
	return out
}

// refragment cuts the message of one record into records of n bytes.
func refragment(b []byte, n int) []byte {
	var out []byte
	for msg := b[5:]; len(msg) > 0; {
		part := msg[:min(n, len(msg))]
		msg = msg[len(part):]
		out = append(append(out, 22, 3, 1, byte(len(part)>>8), byte(len(part))), part...)
	}
	return out
}

func TestParseHello(t *testing.T) {
	b := helloOf(t, &tls.Config{ServerName: "good.test"})
	for _, n := range []int{1, 3, 100, 1 << 14} {
		f := refragment(b, n)
		for cut := range len(f) {
			if _, err := parseHello(f[:cut]); err != errMore { //nolint:errorlint // exactly this
				t.Fatalf("%d of %d bytes: %v", cut, len(f), err)
			}
		}
		if h, err := parseHello(f); err != nil || h != (hello{name: "good.test"}) {
			t.Fatalf("records of %d: %+v %v", n, h, err)
		}
	}
	if h, err := parseHello(append(bytes.Clone(b), 20, 3, 3, 0, 1, 1)); err != nil || h.name != "good.test" {
		t.Errorf("early data behind: %v", err)
	}
	if h, err := parseHello(helloOf(t, &tls.Config{InsecureSkipVerify: true})); err != nil || h != (hello{}) {
		t.Errorf("no name: %+v %v", h, err)
	}
	for name, bad := range map[string][]byte{
		"another message": append([]byte{22, 3, 1, 0, 4}, 2, 0, 0, 0),
		"an alert":        append([]byte{21, 3, 1, 0, 2}, 1, 0),
		"SSL 2":           {0x80, 0x2e, 1, 3, 1, 0},
		"an empty record": {22, 3, 1, 0, 0},
		"a huge record":   {22, 3, 1, 0xff, 0xff},
		"a huge message":  {22, 3, 1, 0, 4, 1, 0xff, 0, 0},
		"two messages":    func() []byte { f := bytes.Clone(b); f = append(f, 1); f[4]++; return f }(),
	} {
		if _, err := parseHello(bad); err == nil || err == errMore { //nolint:errorlint // exactly these
			t.Errorf("%s: %v", name, err)
		}
	}
}
