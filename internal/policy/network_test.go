package policy

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

var confidentialForeign = label.New(label.Confidential, label.Foreign, 0)

// guarded has one agent whose profile reaches a few destinations, and one whose
// profile reaches none.
func guarded() Settings {
	s := nightwatch()
	rule := func(host string, change func(*NetRule)) NetRule {
		r := NetRule{Host: host, Clearance: internalForeign, Result: publicForeign, Origin: "profiles.coder.network.allow: " + host}
		if change != nil {
			change(&r)
		}
		return r
	}
	s.Profiles["coder"] = Profile{
		Exec: true, Writable: true, View: internalForeign, Unlisted: UnlistedDeny,
		Network: []NetRule{
			rule("api.model.example", nil),
			rule("*.docs.example", func(r *NetRule) { r.Methods, r.Paths = []string{"GET"}, []string{"/v1/*", "/index.html"} }),
			rule("deep.docs.example", func(r *NetRule) { r.Clearance = publicForeign }),
			rule("git.example", func(r *NetRule) { r.Ports, r.Programs = []uint16{22, 443}, []string{"/usr/bin/git"} }),
			rule("ssh.example", func(r *NetRule) { r.Ports, r.Programs = []uint16{22}, []string{"ssh"} }),
			rule("10.1.0.0/16", func(r *NetRule) {
				r.Ports, r.Clearance, r.Result = []uint16{5432}, confidentialForeign, internalForeign
			}),
			rule("2001:db8::7", nil),
			rule("two.example", nil),
			rule("two.example", func(r *NetRule) { r.Paths, r.Clearance = []string{"/low/*"}, publicForeign }),
		},
	}
	s.Profiles["asking"] = Profile{Exec: true, View: internalForeign, Unlisted: UnlistedAsk}
	s.Agents["coder"] = Agent{Profile: "coder", Ceiling: confidentialForeign, Clearance: confidentialForeign, Endpoint: label.Unlabelled}
	s.Agents["asker"] = Agent{Profile: "asking", Ceiling: internalForeign, Clearance: internalForeign, Endpoint: label.Unlabelled}
	s.Secrets = map[string]Secret{"model": {Host: "api.model.example", Profiles: []string{"coder"}}}
	return s
}

func connect(agent, host string, port int, program string) record.Question {
	q := ask(agent, action.NetConnect, net.JoinHostPort(host, fmt.Sprint(port)), internalForeign,
		map[string]any{"host": host, "port": int64(port), "program": program})
	q.Snapshot.Ceiling = confidentialForeign
	return q
}

func request(agent, method, host, path string) record.Question {
	q := ask(agent, action.HTTPRequest, "https://"+host+path, internalForeign,
		map[string]any{"host": host, "port": "443", "method": method, "path": path})
	q.Snapshot.Ceiling = confidentialForeign
	return q
}

func changed(q record.Question, change func(*record.Question)) record.Question { change(&q); return q }

func above(q *record.Question) { q.Snapshot.Context, q.Args = confidentialForeign, confidentialForeign }

func approved(q *record.Question) { q.Approvals = map[string]int{"owner": 1} }

func granted(kind action.Kind, target string) func(*record.Question) {
	return func(q *record.Question) {
		q.Snapshot.Grants = []record.Grant{{ID: "g1", Agent: q.Action.Agent, Kind: kind, Target: target, Expires: noon.Add(time.Hour)}}
	}
}

type decided struct {
	q       record.Question
	verdict record.Verdict
	rule    string
	because string
}

func (tt decided) check(t *testing.T, e *Engine) {
	t.Helper()
	d := e.Decide(tt.q)
	if d.Verdict != tt.verdict || len(d.Rules) == 0 || d.Rules[0] != tt.rule || !strings.Contains(d.Because, tt.because) {
		t.Errorf("got %v by %v: %s\nwant %v by %s with %q", d.Verdict, d.Rules, d.Because, tt.verdict, tt.rule, tt.because)
	}
	x := e.Explain(tt.q)
	if x.Decision.Verdict != d.Verdict || (x.Remedy == "") != (d.Verdict == record.Allow) {
		t.Errorf("explanation: %v, remedy %q", x.Decision.Verdict, x.Remedy)
	}
}

