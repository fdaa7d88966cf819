package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// cdn is a host that serves two names on one address, as content networks do.
type cdn struct {
	mu   sync.Mutex
	seen []string
}

func (c *cdn) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, r.Host)
	fmt.Fprint(rw, "served ", r.Host)
}

func (c *cdn) evil() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.seen {
		if strings.Contains(s, "evil") {
			return true
		}
	}
	return false
}

// newCDN serves plain and TLS for both names.
func newCDN(t *testing.T) (*cdn, map[string]string, *x509.CertPool) {
	t.Helper()
	outside, roots := authority(t)
	c := &cdn{}
	plain := httptest.NewServer(c)
	t.Cleanup(plain.Close)
	closed := httptest.NewUnstartedServer(c)
	bare, err := outside.certificate("good.test")
	if err != nil {
		t.Fatal(err)
	}
	closed.TLS = &tls.Config{Certificates: []tls.Certificate{*bare}, GetCertificate: func(i *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return outside.certificate(i.ServerName)
	}}
	closed.EnableHTTP2 = true
	closed.Config.ErrorLog = log.New(io.Discard, "", 0)
	closed.StartTLS()
	t.Cleanup(closed.Close)
	return c, map[string]string{
		"good.test:80": plain.Listener.Addr().String(), "good.test:443": closed.Listener.Addr().String(),
		"good.test:9000": plain.Listener.Addr().String(),
	}, roots
}

// naive forwards like a proxy that looks at the name of the connection alone.
func naive(t *testing.T, to string) net.Conn {
	t.Helper()
	a, b := net.Pipe()
	up, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { io.Copy(up, b); up.(*net.TCPConn).CloseWrite() })
	wg.Go(func() { io.Copy(b, up); b.Close() })
	t.Cleanup(func() { a.Close(); up.Close(); wg.Wait() })
	return a
}

// talk writes plain text and reads until the host's or the proxy's last word.
func talk(text string) func(*testing.T, net.Conn, *x509.CertPool) {
	return func(t *testing.T, c net.Conn, _ *x509.CertPool) { say(t, c, text) }
}

// talkTLS names one host in TLS and another in the request.
func talkTLS(sni, host string, protos ...string) func(*testing.T, net.Conn, *x509.CertPool) {
	return func(t *testing.T, c net.Conn, roots *x509.CertPool) {
		tc := tls.Client(c, &tls.Config{ServerName: sni, NextProtos: protos, InsecureSkipVerify: true})
		if sni != "" {
			tc = tls.Client(c, &tls.Config{ServerName: sni, NextProtos: protos, RootCAs: roots})
		}
		if tc.Handshake() != nil {
			return
		}
		tr := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return tc, nil }, ForceAttemptHTTP2: len(protos) > 0}
		defer tr.CloseIdleConnections()
		req, _ := http.NewRequest("GET", "https://good.test/", nil)
		req.Host = host
		do(t, &http.Client{Transport: tr}, req) // what counts is what the host saw
	}
}

const (
	toEvil = "GET / HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n"
	toGood = "GET / HTTP/1.1\r\nHost: good.test\r\n\r\n"
)

