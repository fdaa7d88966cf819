package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// networkAttacks are what programs inside do with a handed-over network.
var networkAttacks = map[string]func(arg string) error{
	"question": question, "own-server": ownServer, "connections": connections, "mapped": mapped,
	"shared-socket": sharedSocket, "thread-socket": threadSocket, "hidden-socket": hiddenSocket,
	"setups": setups, "flood": flood, "download": download, "twice": twice, "unix-greeting": unixGreeting, "own-unix": ownUnix, "unix-type": unixType,
}

// desk serves a handed-over network: it tells every client where it wanted to
// go, and resolves every name to one address.
type desk struct {
	sb *Sandbox

	mu        sync.Mutex
	questions []string
	last      Program
	lastOK    bool
}

func (d *desk) serve(h *Handoff) {
	for _, l := range h.TCP {
		go d.accept(l)
	}
	for _, c := range h.DNS {
		go func() {
			buf := make([]byte, 1500)
			for {
				n, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = c.WriteTo(d.answer(buf[:n]), from)
			}
		}()
	}
	for _, l := range h.DNSTCP {
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte("questions by TCP\n"))
				c.Close()
			}
		}()
	}
}

func (d *desk) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			p, ok := d.sb.ProgramOf(c)
			d.mu.Lock()
			d.last, d.lastOK = p, ok
			d.mu.Unlock()
			if dst, ok := OriginalDst(c); ok {
				fmt.Fprintf(c, "to %s\n", dst)
			} else {
				fmt.Fprint(c, "to the proxy\n")
			}
			_, _ = io.Copy(io.Discard, c)
		}()
	}
}

// answer gives 198.18.0.7 for A and nothing for anything else.
func (d *desk) answer(q []byte) []byte {
	if len(q) < 17 {
		return nil
	}
	var name []string
	i := 12
	for i < len(q) && q[i] != 0 && i+1+int(q[i]) <= len(q) {
		name = append(name, string(q[i+1:i+1+int(q[i])]))
		i += 1 + int(q[i])
	}
	i += 5 // the root, type and class
	if i > len(q) {
		return nil
	}
	d.mu.Lock()
	d.questions = append(d.questions, strings.Join(name, "."))
	d.mu.Unlock()
	r := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:i]...)
	if q[i-3] == 1 {
		r[7] = 1
		r = append(r, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 18, 0, 7)
	}
	return r
}

func (d *desk) asked() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.questions, " ")
}

func (d *desk) program() (Program, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last, d.lastOK
}

// handedOver starts a workspace whose network somebody serves.
func handedOver(t *testing.T, spec Spec, change ...func(*stageConfig)) (*Sandbox, *desk) {
	t.Helper()
	spec.Network = NetworkHandoff
	spec, err := spec.normalise()
	must(t, err)
	sb, err := startTier(t.Context(), spec, TierFull, change...)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { _ = sb.Close() })
	d := &desk{sb: sb}
	d.serve(sb.Handoff())
	return sb, d
}

func undiverted(c *stageConfig) { c.NoDivert = true }

func shellOf(t *testing.T, sb *Sandbox) *Shell {
	t.Helper()
	sh, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	return sh
}

// ask is a script that prints what the other end of a connection says first.
func ask(host, port string) string {
	return fmt.Sprintf("(exec 3<>/dev/tcp/%s/%s && read -r line <&3 && echo $line) 2>&1 | tail -1 | sed 's/.*: //'", host, port)
}