func TestConnections(t *testing.T) {
	e := engine(t, guarded())
	for name, tt := range map[string]decided{
		"listed, from a foreign context":  {connect("coder", "api.model.example", 443, ""), record.Allow, "allow.outward", ""},
		"another port":                    {connect("coder", "api.model.example", 80, ""), record.Ask, "network.unlisted", "api.model.example:80"},
		"above the rule's clearance":      {changed(connect("coder", "api.model.example", 443, ""), above), record.Deny, "R3c", "may receive only internal (profiles.coder.network.allow: api.model.example)"},
		"a rule may clear more":           {changed(connect("coder", "10.1.2.3", 5432, ""), above), record.Allow, "allow.outward", ""},
		"outside the range":               {connect("coder", "10.2.2.3", 5432, ""), record.Ask, "network.unlisted", ""},
		"address":                         {connect("coder", "2001:db8::7", 443, ""), record.Allow, "allow.outward", ""},
		"program":                         {connect("coder", "git.example", 22, "/usr/bin/git"), record.Allow, "allow.outward", ""},
		"another program of the name":     {connect("coder", "git.example", 22, "/tmp/git"), record.Ask, "network.unlisted", ""},
		"program by name":                 {connect("coder", "ssh.example", 22, "/usr/bin/ssh"), record.Allow, "allow.outward", ""},
		"program not known":               {connect("coder", "ssh.example", 22, ""), record.Ask, "network.unlisted", ""},
		"a tunnel past methods and paths": {connect("coder", "a.docs.example", 443, ""), record.Ask, "network.unlisted", "speak of methods or paths"},
		"unlisted":                        {connect("coder", "evil.example", 443, ""), record.Ask, "network.unlisted", "`sallyport grant coder net.connect evil.example:443 --expires 1h`, or add it under profiles.coder.network.allow"},
		"unlisted, profile asks":          {connect("asker", "evil.example", 443, ""), record.Ask, "network.unlisted", ""},
		"unlisted, above the view":        {changed(connect("coder", "evil.example", 443, ""), above), record.Deny, "R3c", "profiles.coder.view_label"},
		"approved":                        {changed(connect("coder", "evil.example", 443, ""), approved), record.Allow, "allow.network.approved", ""},
		"approved, above the view":        {changed(connect("coder", "evil.example", 443, ""), func(q *record.Question) { above(q); approved(q) }), record.Deny, "R3c", ""},
		"granted":                         {changed(connect("coder", "evil.example", 443, ""), granted(action.NetConnect, "evil.example:443")), record.Allow, "grant:g1", ""},
		"granted, all ports":              {changed(connect("coder", "evil.example", 22, ""), granted(action.NetConnect, "evil.example:*")), record.Allow, "grant:g1", ""},
		"granted, above the view":         {changed(connect("coder", "evil.example", 443, ""), func(q *record.Question) { above(q); granted(action.NetConnect, "evil.example:443")(q) }), record.Deny, "R3c", ""},
		"grant for another":               {changed(connect("coder", "evil.example", 443, ""), granted(action.NetConnect, "good.example:443")), record.Ask, "network.unlisted", ""},
		"target shows another host": {changed(connect("coder", "evil.example", 443, ""), func(q *record.Question) {
			q.Action.Target = "api.model.example:443"
			granted(action.NetConnect, "api.model.example:443")(q)
		}), record.Deny, "network.target", "usual form"},
		"target shows another port": {changed(connect("coder", "api.model.example", 443, ""), func(q *record.Question) { q.Action.Target = "api.model.example:80" }), record.Deny, "network.target", ""},
		"capitals are not the form": {connect("coder", "API.model.example", 443, ""), record.Deny, "network.target", ""},
		"nor is a dot at the end":   {connect("coder", "api.model.example.", 443, ""), record.Deny, "network.target", ""},
		"capitals behind the form":  {changed(connect("coder", "api.model.example", 443, ""), func(q *record.Question) { q.Action.Args["host"] = "API.model.example" }), record.Deny, "network.target", ""},
		"odd address":               {connect("coder", "0x7f.1", 443, ""), record.Deny, "network.target", ""},
		"no port":                   {changed(connect("coder", "api.model.example", 443, ""), func(q *record.Question) { delete(q.Action.Args, "port") }), record.Deny, "network.target", ""},
		"read only":                 {changed(connect("coder", "api.model.example", 443, ""), func(q *record.Question) { q.Snapshot.ReadOnly = true }), record.Deny, "readOnlyMode", ""},
		"unknown agent":             {connect("eve", "api.model.example", 443, ""), record.Deny, "agent.unknown", ""},
		"another speaks":            {changed(connect("coder", "evil.example", 443, ""), func(q *record.Question) { q.Action.Principal = principal.ForAgent("night") }), record.Deny, "default", ""},
	} {
		t.Run(name, func(t *testing.T) { tt.check(t, e) })
	}
	if d := e.Decide(connect("coder", "10.1.2.3", 5432, "")); d.ResultLabel != internalForeign {
		t.Errorf("result of the database: %v", d.ResultLabel)
	}
}

