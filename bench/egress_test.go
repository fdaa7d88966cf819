package bench

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/egress"
	"sallyport/internal/egress/fakedns"
	"sallyport/internal/egress/proxy"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/policy"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/sandbox"
)

// destination is what the payload reaches: a name that stands for this machine.
const destination = "origin.example"

const pulled = 64 << 20 // bytes of one download

// origin is what the payload asks: a small page, and a large download that
// begins with the first byte it is sent.
type origin struct{ page, source uint16 }

func newOrigin(b *testing.B) origin {
	b.Helper()
	listen := func(serve func(net.Listener)) uint16 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { l.Close() })
		go serve(l)
		return l.Addr().(*net.TCPAddr).AddrPort().Port()
	}
	block := make([]byte, 1<<20)
	return origin{
		page: listen(func(l net.Listener) {
			_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(page)) }))
		}),
		source: listen(func(l net.Listener) {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					_, err := c.Read(make([]byte, 1))
					for left := pulled; left > 0 && err == nil; left -= len(block) {
						_, err = c.Write(block)
					}
				}()
			}
		}),
	}
}

func at(host string, port uint16) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }

// way is the way out of a sandbox as a session has it, with a judge of choice.
func way(b *testing.B, o origin, judge proxy.Judge) *client {
	b.Helper()
	spec := workspace(b)
	spec.Network = sandbox.NetworkHandoff
	box, in := inside(b, spec)
	b.Cleanup(in.close)
	var rules []egress.Rule
	for _, port := range []uint16{o.page, o.source} {
		rules = append(rules, egress.Rule{Name: destination, Port: port})
	}
	dial := egress.New(egress.Config{Allow: rules, Hosts: map[string][]netip.Addr{destination: {netip.AddrFrom4([4]byte{127, 0, 0, 1})}}})
	names := fakedns.New(fakedns.Options{Allowed: func(name string) bool { return name == destination }})
	server, err := proxy.New(proxy.Config{
		Dial: dial.DialContext, Judge: judge, Names: names, Original: sandbox.OriginalDst,
		Level: func(proxy.Dest) proxy.Level { return proxy.LevelConnect },
		Program: func(c net.Conn) string {
			p, _ := box.ProgramOf(c)
			return p.Exe
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	hand := box.Handoff()
	go func() { ended <- names.Serve(ctx, hand.DNS, hand.DNSTCP) }()
	go func() { ended <- server.Serve(ctx, hand.TCP...) }()
	b.Cleanup(func() {
		cancel()
		for range cap(ended) {
			if err := <-ended; err != nil {
				b.Error(err)
			}
		}
	})
	return in
}

// nodding permits everything and writes nothing down.
type nodding struct{}

func (nodding) Connect(context.Context, proxy.Dest) (proxy.Passage, error) { return nodding{}, nil }

func (nodding) Request(context.Context, proxy.Dest, *proxy.RequestInfo) (proxy.Passage, error) {
	return nodding{}, nil
}

func (nodding) End(proxy.Stats) {}

// gated passes everything through the gate, as a session does: policy, a durable
// intent before the connection, a durable outcome after it.
type gated struct {
	gate    *gate.Gate
	context string
}

// guarded is a gate for the shipped example's agent, whose profile reaches the
// destination, on a store of its own.
func guarded(b *testing.B, o origin) gated {
	b.Helper()
	a, st := installation(b, b.TempDir())
	rules, err := policy.New(policy.Settings{
		Profiles: map[string]policy.Profile{"auditor": {Exec: true, View: ceiling, Network: []policy.NetRule{{
			Host: destination, Ports: []uint16{o.page, o.source}, Clearance: ceiling, Result: label.New(label.Public, label.Foreign, 0), Origin: "bench",
		}}}},
		Agents: map[string]policy.Agent{"sarah": {Profile: "auditor", Ceiling: ceiling, Clearance: ceiling, Endpoint: label.Unlabelled}},
	})
	if err != nil {
		b.Fatal(err)
	}
	people, _, err := a.People(context.Background(), nil)
	if err != nil {
		b.Fatal(err)
	}
	g, err := gate.New(gate.Config{Ledger: st, Policy: rules, Approver: people, Now: time.Now, Executors: map[action.Kind]gate.Executor{
		action.AgentSpawn: noop{}, action.SessionStart: noop{}, action.NetConnect: noop{}, action.HTTPRequest: noop{},
	}})
	if err != nil {
		b.Fatal(err)
	}
	spawn(b, g, b.Name())
	return gated{g, b.Name()}
}

// Connect implements proxy.Judge.
func (j gated) Connect(ctx context.Context, d proxy.Dest) (proxy.Passage, error) {
	return j.open(ctx, action.NetConnect, at(d.Host, d.Port), map[string]any{
		"host": d.Host, "port": strconv.Itoa(int(d.Port)), "program": d.Program,
	})
}

// Request implements proxy.Judge.
func (j gated) Request(ctx context.Context, d proxy.Dest, r *proxy.RequestInfo) (proxy.Passage, error) {
	return j.open(ctx, action.HTTPRequest, r.Scheme+"://"+at(d.Host, d.Port)+r.Path, map[string]any{
		"host": d.Host, "port": strconv.Itoa(int(d.Port)), "method": r.Method, "path": r.Path, "query": r.Query, "program": d.Program,
	})
}

func (j gated) open(ctx context.Context, kind action.Kind, target string, args map[string]any) (proxy.Passage, error) {
	p, err := j.gate.Open(ctx, action.Action{
		Kind: kind, Target: target, Agent: "sarah", Session: j.context, Context: j.context, Args: args, Principal: principal.ForAgent("sarah"),
	})
	if err == nil {
		_, err = p.Take()
	}
	if err != nil {
		return nil, err
	}
	return settling{j.gate, p}, nil
}

type settling struct {
	gate   *gate.Gate
	permit *gate.Permit
}

// End implements proxy.Passage.
func (s settling) End(st proxy.Stats) {
	_, _ = s.gate.Settle(context.Background(), s.permit, record.Result{Data: map[string]any{
		"bytes_up": st.Up, "bytes_down": st.Down, "address": st.Addr, "status": int64(st.Status),
	}}, st.Err)
}

// judges are the two ways to judge that are measured.
func judges(b *testing.B, o origin, run func(b *testing.B, in, out *client)) {
	for _, j := range []struct {
		name string
		make func(*testing.B) proxy.Judge
	}{
		{"judge=none", func(*testing.B) proxy.Judge { return nodding{} }},
		{"judge=gate", func(b *testing.B) proxy.Judge { return guarded(b, o) }},
	} {
		b.Run(j.name, func(b *testing.B) {
			in, out := way(b, o, j.make(b)), outsider(b)
			defer out.close()
			run(b, in, out)
		})
	}
}

// BenchmarkEgressConnect is a new TCP connection and a small GET on it from
// inside a sandbox, through the hand-off and the proxy, in turns with the same
// program outside, directly. Looking the name up, which needs a question of its
// own, is measured beside it.
func BenchmarkEgressConnect(b *testing.B) {
	const batch = "25"
	o := newOrigin(b)
	judges(b, o, func(b *testing.B, in, out *client) {
		here, fake := at("127.0.0.1", o.page), at("198.18.0.1", o.page) // the first name's address
		in.ask("get", at(destination, o.page), "5")
		out.ask("get", here, "5")
		var direct, known, named samples
		for b.Loop() {
			direct = append(direct, out.ask("get", here, batch)...)
			known = append(known, in.ask("get", fake, batch, destination)...)
			named = append(named, in.ask("get", at(destination, o.page), batch)...)
		}
		known.report(b, "", time.Microsecond)
		named.report(b, "by-name-", time.Microsecond)
		direct.report(b, "direct-", time.Microsecond)
		ratio(b, "x-direct", known, direct)
		ratio(b, "by-name-x-direct", named, direct)
	})
}

// BenchmarkEgressThroughput downloads 64 MiB through a tunnel, in turns with the
// same program outside, directly.
func BenchmarkEgressThroughput(b *testing.B) {
	o := newOrigin(b)
	judges(b, o, func(b *testing.B, in, out *client) {
		size := strconv.Itoa(pulled)
		in.ask("pull", at(destination, o.source), size)
		var direct, tunnel samples
		for b.Loop() {
			direct = append(direct, out.ask("pull", at("127.0.0.1", o.source), size)...)
			tunnel = append(tunnel, in.ask("pull", at(destination, o.source), size)...)
		}
		rate := func(s samples) float64 { return pulled / 1e9 / s.at(.5).Seconds() }
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(rate(tunnel), "GB/s")
		b.ReportMetric(rate(direct), "direct-GB/s")
		ratio(b, "of-direct", direct, tunnel)
	})
}
