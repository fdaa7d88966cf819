package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// effect is what one command of a reply did.
type effect struct {
	text string // for the model; empty = nothing to say
	stop bool   // the rest of the reply is not run
	gone bool   // the context or the run is over

	denied bool // the gate refused, so that nothing of it was recorded as begun
}

// process runs a reply piece by piece.
func (r *run) process(ctx context.Context, prompt, reply string) error {
	begun := false
	for rest := reply; ; {
		p := split(rest, r.prompts, r.cwd, r.built)
		rest = p.rest
		switch p.kind {
		case pieceNone:
			if !begun && reply != "" {
				r.script.commit(prompt, strings.TrimSpace(reply))
				r.script.say("[your answer held no command]")
			}
			return nil
		case piecePrompt:
			continue
		case pieceStray:
			if !begun {
				r.script.commit(prompt, p.text)
			}
			return r.drop(ctx, p.text, "it assumes another directory than "+r.cwd)
		case pieceCommand:
		}
		r.script.commit(prompt, p.text)
		r.deps.Console.Print(FromPrompt, prompt)
		r.deps.Console.Print(FromModel, p.text)
		begun = true
		e, err := r.command(ctx, p.text)
		if err != nil || e.gone {
			return errors.Join(err, r.unprocessed(ctx, rest, "the session ended before it"))
		}
		if e.text != "" {
			r.script.say(e.text)
			r.deps.Console.Print(FromCommand, e.text)
		}
		if e.stop && strings.TrimSpace(rest) != "" {
			return r.drop(ctx, rest, "of what came before it")
		}
		prompt = r.modelPrompt()
	}
}

// drop records a part of a reply that is not run and tells the model so.
func (r *run) drop(ctx context.Context, text, because string) error {
	r.script.say("[the rest of your answer was not run, because " + because + "; send one step, then wait for its real output]")
	return r.unprocessed(ctx, text, because)
}

func (r *run) unprocessed(ctx context.Context, text, because string) error {
	if text = strings.TrimSpace(text); text == "" {
		return nil
	}
	r.deps.Console.Print(FromSystem, "Unprocessed, because "+because+": "+oneLine(text, 200))
	return r.journal(ctx, "session.unprocessed", "LLM", "warning", map[string]any{"text": text, "because": because})
}

// command carries out one command of the model.
func (r *run) command(ctx context.Context, text string) (effect, error) {
	name, arg := word(text)
	if e, ok, err := r.inHouse(ctx, name, arg); ok || err != nil {
		return e, err
	}
	switch name {
	case "comment":
		r.trail.thought = unquote(arg)
		return effect{text: commentReply}, r.journal(ctx, "session.comment", "LLM", "info", map[string]any{"text": unquote(arg)})
	case "endsession":
		return r.endSession(ctx, unquote(arg))
	case "talk":
		if h := r.spec.House; h != nil && h.Tier != "" && !h.First {
			return effect{text: talkAbove, stop: true}, nil
		}
		r.deps.Console.Print(FromSystem, r.spec.Username+" says: "+unquote(arg))
		return effect{text: "sent"}, r.journal(ctx, "session.talk", "LLM", "info", map[string]any{"text": unquote(arg)})
	case "pause":
		return r.pauseFor(ctx, arg)
	case "cost", "context":
		return effect{text: name + operatorsOnly}, nil
	case "exit":
		return effect{text: exitHint, stop: true}, nil
	}
	out, err := r.exec(ctx, text, principal.ForAgent(r.spec.Username))
	return effect{text: out.text, stop: out.failed}, err
}

// endSession saves the model's note and begins the next context; a patrol is
// over if a report has appeared.
func (r *run) endSession(ctx context.Context, note string) (effect, error) {
	if strings.TrimSpace(note) == "" {
		return effect{text: endUsage, stop: true}, nil
	}
	if r.opts.Task != nil {
		r.sum.Note, r.ended = strings.TrimSpace(printable(note)), EndedResult
		return effect{gone: true}, nil
	}
	if !r.writable() && !r.told {
		r.told = true
		return effect{text: r.unkept() + " Save what must last with keep, or send it; then say endsession again.", stop: true}, nil
	}
	if err := r.keep(ctx, note, "model"); err != nil {
		return effect{}, err
	}
	if r.opts.Once {
		reports, err := r.deps.Reports.New(r.started)
		if err != nil {
			r.deps.Console.Print(FromError, "The reports cannot be listed: "+err.Error())
		}
		if len(reports) > 0 {
			r.ended = EndedReport
			return effect{gone: true}, nil
		}
	}
	return effect{gone: true}, r.fresh(ctx)
}

