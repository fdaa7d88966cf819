package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

// answers gives a name's answers in turn, the last one for ever.
type answers struct {
	mu    sync.Mutex
	turns [][]string
	asked int
}

func (a *answers) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.turns) == 0 {
		return nil, errors.New("no such name " + host)
	}
	turn := a.turns[min(a.asked, len(a.turns)-1)]
	a.asked++
	var out []netip.Addr
	for _, s := range turn {
		out = append(out, netip.MustParseAddr(s))
	}
	return out, nil
}

func rules(t testing.TB, s ...string) []Rule {
	t.Helper()
	var out []Rule
	for _, v := range s {
		r, err := ParseRule(v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func TestClassify(t *testing.T) {
	for s, want := range map[string]Class{
		"8.8.8.8": Public, "2606:4700::1111": Public, "172.32.0.1": Public, "100.128.0.1": Public,
		"127.0.0.1": Loopback, "127.255.255.254": Loopback, "::1": Loopback, "::ffff:127.0.0.1": Loopback,
		"10.1.2.3": Private, "172.16.0.1": Private, "172.31.255.255": Private, "192.168.1.1": Private,
		"fd12::1": Private, "fec0::1": Private, "::ffff:10.0.0.1": Private,
		"100.64.0.1": Shared, "100.127.255.255": Shared,
		"169.254.1.1": LinkLocal, "fe80::1": LinkLocal, "fe80::1%eth0": LinkLocal,
		"169.254.169.254": Metadata, "fd00:ec2::254": Metadata, "100.100.100.200": Metadata,
		"168.63.129.16": Metadata, "::ffff:169.254.169.254": Metadata, "fd20:ce::254": Metadata,
		"64:ff9b::7f00:1": Embedded, "64:ff9b::808:808": Embedded, "64:ff9b:1::a9fe:a9fe": Embedded,
		"2002:7f00:1::": Embedded, "2001:0:1:2:3:4:5:6": Embedded, "::7f00:1": Embedded,
		"::ffff:0:127.0.0.1": Embedded, "2606:4700::5efe:7f00:1": Embedded, "2606:4700::200:5efe:a00:1": Embedded,
		"0.0.0.0": Unspecified, "0.1.2.3": Unspecified, "::": Unspecified,
		"224.0.0.1": Multicast, "255.255.255.255": Multicast, "ff02::1": Multicast,
		"192.0.2.1": Reserved, "198.18.0.1": Reserved, "240.0.0.1": Reserved, "2001:db8::1": Reserved,
		"4000::1": Reserved, "100::1": Reserved, "3fff::1": Reserved,
	} {
		if got := Classify(netip.MustParseAddr(s)); got != want {
			t.Errorf("%s is %s, want %s", s, got, want)
		}
	}
	if got := Classify(netip.Addr{}); got != Unspecified {
		t.Errorf("the zero address is %s", got)
	}
}

// TestDecisions looks at which addresses would be dialled, without dialling.
func TestDecisions(t *testing.T) {
	tests := []struct {
		name, host string
		port       uint16
		answer     []string
		allow      []string
		want       []string // dialled
		says       string
	}{
		{"public", "example.com", 443, []string{"93.184.216.34"}, nil, []string{"93.184.216.34:443"}, ""},
		{"loopback", "evil.test", 80, []string{"127.0.0.1"}, nil, nil, "evil.test:80 leads to 127.0.0.1, a loopback address, which is refused; list evil.test:80 to allow it"},
		{"mixed answer keeps the public part", "evil.test", 80, []string{"10.0.0.1", "8.8.8.8"}, nil, []string{"8.8.8.8:80"}, ""},
		{"mapped", "evil.test", 80, []string{"::ffff:127.0.0.1"}, nil, nil, "loopback"},
		{"nat64", "evil.test", 80, []string{"64:ff9b::a9fe:a9fe"}, nil, nil, "embedded-IPv4"},
		{"address rule", "127.0.0.1", 11434, []string{"127.0.0.1"}, []string{"127.0.0.1:11434"}, []string{"127.0.0.1:11434"}, ""},
		{"address rule, mapped spelling", "::ffff:127.0.0.1", 1, []string{"::ffff:127.0.0.1"}, []string{"127.0.0.1"}, []string{"127.0.0.1:1"}, ""},
		{"other port", "127.0.0.1", 22, []string{"127.0.0.1"}, []string{"127.0.0.1:11434"}, nil, "loopback"},
		{"name rule", "gpu.internal", 8000, []string{"10.9.8.7"}, []string{"gpu.internal:8000"}, []string{"10.9.8.7:8000"}, ""},
		{"name rule, other name", "gpu2.internal", 8000, []string{"10.9.8.7"}, []string{"gpu.internal:8000"}, nil, "private"},
		{"name rule never opens metadata", "gpu.internal", 80, []string{"169.254.169.254"}, []string{"gpu.internal"}, nil, "list 169.254.169.254:80"},
		{"name rule never opens link-local", "gpu.internal", 80, []string{"169.254.7.7"}, []string{"gpu.internal"}, nil, "link-local"},
		{"range rule", "h.test", 80, []string{"10.2.3.4", "10.3.0.1"}, []string{"10.2.0.0/16"}, []string{"10.2.3.4:80"}, ""},
		{"range never opens metadata", "h.test", 80, []string{"169.254.169.254"}, []string{"169.254.0.0/16", "0.0.0.0/0"}, nil, "cloud metadata"},
		{"metadata by itself", "h.test", 80, []string{"169.254.169.254"}, []string{"169.254.169.254:80"}, []string{"169.254.169.254:80"}, ""},
		{"range opens nat64", "h.test", 80, []string{"64:ff9b::808:808"}, []string{"64:ff9b::/96"}, []string{"[64:ff9b::808:808]:80"}, ""},
		{"range never opens what nat64 carries", "h.test", 80, []string{"64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1"}, []string{"64:ff9b::/96"}, nil, "embedded-IPv4"},
		{"range never opens what 6to4 carries", "h.test", 80, []string{"2002:a00:1::"}, []string{"2002::/16"}, nil, "embedded-IPv4"},
		{"range never opens what Teredo carries", "h.test", 80, []string{"2001::80ff:fffe"}, []string{"2001::/32"}, nil, "embedded-IPv4"},
		{"unspecified never", "h.test", 80, []string{"0.0.0.0"}, []string{"0.0.0.0/0", "0.0.0.0"}, nil, "never dialled"},
		{"multicast never", "h.test", 80, []string{"224.0.0.1"}, []string{"224.0.0.1"}, nil, "multicast"},
		{"zone never", "h.test", 80, []string{"fe80::1%lo"}, []string{"fe80::/10"}, nil, "link-local"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := New(Config{Allow: rules(t, tt.allow...)})
			var addrs []netip.Addr
			for _, s := range tt.answer {
				addrs = append(addrs, netip.MustParseAddr(s))
			}
			out, err := d.check(tt.host, tt.port, addrs)
			var got []string
			for _, a := range out {
				got = append(got, a.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("(-want +got)\n%s", diff)
			}
			if tt.says != "" && (!fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), tt.says)) {
				t.Fatalf("error %v, want %q", err, tt.says)
			}
		})
	}
}

func TestCarried(t *testing.T) {
	for in, want := range map[string]string{
		"64:ff9b::a9fe:a9fe": "169.254.169.254", "2002:7f00:1::": "127.0.0.1",
		"2001::80ff:fffe": "127.0.0.1", "::a00:1": "10.0.0.1", "2606:4700::5efe:a00:1": "10.0.0.1", "192.88.99.1": "192.88.99.1",
	} {
		if got := carried(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("%s carries %s, want %s", in, got, want)
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// TestRebinding: the resolver's second answer must not matter, and each
// connection asks exactly once.
func TestRebinding(t *testing.T) {
	l := listen(t)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	// First an address that is allowed but where nobody listens, then the
	// loopback address where a service waits: a dialer that resolved again
	// would reach it.
	r := &answers{turns: [][]string{{"127.9.9.9"}, {"127.0.0.1"}}}
	var hook []string
	d := New(Config{Allow: rules(t, "127.9.9.9"), Resolver: r, OnConnect: func(host, addr string, err error) {
		hook = append(hook, host+" "+addr+" "+fault.KindOf(err).String())
	}})
	conn, err := d.DialContext(context.Background(), "tcp", "evil.test:"+port)
	if err == nil {
		conn.Close()
		t.Fatal("the second answer was used")
	}
	if !fault.Is(err, fault.Unavailable) || r.asked != 1 {
		t.Fatalf("asked %d times: %v", r.asked, err)
	}
	// The next connection is a new decision about the new answer.
	if _, err := d.DialContext(context.Background(), "tcp", "evil.test:"+port); !fault.Is(err, fault.Denied) || r.asked != 2 {
		t.Fatalf("asked %d times: %v", r.asked, err)
	}
	want := []string{"evil.test:" + port + " 127.9.9.9:" + port + " unavailable", "evil.test:" + port + "  denied"}
	if diff := cmp.Diff(want, hook); diff != "" {
		t.Fatalf("hook (-want +got)\n%s", diff)
	}
}

func TestDialsTheCheckedAddress(t *testing.T) {
	l := listen(t)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"gpu.internal", "GPU.internal.", "localhost", "127.0.0.1"} {
		var seen string
		d := New(Config{
			Allow:    rules(t, "gpu.internal:"+port, "localhost:"+port, "127.0.0.1:"+port),
			Resolver: &answers{turns: [][]string{{"127.0.0.1"}}}, OnConnect: func(_, addr string, err error) { seen = addr },
		})
		conn, err := d.DialContext(context.Background(), "tcp", host+":"+port)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		if conn.RemoteAddr().String() != l.Addr().String() || seen != l.Addr().String() {
			t.Errorf("%s: dialled %s, reported %s", host, conn.RemoteAddr(), seen)
		}
		conn.Close()
	}
}

func TestFallsBackToTheNextAddress(t *testing.T) {
	l := listen(t)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	d := New(Config{Allow: rules(t, "127.0.0.0/8"), Resolver: &answers{turns: [][]string{{"127.9.9.9", "127.0.0.1"}}}})
	conn, err := d.DialContext(context.Background(), "tcp", "two.test:"+port)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestBadDestinations(t *testing.T) {
	d := New(Config{Resolver: &answers{}})
	for _, tt := range []struct {
		network, dest string
		kind          fault.Kind
	}{
		{"udp", "8.8.8.8:53", fault.Denied},
		{"tcp", "0x7f.1:80", fault.Denied},
		{"tcp", "2130706433:80", fault.Denied},
		{"tcp", "a b:80", fault.Denied},
		{"unix", "/run/docker.sock", fault.Denied},
		{"tcp", "nohost", fault.Denied},
		{"tcp", ":80", fault.Denied},
		{"tcp", "h:0", fault.Denied},
		{"tcp", "h:70000", fault.Denied},
		{"tcp", "h:http", fault.Denied},
		{"tcp", "gone.test:80", fault.Unavailable},
		{"tcp", "127.0.0.1:1", fault.Denied},
		{"tcp", "[::1]:1", fault.Denied},
		{"tcp", "localhost:1", fault.Denied},
		{"tcp", "a.localhost:1", fault.Denied},
	} {
		if _, err := d.DialContext(context.Background(), tt.network, tt.dest); !fault.Is(err, tt.kind) {
			t.Errorf("%s %s: %v", tt.network, tt.dest, err)
		}
	}
}

func TestOnly(t *testing.T) {
	d := New(Config{Only: rules(t, "api.example.com:443"), Allow: rules(t, "127.0.0.1:1"), Resolver: &answers{turns: [][]string{{"127.0.0.2"}}}})
	for dest, want := range map[string]string{
		"other.example.com:443": "not on the list", "api.example.com:80": "not on the list", "8.8.8.8:443": "not on the list",
		// listed, but Only does not open special addresses
		"api.example.com:443": "loopback",
		// listed by Allow: passes to the dial itself
		"127.0.0.1:1": "no connection",
	} {
		if _, err := d.DialContext(context.Background(), "tcp", dest); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dest, err, want)
		}
	}
}

func TestParseRule(t *testing.T) {
	for in, want := range map[string]string{
		"Example.COM.": "example.com", "example.com:443": "example.com:443", "127.0.0.1": "127.0.0.1", "127.0.0.1:80": "127.0.0.1:80",
		"::1": "::1", "[::1]:80": "[::1]:80", "10.0.0.0/8": "10.0.0.0/8", "10.1.2.3/8": "10.0.0.0/8", "::ffff:10.0.0.1": "10.0.0.1",
		"[fd00::/8]:80": "[fd00::/8]:80", "": "!", "*": "!", "*.": "!", "*.*": "!", "*example.com": "!", "a.*.com": "!", "**.a.com": "!", "*.1.2.3.4": "!",
		"*.Example.com.:443": "*.example.com:443", "2130706433": "!", "0x7f.1": "!", "127.1": "!", "a.0X1f": "!", "a.1b": "a.1b", "a:b:c": "!", "h:0": "!", "h:99999": "!", "a..b": "!",
		"user@h": "!", "http://h": "!", "fe80::1%eth0": "!", "h h": "!",
	} {
		r, err := ParseRule(in)
		got := r.String()
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: %q (%v), want %q", in, got, err, want)
		}
	}
}

func FuzzParseRule(f *testing.F) {
	for _, s := range []string{"a:1", "*.a.b:1", "10.0.0.0/8", "[::1]:2", "::1", "h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRule(s)
		if err != nil {
			return
		}
		again, err := ParseRule(r.String())
		if err != nil || again != r {
			t.Fatalf("%q reads as %v, again as %v (%v)", s, r, again, err)
		}
	})
}

