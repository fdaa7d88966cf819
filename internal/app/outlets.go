package app

import (
	"context"
	"sync"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/policy"
	"sallyport/internal/record"
	"sallyport/internal/sandbox"
)

// outlets opens the way out for sessions, by profile.
type outlets struct {
	gate   *gate.Gate
	models *watched
	rules  *policy.Engine
	names  *grantedNames

	journal  journal
	snapshot func(context.Context, record.Scope) (record.Snapshot, error)
	state    string // directory that everything is written down in
	mu       sync.Mutex
	plans    map[string]*outletPlan // by profile
	tallies  map[string]*tally      // by session, for whoever wants to watch
}

func (o *outlets) plan(profile string) (*outletPlan, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, ok := o.plans[profile]
	if !ok {
		return nil, fault.New("app.outlet", fault.Internal, "profile %s was not prepared to reach the outside", profile)
	}
	return p, nil
}

func (o *outlets) files(profile string) ([]sandbox.File, error) {
	p, err := o.plan(profile)
	if err != nil {
		return nil, err
	}
	return p.files(), nil
}

// watch gives the tally of a session before it is opened.
func (o *outlets) watch(session string, t *tally) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tallies == nil {
		o.tallies = map[string]*tally{}
	}
	o.tallies[session] = t
}

// open begins to serve the session that a session.start opened.
func (o *outlets) open(ctx context.Context, a action.Action, box *sandbox.Sandbox, places *tenancy) (*outlet, error) {
	p, err := o.plan(a.Target)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	t := o.tallies[a.Session]
	o.mu.Unlock()
	if t == nil {
		t = newTally(nil)
	}
	who := action.Action{Agent: a.Agent, Session: a.Session, Context: a.Context}
	return openOutlet(ctx, o, p, who, box, t, places)
}
