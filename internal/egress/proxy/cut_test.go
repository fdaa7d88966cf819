package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/internal/fault"
)

// cutTo keeps what goes to one host.
func cutTo(host string) func(Dest, *RequestInfo) bool {
	return func(d Dest, _ *RequestInfo) bool { return d.Host == host }
}

// TestCutTunnel: an open connection to where no more may be said is dead at
// once, one to elsewhere lives on.
func TestCutTunnel(t *testing.T) {
	w := newWorld(t, nil)
	var heard atomic.Int64
	w.raw(func(c *net.TCPConn) {
		buf := make([]byte, 64)
		for {
			n, err := c.Read(buf)
			heard.Add(int64(n))
			if err != nil {
				return
			}
			c.Write(buf[:n])
		}
	}, "evil.test:9000", "good.test:9000")
	echo := func(c net.Conn) error {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.WriteString(c, "\x00\x01\x02"); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 3))
		return err
	}
	evil, good := w.dial("198.18.0.2:9000"), w.dial("198.18.0.1:9000")
	if err := errors.Join(echo(evil), echo(good)); err != nil {
		t.Fatal(err)
	}
	before := heard.Load()
	if n := w.server.Cut(cutTo("good.test")); n != 1 {
		t.Errorf("%d were cut", n)
	}
	for range 3 {
		if err := echo(evil); err == nil {
			t.Fatal("a cut connection carries on")
		}
	}
	if heard.Load() != before {
		t.Error("bytes arrived on a cut connection")
	}
	if err := echo(good); err != nil {
		t.Errorf("a connection that is kept: %v", err)
	}
	if s := w.judge.end(1)[0]; ruleOf(s.Err) != "cut" {
		t.Errorf("ended with %v", s.Err)
	}
}

// TestCutRequest: of a request whose body is still being sent, nothing that the
// program writes after the cut arrives; an answer that streams ends.
func TestCutRequest(t *testing.T) {
	w := newWorld(t, nil)
	bodies, began := make(chan string, 1), make(chan bool, 1)
	w.web(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			rw.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		one := make([]byte, 5)
		io.ReadFull(r.Body, one)
		began <- true
		rest, _ := io.ReadAll(r.Body)
		bodies <- string(one) + string(rest)
	}, "evil.test:80")
	upload, stream := w.dial("198.18.0.2:80"), w.dial("198.18.0.2:80")
	fmt.Fprint(upload, "POST /up HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 12\r\n\r\nfirst")
	<-began
	fmt.Fprint(stream, "GET /stream HTTP/1.1\r\nHost: evil.test\r\n\r\n")
	answer := bufio.NewReader(stream)
	if line, err := answer.ReadString('\n'); !strings.Contains(line, "200") {
		t.Fatalf("%q, %v", line, err)
	}
	if n := w.server.Cut(cutTo("good.test")); n != 2 {
		t.Errorf("%d were cut", n)
	}
	fmt.Fprint(upload, "SECRET!")
	if got := <-bodies; got != "first" {
		t.Errorf("the host heard %q", got)
	}
	stream.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, answer); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Error("the stream goes on")
	}
	for _, s := range w.judge.end(2) {
		if s.Err == nil {
			t.Errorf("a cut request ended in good order: %+v", s)
		}
	}
}

// TestCutWebSocket: what was upgraded ends like a connection.
func TestCutWebSocket(t *testing.T) {
	w := newWorld(t, nil)
	var heard atomic.Int64
	w.web(func(rw http.ResponseWriter, _ *http.Request) {
		c, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		for {
			line, err := buf.ReadString('\n')
			heard.Add(int64(len(line)))
			if err != nil {
				return
			}
			io.WriteString(c, line)
		}
	}, "evil.test:80")
	c := w.dial("198.18.0.2:80")
	r := bufio.NewReader(c)
	fmt.Fprint(c, "GET /ws HTTP/1.1\r\nHost: evil.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	resp, err := http.ReadResponse(r, nil) //nolint:bodyclose // the connection is what follows
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v %v", resp, err)
	}
	fmt.Fprint(c, "ping\n")
	if line, err := r.ReadString('\n'); line != "ping\n" {
		t.Fatalf("%q %v", line, err)
	}
	w.server.Cut(cutTo("good.test"))
	fmt.Fprint(c, "SECRET!\n")
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := r.ReadString('\n'); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("after the cut: %v", err)
	}
	w.judge.end(1)
	if heard.Load() != 5 {
		t.Errorf("the host heard %d bytes", heard.Load())
	}
}

