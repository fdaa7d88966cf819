package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/egress"
	"sallyport/internal/fault"
)

// TestSlow: who does not say what he wants is not waited for, and does not
// keep others out for ever.
func TestSlow(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.HeadTimeout, c.SilentAfter, c.MaxConns = 100*time.Millisecond, 20*time.Millisecond, 8
	})
	w.web(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "here") }, "good.test:80")
	for goal, text := range map[string]string{
		"198.18.0.1:80": "", "198.18.0.1:443": "", "198.18.0.1:8080": "GET / HTTP/1.1\r\nHost: go", "198.18.0.1:8443": "\x16\x03\x01\x02",
		"198.18.0.1:9000": "GET / HT", "198.18.0.2:80": "\r\n", "": "\x05", "198.18.0.2:8000": "G",
	} {
		c := w.dial(goal)
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(c, text)
		if _, err := io.ReadAll(c); errors.Is(err, context.DeadlineExceeded) || err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s %q is still open: %v", goal, text, err)
		}
	}
	if q := w.judge.questions(); len(q) > 0 {
		t.Errorf("judged %v", q)
	}
	got, err := get(t, w.client("198.18.0.1:80", nil), "http://good.test/")
	if err != nil || got.body != "here" {
		t.Errorf("afterwards: %v %v", got, err)
	}
}

// TestMaxConns: further connections are reset, not queued.
func TestMaxConns(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxConns = 4 })
	w.web(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "ok") }, "good.test:80")
	var held []net.Conn
	for range 4 {
		c := w.dial("198.18.0.1:80")
		exchangeOn(t, c, bufio.NewReader(c), "GET / HTTP/1.1\r\nHost: good.test\r\n\r\n")
		held = append(held, c)
	}
	c, err := net.Dial("tcp", w.addr)
	if err == nil {
		defer c.Close()
		if _, err = io.ReadAll(c); err == nil {
			t.Error("a fifth connection was not reset")
		}
	}
	if !strings.HasPrefix(w.refusals(), "max-conns") {
		t.Errorf("refusals %q", w.refusals())
	}
	say(t, held[0], "GET / HTTP/1.1\r\nHost: good.test\r\nConnection: close\r\n\r\n")
	w.judge.end(5)
}

// TestMaxRequests: requests that wait, here for a body that never comes, do not
// pile up in memory.
func TestMaxRequests(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxRequests = 3 })
	came := make(chan bool, 8)
	w.web(func(rw http.ResponseWriter, r *http.Request) {
		came <- true
		io.Copy(io.Discard, r.Body)
		io.WriteString(rw, "ok")
	}, "good.test:80")
	const post = "POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 3\r\n\r\n"
	var held []net.Conn
	for range 3 {
		c := w.dial("198.18.0.1:80")
		io.WriteString(c, post)
		held = append(held, c)
		<-came
	}
	if out := say(t, w.dial("198.18.0.1:80"), post+"abc"); !strings.Contains(out, " 403 ") || !strings.Contains(out, "max-requests") {
		t.Errorf("one more is answered %q", out)
	}
	if out := say(t, held[0], "abcGET / HTTP/1.1\r\nHost: good.test\r\nConnection: close\r\n\r\n"); strings.Count(out, " 200 ") != 2 {
		t.Errorf("afterwards %q", out)
	}
	if n := len(w.judge.questions()); n != 4 {
		t.Errorf("%d requests were judged", n)
	}
}

// TestOverride: servers that read the method or the path from a header would
// carry out what nobody judged.
func TestOverride(t *testing.T) {
	w := newWorld(t, nil)
	served := 0
	w.web(func(http.ResponseWriter, *http.Request) { served++ }, "good.test:80")
	for _, h := range []string{"X-HTTP-Method-Override: DELETE", "x-http-method: PUT", "X_Method_Override: PUT", "X-Original-URL: /admin", "x_rewrite-url: /admin"} {
		if out := say(t, w.dial("198.18.0.1:80"), "POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 0\r\n"+h+"\r\nConnection: close\r\n\r\n"); !strings.Contains(out, "http-override") {
			t.Errorf("%s: %q", h, out)
		}
	}
	if q := w.judge.questions(); len(q) > 0 || served > 0 {
		t.Errorf("%d served, judged %v", served, q)
	}
}

