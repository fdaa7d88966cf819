package llmproxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/scan/screen"
)

// exchange is one request of a known caller and its reply.
type exchange struct {
	p      *Proxy
	w      http.ResponseWriter
	rc     *http.ResponseController
	r      *http.Request
	who    Caller
	up     Upstream
	own    bool // the upstream was given with the request: its path is the client's
	route  wire.Route
	client wire.Client
	ctx    context.Context
	cancel context.CancelFunc

	held    int64 // bytes counted against the proxy's memory
	body    []byte
	view    []byte                   // body, decompressed
	digest  func() [sha256.Size]byte // of body, which is what will be sent
	repeats bool                     // the client says that it sent this before
	q       *wire.Request
	model   string
	target  string
	in      screened
	heard   bool  // the body was read to its end
	size    int64 // of the view
	guess   int64 // tokens of the input, as admitted

	wmu        sync.Mutex // one writer to the client at a time
	permit     *gate.Permit
	patience   *patience
	lastReason wire.Reason // of the last call or text that was denied
	keys       secret
	history    bool  // the provider keeps some of it
	background bool  // the reply is fetched later
	later      int64 // tokens that it may have then
	out        *outcome
	rounds     int // how often calls went back to the model
}

// outcome is what became of the exchange.
type outcome struct {
	status    int // sent to the client
	upstream  int // of the upstream's reply
	requestID string
	start     time.Time
	first     time.Time    // of the reply
	bytes     atomic.Int64 // of the reply, as the upstream sent it
	attempts  int
	replyID   string
	stop      string
	usage     wire.Usage
	output    int64 // bytes of text and of calls' arguments
	replaced  int
	reported  bool // the upstream began to reply: it may charge
	ended     bool // the reply came to its end
	verdict   screen.Verdict
}

// Serve serves one request of a known caller. up says where it goes; nil asks
// Config.Upstream. It returns when the reply has been sent.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, who Caller, up *Upstream) {
	if !p.enter() {
		route, _ := routeOf(r)
		w.Header().Set("Connection", "close")
		p.say(w, route.API, unavailable(route.API, who.Client, http.StatusServiceUnavailable, "the proxy is ending; try again"))
		return
	}
	defer p.active.Done()
	x := &exchange{p: p, out: &outcome{}, w: w, rc: http.NewResponseController(w), r: r, who: who}
	x.out.start = p.cfg.Now()
	x.ctx, x.cancel = context.WithCancel(r.Context())
	defer x.cancel()
	defer context.AfterFunc(p.ctx, x.cancel)()
	if up != nil {
		x.up, x.own = *up, true
	}
	defer x.letGo()
	h := x.run()
	x.end(h)
}

// run takes the steps of an exchange, in order; the first that halts is the last.
func (x *exchange) run() *halt {
	for _, step := range []func() *halt{
		x.admit,   // head: is it a request of a model API at all
		x.read,    // body: whole, bounded, in time
		x.parse,   // view
		x.pace,    // rate limits
		x.results, // what the client did with earlier calls
		x.screen,  // what is new in it
		x.open,    // model.call: the gate
		x.forward, // the original bytes, and the reply
	} {
		if h := step(); h != nil {
			return h
		}
	}
	return nil
}

// end answers a halted request, and settles what was opened.
func (x *exchange) end(h *halt) {
	if h == nil {
		h = &halt{outcome: outcomeDone}
	}
	if h.answer != nil || h.status != 0 {
		if !x.heard {
			x.w.Header().Set("Connection", "close") // what is left of the body is nobody's
		}
		x.out.status = x.p.say(x.w, x.route.API, h)
	}
	if h.outcome == outcomeRefused || h.outcome == outcomeLimited {
		x.p.note(x.r.Context(), x.who, h, map[string]any{
			"method": plain(x.r.Method, 16), "path": plain(x.r.URL.Path, 256), "status": int64(x.out.status), "api": x.route.API.String(),
		})
	}
	x.settle(h)
	x.p.cfg.Observe.Request(x.route.API, x.model, x.who.Agent, h.outcome, x.out.status)
}

