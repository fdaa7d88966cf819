package policy

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Decide answers a question: deny is stronger than ask, ask than allow, and
// what nothing permits is denied. It never fails; an error inside is a deny by
// the rule policy.error.
func (e *Engine) Decide(q record.Question) (d record.Decision) {
	defer func() {
		if r := recover(); r != nil {
			d = refuse("policy.error", fmt.Sprintf("a rule could not be evaluated (%v), so nothing is permitted", r), q.Args)
		}
	}()
	if e.byKind[q.Action.Kind] == nil {
		return refuse("kind.unknown", fmt.Sprintf("%q is not a capability", q.Action.Kind), label.Unlabelled)
	}
	if !q.Args.Valid() || !q.Snapshot.Context.Valid() || !q.Snapshot.Ceiling.Valid() {
		return refuse("policy.error", "a label of the question is out of range, so nothing is permitted", label.Unlabelled)
	}
	return e.judge(e.factsOf(&q))
}

func (e *Engine) judge(f *facts) record.Decision {
	d := e.withApprovals(f, f.q.Approvals)
	if d.Verdict == record.Ask && f.grant != nil {
		// A grant is the owner's standing yes: it answers an ask, never a deny.
		granted := raise(f.q.Approvals, []record.Need{{Count: 1, Group: "owner"}})
		if g := e.withApprovals(f, granted); g.Verdict == record.Allow {
			g.Rules = append([]string{"grant:" + f.grant.ID}, g.Rules...)
			g.Because = fmt.Sprintf("grant %s covers it until %s", f.grant.ID, f.grant.Expires.UTC().Format("2006-01-02 15:04 UTC"))
			g.Obligations = append(g.Obligations, record.Obligation{Kind: record.ObligationGrant, Value: f.grant.ID})
			d = g
		}
	}
	d.Advice = append(slices.Clip(f.command.Findings), f.screen.Findings...)
	return d
}

func (e *Engine) withApprovals(f *facts, approvals map[string]int) record.Decision {
	req := e.request(f, approvals)
	out := e.evaluate(req)
	switch {
	case out.err != "":
		return refuse("policy.error", out.err, f.q.Args)
	case len(out.forbids) == 0 && len(out.permits) > 0:
		return record.Decision{
			Verdict: record.Allow, Rules: ids(out.permits), ResultLabel: f.result, Because: e.because(out.permits[0], f),
		}
	case len(out.forbids) == 0:
		return e.defaultDeny(f, req)
	}
	needs, hard := split(out.forbids)
	if len(hard) > 0 {
		return e.deny(f, hard)
	}
	// Every forbid asks: it is an ask only if the named approvals really lead
	// to an allow.
	again := e.evaluate(e.request(f, raise(approvals, needs)))
	switch {
	case again.err != "":
		return refuse("policy.error", again.err, f.q.Args)
	case len(again.forbids) > 0:
		return e.deny(f, append(again.forbids, out.forbids...))
	case len(again.permits) == 0:
		return e.defaultDeny(f, req)
	}
	return record.Decision{
		Verdict: record.Ask, Rules: ids(out.forbids), Needs: needs, ResultLabel: f.result,
		Because: e.because(out.forbids[0], f),
	}
}

func (e *Engine) deny(f *facts, rules []*Rule) record.Decision {
	return record.Decision{Rules: ids(rules), Because: e.because(rules[0], f), ResultLabel: f.q.Args}
}

func (e *Engine) defaultDeny(f *facts, req types.Request) record.Decision {
	d := record.Decision{Rules: []string{"default"}, ResultLabel: f.q.Args}
	near := e.nearest(f, req)
	if near == nil {
		d.Because = fmt.Sprintf("no rule permits %s; add a permit policy for it", f.row.Kind)
		return d
	}
	d.Because = fmt.Sprintf("no rule permits it; the nearest, %s (%s), needs %s", near.ID, near.Origin, near.Failing)
	return d
}

// refuse denies without a result: what is known about the refusal depends on
// nothing but the question.
func refuse(rule, because string, l label.Label) record.Decision {
	return record.Decision{Rules: []string{rule}, Because: because, ResultLabel: l}
}

// split separates what asks from what denies, and joins the needs per group.
func split(forbids []*Rule) (needs []record.Need, hard []*Rule) {
	for _, r := range forbids {
		if r.Ask == "" {
			hard = append(hard, r)
			continue
		}
		for _, n := range r.needs {
			needs = mergeNeed(needs, n)
		}
	}
	return needs, hard
}

func mergeNeed(needs []record.Need, n record.Need) []record.Need {
	for i := range needs {
		if needs[i].Group == n.Group {
			needs[i].Count = max(needs[i].Count, n.Count)
			return needs
		}
	}
	return append(needs, n)
}

func raise(approvals map[string]int, needs []record.Need) map[string]int {
	m := maps.Clone(approvals)
	if m == nil {
		m = map[string]int{}
	}
	for _, n := range needs {
		m[n.Group] = max(m[n.Group], n.Count)
	}
	return m
}

func ids(rules []*Rule) []string {
	out := make([]string, len(rules))
	for i, r := range rules {
		out[i] = r.ID
	}
	return out
}

// outcome is what one evaluation of the set gave.
type outcome struct {
	forbids, permits []*Rule
	err              string // the first error, as a sentence
}

// selection is the rules that can match a request, as Cedar's iterator.
type selection [3][]*Rule

// All implements cedar.PolicyIterator.
func (s selection) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, list := range s {
			for _, r := range list {
				if !yield(r.pid, r.eval) {
					return
				}
			}
		}
	}
}

func (e *Engine) selectFor(req types.Request) selection {
	ix := e.byKind[kindOf(req)]
	return selection{ix.general, ix.byResource[req.Resource.ID], ix.byPrincipal[req.Principal]}
}

func (e *Engine) evaluate(req types.Request) outcome {
	_, diag := cedar.Authorize(e.selectFor(req), nil, req)
	var out outcome
	if len(diag.Errors) > 0 {
		names := make([]string, 0, 3)
		for _, de := range diag.Errors[:min(3, len(diag.Errors))] {
			names = append(names, fmt.Sprintf("%s (%s: %s)", de.PolicyID, e.byID[de.PolicyID].Origin, de.Message))
		}
		out.err = "a rule could not be evaluated, so nothing is permitted: " + strings.Join(names, "; ")
		return out
	}
	for _, reason := range diag.Reasons {
		r := e.byID[reason.PolicyID]
		if r.Effect == "permit" {
			out.permits = append(out.permits, r)
		} else {
			out.forbids = append(out.forbids, r)
		}
	}
	return out
}
