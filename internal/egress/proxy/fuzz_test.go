package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/internal/egress"
)

// said is a connection from which everything was said already.
type said struct{ io.Reader }

func (said) Write(b []byte) (int, error)      { return len(b), nil }
func (said) Close() error                     { return nil }
func (said) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (said) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (said) SetDeadline(time.Time) error      { return nil }
func (said) SetReadDeadline(time.Time) error  { return nil }
func (said) SetWriteDeadline(time.Time) error { return nil }

// FuzzParseHello compares with the standard library's reader: where both find
// a ClientHello they find the same name, and more bytes change nothing.
func FuzzParseHello(f *testing.F) {
	for _, cfg := range []*tls.Config{{ServerName: "good.test"}, {InsecureSkipVerify: true}, {ServerName: "a.b", MaxVersion: tls.VersionTLS12}} {
		b := helloOf(f, cfg)
		f.Add(b)
		f.Add(refragment(b, 50))
		f.Add(extend(b, extECH, []byte{0}))
		f.Add(extend(b, extServerName, []byte("\x00\x0c\x00\x00\x09evil.test")))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if errors.Is(err, errMore) && len(b) > 2*maxHello+5 {
			t.Fatal("asks for more without bound")
		}
		if err != nil {
			return
		}
		if again, err := parseHello(append(bytes.Clone(b), "more"...)); err != nil || again != h {
			t.Fatalf("%+v, with more bytes %+v %v", h, again, err)
		}
		stop := errors.New("stop")
		tls.Server(said{bytes.NewReader(b)}, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
			if i.ServerName != strings.TrimSuffix(h.name, ".") && i.ServerName != h.name {
				t.Fatalf("read %q, a server reads %q", h.name, i.ServerName)
			}
			return nil, stop
		}}).Handshake()
	})
}

// FuzzSniff: what a server reads as a request is not taken for another
// protocol, and a verdict does not change with more bytes.
func FuzzSniff(f *testing.F) {
	for _, s := range []string{"", "G", toGood, "\r\n" + toEvil, "\x16\x03\x01", "\x05\x01\x00", "SSH-2.0-x\r\n", "PRI * HTTP/2.0\r\n\r\n", "get http://x/ HTTP/1.0\n\n", "\x00\x00"} {
		f.Add([]byte(s))
	}
	for _, s := range corpus {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		kind := sniff(b)
		decided := protoMore
		for i := range b {
			k := sniff(b[:i])
			if decided != protoMore && k != decided {
				t.Fatalf("%q: %d, then %d", b[:i], decided, k)
			}
			decided = k
		}
		text := bytes.TrimLeft(b, "\r\n\t ")
		if _, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text))); err == nil && kind != protoHTTP {
			// The bound on a method's length is ours; none that exists reaches it.
			if m, _, _ := bytes.Cut(text, []byte(" ")); len(m) <= maxToken {
				t.Fatalf("a request was taken for %d: %q", kind, b)
			}
		}
	})
}

// FuzzSOCKS: a request that is served has a host in its one spelling.
func FuzzSOCKS(f *testing.F) {
	for _, s := range []string{
		"\x05\x01\x00\x05\x01\x00\x03\x09good.test\x01\xbb", "\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
		"\x05\x02\x02\x00\x05\x01\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x7f\x00\x00\x01\x00\x50",
		"\x05\x01\x02", "\x05\x01\x00\x05\x02\x00\x03\x01a\x00\x50", "\x05\x01\x00\x05\x01\x00\x03\x060x7f.1\x00\x50", "\x05\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		host, port, err := readSOCKS(said{bytes.NewReader(b)})
		if err != nil {
			return
		}
		if again, ok := egress.CanonicalHost(host); !ok || again != host || port == 0 {
			t.Fatalf("%q: %q port %d", b, host, port)
		}
	})
}

// FuzzSplit: an authority that is understood is written and read again the
// same, and means what net says.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"good.test", "good.test:80", "[::1]:80", "[::1]", "::1", "a:b:c", "[a]:80", "a:", ":80", "a:080", "a@b:1", "[::1%lo]:1", "1.2.3.4:+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, ok := split(s, 80)
		if !ok {
			return
		}
		d := Dest{Host: host, Port: port}
		for _, scheme := range []string{"http", "https"} {
			if h, p, ok := split(d.authority(scheme), schemePort(scheme)); !ok || h != host || p != port {
				t.Fatalf("%q is %q port %d, written %q, read %q port %d %v", s, host, port, d.authority(scheme), h, p, ok)
			}
		}
		if h, _, err := net.SplitHostPort(s); err == nil {
			if c, _ := egress.CanonicalHost(h); c != host {
				t.Fatalf("%q is %q, net says %q", s, host, h)
			}
		}
	})
}