// TestLongTarget: what is kept of a request is short.
func TestLongTarget(t *testing.T) {
	w := newWorld(t, nil)
	w.web(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "ok") }, "good.test:80")
	for n, want := range map[int]string{maxTarget: " 200 ", maxTarget + 1: " 403 "} {
		path, query := "/"+strings.Repeat("a", n/2-1), strings.Repeat("b", n-n/2)
		if out := say(t, w.dial("198.18.0.1:80"), "GET "+path+"?"+query+" HTTP/1.1\r\nHost: good.test\r\nConnection: close\r\n\r\n"); !strings.Contains(out, want) {
			t.Errorf("%d bytes: %.200q, want %q", n, out, want)
		}
	}
	if q := w.judge.questions(); len(q) != 1 {
		t.Errorf("%d requests were judged", len(q))
	}
}

// TestHalfClose: a program that has said everything still hears the answer.
func TestHalfClose(t *testing.T) {
	w := newWorld(t, nil)
	w.raw(func(c *net.TCPConn) {
		b, _ := io.ReadAll(c)
		fmt.Fprintf(c, "%d bytes", len(b))
	}, "good.test:9000", "9.9.9.9:22")
	for goal, text := range map[string]string{"198.18.0.1:9000": "\x00\x01binary", "9.9.9.9:22": "SSH-2.0-x\r\nmore"} {
		c := w.dial(goal)
		io.WriteString(c, text)
		c.(*net.TCPConn).CloseWrite()
		if b, err := io.ReadAll(c); string(b) != fmt.Sprintf("%d bytes", len(text)) {
			t.Errorf("%s: %q %v %s", goal, b, err, w.refusals())
		}
	}
	for _, s := range w.judge.end(2) {
		if s.Up == 0 || s.Down == 0 || s.Err != nil || s.Addr == "" {
			t.Errorf("stats %+v", s)
		}
	}
}

// TestServerFirst: a host that speaks first is heard; a program that waits
// with a request does not get around the look at it.
func TestServerFirst(t *testing.T) {
	w := newWorld(t, nil)
	w.raw(func(c *net.TCPConn) {
		io.WriteString(c, "220 ready\r\n")
		io.Copy(c, c)
	}, "good.test:25")
	c := w.dial("198.18.0.1:25")
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); line != "220 ready\r\n" {
		t.Fatalf("%q %v", line, err)
	}
	io.WriteString(c, "GET / HTTP/1.1\r\n")
	if line, err := r.ReadString('\n'); line != "GET / HTTP/1.1\r\n" {
		t.Fatalf("%q %v", line, err)
	}
	c.Close()
	if s := w.judge.end(1)[0]; s.Down != 27 || s.Up != 16 {
		t.Errorf("stats %+v", s)
	}
	// The host waits and the program too; then it asks for another host.
	dialed := make(chan bool, 1)
	front, hosts, _ := newCDN(t)
	w = newWorld(t, func(c *Config) {
		next := c.Dial
		c.Dial = func(ctx context.Context, network, hostport string) (net.Conn, error) {
			defer func() { dialed <- true }()
			return next(ctx, network, hostport)
		}
	})
	w.hosts.Store("good.test:9000", hosts["good.test:9000"])
	c = w.dial("198.18.0.1:9000")
	<-dialed // it was silent for long enough to be taken for a host that speaks first
	if out := say(t, c, toEvil); !strings.Contains(out, " 403 ") || front.evil() {
		t.Errorf("%q, seen %v", out, front.seen)
	}
}

