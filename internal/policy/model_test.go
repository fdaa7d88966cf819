package policy_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/internal/action"
	"sallyport/internal/audit"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/policy"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/store"
	"sallyport/test/flowmodel"
)

// The model of test/flowmodel, whose theorems are checked there, and the
// implementation (the engine, the gate and the ledger in SQLite) take the same
// random steps; verdicts, the rule that denied and labels must agree.
//
// What is compared: R0 (what nobody described), R1 and R3 to R6 on contexts of
// agents with random clearances, endpoints and ceilings, tools, recipients,
// models, files and items with random labels; children that agents spawn and
// the futures that they leave; R7 with budgets that children share; R8 for what
// agents and the operator ask to be lowered, with quorums of random size; and
// standing grants with delegation. Where the implementation differs:
//
//   - It has no results by reference (R4): the result of a call is read at once,
//     so a step is the model's Call and then Read. Items are referred to.
//   - An agent says that it wants its context to rise (rule taint), and what it
//     may not read is R1 whatever it wanted with it.
//   - A context may be born higher than its parent, and a tool or a ceiling of
//     the settings bounds it besides what it was spawned with.
//   - R9 is not there: nothing is set back.
//   - An action has approvals or a grant that covers it, never both.
//
// A check is 500 steps. SALLYPORT_MODEL_STEPS sets how many are taken in all,
// 50,000 by default, with labels, nonces and grants in memory; a tenth as many
// are taken again with the store.

const stepsPerCheck = 500

// both is the implementation and the model of it.
type both struct {
	book
	g    *gate.Gate
	now  time.Time
	find []record.Approval // what the next action has

	rules    flowmodel.Rules
	agents   map[string]policy.Agent
	settings policy.Settings
	round    int
	names    []string // of contexts
	contexts map[string]*flowmodel.Context
	owner    map[string]string // context -> agent
	bits     map[string]int
	items    map[string]label.Label
	refs     []string // of items, in order
	standing flowmodel.Standings
	ids      []string
	nonces   []string
	used     map[string]bool
	quorum   int            // owners that must sign what is lowered
	counts   map[string]int // how often what was seen, to know that it is
}

// Find implements gate.Approver.
func (b *both) Find(context.Context, action.Digest) ([]record.Approval, error) { return b.find, nil }

// Await implements gate.Approver: nobody answers.
func (b *both) Await(context.Context, record.ApprovalRequest) ([]record.Approval, error) {
	return nil, fault.New("test", fault.NeedsAsk, "nobody answered")
}

// Resolve implements gate.References.
func (b *both) Resolve(_ context.Context, a action.Action) (action.Action, error) {
	ref := a.Arg("item")
	if ref == "" || ref == "new" {
		return a, nil
	}
	l, ok := b.items[ref]
	if !ok {
		l = label.Unlabelled
	}
	a.Args, a.ArgLabels = maps.Clone(a.Args), maps.Clone(a.ArgLabels)
	if a.ArgLabels == nil {
		a.ArgLabels = map[string]label.Label{}
	}
	a.Args["version"], a.ArgLabels["item"] = int64(1), l
	return a, nil
}

// Perform implements gate.Executor.
func (b *both) Perform(_ context.Context, p *gate.Permit) (record.Result, error) {
	a, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	if text := a.Arg("label"); a.Kind == action.DataLower || a.Kind == action.DataWrite && text != "" {
		l, err := label.Parse(text)
		b.add(l)
		return record.Result{}, err
	}
	if a.Kind == action.DataWrite && a.Target == "new" {
		b.add(p.Label)
	}
	return record.Result{}, nil
}

// add makes an item.
func (b *both) add(l label.Label) {
	ref := fmt.Sprintf("o-%d-%d", b.round, len(b.refs))
	b.refs, b.items[ref] = append(b.refs, ref), l
}

var (
	noon       = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	everything = label.New(label.Secret, label.Foreign, 3)
	open       = label.New(label.Public, label.Foreign, 0)
	modelSays  = label.New(label.Public, label.Member, 0)
)

func modelSteps(t *testing.T) int {
	steps := 50_000
	if raced {
		steps = 5000
	}
	if text := os.Getenv("SALLYPORT_MODEL_STEPS"); text != "" {
		if _, err := fmt.Sscan(text, &steps); err != nil {
			t.Fatal(err)
		}
	}
	return steps
}

// TestModel compares the engine and the gate with the model.
func TestModel(t *testing.T) {
	b := newBoth()
	b.book = &memory{now: b.clock, contexts: map[string]*record.Fork{}, nonces: map[string]bool{}}
	b.run(t, modelSteps(t))
}

