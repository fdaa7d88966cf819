package proxy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// flight is one connection or request on its way to a destination, from before
// it is judged until nothing of it can be sent any more.
type flight struct {
	dest    Dest
	request *RequestInfo // nil for a connection

	ctx  context.Context //nolint:containedctx // ends when the flight is cut
	stop context.CancelFunc
	cut  atomic.Bool

	mu    sync.Mutex
	conns []net.Conn // of a connection: both of its sides
}

// flights are all of a server's. They are entered before they are judged, so
// that none which was permitted earlier is missed.
type flights struct {
	mu  sync.Mutex
	all map[*flight]struct{}
}

func (s *Server) begin(ctx context.Context, d Dest, r *RequestInfo) *flight {
	f := &flight{dest: d, request: r}
	f.ctx, f.stop = context.WithCancel(ctx)
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	if s.flights.all == nil {
		s.flights.all = map[*flight]struct{}{}
	}
	s.flights.all[f] = struct{}{}
	return f
}

// end forgets a flight of which nothing is left.
func (s *Server) end(f *flight) {
	f.stop()
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	delete(s.flights.all, f)
}

// carry says that a connection carries the flight. One that was cut meanwhile
// takes the connection with it.
func (f *flight) carry(c net.Conn) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut.Load() {
		abort(c)
		return f.err()
	}
	f.conns = append(f.conns, c)
	return nil
}

func (f *flight) err() error {
	if f == nil || !f.cut.Load() {
		return nil
	}
	return refuse("cut", "what was under way to %s was cut off, because more is known in this session now than %s may hear", f.dest.hostport(), f.dest.Host)
}

// Cut ends what is under way to destinations that keep does not hold to any
// more: open connections, requests whose body is still being sent, answers that
// still arrive, and what is being judged or dialled at this moment. keep sees
// the request, or nil for a connection. Connections that wait for requests are
// closed. When Cut returns, no byte that a program writes from then on leaves on
// anything that was permitted before; what is begun afterwards is judged anew.
func (s *Server) Cut(keep func(d Dest, r *RequestInfo) bool) (ended int) {
	s.flights.mu.Lock()
	all := make([]*flight, 0, len(s.flights.all))
	for f := range s.flights.all {
		all = append(all, f)
	}
	s.flights.mu.Unlock()
	for _, f := range all {
		if keep(f.dest, f.request) {
			continue
		}
		f.mu.Lock()
		f.cut.Store(true) // from here on bodies are not read on
		for _, c := range f.conns {
			abort(c)
		}
		f.mu.Unlock()
		f.stop()
		ended++
	}
	s.outside.CloseIdleConnections()
	return ended
}
