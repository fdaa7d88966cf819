package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

func withPolicies(text string) Settings {
	s := nightwatch()
	s.Extra = []Source{{Name: "site.cedar", Text: text}}
	return s
}

func TestOperatorPolicies(t *testing.T) {
	e := engine(t, withPolicies(`
@id("two-people") @ask("1:owner,2:finance") @because("mail to the bank needs two of finance and the owner")
forbid (principal, action == Action::"message.send", resource == Recipient::"mail/bank")
unless { context.approval.finance >= 2 && context.approval.owner >= 1 };

@id("never") @ask("1:owner")
forbid (principal, action == Action::"message.send", resource == Recipient::"mail/never")
when { context.target == "mail/never" };

@id("night-only")
forbid (principal == Agent::"night", action == Action::"exec", resource)
when { context.now < datetime("2026-01-01T06:00:00Z") };

@id("tired")
forbid (principal, action == Action::"exec", resource) when { context.hist.calls > 3 || context.hist.denials > 5 };
`))
	send := func(to string, approvals map[string]int) record.Question {
		q := ask("night", action.MessageSend, to, internalMember, nil)
		q.Approvals = approvals
		return q
	}
	exec := func(change func(*record.Question)) record.Question {
		q := ask("night", action.Exec, "s", internalForeign, script("ls"))
		change(&q)
		return q
	}
	tests := map[string]struct {
		q       record.Question
		verdict record.Verdict
		rule    string
		needs   []record.Need
	}{
		"asks both":    {send("mail/bank", nil), record.Ask, "two-people", []record.Need{{Count: 1, Group: "owner"}, {Count: 2, Group: "finance"}}},
		"one of two":   {send("mail/bank", map[string]int{"owner": 1, "finance": 1}), record.Ask, "two-people", []record.Need{{Count: 1, Group: "owner"}, {Count: 2, Group: "finance"}}},
		"enough":       {send("mail/bank", map[string]int{"owner": 1, "finance": 2}), record.Allow, "allow.outward", nil},
		"ask in vain":  {send("mail/never", nil), record.Deny, "never", nil},
		"ordinary":     {send("mail/bob", nil), record.Allow, "allow.outward", nil},
		"time passed":  {exec(func(*record.Question) {}), record.Allow, "allow.exec", nil},
		"too early":    {exec(func(q *record.Question) { q.Now = q.Now.Add(-9 * time.Hour) }), record.Deny, "night-only", nil},
		"too often":    {exec(func(q *record.Question) { q.Snapshot.Calls = map[string]int{"exec": 4} }), record.Deny, "tired", nil},
		"too stubborn": {exec(func(q *record.Question) { q.Snapshot.Denials = 6 }), record.Deny, "tired", nil},
	}
	for name, tt := range tests {
		d := e.Decide(tt.q)
		if d.Verdict != tt.verdict || d.Rules[0] != tt.rule {
			t.Errorf("%s: %v by %v: %s", name, d.Verdict, d.Rules, d.Because)
		}
		if diff := cmp.Diff(tt.needs, d.Needs); diff != "" {
			t.Errorf("%s: needs (-want +got):\n%s", name, diff)
		}
	}
}

