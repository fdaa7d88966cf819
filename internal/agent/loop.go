package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sallyport/internal/fault"
)

// loop alternates between rest and turn until the run is over.
func (r *run) loop(ctx context.Context) error {
	if !r.opts.Attended {
		r.pause = new(time.Duration) // nobody could use the first wait
	}
	for r.ended == "" {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := r.rest(ctx); err != nil || r.ended != "" {
			return err
		}
		if err := r.turn(ctx); err != nil {
			return err
		}
		if r.ended == "" && r.opts.Turns > 0 && r.sum.Turns >= r.opts.Turns {
			r.ended = EndedTurns
		}
	}
	return nil
}

// rest is the time between two turns: nothing on a patrol, a wait when nobody
// is there, the debug prompt otherwise.
func (r *run) rest(ctx context.Context) error {
	if err := r.newOrder(ctx); err != nil || r.ended != "" {
		return err
	}
	switch {
	case r.opts.Once:
		return nil
	case r.opts.Attended:
		return r.debug(ctx)
	case r.pause == nil && (!r.wakes || !r.paused):
		return nil // there is nobody to wait for
	}
	var due <-chan time.Time
	detail := "for a message"
	if r.pause != nil {
		timer := time.NewTimer(*r.pause)
		defer timer.Stop()
		due = timer.C
		detail = "for " + seconds(*r.pause) + "s"
	}
	if r.pause == nil || *r.pause > 0 {
		r.status(Waiting, detail, 0)
	}
	select {
	case <-due:
	case <-r.wake():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// wake gives the channel that may end a wait, nil if no message may.
func (r *run) wake() <-chan struct{} {
	if r.wakes {
		return r.deps.Wake
	}
	return nil
}

// debug serves the operator until a blank line, a timeout or a message gives
// the turn to the model.
func (r *run) debug(ctx context.Context) error {
	for {
		text := r.prompts.debug(r.cwd, r.script.tokens(), r.spec.TokenMax, r.pause, r.wakes)
		line, answer, err := r.deps.Console.Prompt(ctx, text, r.pause, r.wake())
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("agent.prompt: %w", err)
		}
		switch answer {
		case Timeout, Wake:
			return nil
		case EOF:
			r.ended = EndedExit
			return nil
		case Interrupt:
			r.ints.end(errInterrupted)
			return errInterrupted
		case Line:
		}
		if strings.TrimSpace(line) == "" {
			return nil
		}
		r.pause, r.wakes, r.paused = r.spec.Pause, r.spec.WakeOnMessage, false
		if err := r.operator(ctx, strings.TrimSpace(line)); err != nil || r.ended != "" {
			return err
		}
	}
}

// turn is one model turn: a call and what its reply asks for.
func (r *run) turn(ctx context.Context) error {
	r.pause, r.wakes, r.paused = r.spec.Pause, r.spec.WakeOnMessage, false
	used := r.script.tokens() + r.script.count(r.modelPrompt())
	if r.spec.TokenMax-used < r.minReply() {
		return r.overflow(ctx, used)
	}
	if used*4 >= r.spec.TokenMax*3 && !r.warned {
		r.warned = true
		r.script.say(fmt.Sprintf("Warning: %d of %d tokens are used. Finish what you are doing and end the session soon: endsession \"note for the next session\"", used, r.spec.TokenMax))
		r.deps.Console.Print(FromSystem, fmt.Sprintf("%d of %d tokens are used; the model was told to end the session.", used, r.spec.TokenMax))
	}
	prompt := r.modelPrompt()
	reply, interrupted, err := r.ask(ctx, prompt)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case interrupted:
		r.interruptedTurn()
		return nil
	case err != nil:
		return r.failure(ctx, err)
	}
	r.failed = 0
	r.sum.Turns++
	r.trail.turns++
	return r.process(ctx, prompt, reply)
}

// interruptedTurn gives the operator the word, with all the time there is.
func (r *run) interruptedTurn() {
	r.deps.Console.Print(FromSystem, "Interrupted. Press Ctrl-C again within 2 seconds to end the run.")
	r.pause, r.wakes, r.paused = nil, false, false
}

// minReply is the least room for a reply, in tokens, that a call is worth: a
// shorter reply would be cut in the middle of a command and could not be run.
func (r *run) minReply() int { return min(max(r.spec.TokenMax/32, 32), 512) }

// overflow ends a context that has no room for another reply. The model gets no
// further call on it: the note is made from what it did last.
func (r *run) overflow(ctx context.Context, used int) error {
	if r.trail.turns == 0 {
		r.ended = EndedErrors
		return fault.New("agent.tokens", fault.Config,
			"tokenMax %d leaves no room for a reply: the system message, the note and the initial commands take about %d tokens; raise tokenMax or shorten agentPrompt", r.spec.TokenMax, used)
	}
	r.deps.Console.Print(FromSystem, fmt.Sprintf("Token limit: about %d of %d are used. The session ends with an automatic note.", used, r.spec.TokenMax))
	if err := r.journal(ctx, "session.limit", "SYSTEM", "warning", map[string]any{
		"tokens": int64(used), "token_max": int64(r.spec.TokenMax),
	}); err != nil {
		return err
	}
	if r.opts.Task != nil {
		r.ended = EndedTokens // a child has one context
		return nil
	}
	if err := r.keep(ctx, r.trail.note("session ended at the token limit"), "automatic"); err != nil {
		return err
	}
	return r.fresh(ctx)
}

// failure decides what a failed model call means. The transcript is as it was
// before the call.
func (r *run) failure(ctx context.Context, err error) error {
	r.failed++
	r.sum.Errors++
	r.deps.Console.Print(FromError, err.Error())
	if jerr := r.journal(ctx, "session.error", "LLM", "error", map[string]any{
		"error": fault.PublicText(err), "kind": fault.KindOf(err).String(), "in_a_row": int64(r.failed),
	}); jerr != nil {
		return errors.Join(jerr, err)
	}
	switch {
	case fault.Is(err, fault.Budget):
		r.ended = EndedBudget
		return err
	case stopped(err):
		r.ended = EndedStopped
		return err
	}
	hold := r.failed >= maxFailures || hopeless(err)
	switch {
	case hold && r.opts.Attended && !r.opts.Once:
		r.deps.Console.Print(FromError, fmt.Sprintf("Held after %d failed model calls in a row; a blank line tries again.", r.failed))
		r.pause, r.wakes = nil, false
		return nil
	case hold:
		r.ended = EndedErrors
		return err
	case r.opts.Attended && !r.opts.Once:
		return nil // the debug prompt's own pause follows
	}
	return sleep(ctx, time.Second<<(r.failed-1))
}

// hopeless reports failures that the same call will meet again.
func hopeless(err error) bool {
	switch fault.KindOf(err) {
	case fault.Denied, fault.NeedsAsk, fault.Config, fault.Usage, fault.Unsupported, fault.NotFound:
		return true
	default:
		return false
	}
}

// stopped reports whether the gate refused because the agent was stopped. The
// gate names its rule in the sentence.
func stopped(err error) bool {
	return fault.Is(err, fault.Denied) && strings.Contains(fault.PublicText(err), " denied by stopped: ")
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// status tells the console what the run does now.
func (r *run) status(p Phase, detail string, took time.Duration) {
	r.deps.Console.Status(Status{
		Agent: r.spec.Username, Phase: p, Detail: detail, Turn: r.sum.Turns, Tokens: r.script.tokens(),
		TokenMax: r.spec.TokenMax, Cost: r.sum.Cost, Took: took,
	})
}
