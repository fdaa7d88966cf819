package policy_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/policy"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// T1 on the implementation: two runs that differ in what an observer is not
// cleared for give the observer the same decisions, to the byte of each
// sentence, and the same labels, ceilings and budgets.
//
// Each run has an engine, a gate and a ledger of its own. The observer is an
// edge agent, run by an adversary who does the same in both; beside it a core
// that has read a secret does something else in each run: it reads, writes,
// spawns, extracts, asks for items to be lowered, and writes to mailboxes.

// edgeSees is what the observer is cleared for.
var edgeSees = label.New(label.Internal, label.Foreign, 0)

// silo is one run.
type silo struct {
	g     *gate.Gate
	book  *memory
	items map[string]label.Label
	mail  map[string]int // messages in each slot
	known map[string]label.Label
	made  map[string]int // by agent
}

func (s *silo) Find(context.Context, action.Digest) ([]record.Approval, error) { return nil, nil }

func (s *silo) Await(context.Context, record.ApprovalRequest) ([]record.Approval, error) {
	return nil, fault.New("test", fault.NeedsAsk, "nobody answered")
}

// Resolve implements gate.References as the desk does: slots have their label,
// what is not there is unlabelled.
func (s *silo) Resolve(_ context.Context, a action.Action) (action.Action, error) {
	ref := a.Arg("item")
	if ref == "" || ref == "new" {
		return a, nil
	}
	l, ok := s.items[ref]
	if slot, is := s.known[ref]; is {
		l, ok = slot, true
	}
	if !ok {
		l = label.Unlabelled
	}
	a.Args, a.ArgLabels = maps.Clone(a.Args), map[string]label.Label{"item": l}
	a.Args["version"] = int64(1)
	return a, nil
}

// Perform implements gate.Executor: what is read is told in full.
func (s *silo) Perform(_ context.Context, p *gate.Permit) (record.Result, error) {
	a, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	switch a.Kind {
	case action.DataRead:
		if _, slot := s.known[a.Target]; slot {
			return record.Result{Output: fmt.Sprint(s.mail[a.Target], " messages")}, nil
		}
		return record.Result{Output: s.items[a.Target].String()}, nil
	case action.DataWrite:
		s.made[a.Agent]++ // handles are random: they say nothing of other contexts
		handle := fmt.Sprint("o-", a.Agent, s.made[a.Agent])
		s.items[handle] = p.Label
		return record.Result{Output: handle}, nil
	case action.MessageSend:
		s.mail[a.Target]++
	default:
	}
	return record.Result{}, nil
}

func newSilo(t *testing.T, e *policy.Engine, hidden map[string]label.Label) *silo {
	s := &silo{
		book: &memory{now: func() time.Time { return noon }, contexts: map[string]*record.Fork{}, nonces: map[string]bool{}}, items: hidden, made: map[string]int{}, mail: map[string]int{},
		known: map[string]label.Label{"mail/edge/core": modelSays, "mail/core/edge": edgeSees, "mail/core/core": everything},
	}
	executors := map[action.Kind]gate.Executor{}
	for _, r := range action.Kinds() {
		executors[r.Kind] = s
	}
	var err error
	if s.g, err = gate.New(gate.Config{
		Ledger: s.book, Policy: e, Approver: s, References: s, Executors: executors, Now: func() time.Time { return noon },
	}); err != nil {
		t.Fatal(err)
	}
	for agent, l := range map[string]label.Label{"core": everything, "edge": edgeSees} {
		s.do(t, action.Action{
			Kind: action.AgentSpawn, Target: agent, Session: "s", Principal: principal.TheOperator("op"),
			Args: map[string]any{"context": agent, "label": modelSays.String(), "ceiling": l.String(), "bits": int64(8)},
		})
	}
	return s
}

// do gives all that whoever acts can see.
func (s *silo) do(t *testing.T, a action.Action) string {
	res, err := s.g.Do(t.Context(), a)
	snap, _ := s.book.Snapshot(t.Context(), record.Scope{Agent: a.Agent, Session: a.Session, Context: a.Context})
	return fmt.Sprintf("%q, %v, %s below %s, %d bits", res.Output, err, snap.Context, snap.Ceiling, snap.Bits)
}

func secrecySettings() policy.Settings {
	slot := func(to, from string, l label.Label) policy.Sink {
		return policy.Sink{
			Kind: action.MessageSend, Target: "mail/" + to + "/" + from, Clearance: l, Floor: l.Integrity, Endorsed: l.Integrity == label.Foreign, Agents: []string{from},
		}
	}
	return policy.Settings{
		Profiles: map[string]policy.Profile{"p": {View: label.Bottom}},
		Agents: map[string]policy.Agent{
			"core": {Profile: "p", Ceiling: everything, Clearance: everything, Endpoint: everything, Spawns: []string{"core", "edge"}},
			"edge": {Profile: "p", Ceiling: edgeSees, Clearance: edgeSees, Endpoint: edgeSees, Spawns: []string{"edge"}},
		},
		Sinks: []policy.Sink{
			slot("edge", "core", modelSays),
			slot("core", "edge", edgeSees),
			slot("core", "core", everything),
			{Kind: action.ToolCall, Target: "post", Clearance: open, Endorsed: true},
			{Kind: action.ModelCall, Target: "m", Clearance: edgeSees},
		},
		Results: []policy.Result{{Kind: action.ToolCall, Target: "post", Label: label.Bottom}},
	}
}