// fresh begins the next context. The shell goes on, unless a context has used
// it that had read more than the next one begins with: its files and variables
// would tell.
func (r *run) fresh(ctx context.Context) error {
	begun, err := r.takeNext(ctx)
	if err != nil || !begun {
		return err
	}
	r.deps.Console.Print(FromSystem, "--- new session ---")
	if !r.shell.ConfFlowsTo(r.label) {
		if err := r.startShell(ctx); err != nil {
			return err
		}
	}
	return r.open(ctx)
}

// pauseFor carries out the model's pause.
func (r *run) pauseFor(ctx context.Context, arg string) (effect, error) {
	d, ok := parsePause(arg)
	switch {
	case !ok:
		return effect{text: pauseUsage, stop: true}, nil
	case r.opts.Once:
		r.ended = EndedPause
	case d == nil && !r.opts.Attended && r.deps.Wake == nil:
		return effect{text: pauseAlone, stop: true}, nil
	case d == nil:
		r.pause, r.wakes, r.paused = nil, true, true
	default:
		r.pause, r.wakes, r.paused = d, r.spec.WakeOnMessage, true
	}
	data := map[string]any{"until": "a message"}
	if d != nil {
		data = map[string]any{"seconds": d.Seconds()}
	}
	return effect{stop: true, gone: r.ended != ""}, r.journal(ctx, "session.pause", "LLM", "info", data)
}

// output is what a script gave.
type output struct {
	text   string // bounded and fit for the model
	full   string // as the session gave it, for the operator
	failed bool   // what was to follow must not run
}

// exec gives a script to the session. A refusal, a failure and an interrupt are
// outputs; an error ends the run.
func (r *run) exec(ctx context.Context, script string, who principal.Principal) (output, error) {
	if why := unusable(script); why != "" {
		return output{text: why, full: why, failed: true}, nil
	}
	if !utf8.ValidString(script) || strings.ContainsRune(script, 0) {
		const why = "Nothing was run: the command holds bytes that are no text."
		return output{text: why, full: why, failed: true}, nil
	}
	args := map[string]any{"script": script}
	if r.spec.CommandTimeout > 0 {
		args["timeout_ms"] = r.spec.CommandTimeout.Milliseconds()
	}
	if r.spec.Protection == ProtectAuto && who.Kind == principal.Agent {
		args["review"] = r.reviewed(ctx, script)
		if ctx.Err() != nil {
			return output{}, context.Cause(ctx)
		}
	}
	if who.Kind == principal.Agent { // the operator's commands enter no note
		r.trail.ran(script)
	}
	r.sum.Commands++
	began := r.deps.Now()
	r.status(Running, oneLine(script, 80), 0)
	var res record.Result
	interrupted, err := r.ints.during(ctx, func(ctx context.Context) (err error) {
		res, err = r.doAs(ctx, who, action.Exec, r.session, args)
		return err
	})
	r.status(Idle, oneLine(script, 80), r.deps.Now().Sub(began))
	r.shell = r.shell.Join(r.label) // the result's too: its directory is shown without another command
	if ctx.Err() != nil {
		return output{}, context.Cause(ctx)
	}
	if err != nil && stopped(err) {
		r.ended = EndedStopped
		return output{}, err
	}
	return r.shown(script, res, interrupted && err != nil, err), nil
}

// shown makes the texts of an exec's result.
func (r *run) shown(script string, res record.Result, interrupted bool, err error) output {
	done, _ := res.Payload.(record.ExecResult)
	if p, ok := res.Payload.(*record.ExecResult); ok && p != nil {
		done = *p
	}
	if done.Cwd != "" {
		r.cwd = strings.ReplaceAll(printable(done.Cwd), "\n", `\x0a`)
	}
	var say []string
	switch {
	case interrupted:
		say = append(say, "[interrupted by the operator]")
		r.interruptedTurn()
	case err != nil && refused(err):
		say = append(say, fault.PublicText(err))
	case err != nil:
		say = append(say, "[the command was not completed: "+fault.PublicText(err)+"]")
		r.deps.Console.Print(FromError, err.Error())
	case done.TimedOut:
		say = append(say, "[the command took too long and was ended; above is what it printed until then]")
	case done.Exit != 0 && strings.TrimSpace(res.Output) == "":
		say = append(say, fmt.Sprintf("[exit status %d, no output]", done.Exit))
	}
	if done.Restart {
		say = append(say, "[the shell ended and was started again: variables that were not exported are lost; the directory is "+r.cwd+"]")
	}
	if done.Exit == 127 && mixes(script) {
		say = append(say, mixedHint)
	}
	if r.spec.NoShell {
		say = append(say, noShell)
	}
	notes := strings.Join(say, "\n")
	raw := bounded(res.Output)
	text := cut(foreign(raw, r.prompts), r.spec.OutputTokens, max(done.Total, int64(len(res.Output))), r.script.count)
	return output{
		text: joinLines(text, notes), full: joinLines(res.Output, notes),
		failed: err != nil || done.Exit != 0 || done.TimedOut || done.Restart,
	}
}