// client of a test server that answers on loopback.
func client(t *testing.T, s *httptest.Server, o ClientOptions, more ...string) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if c := s.Certificate(); c != nil {
		pool.AddCert(c)
	}
	c := New(Config{Allow: rules(t, append(more, s.Listener.Addr().String())...), RootCAs: pool}).Client(o)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestRedirects(t *testing.T) {
	var got http.Header
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r.Header; io.WriteString(w, "other") }))
	t.Cleanup(other.Close)
	var to string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }))
	t.Cleanup(s.Close)
	tls1 := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }))
	t.Cleanup(tls1.Close)

	get := func(c *http.Client, url string) (int, error) {
		req, _ := http.NewRequest("GET", url, nil)
		req.Header.Set("X-Api-Key", "fake")
		req.Header.Set("Authorization", "fake")
		resp, err := c.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	to = other.URL
	if code, err := get(client(t, s, ClientOptions{}), s.URL); code != 302 || err != nil {
		t.Errorf("default: %d %v", code, err)
	}
	if _, err := get(client(t, s, ClientOptions{Redirects: 3}), s.URL); !fault.Is(err, fault.Denied) {
		t.Errorf("a hop to an address that is not listed: %v", err)
	}
	if code, err := get(client(t, s, ClientOptions{Redirects: 3}, other.Listener.Addr().String()), s.URL); code != 200 || err != nil {
		t.Errorf("a listed hop: %d %v", code, err)
	}
	if got.Get("X-Api-Key") != "" || got.Get("Authorization") != "" {
		t.Errorf("credentials went to another host: %v", got)
	}
	if _, err := get(client(t, tls1, ClientOptions{Redirects: 3}, other.Listener.Addr().String()), tls1.URL); err == nil || !strings.Contains(err.Error(), "leave encryption") {
		t.Errorf("a downgrade: %v", err)
	}
	to = s.URL
	if _, err := get(client(t, s, ClientOptions{Redirects: 3}), s.URL); err == nil || !strings.Contains(err.Error(), "more than 3 redirects") {
		t.Errorf("a loop: %v", err)
	}
	to = "file:///etc/passwd"
	if _, err := get(client(t, s, ClientOptions{Redirects: 3}), s.URL); err == nil {
		t.Errorf("a redirect to a file was followed")
	}
}

