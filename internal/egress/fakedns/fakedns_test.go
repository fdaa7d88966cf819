package fakedns

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
	"pgregory.net/rapid"

	"sallyport/internal/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func allowed(names ...string) func(string) bool {
	return func(name string) bool {
		for _, n := range names {
			if name == n || strings.HasPrefix(n, "*") && strings.HasSuffix(name, n[1:]) {
				return true
			}
		}
		return false
	}
}

func question(t testing.TB, name string, typ dnsmessage.Type, class dnsmessage.Class) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: typ, Class: class}},
	}
	out, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ask gives a reply as "RCODE address…".
func ask(t testing.TB, s *Server, msg []byte) string {
	t.Helper()
	out := s.answer(msg)
	if out == nil {
		return "nothing"
	}
	var m dnsmessage.Message
	if err := m.Unpack(out); err != nil {
		t.Fatalf("the reply cannot be read: %v", err)
	}
	if m.ID != 7 || !m.Response {
		t.Fatalf("header %+v", m.Header)
	}
	text := strings.TrimPrefix(m.RCode.String(), "RCode")
	for _, a := range m.Answers {
		switch b := a.Body.(type) {
		case *dnsmessage.AResource:
			text += " " + netip.AddrFrom4(b.A).String()
		case *dnsmessage.AAAAResource:
			text += " " + netip.AddrFrom16(b.AAAA).String()
		default:
			t.Fatalf("a record of type %v", a.Header.Type)
		}
	}
	return text
}

func TestAnswers(t *testing.T) {
	const in = dnsmessage.ClassINET
	long := strings.Repeat("a", 60) + "."
	for _, tt := range []struct {
		name  string
		typ   dnsmessage.Type
		class dnsmessage.Class
		want  string
	}{
		{"api.test.", dnsmessage.TypeA, in, "Success 198.18.0.1"},
		{"API.Test.", dnsmessage.TypeA, in, "Success 198.18.0.1"},
		{"api.test.", dnsmessage.TypeAAAA, in, "Success fd00:5a11::1"},
		{"a_b.sub.test.", dnsmessage.TypeA, in, "Success 198.18.0.2"},
		{"api.test.", dnsmessage.TypeTXT, in, "Success"},
		{"api.test.", dnsmessage.TypeHTTPS, in, "Success"},
		{"api.test.", dnsmessage.TypeSVCB, in, "Success"},
		{"api.test.", dnsmessage.TypeMX, in, "Success"},
		{"api.test.", dnsmessage.TypeALL, in, "Success"},
		{"api.test.", dnsmessage.TypeA, dnsmessage.ClassCHAOS, "Refused"},
		{"api.test.", dnsmessage.TypeA, dnsmessage.ClassANY, "Refused"},
		{"secret-in-a-label.evil.test.", dnsmessage.TypeA, in, "NameError"},
		{"secret.evil.test.", dnsmessage.TypeTXT, in, "NameError"},
		{".", dnsmessage.TypeNS, in, "NameError"},
		{"127.0.0.1.", dnsmessage.TypeA, in, "NameError"},
		{"0x7f.1.", dnsmessage.TypeA, in, "NameError"},
		{"a\x00b.sub.test.", dnsmessage.TypeA, in, "NameError"},
		{"\xe2\x84\xaa.sub.test.", dnsmessage.TypeA, in, "NameError"},
		{"a b.sub.test.", dnsmessage.TypeA, in, "NameError"},
		{"*.sub.test.", dnsmessage.TypeA, in, "NameError"},
		{long + long + long + "x.sub.test.", dnsmessage.TypeA, in, "Success 198.18.0.3"},
	} {
		// One server for all rows of a name would hide what a row does alone.
		s := New(Options{Allowed: allowed("api.test", "*.sub.test")})
		s.table.number("api.test")
		if strings.HasPrefix(tt.name, long) {
			s.table.number("other.test")
		}
		if got := ask(t, s, question(t, tt.name, tt.typ, tt.class)); got != tt.want {
			t.Errorf("%s %v: %q, want %q", tt.name, tt.typ, got, tt.want)
		}
	}
}

