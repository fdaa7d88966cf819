package agent

import (
	"context"
	"fmt"
	"strings"

	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// Notes keeps what one session leaves for the next, in slots with a fixed
// label: what is there counts as the slot's label, and so does whether anything
// is there. SaveMemory refuses with fault.Denied what does not flow from the
// writing context to the slot (rule R5).
type Notes interface {
	Memory(ctx context.Context, agent string, slot label.Label) (note string, found bool, err error)
	SaveMemory(ctx context.Context, agent, note string, from, slot label.Label) error
}

// remember reads the agent's memory. Its label is joined whether or not there
// is a note, for that there is none is content too. A slot above the ceiling is
// of no use to this agent, which its configuration says before anything else.
func (r *run) remember(ctx context.Context, ceiling label.Label) (note string, born label.Label, err error) {
	if !r.spec.Memory.ConfFlowsTo(ceiling) {
		r.deps.Console.Print(FromError, fmt.Sprintf("%s works without a memory: its label %s is above the context's ceiling %s.",
			r.spec.Username, r.show(r.spec.Memory), r.show(ceiling)))
		return "None", r.spec.Label, nil
	}
	note, found, err := r.deps.Notes.Memory(ctx, r.spec.Username, r.spec.Memory)
	if err != nil {
		return "", label.Unlabelled, fmt.Errorf("agent.note: %w", err)
	}
	if !found || note == "" {
		note = "None"
	}
	return note, r.spec.Label.Join(r.spec.Memory), nil
}

// keep saves a session note in the agent's memory, or tells that it cannot be
// kept.
func (r *run) keep(ctx context.Context, note, by string) error {
	note = strings.TrimSpace(printable(note))
	kept := r.writable()
	if kept {
		err := r.deps.Notes.SaveMemory(context.WithoutCancel(ctx), r.spec.Username, note, r.label, r.spec.Memory)
		switch {
		case fault.Is(err, fault.Denied): // the ledger knows the context's label better
			kept = false
		case err != nil:
			return fmt.Errorf("agent.note: %w", err)
		}
	}
	r.trail = trail{}
	data := map[string]any{"by": by, "label": r.label.String(), "kept": kept}
	if kept {
		data["note"] = note
	} else {
		r.deps.Console.Print(FromSystem, "The note is not kept. "+r.unkept())
	}
	return r.journal(ctx, "session.note", "SYSTEM", "info", data)
}

// writable tells whether the context may still write its memory.
func (r *run) writable() bool {
	return r.label.FlowsTo(r.spec.Memory) && r.spec.Memory.ConfFlowsTo(r.spec.Ceiling)
}

// unkept names the rule by which a note is not kept.
func (r *run) unkept() string {
	return fmt.Sprintf("Rule R5: what this context (label %s) writes cannot go to a memory with the label %s, so the next session starts without it.",
		r.show(r.label), r.show(r.spec.Memory))
}