func TestHandoff(t *testing.T) {
	x := newTarget(t)
	_, hostPort, _ := net.SplitHostPort(x.tcp)
	for _, mode := range []struct {
		name   string
		change []func(*stageConfig)
		other  string // what a port without a listener of its own says
	}{
		{"transparent", nil, ""},
		{"fixed ports", []func(*stageConfig){undiverted}, "Connection refused"},
	} {
		t.Run(mode.name, func(t *testing.T) {
			sb, _ := handedOver(t, x.spec(ViewWorkspace), mode.change...)
			sh := shellOf(t, sb)
			for _, c := range []struct{ host, port, want string }{
				{"93.184.216.34", "80", "to 93.184.216.34:80"},
				{"2606:2800::1", "443", "to [2606:2800::1]:443"},
				{"::ffff:93.184.216.34", "443", "to 93.184.216.34:443"},
				{"169.254.169.254", "80", "to 169.254.169.254:80"},
				{"93.184.216.34", "22", "to 93.184.216.34:22"},
				{"127.0.0.1", "17080", "to the proxy"},
				{"::1", "17080", "to the proxy"},
				{"127.0.0.1", "53", "questions by TCP"},
				{"93.184.216.34", "2222", or(mode.other, "to 93.184.216.34:2222")},
				{"93.184.216.34", "17080", or(mode.other, "to 93.184.216.34:17080")},
				{"2606:2800::1", "9", or(mode.other, "to [2606:2800::1]:9")},
				{"9.9.9.9", "53", or(mode.other, "questions by TCP")},
				{"127.0.0.1", "2222", "Connection refused"},
				{"::1", "2222", "Connection refused"},
				{"127.9.9.9", "17080", "Connection refused"},
				{"127.0.0.1", hostPort, "Connection refused"}, // where a host program listens
			} {
				if got := strings.TrimSpace(string(runOK(t, sh, ask(c.host, c.port)).Head)); got != c.want {
					t.Errorf("%s port %s: %q, want %q", c.host, c.port, got, c.want)
				}
			}
			h := sb.Handoff()
			want := Handoff{Transparent: mode.other == "", Resolver: netip.MustParseAddr("127.0.0.1"), Proxy: netip.MustParseAddrPort("127.0.0.1:17080")}
			if !want.Transparent {
				want.Ports = []uint16{22, 80, 443}
			}
			got := Handoff{Transparent: h.Transparent, Ports: h.Ports, Proxy: h.Proxy, Resolver: h.Resolver}
			if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
				t.Error(d)
			}
			said := strings.Contains(strings.Join(sb.Report().NotPromised, " "), "other ports are refused")
			if said == h.Transparent {
				t.Errorf("the report says %q", sb.Report().NotPromised)
			}
			checkPrimitive(t, sb, "net-namespace", true)
			checkPrimitive(t, sb, "nft", h.Transparent)
		})
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func checkPrimitive(t *testing.T, sb *Sandbox, name string, ok bool) {
	t.Helper()
	for _, p := range sb.Report().Primitives {
		if p.Name == name {
			if p.OK != ok || !ok && p.Remedy == "" {
				t.Errorf("primitive %+v", p)
			}
			return
		}
	}
	t.Errorf("no primitive %s in %+v", name, sb.Report().Primitives)
}

func TestHandedOverNames(t *testing.T) {
	x := newTarget(t)
	for _, change := range [][]func(*stageConfig){nil, {undiverted}} {
		sb, d := handedOver(t, x.spec(ViewWorkspace), change...)
		sh := shellOf(t, sb)
		r := runOK(t, sh, "getent ahostsv4 first.example; getent hosts localhost; cat /etc/resolv.conf; grep ^hosts /etc/nsswitch.conf; echo x >> /etc/hosts; echo $?")
		for _, want := range []string{"198.18.0.7", "127.0.0.1", "localhost", "nameserver 127.0.0.1\n", "hosts: files dns\n", "\n1\n"} {
			if !bytes.Contains(r.Head, []byte(want)) {
				t.Errorf("no %q in:\n%s", want, r.Head)
			}
		}
		if !strings.Contains(d.asked(), "first.example") {
			t.Errorf("the question did not arrive: %q", d.asked())
		}
	}
	// somebody else's name server by number, over both families
	sb, d := handedOver(t, x.spec(ViewWorkspace))
	sh := shellOf(t, sb)
	for i, server := range []string{"8.8.8.8:53", "[2001:4860:4860::8888]:53", "127.0.0.1:53"} {
		name := fmt.Sprintf("n%d.example", i)
		if r := runOK(t, sh, x.work+"/attacker attack question "+name+"@"+server); !bytes.Contains(r.Head, []byte("SUCCEEDED")) {
			t.Errorf("%s: %s", server, r.Head)
		}
		if !strings.Contains(d.asked(), name) {
			t.Errorf("%s: the question did not arrive: %q", server, d.asked())
		}
	}
	r := runOK(t, sh, x.work+"/attacker attack udp 8.8.8.8:54 udp [2606:2800::1]:443 udp "+x.udp)
	if strings.Count(string(r.Head), "refused: ") != 3 || strings.Count(string(r.Head), "connection refused") != 3 {
		t.Errorf("UDP left: %s", r.Head)
	}
}

// question asks a name server as programs with one of their own do.
func question(arg string) error {
	name, server, _ := strings.Cut(arg, "@")
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server)
	}}
	a, err := r.LookupNetIP(context.Background(), "ip4", name)
	if err == nil && (len(a) != 1 || a[0].Unmap() != netip.MustParseAddr("198.18.0.7")) {
		err = fmt.Errorf("answer %v", a)
	}
	return err
}

// ownServer connects to a server of its own on the loopback.
func ownServer(host string) error {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return err
	}
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Write([]byte("mine"))
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if string(b) != "mine" {
		err = errors.Join(err, fmt.Errorf("read %q", b))
	}
	return err
}

// connections makes n connections one after the other, each with an answer.
func connections(arg string) error {
	addr, n, _ := strings.Cut(arg, ",")
	for range num(n) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		if line, err := bufio.NewReader(c).ReadString('\n'); line != "to "+addr+"\n" {
			return fmt.Errorf("%q %w", line, err)
		}
		c.Close()
	}
	return nil
}

func TestOwnServersStayInside(t *testing.T) {
	x := newTarget(t)
	sb, _ := handedOver(t, x.spec(ViewWorkspace))
	r := runOK(t, shellOf(t, sb), x.work+"/attacker attack own-server 127.0.0.1 own-server ::1 own-server 127.0.1.1 connections 93.184.216.34:8443,1000")
	if strings.Count(string(r.Head), "SUCCEEDED") != 4 {
		t.Errorf("%s", r.Head)
	}
}

