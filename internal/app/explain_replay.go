package app

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/policy"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// Replayed is how the same question would be decided now.
type Replayed struct {
	PolicySet string          `json:"policy_set,omitempty"` // today's
	SameSet   bool            `json:"same_set"`
	Verdict   string          `json:"verdict,omitempty"`
	Rules     []string        `json:"rules"`
	Because   string          `json:"because,omitempty"`
	Nearest   *ConsideredRule `json:"nearest,omitempty"` // for a deny by default: the permit that came closest
	Differs   bool            `json:"differs"`           // another verdict, or by other rules
	Exact     bool            `json:"exact"`             // the recorded arguments are the very ones that were decided
	Unknown   []string        `json:"unknown"`           // what is not known of the question, so that the answer may differ
	Problem   string          `json:"problem,omitempty"` // why it could not be decided anew
}

// judge adds the rules with their origins, decides the question anew by today's
// rules, and says what would have allowed it.
func (x *explainer) judge(ctx context.Context, s *stored, out *ExplainedDecision) error {
	out.Now = Replayed{Rules: []string{}, Unknown: []string{}}
	out.Remedies = []Remedy{}
	for _, id := range s.rules {
		out.Rules = append(out.Rules, ExplainedRule{ID: id})
	}
	if asked(s.rules) && out.Verdict == record.Deny.String() {
		out.Verdict = record.Ask.String()
	}
	if err := x.guarded(ctx, s); err != nil {
		return err
	}
	engine, err := x.app.engineFor(x.query.AgentFile)
	if err != nil {
		out.Now.Problem = "today's rules cannot be read: " + fault.PublicText(err)
		x.remedies(ctx, nil, nil, *s, out.Rules, out)
		return nil
	}
	q, err := x.question(ctx, s, out)
	if err != nil {
		return err
	}
	q.Action.Args = maps.Clone(q.Action.Args)
	again := engine.Explain(q)
	d := again.Decision
	out.Now.PolicySet, out.Now.SameSet = engine.SetDigest(), engine.SetDigest() == s.set
	out.Now.Verdict, out.Now.Rules, out.Now.Because = d.Verdict.String(), append([]string{}, d.Rules...), d.Because
	if again.Nearest != nil {
		n := consideredOf(*again.Nearest)
		out.Now.Nearest = &n
	}
	out.Now.Differs = out.Now.Verdict != out.Verdict || !slices.Equal(out.Now.Rules, plainRules(s.rules))
	out.Labels.Ceiling, out.Labels.SinkFrom = x.app.scheme().Format(q.Snapshot.Ceiling), again.SinkOrigin
	if again.SinkChecked {
		out.Labels.Sink = x.app.scheme().Format(again.SinkClearance)
	}
	if s.row.Agent != "" {
		out.Labels.Clearance = x.app.ShowLabel(x.app.Config.Agent(s.row.Agent).Clearance)
	}
	if slices.Contains(d.Rules, unknownAgent) && !slices.Contains(s.rules, unknownAgent) {
		out.Now.Unknown = append(out.Now.Unknown, "the agent: no configuration that was read names it; add its file with --agent-file")
	}
	out.Rules = rulesToday(s.rules, engine, again)
	x.remedies(ctx, engine, &q, *s, rulesToday(stillDenying(s.rules, out.Now), engine, again), out)
	return nil
}

// guarded makes the agent of a guarded program known: nothing need be configured
// for one, and it has what the profile gives it that its session began with.
func (x *explainer) guarded(ctx context.Context, s *stored) error {
	if x.query.AgentFile != "" || s.row.Agent == "" || s.row.Session == "" {
		return nil
	}
	rows, err := x.st.Events(ctx, store.Filter{Types: []string{"session.begin"}, Agent: s.row.Agent, Session: s.row.Session, Limit: 1})
	if err != nil || len(rows) == 0 {
		return err
	}
	var begun struct{ Profile, Model string } // only agents of Sallyport's own have a model
	if json.Unmarshal(rows[0].Data, &begun) != nil || begun.Model != "" {
		return nil
	}
	if _, ok := x.app.Config.Profiles[begun.Profile]; ok {
		x.app = x.app.withAgent(s.row.Agent, begun.Profile)
	}
	return nil
}

// unknownAgent is the rule that denies everything to an agent that no
// configuration names.
const unknownAgent = "agent.unknown"

// asked reports whether a denial was a question that nobody said yes to.
func asked(rules []string) bool {
	return len(rules) > 1 && strings.HasPrefix(rules[len(rules)-1], "ask.")
}

// plainRules are the rules of the policy set among those recorded: without what
// came of a question.
func plainRules(rules []string) []string {
	if asked(rules) {
		rules = rules[:len(rules)-1]
	}
	return append([]string{}, rules...)
}

