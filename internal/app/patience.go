package app

import (
	"context"
	"sync"
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

	mu    sync.Mutex
	paces map[string]*pace // by session: how many questions it may still put
}

func newPatience(people gate.Approver, plans map[string]*outletPlan, profile func(agent string) string) *patience {
	return &patience{Approver: people, plans: plans, profile: profile, paces: map[string]*pace{}}
}

// mayAsk tells whether a session may put one more question. Each is stored
// until somebody looks, whether or not anybody is there to answer.
func (p *patience) mayAsk(session string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paces[session] == nil {
		p.paces[session] = newPace(askBurst, asksPerSecond)
	}
	return p.paces[session].now()
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
	if !p.mayAsk(req.Action.Session) {
		return nil, fault.New("app.ask", fault.NeedsAsk, "%s; this session has put more questions than anybody can answer, so this one is not put; list the destination, or give `sallyport guard --allow`", req.Because)
	}
	return p.Approver.Await(ctx, req)
}

// profileOf gives the profile an agent runs under.
func (a *App) profileOf(agent string) string { return a.Config.Agent(agent).Profile }
