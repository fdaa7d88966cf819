package app

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/egress"
	"sallyport/internal/egress/fakedns"
	"sallyport/internal/egress/proxy"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/policy"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/sandbox"
)

// outlet serves what one session's sandbox hands over: it answers its names
// and carries its connections, each judged at the gate. It performs
// net.connect, http.request and secret.use: they are opened when the payload
// begins and settled when the bytes have passed.
type outlet struct {
	plan   *outletPlan
	gate   *gate.Gate
	rules  *policy.Engine
	models *watched
	who    action.Action // agent, session and context of everything that passes
	box    *sandbox.Sandbox
	tally  *tally

	server   *proxy.Server
	snapshot func(context.Context, record.Scope) (record.Snapshot, error)
	places   *tenancy // what comes back may raise the session

	cancel context.CancelFunc
	served sync.WaitGroup
	notes  *refusals
	names  *grantedNames

	actions, refusals *pace // what it may have written down
	room              *room
}

// openOutlet begins to serve. The payload may already be running: until then
// its connections wait.
func openOutlet(ctx context.Context, of *outlets, plan *outletPlan, who action.Action, box *sandbox.Sandbox, t *tally, places *tenancy) (*outlet, error) {
	hand := box.Handoff()
	if hand == nil {
		return nil, fault.New("app.outlet", fault.Unsupported, "the sandbox handed no connections over, so the network rules could not be kept; set network.off in the profile, or use tier full")
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	rules, names := of.rules, of.names
	o := &outlet{snapshot: of.snapshot, places: places, plan: plan, gate: of.gate, rules: rules, models: of.models, who: who, box: box, tally: t, cancel: cancel, names: names, notes: newRefusals(of.journal, who)}
	o.actions, o.refusals, o.room = newPace(actionBurst, actionsPerSecond), newPace(refusalBurst, refusalsPerSecond), newRoom(of.state)
	dns := fakedns.New(fakedns.Options{
		Allowed: func(name string) bool {
			return rules.NameAllowed(plan.profile, name) || names.has(ctx, who.Agent, name)
		},
		OnDenied: func(name string, missed int) { o.refused("dns", name, "dns.unlisted", missed+1) },
	})
	server, err := proxy.New(proxy.Config{
		Dial: plan.dial.DialContext, Level: o.level, Judge: o, Names: dns, Original: sandbox.OriginalDst, Program: o.program,
		RootCAs: plan.roots, Authority: plan.authority, Credentials: o.credentials(), Watch: o.watch,
		OnRefused: func(d proxy.Dest, err error) { o.refused("net.connect", hostPort(d), ruleOf(err), 1) },
	})
	if err != nil {
		cancel()
		return nil, fault.Wrap("app.outlet", fault.Internal, err)
	}
	o.server = server
	o.served.Go(func() { o.notes.write(ctx) })
	o.served.Go(func() { _ = dns.Serve(ctx, hand.DNS, hand.DNSTCP) }) // the listeners end with the sandbox
	o.served.Go(func() { _ = server.Serve(ctx, hand.TCP...) })
	return o, nil
}

// close ends every connection and waits until each is settled.
func (o *outlet) close() {
	o.cancel()
	o.served.Wait()
}

func (o *outlet) level(d proxy.Dest) proxy.Level {
	if o.models.is(d.Host) {
		return proxy.LevelRequest
	}
	if _, each := o.rules.NetworkLevel(o.plan.profile, d.Host, d.Port, d.Program); each {
		return proxy.LevelRequest
	}
	return proxy.LevelConnect
}

// program names the program that made a connection. It is looked up only where
// a rule asks for it: it takes longer the more processes there are.
func (o *outlet) program(c net.Conn) string {
	if !o.plan.programs {
		return ""
	}
	p, ok := o.box.ProgramOf(c)
	if !ok {
		return ""
	}
	return p.Exe
}

func hostPort(d proxy.Dest) string { return net.JoinHostPort(d.Host, strconv.Itoa(int(d.Port))) }

func ruleOf(err error) string {
	if r, ok := errors.AsType[proxy.Ruled](err); ok {
		return r.Rule()
	}
	return fault.KindOf(err).String()
}

// act makes one action of this session's.
func (o *outlet) act(kind action.Kind, target string, args map[string]any) action.Action {
	a := o.who
	a.Kind, a.Target, a.Args, a.Principal = kind, target, args, principal.ForAgent(a.Agent)
	return a
}

// elsewhere refuses other ports of a host that a secret is bound to: there
// somebody else's credential would not be noticed.
func (o *outlet) elsewhere(d proxy.Dest) error {
	ports := o.plan.bound[d.Host]
	if len(ports) == 0 || slices.Contains(ports, d.Port) {
		return nil
	}
	o.refused(string(action.NetConnect), hostPort(d), "secrets.port", 1)
	return fault.New("app.outlet", fault.Denied, "a secret is bound to %s at port %d, so no other port of it is reached; use that port", d.Host, ports[0])
}

// Connect implements proxy.Judge.
func (o *outlet) Connect(ctx context.Context, d proxy.Dest) (proxy.Passage, error) {
	if err := o.elsewhere(d); err != nil {
		return nil, err
	}
	return o.open(ctx, o.actionOf(d, nil), d)
}

// actionOf is what a request is judged as, or without one a connection.
func (o *outlet) actionOf(d proxy.Dest, r *proxy.RequestInfo) action.Action {
	args := map[string]any{"host": d.Host, "port": strconv.Itoa(int(d.Port)), "program": d.Program}
	if r == nil {
		return o.act(action.NetConnect, hostPort(d), args)
	}
	args["method"], args["path"], args["query"] = r.Method, r.Path, r.Query
	return o.act(action.HTTPRequest, origin(r.Scheme, d.Host, d.Port)+r.Path, args)
}

// Request implements proxy.Judge.
func (o *outlet) Request(ctx context.Context, d proxy.Dest, r *proxy.RequestInfo) (proxy.Passage, error) {
	if err := o.elsewhere(d); err != nil {
		return nil, err
	}
	return o.open(ctx, o.actionOf(d, r), d)
}

// open passes an action through the gate; the passage settles it.
func (o *outlet) open(ctx context.Context, a action.Action, d proxy.Dest) (proxy.Passage, error) {
	if err := o.admit(ctx); err != nil {
		o.tally.refuse(string(a.Kind), a.Target, ruleOf(err), 1)
		return nil, err
	}
	p, err := o.gate.Open(ctx, a)
	if err == nil {
		_, err = p.Take()
	}
	if err == nil {
		if err = o.raise(ctx, p, d); err != nil {
			_, serr := o.gate.Settle(context.WithoutCancel(ctx), p, record.Result{}, err)
			err = errors.Join(err, serr)
		}
	}
	if err != nil {
		o.denied(ctx, a, a.Target, err)
		return nil, err
	}
	o.tally.pass(a)
	return &passage{gate: o.gate, permit: p, ctx: ctx}, nil
}

// raise takes into account what comes back from a destination: it is written
// down somewhere inside, and whoever hears of it must not be on the line.
func (o *outlet) raise(ctx context.Context, p *gate.Permit, from proxy.Dest) error {
	rose, err := o.places.raise(ctx, p.Label)
	if rose {
		_, err = o.cut(ctx, from)
	}
	return err
}

// admit lets an action come to the gate when its lines in the log have room.
func (o *outlet) admit(ctx context.Context) error {
	if err := o.room.check(); err != nil {
		return err
	}
	return o.actions.wait(ctx)
}

// denied counts what the gate refused. Its answer is held back when there were
// many: a program that tries again at once must not fill the log.
func (o *outlet) denied(ctx context.Context, a action.Action, what string, err error) {
	if _, ok := errors.AsType[*gate.Refusal](err); ok {
		o.tally.refuse(string(a.Kind), what, ruleOf(err), 1)
	} else { // it never came to a decision, such as text that is not UTF-8: the gate has written nothing
		o.refused(string(a.Kind), what, ruleOf(err), 1)
	}
	_ = o.refusals.wait(ctx) // it was refused; whoever does not wait for the answer is gone
}

// passage is an opened action.
type passage struct {
	gate   *gate.Gate
	permit *gate.Permit
	ctx    context.Context
}

// End implements proxy.Passage.
func (p *passage) End(s proxy.Stats) {
	data := map[string]any{"bytes_up": s.Up, "bytes_down": s.Down, "address": s.Addr}
	if s.Status != 0 {
		data["status"] = int64(s.Status)
	}
	// What passed has passed: the ledger says so itself if it cannot write this.
	_, _ = p.gate.Settle(context.WithoutCancel(p.ctx), p.permit, record.Result{Data: data}, s.Err)
}

// opened performs kinds that are opened and settled by what carries them.
type opened struct{}

// Perform refuses: nothing may do in one call what lasts.
func (opened) Perform(_ context.Context, p *gate.Permit) (record.Result, error) {
	_, err := p.Take()
	return record.Result{}, errors.Join(err, fault.New("app.outlet", fault.Internal, "this action is opened, not done"))
}

// released performs secret.use: once its evidence is durable, the outlet puts
// the value into the request it was judged for.
type released struct{}

// Perform implements gate.Executor.
func (released) Perform(_ context.Context, p *gate.Permit) (record.Result, error) {
	_, err := p.Take()
	return record.Result{}, err
}

// credentials gives the secrets of the plan to the proxy, each use through the
// gate.
func (o *outlet) credentials() proxy.Credentials {
	if o.plan.secrets == nil {
		return nil
	}
	return secretUse{o}
}

type secretUse struct{ o *outlet }

// Bound implements proxy.Credentials.
func (u secretUse) Bound(host string, port uint16) bool { return u.o.plan.secrets.Bound(host, port) }

// Outgoing implements proxy.Credentials.
func (u secretUse) Outgoing(ctx context.Context, d proxy.Dest, tls bool, r *http.Request) error {
	_, err := u.o.plan.secrets.Outgoing(ctx, d.Host, d.Port, tls, r, func(ctx context.Context, name, field string) error {
		a := u.o.act(action.SecretUse, name, map[string]any{
			"host": d.Host, "port": strconv.Itoa(int(d.Port)), "field": field, "program": d.Program,
		})
		if err := u.o.admit(ctx); err != nil {
			return err
		}
		if _, err := u.o.gate.Do(ctx, a); err != nil {
			u.o.denied(ctx, a, name+" to "+hostPort(d), err)
			return err
		}
		u.o.tally.pass(a)
		return nil
	})
	return err
}

// Incoming implements proxy.Credentials.
func (u secretUse) Incoming(d proxy.Dest, resp *http.Response) error {
	return u.o.plan.secrets.Incoming(d.Host, d.Port, resp)
}

// grantedNames tells which names a standing grant makes worth resolving. It
// reads the grants at most twice a second, however many names are asked for.
type grantedNames struct {
	grants func(ctx context.Context, agent string, now time.Time) ([]record.Grant, error)
	now    func() time.Time

	mu    sync.Mutex
	read  time.Time
	hosts map[string]bool
}

func (g *grantedNames) has(ctx context.Context, agent, name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if g.hosts == nil || now.Sub(g.read) >= 500*time.Millisecond || now.Before(g.read) {
		g.hosts, g.read = map[string]bool{}, now
		list, err := g.grants(ctx, agent, now)
		if err != nil {
			return false // what cannot be read permits nothing
		}
		for _, l := range list {
			if host, ok := grantedHost(l); ok {
				g.hosts[host] = true
			}
		}
	}
	return g.hosts[name]
}

// grantedHost gives the host that a grant's target names exactly.
func grantedHost(g record.Grant) (string, bool) {
	host := g.Target
	switch g.Kind {
	case action.NetConnect:
	case action.HTTPRequest:
		var ok bool
		if host, ok = destinationOf(host); !ok {
			return "", false
		}
	default:
		return "", false
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return egress.CanonicalHost(host)
}
