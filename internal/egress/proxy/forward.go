package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/fault"
)

// exchange is one judged request and its answer.
type exchange struct {
	dest    Dest
	scheme  string
	passage Passage
	flight  *flight

	up, down atomic.Int64
	status   atomic.Int64
	mu       sync.Mutex
	addr     string
	err      error // the first
}

type exchangeKey struct{}

func (x *exchange) fail(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err == nil {
		x.err = err
	}
}

// errCut is an exchange that ended before its answer did.
var errCut = errors.New("the exchange was cut off")

// pass sends a judged request and ends its passage.
func (s *Server) pass(w http.ResponseWriter, r *http.Request, x *exchange) {
	done := false
	defer func() {
		if !done {
			x.fail(errCut) // the panic with which net/http is told
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		x.passage.End(Stats{Up: x.up.Load(), Down: x.down.Load(), Status: int(x.status.Load()), Addr: x.addr, Err: x.err})
	}()
	ctx := context.WithValue(r.Context(), exchangeKey{}, x)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.addr = i.Conn.RemoteAddr().String()
	}})
	w.Header()["Content-Type"] = nil // none but the host's; net/http would guess
	if s.credentialed(x.dest) {
		w = quiet{w}
	}
	r = r.WithContext(ctx)
	if s.cfg.Watch == nil || !s.cfg.Watch(w, r, x.dest, onward{s, x}) {
		s.forward.ServeHTTP(w, r)
	}
	done = true
}

// onward is the way out that Watch is given.
type onward struct {
	s *Server
	x *exchange
}

// RoundTrip implements http.RoundTripper.
func (o onward) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(context.WithValue(r.Context(), exchangeKey{}, o.x))
	r.URL.Scheme, r.URL.Host, r.URL.User = o.x.scheme, o.x.dest.authority(o.x.scheme), nil
	r.Host = r.URL.Host
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &counted{ReadCloser: r.Body, n: &o.x.up, fail: o.x.fail, cut: o.x.flight.err}
	}
	resp, err := outgoing{o.s}.RoundTrip(r)
	if err != nil {
		o.x.fail(err)
		return nil, err
	}
	if err := o.s.incoming(resp); err != nil {
		o.x.fail(err)
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}

// quiet drops informational answers: credentials are taken out of final
// answers only.
type quiet struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (q quiet) WriteHeader(code int) {
	if code >= 200 || code == http.StatusSwitchingProtocols {
		q.ResponseWriter.WriteHeader(code)
		return
	}
	clear(q.Header())
}

// Unwrap lets http.ResponseController through.
func (q quiet) Unwrap() http.ResponseWriter { return q.ResponseWriter }

func (s *Server) transport() *http.Transport {
	return &http.Transport{
		Proxy:                  nil, // never from the environment
		DialContext:            s.dialKept,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.cfg.RootCAs},
		TLSHandshakeTimeout:    10 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 4 * maxHeader,
		MaxConnsPerHost:        s.cfg.MaxConns,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        30 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // the program's business
	}
}

// kept is a connection that outlives the request it was made for.
type kept struct {
	net.Conn
	unwatch func() bool
}

// Close implements net.Conn.
func (k *kept) Close() error {
	k.unwatch()
	return k.Conn.Close()
}

// dialKept makes a connection that ends with the proxy at the latest.
func (s *Server) dialKept(ctx context.Context, network, hostport string) (net.Conn, error) {
	up, err := s.dial(ctx, network, hostport)
	if err != nil {
		return nil, err
	}
	return &kept{up, context.AfterFunc(s.ctx, func() { _ = up.Close() })}, nil
}

func (s *Server) reverseProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      outgoing{s},
		ModifyResponse: s.incoming,
		ErrorHandler:   unreachable,
		FlushInterval:  -1, // what the host sends arrives when it sends it
		BufferPool:     &buffers{},
		ErrorLog:       slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
}