func TestRequests(t *testing.T) {
	e := engine(t, guarded())
	paths := func(path string) record.Question { return request("coder", "GET", "a.docs.example", path) }
	for name, tt := range map[string]decided{
		"listed":                       {paths("/v1/x"), record.Allow, "allow.outward", ""},
		"exact path":                   {paths("/index.html"), record.Allow, "allow.outward", ""},
		"letters encoded":              {paths("/%76%31/x"), record.Allow, "allow.outward", ""},
		"the beginning itself":         {paths("/v1"), record.Ask, "network.unlisted", "'https://a.docs.example/*'"},
		"another path":                 {paths("/v2/x"), record.Ask, "network.unlisted", ""},
		"another method":               {request("coder", "POST", "a.docs.example", "/v1/x"), record.Ask, "network.unlisted", ""},
		"method in small letters":      {request("coder", "get", "a.docs.example", "/v1/x"), record.Ask, "network.unlisted", ""},
		"the suffix itself":            {request("coder", "GET", "docs.example", "/v1/x"), record.Ask, "network.unlisted", ""},
		"suffix without the dot":       {request("coder", "GET", "evildocs.example", "/v1/x"), record.Ask, "network.unlisted", ""},
		"suffix in the middle":         {request("coder", "GET", "a.docs.example.evil.example", "/v1/x"), record.Ask, "network.unlisted", ""},
		"climbs":                       {paths("/v1/../admin"), record.Deny, "network.target", "read in two ways"},
		"climbs encoded":               {paths("/v1/%2e%2E/admin"), record.Deny, "network.target", ""},
		"dot encoded":                  {paths("/v1/a%2eb"), record.Deny, "network.target", ""},
		"climbs, slash encoded":        {paths("/v1/..%2fadmin"), record.Deny, "network.target", ""},
		"climbs, encoded twice":        {paths("/v1/%252e%252e/admin"), record.Deny, "network.target", ""},
		"climbs with parameters":       {paths("/v1/..;a=b/admin"), record.Deny, "network.target", ""},
		"climbs, overlong":             {paths("/v1/%c0%ae%c0%ae/admin"), record.Deny, "network.target", ""},
		"climbs, full width":           {paths("/v1/%EF%BC%8E%EF%BC%8E/admin"), record.Deny, "network.target", ""},
		"climbs with a space":          {paths("/v1/..%20/admin"), record.Deny, "network.target", ""},
		"empty segment":                {paths("/v1//admin"), record.Deny, "network.target", ""},
		"backslash":                    {paths(`/v1/\admin`), record.Deny, "network.target", ""},
		"zero byte":                    {paths("/v1/%00"), record.Deny, "network.target", ""},
		"half an escape":               {paths("/v1/%2"), record.Deny, "network.target", ""},
		"query in the path":            {paths("/v1/x?y"), record.Deny, "network.target", ""},
		"a grant is not stretched":     {changed(request("coder", "GET", "evil.example", "/a/../b"), granted(action.HTTPRequest, "https://evil.example/a/*")), record.Deny, "network.target", ""},
		"every path where all pass":    {request("coder", "GET", "api.model.example", "/@scope%2fname"), record.Allow, "allow.outward", ""},
		"granted":                      {changed(request("coder", "GET", "evil.example", "/a/b"), granted(action.HTTPRequest, "https://evil.example/a/*")), record.Allow, "grant:g1", ""},
		"the narrower rule counts":     {request("coder", "GET", "two.example", "/low/x"), record.Deny, "R3c", "may receive only public"},
		"the wider elsewhere":          {request("coder", "GET", "two.example", "/x"), record.Allow, "allow.outward", ""},
		"the more specific host first": {request("coder", "GET", "deep.docs.example", "/x"), record.Deny, "R3c", "profiles.coder.network.allow: deep.docs.example"},
		"another scheme":               {changed(paths("/v1/x"), func(q *record.Question) { q.Action.Target = "gopher://a.docs.example/v1/x" }), record.Deny, "network.target", ""},
		"target shows another path":    {changed(paths("/v1/x"), func(q *record.Question) { q.Action.Target = "https://a.docs.example/v1/y" }), record.Deny, "network.target", ""},
		"target with a user":           {changed(paths("/v1/x"), func(q *record.Question) { q.Action.Target = "https://u@a.docs.example/v1/x" }), record.Deny, "network.target", ""},
		"target with its port":         {changed(paths("/v1/x"), func(q *record.Question) { q.Action.Target = "https://a.docs.example:443/v1/x" }), record.Allow, "allow.outward", ""},
		"plain http on its port": {changed(paths("/v1/x"), func(q *record.Question) {
			q.Action.Target, q.Action.Args["port"] = "http://a.docs.example/v1/x", "80"
		}), record.Ask, "network.unlisted", ""},
		"port hidden by the scheme": {changed(paths("/v1/x"), func(q *record.Question) { q.Action.Target = "http://a.docs.example/v1/x" }), record.Deny, "network.target", ""},
		"no method":                 {request("coder", "", "api.model.example", "/"), record.Deny, "network.target", ""},
		"foreign recipient field": {changed(request("coder", "GET", "api.model.example", "/"), func(q *record.Question) {
			q.Action.ArgLabels = map[string]label.Label{"host": publicForeign}
		}), record.Allow, "allow.outward", ""},
	} {
		t.Run(name, func(t *testing.T) { tt.check(t, e) })
	}
}

