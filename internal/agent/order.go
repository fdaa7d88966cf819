package agent

import (
	"context"
	"fmt"
	"slices"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// Instructions gives the signed instructions that wait for an agent, oldest
// first. Their signatures were verified, against who is trusted now. One is
// taken by the agent.spawn that names it, once.
type Instructions interface {
	Waiting(ctx context.Context, agent string) ([]Instruction, error)
}

// Instruction is a signed instruction with who signed it.
type Instruction struct {
	record.Instruction
	Signers []string // names, as the trust file has them
}

// ordered tells whether the agent is one that takes signed instructions.
func (r *run) ordered() bool {
	return r.spec.House != nil && r.spec.House.First && r.deps.Instructions != nil && r.opts.Task == nil
}

// takeNext begins a context: with the next signed instruction if one waits and
// can be taken, else a plain one. A patrol of an agent that works by
// instruction is over when none waits; begun is then false.
func (r *run) takeNext(ctx context.Context) (begun bool, err error) {
	if r.ordered() {
		if begun, err = r.takeOrder(ctx); err != nil || begun {
			return begun, err
		}
		if r.opts.Once {
			r.ended = EndedIdle
			r.deps.Console.Print(FromSystem, "No signed instruction waits for "+r.spec.Username+"; `sallyport instruct` makes one.")
			return false, nil
		}
	}
	return true, r.spawn(ctx, nil)
}

// takeOrder begins a context for the next instruction that waits. One that
// cannot be taken (somebody else took it, it expired, it is above what the
// agent may reach) is named to the operator and left alone for this run.
func (r *run) takeOrder(ctx context.Context) (bool, error) {
	waiting, err := r.waiting(ctx)
	if err != nil {
		return false, err
	}
	for _, ins := range waiting {
		err := r.spawn(ctx, &ins)
		switch {
		case err == nil:
			return true, nil
		case !refused(err) || stopped(err):
			return false, err
		}
		r.passed = append(r.passed, ins.ID)
		r.deps.Console.Print(FromError, fmt.Sprintf("The instruction %s was not taken: %s", ins.ID, fault.PublicText(err)))
	}
	return false, nil
}

// waiting lists the instructions that this run has not tried in vain.
func (r *run) waiting(ctx context.Context) ([]Instruction, error) {
	all, err := r.deps.Instructions.Waiting(ctx, r.spec.Username)
	if err != nil {
		return nil, fmt.Errorf("agent.instruction: %w", err)
	}
	return slices.DeleteFunc(all, func(i Instruction) bool { return slices.Contains(r.passed, i.ID) }), nil
}

// newOrder replaces a context that carries out no instruction by one that does,
// as soon as one waits.
func (r *run) newOrder(ctx context.Context) error {
	if !r.ordered() || r.carries != nil {
		return nil
	}
	if waiting, err := r.waiting(ctx); err != nil || len(waiting) == 0 {
		return err
	}
	if r.trail.turns > 0 {
		if err := r.keep(ctx, r.trail.note("a signed instruction came"), "automatic"); err != nil {
			return err
		}
	}
	return r.fresh(ctx)
}

// spawn makes a new context. Its label is that of what it begins with: the
// agent's own part, its memory and the instruction. Its ceiling is the
// agent's and what the instruction allows. It takes over what the context
// before it has left to extract, if that one has stayed within what this one
// begins with: else even a number would tell of what it read.
func (r *run) spawn(ctx context.Context, ins *Instruction) error {
	ceiling := r.spec.Ceiling
	if ins != nil {
		ceiling = ceiling.Meet(ins.Ceiling)
	}
	note, born, err := r.remember(ctx, ceiling)
	if err != nil {
		return err
	}
	if ins != nil {
		born = born.Join(ins.Label)
	}
	id := newID("c")
	args := map[string]any{
		"agent": r.spec.Username, "context": id, "label": born.String(),
		"ceiling": ceiling.String(), "budget": int64(r.spec.SpendLimit),
	}
	left := 0
	if r.context == "" {
		if h := r.spec.House; h != nil {
			left = h.ExtractBits
		}
	} else if r.label.ConfFlowsTo(born) {
		left, args["parent"] = r.bits, r.context
	}
	if left > 0 {
		args["bits"] = int64(left)
	} else {
		delete(args, "parent")
	}
	if ins != nil {
		args["instruction"] = ins.ID
	}
	_, err = r.deps.Gate.Do(ctx, action.Action{
		Kind: action.AgentSpawn, Target: r.spec.Username, Session: r.session,
		Principal: principal.TheOperator(r.spec.Operator), Args: args,
	})
	if err != nil {
		return fmt.Errorf("agent.spawn: %w", err)
	}
	r.context, r.label, r.ceiling, r.bits, r.carries, r.note = id, born, ceiling, left, ins, note
	r.sum.Sessions++
	return nil
}

// instruction shows a context the order it was made for. Only this line makes
// one: foreign marks every other that claims to.
func (r *run) instruction(ins *Instruction) string {
	by := "nobody"
	for i, name := range ins.Signers {
		if i == 0 {
			by = oneLine(name, trailCommand)
		} else {
			by += ", " + oneLine(name, trailCommand)
		}
	}
	return instructionMark + ins.ID + " from " + by + " (label " + r.show(ins.Label) + "): " +
		cut(foreign(ins.Text, r.prompts), r.spec.TokenMax/2, int64(len(ins.Text)), r.script.count)
}