// TestHostAddressIsNotTheHost: where the host itself listens, the payload meets
// the supervisor instead.
func TestHostAddressIsNotTheHost(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	must(t, err)
	defer l.Close()
	reached := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			reached <- c.RemoteAddr().String()
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	addrs, err := net.InterfaceAddrs()
	must(t, err)
	x := newTarget(t)
	sb, _ := handedOver(t, x.spec(ViewWorkspace))
	sh := shellOf(t, sb)
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		addr := net.JoinHostPort(p.Addr().String(), port)
		c, err := net.Dial("tcp", addr)
		must(t, err)
		c.Close()
		<-reached // the control: from outside it is the host that answers
		want := "to " + addr
		if p.Addr().IsLoopback() {
			want = "Connection refused"
		}
		if got := strings.TrimSpace(string(runOK(t, sh, ask(p.Addr().String(), port)).Head)); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	if len(reached) > 0 {
		t.Errorf("the host was reached from %s", <-reached)
	}
}

func TestListenersCloseWithTheSandbox(t *testing.T) {
	x := newTarget(t)
	sb, _ := handedOver(t, x.spec(ViewWorkspace))
	sh := shellOf(t, sb)
	runOK(t, sh, ask("93.184.216.34", "80"))
	h := sb.Handoff()
	must(t, sb.Close())
	for _, l := range append(append([]net.Listener(nil), h.TCP...), h.DNSTCP...) {
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", l.Addr(), err)
		}
	}
	for _, c := range h.DNS {
		if _, _, err := c.ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", c.LocalAddr(), err)
		}
	}
	if p, ok := sb.Program(netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")); ok {
		t.Errorf("a program after the end: %+v", p)
	}
}

// TestNothingOfTheNetworkIsInside: no process inside holds a listener.
func TestNothingOfTheNetworkIsInside(t *testing.T) {
	x := newTarget(t)
	sb, _ := handedOver(t, x.spec(ViewWorkspace))
	sh := shellOf(t, sb)
	r := runOK(t, sh, "ls -l /proc/[0-9]*/fd 2>/dev/null | grep socket; echo seen")
	if string(r.Head) != "seen\n" {
		t.Errorf("sockets in the payload: %s", r.Head)
	}
	dir := fmt.Sprintf("/proc/%d/fd", sb.proc.Pid)
	fds, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrPermission) {
		t.Skip("the stage cannot be looked into by an ordinary user")
	}
	must(t, err)
	n := 0
	for _, f := range fds {
		if l, err := os.Readlink(dir + "/" + f.Name()); err == nil && strings.HasPrefix(l, "socket:") {
			n++
		}
	}
	if n != 1 { // the control socket
		t.Errorf("the stage holds %d sockets", n)
	}
}

func TestProbeTriesTheNetwork(t *testing.T) {
	got := map[string]bool{}
	for _, p := range Probe(t.Context()).Primitives {
		got[p.Name] = p.OK
	}
	for _, name := range []string{"user-namespace", "net-namespace", "nft"} {
		if ok, tried := got[name]; !tried || !ok {
			t.Errorf("%s: tried %v, works %v", name, tried, ok)
		}
	}
}

// flood sends questions as fast as it can; it works when none is refused.
func flood(server string) error {
	c, err := net.Dial("udp", server)
	if err != nil {
		return err
	}
	defer c.Close()
	for range 5000 {
		if _, err := c.Write([]byte("?")); err != nil {
			return err
		}
	}
	return nil
}

// TestKernelStateIsBounded: only translated questions are remembered by the
// kernel, and their number is limited.
func TestKernelStateIsBounded(t *testing.T) {
	x := newTarget(t)
	sb, _ := handedOver(t, x.spec(ViewWorkspace))
	sh := shellOf(t, sb)
	const count = "; cat /proc/sys/net/netfilter/nf_conntrack_count"
	r := runOK(t, sh, x.work+"/attacker attack connections 93.184.216.34:80,50 own-server 127.0.0.1 question a.example@127.0.0.1:53 flood 127.0.0.1:53"+count)
	if want := strings.Repeat("SUCCEEDED\n", 4) + "0\n"; string(r.Head) != want {
		t.Errorf("%s", r.Head)
	}
	r = runOK(t, sh, x.work+"/attacker attack question a.example@8.8.8.8:53"+count)
	if bytes.Contains(r.Head, []byte("SUCCEEDED\n0\n")) || !bytes.HasPrefix(r.Head, []byte("SUCCEEDED\n")) {
		t.Errorf("the control counts nothing: %s", r.Head)
	}
	r = runOK(t, sh, x.work+"/attacker attack flood 8.8.8.8:53 flood [2001:4860:4860::8888]:53")
	if strings.Count(string(r.Head), "operation not permitted") != 2 {
		t.Errorf("not limited: %s", r.Head)
	}
}