// TestDomainFronting: a connection that was permitted for one host must not
// reach another that is served at the same address.
func TestDomainFronting(t *testing.T) {
	connect := func(port int) string {
		return fmt.Sprintf("CONNECT good.test:%d HTTP/1.1\r\nHost: good.test:%[1]d\r\n\r\n", port)
	}
	for name, tt := range map[string]struct {
		port     int
		prelude  string // spoken to the proxy only
		level    Level
		attack   func(*testing.T, net.Conn, *x509.CertPool)
		harmless bool // the host does not fall for it either
	}{
		"host":                       {80, "", LevelConnect, talk(toEvil), false},
		"host, level request":        {80, "", LevelRequest, talk(toEvil), false},
		"second request":             {80, "", LevelConnect, talk(toGood + toEvil), false},
		"absolute form":              {80, "", LevelConnect, talk("GET http://evil.test/ HTTP/1.1\r\nHost: good.test\r\nConnection: close\r\n\r\n"), false},
		"two hosts":                  {80, "", LevelConnect, talk("GET / HTTP/1.1\r\nHost: good.test\r\nHost: evil.test\r\nConnection: close\r\n\r\n"), true},
		"user in host":               {80, "", LevelConnect, talk("GET / HTTP/1.1\r\nHost: good.test@evil.test\r\nConnection: close\r\n\r\n"), true},
		"other port":                 {80, "", LevelConnect, talk("GET / HTTP/1.1\r\nHost: good.test:evil\r\nConnection: close\r\n\r\n"), false},
		"empty line first":           {9000, "", LevelConnect, talk("\r\n" + toEvil), true},
		"odd port":                   {9000, "", LevelConnect, talk(toEvil), false},
		"CONNECT, plain inside":      {80, connect(80), LevelConnect, talk(toEvil), false},
		"CONNECT odd, plain inside":  {9000, connect(9000), LevelConnect, talk(toEvil), false},
		"SOCKS, plain inside":        {80, "\x05\x01\x00\x05\x01\x00\x03\x09good.test\x00\x50", LevelConnect, talk(toEvil), false},
		"server name":                {443, "", LevelConnect, talkTLS("evil.test", "evil.test"), false},
		"server name, level request": {443, "", LevelRequest, talkTLS("evil.test", "evil.test"), false},
		"CONNECT, server name":       {443, connect(443), LevelConnect, talkTLS("evil.test", "evil.test"), false},
		"SOCKS, server name":         {443, "\x05\x01\x00\x05\x01\x00\x03\x09good.test\x01\xbb", LevelConnect, talkTLS("evil.test", "evil.test"), false},
		"no server name":             {443, "", LevelConnect, talkTLS("", "evil.test"), false},
		"host inside TLS":            {443, "", LevelRequest, talkTLS("good.test", "evil.test", "http/1.1"), false},
		"authority inside HTTP/2":    {443, "", LevelRequest, talkTLS("good.test", "evil.test", "h2"), false},
		"CONNECT, host inside TLS":   {443, connect(443), LevelRequest, talkTLS("good.test", "evil.test", "http/1.1"), false},
	} {
		t.Run(name, func(t *testing.T) {
			front, hosts, roots := newCDN(t)
			goal := fmt.Sprintf("good.test:%d", tt.port)
			tt.attack(t, naive(t, hosts[goal]), roots)
			if front.evil() == tt.harmless {
				t.Fatalf("the attack on a naive proxy: evil %v", front.evil())
			}
			front.seen = nil
			run, runRoots := authority(t)
			if tt.level == LevelRequest {
				runRoots, roots = roots, runRoots
			}
			w := newWorld(t, func(c *Config) {
				c.Level, c.Authority, c.RootCAs = func(Dest) Level { return tt.level }, run, runRoots
			})
			for k, v := range hosts {
				w.hosts.Store(k, v)
			}
			tt.attack(t, w.enter(tt.port, tt.prelude), roots)
			if front.evil() {
				t.Errorf("the hidden host was reached; seen %v", front.seen)
			}
			for _, q := range w.judge.questions() {
				if strings.Contains(q, "evil") {
					t.Errorf("judged %q on a connection to good.test", q)
				}
			}
			if w.refusals() == "" && !tt.harmless {
				t.Error("nothing was refused")
			}
		})
	}
}

