package app

import (
	"context"
	"errors"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// carrier makes what performs one kind of the operator's own actions from
// nothing but the action. references is nil where no argument is one.
type carrier func(ctx context.Context, a *App) (exec gate.Executor, references gate.References, err error)

// carriers are the operator's own actions that an answer carries out: they need
// nothing beyond what was signed.
func carriers() map[action.Kind]carrier {
	return map[action.Kind]carrier{
		action.AgentInstruct: func(_ context.Context, a *App) (gate.Executor, gate.References, error) {
			return putInstruction{a}, nil, nil
		},
		action.TrustChange: func(_ context.Context, a *App) (gate.Executor, gate.References, error) {
			return changeTrust{a}, nil, nil
		},
		action.DataLower: carryData, action.DataErase: carryData,
	}
}

// changeTrust performs trust.change by its target.
type changeTrust struct{ app *App }

// Perform implements gate.Executor.
func (x changeTrust) Perform(ctx context.Context, p *gate.Permit) (record.Result, error) {
	act, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	switch act.Target {
	case trustTarget:
		return x.app.applyTrust(ctx, act)
	case grantsTarget:
		_, signer, err := x.app.People(ctx, nil)
		if err != nil {
			return record.Result{}, err
		}
		return x.app.changeGrants(ctx, act, signer)
	}
	return record.Result{}, fault.New("app.trust", fault.Usage, "there is no document %q of trust", act.Target)
}

// carryOut performs the operator's own action that an ask is about, now that it
// was answered: made anew from what was signed, it passes the gate, which finds
// the signatures. done is false when the ask is an agent's, which goes on by
// itself, or of a kind whose command has to be given again.
func (a *App) carryOut(ctx context.Context, row record.AskRow) (done bool, err error) {
	svc, _, err := a.People(ctx, nil)
	if err != nil {
		return false, err
	}
	act, err := svc.Describe(row)
	if err != nil || act.Agent != "" {
		return false, err
	}
	if _, ok := carriers()[act.Kind]; !ok {
		return false, nil
	}
	_, err = a.operate(ctx, act, operation{person: act.Principal.Name})
	return err == nil, err
}

// operation is how one of the operator's own actions is passed.
type operation struct {
	person string                // who wants it, as the trust file names them
	exec   gate.Executor         // nil: the carrier's
	signer ssh.Signer            // signs the ask, if there is one; nil: others answer
	asked  func(a record.AskRow) // told of the ask once it is signed, if there is one; may be nil
}

// operate passes one of the operator's own actions through the same gate that
// agents pass: it is decided, made durable, performed and settled.
func (a *App) operate(ctx context.Context, act action.Action, o operation) (record.Result, error) {
	st, err := a.Store(ctx)
	if err != nil {
		return record.Result{}, err
	}
	if _, err := a.lazy.mask.get(); err != nil && act.Kind != action.AgentStop {
		return record.Result{}, err
	}
	rules, err := a.steeringRules(act.Kind)
	if err != nil {
		return record.Result{}, err
	}
	var refs gate.References
	if c, ok := carriers()[act.Kind]; ok && o.exec == nil {
		if o.exec, refs, err = c(ctx, a); err != nil {
			return record.Result{}, err
		}
	}
	people, _, err := a.People(ctx, nil)
	if err != nil {
		return record.Result{}, err
	}
	act.Principal = principal.TheOperator(o.person)
	g, err := gate.New(gate.Config{
		Ledger: st, Policy: rules, Approver: signingApprover{people, o}, References: refs, Now: time.Now,
		Executors: map[action.Kind]gate.Executor{act.Kind: o.exec},
	})
	if err != nil {
		return record.Result{}, err
	}
	return g.Do(ctx, act)
}

// signingApprover answers the asks of the operator's own action with the key
// that the person gave the command; others answer as always.
type signingApprover struct {
	*approval.Service
	by operation
}

// Await implements gate.Approver.
func (s signingApprover) Await(ctx context.Context, req record.ApprovalRequest) ([]record.Approval, error) {
	req.Requester = s.by.person
	row, err := s.Publish(ctx, req)
	if err != nil {
		return nil, err
	}
	if s.by.signer != nil {
		err := s.Approve(ctx, row.ID, s.by.signer)
		if err != nil && !errors.Is(err, approval.ErrRequester) { // others must sign then
			return nil, err
		}
	}
	if s.by.asked != nil {
		s.by.asked(row)
	}
	return s.Service.Await(ctx, req)
}
