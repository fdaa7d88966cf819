package app

import (
	"context"
	"sync/atomic"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/record"
)

// maxWaiting bounds how many connections wait for an answer at a time: what is
// beyond it is refused, so that a program that asks without end cannot bury the
// questions that matter.
const maxWaiting = 64

// patience decides whether somebody is waited for: not where a profile says
// that what no rule lists is denied, and not without bound. It never answers
// itself.
type patience struct {
	gate.Approver
	plans   map[string]*outletPlan
	profile func(agent string) string
	waiting atomic.Int32
}

func newPatience(people gate.Approver, plans map[string]*outletPlan, profile func(agent string) string) *patience {
	return &patience{Approver: people, plans: plans, profile: profile}
}

// Await implements gate.Approver.
func (p *patience) Await(ctx context.Context, req record.ApprovalRequest) ([]record.Approval, error) {
	if req.Action.Kind != action.NetConnect && req.Action.Kind != action.HTTPRequest {
		return p.Approver.Await(ctx, req)
	}
	if plan := p.plans[p.profile(req.Action.Agent)]; plan == nil || !plan.ask {
		return nil, fault.New("app.ask", fault.NeedsAsk, "%s", req.Because)
	}
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > maxWaiting {
		return nil, fault.New("app.ask", fault.NeedsAsk, "%s; %d connections wait for an answer already, so this one is refused", req.Because, maxWaiting)
	}
	return p.Approver.Await(ctx, req)
}

// profileOf gives the profile an agent runs under.
func (a *App) profileOf(agent string) string { return a.Config.Agent(agent).Profile }