// admit looks at the head.
func (x *exchange) admit() *halt {
	r := x.r
	route, known := routeOf(r)
	if route.API == wire.Chat && route.Op == wire.List && r.Header.Get("Anthropic-Version") != "" {
		route.API = wire.Messages // their models have the same path
	}
	x.route = route
	x.client = x.who.Client
	if x.client == "" {
		x.client = wire.ClientOf(r.UserAgent(), r.Header, route.API)
	}
	switch {
	case !r.ProtoAtLeast(1, 1):
		return refuse(http.StatusHTTPVersionNotSupported, "http.version", "the proxy speaks HTTP/1.1 and later")
	case r.Header.Get("Upgrade") != "" || r.Method == http.MethodConnect:
		return refuse(http.StatusUpgradeRequired, "http.upgrade", "WebSocket is not relayed; use plain HTTP requests")
	case ambiguous(r):
		return refuse(http.StatusBadRequest, "http.ambiguous", "the request's length or its fields can be understood in several ways")
	case !known:
		return refuse(http.StatusNotFound, "path.unknown", "this path is of no model API that the proxy knows; unknown paths are denied")
	case r.Method != http.MethodPost && r.ContentLength != 0:
		return refuse(http.StatusBadRequest, "body.unexpected", "a "+plain(r.Method, 16)+" request has no body")
	}
	if len(r.TransferEncoding) > 0 {
		// Whatever the client, or something before us, believes to follow the
		// last chunk is not read.
		x.w.Header().Set("Connection", "close")
	}
	return nil
}

// ambiguous tells a request whose framing or fields two readers could understand
// differently. net/http refuses most of them itself.
func ambiguous(r *http.Request) bool {
	if len(r.Header["Content-Length"]) > 1 || len(r.Header["Content-Length"]) > 0 && len(r.TransferEncoding) > 0 {
		return true
	}
	for _, te := range r.TransferEncoding {
		if te != "chunked" {
			return true
		}
	}
	for _, one := range []string{"Content-Type", "Content-Encoding", "Idempotency-Key"} {
		if len(r.Header[one]) > 1 {
			return true
		}
	}
	if len(r.Trailer) > 0 || !utf8Body(r.Header.Get("Content-Type")) {
		return true // nobody would judge it, or in other characters than its reader's
	}
	for name, values := range r.Header {
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n\x00") || strings.ContainsAny(name, "\r\n\x00_ ") && strings.EqualFold(strings.ReplaceAll(name, "_", "-"), "Content-Length") {
				return true
			}
		}
	}
	return false
}

// utf8Body tells that a body's type leaves its characters to be UTF-8.
func utf8Body(contentType string) bool {
	_, set, named := strings.Cut(strings.ToLower(contentType), "charset")
	set = strings.Trim(set, "= \t\"';")
	return !named || set == "utf-8" || set == "utf8" || set == "us-ascii"
}

// parse makes the view, and the digest of what will be sent.
func (x *exchange) parse() *halt {
	x.digest = digestOf(x.body)
	q, err := wire.ParseRequest(x.route, x.view)
	if err != nil {
		return refuse(http.StatusBadRequest, "request.form", fault.PublicText(err))
	}
	if !x.hold(q.Weight()) {
		return x.unavailable(noRoom)
	}
	x.q, x.model, x.size = q, q.Model, int64(len(x.view))
	if x.who.Client == "" {
		x.client = q.Refine(x.client)
	}
	if x.history = x.remote(); x.history || x.route.ID != "" {
		for _, id := range []string{q.PreviousID, x.route.ID} {
			if id != "" && x.p.owners.foreign(id, x.who.account()) {
				return refuse(http.StatusNotFound, "reply.foreign", "this stored reply was made for another key or run; use the one that asked for it")
			}
		}
	}
	if !x.own {
		if x.up, err = x.p.cfg.Upstream(x.route.API, x.model); err != nil {
			return refuse(http.StatusNotFound, "upstream.none", fault.PublicText(err))
		}
	}
	if x.up.Base == nil || x.up.Transport == nil {
		x.p.cfg.Log.Error("upstream without base or transport", "name", x.up.Name)
		return x.unavailable("the upstream is not wired")
	}
	x.target = x.up.target(x.model)
	if x.background = q.Background; x.background {
		if x.later = q.MaxOutput; x.later < 0 {
			x.later = backgroundOutput
		}
	}
	n, _ := strconv.Atoi(x.r.Header.Get("X-Stainless-Retry-Count"))
	x.repeats = n > 0 || x.r.Header.Get("Idempotency-Key") != ""
	return nil
}