// TestModelStore compares them with the ledger in SQLite.
func TestModelStore(t *testing.T) {
	b := newBoth()
	dir := t.TempDir()
	keys, err := audit.OpenKeys(filepath.Join(dir, "keys"), "model")
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), store.Options{Dir: dir, Tree: keys, Instance: "model", Now: b.clock})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b.book = s
	b.run(t, modelSteps(t)/10)
}

func newBoth() *both {
	return &both{now: noon, counts: map[string]int{}, used: map[string]bool{}}
}

func (b *both) clock() time.Time { return b.now }

func (b *both) run(t *testing.T, steps int) {
	taken := 0
	for taken < steps && !t.Failed() {
		rapid.Check(t, func(rt *rapid.T) {
			if taken < steps || t.Failed() { // a check is 100 of these, whatever is asked for
				taken += stepsPerCheck
				b.check(rt, t)
			}
		})
	}
	for _, what := range []string{
		"R1", "R1a", "R1b", "R1c", "R3a", "R3b", "R3c", "R5", "R6", "R7", "taint", "allow", "grant", "delegate", "approval", "used",
		"child", "read", "write", "extract", "lower",
	} {
		if steps >= 5000 && b.counts[what] < steps/10_000+1 {
			t.Errorf("%s was seen %d times only in %d steps", what, b.counts[what], taken)
		}
	}
	t.Logf("%d steps: %v", taken, b.counts)
}

func (b *both) check(rt *rapid.T, t *testing.T) {
	b.begin(rt)
	for range stepsPerCheck {
		switch n := rapid.IntRange(0, 99).Draw(rt, "step"); {
		case len(b.names) < 3 || n < 3:
			b.spawn(rt, t)
		case n < 35:
			b.act(rt, t)
		case n < 55:
			b.data(rt, t)
		case n < 65:
			b.extract(rt, t)
		case n < 70:
			b.child(rt, t)
		case n < 80:
			b.command(rt, t)
		case n < 90:
			b.lower(rt, t)
		case n < 96:
			b.give(rt, t)
		case n < 98:
			b.revoke(rt, t)
		default:
			b.now = b.now.Add(time.Minute)
			b.standing.Now++
		}
	}
}

// labels draws a label, often one end of the lattice, so that much is allowed
// and much denied.
func labels(common ...label.Label) *rapid.Generator[label.Label] {
	return rapid.Custom(func(t *rapid.T) label.Label {
		if i := rapid.IntRange(0, 2*len(common)).Draw(t, "common"); i < len(common) {
			return common[i]
		}
		return label.New(label.Level(rapid.IntRange(0, 3).Draw(t, "level")), label.Integrity(rapid.IntRange(0, 2).Draw(t, "integrity")),
			label.Compartments(rapid.IntRange(0, 3).Draw(t, "compartments")))
	})
}

var (
	low  = labels(label.Bottom, label.Bottom, modelSays, open)
	high = labels(everything, everything, everything)
)

// begin makes a new engine of random settings, and forgets contexts, items and
// grants.
func (b *both) begin(rt *rapid.T) {
	for _, id := range b.ids {
		_ = b.Revoke(context.Background(), id, "test")
	}
	b.round++
	b.names, b.contexts, b.owner, b.bits = nil, map[string]*flowmodel.Context{}, map[string]string{}, map[string]int{}
	b.ids, b.standing, b.nonces = nil, flowmodel.Standings{}, nil
	b.refs, b.items = nil, map[string]label.Label{}
	for range 4 {
		b.add(labels().Draw(rt, "item"))
	}
	agent := func() policy.Agent {
		return policy.Agent{
			Profile: "p", Ceiling: high.Draw(rt, "ceiling"), Clearance: high.Draw(rt, "clearance"), Endpoint: high.Draw(rt, "endpoint"),
			Spawns: rapid.SampledFrom([][]string{nil, {"bob"}, {"ann", "bob"}}).Draw(rt, "spawns"),
		}
	}
	b.agents = map[string]policy.Agent{
		"ann": agent(), "bob": agent(),
		"manual": {Profile: "p", Protection: policy.ProtectManual, Ceiling: everything, Clearance: everything, Endpoint: everything},
	}
	b.settings = policy.Settings{
		Agents: b.agents, AllowedPaths: []string{"/d"},
		Profiles: map[string]policy.Profile{"p": {Exec: true, Writable: true, View: low.Draw(rt, "view")}},
	}
	if b.quorum = rapid.IntRange(0, 3).Draw(rt, "quorum"); b.quorum > 0 {
		b.settings.Quorums = []policy.Quorum{{Kinds: []action.Kind{action.DataLower}, Needs: []record.Need{{Count: b.quorum, Group: "owner"}}}}
	}
	b.quorum = max(b.quorum, 1)
	for _, i := range []string{"0", "1"} {
		for _, sink := range []policy.Sink{
			{Kind: action.ModelCall, Target: "m/"}, {Kind: action.ToolCall, Target: "t/"}, {Kind: action.MessageSend, Target: "mail/", Agents: []string{"ann", "manual"}},
		} {
			sink.Target += i
			sink.Clearance = high.Draw(rt, "sink")
			if sink.Agents != nil { // a slot
				sink.Floor, sink.Endorsed = sink.Clearance.Integrity, sink.Clearance.Integrity == label.Foreign
			}
			b.settings.Sinks = append(b.settings.Sinks, sink)
		}
		b.settings.Results = append(b.settings.Results, policy.Result{Kind: action.ToolCall, Target: "t/" + i, Label: low.Draw(rt, "result")})
	}
	e, err := policy.New(b.settings)
	if err != nil {
		rt.Fatal(err)
	}
	executors := map[action.Kind]gate.Executor{}
	for _, r := range action.Kinds() {
		executors[r.Kind] = b
	}
	if b.g, err = gate.New(gate.Config{Ledger: b.book, Policy: e, Approver: b, References: b, Executors: executors, Now: b.clock}); err != nil {
		rt.Fatal(err)
	}
}

