package llm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/llm/sse"
)

// Options tunes a client; the zero value is the documented defaults.
type Options struct {
	Plain bool // ask for whole replies instead of streams

	Total     time.Duration // of a whole Complete, retries and waits included; default 10 min
	FirstByte time.Duration // from sending to the first byte of the body; default 2 min
	Idle      time.Duration // between two pieces of a reply; default 1 min

	Attempts   int           // most attempts, 1..20; default 5
	Backoff    time.Duration // the first wait; doubles; default 500 ms
	BackoffMax time.Duration // the longest wait of our own choice; default 30 s
	// RetryAfterMax is the longest wait a provider may ask for; a longer one
	// ends the call with an error that names it. Default 60 s.
	RetryAfterMax time.Duration
	// NoRetryUnsettled gives up instead of repeating a call that the provider
	// may already charge for: it was sent, but no reply came. For callers that
	// reserve the price of exactly one call.
	NoRetryUnsettled bool

	Limits Limits
	// Random gives a number in [0,1) for the jitter; default math/rand.
	Random func() float64
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.Total, 10*time.Minute)
	def(&o.FirstByte, 2*time.Minute)
	def(&o.Idle, time.Minute)
	def(&o.Backoff, 500*time.Millisecond)
	def(&o.BackoffMax, 30*time.Second)
	def(&o.RetryAfterMax, time.Minute)
	if o.Attempts <= 0 {
		o.Attempts = 5
	}
	o.Attempts = min(o.Attempts, 20)
	if o.Random == nil {
		o.Random = rand.Float64
	}
	o.Limits = o.Limits.withDefaults()
	return o
}

// Causes of our own for ending an attempt.
var (
	errTotal     = errors.New("the total time is used up")
	errFirstByte = errors.New("no reply came in time")
	errIdle      = errors.New("the reply paused for too long")
)

// client is the shared half of every provider.
type client struct {
	codec Codec
	ep    Endpoint
	doer  Doer
	opt   Options
	// exposed says that everything sent can be read on the way, so that a key
	// that appears later must not be sent either.
	exposed bool
}

// New makes a client of an endpoint. The doer must not follow redirects. It is an error (fault.Config) if the
// endpoint's address is not a plain http(s) URL, or if a key would travel
// unencrypted to another machine.
func New(codec Codec, ep Endpoint, doer Doer, opt Options) (Client, error) {
	if ep.BaseURL == "" {
		ep.BaseURL = codec.DefaultBase()
	}
	ep.BaseURL = strings.TrimRight(ep.BaseURL, "/")
	u, err := url.Parse(ep.BaseURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.New("llm.new", fault.Config,
			"the base URL of the model provider %s must be http:// or https:// with a host, and without user, query or fragment", ep.Provider)
	}
	c := &client{codec: codec, ep: ep, doer: doer, opt: opt.withDefaults()}
	c.exposed = u.Scheme == "http" && !ep.KeyInClear && !isLoopback(u.Hostname())
	if c.exposed && ep.Key != nil && (!ep.KeyOptional || ep.Key() != "") {
		return nil, c.inClear()
	}
	return c, nil
}

