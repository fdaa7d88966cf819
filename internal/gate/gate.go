// Package gate is the reference monitor: the one door every effect passes.
//
// Do runs the eight steps: snapshot, join, decide, approve, intend, perform,
// findings, settle. Open does steps 1 to 5 and returns a single-use Permit for
// effects that outlive a call (a shell, a stream); Settle ends it.
//
// Invariants: no effect starts before its intent is durable; the decision and
// the intent are made on the same snapshot or the intent is refused; an error
// anywhere denies; there is no branch on where an action came from.
//
// It imports the vocabulary only; app injects ledger, policy, approvals and
// executors. Drivers import gate; services and decision rooms must not.
package gate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// Ledger makes decisions and effects durable. Intend is one transaction:
// decision, digest, labels, reserved budget and consumed nonces, or nothing;
// it returns a fault.Conflict error if the scope's revision moved and a
// fault.Budget error if the reservation does not fit.
type Ledger interface {
	Snapshot(ctx context.Context, s record.Scope) (record.Snapshot, error)
	Intend(ctx context.Context, in record.Intent) (record.Receipt, error)
	Settle(ctx context.Context, out record.Outcome) error
}

// Policy decides. It is pure: the same question has the same answer.
type Policy interface {
	Decide(q record.Question) record.Decision
	SetDigest() string // identifies the policy set in force
}

// Approver finds and awaits signed approvals over an action's digest. Await
// returns a fault.NeedsAsk error when nobody answered in time.
type Approver interface {
	Find(ctx context.Context, d action.Digest) ([]record.Approval, error)
	Await(ctx context.Context, ask record.ApprovalRequest) ([]record.Approval, error)
}

// Executor performs one kind of action. It must call Permit.Take, which gives
// the action exactly once.
type Executor interface {
	Perform(ctx context.Context, p *Permit) (record.Result, error)
}

// Quoter is implemented by executors whose actions cost money: the most the
// action can cost, and the account that pays.
type Quoter interface {
	Quote(a action.Action) (record.Reservation, error)
}

// References looks up what an action only names: it gives the action with the
// labels of what its arguments refer to, and with the exact version of it, so
// that what is decided is what is performed. What is not there is
// label.Unlabelled, so that a refusal says nothing about it. It is asked again
// for its own answer, which it leaves alone.
type References interface {
	Resolve(ctx context.Context, a action.Action) (action.Action, error)
}

// Config wires a Gate. Every field is required, but for References: without
// them, no argument is a reference.
type Config struct {
	Ledger     Ledger
	Policy     Policy
	Approver   Approver
	References References
	Executors  map[action.Kind]Executor
	Now        func() time.Time
}

// Gate is the reference monitor. It is safe for concurrent use.
type Gate struct{ cfg Config }

// New makes a Gate.
func New(cfg Config) (*Gate, error) {
	if cfg.Ledger == nil || cfg.Policy == nil || cfg.Approver == nil || cfg.Now == nil {
		return nil, errors.New("gate.new: ledger, policy, approver and clock are required")
	}
	return &Gate{cfg: cfg}, nil
}

// maxRounds bounds how often a moved revision makes Open start again.
const maxRounds = 8

// Do passes an action through all eight steps.
func (g *Gate) Do(ctx context.Context, a action.Action) (record.Result, error) {
	p, err := g.Open(ctx, a)
	if err != nil {
		return record.Result{}, err
	}
	res, err := g.perform(ctx, p) // 6
	return g.Settle(ctx, p, res, err)
}

// Open does steps 1 to 5 and returns the permit that an executor demands.
func (g *Gate) Open(ctx context.Context, a action.Action) (*Permit, error) {
	for range maxRounds {
		p, err := g.open(ctx, a)
		if fault.Is(err, fault.Conflict) && ctx.Err() == nil {
			continue // the snapshot moved: decide again on a new one
		}
		return p, err
	}
	return nil, fault.New("gate.open", fault.Conflict,
		"%s was not started: its context kept changing; try again", a.Kind)
}