// TestRefusesToLoad: a policy that could surprise is not loaded, and the error
// says where it stands.
func TestRefusesToLoad(t *testing.T) {
	const scope = `permit (principal, action == Action::"exec", resource)`
	tests := map[string]struct{ text, want string }{
		"syntax":              {"\n@id(\"a\")\npermit (principal action, resource);", "site.cedar:3:"},
		"no id":               {scope + ";", "needs @id"},
		"strange id":          {`@id("a b") ` + scope + ";", "needs @id"},
		"duplicate":           {`@id("a") ` + scope + `; @id("a") ` + scope + ";", "taken by site.cedar:1:1"},
		"shadows a built-in":  {`@id("R3c") ` + scope + ";", "taken by built in: R3c"},
		"misspelt annotation": {`@id("a") @aks("1:owner") ` + scope + ";", "@aks"},
		"ask on permit":       {`@id("a") @ask("1:owner") ` + scope + ";", "@ask belongs on a forbid"},
		"unknown group":       {`@id("a") @ask("1:board") forbid (principal, action, resource);`, "board"},
		"no people":           {`@id("a") @ask("0:owner") forbid (principal, action, resource);`, "count:group"},
		"unknown attribute":   {`@id("a") ` + scope + ` when { context.colour == "red" };`, "colour"},
		"unguarded optional":  {`@id("a") ` + scope + ` when { context.args.script == "ls" };`, "script"},
		"type error":          {`@id("a") ` + scope + ` when { context.label.level == "secret" };`, "site.cedar:1:1"},
		"unknown action":      {`@id("a") permit (principal, action == Action::"exe", resource);`, "exe"},
		"wrong resource":      {`@id("a") permit (principal, action == Action::"exec", resource == Tool::"x");`, "site.cedar:1:1"},
		"group not declared":  {`@id("a") forbid (principal, action, resource) when { context.approval.board > 0 };`, "board"},
	}
	for name, tt := range tests {
		_, err := New(withPolicies(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "site.cedar") {
			t.Errorf("%s: error %v, want one with %q and the file", name, err, tt.want)
		}
	}
	if _, err := New(withPolicies(`@id("guarded") ` + scope + ` when { context.args has script && context.args.script like "ls*" };`)); err != nil {
		t.Errorf("guarded: %v", err)
	}
}

func TestRefusesSettings(t *testing.T) {
	tests := map[string]func(*Settings){
		"no reader":       func(s *Settings) { s.Commands = nil },
		"unknown profile": func(s *Settings) { s.Agents["x"] = Agent{Profile: "nope"} },
		"protection":      func(s *Settings) { s.Agents["x"] = Agent{Protection: "maybe"} },
		"unnamed agent":   func(s *Settings) { s.Agents[""] = Agent{} },
		"sink kind":       func(s *Settings) { s.Sinks = []Sink{{Kind: "fly", Target: "x"}} },
		"star in middle":  func(s *Settings) { s.Sinks = []Sink{{Kind: action.Exec, Target: "a*b"}} },
		"label range": func(s *Settings) {
			s.Results = []Result{{Kind: action.Exec, Target: "*", Label: label.Label{Level: 4}}}
		},
		"relative path": func(s *Settings) { s.AllowedPaths = []string{"data"} },
		"unclean path":  func(s *Settings) { s.AllowedPaths = []string{"/srv/"} },
		"group name":    func(s *Settings) { s.Groups = []string{"A B"} },
	}
	for name, change := range tests {
		s := nightwatch()
		change(&s)
		if _, err := New(s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestZeroSettingsDeny: nothing configured, nothing allowed but what the
// operator does.
func TestZeroSettingsDeny(t *testing.T) {
	e := engine(t, Settings{})
	for _, r := range action.Kinds() {
		if d := e.Decide(ask("night", r.Kind, "x", label.Bottom, nil)); d.Verdict != record.Deny {
			t.Errorf("%s: %v by %v", r.Kind, d.Verdict, d.Rules)
		}
	}
}

func TestDigestFollowsSettings(t *testing.T) {
	base := engine(t, nightwatch()).SetDigest()
	if again := engine(t, nightwatch()).SetDigest(); again != base {
		t.Error("the digest is not stable")
	}
	changes := map[string]func(*Settings){
		"policy":    func(s *Settings) { s.Extra = []Source{{"a", `@id("a") forbid (principal, action, resource);`}} },
		"sink":      func(s *Settings) { s.Sinks[0].Clearance = label.Unlabelled },
		"agent":     func(s *Settings) { s.Agents["x"] = Agent{} },
		"blocked":   func(s *Settings) { s.BlockedCommands = []string{"dd"} },
		"read only": func(s *Settings) { s.ReadOnly = true },
	}
	for name, change := range changes {
		s := nightwatch()
		change(&s)
		if engine(t, s).SetDigest() == base {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

// anyQuestion draws questions that reach every kind and many odd corners.
func anyQuestion() *rapid.Generator[record.Question] {
	agents := []string{"night", "manual", "auto", "desk", "low", "eve", ""}
	labels := rapid.Custom(func(t *rapid.T) label.Label {
		return label.New(label.Level(rapid.IntRange(0, 3).Draw(t, "level")), label.Integrity(rapid.IntRange(0, 2).Draw(t, "integrity")),
			label.Compartments(rapid.SampledFrom([]uint64{0, 0, 1, 3, ^uint64(0)}).Draw(t, "compartments")))
	})
	return rapid.Custom(func(t *rapid.T) record.Question {
		row := rapid.SampledFrom(action.Kinds()).Draw(t, "kind")
		agent := rapid.SampledFrom(agents).Draw(t, "agent")
		q := ask(agent, row.Kind, rapid.SampledFrom([]string{"auditor", "s", "builtin/x", "anthropic/y", "mail/bob", "/srv/data/a", "clock/now", "\"\\\x00é"}).Draw(t, "target"),
			labels.Draw(t, "context"), map[string]any{})
		q.Snapshot.Ceiling = labels.Draw(t, "ceiling")
		q.Args = q.Snapshot.Context
		for _, name := range append(argNames(row), "other") {
			switch rapid.IntRange(0, 3).Draw(t, "arg "+name) {
			case 0:
				q.Action.Args[name] = rapid.SampledFrom([]string{"ls", "rm -rf /", "pass", "/srv/data/a", "internal/foreign"}).Draw(t, name)
			case 1:
				q.Action.Args[name] = []any{int64(1), map[string]any{"a": true}}
			case 2:
				q.Action.ArgLabels = map[string]label.Label{name: labels.Draw(t, "label of "+name)}
			}
		}
		q.Action.Principal.Kind = principal.Kind(rapid.IntRange(0, 4).Draw(t, "principal"))
		q.Snapshot.ReadOnly = rapid.Bool().Draw(t, "read only")
		if rapid.Bool().Draw(t, "approved") {
			q.Approvals = map[string]int{"owner": rapid.IntRange(-1, 2).Draw(t, "n"), "nobody": 1}
		}
		return q
	})
}

// TestRequestsFollowSchema: what the one builder makes is what policies were
// validated against.
func TestRequestsFollowSchema(t *testing.T) {
	e := engine(t, nightwatch())
	rapid.Check(t, func(t *rapid.T) {
		q := anyQuestion().Draw(t, "question")
		if q.Action.Kind == action.Exec && q.Action.Arg("script") == "" {
			q.Action.Args["script"] = "ls"
		}
		if err := e.validators.all.Request(e.request(e.factsOf(&q), q.Approvals)); err != nil {
			t.Fatal(err)
		}
	})
}

// TestLabelRulesAreExact compares decisions with the lattice itself: whatever
// is allowed to an agent flows where it goes.
func TestLabelRulesAreExact(t *testing.T) {
	s := nightwatch()
	s.Commands = func(string) Commands { return Commands{} }
	e := engine(t, s)
	rapid.Check(t, func(t *rapid.T) {
		q := anyQuestion().Draw(t, "question")
		d := e.Decide(q)
		if d.Verdict == record.Deny || q.Action.Agent == "" {
			return
		}
		args := q.Snapshot.Context
		for _, l := range q.Action.ArgLabels {
			args = args.Join(l)
		}
		row, _ := action.RowOf(q.Action.Kind)
		agent := s.Agents[q.Action.Agent]
		switch {
		case q.Snapshot.Context.Integrity < row.Needs:
			t.Fatal("context below the needed integrity")
		case !args.FlowsTo(d.ResultLabel):
			t.Fatalf("result %v below its arguments %v", d.ResultLabel, args)
		case !d.ResultLabel.FlowsTo(q.Snapshot.Ceiling):
			t.Fatalf("result %v above the ceiling %v", d.ResultLabel, q.Snapshot.Ceiling)
		case !d.ResultLabel.ConfFlowsTo(agent.Clearance):
			t.Fatalf("result %v above the clearance %v", d.ResultLabel, agent.Clearance)
		case q.Action.Kind == action.ModelCall && strings.HasPrefix(q.Action.Target, "anthropic/") && !args.ConfFlowsTo(publicForeign):
			t.Fatalf("%v reached a public endpoint", args)
		}
	})
}

// TestErrorsNeverAllow plants policies that fail when they are evaluated (the
// validator would have refused them) and asks 10,000 questions: not one may be
// allowed on the strength of what was left.
func TestErrorsNeverAllow(t *testing.T) {
	broken := []string{
		`forbid (principal, action, resource) when { context.nothing == 1 };`,
		`forbid (principal, action, resource) when { context.label.level + "x" == 1 };`,
		`forbid (principal, action, resource) when { principal.owner == "x" };`,
		`permit (principal, action, resource) when { context.target > 3 };`,
		`forbid (principal, action, resource) unless { ip(context.target).isLoopback() };`,
		`forbid (principal, action, resource) when { 9223372036854775807 + context.label.level + 1 > 0 };`,
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var engines []*Engine
	for i, text := range broken {
		e := engine(t, nightwatch())
		plant(t, e, fmt.Sprintf("broken%d", i), text)
		engines = append(engines, e)
	}
	base := engine(t, nightwatch())
	gen := anyQuestion()
	allowed := 0
	questions := make([]record.Question, 701) // coprime with the number of engines
	for i := range questions {
		questions[i] = gen.Example(int(rng.Int32()))
	}
	for i := range 10_000 { // 10,000 pairs of question and broken policy
		q := questions[i%len(questions)]
		if q.Action.Kind == action.Exec && q.Action.Arg("script") == "" {
			q.Action.Args["script"] = "ls"
		}
		if i < len(questions) && base.Decide(q).Verdict != record.Deny {
			allowed++
		}
		d := engines[i%len(engines)].Decide(q)
		if d.Verdict != record.Deny || d.Rules[0] != "policy.error" || d.Because == "" {
			t.Fatalf("%s: %v by %v: %s", broken[i%len(broken)], d.Verdict, d.Rules, d.Because)
		}
	}
	if allowed == 0 {
		t.Error("no question would have been allowed: the test proves nothing")
	}
}
