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

	built   builtins
	session string       // id of the run and of its shell
	context string       // id of the model's context
	label   label.Label  // of the context, as far as results told
	ceiling label.Label  // of the context
	bits    int          // that the context may still extract (rule R7)
	carries *Instruction // that the context was made for, nil for none
	note    string       // that the context begins with
	told    bool         // the model knows that its note will not be kept
	passed  []string     // instructions that could not be taken
	shell   label.Label  // of all that the shell's session was given
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
		session: opts.Session, pause: spec.Pause, wakes: spec.WakeOnMessage,
		built: builtins{house: spec.House != nil}, shell: label.Bottom,
	}
	if r.session == "" {
		r.session = newID("s")
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
	if t := r.opts.Task; t != nil {
		r.context, r.label, r.ceiling, r.bits = t.Context, t.Label, t.Ceiling, t.Bits
		r.sum.Sessions++
	} else if begun, err := r.takeNext(ctx); err != nil || !begun {
		return err
	}
	if err := r.startShell(ctx); err != nil {
		return err
	}
	return r.open(ctx)
}

// startShell opens the shell's session, if the profile has a shell. One that
// the run had before is ended by whoever performs it.
func (r *run) startShell(ctx context.Context) error {
	r.cwd, r.shell = r.spec.Home, label.Bottom
	if r.spec.NoShell {
		r.cwd = "~" // there is no directory, and no host's path to show
		return nil
	}
	var res record.Result
	_, err := r.ints.during(ctx, func(ctx context.Context) (err error) {
		res, err = r.do(ctx, action.SessionStart, r.spec.Profile, r.sessionArgs())
		return err
	})
	if err != nil {
		return fmt.Errorf("agent.session: %w", err)
	}
	r.deps.Console.Print(FromSystem, res.Output)
	return nil
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

// open fills a new context's transcript: the note or the order it was made
// for, then what the initial commands print.
func (r *run) open(ctx context.Context) error {
	r.script = newTranscript(system(r.spec), token.Estimate)
	r.trail = trail{was: r.note}
	r.warned, r.told = false, false
	if err := r.journal(ctx, "session.context", "SYSTEM", "info", map[string]any{
		"context": r.context, "note": r.note, "ceiling": r.ceiling.String(),
	}); err != nil {
		return err
	}
	if t := r.opts.Task; t != nil {
		r.tell(r.task(t))
	} else {
		r.tell(noteMark + "\n" + cut(foreign(r.note, r.prompts), r.spec.TokenMax/4, int64(len(r.note)), token.Estimate))
	}
	if r.carries != nil {
		r.tell(r.instruction(r.carries))
	}
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

// tell shows text to the model and to the operator.
func (r *run) tell(text string) {
	r.script.say(text)
	r.deps.Console.Print(FromSystem, text)
}

// do sends one of the agent's own actions through the gate and keeps track of
// the context's label and the cost.
func (r *run) do(ctx context.Context, kind action.Kind, target string, args map[string]any) (record.Result, error) {
	return r.doAs(ctx, principal.ForAgent(r.spec.Username), kind, target, args)
}

func (r *run) doAs(ctx context.Context, who principal.Principal, kind action.Kind, target string, args map[string]any) (record.Result, error) {
	return r.doIn(ctx, r.context, who, action.Action{Kind: kind, Target: target, Args: args})
}

// doIn is doAs in one of the run's contexts: its own, or one that it made to
// have a question answered.
func (r *run) doIn(ctx context.Context, where string, who principal.Principal, a action.Action) (record.Result, error) {
	a.Agent, a.Session, a.Context, a.Principal = r.spec.Username, r.session, where, who
	res, err := r.deps.Gate.Do(ctx, a)
	r.sum.Cost += res.Cost
	if where == r.context && !judged(err) { // what failed was begun, and its failure is a result
		r.label = r.label.Join(res.Label)
	}
	if err != nil && refused(err) {
		r.sum.Denied++
	}
	return res, err
}

// judged reports whether the gate refused an action by a rule: then nothing was
// begun. The gate's refusals name their rule.
func judged(err error) bool {
	_, ok := errors.AsType[interface {
		error
		Rule() string
	}](err)
	return ok
}

// journal records an event of this run.
func (r *run) journal(ctx context.Context, kind, channel, level string, data map[string]any) error {
	if data == nil {
		data = map[string]any{}
	}
	data["alert"] = "none"
	data["label"] = r.label.String() // of what its texts were made from
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