func TestSecretsAndCommits(t *testing.T) {
	e := engine(t, guarded())
	use := func(agent, name, host string, port any) record.Question {
		return ask(agent, action.SecretUse, name, internalForeign, map[string]any{"host": host, "port": port, "field": "header:X-Api-Key"})
	}
	write := func(path string) record.Question {
		q := ask("", action.FileWrite, path, label.Bottom, map[string]any{"path": path, "protected": "true", "count": int64(3)})
		q.Action.Principal = principal.TheOperator("ann")
		q.Snapshot.Ceiling = label.Bottom
		return q
	}
	for name, tt := range map[string]decided{
		"bound":               {use("coder", "model", "api.model.example", int64(443)), record.Allow, "allow.outward", ""},
		"another host":        {use("coder", "model", "evil.example", int64(443)), record.Deny, "secrets.bound", "may not go to evil.example"},
		"a subdomain":         {use("coder", "model", "x.api.model.example", int64(443)), record.Deny, "secrets.bound", ""},
		"another port":        {use("coder", "model", "api.model.example", int64(8443)), record.Deny, "secrets.bound", ""},
		"no port":             {use("coder", "model", "api.model.example", nil), record.Deny, "secrets.bound", ""},
		"another profile":     {use("asker", "model", "api.model.example", int64(443)), record.Deny, "secrets.bound", ""},
		"unknown secret":      {use("coder", "other", "api.model.example", int64(443)), record.Deny, "secrets.bound", ""},
		"no approval helps":   {changed(use("coder", "model", "evil.example", int64(443)), approved), record.Deny, "secrets.bound", ""},
		"above the host":      {changed(use("coder", "model", "api.model.example", int64(443)), func(q *record.Question) { above(q); q.Snapshot.Ceiling = confidentialForeign }), record.Deny, "R3c", ""},
		"commit anywhere":     {write("/home/ann/project/main.go"), record.Allow, "allow.operator.commit", ""},
		"commit of foreign":   {changed(write("/p/x"), func(q *record.Question) { q.Action.ArgLabels = map[string]label.Label{"path": internalForeign} }), record.Allow, "allow.operator.commit", ""},
		"commit, unclean":     {write("/home/ann/../bob/x"), record.Deny, "security.allowed_file_paths", ""},
		"commit, read only":   {changed(write("/p/x"), func(q *record.Question) { q.Snapshot.ReadOnly = true }), record.Deny, "readOnlyMode", ""},
		"an agent beyond it":  {ask("coder", action.FileWrite, "/p/x", internalMember, map[string]any{"path": "/p/x"}), record.Deny, "security.allowed_file_paths", ""},
		"nobody's own action": {changed(write("/p/x"), func(q *record.Question) { q.Action.Principal = principal.ForAgent("") }), record.Deny, "agent.unknown", ""},
		"operator for agent": {changed(write("/p/x"), func(q *record.Question) {
			q.Action.Agent, q.Snapshot.Ceiling = "coder", confidentialForeign
		}), record.Deny, "security.allowed_file_paths", ""},
	} {
		t.Run(name, func(t *testing.T) { tt.check(t, e) })
	}
}

