// Package llmproxy stands between an agent and its model: every model call, and
// every tool call inside a reply, is an action through the gate before either
// side gets to see it.
//
// A request is read whole, a view of it is parsed, what was not judged before
// is screened, model.call is opened, and only then are the original bytes sent
// on. A reply is looked at while it passes: text goes through at once, a tool
// call is held until tool.call was opened for it, or a line of text takes its
// place.
//
// Invariants:
//   - nothing goes upstream without a permit, and nothing of a tool call goes
//     to the client without one;
//   - neither client nor upstream is believed: both may be an attacker that has
//     read this source, so whatever cannot be parsed is not passed on, and
//     every buffer, table and wait has a bound;
//   - the upstream's key is put in last and never comes back;
//   - bytes are the original ones except where a call was replaced;
//   - an error anywhere denies, in the form the client's API has for it.
//
// It opens, releases and settles actions and connects to nothing by itself: the
// transport is injected. app may import it.
package llmproxy

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/record"
	"sallyport/internal/scan/screen"
)

// The defaults of a Config.
const (
	DefaultMaxBody      = 64 << 20
	DefaultMaxMemory    = 512 << 20
	DefaultMaxHeld      = 8 << 20
	DefaultMaxBuffer    = 8 << 20
	DefaultMaxCalls     = 1024
	DefaultApprovalWait = 120 * time.Second
	DefaultKeepAlive    = 10 * time.Second
	DefaultHeadTimeout  = 10 * time.Minute // a plain reply begins when it is complete
	DefaultReadTimeout  = 60 * time.Second
	DefaultWriteTimeout = 60 * time.Second
	DefaultUpstreamIdle = 5 * time.Minute
	DefaultResultTTL    = time.Hour
)

// Journal takes down what is no action by itself.
type Journal interface {
	Append(ctx context.Context, e record.Event) (int64, error)
}

// Observer counts. The names of models and tools come from clients and
// upstreams: an implementation must bound how many it tells apart.
type Observer interface {
	// Request is one finished request. The outcomes: done, denied, refused
	// (never judged), limited, upstream_error, canceled, error.
	Request(api wire.API, model, agent, outcome string, status int)
	// Latency is the time until the first byte and until the last.
	Latency(api wire.API, model string, first, whole time.Duration)
	Tokens(api wire.API, model, agent string, u wire.Usage)
	// Call is one judged tool call: released, denied or reported (it had
	// happened already).
	Call(tool, verdict string)
	Held(delta int)
	Findings(source, action string)
}

// Config wires a Proxy. Gate, Journal, Screen and Upstream are required; a zero
// bound is its default.
type Config struct {
	Gate    *gate.Gate
	Journal Journal
	Screen  *screen.Screen
	// Moderate judges new user and tool texts of a caller; nil = none. Its error refuses
	// the request.
	Moderate func(ctx context.Context, who Caller, texts []string) (screen.Verdict, error)
	// ModerateOutput judges what models say; nil = none. Its error ends the reply.
	ModerateOutput func(ctx context.Context, who Caller, texts []string) (screen.Verdict, error)
	// Terse leaves the reason out of answers: they name the rule alone.
	Terse bool
	// Upstream finds where a model is served; an error means nowhere.
	Upstream func(api wire.API, model string) (Upstream, error)
	// Cost prices what a call used; false means that the price is unknown.
	Cost func(target string, u wire.Usage) (record.Micros, bool)
	// PolicySet identifies the policy in force, for the cache of what was judged.
	PolicySet func() string
	Hosts     []string // further names by which the listener may be addressed
	Bounce    bool     // a blocked call of a plain reply goes back to the model once or twice

	MaxBody      int64 // bytes of a request and of a plain reply
	MaxMemory    int64 // bytes of all requests and plain replies that are being read and sent
	MaxHeld      int   // bytes of one held call
	MaxBuffer    int   // bytes of a stream that wait behind a held call
	MaxCalls     int   // tool calls of a reply
	ApprovalWait time.Duration
	KeepAlive    time.Duration
	HeadTimeout  time.Duration // until a reply begins
	ReadTimeout  time.Duration // until a request is complete
	WriteTimeout time.Duration // for one write to a client
	UpstreamIdle time.Duration // between two pieces of a reply
	ResultTTL    time.Duration // how long a released call's result is awaited

	Observe Observer         // may be nil
	Now     func() time.Time // nil = the clock
	Log     *slog.Logger     // nil = nowhere
}