func (g *Gate) open(ctx context.Context, a action.Action) (*Permit, error) {
	in, err := g.judge(ctx, a) // 1, 2, 3
	if err != nil {
		return nil, err
	}
	if in.Decision.Verdict == record.Ask { // 4
		if in, err = g.approve(ctx, in); err != nil {
			return nil, err
		}
	}
	if in.Decision.Verdict == record.Allow {
		in = g.commit(in)
	}
	receipt, err := g.cfg.Ledger.Intend(ctx, in) // 5
	if err != nil {
		return nil, fmt.Errorf("gate.intend: %w", err)
	}
	if in.Decision.Verdict != record.Allow {
		return nil, denied(in)
	}
	return &Permit{Receipt: receipt, Label: in.Decision.ResultLabel, action: in.Action, opened: g.cfg.Now()}, nil
}

// commit says what an allowed action takes and makes: money, a context, bits.
// All of it is read from the action as it was decided, references resolved.
func (g *Gate) commit(in record.Intent) record.Intent {
	var err error
	if in.Reserve, err = g.quote(in.Action); err != nil {
		in.Decision = refuse("budget.unknown", fault.PublicText(err))
		return in
	}
	switch in.Action.Kind { //nolint:exhaustive // the others take and make nothing
	case action.AgentSpawn:
		if in.Fork, err = forkOf(in.Action); err != nil {
			in.Decision = refuse("spawn.labels", err.Error())
		}
	case action.DataExtract:
		if in.Bits = bitsOf(in.Action); in.Bits <= 0 {
			in.Decision = refuse("R7", "an extraction says how many bits it brings; name a schema of at least two answers")
		}
	}
	return in
}

// judge takes the snapshot, joins the labels and decides.
func (g *Gate) judge(ctx context.Context, a action.Action) (record.Intent, error) {
	snap, err := g.cfg.Ledger.Snapshot(ctx, record.Scope{Agent: a.Agent, Session: a.Session, Context: a.Context}) // 1
	if err != nil {
		return record.Intent{}, fmt.Errorf("gate.snapshot: %w", err)
	}
	if g.cfg.References != nil { // 2
		if a, err = g.cfg.References.Resolve(ctx, a); err != nil {
			return record.Intent{}, fmt.Errorf("gate.resolve: %w", err)
		}
	}
	args := snap.Context
	for _, l := range a.ArgLabels {
		args = args.Join(l)
	}
	set := g.cfg.Policy.SetDigest()
	digest, err := a.Digest(snap.Context, set)
	if err != nil {
		return record.Intent{}, &fault.Error{
			Op: "gate.digest", Kind: fault.Denied,
			Public: "the action's arguments cannot be written as exact JSON, so nobody could approve or verify them", Err: err,
		}
	}
	found, err := g.cfg.Approver.Find(ctx, digest)
	if err != nil {
		return record.Intent{}, fmt.Errorf("gate.find: %w", err)
	}
	q := record.Question{Action: a, Snapshot: snap, Args: args, Approvals: count(found), Now: g.cfg.Now()}
	in := record.Intent{
		Action: a, Digest: digest, Context: snap.Context, Args: args, Revision: snap.Revision, PolicySet: set,
		Decision: g.decide(q), // 3
	}
	if len(found) > 0 && in.Decision.Verdict == record.Allow {
		// Approvals are consumed only by a decision that needed them. One that
		// did not rests on something else, a grant perhaps, and is charged to that.
		q.Approvals = nil
		if without := g.decide(q); without.Verdict == record.Allow {
			in.Decision = without
		} else {
			in.Approvals = found
		}
	}
	for _, o := range in.Decision.Obligations {
		if o.Kind == record.ObligationGrant {
			in.Grant = o.Value
		}
	}
	return in, nil
}