func TestNetworkLevel(t *testing.T) {
	e := engine(t, guarded())
	for _, tt := range []struct {
		profile, host, program string
		port                   uint16
		listed, perRequest     bool
	}{
		{"coder", "api.model.example", "", 443, true, false},
		{"coder", "API.Model.Example.", "", 443, true, false},
		{"coder", "api.model.example", "", 80, false, false},
		{"coder", "a.b.docs.example", "", 443, true, true},
		{"coder", "deep.docs.example", "", 443, true, true},
		{"coder", "two.example", "", 443, true, true},
		{"coder", "docs.example", "", 443, false, false},
		{"coder", "10.1.9.9", "", 5432, true, false},
		{"coder", "::ffff:10.1.9.9", "", 5432, true, false},
		{"coder", "git.example", "/usr/bin/git", 22, true, false},
		{"coder", "git.example", "git", 22, false, false},
		{"coder", "a..docs.example", "", 443, false, false},
		{"coder", "\u212aernel.docs.example", "", 443, false, false},
		{"asking", "api.model.example", "", 443, false, false},
		{"none", "api.model.example", "", 443, false, false},
	} {
		if listed, perRequest := e.NetworkLevel(tt.profile, tt.host, tt.port, tt.program); listed != tt.listed || perRequest != tt.perRequest {
			t.Errorf("%s %s:%d %q: %v, %v", tt.profile, tt.host, tt.port, tt.program, listed, perRequest)
		}
	}
	for name, want := range map[string]bool{
		"api.model.example": true, "API.model.example.": true, "x.docs.example": true, "docs.example": false, "evil.example": false,
		"10.1.2.3": false, "": false, ".": false, "a b": false, "data.that.leaves.evil.example": false,
	} {
		if got := e.NameAllowed("coder", name); got != want {
			t.Errorf("NameAllowed(%q) = %v", name, got)
		}
	}
	if !e.NameAllowed("asking", "evil.example") || e.NameAllowed("asking", "10.0.0.1") || e.NameAllowed("asking", "a b") || e.NameAllowed("none", "evil.example") {
		t.Error("what a profile that asks resolves")
	}
}

