package agent

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/llm"
	"sallyport/internal/principal"
)

// ask makes the model call of a turn and gives the reply's text. interrupted
// says that the operator ended the call; the transcript is then unchanged.
func (r *run) ask(ctx context.Context, prompt string) (reply string, interrupted bool, err error) {
	estimated := r.script.settled + perMessage + r.script.count(r.script.pending.String()+prompt)
	room := r.spec.TokenMax - estimated - max(r.script.drift, 0)
	req := llm.Request{Model: r.spec.ModelID, System: r.script.system, Messages: r.script.with(prompt), MaxTokens: max(room, r.minReply())}
	res, interrupted, err := r.call(ctx, req, r.spec.Model)
	if err != nil || interrupted {
		return "", interrupted, err
	}
	r.script.learn(estimated, res.Usage)
	if strings.TrimSpace(res.Text) == "" {
		return "", false, fault.New("agent.model", fault.Unavailable, "%s gave an empty reply (stop reason %q)", r.spec.Model, res.Stop)
	}
	if !utf8.ValidString(res.Text) || strings.ContainsRune(res.Text, utf8.RuneError) {
		return "", false, fault.New("agent.model", fault.Unavailable, "%s gave a reply with bytes that are no text", r.spec.Model)
	}
	if why := partial(res.Stop); why != "" {
		r.script.commit(prompt, strings.TrimSpace(res.Text))
		r.script.say("[nothing of your answer was run, because " + why + "; answer shorter, one step at a time]")
		return "", false, r.unprocessed(ctx, res.Text, why)
	}
	return res.Text, false, nil
}

// partial says why a reply may not be whole, "" if it is. Only a whole reply is
// run, so a reason that nobody knows counts as partial.
func partial(stop string) string {
	switch stop {
	case llm.StopEnd, llm.StopTools:
		return ""
	case llm.StopLength:
		return "it was cut at its limit of output tokens"
	case llm.StopFiltered:
		return "the provider cut it"
	default:
		return "it ended for an unknown reason"
	}
}

// call makes one model call of the context within the budget.
func (r *run) call(ctx context.Context, req llm.Request, detail string) (llm.Response, bool, error) {
	return r.callIn(ctx, r.context, req, detail)
}

// callIn is call in one of the run's contexts.
func (r *run) callIn(ctx context.Context, where string, req llm.Request, detail string) (llm.Response, bool, error) {
	left, err := r.deps.Budget.Remaining(ctx, r.spec.Username)
	if err != nil {
		return llm.Response{}, false, fmt.Errorf("agent.budget: %w", err)
	}
	most, err := r.deps.Budget.MaxTokens(r.spec.Model, left, req)
	if err != nil {
		return llm.Response{}, false, fmt.Errorf("agent.budget: %w", err)
	}
	if most < min(r.minReply(), req.MaxTokens) {
		return llm.Response{}, false, fault.New("agent.budget", fault.Budget,
			"the spend limit leaves $%.4f, which pays for no call of %s; raise spendLimitDollars", left.Dollars(), r.spec.Model)
	}
	req.MaxTokens = min(req.MaxTokens, most)
	began := r.deps.Now()
	r.status(Thinking, detail, 0)
	var reply llm.Response
	interrupted, err := r.ints.during(ctx, func(ctx context.Context) error {
		res, err := r.doIn(ctx, where, principal.ForAgent(r.spec.Username), action.Action{
			Kind: action.ModelCall, Target: r.spec.Model, Args: req.Args(),
		})
		if got, ok := res.Payload.(llm.Response); ok {
			reply = got
		} else if err == nil {
			err = fault.New("agent.model", fault.Internal, "%s: the reply has the type %T", r.spec.Model, res.Payload)
		}
		return err
	})
	u := reply.Usage
	r.sum.Tokens += u.Input + u.CacheRead + u.CacheWrite + u.Output
	r.status(Idle, detail, r.deps.Now().Sub(began))
	return reply, interrupted && err != nil, err
}

// reviewed lets the model look at a script before it runs: "pass" if it said
// ALLOW in so many letters, otherwise "ask". A review can only narrow or ask,
// so every failure of it is an ask.
func (r *run) reviewed(ctx context.Context, script string) string {
	req := llm.Request{
		Model: r.spec.ModelID, System: reviewer, MaxTokens: reviewTokens,
		Messages: []llm.Message{{Role: llm.User, Text: review(r.spec, script, r.cwd)}},
	}
	reply, interrupted, err := r.call(ctx, req, "review by "+r.spec.Model)
	switch {
	case err != nil:
		r.deps.Console.Print(FromError, "The review failed, so the command is asked about: "+fault.PublicText(err))
	case !interrupted && passed(reply.Text):
		return "pass"
	default:
		r.deps.Console.Print(FromSystem, "Review: "+oneLine(reply.Text, 300))
	}
	return "ask"
}

// reviewTokens bounds a review's reply: one word and one sentence.
const reviewTokens = 200