func TestMalformed(t *testing.T) {
	s := New(Options{Allowed: allowed("*.test")})
	good := question(t, "a.test.", dnsmessage.TypeA, dnsmessage.ClassINET)
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for name, tt := range map[string]struct {
		msg  []byte
		want string
	}{
		"empty":          {nil, "nothing"},
		"short":          {good[:11], "nothing"},
		"a reply":        {edit(func(b []byte) []byte { b[2] |= 0x80; return b }), "nothing"},
		"update":         {edit(func(b []byte) []byte { b[2] |= 5 << 3; return b }), "NotImplemented"},
		"no question":    {edit(func(b []byte) []byte { b[5] = 0; return b }), "FormatError"},
		"two promised":   {edit(func(b []byte) []byte { b[5] = 2; return b }), "FormatError"},
		"two":            {edit(func(b []byte) []byte { b[5] = 2; return append(b, good[12:]...) }), "FormatError"},
		"cut":            {good[:14], "FormatError"},
		"pointer loop":   {edit(func(b []byte) []byte { return append(b[:12], 0xc0, 12, 0, 1, 0, 1) }), "FormatError"},
		"trailing bytes": {append(bytes.Clone(good), "secret"...), "Success 198.18.0.1"},
		"a dot inside":   {edit(func(b []byte) []byte { copy(b[12:], "\x06a.test\x00"); return b }), "FormatError"},
	} {
		if got := ask(t, s, tt.msg); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if got := ask(t, New(Options{Allowed: allowed("*.test"), NoIPv6: true}), question(t, "a.test.", dnsmessage.TypeAAAA, dnsmessage.ClassINET)); got != "Success" {
		t.Errorf("AAAA without IPv6: %s", got)
	}
}

// TestTable: names and addresses belong together for ever, in both families.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab := newTable(8)
		first := map[string]uint32{}
		for _, name := range rapid.SliceOf(rapid.StringMatching(`[a-d]{1,2}`)).Draw(t, "names") {
			n, ok := tab.number(name)
			if old, known := first[name]; known && (!ok || n != old) || !known && ok != (len(first) < 8) {
				t.Fatalf("%s: %d %v, before %d", name, n, ok, old)
			}
			if ok {
				first[name] = n
			}
		}
		for name, n := range first {
			for _, a := range []netip.Addr{netip.AddrFrom4(address4(n)), netip.AddrFrom16(address6(n)), netip.MustParseAddr("::ffff:" + netip.AddrFrom4(address4(n)).String())} {
				if got, ok := tab.name(a); !ok || got != name {
					t.Fatalf("%s is %q, want %q", a, got, name)
				}
			}
		}
	})
	s := New(Options{Allowed: allowed("*")})
	s.table.limit = MaxNames
	for i := range MaxNames {
		if _, ok := s.table.number(fmt.Sprint("n", i)); !ok {
			t.Fatalf("full after %d", i)
		}
	}
	if a := netip.AddrFrom4(address4(MaxNames)); !Range4.Contains(a) {
		t.Fatalf("the last name's address %s lies outside", a)
	}
	if got := ask(t, New(Options{Allowed: allowed("*.test")}), question(t, "a.test.", dnsmessage.TypeA, dnsmessage.ClassINET)); got != "Success 198.18.0.1" {
		t.Error(got)
	}
	s.opts.Allowed = func(string) bool { return true }
	if got := ask(t, s, question(t, "one.more.", dnsmessage.TypeA, dnsmessage.ClassINET)); got != "ServerFailure" {
		t.Errorf("a full table: %s", got)
	}
	if got := ask(t, s, question(t, "n5.", dnsmessage.TypeA, dnsmessage.ClassINET)); got != "Success 198.18.0.6" {
		t.Errorf("a known name in a full table: %s", got)
	}
	for _, a := range []string{"198.18.0.0", "198.19.255.255", "fd00:5a11::", "fd00:5a11::ffff:ffff", "fd00:5a11::1:0:0", "8.8.8.8", "198.20.0.1"} {
		if name, ok := s.Name(netip.MustParseAddr(a)); ok {
			t.Errorf("%s is %q", a, name)
		}
	}
	if _, ok := s.Name(netip.Addr{}); ok {
		t.Error("the zero address has a name")
	}
}

// TestDeniedIsBounded: the log hears of every second's first refusals and how
// many more there were.
func TestDeniedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		s := New(Options{Allowed: allowed(), OnDenied: func(name string, missed int) { got = append(got, fmt.Sprint(name, " ", missed)) }})
		for range DeniedPerSecond + 5 {
			ask(t, s, question(t, "x.test.", dnsmessage.TypeA, dnsmessage.ClassINET))
		}
		time.Sleep(time.Second)
		ask(t, s, question(t, "a\x1b[2Jb.test.", dnsmessage.TypeA, dnsmessage.ClassINET))
		if len(got) != DeniedPerSecond+1 {
			t.Fatalf("%d told", len(got))
		}
		if diff := cmp.Diff([]string{"x.test 0", `a\x1b[2Jb.test. 5`}, got[DeniedPerSecond-1:]); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func serve(t *testing.T, s *Server) (udp, tcp string) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, []net.PacketConn{pc}, []net.Listener{l}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return pc.LocalAddr().String(), l.Addr().String()
}

