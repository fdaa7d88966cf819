package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"syscall"
	"time"
)

// Server is the proxy of one sandbox.
type Server struct {
	cfg     Config
	http    *http.Server
	handed  *accepted // connections that net/http serves
	forward *httputil.ReverseProxy
	outside *http.Transport

	ctx  context.Context //nolint:containedctx // ends with Serve; what outlives a request's own context needs it
	stop context.CancelFunc
	wg   sync.WaitGroup // connections and handlers
	free chan struct{}  // one element per connection
	hand chan struct{}  // one element per request

	flights flights
}

// New makes a proxy; it serves once.
func New(cfg Config) (*Server, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, handed: newAccepted(), free: make(chan struct{}, cfg.MaxConns), hand: make(chan struct{}, cfg.MaxRequests)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.outside = s.transport()
	s.forward = s.reverseProxy()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: cfg.HeadTimeout,
		IdleTimeout:       cfg.Idle,
		MaxHeaderBytes:    maxHeader,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100},
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, client(c))
		},
		// "OPTIONS *" is the destination's to answer.
		DisableGeneralOptionsHandler: true,
	}
	return s, nil
}

type connKey struct{}

// Serve serves what the listeners accept until ctx ends or a listener fails.
// It closes the listeners and every connection, and returns when nothing of it
// runs any more. The error is nil if ctx ended.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	defer context.AfterFunc(ctx, s.stop)()
	var loops sync.WaitGroup
	errs := make(chan error, len(listeners)+1)
	loops.Go(func() { errs <- s.http.Serve(s.handed); s.stop() })
	for _, l := range listeners {
		defer context.AfterFunc(s.ctx, func() { _ = l.Close() })()
		loops.Go(func() { errs <- s.accept(l); s.stop() })
	}
	<-s.ctx.Done()
	_ = s.handed.Close()
	_ = s.http.Close()
	loops.Wait()
	s.wg.Wait()
	s.outside.CloseIdleConnections()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // being told to end is no failure
	}
	close(errs)
	var all []error
	for err := range errs {
		if !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

func (s *Server) accept(l net.Listener) error {
	for {
		raw, err := l.Accept()
		switch {
		case err == nil:
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
			// A flood of connections must not end the service for good.
			select {
			case <-time.After(50 * time.Millisecond):
			case <-s.ctx.Done():
			}
			continue
		default:
			return fmt.Errorf("proxy.accept: %w", err)
		}
		select {
		case s.free <- struct{}{}:
		default:
			s.refused(Dest{}, refuse("max-conns", "more than %d connections at a time are not served; end some", s.cfg.MaxConns))
			abort(raw)
			continue
		}
		s.wg.Add(1)
		c := &conn{Conn: raw}
		// Being told to end closes the socket; whoever serves it notices.
		unwatch := context.AfterFunc(s.ctx, func() { _ = raw.Close() })
		c.done = func() { unwatch(); <-s.free; s.wg.Done() }
		go s.serve(c)
	}
}

// serve finds out what a connection is for.
func (s *Server) serve(c *conn) {
	if s.cfg.Program != nil {
		c.program = s.cfg.Program(c.Conn)
	}
	deadline := time.Now().Add(s.cfg.HeadTimeout)
	if addr, ok := s.cfg.Original(c.Conn); ok {
		d := s.dest(addr.Addr().Unmap().String(), addr.Port(), c.program)
		d.Addr = addr
		s.flow(c, d, s.level(d), nil)
		return
	}
	// Spoken to the proxy itself.
	kind, err := c.sniff(deadline)
	switch kind {
	case protoHTTP:
		s.handed.give(c)
	case protoSOCKS:
		s.socks(c, deadline)
	default:
		s.refused(Dest{Program: c.program}, errors.Join(refuse("proxy-protocol", "the proxy understands HTTP and SOCKS version 5; this is neither"), err))
		c.reset()
	}
}

// socks serves a SOCKS connection.
func (s *Server) socks(c *conn, deadline time.Time) {
	_ = c.SetDeadline(deadline) // a socket that takes no deadline fails at the read
	host, port, err := readSOCKS(c)
	d := s.dest(host, port, c.program)
	if err != nil {
		if code, ok := errors.AsType[socksError](err); ok {
			_ = replySOCKS(c, byte(code)) // it ends here either way
		}
		s.refused(Dest{Program: c.program}, errors.Join(refuse("proxy-protocol", "the SOCKS request was not understood: a host name or address and a port are needed"), err))
		_ = c.Close()
		return
	}
	_ = c.SetDeadline(time.Time{})
	level := s.level(d)
	var t *tunnel
	if level == LevelConnect {
		if t, err = s.open(d); err != nil {
			_ = replySOCKS(c, socksCode(err))
			_ = c.Close()
			return
		}
	}
	if err := replySOCKS(c, socksOK); err != nil {
		s.abandon(t, err)
		_ = c.Close()
		return
	}
	s.flow(c, d, level, t)
}

// refused tells the hook of a denial that no Judge saw.
func (s *Server) refused(d Dest, err error) {
	if s.cfg.OnRefused != nil {
		s.cfg.OnRefused(d, err)
	}
}
