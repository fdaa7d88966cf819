package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/llm/token"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// run is the state of one run. It is used by one goroutine.
type run struct {
	spec    Spec
	deps    Deps
	opts    Options
	prompts prompts
	ints    *interrupts
	started time.Time

	session string      // id of the shell's session, "" before session.start was asked
	context string      // id of the model's context
	label   label.Label // of the context, as far as results told
	cwd     string
	script  *transcript
	trail   trail
	warned  bool // the 75 % line was said in this context

	pause  *time.Duration // the next wait at the debug prompt
	wakes  bool           // a message ends that wait
	paused bool           // the model asked for that wait
	failed int            // model calls that failed in a row
	ended  string         // why the run is over; "" while it goes on
	sum    Summary
}

// maxFailures is how many failed model calls in a row hold or end a run.
const maxFailures = 5

// Run runs an agent until it, the operator or a limit ends the run. The error
// is nil for the ends that were asked for (pause, report, turns, exit);
// otherwise its fault kind says why: Budget, Canceled, Denied (stopped), or the
// kind of the failure that could not be cured. The sandbox that session.start
// opened is closed by whoever performs it, once Run has returned.
func Run(ctx context.Context, spec Spec, deps Deps, opts Options) (Summary, error) {
	if err := errors.Join(spec.check(), deps.check()); err != nil {
		return Summary{Ended: EndedErrors}, err
	}
	if opts.Once && opts.Turns == 0 {
		opts.Turns = defaultOnceTurns
	}
	runCtx, end := context.WithCancelCause(ctx)
	r := &run{
		spec: spec, deps: deps, opts: opts, started: deps.Now(), cwd: spec.Home,
		prompts: prompts{spec.Username, spec.Host}, ints: &interrupts{now: deps.Now, end: end},
		session: newID("s"), pause: spec.Pause, wakes: spec.WakeOnMessage,
	}
	r.sum.Session = r.session
	wait := r.ints.watch(runCtx, deps.Interrupts)
	err := r.begin(runCtx)
	if err == nil {
		err = r.loop(runCtx)
	}
	err = r.finish(runCtx, err)
	end(nil)
	wait()
	return r.sum, err
}

// RunAll runs several agents at the same time; one that fails does not stop
// the others. The error joins all of theirs. A panic of one is its error.
func RunAll(ctx context.Context, runs []func(ctx context.Context) error) error {
	errs := make([]error, len(runs))
	var wg sync.WaitGroup
	for i, f := range runs {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("agent.runall: panic: %v", p)
				}
			}()
			errs[i] = f(ctx)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// newID makes an unguessable id.
func newID(prefix string) string {
	var b [10]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return prefix + "-" + hex.EncodeToString(b[:])
}

// begin makes the first context, opens the session and fills the transcript.
func (r *run) begin(ctx context.Context) error {
	err := r.journal(ctx, "session.begin", "SYSTEM", "info", map[string]any{
		"title": r.spec.Title, "model": r.spec.Model, "profile": r.spec.Profile, "protection": r.spec.Protection,
		"once": r.opts.Once, "attended": r.opts.Attended, "token_max": int64(r.spec.TokenMax),
	})
	if err != nil {
		return err
	}
	note, err := r.spawn(ctx)
	if err != nil {
		return err
	}
	var res record.Result
	_, err = r.ints.during(ctx, func(ctx context.Context) error {
		res, err = r.do(ctx, action.SessionStart, r.spec.Profile, r.sessionArgs())
		return err
	})
	if err != nil {
		return fmt.Errorf("agent.session: %w", err)
	}
	r.deps.Console.Print(FromSystem, res.Output)
	return r.open(ctx, note)
}

func (r *run) sessionArgs() map[string]any {
	if r.spec.SessionArgs != nil {
		return r.spec.SessionArgs
	}
	args := map[string]any{"view": r.spec.Profile, "home": r.spec.Home}
	if r.spec.MaxOutput > 0 {
		args["output_bytes"] = int64(r.spec.MaxOutput)
	}
	return args
}