// do takes a step on both sides: denied is the model's rule, empty if it
// allows, and after the label that the context has then.
func (b *both) do(rt *rapid.T, t *testing.T, a action.Action, denied string, after label.Label) {
	_, err := b.g.Do(t.Context(), a)
	b.find = nil
	if (err == nil) != (denied == "") {
		rt.Fatalf("%s %s by %s: implementation %v, model %q\n%+v", a.Kind, a.Target, a.Agent, err, denied, b.settings)
	}
	if denied == "" {
		b.counts["allow"]++
	} else {
		b.counts[denied]++
		b.sameRule(rt, err, denied)
	}
	c := b.contexts[a.Context]
	if c == nil {
		return
	}
	if denied == "" {
		c.Label = after
	}
	snap, err := b.Snapshot(t.Context(), record.Scope{Agent: a.Agent, Session: a.Session, Context: a.Context})
	if err != nil || snap.Context != c.Label || snap.Ceiling != c.Ceiling || snap.Bits != b.bits[a.Context] {
		rt.Fatalf("%s %s: label %s below %s, %d bits (%v), model %s below %s, %d bits", a.Kind, a.Target, snap.Context, snap.Ceiling, snap.Bits, err,
			c.Label, c.Ceiling, b.bits[a.Context])
	}
}

func (b *both) sameRule(rt *rapid.T, err error, rule string) {
	if refusal, ok := errors.AsType[*gate.Refusal](err); ok && !slices.Contains(refusal.Decision.Rules, rule) {
		rt.Fatalf("denied by %v, by %s in the model", refusal.Decision.Rules, rule)
	}
	if !fault.Is(err, fault.Denied) {
		rt.Fatalf("an error is no denial: %v", err)
	}
}

func (b *both) spawn(rt *rapid.T, t *testing.T) {
	agent := rapid.SampledFrom([]string{"ann", "bob", "manual", "eve"}).Draw(rt, "agent")
	l, ceiling := low.Draw(rt, "label"), high.Draw(rt, "ceiling")
	if known, ok := b.agents[agent]; ok && rapid.IntRange(0, 3).Draw(rt, "fits") > 0 {
		ceiling = known.Ceiling
	}
	name := fmt.Sprintf("c%d-%d", b.round, len(b.names))
	a := action.Action{
		Kind: action.AgentSpawn, Target: agent, Session: "s", Principal: principal.TheOperator("op"),
		Args: map[string]any{"context": name, "label": l.String(), "ceiling": ceiling.String()},
	}
	bits := rapid.IntRange(0, 16).Draw(rt, "bits")
	a.Args["bits"] = int64(bits)
	denied := ""
	configured, ok := b.agents[agent]
	switch {
	case !ok || !ceiling.FlowsTo(configured.Ceiling):
		denied = "R6"
	default:
		if _, rule := b.rules.Spawn(flowmodel.Context{Label: l}, b.agentOf(agent), ceiling); rule != "" {
			denied = "R6"
		}
	}
	b.do(rt, t, a, denied, label.Label{})
	c := &flowmodel.Context{Agent: b.agentOf(agent), Label: l, Ceiling: ceiling}
	if denied != "" {
		if len(b.names) > 0 {
			return
		}
		c.Label, c.Ceiling, bits = label.Unlabelled, open, 0 // R0: one that was never born, but acts
	}
	b.bits[name] = bits
	b.names, b.contexts[name], b.owner[name] = append(b.names, name), c, agent
}

