package app

import (
	"context"
	"fmt"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/agent"
	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// orders gives agents the signed instructions that wait for them. The
// signatures are verified against who is trusted now, each time: an instruction
// that was written into the store by hand, or whose signer was removed, is
// named to the operator and shown to no agent.
type orders struct{ e *engine }

// Waiting implements agent.Instructions.
func (o orders) Waiting(ctx context.Context, name string) ([]agent.Instruction, error) {
	rows, err := o.e.store.Instructions(ctx, name, false)
	if err != nil {
		return nil, err
	}
	var out []agent.Instruction
	for _, ins := range rows {
		by, err := o.e.app.InstructionSigners(ctx, ins)
		switch {
		case fault.Is(err, fault.Denied):
			fmt.Fprintln(o.e.opts.Out, sentence(err))
			continue
		case err != nil:
			return nil, err
		}
		if done, err := o.done(ctx, ins); err != nil {
			return nil, err
		} else if done {
			fmt.Fprintf(o.e.opts.Out, "The instruction %s was carried out before, as the log says, and is marked as waiting: the database was changed; run `sallyport verify`\n", ins.ID)
			continue
		}
		out = append(out, agent.Instruction{Instruction: ins, Signers: by})
	}
	return out, nil
}

// done tells whether the log knows of a context that carried the instruction
// out. That it is taken is a mark in a row, which whoever writes to the database
// can take back; the log they cannot change without `sallyport verify` noticing.
// When it was given nobody signed, but until when it can be taken.
func (o orders) done(ctx context.Context, ins record.Instruction) (bool, error) {
	rows, err := o.e.store.Events(ctx, store.Filter{
		Types: []string{string(action.AgentSpawn) + ".start"}, Since: ins.Expires.Add(-maxInstructionLife - time.Hour),
		Text: `"instruction":"` + ins.ID + `"`, Limit: 1,
	})
	return len(rows) > 0, err
}