func joinLines(a, b string) string {
	if a != "" && b != "" && !strings.HasSuffix(a, "\n") {
		a += "\n"
	}
	return a + b
}

// trail remembers what a context did, for the note that is made when the model
// made none.
type trail struct {
	turns    int
	was      string // the note the context began with
	thought  string // the last comment
	commands []string
}

const (
	trailCommands = 5
	trailCommand  = 160 // bytes
	trailText     = 400 // bytes
)

func (t *trail) ran(script string) {
	t.commands = append(t.commands, oneLine(script, trailCommand))
	if n := len(t.commands); n > trailCommands {
		t.commands = t.commands[n-trailCommands:]
	}
}

// note writes the automatic note.
func (t *trail) note(why string) string {
	var b strings.Builder
	b.WriteString("Automatic note: " + why + ".\n")
	if t.thought != "" {
		b.WriteString("Last comment: " + oneLine(t.thought, trailText) + "\n")
	}
	for i, c := range t.commands {
		if i == 0 {
			b.WriteString("Last commands:\n")
		}
		b.WriteString("- " + c + "\n")
	}
	if t.was != "" && t.was != "None" {
		b.WriteString("Earlier note: " + oneLine(t.was, trailText) + "\n")
	}
	return b.String()
}

// finish settles the run's own books: the reason, a note if the model made
// none, the last event and the summary.
func (r *run) finish(ctx context.Context, err error) error {
	err = r.reason(ctx, err)
	why := map[string]string{
		EndedPause: "the patrol was over", EndedTurns: "the turns were used up", EndedExit: "the operator ended the run",
		EndedBudget: "the spend limit was reached", EndedErrors: "the run failed", EndedStopped: "the agent was stopped",
		EndedInterrupted: "the operator interrupted the run", EndedTokens: "its tokens were used up",
	}[r.ended]
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	switch {
	case r.trail.turns == 0 || why == "":
	case r.opts.Task != nil:
		r.sum.Note = r.trail.note(why)
	default:
		err = errors.Join(err, r.keep(ctx, r.trail.note(why), "automatic"))
	}
	r.sum.Ended, r.sum.Elapsed = r.ended, r.deps.Now().Sub(r.started)
	return errors.Join(err, r.journal(ctx, "session.end", "SYSTEM", "info", map[string]any{
		"ended": r.ended, "turns": int64(r.sum.Turns), "commands": int64(r.sum.Commands), "tokens": r.sum.Tokens,
		"cost_micros": int64(r.sum.Cost), "contexts": int64(r.sum.Sessions), "denied": int64(r.sum.Denied), "errors": int64(r.sum.Errors),
	}))
}

// finishTime bounds the bookkeeping after a run.
const finishTime = 10 * time.Second

// reason sets why the run ended, and gives an interruption its fault kind. A
// caller that cancels with a fault as the cause has its own kind kept: Denied is
// a stop.
func (r *run) reason(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	var told *fault.Error
	switch {
	case errors.As(cause, &told): // whoever cancelled the run said why
		if r.ended = EndedErrors; told.Kind == fault.Denied {
			r.ended = EndedStopped
		}
		return errors.Join(cause, err)
	case cause != nil:
		r.ended = EndedInterrupted
		public := "the run was cancelled; `sallyport run` goes on from the last note"
		if errors.Is(cause, errInterrupted) {
			public = "interrupted by the operator; `sallyport run` goes on from the last note"
		}
		return &fault.Error{Op: "agent.run", Kind: fault.Canceled, Public: public, Err: err}
	case err == nil:
	case fault.Is(err, fault.Budget):
		r.ended = EndedBudget
	case stopped(err):
		r.ended = EndedStopped
	case r.ended == "":
		r.ended = EndedErrors
	}
	return err
}
