package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Dest is where a connection wants to go.
type Dest struct {
	// Host is a name in lower case without final dot, or an address as netip
	// writes it.
	Host string
	Port uint16
	// Addr is the address that was asked for; invalid if a name was.
	Addr netip.AddrPort
	// Program made the connection, as Config.Program tells; may be empty.
	Program string
}

// RequestInfo is what a Judge sees of an HTTP request: exactly what will be
// sent, in the form in which it will be sent.
type RequestInfo struct {
	Method string
	Scheme string      // "http" or "https"
	Path   string      // percent-encoded as it travels, without the query
	Query  string      // without "?"
	Header http.Header // a copy of a few descriptive fields; no credentials
}

// Judge decides. An error refuses, and its public text and rule are what the
// program gets to read. Both methods may take long. The context of a request
// ends when the program gives up; that of a connection when the proxy ends,
// since a program may close its sending side and still wait.
type Judge interface {
	// Connect judges a connection of which nothing further will be seen.
	Connect(ctx context.Context, d Dest) (Passage, error)
	// Request judges one HTTP request.
	Request(ctx context.Context, d Dest, r *RequestInfo) (Passage, error)
}

// Passage is a permission in use. End is called exactly once.
type Passage interface{ End(Stats) }

// Stats is what became of a passage.
type Stats struct {
	Up, Down int64  // bytes of content towards the host and from it
	Status   int    // of an HTTP answer; 0 if there was none
	Addr     string // "ip:port" that was connected to; empty if none was
	Err      error  // nil if both sides ended in good order
}

// Ruled is an error that names the rule which refused.
type Ruled interface {
	error
	Rule() string
}

// Level says how closely a destination is looked at.
type Level int

// The levels.
const (
	LevelConnect Level = iota // one decision per connection; TLS stays closed
	LevelRequest              // one decision per HTTP request; TLS is opened
)

// Credentials puts secrets into requests and takes them out of answers.
type Credentials interface {
	// Bound tells whether a credential is bound to the host: then its requests
	// are looked at whatever Config.Level says.
	Bound(host string, port uint16) bool
	// Outgoing may change the request that is about to be sent to d; it was
	// judged. An error refuses it.
	Outgoing(ctx context.Context, d Dest, tls bool, r *http.Request) error
	// Incoming may change the answer's header and wrap its body.
	Incoming(d Dest, resp *http.Response) error
}

// Config describes a proxy. Dial, Level, Judge and Original are required.
type Config struct {
	// Dial makes every connection; egress.Dialer.DialContext.
	Dial func(ctx context.Context, network, hostport string) (net.Conn, error)
	// Level tells how closely a destination is looked at.
	Level func(Dest) Level
	Judge Judge
	// Names tells the name behind a fake address; nil if there are none.
	Names interface {
		Name(netip.Addr) (string, bool)
	}
	// Original tells which address a connection was made to; false if to the
	// proxy itself.
	Original func(net.Conn) (netip.AddrPort, bool)
	// Program tells which program made a connection, as it was accepted; may be
	// nil.
	Program func(net.Conn) string
	// RootCAs verifies servers at LevelRequest; nil means the system's.
	RootCAs *x509.CertPool
	// Authority opens TLS at LevelRequest; without one such TLS is refused.
	Authority *Authority
	// Credentials may be nil.
	Credentials Credentials
	// Watch may take a judged request over, at LevelRequest as anywhere else: it
	// answers w itself, sends what it sends through up, and returns true. False
	// means that it did nothing and the request takes its usual way. up is good
	// until Watch returns; it goes to the judged destination whatever the
	// request says, puts credentials in, counts, and takes them out of the
	// answer. It may be nil.
	Watch func(w http.ResponseWriter, r *http.Request, d Dest, up http.RoundTripper) bool
	// OnRefused hears of what the proxy refused by itself, without a Judge, as
	// often as a program tries. It may be nil and must not block.
	OnRefused func(Dest, error)
	// Log gets what net/http complains about; nil drops it.
	Log *slog.Logger

	// MaxConns bounds the connections served at a time; further ones are reset.
	// Default 1024.
	MaxConns int
	// MaxRequests bounds the requests in hand at a time, of all connections
	// together; further ones are refused. Each may hold its header in memory for
	// as long as a program likes. Default 1024.
	MaxRequests int
	// HeadTimeout bounds the wait for a first request, a ClientHello or a
	// request's header. Default 5 s.
	HeadTimeout time.Duration
	// SilentAfter is how long a program may say nothing before the destination
	// is asked whether it speaks first (SMTP, MySQL); not on the web's ports.
	// Default 300 ms.
	SilentAfter time.Duration
	// Idle ends a tunnel on which nothing passed either way for so long, up to
	// twice as late, and a kept-alive connection without a request. Default 1 h.
	Idle time.Duration
}

func (c *Config) defaults() error {
	if c.Dial == nil || c.Level == nil || c.Judge == nil || c.Original == nil {
		return errors.New("proxy.new: Dial, Level, Judge and Original are required")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 1024
	}
	if c.MaxRequests <= 0 {
		c.MaxRequests = 1024
	}
	for d, v := range map[*time.Duration]time.Duration{
		&c.HeadTimeout: 5 * time.Second, &c.SilentAfter: 300 * time.Millisecond, &c.Idle: time.Hour,
	} {
		if *d <= 0 {
			*d = v
		}
	}
	return nil
}
