package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/fault"
)

// tunnel is an open connection to a destination and the permission for it.
type tunnel struct {
	up      net.Conn
	head    []byte // came from the destination already
	passage Passage
	flight  *flight
}

// open has a connection judged and makes it.
func (s *Server) open(d Dest) (*tunnel, error) {
	f := s.begin(s.ctx, d, nil)
	p, err := s.cfg.Judge.Connect(f.ctx, d)
	if err == nil && p == nil {
		err = fault.New("proxy.connect", fault.Internal, "the decision about %s is missing, so nothing was connected", d.hostport())
	}
	if err != nil {
		s.end(f)
		return nil, err
	}
	up, err := s.dial(f.ctx, "tcp", d.hostport())
	if err == nil {
		err = f.carry(up)
	}
	if err != nil {
		if cut := f.err(); cut != nil {
			err = cut // not the end of the dialling that it caused
		}
		s.end(f)
		p.End(Stats{Err: err})
		return nil, err
	}
	return &tunnel{up: up, passage: p, flight: f}, nil
}

// abandon ends a tunnel through which nothing was sent. A nil tunnel is none.
func (s *Server) abandon(t *tunnel, err error) {
	if t == nil {
		return
	}
	s.end(t.flight)
	abort(t.up)
	t.passage.End(Stats{Addr: t.up.RemoteAddr().String(), Err: err})
}

// splice carries bytes both ways until both sides have ended, and closes the
// connections. Between two TCP sockets the kernel does the copying.
func (s *Server) splice(c *conn, t *tunnel) {
	stop := context.AfterFunc(s.ctx, func() {
		abort(c.Conn)
		abort(t.up)
	})
	_ = t.flight.carry(c.Conn) // one that was cut fails at its first read
	var last atomic.Int64      // when something last passed, in nanoseconds
	last.Store(time.Now().UnixNano())
	var up, down int64
	var upErr, downErr error
	var wg sync.WaitGroup
	wg.Go(func() { up, upErr = s.pump(t.up, c.Conn, c.head, &last) })
	down, downErr = s.pump(c.Conn, t.up, t.head, &last)
	wg.Wait()
	stop()
	_ = t.up.Close()
	_ = c.Close()
	s.end(t.flight)
	t.passage.End(Stats{Up: up, Down: down, Addr: t.up.RemoteAddr().String(), Err: errors.Join(t.flight.err(), upErr, downErr)})
}

// pumped is how much passes before the clock is looked at.
const pumped = 4 << 20

// pump copies first and then src to dst and passes the end on. An error resets
// both, so that neither side takes a part for the whole.
func (s *Server) pump(dst, src net.Conn, first []byte, last *atomic.Int64) (int64, error) {
	var total int64
	err := func() error {
		if len(first) > 0 {
			n, err := dst.Write(first)
			total = int64(n)
			if err != nil {
				return err
			}
		}
		for {
			// What passed the other way is told when its own wait ends, half of
			// Idle late at most.
			if err := src.SetReadDeadline(time.Now().Add(s.cfg.Idle / 2)); err != nil {
				return err
			}
			n, err := io.Copy(dst, io.LimitReader(src, pumped))
			total += n
			if n > 0 {
				last.Store(time.Now().UnixNano())
			}
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				if time.Since(time.Unix(0, last.Load())) >= s.cfg.Idle+s.cfg.Idle/2 {
					return err
				}
			case err != nil:
				return err
			case n < pumped:
				return nil
			}
		}
	}()
	if w, ok := dst.(interface{ CloseWrite() error }); ok && err == nil {
		err = w.CloseWrite()
	}
	if err != nil {
		abort(dst)
		abort(src)
	}
	return total, err
}
