package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// conn is one connection of the sandbox. What was read ahead to find out about
// it is read again by whoever serves it.
type conn struct {
	net.Conn
	head []byte // read ahead, not yet consumed

	fixed   bool // dest is where it goes; otherwise each request says so itself
	dest    Dest
	tls     bool // TLS was opened: requests are https
	program string

	once sync.Once
	done func()
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// Close implements net.Conn. The connection counts as served until it is
// called.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.done)
	return err
}

// reset closes without the appearance of a good end.
func (c *conn) reset() {
	abort(c.Conn)
	_ = c.Close()
}

// abort makes the peer see a reset instead of an end.
func abort(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = l.SetLinger(0) // a socket that is gone already needs no reset
	}
	_ = c.Close()
}

// peek reads ahead until f is satisfied with the bytes so far, at most until
// deadline. A timeout is os.ErrDeadlineExceeded.
func (c *conn) peek(deadline time.Time, f func([]byte) bool) error {
	if err := c.SetReadDeadline(deadline); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for !f(c.head) {
		n, err := c.Conn.Read(buf)
		c.head = append(c.head, buf[:n]...)
		if err != nil && n == 0 {
			return err
		}
	}
	return c.SetReadDeadline(time.Time{})
}

// sniff reads ahead until the protocol is clear or the time is over.
func (c *conn) sniff(deadline time.Time) (proto, error) {
	kind := protoMore
	err := c.peek(deadline, func(b []byte) bool { kind = sniff(b); return kind != protoMore })
	return kind, err
}

// hello reads ahead a whole ClientHello.
func (c *conn) hello(deadline time.Time) (hello, error) {
	var h hello
	var bad error
	err := c.peek(deadline, func(b []byte) bool { h, bad = parseHello(b); return !errors.Is(bad, errMore) })
	return h, errors.Join(err, bad)
}

// silent tells a wait that ended without a byte.
func (c *conn) silent(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && len(c.head) == 0
}

// client finds the sandbox's connection below what serves it.
func client(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	own, _ := c.(*conn)
	return own
}

// accepted feeds connections to net/http.
type accepted struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newAccepted() *accepted {
	return &accepted{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// give hands a connection over; after Close it is closed.
func (a *accepted) give(c net.Conn) {
	select {
	case a.conns <- c:
	case <-a.closed:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (a *accepted) Accept() (net.Conn, error) {
	select {
	case c := <-a.conns:
		return c, nil
	case <-a.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (a *accepted) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}

// Addr implements net.Listener.
func (a *accepted) Addr() net.Addr { return &net.TCPAddr{} }