// Proxy is the model proxy. It is safe for concurrent use.
type Proxy struct {
	cfg    Config
	judged *judged
	handed *handed
	limits *limits
	paid   *bills
	owners *owners
	queue  *queue
	room   *room
	quiet  *pace // how many refusals are written down

	ctx    context.Context // ends with the proxy
	cancel context.CancelFunc
	mu     sync.RWMutex
	closed bool
	active sync.WaitGroup
}

// New makes a Proxy; Close ends it.
func New(c Config) (*Proxy, error) {
	if c.Gate == nil || c.Journal == nil || c.Screen == nil || c.Upstream == nil {
		return nil, fault.New("llmproxy.new", fault.Internal, "gate, journal, screen and upstream are required")
	}
	c.bounds()
	p := &Proxy{
		cfg: c, judged: newJudged(maxJudged), limits: newLimits(), paid: newBills(maxPaid), owners: newOwners(maxPaid),
		queue: newQueue(), room: newRoom(c.MaxMemory), quiet: newPace(),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.handed = newHanded(c.ResultTTL, c.Now, p.lost)
	return p, nil
}

func (c *Config) bounds() {
	orInt := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	orTime := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	if c.MaxBody <= 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.MaxMemory <= 0 {
		c.MaxMemory = DefaultMaxMemory
	}
	orInt(&c.MaxHeld, DefaultMaxHeld)
	orInt(&c.MaxBuffer, DefaultMaxBuffer)
	orInt(&c.MaxCalls, DefaultMaxCalls)
	orTime(&c.ApprovalWait, DefaultApprovalWait)
	orTime(&c.KeepAlive, DefaultKeepAlive)
	orTime(&c.HeadTimeout, DefaultHeadTimeout)
	orTime(&c.ReadTimeout, DefaultReadTimeout)
	orTime(&c.WriteTimeout, DefaultWriteTimeout)
	orTime(&c.UpstreamIdle, DefaultUpstreamIdle)
	orTime(&c.ResultTTL, DefaultResultTTL)
	if c.Observe == nil {
		c.Observe = blind{}
	}
	if c.PolicySet == nil {
		c.PolicySet = func() string { return "" }
	}
	if c.Cost == nil {
		c.Cost = func(string, wire.Usage) (record.Micros, bool) { return 0, false }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// enter counts a request in; false means that the proxy is closing.
func (p *Proxy) enter() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return false
	}
	p.active.Add(1)
	return true
}

// closeGrace is how long cut-off requests may take to notice.
const closeGrace = 5 * time.Second

// Close takes no more requests, waits for those under way until ctx ends, cuts
// the rest, and settles everything: calls whose result nobody will see any more
// are recorded as lost. It may be called once.
func (p *Proxy) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	done := make(chan struct{})
	go func() {
		p.active.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fault.New("llmproxy.close", fault.Canceled, "the time for open model calls was up; they were cut")
	}
	p.cancel()
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-done:
	case <-grace.C:
		p.cfg.Log.Error("requests did not end after they were cut")
	}
	p.handed.close()
	p.queue.close()
	return err
}

// Watches tells whether a request is of a model API, so that it belongs to
// Serve.
func (p *Proxy) Watches(r *http.Request) bool {
	_, ok := routeOf(r)
	return ok
}

func routeOf(r *http.Request) (wire.Route, bool) {
	return wire.RouteOf(r.Method, r.URL.EscapedPath(), r.URL.RawQuery)
}

// contextOf names the transcript that a caller's requests belong to; its label
// only rises, whatever history the client drops.
func (c Caller) contextOf() string { return c.Agent + "\x00" + c.Session + "\x00" + c.Context }

// account names whose rate limits count.
func (c Caller) account() string {
	if c.Key != "" {
		return "key:" + c.Key
	}
	return "run:" + c.Agent + "\x00" + c.Session
}

type blind struct{}

func (blind) Request(wire.API, string, string, string, int)          {}
func (blind) Latency(wire.API, string, time.Duration, time.Duration) {}
func (blind) Tokens(wire.API, string, string, wire.Usage)            {}
func (blind) Call(string, string)                                    {}
func (blind) Held(int)                                               {}
func (blind) Findings(string, string)                                {}

// plain makes a text fit for a log line and an event.
func plain(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}
