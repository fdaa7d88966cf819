package proxy

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"

	"sallyport/internal/fault"
)

const (
	maxHeader = 64 << 10 // bytes of the head of a request and of an answer
	maxTarget = 8 << 10  // bytes of a request's path and query, which whoever judges keeps
)

// ServeHTTP implements http.Handler for the requests of the sandbox.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.wg.Add(1)
	defer s.wg.Done()
	c, _ := r.Context().Value(connKey{}).(*conn)
	if c == nil {
		panic(http.ErrAbortHandler) // not one of our connections: nothing is known about it
	}
	if r.Method == http.MethodConnect && !c.fixed {
		s.connect(w, r, c)
		return
	}
	d, scheme, err := s.target(c, r)
	if err == nil {
		select {
		case s.hand <- struct{}{}:
			defer func() { <-s.hand }()
		default:
			err = refuse("max-requests", "more than %d requests at a time are not served; end some", s.cfg.MaxRequests)
		}
	}
	if err != nil {
		s.refused(d, err)
		sayDenied(w, r, err)
		return
	}
	keepWebSocketOnly(r)
	info := requestInfo(r, scheme)
	f := s.begin(r.Context(), d, info)
	defer s.end(f)
	r = r.WithContext(f.ctx)
	p, err := s.cfg.Judge.Request(r.Context(), d, info)
	if err == nil && p == nil {
		err = fault.New("proxy.request", fault.Internal, "the decision about %s is missing, so nothing was sent", d.hostport())
	}
	if err != nil {
		sayDenied(w, r, err)
		return
	}
	s.pass(w, r, &exchange{dest: d, scheme: scheme, passage: p, flight: f})
}

// target finds the one destination of a request, or the reason why it has
// none.
func (s *Server) target(c *conn, r *http.Request) (Dest, string, error) {
	d, scheme := c.dest, "http"
	if c.tls {
		scheme = "https"
	}
	if !c.fixed {
		// Absolute-form: the request itself says where.
		host, port, ok := split(r.URL.Host, 80)
		d = Dest{Program: c.program}
		if !ok || r.URL.Scheme != "http" {
			return d, scheme, refuse("proxy-target", "the proxy needs http://host/path or CONNECT host:port; %q is neither", clip(r.RequestURI))
		}
		d = s.dest(host, port, c.program)
		if d.Host != host {
			// A fake address in a URL is its name; the Host says the address.
			r.Host = d.authority(scheme)
		} else if !d.meant(r.Host) {
			return d, scheme, foreign(d, r.Host)
		}
	}
	if !c.tls && s.credentialed(d) {
		return d, scheme, refuse("plain-http", "a credential is bound to %s, which is sent over TLS only; use https", d.hostport())
	}
	if r.Method == http.MethodConnect || r.Method == "PRI" {
		return d, scheme, refuse("http-form", "HTTP/2 without TLS and CONNECT to a further proxy are not carried; use HTTP/1.1 or https to %s itself", d.hostport())
	}
	if err := sameHost(d, r, scheme, c.fixed); err != nil {
		return d, scheme, err
	}
	for h := range r.Header {
		if overrides[strings.ReplaceAll(strings.ToLower(h), "_", "-")] {
			return d, scheme, refuse("http-override", "the header %s makes some servers take the request for another one than was judged; send the method and the path that are meant", clip(h))
		}
	}
	if len(sentPath(r.URL))+len(r.URL.RawQuery) > maxTarget {
		return d, scheme, refuse("http-form", "path and query of a request are at most %d bytes together; send what is longer in its body", maxTarget)
	}
	if r.URL.User != nil || r.URL.Opaque != "" || !strings.HasPrefix(r.URL.EscapedPath(), "/") && r.URL.EscapedPath() != "" && (r.URL.Path != "*" || r.Method != http.MethodOptions) {
		return d, scheme, refuse("http-form", "the request target %q is no plain path; leave user names and other forms out", clip(r.RequestURI))
	}
	return d, scheme, nil
}