func TestEnvironmentProxyIsIgnored(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:9")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:9")
	t.Setenv("ALL_PROXY", "socks5://127.0.0.1:9")
	t.Setenv("NO_PROXY", "")
	d := New(Config{Allow: rules(t, "target.test"), Resolver: &answers{turns: [][]string{{"127.0.0.1"}}}})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "direct") }))
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	c := d.Client(ClientOptions{})
	t.Cleanup(c.CloseIdleConnections)
	resp, err := c.Get("http://target.test:" + port)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "direct" {
		t.Fatalf("got %q", b)
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = nil
	s.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	s.StartTLS()
	t.Cleanup(s.Close)
	if resp, err := client(t, s, ClientOptions{}).Get(s.URL); err == nil {
		resp.Body.Close()
		t.Error("TLS 1.1 was spoken")
	}
	good := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(good.Close)
	resp, err := client(t, good, ClientOptions{}).Get(good.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	// Without its certificate the same server is not trusted.
	c := New(Config{Allow: rules(t, good.Listener.Addr().String()), RootCAs: x509.NewCertPool()}).Client(ClientOptions{})
	if refused, err := c.Get(good.URL); err == nil {
		refused.Body.Close()
		t.Error("an unknown certificate was accepted")
	}
}

func TestHostHeaderMustMatch(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	t.Cleanup(s.Close)
	req, _ := http.NewRequest("POST", s.URL, strings.NewReader("x"))
	req.Host = "hidden.example"
	resp, err := client(t, s, ClientOptions{}).Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if !fault.Is(err, fault.Denied) {
		t.Fatalf("error %v", err)
	}
}

func TestCancelEndsTheDial(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	start := time.Now()
	_, err := New(Config{Allow: rules(t, "127.0.0.1")}).DialContext(ctx, "tcp", "127.0.0.1:1")
	if err == nil || !errors.Is(err, context.Canceled) || time.Since(start) > 5*time.Second {
		t.Fatalf("error %v", err)
	}
}