// TestOtherProtocols: bytes pass where one decision about the connection was
// asked for, and not where the web's ports or a closer look forbid it.
func TestOtherProtocols(t *testing.T) {
	for _, tt := range []struct {
		goal, text string
		level      Level
		passes     bool
	}{
		{"198.18.0.1:9000", "\x00\x00\x00\x08\x04\xd2\x16\x2f", LevelConnect, true},
		{"198.18.0.1:9000", "\x00\x00\x00\x08\x04\xd2\x16\x2f", LevelRequest, false},
		{"198.18.0.1:443", "\x00\x00\x00\x08\x04\xd2\x16\x2f", LevelConnect, false},
		{"198.18.0.1:80", "SSH-2.0-x\r\n", LevelConnect, false},
		{"198.18.0.1:9000", "SSH-2.0-x\r\n", LevelConnect, true},
		{"198.18.0.1:9000", "PING\r\n", LevelConnect, true},
		{"198.18.0.1:9000", "\x16\x02\x00", LevelConnect, true},
		{"198.18.0.1:9000", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", LevelConnect, false},
		{"198.18.0.1:9000", "get / http/1.1\r\nHost: evil.test\r\n\r\n", LevelConnect, false},
		{"198.18.0.1:9000", "\n \tGET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", LevelConnect, false},
		{"198.18.0.1:9000", "GET /\r\n", LevelConnect, false},
	} {
		w := newWorld(t, func(c *Config) { c.Level = func(Dest) Level { return tt.level } })
		var passed sync.Once
		reached := false
		w.raw(func(c *net.TCPConn) {
			if n, _ := c.Read(make([]byte, 9)); n > 0 {
				passed.Do(func() { reached = true })
				io.WriteString(c, "heard")
			}
		}, "good.test:9000", "good.test:80", "good.test:443")
		c := w.dial(tt.goal)
		io.WriteString(c, tt.text)
		b, _ := io.ReadAll(c)
		if got := string(b) == "heard"; got != tt.passes {
			t.Errorf("%s %q level %d: %q, %s", tt.goal, tt.text, tt.level, b, w.refusals())
		}
		passed.Do(func() {})
		if reached != tt.passes {
			t.Errorf("%s %q level %d: reached %v", tt.goal, tt.text, tt.level, reached)
		}
	}
}

// TestVanishing: neither side takes a part for the whole when the other is
// gone, and every passage ends.
func TestVanishing(t *testing.T) {
	w := newWorld(t, nil)
	up := make(chan error, 1)
	w.raw(func(c *net.TCPConn) { // waits for a program that dies
		_, err := io.ReadAll(c)
		up <- err
	}, "good.test:9000")
	c := w.dial("198.18.0.1:9000")
	io.WriteString(c, "\x00\x01")
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
	w.judge.end(1)
	<-up
	w.raw(func(c *net.TCPConn) { // dies in mid-answer
		c.Read(make([]byte, 9))
		io.WriteString(c, "part")
		c.SetLinger(0)
	}, "good.test:9001")
	c = w.dial("198.18.0.1:9001")
	io.WriteString(c, "\x00\x01")
	if _, err := io.ReadAll(c); err == nil {
		t.Error("a tunnel whose host broke off ended in good order")
	}
	w.raw(func(c *net.TCPConn) { // breaks its promise
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
	}, "good.test:80")
	if got, err := get(t, w.client("198.18.0.1:80", nil), "http://good.test/"); err == nil {
		t.Errorf("a cut answer looks whole: %+v", got)
	}
	w.raw(func(c *net.TCPConn) { io.WriteString(c, "no HTTP at all\r\n\r\n") }, "good.test:8080")
	if got, err := get(t, w.client("198.18.0.1:8080", nil), "http://good.test:8080/"); err != nil || got.code != 502 {
		t.Errorf("nonsense: %+v %v", got, err)
	}
	w.raw(func(c *net.TCPConn) { // never ends
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for block := make([]byte, 1<<16); ; {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	}, "good.test:8000")
	c = w.dial("198.18.0.1:8000")
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: good.test:8000\r\n\r\n")
	io.ReadFull(c, make([]byte, 1<<18))
	c.Close()
	for i, s := range w.judge.end(5) {
		if s.Err == nil && i > 0 {
			t.Errorf("passage %d ended in good order: %+v", i, s)
		}
	}
}

// TestCancel: a program that gives up ends its request's decision.
func TestCancel(t *testing.T) {
	asked, gone := make(chan bool), make(chan error, 1)
	w := newWorld(t, func(c *Config) { c.Judge = &waits{asked: asked, gone: gone} })
	c := w.dial("198.18.0.1:80")
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: good.test\r\n\r\n")
	<-asked
	c.Close()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// waits is a judge whose people never answer.
type waits struct {
	asked chan bool
	gone  chan error
}

func (w *waits) Connect(ctx context.Context, _ Dest) (Passage, error) {
	return w.Request(ctx, Dest{}, nil)
}

func (w *waits) Request(ctx context.Context, _ Dest, _ *RequestInfo) (Passage, error) {
	w.asked <- true
	<-ctx.Done()
	w.gone <- ctx.Err()
	return nil, fault.Wrap("test", fault.NeedsAsk, ctx.Err())
}

// TestShutdown: the end of the run ends everything at once.
func TestShutdown(t *testing.T) {
	w := newWorld(t, nil)
	w.web(func(rw http.ResponseWriter, r *http.Request) { rw.(http.Flusher).Flush(); <-r.Context().Done() }, "good.test:80")
	w.raw(func(c *net.TCPConn) { io.Copy(c, c) }, "good.test:9000")
	tunnel := w.dial("198.18.0.1:9000")
	io.WriteString(tunnel, "\x00")
	io.ReadFull(tunnel, make([]byte, 1))
	request := w.dial("198.18.0.1:80")
	io.WriteString(request, "GET / HTTP/1.1\r\nHost: good.test\r\n\r\n")
	bufio.NewReader(request).ReadString('\n')
	silent := w.dial("198.18.0.1:80")
	w.cut()
	if err := <-w.gone; err != nil {
		t.Error(err)
	}
	w.gone <- nil
	for _, c := range []net.Conn{tunnel, request, silent} {
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Error("still open")
		}
	}
	if n := len(w.judge.end(2)); n != 2 {
		t.Errorf("%d passages ended", n)
	}
}

// TestIdle: a tunnel on which nothing passes ends; one on which something
// passes one way does not.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{cfg: Config{Idle: time.Hour}, ctx: t.Context()}
		program, inside := net.Pipe()
		outside, host := net.Pipe()
		j := newJudge()
		p, _ := j.Connect(t.Context(), Dest{})
		start, done := time.Now(), make(chan time.Duration, 1)
		go func() {
			s.splice(&conn{Conn: inside, done: func() {}}, &tunnel{up: outside, passage: p, flight: s.begin(t.Context(), Dest{}, nil)})
			done <- time.Since(start)
		}()
		go func() { // a byte every forty minutes, six times
			for range 6 {
				time.Sleep(40 * time.Minute)
				host.Write([]byte{1})
			}
		}()
		if b, err := io.ReadAll(program); len(b) != 6 || err != nil {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		if took := <-done; took < 5*time.Hour || took > 6*time.Hour {
			t.Errorf("ended after %s", took)
		}
		if st := j.end(1)[0]; st.Down != 6 || st.Err == nil {
			t.Errorf("stats %+v", st)
		}
	})
}

