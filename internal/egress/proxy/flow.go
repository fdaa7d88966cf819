package proxy

import (
	"crypto/tls"
	"errors"
	"os"
	"time"

	"sallyport/internal/fault"
)

// flow serves a connection whose destination is known. t is its open tunnel if
// the destination had to be reached before the program would speak (CONNECT,
// SOCKS), else nil.
func (s *Server) flow(c *conn, d Dest, level Level, t *tunnel) {
	start := time.Now()
	wait := s.cfg.HeadTimeout
	if level == LevelConnect && !d.web() {
		wait = min(wait, s.cfg.SilentAfter)
	}
	kind, err := c.sniff(start.Add(wait))
	if level == LevelConnect && !d.web() && errors.Is(err, os.ErrDeadlineExceeded) {
		if c.silent(err) {
			if t, err = s.orOpen(c, d, t); err != nil {
				return
			}
			if s.serverFirst(c, t) {
				s.splice(c, t)
				return
			}
		}
		kind, err = c.sniff(time.Now().Add(s.cfg.HeadTimeout))
	}
	switch {
	case err != nil && len(c.head) == 0 && !errors.Is(err, os.ErrDeadlineExceeded):
		// Gone before it said what it wanted.
		s.abandon(t, err)
		c.reset()
	case kind == protoTLS:
		s.tlsFlow(c, d, level, t, start.Add(max(wait, s.cfg.HeadTimeout)))
	case kind == protoHTTP:
		// Judged request by request; the tunnel is not needed.
		s.abandon(t, nil)
		c.fixed, c.dest = true, d
		s.handed.give(c)
	case err != nil || d.web() || level == LevelRequest:
		s.deny(c, d, t, refuse("protocol", "on %s only HTTP and TLS are carried, and the first bytes are neither; allow the bare connection on another port if it is meant", d.hostport()))
	default:
		if t, err = s.orOpen(c, d, t); err == nil {
			s.splice(c, t)
		}
	}
}

// tlsFlow serves a TLS connection.
func (s *Server) tlsFlow(c *conn, d Dest, level Level, t *tunnel, deadline time.Time) {
	h, err := c.hello(deadline)
	switch {
	case err != nil:
		err = errors.Join(refuse("tls-hello", "the TLS connection to %s does not start with a well-formed ClientHello", d.hostport()), err)
	case level == LevelRequest && s.cfg.Authority == nil:
		err = refuse("tls-closed", "requests to %s are judged one by one, and this run has no certificate to open TLS with; allow the whole connection or give the run one", d.hostport())
	case level == LevelConnect && h.encrypted:
		err = refuse("tls-hidden-name", "the TLS connection to %s carries an encrypted ClientHello, which may name another host; turn that off, or list methods or paths for %s so that TLS is opened here", d.hostport(), d.Host)
	default:
		err = d.checkName(h)
	}
	if err != nil {
		s.denyTLS(c, d, t, err)
		return
	}
	if level == LevelRequest {
		s.abandon(t, nil)
		s.intercept(c, d)
		return
	}
	if t == nil {
		if t, err = s.open(d); err != nil {
			alert(c, err)
			return
		}
	}
	s.splice(c, t)
}

// intercept opens TLS as the destination and has the requests inside served.
func (s *Server) intercept(c *conn, d Dest) {
	cert, err := s.cfg.Authority.certificate(d.Host)
	if err != nil {
		s.denyTLS(c, d, nil, err)
		return
	}
	c.fixed, c.dest, c.tls = true, d, true
	s.handed.give(tls.Server(c, &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{*cert},
		NextProtos:   []string{"h2", "http/1.1"},
		// The handshake reads the ClientHello once more; should it find another
		// name than parseHello did, it ends.
		GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
			if err := d.checkName(hello{name: i.ServerName}); err != nil {
				s.refused(d, err)
				return nil, err
			}
			return nil, nil //nolint:nilnil // the configuration above
		},
	}))
}

// orOpen opens the tunnel unless it is open already; the program of a refused
// one sees a reset.
func (s *Server) orOpen(c *conn, d Dest, t *tunnel) (*tunnel, error) {
	if t != nil {
		return t, nil
	}
	t, err := s.open(d)
	if err != nil {
		c.reset()
	}
	return t, err
}

// serverFirst waits for the first byte from either side of a silent
// connection. It is true if the destination spoke first: then it speaks no
// protocol whose requests a program could have withheld from the sniffer.
func (s *Server) serverFirst(c *conn, t *tunnel) bool {
	past := time.Unix(1, 0)
	got := make(chan bool, 1)
	go func() {
		one := make([]byte, 1)
		n, err := t.up.Read(one)
		t.head = one[:n]
		// An end without a word counts too: there is nobody left to fool.
		first := n > 0 || err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
		if first {
			_ = c.SetReadDeadline(past)
		}
		got <- first
	}()
	err := c.peek(time.Now().Add(s.cfg.Idle), func(b []byte) bool { return len(b) > 0 })
	_ = t.up.SetReadDeadline(past)
	first := <-got
	_ = t.up.SetReadDeadline(time.Time{})
	_ = c.SetReadDeadline(time.Time{})
	return first || err != nil
}

// deny ends a connection that speaks no protocol in which a reason could be
// told.
func (s *Server) deny(c *conn, d Dest, t *tunnel, err error) {
	s.refused(d, err)
	s.abandon(t, err)
	c.reset()
}

func (s *Server) denyTLS(c *conn, d Dest, t *tunnel, err error) {
	s.refused(d, err)
	s.abandon(t, err)
	alert(c, err)
}

// alert ends a connection before its TLS handshake: access_denied for what was
// refused, internal_error for what cannot be reached (RFC 8446, section 6.2).
func alert(c *conn, err error) {
	const fatal, accessDenied, internalError = 2, 49, 80
	code := byte(accessDenied)
	if fault.Is(err, fault.Unavailable) {
		code = internalError
	}
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write([]byte{21, 3, 3, 0, 2, fatal, code}) // whoever left misses nothing
	_ = c.Close()
}

// socksCode translates an error for a SOCKS client.
func socksCode(err error) byte {
	switch fault.KindOf(err) {
	case fault.Denied, fault.NeedsAsk, fault.Budget:
		return socksNotAllowed
	case fault.Unavailable:
		return socksUnreachable
	default:
		return socksFailure
	}
}
