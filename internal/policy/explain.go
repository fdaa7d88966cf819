package policy

import (
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Considered is one rule as seen by one question.
type Considered struct {
	ID      string
	Origin  string
	Effect  string // permit, forbid or ask
	Matched bool
	Failing string // the first condition that kept it from matching
	Error   string // why it could not be evaluated
	Because string // its sentence for this question
	passed  int    // conditions that held before the first that failed
}

// Explanation is a decision with everything that led to it.
type Explanation struct {
	Decision   record.Decision
	Request    string       // the Cedar context, for display
	Considered []Considered // every rule that could match the kind, deciding order
	Nearest    *Considered  // for a deny by default: the permit that came closest
	Remedy     string       // what would allow it; empty when it is allowed

	SinkChecked   bool        // this kind sends data somewhere
	SinkClearance label.Label // of where it sends it; meaningful when SinkChecked
	SinkOrigin    string      // the setting that clears it, empty if none lists it
}

// Explain decides and shows every rule that was considered.
func (e *Engine) Explain(q record.Question) Explanation {
	x := Explanation{Decision: e.Decide(q)}
	if e.byKind[q.Action.Kind] == nil {
		x.Remedy = "name one of the capabilities"
		return x
	}
	f := e.factsOf(&q)
	x.SinkChecked, x.SinkClearance, x.SinkOrigin = f.sink.checked, f.sink.clearance, f.sink.origin
	req := e.request(f, q.Approvals)
	x.Request = string(req.Context.MarshalCedar())
	if err := e.validators.all.Request(req); err != nil {
		x.Remedy = "the request does not follow the schema: " + err.Error()
		return x
	}
	for _, list := range e.selectFor(req) {
		for _, r := range list {
			x.Considered = append(x.Considered, e.consider(r, f, req))
		}
	}
	switch x.Decision.Verdict {
	case record.Allow:
	case record.Ask:
		x.Remedy = "approval by " + needsText(x.Decision.Needs)
	default:
		x.Remedy = x.Decision.Because
		if x.Decision.Rules[0] == "default" {
			x.Nearest = e.nearest(f, req)
		}
	}
	return x
}

func needsText(needs []record.Need) string {
	parts := make([]string, len(needs))
	for i, n := range needs {
		parts[i] = fmt.Sprintf("%d of %s", n.Count, n.Group)
	}
	return strings.Join(parts, " and ")
}

// nearest finds the permit whose conditions got furthest.
func (e *Engine) nearest(f *facts, req types.Request) *Considered {
	var best *Considered
	for _, list := range e.selectFor(req) {
		for _, r := range list {
			if r.Effect != "permit" {
				continue
			}
			if c := e.consider(r, f, req); best == nil || c.passed > best.passed {
				best = &c
			}
		}
	}
	return best
}

// consider evaluates one rule alone, condition by condition.
func (e *Engine) consider(r *Rule, f *facts, req types.Request) Considered {
	c := Considered{ID: r.ID, Origin: r.Origin, Effect: r.Effect, Because: e.because(r, f)}
	src := astOf(r.policy)
	scopeOnly := *src
	scopeOnly.Conditions = nil
	_, diag := cedar.Authorize(cedar.PolicyMap{r.pid: fromAST(&scopeOnly)}, nil, req)
	if len(diag.Reasons) == 0 {
		c.Failing = "another principal or resource"
		return c
	}
	c.passed = 1
	env := eval.Env{Principal: req.Principal, Action: req.Action, Resource: req.Resource, Context: req.Context, Entities: types.EntityMap{}}
	for _, cond := range src.Conditions {
		want := types.Boolean(cond.Condition == ast.ConditionWhen)
		parts := []ast.IsNode{cond.Body}
		if want {
			parts = conjuncts(cond.Body)
		}
		for _, part := range parts {
			v, err := eval.Eval(part, env)
			switch {
			case err != nil:
				c.Error, c.Failing = err.Error(), conditionText(part, bool(want))
				return c
			case v != types.Value(want):
				c.Failing = conditionText(part, bool(want))
				return c
			}
			c.passed++
		}
	}
	c.Matched = true
	return c
}

func conjuncts(n ast.IsNode) []ast.IsNode {
	if and, ok := n.(ast.NodeTypeAnd); ok {
		return append(conjuncts(and.Left), conjuncts(and.Right)...)
	}
	return []ast.IsNode{n}
}

// conditionText renders one condition as it must hold.
func conditionText(n ast.IsNode, want bool) string {
	p := fromAST(ast.Permit().When(ast.NewNode(n)))
	text := string(p.MarshalCedar())
	if _, after, ok := strings.Cut(text, "when {"); ok {
		text = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(after), "};"))
	}
	if !want {
		return "not (" + text + ")"
	}
	return text
}

func kindOf(req types.Request) action.Kind { return action.Kind(req.Action.ID) }