// decide guards the policy: a stop, an unknown kind or no executor denies
// before any rule is read.
func (g *Gate) decide(q record.Question) record.Decision {
	if _, ok := action.RowOf(q.Action.Kind); !ok {
		return refuse("kind.unknown", fmt.Sprintf("%q is not a capability", q.Action.Kind))
	}
	if _, ok := g.cfg.Executors[q.Action.Kind]; !ok {
		return refuse("kind.absent", fmt.Sprintf("nothing here performs %s, so it cannot be done", q.Action.Kind))
	}
	if q.Snapshot.Stopped != "" && q.Action.Agent != "" {
		return refuse("stopped", fmt.Sprintf("stopped by %s; starting it anew (`sallyport run`, `guard` or `proxy`) ends that", q.Snapshot.Stopped))
	}
	return g.cfg.Policy.Decide(q)
}

// approve awaits people and then judges again, because the world may have
// moved while they were thinking.
func (g *Gate) approve(ctx context.Context, in record.Intent) (record.Intent, error) {
	_, err := g.cfg.Approver.Await(ctx, record.ApprovalRequest{
		Action: in.Action, Digest: in.Digest, Context: in.Context, PolicySet: in.PolicySet,
		Needs: in.Decision.Needs, Because: in.Decision.Because, Advice: in.Decision.Advice,
		Requester: requester(in.Action.Principal),
	})
	if err != nil {
		in.Decision.Verdict = record.Deny
		rule := "ask.unanswered"
		if fault.Is(err, fault.Denied) {
			rule = "ask.denied" // somebody said no
		}
		in.Decision.Rules = append(in.Decision.Rules, rule) // first the rule that asked
		in.Decision.Because = fault.PublicText(err)
		return in, nil
	}
	again, err := g.judge(ctx, in.Action)
	if err != nil {
		return record.Intent{}, err
	}
	if again.Decision.Verdict == record.Ask {
		again.Decision.Verdict = record.Deny
		again.Decision.Because = "the approval no longer fits: " + again.Decision.Because
	}
	return again, nil
}

// requester names the person behind an action: agents and services are none.
func requester(p principal.Principal) string {
	if p.Kind == principal.Operator || p.Kind == principal.Person {
		return p.Name
	}
	return ""
}

func (g *Gate) quote(a action.Action) (record.Reservation, error) {
	if q, ok := g.cfg.Executors[a.Kind].(Quoter); ok {
		return q.Quote(a)
	}
	return record.Reservation{Account: a.Agent, Limit: -1}, nil
}

// perform runs the injected executor. A panic in it is a failed action, not a
// dead monitor.
func (g *Gate) perform(ctx context.Context, p *Permit) (res record.Result, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("gate.perform: %s: panic: %v", p.action.Kind, r)
		}
	}()
	return g.cfg.Executors[p.action.Kind].Perform(ctx, p)
}

// Settle records how an opened action ended; it is called exactly once. It
// settles even when ctx is already cancelled, because the effect happened.
func (g *Gate) Settle(ctx context.Context, p *Permit, res record.Result, perr error) (record.Result, error) {
	status, public := record.Done, ""
	switch {
	case perr == nil:
	case ctx.Err() != nil:
		status, public = record.Canceled, "canceled"
	default:
		status, public = record.Failed, fault.PublicText(perr)
	}
	return g.end(ctx, p, res, perr, record.Outcome{Status: status, Err: public})
}

// Release records that an opened action was handed to somebody else to perform,
// such as a tool call of a model's reply that a client executes. Settle follows
// when its result is seen, else Lost.
func (g *Gate) Release(ctx context.Context, p *Permit, res record.Result) (record.Result, error) {
	if !p.state.CompareAndSwap(open, released) {
		return record.Result{}, fault.New("gate.release", fault.Internal, "an action was released twice or after its end")
	}
	return g.write(ctx, p, res, nil, record.Outcome{Status: record.Released})
}