// digestOf computes the digest of a body; of a large one, while it is read by
// others.
func digestOf(body []byte) func() [sha256.Size]byte {
	if len(body) <= 1<<16 {
		sum := sha256.Sum256(body)
		return func() [sha256.Size]byte { return sum }
	}
	done := make(chan [sha256.Size]byte, 1)
	go func() { done <- sha256.Sum256(body) }()
	return sync.OnceValue(func() [sha256.Size]byte { return <-done })
}

// pace keeps the caller's rates.
func (x *exchange) pace() *halt {
	x.guess = estimate(x.size)
	wait, rule := x.p.limits.admit(x.who, x.digest, x.repeats, x.guess, x.p.cfg.Now())
	if wait == 0 {
		return nil
	}
	reason := wire.Reason{Rule: rule, Because: "the key's limit for a minute is used up; wait, or raise the limit of the key", Rate: true, RetryAfter: wait}
	a := wire.Refuse(x.route.API, x.client, reason)
	return &halt{outcome: outcomeLimited, rule: rule, because: reason.Because, answer: &a}
}

// open passes the model call through the gate. Nothing is sent before.
func (x *exchange) open() *halt {
	a := action.Action{
		Kind: action.ModelCall, Target: x.target, Args: x.args(),
		Agent: x.who.Agent, Session: x.who.Session, Context: x.who.Context, Principal: principal.ForAgent(x.who.Agent),
	}
	x.patience = &patience{left: x.p.cfg.ApprovalWait}
	p, err := x.p.openAction(x.ctx, a, x.patience)
	if err != nil {
		return x.denied(err)
	}
	x.permit = p
	x.out.attempts++
	x.patience = &patience{left: x.p.cfg.ApprovalWait} // of the reply's calls
	x.p.judged.permitted(x.in.keys)
	x.p.judged.labelled(x.p.cfg.Screen.Digest(), x.p.cfg.PolicySet(), x.who, p.Label, x.in.keys)
	return nil
}

// openTries is how often an action is tried whose context keeps changing: the
// gate has tried several times itself.
const openTries = 3

// openAction opens an action and takes its permit.
func (p *Proxy) openAction(ctx context.Context, a action.Action, patient *patience) (*gate.Permit, error) {
	ctx = context.WithValue(ctx, patienceKey{}, patient)
	for try := 1; ; try++ {
		permit, err := p.cfg.Gate.Open(ctx, a)
		if fault.Is(err, fault.Conflict) && try < openTries && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		if _, err := permit.Take(); err != nil {
			return nil, err
		}
		return permit, nil
	}
}

// patience is how long the calls of one exchange may still wait for people, and
// how many questions they may put.
type patience struct {
	mu   sync.Mutex
	left time.Duration
	asks int
}

type patienceKey struct{}

// maxAsks bounds the questions of one reply.
const maxAsks = 16

// Patient bounds how long the proxy's asks wait: app puts it around the approver
// of the gate. What was not opened by a Proxy passes through.
func Patient(a gate.Approver) gate.Approver { return patient{a} }

type patient struct{ gate.Approver }

// Await implements gate.Approver.
func (p patient) Await(ctx context.Context, req record.ApprovalRequest) ([]record.Approval, error) {
	t, ok := ctx.Value(patienceKey{}).(*patience)
	if !ok {
		return p.Approver.Await(ctx, req)
	}
	t.mu.Lock()
	defer t.mu.Unlock() // the calls of a reply are judged one after another anyway
	if t.asks++; t.asks > maxAsks {
		return nil, fault.New("llmproxy.ask", fault.NeedsAsk, "%s; this reply has put %d questions already, so this one is not put", req.Because, maxAsks)
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, t.left)
	defer cancel()
	got, err := p.Approver.Await(ctx, req)
	t.left = max(0, t.left-time.Since(start))
	return got, err
}

// errGone is the end of an exchange whose client went away.
var errGone = errors.New("the client went away")