// TestResolver: a real client understands the answers, over UDP and TCP.
func TestResolver(t *testing.T) {
	s := New(Options{Allowed: allowed("api.test", "*.sub.test")})
	udp, tcp := serve(t, s)
	for network, addr := range map[string]string{"udp": udp, "tcp": tcp} {
		var questions sync.Map
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			questions.Store(time.Now(), true)
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}}
		got, err := r.LookupNetIP(t.Context(), "ip", "api.test.")
		if err != nil || len(got) != 2 {
			t.Fatalf("%s: %v %v", network, got, err)
		}
		for _, a := range got {
			if name, ok := s.Name(a); !ok || name != "api.test" {
				t.Errorf("%s: %s is %q", network, a, name)
			}
		}
		_, err = r.LookupNetIP(t.Context(), "ip", "secret.evil.test.")
		dns, ok := err.(*net.DNSError) //nolint:errorlint // exactly this
		if !ok || !dns.IsNotFound || dns.IsTemporary {
			t.Errorf("%s: a denied name gives %#v", network, err)
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	_, addr := serve(t, New(Options{Allowed: allowed("*.test")}))
	msg := question(t, "a.test.", dnsmessage.TypeA, dnsmessage.ClassINET)
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	var held []net.Conn
	refused := 0
	for range maxStreams + 3 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
		// An answer proves that the connection is being served.
		c.Write(framed)
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			refused++
		}
	}
	if refused != 3 {
		t.Errorf("%d of %d refused", refused, len(held))
	}
	// A length beyond the bound ends the connection.
	io.ReadFull(held[0], make([]byte, len(msg)+16))
	held[0].Write([]byte{0xff, 0xff})
	if n, err := held[0].Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // exactly this
		t.Errorf("read %d, %v", n, err)
	}
}

func TestServeTellsOfABrokenListener(t *testing.T) {
	pc, _ := net.ListenPacket("udp", "127.0.0.1:0")
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	pc.SetReadDeadline(time.Unix(1, 0))
	if err := New(Options{}).Serve(t.Context(), []net.PacketConn{pc}, []net.Listener{l}); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("error %v", err)
	}
}

// FuzzAnswer: whatever comes in, a reply is well-formed, carries only A and
// AAAA records out of our ranges, and its name was allowed.
func FuzzAnswer(f *testing.F) {
	f.Add(question(f, "a.test.", dnsmessage.TypeA, dnsmessage.ClassINET))
	f.Add(question(f, "A.sub.test.", dnsmessage.TypeAAAA, dnsmessage.ClassINET))
	f.Add(question(f, "b.evil.", dnsmessage.TypeTXT, dnsmessage.ClassANY))
	f.Add([]byte("\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		s := New(Options{Allowed: allowed("*.test"), OnDenied: func(name string, _ int) {
			if strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Fatalf("the hook hears %q", name)
			}
		}})
		out := s.answer(msg)
		if out == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(out); err != nil {
			t.Fatalf("reply to %x: %v", msg, err)
		}
		if len(out) > 600 || !m.Response || len(m.Answers) > 1 || len(m.Authorities)+len(m.Additionals) > 0 {
			t.Fatalf("reply %+v", m)
		}
		for _, a := range m.Answers {
			var addr netip.Addr
			switch b := a.Body.(type) {
			case *dnsmessage.AResource:
				addr = netip.AddrFrom4(b.A)
			case *dnsmessage.AAAAResource:
				addr = netip.AddrFrom16(b.AAAA)
			}
			name, ok := s.Name(addr)
			canonical, valid := egress.CanonicalHost(m.Questions[0].Name.String())
			if !ok || !valid || name != canonical || !strings.HasSuffix(name, ".test") {
				t.Fatalf("%v: %s is %q", m.Questions, addr, name)
			}
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	s := New(Options{Allowed: func(string) bool { return true }})
	msg := question(b, "api.example.test.", dnsmessage.TypeA, dnsmessage.ClassINET)
	for b.Loop() {
		s.answer(msg)
	}
}