// answers is a resolver outside.
type answers map[string]string

func (a answers) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if s, ok := a[host]; ok {
		return []netip.Addr{netip.MustParseAddr(s)}, nil
	}
	return nil, errors.New("no such name")
}

// TestForbiddenAddresses: a permitted name, or an address, that leads into
// this machine, its network or its cloud is refused by the dialer behind the
// proxy, whichever way a program takes.
func TestForbiddenAddresses(t *testing.T) {
	lookup := answers{}
	dialer := egress.New(egress.Config{Resolver: lookup})
	w := newWorld(t, func(c *Config) { c.Dial = dialer.DialContext })
	inner := w.web(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "inner") })
	port := inner.Listener.Addr().(*net.TCPAddr).Port
	// Without the dialer the name leads where its owner wants.
	lookup["good.test"] = "127.0.0.1"
	open := newWorld(t, func(c *Config) {
		c.Dial = func(ctx context.Context, network, hostport string) (net.Conn, error) {
			host, p, _ := net.SplitHostPort(hostport)
			a, err := lookup.LookupNetIP(ctx, "ip", host)
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(a[0].String(), p))
		}
	})
	ask := fmt.Sprintf("GET / HTTP/1.1\r\nHost: good.test:%d\r\nConnection: close\r\n\r\n", port)
	if out := say(t, open.dial(fmt.Sprintf("198.18.0.1:%d", port)), ask); !strings.Contains(out, "inner") {
		t.Fatalf("the attack without the dialer: %q", out)
	}
	for _, leads := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "::ffff:169.254.169.254", "10.0.0.1", "64:ff9b::a9fe:a9fe", "0.0.0.0", "198.18.0.1"} {
		lookup["good.test"] = leads
		for name, out := range map[string]string{
			"request": say(t, w.dial(fmt.Sprintf("198.18.0.1:%d", port)), ask),
			"CONNECT": say(t, w.dial(""), fmt.Sprintf("CONNECT good.test:%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", port)),
		} {
			if !strings.Contains(out, " 403 ") || !strings.Contains(out, "is refused") {
				t.Errorf("%s to %s: %q", name, leads, out)
			}
		}
		if out := say(t, w.dial(""), "\x05\x01\x00\x05\x01\x00\x03\x09good.test\x01\xbb"); !strings.HasPrefix(out, "\x05\x00\x05\x02") {
			t.Errorf("SOCKS to %s: %q", leads, out)
		}
	}
	for _, goal := range []string{"169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[fd00:ec2::254]:80", "198.18.0.77:80"} {
		host, _, _ := net.SplitHostPort(goal)
		a := netip.MustParseAddr(host).Unmap().String()
		if strings.Contains(a, ":") {
			a = "[" + a + "]"
		}
		if out := say(t, w.dial(goal), "GET /latest HTTP/1.1\r\nHost: "+a+"\r\nConnection: close\r\n\r\n"); !strings.Contains(out, " 403 ") || !strings.Contains(out, "is refused") {
			t.Errorf("%s: %q", goal, out)
		}
	}
}

