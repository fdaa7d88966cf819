package agent

import (
	"context"
	"fmt"
	"strings"

	"sallyport/internal/principal"
)

const debugHelp = `A blank line gives the turn to the model. Commands here:
  talk MESSAGE          put a message into the model's context
  pause [SECONDS]       wait this long, or for ever, at the next prompt
  endsession "NOTE"     begin a new session with this note
  cost                  what this run has used
  context               what the model is shown
  exit                  end the run
Everything else runs in the agent's shell; the model does not see it.`

// operator carries out a line typed at the debug prompt. Nothing of it enters
// the transcript except a talk.
func (r *run) operator(ctx context.Context, line string) error {
	name, arg := word(line)
	say := func(s string) { r.deps.Console.Print(FromSystem, s) }
	switch name {
	case "help":
		say(debugHelp)
	case "comment":
		say(commentReply)
	case "talk":
		return r.talk(ctx, unquote(arg))
	case "pause":
		d, ok := parsePause(arg)
		if !ok {
			say(pauseUsage)
			break
		}
		r.pause = d
	case "endsession":
		if strings.TrimSpace(unquote(arg)) == "" {
			say(endUsage)
			break
		}
		if err := r.keep(ctx, unquote(arg), "operator"); err != nil {
			return err
		}
		return r.fresh(ctx)
	case "cost":
		return r.cost(ctx)
	case "context":
		say(r.contextText())
	case "exit":
		r.ended = EndedExit
	default:
		out, err := r.exec(ctx, line, principal.TheOperator(r.spec.Operator))
		if err != nil {
			return err
		}
		r.deps.Console.Print(FromCommand, out.full)
	}
	return nil
}

// talk puts the operator's words into the context, on one line whose mark no
// output can bear.
func (r *run) talk(ctx context.Context, msg string) error {
	msg = strings.Join(strings.Fields(printable(msg)), " ")
	if msg == "" {
		r.deps.Console.Print(FromSystem, "talk needs a message, such as: talk check ssh")
		return nil
	}
	r.script.say(adminMark + msg)
	r.deps.Console.Print(FromSystem, "The model reads it at its next turn; a blank line gives it the turn.")
	return r.journal(ctx, "operator.talk", "OPERATOR", "info", map[string]any{"text": msg})
}

func (r *run) cost(ctx context.Context) error {
	text := fmt.Sprintf("This run: %d turns, %d tokens, $%.4f.", r.sum.Turns, r.sum.Tokens, r.sum.Cost.Dollars())
	if r.spec.SpendLimit >= 0 {
		left, err := r.deps.Budget.Remaining(ctx, r.spec.Username)
		if err != nil {
			r.deps.Console.Print(FromError, err.Error())
			return nil
		}
		text += fmt.Sprintf(" Left of $%.2f: $%.4f.", r.spec.SpendLimit.Dollars(), left.Dollars())
	}
	r.deps.Console.Print(FromSystem, text)
	return nil
}

// contextText shows the transcript as the model gets it.
func (r *run) contextText() string {
	var b strings.Builder
	b.WriteString("--- system ---\n" + r.script.system)
	for _, m := range r.script.msgs {
		b.WriteString("\n--- " + string(m.Role) + " ---\n" + m.Text)
	}
	b.WriteString("\n--- next message ---\n" + r.script.pending.String())
	return b.String()
}