// TestCutBetweenDecisionAndConnection: what was permitted a moment ago and is
// being dialled, or still judged, is cut too.
func TestCutBetweenDecisionAndConnection(t *testing.T) {
	dialling, dialled := make(chan bool), make(chan bool)
	var reached atomic.Int64
	w := newWorld(t, func(c *Config) {
		real := c.Dial
		c.Dial = func(ctx context.Context, network, hostport string) (net.Conn, error) {
			dialling <- true
			<-dialled
			return real(context.WithoutCancel(ctx), network, hostport) // as if it had just succeeded
		}
	})
	w.raw(func(c *net.TCPConn) {
		n, _ := io.Copy(io.Discard, c)
		reached.Add(n)
	}, "evil.test:9000")
	c := w.dial("198.18.0.2:9000")
	io.WriteString(c, "\x00SECRET!")
	<-dialling
	w.server.Cut(cutTo("good.test"))
	dialled <- true
	if s := w.judge.end(1)[0]; ruleOf(s.Err) != "cut" {
		t.Errorf("ended with %v", s.Err)
	}
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || reached.Load() > 0 {
		t.Errorf("%d bytes reached the host, %v", reached.Load(), err)
	}

	asked, gone := make(chan bool), make(chan error, 1)
	w = newWorld(t, func(c *Config) { c.Judge = &waits{asked: asked, gone: gone} })
	io.WriteString(w.dial("198.18.0.2:80"), "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n")
	<-asked
	w.server.Cut(cutTo("good.test"))
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("a question about a cut request: %v", err)
	}
}

// TestCutLeavesNothingIdle: connections to hosts that wait for the next request
// are closed; the next request is judged like any other.
func TestCutLeavesNothingIdle(t *testing.T) {
	w := newWorld(t, nil)
	closed := make(chan bool, 1)
	w.raw(func(c *net.TCPConn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			t.Error(err)
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		io.Copy(io.Discard, c)
		closed <- true
	}, "evil.test:80")
	c := w.dial("198.18.0.2:80")
	r := bufio.NewReader(c)
	if got := exchangeOn(t, c, r, "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"); got.code != 200 {
		t.Fatalf("before: %+v", got)
	}
	w.judge.end(1)
	w.judge.mu.Lock()
	w.judge.deny = func(Dest, *RequestInfo) error { return errRule }
	w.judge.mu.Unlock()
	if n := w.server.Cut(func(Dest, *RequestInfo) bool { return false }); n != 0 {
		t.Errorf("%d were cut", n)
	}
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Error("the idle connection is still open")
	}
	if got := exchangeOn(t, c, r, "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"); got.code != 403 {
		t.Errorf("after: %+v", got)
	}
}

// TestFlightsAreForgotten: nothing is left of what ended, however it ended.
func TestFlightsAreForgotten(t *testing.T) {
	w := newWorld(t, nil)
	w.web(func(http.ResponseWriter, *http.Request) {}, "good.test:80")
	w.raw(func(c *net.TCPConn) { io.Copy(c, c) }, "good.test:9000")
	do := func() {
		c := w.dial("198.18.0.1:80")
		exchangeOn(t, c, bufio.NewReader(c), "GET / HTTP/1.1\r\nHost: good.test\r\n\r\n")
		c.Close()
		c = w.dial("198.18.0.1:9000")
		io.WriteString(c, "\x00")
		io.ReadFull(c, make([]byte, 1))
		c.Close()
	}
	for range 3 {
		do()
	}
	w.judge.end(6)
	w.judge.mu.Lock()
	w.judge.deny = func(Dest, *RequestInfo) error { return fault.New("test", fault.Denied, "no") }
	w.judge.mu.Unlock()
	say(t, w.dial("198.18.0.1:9000"), "\x00\x00\x00\x00")
	w.cut()
	w.gone <- <-w.gone // when it ends, everything has
	if n := len(w.server.flights.all); n > 0 {
		t.Errorf("%d flights are left", n)
	}
}