// agentOf gives an agent as the model knows it.
func (b *both) agentOf(name string) flowmodel.Agent {
	a, ok := b.agents[name]
	return flowmodel.Agent{Name: name, Unknown: !ok, Clearance: a.Clearance, Endpoint: a.Endpoint}
}

func (b *both) pick(rt *rapid.T) (string, *flowmodel.Context, string) {
	name := rapid.SampledFrom(b.names).Draw(rt, "context")
	return name, b.contexts[name], b.owner[name]
}

// act is an action of an agent with arguments by reference.
func (b *both) act(rt *rapid.T, t *testing.T) {
	name, c, agent := b.pick(rt)
	kinds := []action.Kind{action.ModelCall, action.MessageSend, action.ToolCall, action.FileRead}
	kind := rapid.SampledFrom(kinds).Draw(rt, "kind")
	if agent == "manual" {
		kind = action.ModelCall
	}
	a := action.Action{
		Kind: kind, Agent: agent, Session: "s", Context: name, Principal: principal.ForAgent(agent),
		Args: map[string]any{}, ArgLabels: map[string]label.Label{},
	}
	row, _ := action.RowOf(kind)
	tool := flowmodel.Tool{Needs: row.Needs}
	args := flowmodel.Args{Refs: label.Bottom, Control: label.Bottom}
	i := rapid.IntRange(0, 2).Draw(rt, "target") // the last one is not listed
	plain := b.describe(&a, &tool, c, i)
	if rapid.Bool().Draw(rt, "body") {
		args.Refs = low.Draw(rt, "body label")
		a.ArgLabels["body"] = args.Refs
	}
	if len(row.Control) > 0 && rapid.IntRange(0, 3).Draw(rt, "control") == 0 {
		args.Control = low.Draw(rt, "control label")
		a.ArgLabels[row.Control[0]] = args.Control
	}
	after, denied := b.judge(*c, tool, args)
	switch {
	case c.Agent.Unknown:
		denied = "agent.unknown"
	case denied == "":
		denied = plain
	}
	if denied == "" && kind == action.MessageSend {
		slot := b.settings.Sinks[slices.IndexFunc(b.settings.Sinks, func(s policy.Sink) bool { return s.Target == a.Target })]
		sent := *c
		sent.Label = b.rules.Join(b.rules.Join(c.Label, args.Refs), args.Control)
		denied = string(b.rules.Write(sent, slot.Clearance))
	}
	b.do(rt, t, a, denied, after)
}

// judge is the model's Call, the result of which is read at once.
func (b *both) judge(c flowmodel.Context, tool flowmodel.Tool, args flowmodel.Args) (label.Label, string) {
	result, denied := b.rules.Call(c, tool, args)
	if denied != "" {
		return c.Label, string(denied)
	}
	after, denied := b.rules.Read(c, result)
	return after, map[flowmodel.Rule]string{"R1 clearance": "R1a", "R1 ceiling": "R1b", "R1 endpoint": "R1c"}[denied]
}

// describe fills in the i-th target of a kind, and says what the settings say of
// it: its clearance, what it brings back, and the rule that denies it anyway.
func (b *both) describe(a *action.Action, tool *flowmodel.Tool, c *flowmodel.Context, i int) (denied string) {
	names := map[action.Kind]string{action.ModelCall: "m/", action.MessageSend: "mail/", action.ToolCall: "t/", action.FileRead: "/d/"}
	a.Target = names[a.Kind] + fmt.Sprint(i)
	at := slices.IndexFunc(b.settings.Sinks, func(s policy.Sink) bool {
		return s.Kind == a.Kind && s.Target == a.Target && (s.Agents == nil || slices.Contains(s.Agents, a.Agent))
	})
	if at >= 0 {
		tool.Clearance = b.settings.Sinks[at].Clearance
	}
	switch a.Kind {
	case action.ModelCall:
		tool.Result = modelSays
		return ""
	case action.MessageSend:
		tool.Result = open
		if at >= 0 { // a slot: what comes back is a receipt
			tool.Result = label.Bottom
			if b.settings.Sinks[at].Endorsed {
				tool.Needs = label.Foreign
			}
		}
	case action.ToolCall:
		tool.Result = b.rules.LabelOf(nil)
		if i < len(b.settings.Results) {
			tool.Result = b.settings.Results[i].Label
		}
	default: // file.read
		a.Args["path"] = a.Target
		tool.Clearance, tool.Result = c.Ceiling, b.settings.Profiles["p"].View
		if i == 2 {
			a.Target, a.Args["path"] = "/e", "/e"
			return "security.allowed_file_paths"
		}
		return ""
	}
	if at < 0 {
		return "default"
	}
	return ""
}