// stillDenying are the rules to get around: those that decided, and those that
// would today.
func stillDenying(then []string, now Replayed) []string {
	if now.Verdict == record.Allow.String() || slices.Contains(now.Rules, unknownAgent) { // which hides the others
		return then
	}
	out := slices.Clone(then)
	for _, id := range now.Rules {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// rulesToday says where rules come from and, for what no rule permitted, what the
// nearest one lacked.
func rulesToday(ids []string, e *policy.Engine, again policy.Explanation) []ExplainedRule {
	today := map[string]policy.Rule{}
	for _, r := range e.Rules() {
		today[r.ID] = r
	}
	out := make([]ExplainedRule, len(ids))
	for i, id := range ids {
		r := ExplainedRule{ID: id}
		rule, ok := today[id]
		switch own := ownRules[id]; {
		case ok:
			r.Origin, r.Effect, r.Because = rule.Origin, rule.Effect, rule.Because
		case own != "":
			r.Origin, r.Because = "built in", own
		case strings.HasPrefix(id, "grant:"):
			r.Origin, r.Because = "the grant below", "a grant answers a question in advance"
		default:
			r.Gone = true
		}
		if id == "default" && again.Nearest != nil && slices.Contains(again.Decision.Rules, "default") {
			r.Failing = again.Nearest.Failing
		}
		out[i] = r
	}
	return out
}

// question rebuilds what was asked from what was recorded. Grants, counters and
// the stop flag are today's; people's answers are those that were used.
func (x *explainer) question(ctx context.Context, s *stored, out *ExplainedDecision) (record.Question, error) {
	snap, err := x.st.Snapshot(ctx, record.Scope{Agent: s.row.Agent, Session: s.row.Session, Context: out.Asked.Context})
	if err != nil {
		return record.Question{}, err
	}
	now := &out.Now
	if s.row.Agent != "" && snap.Context == label.Unlabelled && snap.Ceiling == label.New(label.Public, label.Foreign, 0) {
		now.Unknown = append(now.Unknown, "the context's ceiling (that agent's clearance is taken)")
		if snap.Ceiling, err = x.app.scheme().Parse(x.app.Config.Agent(s.row.Agent).Clearance); err != nil {
			return record.Question{}, fault.Wrap("app.explainEvent", fault.Config, err)
		}
	}
	act := action.Action{
		Kind: s.kind, Target: s.target, Args: s.args, Agent: s.row.Agent, Session: s.row.Session, Context: out.Asked.Context,
		Principal: principalOf(out.Asked.Principal),
	}
	act, now.Exact = x.exact(ctx, act, s)
	if snap.Context = s.context; !s.contextKnown {
		now.Unknown = append(now.Unknown, "the context's label before (that of the arguments is taken)")
	} else {
		out.Labels.Context = x.app.scheme().Format(s.context)
	}
	if !now.Exact {
		now.Unknown = append(now.Unknown, "the exact arguments (what was stored is masked, shortened or without their labels)")
		act.ArgLabels = map[string]label.Label{"item": s.joined} // the most that it can have been
	}
	groups := map[string]map[string]bool{}
	for _, a := range s.approvals {
		for _, g := range a.Groups {
			if groups[g] == nil {
				groups[g] = map[string]bool{}
			}
			groups[g][a.Person] = true
		}
	}
	approvals := map[string]int{}
	for g, people := range groups {
		approvals[g] = len(people)
	}
	if len(groups) == 0 && len(s.approvals) > 0 { // before groups were recorded there was one
		approvals["owner"] = len(s.approvals)
	}
	return record.Question{Action: act, Snapshot: snap, Args: s.joined, Approvals: approvals, Now: time.Now()}, nil
}

// exact gives the very action that was decided, if it can be had: as recorded,
// or as people were shown it. The digest tells, and it covers the context's
// label: where none was recorded, one that fits is the one.
func (x *explainer) exact(ctx context.Context, act action.Action, s *stored) (action.Action, bool) {
	fits := func(a action.Action) bool {
		d, err := a.Digest(s.context, s.set)
		if err != nil || hex.EncodeToString(d[:]) != s.digest {
			return false
		}
		s.contextKnown = true
		return true
	}
	if fits(act) {
		return act, true
	}
	if row, ok := action.RowOf(s.kind); ok && slices.Contains(row.Control, "item") {
		item := act
		item.ArgLabels = map[string]label.Label{"item": s.joined}
		if fits(item) {
			return item, true
		}
	}
	row, err := x.ask(ctx, *s)
	if err != nil || row == nil {
		return act, false
	}
	svc, _, err := x.app.People(ctx, nil)
	if err != nil {
		return act, false
	}
	shown, err := svc.Describe(*row)
	if err != nil || !fits(shown) {
		return act, false
	}
	shown.Session, shown.Context, shown.Principal = act.Session, act.Context, act.Principal
	return shown, true
}

// principalOf reads "kind:name"; the tier of a person is not recorded.
func principalOf(text string) principal.Principal {
	kind, name, _ := strings.Cut(text, ":")
	for k := principal.Unknown; k <= principal.Operator; k++ {
		if k.String() == kind {
			p := principal.Principal{Kind: k, Name: name}
			if k == principal.Operator {
				p.Tier = principal.Owner
			}
			return p
		}
	}
	return principal.Principal{Name: cmp.Or(name, text)}
}