// TestCrowd: 256 connections at a time, all kinds.
func TestCrowd(t *testing.T) {
	outside, outsideRoots := authority(t)
	run, runRoots := authority(t)
	w := newWorld(t, func(c *Config) {
		c.Authority, c.RootCAs, c.HeadTimeout = run, outsideRoots, time.Minute
		c.Level = func(d Dest) Level { return Level(d.Port % 2) } // 443 is odd: request
	})
	h := func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, r.URL.Path) }
	w.web(h, "good.test:80")
	w.webTLS(outside, h, "good.test:443", "good.test:8442")
	w.raw(func(c *net.TCPConn) { io.Copy(c, c) }, "good.test:9000")
	var all sync.WaitGroup
	start := make(chan bool)
	for i := range 256 {
		all.Go(func() {
			<-start
			path := fmt.Sprintf("/%d", i)
			var got answer
			var err error
			switch i % 4 {
			case 0:
				got, err = get(t, w.client("198.18.0.1:80", nil), "http://good.test"+path)
			case 1:
				got, err = get(t, w.client("198.18.0.1:443", runRoots), "https://good.test"+path)
			case 2:
				got, err = get(t, w.client("198.18.0.1:8442", outsideRoots), "https://good.test:8442"+path)
			case 3:
				c := w.dial("198.18.0.1:9000")
				io.WriteString(c, "\x00"+path)
				b := make([]byte, 1+len(path))
				_, err = io.ReadFull(c, b)
				got.body = string(b[1:])
				c.Close()
			}
			if err != nil || got.body != path {
				t.Errorf("%d: %+v %v", i, got, err)
			}
		})
	}
	close(start)
	all.Wait()
}
