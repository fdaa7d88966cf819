package egress

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sallyport/internal/fault"
)

func TestCanonicalHost(t *testing.T) {
	for in, want := range map[string]string{
		"Example.ORG": "example.org", "example.org.": "example.org", "_dmarc.a": "_dmarc.a", "localhost": "localhost",
		"10.0.0.1": "10.0.0.1", "::FFFF:10.0.0.1": "10.0.0.1", "2001:DB8:0::1": "2001:db8::1",
		"": "", ".": "", "a..b": "", "a.b..": "", "fe80::1%lo": "", "0x7f.1": "", "2130706433": "", "127.1": "", "0177.0.0.01": "",
		"1.2.3.4.": "", "a.0x": "", "a b": "", "a\x00b": "", "a/b": "", "u@h": "", "[::1]": "", "b\u00fccher.de": "", "\u212a.com": "",
		strings.Repeat("a", 64) + ".b": "", strings.Repeat("a.", 126) + "ab": "",
	} {
		got, ok := CanonicalHost(in)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q %v, want %q", in, got, ok, want)
		}
	}
}

// TestPatternProperty: a pattern means exactly what ends in a dot and the
// name.
func TestPatternProperty(t *testing.T) {
	name := rapid.StringMatching(`[a-z]{1,3}(\.[a-z]{1,3}){0,3}`)
	rapid.Check(t, func(t *rapid.T) {
		base, host := name.Draw(t, "base"), name.Draw(t, "host")
		if rapid.Bool().Draw(t, "below") {
			host += rapid.SampledFrom([]string{".", ""}).Draw(t, "joint") + base
		}
		r, err := ParseRule("*." + base)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := r.names(host), strings.HasSuffix(host, "."+base); got != want {
			t.Fatalf("*.%s about %s: %v", base, host, got)
		}
	})
}

func TestPatternRules(t *testing.T) {
	l := listen(t)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	loop := &answers{turns: [][]string{{"127.0.0.1"}}}
	// Allowed lets a name lead to loopback, Only lets it through at all.
	for _, cfg := range []Config{
		{Allow: rules(t, "*.good.test:"+port), Resolver: loop},
		{Only: rules(t, "*.good.test:"+port), Allow: rules(t, "127.0.0.0/8"), Resolver: loop},
	} {
		d := New(cfg)
		for host, ok := range map[string]bool{
			"a.good.test": true, "A.b.GOOD.test.": true,
			"good.test": false, "evilgood.test": false, "a.good.test.evil.test": false, "*.good.test": false, ".good.test": false,
		} {
			conn, err := d.DialContext(context.Background(), "tcp", net.JoinHostPort(host, port))
			if err == nil {
				conn.Close()
			}
			if (err == nil) != ok || err != nil && !fault.Is(err, fault.Denied) {
				t.Errorf("%s: %v", host, err)
			}
		}
	}
}

// TestHosts: the mapping replaces the resolver and nothing else.
func TestHosts(t *testing.T) {
	l := listen(t)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	resolver := &answers{}
	d := New(Config{
		Allow:    rules(t, "gpu.test"),
		Resolver: resolver,
		Hosts: map[string][]netip.Addr{
			"GPU.test.": {netip.MustParseAddr("127.0.0.1")}, "closed.test": {netip.MustParseAddr("10.0.0.1")},
			"meta.test": {netip.MustParseAddr("169.254.169.254")}, "none.test": nil,
			"localhost": {netip.MustParseAddr("8.8.8.8")},
		},
	})
	for host, kind := range map[string]fault.Kind{
		"closed.test": fault.Denied, "meta.test": fault.Denied, "none.test": fault.Unavailable, "localhost": fault.Denied,
	} {
		if _, err := d.DialContext(context.Background(), "tcp", net.JoinHostPort(host, port)); !fault.Is(err, kind) {
			t.Errorf("%s: %v", host, err)
		}
	}
	conn, err := d.DialContext(context.Background(), "tcp", net.JoinHostPort("gpu.TEST", port))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if resolver.asked != 0 {
		t.Errorf("the resolver was asked %d times", resolver.asked)
	}
}