func (c *client) inClear() error {
	return fault.New("llm.key", fault.Config,
		"the key of the model provider %s would travel unencrypted to %s; use https, or allow it explicitly for this endpoint", c.ep.Provider, c.ep.BaseURL)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// Complete performs the call with retries, see Client.
func (c *client) Complete(ctx context.Context, r Request, onText func(string)) (Response, error) {
	if r.Model == "" {
		r.Model = c.ep.Model
	}
	if c.ep.Model != "" && r.Model != c.ep.Model {
		return Response{}, fault.New("llm.complete", fault.Config,
			"the request names the model %q, but this endpoint of %s is for %q", clip(r.Model, 60), c.ep.Provider, c.ep.Model)
	}
	if err := r.Validate(); err != nil {
		return Response{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.opt.Total, errTotal)
	defer cancel()
	unsettled := 0
	for n := 1; ; n++ {
		a := &attempt{client: c, req: r, build: NewBuilder(c.opt.Limits, onText)}
		err := a.run(ctx)
		resp := a.build.Response()
		resp.RequestID, resp.Attempts = a.requestID, n
		if err == nil {
			resp.Unsettled = unsettled
			return resp, nil
		}
		if a.unsettled() {
			unsettled++
		}
		resp.Unsettled = unsettled
		wait, again := c.again(a, n)
		if !again || ctx.Err() != nil {
			return resp, a.fail(ctx, err, n)
		}
		if !pause(ctx, wait) {
			return resp, a.fail(ctx, err, n)
		}
	}
}

// again tells whether attempt n may be repeated, and after which wait.
func (c *client) again(a *attempt, n int) (time.Duration, bool) {
	if !a.retry || n >= c.opt.Attempts || a.build.delivered() || a.build.Calls() > 0 {
		return 0, false
	}
	if a.unsettled() && c.opt.NoRetryUnsettled {
		return 0, false
	}
	if a.retryAfter > c.opt.RetryAfterMax {
		return 0, false
	}
	// Half of the wait is fixed and half is random: enough spread to part
	// clients that failed together, and never an immediate repetition.
	ceiling := min(c.opt.Backoff<<min(n-1, 16), c.opt.BackoffMax)
	wait := ceiling/2 + time.Duration(c.opt.Random()*float64(ceiling/2))
	return max(wait, a.retryAfter), true
}

// pause waits, or gives up at once if the wait would outlive ctx.
func pause(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attempt is one HTTP exchange.
type attempt struct {
	*client
	req        Request
	build      *Builder
	key        string
	status     int
	requestID  string
	problem    Problem
	retry      bool
	retryAfter time.Duration
	sent       atomic.Bool // the request's header left this machine
	free       bool        // the provider refused before doing any work
	cancel     context.CancelCauseFunc
	dog        *time.Timer
	started    atomic.Bool // a byte of the body came
}

// unsettled says that the provider may charge for this failed attempt without
// having reported figures.
func (a *attempt) unsettled() bool { return a.sent.Load() && !a.free && !a.build.resp.UsageKnown }

func (a *attempt) run(ctx context.Context) error {
	if a.ep.Key != nil {
		a.key = a.ep.Key()
	}
	if a.key == "" && !a.ep.KeyOptional {
		return a.missingKey()
	}
	if a.key != "" && a.exposed {
		return a.inClear()
	}
	if strings.ContainsFunc(a.key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return fault.New("llm.complete", fault.Config, "the key in %s holds a space, a line break or a character that is not ASCII: set it without", a.keyName())
	}
	call, err := a.codec.Encode(a.ep, a.req, !a.opt.Plain, a.key)
	if err != nil {
		return err
	}
	actx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a.cancel = cancel
	// The dog is started before the connection and moved by every read.
	a.dog = time.AfterFunc(a.opt.FirstByte, func() {
		if a.started.Load() {
			cancel(errIdle)
			return
		}
		cancel(errFirstByte)
	})
	defer a.dog.Stop()
	resp, err := a.send(actx, call)
	if err != nil {
		a.retry = true
		if cause := context.Cause(actx); cause != nil {
			return cause
		}
		// A refusal by the dialer is a decision, not a fault of the network.
		var refused *fault.Error
		if errors.As(err, &refused) && refused.Kind == fault.Denied {
			a.retry = false
			return refused
		}
		return a.scrubbed(transportCause(err))
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end or given up
	a.status = resp.StatusCode
	a.findRequestID(resp.Header)
	body := &watched{r: resp.Body, a: a, ctx: actx}
	if resp.StatusCode != http.StatusOK {
		return a.refused(resp, body)
	}
	if isEventStream(resp.Header) {
		return a.stream(body)
	}
	return a.plain(body)
}

func (a *attempt) send(ctx context.Context, call Call) (*http.Response, error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { a.sent.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.ep.BaseURL+call.Path, bytes.NewReader(call.Body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "sallyport")
	req.Header.Set("Accept", "application/json")
	if !a.opt.Plain {
		req.Header.Set("Accept", "text/event-stream, application/json")
	}
	for k, v := range call.Header {
		req.Header.Set(k, v)
	}
	resp, err := a.doer.Do(req)
	if err == nil {
		a.sent.Store(true)
	}
	return resp, err
}

func isEventStream(h http.Header) bool {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(media), "text/event-stream")
}

// stream reads a streamed reply. The answer's own content type decides, since
// some compatible servers ignore the wish.
func (a *attempt) stream(body io.Reader) error {
	lim := a.opt.Limits
	events := sse.NewReader(body, sse.Limits{Line: lim.Event, Event: lim.Event, Total: lim.Body})
	dec := a.codec.Decoder()
	for count := 0; ; count++ {
		ev, err := events.Next()
		if err != nil {
			// Nothing at all came: the same as a lost connection.
			a.retry = events.Total() == 0
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				if end := dec.End(a.build); end != nil {
					return fmt.Errorf("the reply broke off after %d events and %d bytes", count, events.Total())
				}
				return nil
			}
			return a.readCause(err)
		}
		done, err := dec.Event(ev.Name, ev.Data, a.build)
		if err != nil {
			return a.decodeCause(err)
		}
		if done {
			return nil
		}
	}
}

func (a *attempt) plain(body io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(body, a.opt.Limits.Body+1))
	if err != nil {
		a.retry = len(data) == 0
		return a.readCause(err)
	}
	if int64(len(data)) > a.opt.Limits.Body {
		return fmt.Errorf("the reply exceeds %d bytes", a.opt.Limits.Body)
	}
	if err := a.codec.Decoder().Plain(data, a.build); err != nil {
		return a.decodeCause(err)
	}
	return nil
}

// watched moves the watchdog with every piece of the body, and ends reads of a
// cancelled attempt even if the transport does not.
type watched struct {
	r   io.Reader
	a   *attempt
	ctx context.Context
}

func (w *watched) Read(p []byte) (int, error) {
	if cause := context.Cause(w.ctx); cause != nil {
		return 0, cause
	}
	n, err := w.r.Read(p)
	if n > 0 {
		w.a.started.Store(true)
		w.a.dog.Reset(w.a.opt.Idle)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(w.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}
