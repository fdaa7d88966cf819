package app

import (
	"cmp"
	"context"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/gate"
	"sallyport/internal/policy"
	"sallyport/internal/record"
)

// steer passes one of the operator's own actions through the same gate that
// agents pass: it is decided, made durable, performed and settled. do performs
// it.
func (a *App) steer(ctx context.Context, act action.Action, do func(ctx context.Context) error) error {
	person, _, err := a.localPerson(ctx)
	if err != nil {
		return err
	}
	_, err = a.operate(ctx, act, operation{person: person, exec: steering(do)})
	return err
}

// localPerson names who acts where no key is named: the holder of the key in
// this state directory, else the OS user, whose signature counts for nothing.
func (a *App) localPerson(ctx context.Context) (string, ssh.Signer, error) {
	trust, owner, err := a.trusted(ctx)
	if err != nil {
		return "", nil, err
	}
	r, err := trust.roster(ctx)
	if err != nil {
		return ownerName(), owner, nil //nolint:nilerr // a stop needs no trust file; a signature fails by itself
	}
	return cmp.Or(personOf(r, owner.PublicKey()), ownerName()), owner, nil
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
