package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sallyport/internal/auth"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/llmproxy"
	"sallyport/internal/llmproxy/ingest"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/policy"
	"sallyport/internal/record"
)

// ProxyOptions say how the model proxy is served.
type ProxyOptions struct {
	Listen string            // host:port; "" means proxy.listen
	Cut    <-chan struct{}   // while it ends: the operator waits for no open call; nil waits
	Out    io.Writer         // what people read
	Ready  func(addr string) // hears the address that is listened on; may be nil
}

const (
	headTimeout = 10 * time.Second // for a request's head
	idleTimeout = 2 * time.Minute  // between two requests of a connection
	maxHead     = 64 << 10         // bytes of a request's head
	closeWait   = 30 * time.Second // for open calls when the proxy ends
	closeQuiet  = time.Second      // of which nothing is said for the first
)

// rulesInForce is a policy that can be replaced while it decides: keys come and
// go, and with them the agents that are known.
type rulesInForce struct{ now atomic.Pointer[policy.Engine] }

// Decide implements gate.Policy.
func (r *rulesInForce) Decide(q record.Question) record.Decision { return r.now.Load().Decide(q) }

// SetDigest implements gate.Policy.
func (r *rulesInForce) SetDigest() string { return r.now.Load().SetDigest() }

// served is a model proxy that runs.
type served struct {
	app    *App
	engine *engine
	rules  *rulesInForce
	keys   *auth.Keys
	proxy  *llmproxy.Proxy
	out    io.Writer

	loading sync.Mutex
}

// Proxy serves the model proxy until ctx ends. What is under way then gets a
// while to end. Errors before it listens are of kind fault.Config or
// fault.Unavailable.
func (a *App) Proxy(ctx context.Context, o ProxyOptions) (err error) {
	if err := errors.Join(a.Config.Problems(false)...); err != nil {
		return err
	}
	s, err := a.newServed(ctx, o)
	if err != nil {
		return err
	}
	defer s.engine.close()
	ln, err := s.listen(ctx, o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go s.stopped(ctx, cancel)
	srv := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: headTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHead,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:    slog.NewLogLogger(s.engine.store.log.Handler(), slog.LevelWarn),
	}
	s.announce(ctx, ln.Addr().String())
	if o.Ready != nil {
		o.Ready(ln.Addr().String())
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	return errors.Join(err, s.close(srv, o.Cut), because(ctx, nil))
}

// close lets the listener end while what is under way does.
func (s *served) close(srv *http.Server, cut <-chan struct{}) error {
	quick, done := context.WithTimeout(context.Background(), closeWait)
	defer done()
	go func() {
		select {
		case <-cut:
			done()
		case <-quick.Done():
		}
	}()
	told := time.AfterFunc(closeQuiet, func() {
		fmt.Fprintf(s.out, "sallyport: calls are still open; they have %.0f s to end, or Ctrl-C once more cuts them now\n", closeWait.Seconds())
	})
	defer told.Stop()
	shut := make(chan error, 1)
	go func() { shut <- srv.Shutdown(quick) }()
	err := s.engine.closeModels(quick)
	if fault.Is(err, fault.Canceled) {
		fmt.Fprintln(s.out, "sallyport: open calls were cut; their clients were told, and `sallyport events --type LLM_call_error` shows which")
	}
	if e := <-shut; e != nil {
		err = errors.Join(err, srv.Close())
	}
	return err
}

func (s *served) listen(ctx context.Context, o ProxyOptions) (net.Listener, error) {
	cfg := s.app.Config.Proxy
	addr := cfg.Listen
	if o.Listen != "" {
		addr = o.Listen
		if _, port, err := net.SplitHostPort(addr); err != nil || !config.ValidPort(port) {
			return nil, fault.New("app.proxy", fault.Usage, "--listen %q is not host:port; write it as 127.0.0.1:4117", addr)
		}
		with := *s.app.Config
		with.Proxy.Listen = addr
		if err := errors.Join(with.Problems(false)...); err != nil {
			return nil, err
		}
	}
	secure, err := s.app.proxyTLS()
	if err != nil {
		return nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		why := "the address is not this machine's"
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			why = "another program listens there, perhaps another proxy: `sallyport status` tells"
		case errors.Is(err, fs.ErrPermission):
			why = "this user may not; ports from 1024 on are free to all"
		}
		return nil, &fault.Error{Op: "app.proxy", Kind: fault.Unavailable, Err: err, Public: fmt.Sprintf("%s cannot be listened on (%s); name another address with --listen or proxy.listen", addr, why)}
	}
	if secure != nil {
		ln = tls.NewListener(ln, secure)
	}
	return ln, nil
}