// rewrite makes the request that is sent: to the destination that was judged,
// otherwise as the program wrote it.
func rewrite(p *httputil.ProxyRequest) {
	x := exchangeOf(p.In.Context())
	p.Out.URL.Scheme, p.Out.URL.Host, p.Out.URL.User = x.scheme, x.dest.authority(x.scheme), nil
	p.Out.URL.RawQuery = p.In.URL.RawQuery
	p.Out.Host = p.Out.URL.Host
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v, ok := p.In.Header[h]; ok && !nominated(p.In.Header, h) {
			p.Out.Header[h] = v
		}
	}
	// The trailer's values arrive with the end of the body, in the map of the
	// request that is read.
	p.Out.Trailer = p.In.Trailer
	if p.Out.Body != nil && p.Out.Body != http.NoBody {
		p.Out.Body = &counted{ReadCloser: p.Out.Body, n: &x.up, fail: x.fail, cut: x.flight.err}
	}
}

// nominated tells a field that Connection calls hop-by-hop.
func nominated(h http.Header, field string) bool {
	for _, v := range h["Connection"] {
		for f := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(textproto.TrimString(f), field) {
				return true
			}
		}
	}
	return false
}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// ruleWebSocket refuses a WebSocket to a host that a credential is bound to.
const ruleWebSocket = "websocket-credential"

// outgoing is the last step before a request leaves.
type outgoing struct{ s *Server }

// RoundTrip implements http.RoundTripper.
func (o outgoing) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	if o.s.cfg.Credentials != nil {
		if r.Header.Get("Upgrade") != "" && o.s.credentialed(x.dest) {
			return nil, refuse(ruleWebSocket, "a credential is bound to %s, and nothing takes it out of what a WebSocket sends back; use plain requests", x.dest.hostport())
		}
		if err := o.s.cfg.Credentials.Outgoing(r.Context(), x.dest, x.scheme == "https", r); err != nil {
			return nil, err
		}
	}
	return o.s.outside.RoundTrip(r)
}

// incoming looks at an answer before the program does.
func (s *Server) incoming(resp *http.Response) error {
	x := exchangeOf(resp.Request.Context())
	x.status.Store(int64(resp.StatusCode))
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// That the protocol is the one asked for, ReverseProxy checks next.
		rw, ok := resp.Body.(io.ReadWriteCloser)
		if !ok {
			return fault.New("proxy.answer", fault.Unavailable, "%s changed the protocol without being asked; the connection was ended", x.dest.hostport())
		}
		resp.Body = &countedBoth{counted{ReadCloser: rw, n: &x.down, fail: x.fail, cut: x.flight.err}, rw, &x.up}
		return nil
	}
	resp.Body = &counted{ReadCloser: resp.Body, n: &x.down, fail: x.fail, cut: x.flight.err}
	if len(resp.Trailer) > 0 {
		resp.Header.Del("Content-Length") // HTTP/1.1 has trailers behind chunks only
	}
	if s.cfg.Credentials != nil {
		return s.cfg.Credentials.Incoming(x.dest, resp)
	}
	return nil
}

// unreachable tells the program why there is no answer.
func unreachable(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	x.fail(err)
	if cut := x.flight.err(); cut != nil {
		err = cut
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		err = broken("the host's TLS certificate could not be verified; check the name, or add its authority to the run's roots", err)
	} else if _, ok := errors.AsType[*fault.Error](err); !ok {
		err = broken("the host broke off or answered with something that is no HTTP; try again or check its address", err)
	}
	sayDenied(w, r, err)
}

func broken(public string, err error) error {
	return &fault.Error{Op: "proxy.forward", Kind: fault.Unavailable, Public: public, Err: err}
}

// counted counts what is read and keeps the error that ends it early. What is
// read while the flight is cut goes nowhere.
type counted struct {
	io.ReadCloser
	n    *atomic.Int64
	fail func(error)
	cut  func() error
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if cut := c.cut(); cut != nil {
		c.fail(cut)
		return 0, cut
	}
	c.n.Add(int64(n))
	// A host may answer without having heard all; net/http closes the rest.
	if err != nil && err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) {
		c.fail(err)
	}
	return n, err
}

// countedBoth is an upgraded connection.
type countedBoth struct {
	counted
	w io.Writer
	n *atomic.Int64
}

// Write implements io.Writer.
func (c *countedBoth) Write(p []byte) (int, error) {
	if err := c.cut(); err != nil {
		return 0, err
	}
	n, err := c.w.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// buffers lends the copying loops their memory.
type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 128<<10)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
