package policy

import (
	"maps"
	"slices"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// plant puts a rule into an engine past the validator.
func plant(t *testing.T, e *Engine, id, text string) {
	t.Helper()
	list, err := cedar.NewPolicyListFromBytes(id, []byte(text))
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %v", text, err)
	}
	r := &Rule{ID: id, pid: types.PolicyID(id), policy: list[0], eval: withoutAction(list[0]), Origin: "planted", Effect: "permit", Kinds: kindsOf(astOf(list[0]).Action)}
	if list[0].Effect() == cedar.Forbid {
		r.Effect = "forbid"
	}
	e.rules = append(e.rules, r)
	e.byID[r.pid] = r
	e.index(r)
}

// TestPanicDenies: a reader of commands that panics is no way in.
func TestPanicDenies(t *testing.T) {
	s := nightwatch()
	s.Commands = func(string) Commands { panic("boom") }
	d := engine(t, s).Decide(ask("night", action.Exec, "s", internalForeign, script("ls")))
	if d.Verdict != record.Deny || d.Rules[0] != "policy.error" {
		t.Errorf("%v by %v", d.Verdict, d.Rules)
	}
}

func TestExplainNamesNearest(t *testing.T) {
	e := engine(t, nightwatch())
	x := e.Explain(ask("night", action.SessionStart, "desk", internalMember, nil))
	if x.Nearest == nil || x.Nearest.ID != "allow.session.start" || x.Nearest.Failing != "context.target == context.agent.profile" {
		t.Errorf("nearest %+v", x.Nearest)
	}
	if len(x.Considered) < 5 || x.Request == "" {
		t.Errorf("explanation %+v", x)
	}
}

func TestRulesShowOrigin(t *testing.T) {
	seen := map[string]Rule{}
	for _, r := range engine(t, withPolicies(`@id("mine") forbid (principal, action == Action::"exec", resource);`)).Rules() {
		if r.Text == "" || r.Origin == "" || len(r.Kinds) == 0 {
			t.Errorf("%s: %+v", r.ID, r)
		}
		seen[r.ID] = r
	}
	for _, id := range []string{"R1a", "R1b", "R3a", "R3b", "R3c", "readOnlyMode", "security.blocked_commands", "commandProtection.auto"} {
		if seen[id].Effect == "" {
			t.Errorf("%s is not shown", id)
		}
	}
	if r := seen["mine"]; r.Origin != "site.cedar:1:1" || len(r.Kinds) != 1 || r.Kinds[0] != action.Exec {
		t.Errorf("mine: %+v", r)
	}
	if seen["R8"].Effect != "ask" || seen["R8"].Ask != "1:owner" {
		t.Errorf("R8: %+v", seen["R8"])
	}
}

func TestCases(t *testing.T) {
	const file = `
- name: the auditor looks around
  action: exec
  target: s
  agent: night
  label: internal/foreign
  args: {script: ls}
  expect: allow
- {name: nothing leaves, action: model.call, target: anthropic/x, agent: night, label: internal/foreign, expect: deny, rule: R3c}
- {name: wrong on purpose, action: exec, target: s, agent: manual, label: internal/foreign, args: {script: ls, n: 3}, expect: allow}
- {name: operator, action: agent.spawn, target: night, args: {label: public/member, ceiling: internal/foreign}, expect: allow, rule: allow.operator}
`
	cases, err := ParseCases("cases.yaml", []byte(file), label.Scheme{})
	if err != nil {
		t.Fatal(err)
	}
	var got []bool
	for _, r := range engine(t, nightwatch()).RunCases(cases) {
		got = append(got, r.Pass)
		if r.Pass != (r.Mismatch == "") {
			t.Errorf("%+v", r)
		}
	}
	if len(got) != 4 || !got[0] || !got[1] || got[2] || !got[3] {
		t.Errorf("passes %v", got)
	}
	if _, err := ParseCases("cases.json", []byte(`[{"name":"x","action":"exec","agent":"night","args":{"script":"ls"},"expect":"allow"}]`), label.Scheme{}); err != nil {
		t.Errorf("JSON: %v", err)
	}
	for _, bad := range []string{
		``, `[]`, `- {name: x, action: fly, expect: allow}`, `- {name: x, action: exec, expect: maybe}`,
		`- {name: x, action: exec, expect: deny, colour: red}`, `- {name: x, action: exec, expect: deny, label: top}`,
		`- {name: x, action: exec, expect: deny, now: noon}`, `- [`,
	} {
		if _, err := ParseCases("bad.yaml", []byte(bad), label.Scheme{}); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

func FuzzCases(f *testing.F) {
	f.Add([]byte(`- {name: x, action: exec, expect: deny, args: {a: [1, 2.5, {b: c}]}}`))
	e := engine(f, nightwatch())
	f.Fuzz(func(t *testing.T, data []byte) {
		cases, err := ParseCases("fuzz.yaml", data, label.Scheme{})
		if err != nil {
			return
		}
		e.RunCases(cases)
	})
}

// FuzzLoad: text that is not a valid policy set is refused, never a panic.
func FuzzLoad(f *testing.F) {
	f.Add(`@id("a") @ask("1:owner") forbid (principal, action == Action::"exec", resource) unless { context.approval.owner >= 1 };`)
	base := engine(f, nightwatch())
	q := ask("night", action.Exec, "s", internalForeign, script("ls"))
	f.Fuzz(func(t *testing.T, text string) {
		e := *base // the generated rules are validated once only
		e.rules, e.byID, e.byKind = slices.Clone(base.rules), maps.Clone(base.byID), map[action.Kind]*index{}
		for _, r := range base.rules {
			e.index(r)
		}
		if err := e.load("fuzz.cedar", text, ""); err != nil {
			return
		}
		e.Explain(q)
	})
}
