package llmproxy

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/llmproxy/wire"
)

// hopByHop are the fields that end with the connection, besides those that
// Connection names.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// endToEnd gives a copy of the fields that travel on.
func endToEnd(in http.Header) http.Header {
	out := make(http.Header, len(in)+2)
	for k, v := range in {
		out[k] = slices.Clip(v)
	}
	for _, v := range in["Connection"] {
		for f := range strings.SplitSeq(v, ",") {
			out.Del(textproto.TrimString(f))
		}
	}
	for _, f := range hopByHop {
		delete(out, f)
	}
	return out
}

// forward sends the request on and its reply back.
func (x *exchange) forward() *halt {
	resp, err := x.send(x.outgoing())
	if err != nil {
		return x.unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }() // nothing is left to say about it
	return x.reply(resp)
}

// outgoing gives the bytes to send: the client's own, except that a Chat stream
// is asked to say what it used.
func (x *exchange) outgoing() []byte {
	if x.route.Op != wire.Generate || x.route.API != wire.Chat || !x.q.Stream || x.q.IncludeUsage {
		return x.body
	}
	with := wire.WithUsage(x.view, x.q)
	if len(with) != len(x.view) {
		x.r.Header.Del("Content-Encoding")
		return with
	}
	return x.body
}

// unsent tells that the upstream never got a request.
type unsent struct{ error }

// send makes the upstream's request and waits for the head of its reply.
func (x *exchange) send(body []byte) (*http.Response, error) {
	var wrote atomic.Bool
	ctx := httptrace.WithClientTrace(x.ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }})
	out := &http.Request{
		Method: x.r.Method, URL: x.address(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: x.headers(), ContentLength: int64(len(body)),
	}
	out.Host = out.URL.Host
	if len(body) > 0 {
		// A connection that was closed while idle is replaced by another; what
		// was sent once is never sent again, see headers.
		p := &payload{b: body}
		out.GetBody = p.open
		out.Body, _ = p.open()
		defer p.drop()
	}
	late := time.AfterFunc(x.p.cfg.HeadTimeout, x.cancel)
	resp, err := x.up.Transport.RoundTrip(out.WithContext(ctx))
	if !late.Stop() && err != nil && x.r.Context().Err() == nil && x.p.ctx.Err() == nil {
		err = fault.New("llmproxy.send", fault.Unavailable, "the upstream did not begin to reply within %s; try again", x.p.cfg.HeadTimeout)
	}
	x.out.reported = wrote.Load()
	if err != nil && !wrote.Load() {
		err = unsent{err}
	}
	return resp, err
}

// headers are the client's, without what ends here and with the upstream's key.
func (x *exchange) headers() http.Header {
	h := endToEnd(x.r.Header)
	for _, f := range []string{"Accept-Encoding", "Content-Length", "Expect", "Host"} {
		delete(h, f)
	}
	h["Accept-Encoding"] = []string{"identity"} // what cannot be read is not passed
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""}
	}
	// net/http repeats a request with this field when a connection breaks. One
	// permit is one request, so it is spelled in a way that it does not look for.
	for _, f := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := h[f]; ok {
			delete(h, f)
			h[strings.ToLower(f)] = v
		}
	}
	if x.up.Credential != nil {
		for _, f := range credentials {
			delete(h, f)
		}
		own := http.Header{}
		x.up.Credential(own)
		maps.Copy(h, own)
		x.keys = secretsOf(own)
	}
	return h
}

// address is where the request goes.
func (x *exchange) address() *url.URL {
	u := &url.URL{Scheme: x.up.Base.Scheme, Host: x.up.Base.Host, RawQuery: x.r.URL.RawQuery}
	if x.up.Credential != nil {
		u.RawQuery = without(u.RawQuery, "key")
	}
	if x.own {
		u.Path, u.RawPath = x.r.URL.Path, x.r.URL.RawPath
		return u
	}
	// RouteOf has refused every path with an escape in it.
	u.Path = joinPath(x.up.Base.Path, x.route)
	return u
}

