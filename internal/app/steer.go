package app

import (
	"context"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/gate"
	"sallyport/internal/policy"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// steer passes one of the operator's own actions through the same gate that
// agents pass: it is decided, made durable, performed and settled. do performs
// it.
func (a *App) steer(ctx context.Context, act action.Action, do func(ctx context.Context) error) error {
	st, err := a.Store(ctx)
	if err != nil {
		return err
	}
	if _, err := a.lazy.mask.get(); err != nil && act.Kind != action.AgentStop {
		return err
	}
	rules, err := a.steeringRules(act.Kind)
	if err != nil {
		return err
	}
	people, _, err := a.People(ctx, nil)
	if err != nil {
		return err
	}
	act.Principal = principal.TheOperator(ownerName())
	g, err := gate.New(gate.Config{
		Ledger: st, Policy: rules, Approver: people, Now: time.Now,
		Executors: map[action.Kind]gate.Executor{act.Kind: steering(do)},
	})
	if err != nil {
		return err
	}
	_, err = g.Do(ctx, act)
	return err
}

// steeringRules are the rules in force. A stop is decided by the built-in ones
// alone: no policy file, broken or hostile, may keep the operator from it.
func (a *App) steeringRules(kind action.Kind) (*policy.Engine, error) {
	if kind != action.AgentStop {
		return a.Policy()
	}
	bare := *a
	cfg := *a.Config
	cfg.Policy = nil
	bare.Config = &cfg
	return bare.Policy()
}

// steering performs one action of the operator.
type steering func(ctx context.Context) error

// Perform implements gate.Executor.
func (s steering) Perform(ctx context.Context, p *gate.Permit) (record.Result, error) {
	if _, err := p.Take(); err != nil {
		return record.Result{}, err
	}
	return record.Result{}, s(ctx)
}
