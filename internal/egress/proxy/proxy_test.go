package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sallyport/internal/egress"
	"sallyport/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// judge writes down what it is asked and what became of it.
type judge struct {
	mu    sync.Mutex
	deny  func(d Dest, r *RequestInfo) error
	asked []string
	ended []Stats
	open  map[*passage]bool
	twice int
	idle  *sync.Cond
}

type passage struct {
	j *judge
}

func (p *passage) End(s Stats) {
	p.j.mu.Lock()
	defer p.j.mu.Unlock()
	if !p.j.open[p] {
		p.j.twice++
	}
	delete(p.j.open, p)
	p.j.ended = append(p.j.ended, s)
	p.j.idle.Broadcast()
}

func newJudge() *judge {
	j := &judge{open: map[*passage]bool{}}
	j.idle = sync.NewCond(&j.mu)
	return j
}

func (j *judge) decide(text string, d Dest, r *RequestInfo) (Passage, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked = append(j.asked, text)
	if j.deny != nil {
		if err := j.deny(d, r); err != nil {
			return nil, err
		}
	}
	p := &passage{j}
	j.open[p] = true
	return p, nil
}

func (j *judge) Connect(_ context.Context, d Dest) (Passage, error) {
	return j.decide("connect "+d.hostport(), d, nil)
}

func (j *judge) Request(_ context.Context, d Dest, r *RequestInfo) (Passage, error) {
	text := fmt.Sprintf("%s %s://%s%s", r.Method, r.Scheme, d.authority(r.Scheme), r.Path)
	if r.Query != "" {
		text += "?" + r.Query
	}
	return j.decide(text, d, r)
}

// end waits until n passages have ended.
func (j *judge) end(n int) []Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.ended) < n {
		j.idle.Wait()
	}
	return append([]Stats(nil), j.ended...)
}

func (j *judge) questions() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.asked...)
}

// names is a fixed table of fake addresses.
type names map[string]string

func (n names) Name(a netip.Addr) (string, bool) { s, ok := n[a.String()]; return s, ok }

// world is a sandbox's network as the proxy sees it: programs that connect to
// addresses, and hosts outside.
type world struct {
	t       testing.TB
	judge   *judge
	cfg     Config
	server  *Server
	addr    string   // of the proxy's listener
	hosts   sync.Map // "name:port" to "ip:port"
	mu      sync.Mutex
	goals   map[netip.AddrPort]netip.AddrPort
	arrived *sync.Cond
	refused []string
	cut     context.CancelFunc
	gone    chan error
}

// newWorld starts a proxy; change may alter its configuration.
func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, judge: newJudge(), goals: map[netip.AddrPort]netip.AddrPort{}, gone: make(chan error, 1)}
	w.arrived = sync.NewCond(&w.mu)
	dialer := egress.New(egress.Config{Hosts: map[string][]netip.Addr{}})
	w.cfg = Config{
		Dial: func(ctx context.Context, network, hostport string) (net.Conn, error) {
			if to, ok := w.hosts.Load(hostport); ok {
				return (&net.Dialer{}).DialContext(ctx, network, to.(string))
			}
			return dialer.DialContext(ctx, network, hostport)
		},
		Level:    func(Dest) Level { return LevelConnect },
		Judge:    w.judge,
		Names:    names{"198.18.0.1": "good.test", "198.18.0.2": "evil.test", "fd00:5a11::1": "good.test"},
		Original: w.original,
		OnRefused: func(d Dest, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refused = append(w.refused, ruleOf(err)+" "+d.Host)
		},
		HeadTimeout: 2 * time.Second,
		SilentAfter: 20 * time.Millisecond,
	}
	if change != nil {
		change(&w.cfg)
	}
	s, err := New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.server, w.addr = s, l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	w.cut = cancel
	go func() { w.gone <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-w.gone; err != nil {
			t.Errorf("serve: %v", err)
		}
		w.judge.mu.Lock()
		defer w.judge.mu.Unlock()
		if n := len(w.judge.open); n > 0 || w.judge.twice > 0 {
			t.Errorf("%d passages were never ended, %d twice", n, w.judge.twice)
		}
	})
	return w
}

// original knows a connection's goal as soon as dial told.
func (w *world) original(c net.Conn) (netip.AddrPort, bool) {
	peer := addrPort(c.RemoteAddr())
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if goal, ok := w.goals[peer]; ok {
			delete(w.goals, peer)
			return goal, goal.IsValid()
		}
		w.arrived.Wait()
	}
}

// dial is what connect(2) is inside the sandbox; "" speaks to the proxy.
func (w *world) dial(goal string) net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	var to netip.AddrPort
	if goal != "" {
		to = netip.MustParseAddrPort(goal)
	}
	w.mu.Lock()
	w.goals[addrPort(c.LocalAddr())] = to
	w.arrived.Broadcast()
	w.mu.Unlock()
	return c
}

// refusals gives what the proxy refused by itself.
func (w *world) refusals() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.refused, ", ")
}

// client is an HTTP client inside whose every connection goes to goal.
func (w *world) client(goal string, roots *x509.CertPool) *http.Client {
	tr := &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return w.dial(goal), nil },
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// web starts an HTTP server outside and lists it as the hosts.
func (w *world) web(h http.HandlerFunc, hosts ...string) *httptest.Server {
	s := httptest.NewServer(h)
	w.t.Cleanup(s.Close)
	for _, host := range hosts {
		w.hosts.Store(host, s.Listener.Addr().String())
	}
	return s
}

// raw starts a TCP server outside.
func (w *world) raw(serve func(*net.TCPConn), hosts ...string) string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); serve(c.(*net.TCPConn)) })
		}
	})
	w.t.Cleanup(func() { l.Close(); wg.Wait() })
	for _, host := range hosts {
		w.hosts.Store(host, l.Addr().String())
	}
	return l.Addr().String()
}

// say writes text and reads all there is to the end.
func say(t testing.TB, c net.Conn, text string) string {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		return err.Error()
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := io.ReadAll(c)
	if err != nil {
		return string(b) + "!" + err.Error()
	}
	return string(b)
}

// answer is a response that was read to its end.
type answer struct {
	code   int
	header http.Header
	body   string
}

// exchangeOn does one request on a connection that stays open.
func exchangeOn(t testing.TB, c net.Conn, r *bufio.Reader, text string) answer {
	t.Helper()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// do does one request; the code is 0 if there was no answer.
func do(t testing.TB, cl *http.Client, req *http.Request) (answer, error) {
	t.Helper()
	resp, err := cl.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b)}, err
}

func get(t testing.TB, cl *http.Client, url string) (answer, error) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, cl, req)
}

var errRule = &ruled{fault.New("test", fault.Denied, "the rule forbids it; ask the owner")}

type ruled struct{ err *fault.Error }

func (r *ruled) Error() string { return r.err.Error() }
func (r *ruled) Unwrap() error { return r.err }
func (r *ruled) Rule() string  { return "test.rule" }

var _ Ruled = (*ruled)(nil)

// addrPort gives a TCP address as netip; the zero value for any other.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