// spawn makes a new context and gives the note it starts with. The context's
// label is the agent's joined with the note's; a note that is above the
// agent's ceiling stays where it is.
func (r *run) spawn(ctx context.Context) (note string, err error) {
	note, l, found, err := r.deps.Notes.LastNote(ctx, r.spec.Username)
	if err != nil {
		return "", fmt.Errorf("agent.note: %w", err)
	}
	born := r.spec.Label
	switch joined := born.Join(l); {
	case !found || note == "":
		note = "None"
	case !joined.ConfFlowsTo(r.spec.Ceiling):
		note = "None"
		r.deps.Console.Print(FromError, fmt.Sprintf("The last session note is withheld: its label %s is above the agent's ceiling %s.", l, r.spec.Ceiling))
	default:
		born = joined
	}
	r.context = newID("c")
	_, err = r.deps.Gate.Do(ctx, action.Action{
		Kind: action.AgentSpawn, Target: r.spec.Username, Session: r.session,
		Principal: principal.TheOperator(r.spec.Operator),
		Args: map[string]any{
			"agent": r.spec.Username, "context": r.context, "label": born.String(),
			"ceiling": r.spec.Ceiling.String(), "budget": int64(r.spec.SpendLimit),
		},
	})
	if err != nil {
		return "", fmt.Errorf("agent.spawn: %w", err)
	}
	r.label = born
	r.sum.Sessions++
	return note, nil
}

// open fills a new context's transcript: the note, then what the initial
// commands print.
func (r *run) open(ctx context.Context, note string) error {
	r.script = newTranscript(system(r.spec), token.Estimate)
	r.trail = trail{was: note}
	r.warned = false
	if err := r.journal(ctx, "session.context", "SYSTEM", "info", map[string]any{
		"context": r.context, "note": note, "label": r.label.String(),
	}); err != nil {
		return err
	}
	shown := cut(foreign(note, r.prompts), r.spec.TokenMax/4, int64(len(note)), token.Estimate)
	r.script.say(noteMark + "\n" + shown)
	r.deps.Console.Print(FromSystem, noteMark+"\n"+shown)
	for _, cmd := range r.spec.InitialCommands {
		prompt := r.modelPrompt()
		r.deps.Console.Print(FromPrompt, prompt+cmd)
		out, err := r.exec(ctx, cmd, principal.ForAgent(r.spec.Username))
		if err != nil {
			return err
		}
		r.script.say(prompt + cmd)
		r.script.say(out.text)
	}
	return nil
}

// do sends one of the agent's own actions through the gate and keeps track of
// the context's label and the cost.
func (r *run) do(ctx context.Context, kind action.Kind, target string, args map[string]any) (record.Result, error) {
	return r.doAs(ctx, principal.ForAgent(r.spec.Username), kind, target, args)
}

func (r *run) doAs(ctx context.Context, who principal.Principal, kind action.Kind, target string, args map[string]any) (record.Result, error) {
	res, err := r.deps.Gate.Do(ctx, action.Action{
		Kind: kind, Target: target, Args: args,
		Agent: r.spec.Username, Session: r.session, Context: r.context, Principal: who,
	})
	r.sum.Cost += res.Cost
	if err == nil || res.Output != "" {
		r.label = r.label.Join(res.Label)
	}
	if err != nil && refused(err) {
		r.sum.Denied++
	}
	return res, err
}

// journal records an event of this run.
func (r *run) journal(ctx context.Context, kind, channel, level string, data map[string]any) error {
	if data == nil {
		data = map[string]any{}
	}
	data["alert"] = "none"
	if r.context != "" {
		data["context"] = r.context
	}
	_, err := r.deps.Journal.Append(context.WithoutCancel(ctx), record.Event{
		Type: kind, Agent: r.spec.Username, Session: r.session, Channel: channel, Level: level, Alert: "none", Data: data,
	})
	if err != nil {
		return fmt.Errorf("agent.journal: %w", err)
	}
	return nil
}

// modelPrompt gives the prompt as the model sees it now.
func (r *run) modelPrompt() string {
	return r.prompts.model(r.cwd, r.script.tokens(), r.spec.TokenMax)
}

// refused reports whether an action did not happen because somebody or
// something said no.
func refused(err error) bool {
	k := fault.KindOf(err)
	return k == fault.Denied || k == fault.NeedsAsk
}