func TestRefusesNetworkSettings(t *testing.T) {
	rules := map[string]NetRule{
		"any": {Host: "*"}, "any of a domain": {Host: "*.com"}, "empty": {}, "capitals": {Host: "A.example"},
		"star inside": {Host: "a.*.example"}, "star without dot": {Host: "*docs.example"}, "star before address": {Host: "*.10.0.0.1"},
		"whole internet": {Host: "0.0.0.0/0"}, "unmasked": {Host: "10.0.0.1/8"}, "mapped": {Host: "::ffff:10.0.0.1"}, "odd address": {Host: "127.1"},
		"dot at the end": {Host: "a.example."}, "port 0": {Host: "a.example", Ports: []uint16{0}}, "method": {Host: "a.example", Methods: []string{"get"}},
		"path climbs": {Host: "a.example", Paths: []string{"/a/../b"}}, "relative path": {Host: "a.example", Paths: []string{"a"}},
		"path encoded": {Host: "a.example", Paths: []string{"/%61"}}, "two stars": {Host: "a.example", Paths: []string{"/a**"}},
		"program": {Host: "a.example", Programs: []string{""}}, "label": {Host: "a.example", Result: label.Label{Level: 9}},
		"clearance": {Host: "a.example", Clearance: label.Label{Level: 9}},
	}
	for name, r := range rules {
		s := guarded()
		s.Profiles["x"] = Profile{Network: []NetRule{r}}
		if _, err := New(s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, change := range map[string]func(*Settings){
		"unlisted":            func(s *Settings) { s.Profiles["x"] = Profile{Unlisted: "maybe"} },
		"secret of a pattern": func(s *Settings) { s.Secrets["x"] = Secret{Host: "*.example.org"} },
		"secret, capitals":    func(s *Settings) { s.Secrets["x"] = Secret{Host: "A.example"} },
		"sink by prefix": func(s *Settings) {
			s.Sinks = []Sink{{Kind: action.HTTPRequest, Target: "https://a.example*", Clearance: publicForeign}}
		},
	} {
		s := guarded()
		change(&s)
		if _, err := New(s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	base := engine(t, guarded()).SetDigest()
	s := guarded()
	s.Secrets["model"] = Secret{Host: "evil.example", Profiles: []string{"coder"}}
	if engine(t, s).SetDigest() == base {
		t.Error("a secret's host does not change the digest")
	}
	s = guarded()
	s.Profiles["coder"].Network[0].Host = "evil.example"
	if engine(t, s).SetDigest() == base {
		t.Error("a rule's host does not change the digest")
	}
}

// TestSuffixProperty: a pattern covers exactly the names below its suffix, in
// any case and with a dot at the end.
func TestSuffixProperty(t *testing.T) {
	e := engine(t, guarded())
	part := rapid.StringMatching(`[a-zA-Z0-9]([a-z0-9-]{0,5}[a-z0-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(part, 0, 4).Draw(t, "parts")
		tail := rapid.SampledFrom([]string{"docs.example", "DOCS.Example", "xdocs.example", "docs.example.org", "docs-example", "docs.examplex"}).Draw(t, "tail")
		name := strings.Join(append(parts, tail), rapid.SampledFrom([]string{".", ".", "-"}).Draw(t, "joint")) + rapid.SampledFrom([]string{"", "."}).Draw(t, "dot")
		lower := strings.TrimSuffix(strings.ToLower(name), ".")
		want := strings.HasSuffix(lower, ".docs.example")
		if got, _ := e.NetworkLevel("coder", name, 443, ""); got != want {
			t.Fatalf("%q: listed %v", name, got)
		}
		if got := e.NameAllowed("coder", name); got != want {
			t.Fatalf("%q: allowed %v", name, got)
		}
	})
}

// anyDestination draws consistent and inconsistent network questions.
func anyDestination() *rapid.Generator[record.Question] {
	hosts := rapid.SampledFrom([]string{"api.model.example", "a.docs.example", "deep.docs.example", "evil.example", "10.1.2.3", "10.9.9.9", "2001:db8::7", "two.example", "A.docs.example", "a b", ""})
	return rapid.Custom(func(t *rapid.T) record.Question {
		host := hosts.Draw(t, "host")
		port := rapid.SampledFrom([]int{443, 80, 22, 5432, 0, 70000}).Draw(t, "port")
		agent := rapid.SampledFrom([]string{"coder", "asker", "night", "eve", ""}).Draw(t, "agent")
		q := connect(agent, host, port, rapid.SampledFrom([]string{"", "/usr/bin/git", "ssh"}).Draw(t, "program"))
		if rapid.Bool().Draw(t, "request") {
			path := rapid.SampledFrom([]string{"/v1/x", "/", "/v1/../x", "/low/%2e/x", "x", ""}).Draw(t, "path")
			q = request(agent, rapid.SampledFrom([]string{"GET", "POST", ""}).Draw(t, "method"), host, path)
		}
		if rapid.Bool().Draw(t, "other target") {
			q.Action.Target = net.JoinHostPort(hosts.Draw(t, "shown"), "443")
		}
		if rapid.Bool().Draw(t, "granted") {
			granted(q.Action.Kind, rapid.SampledFrom([]string{"*", "evil.example:443", "https://evil.example/*"}).Draw(t, "grant"))(&q)
		}
		q.Snapshot.Context = rapid.SampledFrom([]label.Label{publicForeign, internalForeign, confidentialForeign, internalMember, label.Unlabelled}).Draw(t, "context")
		q.Args = q.Snapshot.Context
		if rapid.Bool().Draw(t, "approved") {
			approved(&q)
		}
		return q
	})
}

// TestNetworkIsBounded: whatever is asked, nothing leaves above the clearance
// of a rule that lists the destination, and without one nothing leaves without
// a yes or above the view.
func TestNetworkIsBounded(t *testing.T) {
	s := guarded()
	e := engine(t, s)
	rapid.Check(t, func(t *rapid.T) {
		q := anyDestination().Draw(t, "question")
		if err := e.validators.all.Request(e.request(e.factsOf(&q), q.Approvals)); err != nil {
			t.Fatal(err)
		}
		d := e.Decide(q)
		if d.Verdict == record.Deny {
			return
		}
		a := &q.Action
		if a.Kind == action.NetConnect && a.Target != net.JoinHostPort(a.Arg("host"), fmt.Sprint(a.Args["port"])) {
			t.Fatalf("%s stands for %v", a.Target, a.Args)
		}
		profile := s.Profiles[s.Agents[a.Agent].Profile]
		highest := profile.View
		for _, r := range profile.Network {
			if r.Clearance.Level > highest.Level && strings.Contains(a.Target, "10.1.") {
				highest = r.Clearance
			}
		}
		if !q.Args.ConfFlowsTo(highest) {
			t.Fatalf("%v reached %s", q.Args, a.Target)
		}
		port, _ := portOf(a.Args["port"])
		if listed, _ := e.NetworkLevel(s.Agents[a.Agent].Profile, a.Arg("host"), port, a.Arg("program")); !listed && d.Verdict == record.Allow && q.Approvals["owner"] < 1 && len(q.Snapshot.Grants) == 0 {
			t.Fatalf("%s was allowed by nobody", a.Target)
		}
	})
}

// FuzzDestination: text from inside a sandbox never panics the matcher, and
// what is canonical stays so.
func FuzzDestination(f *testing.F) {
	for _, s := range []string{"a.docs.example|/v1/%2e", "10.1.2.3|/", "[::1]|//", "xn--a.docs.example.|/v1/..;/", "\u212a|/%c0%ae", "127.1|\\"} {
		f.Add(s)
	}
	e := engine(f, guarded())
	f.Fuzz(func(t *testing.T, text string) {
		host, path, _ := strings.Cut(text, "|")
		if c, ok := canonicalHost(host); ok {
			if again, ok := canonicalHost(c); !ok || again != c {
				t.Fatalf("%q became %q, then %q", host, c, again)
			}
			if strings.ContainsAny(c, "/\\@%?# \t\n\x00") || c == "" {
				t.Fatalf("%q is a host", c)
			}
		}
		if c, ok := cleanPath(path); ok && (strings.Contains(c, "/../") || strings.HasSuffix(c, "/..") || strings.Contains(c, "//") || c[0] != '/') {
			t.Fatalf("%q is clean", c)
		}
		for _, q := range []record.Question{connect("coder", host, 443, path), request("coder", "GET", host, path)} {
			if d := e.Decide(q); len(d.Rules) > 0 && d.Rules[0] == "policy.error" {
				t.Fatalf("%s", d.Because)
			}
		}
		e.NetworkLevel("coder", host, 443, path)
		e.NameAllowed("coder", host)
	})
}
