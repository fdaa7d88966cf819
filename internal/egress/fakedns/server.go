package fakedns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Options describe what is answered.
type Options struct {
	// Allowed tells whether some rule could permit a connection to this name,
	// given in lower case without its final dot. It is asked for every question,
	// so a grant counts at once. Required.
	Allowed func(name string) bool
	// OnDenied hears of names that were refused, escaped when they are no names,
	// and of how many refusals were left out since it was last called: at most
	// DeniedPerSecond are told. It may be nil and must not block.
	OnDenied func(name string, missed int)
	// NoIPv6 leaves AAAA questions without data, for sandboxes without IPv6.
	NoIPv6 bool
}

// DeniedPerSecond bounds the calls of Options.OnDenied.
const DeniedPerSecond = 20

const (
	maxMessage = 4096             // bytes of a question; one name needs 300
	maxStreams = 32               // TCP connections at a time, per listener
	streamIdle = 10 * time.Second // a TCP connection without a question ends
)

// Server answers the questions of one sandbox. It is safe for concurrent use.
type Server struct {
	opts  Options
	table *table

	mu     sync.Mutex
	second time.Time // start of the second that told counts
	told   int
	missed int
}

// New makes a server with an empty table.
func New(o Options) *Server {
	return &Server{opts: o, table: newTable(MaxNames)}
}

// Name gives the name behind a fake address; false for every other address and
// for fake ones that were never handed out.
func (s *Server) Name(a netip.Addr) (string, bool) { return s.table.name(a) }

// Serve answers until ctx ends or a listener fails, closes all it was given
// and returns when nothing of it runs any more. The error is nil if ctx ended.
func (s *Server) Serve(ctx context.Context, udp []net.PacketConn, tcp []net.Listener) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, len(udp)+len(tcp))
	for _, c := range udp {
		defer context.AfterFunc(inner, func() { _ = c.Close() })()
		wg.Go(func() { errs <- s.packets(c); cancel() })
	}
	for _, l := range tcp {
		defer context.AfterFunc(inner, func() { _ = l.Close() })()
		wg.Go(func() { errs <- s.streams(inner, l); cancel() })
	}
	<-inner.Done()
	wg.Wait()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // being told to end is no failure
	}
	close(errs)
	var all []error
	for err := range errs {
		if !errors.Is(err, net.ErrClosed) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// packets answers one question after the other: an answer takes microseconds
// and no I/O, so a queue in the kernel is the fair bound.
func (s *Server) packets(c net.PacketConn) error {
	buf := make([]byte, maxMessage)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("fakedns.serve: %w", err)
		}
		if out := s.answer(buf[:n]); out != nil {
			_, _ = c.WriteTo(out, from) // who asked is gone: nobody to tell
		}
	}
}

func (s *Server) streams(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	free := make(chan struct{}, maxStreams)
	for {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("fakedns.serve: %w", err)
		}
		select {
		case free <- struct{}{}:
		default:
			_ = c.Close() // the program asks too much at a time
			continue
		}
		wg.Go(func() {
			defer func() { <-free }()
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			defer func() { _ = c.Close() }()
			s.stream(c)
		})
	}
}

// stream answers the questions of one TCP connection, each with its length in
// front (RFC 1035, 4.2.2).
func (s *Server) stream(c net.Conn) {
	buf := make([]byte, maxMessage)
	for {
		if c.SetDeadline(time.Now().Add(streamIdle)) != nil {
			return
		}
		if _, err := io.ReadFull(c, buf[:2]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(buf))
		if n > maxMessage {
			return
		}
		if _, err := io.ReadFull(c, buf[:n]); err != nil {
			return
		}
		out := s.answer(buf[:n])
		if out == nil {
			return
		}
		framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(out)), uint16(len(out))) //nolint:gosec // one question and one record
		if _, err := c.Write(append(framed, out...)); err != nil {
			return
		}
	}
}

// denied tells the hook, not more often than bounded.
func (s *Server) denied(name string) {
	if s.opts.OnDenied == nil {
		return
	}
	s.mu.Lock()
	now := time.Now()
	if now.Sub(s.second) >= time.Second {
		s.second, s.told = now, 0
	}
	tell, missed := s.told < DeniedPerSecond, s.missed
	if tell {
		s.told++
		s.missed = 0
	} else {
		s.missed++
	}
	s.mu.Unlock()
	if tell {
		s.opts.OnDenied(name, missed)
	}
}