// newServed wires the gate, the keys and the proxy.
func (a *App) newServed(ctx context.Context, o ProxyOptions) (*served, error) {
	e := &engine{app: a, opts: RunOptions{Out: o.Out, Operator: a.Operator(ctx)}, models: newModelCalls(), plans: map[string]*outletPlan{}, now: time.Now}
	st, err := a.Store(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := st.Keys(ctx)
	if err != nil {
		return nil, err
	}
	s := &served{app: a, engine: e, rules: &rulesInForce{}, keys: auth.NewKeys(st, time.Now), out: o.Out}
	e.app = a.withKeyAgents(keys)
	e.rules, e.wait = s.rules, time.Duration(a.Config.Proxy.ApprovalWait)*time.Second
	if err := e.wire(ctx, nil, nil); err != nil {
		return nil, err
	}
	if err := e.begin(ctx, nil); err != nil {
		return nil, err
	}
	agents := make([]string, len(keys))
	for i, k := range keys {
		agents[i] = k.Agent
	}
	if err := release(ctx, st, agents); err != nil {
		return nil, err
	}
	s.proxy = e.watched.proxy
	return s, nil
}

// handler is everything the listener serves.
func (s *served) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.Handle("GET /metrics", s.metrics())
	mux.Handle("POST /v1/events", ingest.Handler(s.source, s.engine.store, ingest.Options{}))
	mux.Handle("/", s.proxy.Handler(s))
	return mux
}

// source authenticates who sends events of its own.
func (s *served) source(r *http.Request) (string, error) {
	key, err := s.keys.Find(r.Context(), bearer(r), record.RoleIngest)
	return key.Name, err
}

// metrics serves the figures to keys that may read them.
func (s *served) metrics() http.Handler {
	figures := s.engine.figures.handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.keys.Find(r.Context(), bearer(r), record.RoleMetrics); err != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			status := http.StatusUnauthorized
			if !fault.Is(err, fault.Denied) {
				status = http.StatusServiceUnavailable
			}
			http.Error(w, fault.PublicText(err), status)
			return
		}
		figures.ServeHTTP(w, r)
	})
}

func bearer(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

// Authenticate implements llmproxy.Keys.
func (s *served) Authenticate(ctx context.Context, token string) (llmproxy.Caller, error) {
	key, err := s.keys.Find(ctx, token, record.RoleAgent)
	if err != nil {
		return llmproxy.Caller{}, err
	}
	if _, known := s.engine.keysKnown.get(key.ID); !known { // made while we run
		if err := s.reload(ctx); err != nil {
			return llmproxy.Caller{}, err
		}
	}
	return llmproxy.Caller{
		Agent: key.Agent, Session: contextOfKey(key.ID), Context: contextOfKey(key.ID), Key: key.ID, Client: wire.Client(key.Client),
		RequestsPerMinute: key.RequestsPerMinute, TokensPerMinute: key.TokensPerMinute,
	}, nil
}

// reload puts the policy in force that knows the agents of all keys.
func (s *served) reload(ctx context.Context) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	keys, err := s.engine.store.Keys(ctx)
	if err != nil {
		return err
	}
	rules, err := s.app.withKeyAgents(keys).Policy()
	if err != nil {
		return err
	}
	s.rules.now.Store(rules)
	s.engine.keysKnown.set(keys)
	return nil
}

// stopped ends the proxy when the operator stops everything.
func (s *served) stopped(ctx context.Context, end context.CancelCauseFunc) {
	select {
	case <-s.engine.store.WatchStop(ctx, ""):
		end(fault.New("app.proxy", fault.Denied, "everything was stopped by the operator; `sallyport proxy` starts it again"))
	case <-ctx.Done():
	}
}

// announce says how clients get here.
func (s *served) announce(ctx context.Context, addr string) {
	scheme := "http"
	if s.app.Config.Proxy.TLS != nil {
		scheme = "https"
	}
	base := scheme + "://" + addr
	fmt.Fprintf(s.out, "sallyport: model proxy on %s\n  ANTHROPIC_BASE_URL=%s  OPENAI_BASE_URL=%s/v1  GOOGLE_GEMINI_BASE_URL=%s\n", base, base, base, base)
	if keys, err := s.engine.store.Keys(ctx); err == nil && len(keys) == 0 {
		fmt.Fprintf(s.out, "  no client can call yet: `sallyport keys create NAME` makes an API key\n")
	}
	for _, m := range s.app.keyless() {
		fmt.Fprintf(s.out, "  %s cannot be called: %s is not set; set it in the environment or in .env and start again\n", m[0], m[1])
	}
}

// modelProxy makes the model proxy of an engine: that of the listener, or that
// of what runs in its sandboxes.
func (e *engine) modelProxy() (*llmproxy.Proxy, error) {
	return llmproxy.New(llmproxy.Config{
		Gate: e.gate, Journal: e.store, Screen: e.screen.screen, Moderate: e.moderate, Upstream: e.up.find, Cost: e.up.cost,
		PolicySet: e.rules.SetDigest, Observe: e.figures, Now: e.now, Log: e.store.log,
		ModerateOutput: e.moderateOut, Terse: !e.app.Config.Proxy.Explain, Bounce: e.app.Config.Proxy.Bounce, Hosts: e.app.Config.Proxy.Hosts,
		MaxBody: e.app.Config.Proxy.MaxBody, MaxCalls: e.app.Config.Proxy.MaxCalls, ApprovalWait: e.wait,
	})
}