// overrides are the headers by which servers take another method or path than
// the first line says: what is behind would be a request that nobody judged.
var overrides = map[string]bool{
	"x-http-method-override": true, "x-http-method": true, "x-method-override": true,
	"x-original-url": true, "x-rewrite-url": true, "x-original-uri": true, "x-forwarded-uri": true, "x-original-method": true, "x-forwarded-method": true,
}

// sameHost refuses a request whose names for its host differ.
func sameHost(d Dest, r *http.Request, scheme string, fixed bool) error {
	if fixed && (r.URL.Host != "" || r.URL.Scheme != "") && (r.URL.Scheme != scheme || !d.meant(r.URL.Host)) {
		return foreign(d, r.URL.Scheme+"://"+r.URL.Host)
	}
	if r.Host == "" && r.ProtoAtLeast(1, 1) || r.Host != "" && !d.meant(r.Host) {
		return foreign(d, r.Host)
	}
	// HTTP/2 may carry a Host field beside its own.
	for _, h := range r.Header["Host"] {
		if !d.meant(h) {
			return foreign(d, h)
		}
	}
	return nil
}

func foreign(d Dest, host string) error {
	return refuse("http-host", "the request on a connection to %s is for the host %q; both must be the same (open a connection of its own for it)", d.hostport(), clip(host))
}

// keepWebSocketOnly takes other upgrades out of a request: behind them a
// server would accept requests that nobody judges (h2c). Clients go on in
// HTTP/1.1 then.
func keepWebSocketOnly(r *http.Request) {
	up := r.Header["Upgrade"]
	if len(up) == 1 && strings.EqualFold(up[0], "websocket") && r.Method == http.MethodGet && r.ProtoMajor == 1 && r.ContentLength == 0 {
		return
	}
	r.Header.Del("Upgrade")
	r.Header.Del("Http2-Settings")
}

// described are the fields a Judge sees: what a request is, not who sends it.
var described = []string{"Content-Type", "Content-Length", "Accept", "User-Agent", "Origin", "Upgrade"}

func requestInfo(r *http.Request, scheme string) *RequestInfo {
	i := &RequestInfo{Method: r.Method, Scheme: scheme, Path: sentPath(r.URL), Query: r.URL.RawQuery, Header: http.Header{}}
	for _, h := range described {
		if v := r.Header[h]; len(v) > 0 {
			i.Header[h] = append([]string(nil), v...)
		}
	}
	return i
}

// sentPath is what net/http writes as the path of a request.
func sentPath(u *url.URL) string {
	if p := u.EscapedPath(); p != "" {
		return p
	}
	return "/"
}

func (s *Server) credentialed(d Dest) bool {
	return s.cfg.Credentials != nil && s.cfg.Credentials.Bound(d.Host, d.Port)
}

// connect serves CONNECT: a destination by name, and whatever comes after it
// treated like a connection made to it.
func (s *Server) connect(w http.ResponseWriter, r *http.Request, c *conn) {
	host, port, ok := split(r.RequestURI, 0)
	if !ok || r.ProtoMajor != 1 || r.URL.User != nil {
		err := refuse("proxy-target", "CONNECT needs one host:port; %q is none", clip(r.RequestURI))
		s.refused(Dest{Program: c.program}, err)
		sayDenied(w, r, err)
		return
	}
	d := s.dest(host, port, c.program)
	level := s.level(d)
	var t *tunnel
	if level == LevelConnect {
		var err error
		if t, err = s.open(d); err != nil {
			sayDenied(w, r, err)
			return
		}
	}
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.abandon(t, err)
		return
	}
	// net/http gives back what it was given, and may have read ahead.
	own := client(raw)
	ahead, _ := buffered.Peek(buffered.Reader.Buffered())
	own.head = append(append([]byte(nil), ahead...), own.head...)
	if _, err := own.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
		s.abandon(t, err)
		own.reset()
		return
	}
	s.flow(own, d, level, t)
}

// dial connects while the proxy runs.
func (s *Server) dial(ctx context.Context, network, hostport string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	up, err := s.cfg.Dial(ctx, network, hostport)
	if err == nil && s.ctx.Err() != nil {
		_ = up.Close()
		return nil, s.ctx.Err()
	}
	return up, err
}