// deed draws something an agent does; names are what it knows or guesses.
func deed(rt *rapid.T, who, step string, names []string) action.Action {
	pick := func(what string, of ...string) string { return rapid.SampledFrom(of).Draw(rt, step+what) }
	kind := rapid.SampledFrom([]action.Kind{
		action.DataRead, action.DataRead, action.DataWrite, action.DataLower, action.DataExtract, action.MessageSend, action.AgentSpawn, action.ToolCall, action.ModelCall,
		action.DataErase,
	}).Draw(rt, step+"kind")
	a := action.Action{Kind: kind, Agent: who, Session: "s", Context: who, Principal: principal.ForAgent(who), Args: map[string]any{}}
	switch kind {
	case action.MessageSend:
		a.Target = pick("to", "mail/edge/core", "mail/core/edge", "mail/core/core", "mail/eve/core")
	case action.AgentSpawn:
		a.Target = pick("child", "core", "edge")
		l := pick("label", "public/member", "internal/foreign", "secret{c0,c1}/foreign")
		a.Args = map[string]any{"context": "child-" + who + step, "label": l, "ceiling": l, "parent": who, "bits": int64(rapid.IntRange(0, 2).Draw(rt, step+"share"))}
	case action.ToolCall, action.ModelCall:
		a.Target = map[action.Kind]string{action.ToolCall: "post", action.ModelCall: "m"}[kind]
	default:
		a.Target = pick("item", append([]string{"new", "absent", "mail/edge/core", "mail/core/edge", "mail/core/core"}, names...)...)
		a.Args = map[string]any{
			"item": a.Target, "taint": pick("taint", "yes", "no"), "sha256": "00", "bytes": int64(1), "schema": "bool", "value": pick("value", "true", "false"),
			"bits": int64(rapid.IntRange(1, 3).Draw(rt, step+"bits")), "from": "secret/member", "purpose": "p", "new": "o-x",
		}
		if kind == action.DataLower || rapid.IntRange(0, 2).Draw(rt, step+"labelled") == 0 {
			a.Args["label"] = pick("label", "public/member", "internal/foreign", "secret/foreign", "secret{c0,c1}/foreign")
		}
	}
	return a
}

// TestSecrecy is T1.
func TestSecrecy(t *testing.T) {
	e, err := policy.New(secrecySettings())
	if err != nil {
		t.Fatal(err)
	}
	verdicts := map[bool]int{}
	rapid.Check(t, func(rt *rapid.T) {
		world := func(name string) *silo {
			items := map[string]label.Label{"news": open, "memo": edgeSees}
			for i := range 3 { // hidden: their number, names and labels differ
				if rapid.Bool().Draw(rt, name+"there") {
					items[fmt.Sprint("hidden", i)] = labels(everything).Filter(func(l label.Label) bool { return !l.ConfFlowsTo(edgeSees) }).Draw(rt, name+"hidden")
				}
			}
			s := newSilo(t, e, items)
			s.do(t, action.Action{ // the core has read a secret, and goes on from there
				Kind: action.DataRead, Target: "mail/core/core", Agent: "core", Session: "s", Context: "core", Principal: principal.ForAgent("core"),
				Args: map[string]any{"item": "mail/core/core", "taint": "yes"},
			})
			return s
		}
		left, right := world("left"), world("right")
		names := []string{"news", "memo", "hidden0", "hidden1", "hidden2", "o-edge1", "o-core1", "o-core2"}
		for i := range 25 {
			for k, s := range []*silo{left, right} {
				for j := range rapid.IntRange(0, 2).Draw(rt, fmt.Sprint(k, i, "deeds")) {
					s.do(t, deed(rt, "core", fmt.Sprint(k, i, j), slices.Sorted(maps.Keys(s.items))))
				}
			}
			a := deed(rt, "edge", fmt.Sprint("edge", i), names)
			l, r := left.do(t, a), right.do(t, a)
			if l != r {
				rt.Fatalf("the edge sees of %s %s:\n%s\n%s", a.Kind, a.Target, l, r)
			}
			verdicts[len(l) > 120]++ // a sentence
		}
	})
	if verdicts[true] == 0 || verdicts[false] == 0 {
		t.Errorf("only one kind of answer was seen: %v", verdicts)
	}
}