// joinPath puts a route behind an upstream's base, which may end with a version
// as the vendors' own settings do.
func joinPath(base string, r wire.Route) string {
	base = strings.TrimRight(base, "/")
	if last := base[strings.LastIndexByte(base, '/')+1:]; isVersion(last) {
		return base + r.Path
	}
	version := r.Version
	if version == "" {
		version = "v1"
		if r.API == wire.Gemini {
			version = "v1beta"
		}
	}
	return base + "/" + version + r.Path
}

// isVersion tells "v1", "v4", "v1beta".
func isVersion(s string) bool {
	rest, ok := strings.CutPrefix(s, "v")
	rest = strings.TrimSuffix(strings.TrimSuffix(rest, "beta"), "alpha")
	_, err := strconv.ParseUint(rest, 10, 8)
	return ok && err == nil
}

// unreachable says that there is no reply.
func (x *exchange) unreachable(err error) *halt {
	if x.r.Context().Err() != nil {
		return &halt{outcome: outcomeCanceled, because: "the client went away"}
	}
	if x.p.ctx.Err() != nil {
		h := x.unavailable("the proxy is ending; send the request again")
		h.outcome = outcomeCanceled
		return h
	}
	public := "the upstream could not be reached, or broke off; try again"
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Public != "" {
		public = f.Public
	}
	x.p.cfg.Log.Warn("upstream", "name", x.up.Name, "error", err)
	x.p.limits.unanswered(x.who, x.digest, x.p.cfg.Now())
	h := unavailable(x.route.API, x.client, http.StatusBadGateway, public)
	h.outcome = outcomeUpstream
	return h
}

// begin copies the reply's head to the client's. The body's length is said only
// where it is known to hold.
func (x *exchange) begin(resp *http.Response, length int) {
	to := x.w.Header()
	for k, v := range endToEnd(resp.Header) {
		to[k] = x.keys.scrubAll(v)
	}
	for _, f := range []string{"Content-Length", "Alt-Svc", "Strict-Transport-Security"} {
		delete(to, f) // they speak of the upstream's own address
	}
	if length >= 0 {
		to.Set("Content-Length", strconv.Itoa(length))
	}
	x.out.status = resp.StatusCode
	x.w.WriteHeader(resp.StatusCode)
}

// secret is what must not come back: the upstream's key.
type secret [][]byte

// minSecret is the shortest value that is looked for.
const minSecret = 8

// secretsOf finds the keys among the fields that the credential set.
func secretsOf(h http.Header) secret {
	var out secret
	for _, vs := range h {
		for _, v := range vs {
			if i := strings.LastIndexByte(v, ' '); i >= 0 {
				v = v[i+1:]
			}
			if len(v) >= minSecret {
				out = append(out, []byte(v))
			}
		}
	}
	return out
}

const removed = "[removed]"

func (s secret) scrub(b []byte) []byte {
	for _, k := range s {
		if bytes.Contains(b, k) {
			b = bytes.ReplaceAll(b, k, []byte(removed))
		}
	}
	return b
}

func (s secret) scrubAll(vs []string) []string {
	for _, k := range s {
		for i, v := range vs {
			if strings.Contains(v, string(k)) {
				vs = append([]string(nil), vs...)
				vs[i] = strings.ReplaceAll(v, string(k), removed)
			}
		}
	}
	return vs
}

// longest gives the length of the longest secret.
func (s secret) longest() int {
	n := 0
	for _, k := range s {
		n = max(n, len(k))
	}
	return n
}

