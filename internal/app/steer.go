package app

import (
	"cmp"
	"context"

	"golang.org/x/crypto/ssh"

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

// Operator names the operator for the record, the same everywhere: the person of
// the trust file whose key lies in the state directory, else the OS user. Nothing
// is made by asking.
func (a *App) Operator(ctx context.Context) string {
	if _, ok, err := a.reader(ctx); err != nil || !ok {
		return ownerName() // nothing ever ran here, so there is no trust file
	}
	person, _, err := a.localPerson(ctx)
	if err != nil {
		return ownerName()
	}
	return person
}

// theOperator is who opens an item for what people signed, whoever asked for it.
func (a *App) theOperator(ctx context.Context) principal.Principal {
	return principal.TheOperator(a.Operator(ctx))
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
