package app

import (
	"context"
	"fmt"

	"sallyport/internal/agent"
	"sallyport/internal/fault"
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
		out = append(out, agent.Instruction{Instruction: ins, Signers: by})
	}
	return out, nil
}