// reply treats the upstream's reply by its head.
func (x *exchange) reply(resp *http.Response) *halt {
	x.out.first, x.out.upstream = x.p.cfg.Now(), resp.StatusCode
	x.out.requestID = plain(firstOf(resp.Header, "Request-Id", "X-Request-Id", "X-Goog-Request-Id"), 128)
	x.out.reported = true
	kind, _, _ := strings.Cut(strings.ToLower(resp.Header.Get("Content-Type")), ";")
	kind = strings.TrimSpace(kind)
	events := kind == "text/event-stream"
	switch {
	case resp.StatusCode < 200 || resp.StatusCode >= 300 && resp.StatusCode < 400:
		x.out.reported = false
		return x.unreachable(fault.New("llmproxy.reply", fault.Unavailable, "the upstream answered with status %d, which is not followed; set its base URL to where it really is", resp.StatusCode))
	case resp.StatusCode >= 400:
		return x.relayError(resp)
	case len(resp.Header["Content-Type"]) > 1:
		return x.unreadable(errors.New("several content types"))
	}
	body, err := x.decoded(resp)
	if err != nil {
		return x.unreadable(err)
	}
	judged := x.carriesCalls()
	switch {
	case !judged && events:
		return x.unreadable(errors.New("a stream where none belongs"))
	case !judged:
		return x.relay(resp, body)
	case events || x.route.Array && x.q.Stream:
		return x.stream(resp, body)
	}
	return x.whole(resp, body)
}

// carriesCalls tells whether a client may act on what the reply holds. What was
// deleted, and what the client said itself, it will not.
func (x *exchange) carriesCalls() bool {
	switch x.route.Op {
	case wire.Generate, wire.Compact:
		return true
	case wire.Retrieve:
		return x.r.Method != http.MethodDelete && !strings.HasSuffix(x.route.Path, "/input_items")
	default:
		return false
	}
}

func firstOf(h http.Header, names ...string) string {
	for _, n := range names {
		if v := h.Get(n); v != "" {
			return v
		}
	}
	return ""
}

// decoded gives the reply's bytes without compression; the upstream was asked
// for none.
func (x *exchange) decoded(resp *http.Response) (io.Reader, error) {
	idle := &idleReader{x: x, r: resp.Body}
	switch e := strings.ToLower(strings.Join(resp.Header["Content-Encoding"], ",")); e {
	case "", "identity":
		return idle, nil
	case "gzip", "x-gzip":
		resp.Header.Del("Content-Encoding")
		return newGunzip(idle)
	default:
		return nil, errors.New("the encoding " + plain(e, 64) + " cannot be looked into")
	}
}

// unreadable refuses a reply that cannot be judged.
func (x *exchange) unreadable(err error) *halt {
	if x.ctx.Err() != nil {
		return x.unreachable(err)
	}
	if errors.Is(err, errNoRoom) {
		return x.unavailable(noRoom)
	}
	x.p.cfg.Log.Warn("unreadable reply", "name", x.up.Name, "error", err)
	public := "the upstream's reply cannot be read, so it was not passed on"
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Public != "" {
		public = "the upstream's reply was not passed on: " + f.Public
	}
	h := unavailable(x.route.API, x.client, http.StatusBadGateway, public)
	h.outcome = outcomeUpstream
	return h
}

// idleReader cuts an upstream that says nothing for too long.
type idleReader struct {
	x *exchange
	r io.Reader
	t *time.Timer
}

// errIdle is such a cut.
var errIdle = fault.New("llmproxy.read", fault.Unavailable, "the upstream stopped in the middle of its reply; send the request again")

// Read implements io.Reader.
func (i *idleReader) Read(p []byte) (int, error) {
	if i.t == nil {
		i.t = time.AfterFunc(i.x.p.cfg.UpstreamIdle, i.x.cancel)
	} else {
		i.t.Reset(i.x.p.cfg.UpstreamIdle)
	}
	n, err := i.r.Read(p)
	if !i.t.Stop() && err != nil && i.x.r.Context().Err() == nil && i.x.p.ctx.Err() == nil {
		err = errIdle
	}
	i.x.out.bytes.Add(int64(n))
	return n, err
}