// enter opens a connection to good.test transparently or, with a prelude,
// through the proxy.
func (w *world) enter(port int, prelude string) net.Conn {
	w.t.Helper()
	if prelude == "" {
		return w.dial(fmt.Sprintf("198.18.0.1:%d", port))
	}
	c := w.dial("")
	io.WriteString(c, prelude)
	n := 12
	if prelude[0] == 'C' {
		n = len("HTTP/1.1 200 Connection established\r\n\r\n")
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil || !bytes.Contains(b, []byte("200")) && b[0] != 5 {
		w.t.Fatalf("%q %v", b, err)
	}
	return c
}

// TestRelay: nothing that is reached may be used to reach further, and the
// proxy takes no target from where the destination is fixed.
func TestRelay(t *testing.T) {
	w := newWorld(t, nil)
	w.raw(func(c *net.TCPConn) { // a proxy that serves everybody
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nrelayed")
		}
	}, "good.test:80", "good.test:3128")
	for goal, host := range map[string]string{"198.18.0.1:80": "good.test:80", "198.18.0.1:3128": "good.test:3128"} {
		text := "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n"
		to, _ := w.hosts.Load(host)
		if out := say(t, naive(t, to.(string)), text); !strings.Contains(out, "relayed") {
			t.Fatalf("a naive proxy: %q", out)
		}
		for text, rule := range map[string]string{
			text: "http-form", "CONNECT good.test:80 HTTP/1.1\r\nHost: good.test:80\r\nConnection: close\r\n\r\n": "http-form",
			"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": "http-form", "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n": "http-host",
			"GET / HTTP/1.1\r\nHost: good.test:81\r\n\r\n":               "http-host",
			"GET https://good.test/ HTTP/1.1\r\nHost: good.test\r\n\r\n": "http-host", "GET http://u:p@" + host + "/ HTTP/1.1\r\nHost: x\r\n\r\n": "http-form",
		} {
			c := w.dial(goal)
			if got := exchangeOn(t, c, bufio.NewReader(c), text); got.code != 403 || got.header.Get(DeniedHeader) != rule {
				t.Errorf("%s %q: %+v", goal, text, got)
			}
		}
	}
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: good.test\r\n\r\n", "GET https://good.test/ HTTP/1.1\r\nHost: good.test\r\n\r\n", "GET ftp://good.test/ HTTP/1.1\r\nHost: good.test\r\n\r\n",
		"GET http://u:p@good.test/ HTTP/1.1\r\nHost: good.test\r\n\r\n", "GET http://0x7f.1/ HTTP/1.1\r\nHost: 0x7f.1\r\n\r\n", "GET http://2130706433/ HTTP/1.1\r\nHost: 2130706433\r\n\r\n",
		"CONNECT good.test HTTP/1.1\r\nHost: good.test\r\n\r\n", "CONNECT good.test:0 HTTP/1.1\r\nHost: good.test:0\r\n\r\n", "CONNECT 127.1:80 HTTP/1.1\r\nHost: 127.1:80\r\n\r\n",
		"CONNECT /path HTTP/1.1\r\nHost: good.test:443\r\n\r\n", "CONNECT u@good.test:443 HTTP/1.1\r\nHost: u@good.test:443\r\n\r\n",
	} {
		c := w.dial("")
		if got := exchangeOn(t, c, bufio.NewReader(c), text); got.code != 403 && got.code != 400 {
			t.Errorf("%q: %+v", text, got)
		}
	}
	if q := w.judge.questions(); len(q) > 0 {
		t.Errorf("judged %v", q)
	}
}

// TestHiddenName: an encrypted ClientHello may hide another host behind the
// one in the clear.
func TestHiddenName(t *testing.T) {
	plain := helloOf(t, &tls.Config{ServerName: "good.test"})
	for name, b := range map[string][]byte{"ECH": extend(plain, extECH, []byte{0, 0, 1, 0, 1, 7}), "ESNI": extend(plain, extESNI, []byte{1})} {
		w := newWorld(t, nil)
		reached := make(chan bool, 9)
		w.raw(func(*net.TCPConn) { reached <- true }, "good.test:443")
		c := w.dial("198.18.0.1:443")
		c.Write(b)
		out, err := io.ReadAll(c)
		if string(out) != "\x15\x03\x03\x00\x02\x02\x31" || w.refusals() != "tls-hidden-name good.test" || len(reached) > 0 {
			t.Errorf("%s: %x %v, %s", name, out, err, w.refusals())
		}
	}
	// Filling that is no hidden name is no matter: GREASE, RFC 8701.
	if h, err := parseHello(extend(plain, 0x0a0a, []byte{0})); err != nil || h != (hello{name: "good.test"}) {
		t.Errorf("%+v %v", h, err)
	}
	if _, err := parseHello(extend(plain, extServerName, []byte("\x00\x0c\x00\x00\x09evil.test"))); err == nil {
		t.Error("a second server name was accepted")
	}
	for name, list := range map[string]string{
		"two in the list": "\x00\x18\x00\x00\x09good.test\x00\x00\x09evil.test", "empty": "\x00\x03\x00\x00\x00",
		"another type": "\x00\x0c\x01\x00\x09good.test", "bytes behind": "\x00\x0c\x00\x00\x09good.test\x00",
	} {
		bare := helloOf(t, &tls.Config{InsecureSkipVerify: true})
		if h, err := parseHello(extend(bare, extServerName, []byte(list))); err == nil {
			t.Errorf("%s: read as %+v", name, h)
		}
	}
}

// extend adds an extension to a ClientHello in one record.
func extend(b []byte, kind int, body []byte) []byte {
	at := 5 + 4 + 2 + 32
	at += 1 + int(b[at])
	at += 2 + int(b[at])<<8 + int(b[at+1])
	at += 1 + int(b[at])
	ext := append([]byte{byte(kind >> 8), byte(kind), byte(len(body) >> 8), byte(len(body))}, body...)
	out := append(bytes.Clone(b), ext...)
	for _, f := range []struct{ at, n int }{{at, 2}, {6, 3}, {3, 2}} {
		n := 0
		for i := range f.n {
			n = n<<8 | int(out[f.at+i])
		}
		n += len(ext)
		for i := range f.n {
			out[f.at+f.n-1-i] = byte(n >> (8 * i))
		}
	}
	return out
}