// Lost records that nobody will ever know how a released action ended.
func (g *Gate) Lost(ctx context.Context, p *Permit, because string) error {
	_, err := g.end(ctx, p, record.Result{}, nil, record.Outcome{Status: record.Unknown, Err: because})
	return err
}

func (g *Gate) end(ctx context.Context, p *Permit, res record.Result, perr error, out record.Outcome) (record.Result, error) {
	if !p.state.CompareAndSwap(open, settled) && !p.state.CompareAndSwap(released, settled) {
		return record.Result{}, fault.New("gate.settle", fault.Internal, "an action was settled twice")
	}
	return g.write(ctx, p, res, perr, out)
}

func (g *Gate) write(ctx context.Context, p *Permit, res record.Result, perr error, out record.Outcome) (record.Result, error) {
	res.Label = p.Label // 7: findings are attached, they never change the label
	out.Intent, out.Result, out.Elapsed = p.Receipt.ID, res, g.cfg.Now().Sub(p.opened)
	if err := g.cfg.Ledger.Settle(context.WithoutCancel(ctx), out); err != nil { // 8
		return record.Result{}, errors.Join(fmt.Errorf("gate.settle: %w", err), perr)
	}
	return res, perr
}

func count(as []record.Approval) map[string]int {
	people := map[string]map[string]bool{}
	for _, a := range as {
		for _, g := range a.Groups {
			if people[g] == nil {
				people[g] = map[string]bool{}
			}
			people[g][a.Person] = true
		}
	}
	n := make(map[string]int, len(people))
	for g, ps := range people {
		n[g] = len(ps)
	}
	return n
}

func refuse(rule, because string) record.Decision {
	return record.Decision{Verdict: record.Deny, Rules: []string{rule}, Because: because, ResultLabel: label.Unlabelled}
}

// Refusal is the error of an action that was judged and denied. It is of kind
// fault.Denied and its public text names rule, cause and remedy.
type Refusal struct {
	Decision record.Decision
	err      *fault.Error
}

// Error implements error.
func (r *Refusal) Error() string { return r.err.Error() }

// Unwrap gives the classified error.
func (r *Refusal) Unwrap() error { return r.err }

// Rule names the rule that decided.
func (r *Refusal) Rule() string {
	if len(r.Decision.Rules) == 0 {
		return "default"
	}
	return r.Decision.Rules[0]
}

func denied(in record.Intent) error {
	r := &Refusal{Decision: in.Decision}
	by := r.Rule()
	if all := in.Decision.Rules; len(all) > 1 && strings.HasPrefix(all[len(all)-1], "ask.") {
		by += ", " + all[len(all)-1] // what asked, and what came of it
	}
	r.err = fault.New("gate.decide", fault.Denied, "%s denied by %s: %s", in.Action.Kind, by, in.Decision.Because)
	return r
}

func forkOf(a action.Action) (*record.Fork, error) {
	l, err := label.Parse(a.Arg("label"))
	if err != nil {
		return nil, err
	}
	c, err := label.Parse(a.Arg("ceiling"))
	if err != nil {
		return nil, err
	}
	if a.Arg("context") == "" {
		return nil, errors.New("the new context has no name")
	}
	if !l.ConfFlowsTo(c) {
		return nil, fmt.Errorf("label %s is above the ceiling %s", l, c)
	}
	return &record.Fork{
		Context: a.Arg("context"), Label: l, Ceiling: c,
		Bits: bitsOf(a), Parent: a.Arg("parent"), Instruction: a.Arg("instruction"),
	}, nil
}

// bitsOf gives an action's argument bits; what is no sensible number is none.
func bitsOf(a action.Action) int {
	n, _ := a.Args["bits"].(int64)
	return int(max(0, min(n, maxBits)))
}

// maxBits bounds a budget of extraction: more is not a digest any more.
const maxBits = 1 << 16
