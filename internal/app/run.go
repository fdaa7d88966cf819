package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"sallyport/internal/agent"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// RunOptions say what to run and how.
type RunOptions struct {
	Path        string        // an agent file, or a directory of them
	Once        bool          // one patrol without pauses
	Unattended  bool          // nobody answers: an ask is a deny
	Turns       int           // most model turns; 0 = the default
	Every       time.Duration // repeat patrols at this interval; 0 = once
	RequireTier string        // full or landlock; "" = what the profile says
	Operator    string        // the OS user at the terminal
	Out         io.Writer     // progress and transcript
	// Console makes the console of one agent; the prefix tells several apart.
	Console func(prefix string) Console
	// Interrupts hears of each Ctrl-C.
	Interrupts <-chan struct{}
	// Fixture shows another host's files in the auditor view instead of this
	// one's; nil is this machine. Tests set it.
	Fixture *Fixture
}

// Console is where one agent's run is watched and answered.
type Console interface {
	agent.Console
	Confirm(ctx context.Context, question string) (yes, answered bool, err error)
}

// Fixture is a host made of files.
type Fixture struct {
	Replace map[string]string // path in the view -> directory shown there
	Facts   string            // directory of collected facts
}

// RunSummary says how one agent's run went.
type RunSummary struct {
	Agent    string         `json:"agent"`
	Session  string         `json:"session"`
	Ended    string         `json:"ended"`
	Error    string         `json:"error,omitempty"`
	Turns    int            `json:"turns"`
	Commands int            `json:"commands"`
	Denied   int            `json:"denied"`
	Tokens   int64          `json:"tokens"`
	Cost     record.Micros  `json:"cost_micros"`
	Seconds  float64        `json:"seconds"`
	Report   *Report        `json:"report,omitempty"`
	Coverage string         `json:"coverage,omitempty"` // as the report states it
	Findings map[string]int `json:"findings,omitempty"` // by severity, as the report states it
	Tier     string         `json:"tier,omitempty"`
	LogSize  int64          `json:"log_size"` // entries in the log at the end
	LogRoot  string         `json:"log_root"` // root hash of the checkpoint, base64

	err error
}

// Err gives the error the run ended with, nil for an end that was asked for.
func (s RunSummary) Err() error { return s.err }

// Run runs the agent file, or every agent file of a directory, in this
// process. One agent that fails does not stop the others; the error joins
// theirs. Errors before anything started are of kind fault.Config,
// fault.Unsupported or fault.Unavailable.
func (a *App) Run(ctx context.Context, o RunOptions) ([]RunSummary, error) {
	agents, errs := config.LoadAgents(o.Path, *a.Env)
	if len(agents) == 0 {
		return nil, errors.Join(append(errs, fault.New("app.run", fault.Config, "no agent could be loaded from %s", o.Path))...)
	}
	if err := a.checkStart(o); err != nil {
		return nil, err
	}
	consoles := map[string]Console{}
	for _, ag := range agents {
		prefix := ""
		if len(agents) > 1 {
			prefix = ag.Username + "| "
		}
		consoles[ag.Username] = o.Console(prefix)
	}
	e, err := a.newEngine(ctx, agents, o, consoles)
	if err != nil {
		return nil, err
	}
	defer e.close()
	e.announce(agents)
	for _, err := range errs { // said now, because the others run on for long
		fmt.Fprintf(o.Out, "Notice: this agent is left out: %s\n", sentence(err))
	}
	runs := make([]func(context.Context) error, len(agents))
	out := make([]RunSummary, len(agents))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	interrupts := fanOut(ctx, o.Interrupts, len(agents))
	for i, ag := range agents {
		runs[i] = func(ctx context.Context) error {
			return e.series(ctx, ag.Username, interrupts[i], func(ctx context.Context) error {
				out[i] = e.runAgent(ctx, ag, consoles[ag.Username], interrupts[i])
				return out[i].err
			})
		}
	}
	err = agent.RunAll(ctx, runs)
	return out, errors.Join(append(errs, err)...)
}

// checkStart refuses what must not start: unsafe combinations of settings.
func (a *App) checkStart(o RunOptions) error {
	if o.Every != 0 && o.Every < time.Second {
		return fault.New("app.run", fault.Usage, "--every %s is shorter than a second; give an interval such as 1h", o.Every)
	}
	return errors.Join(a.Config.Problems(false)...)
}

// runAgent runs one agent to its end and says how it went.
func (e *engine) runAgent(ctx context.Context, ag *config.Agent, con Console, interrupts <-chan struct{}) RunSummary {
	sum := RunSummary{Agent: ag.Username}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	session := newHandle("s")
	e.boxes.onLoss(session, cancel)
	defer e.boxes.onLoss(session, nil)
	began := e.now()
	spec, err := e.specFor(ag)
	if err != nil {
		sum.err, sum.Error = err, fault.PublicText(err)
		return sum
	}
	attended := !e.opts.Unattended && e.single
	e.staff.enter(ctx, session, ag.Username, 0)
	got, err := agent.Run(ctx, spec, e.deps(con, interrupts), agent.Options{
		Once: e.opts.Once || e.opts.Every > 0, Attended: attended, Turns: e.opts.Turns, Session: session,
	})
	e.staff.leave(session)
	sum.Tier = e.boxes.tierOf(got.Session)
	err = errors.Join(err, e.boxes.end(got.Session), e.withdraw(context.WithoutCancel(ctx), got.Session))
	err = because(ctx, err)
	sum.Session, sum.Ended, sum.Turns, sum.Commands = got.Session, got.Ended, got.Turns, got.Commands
	sum.Denied, sum.Tokens, sum.Cost = got.Denied, got.Tokens, got.Cost
	sum.Seconds = e.now().Sub(began).Seconds()
	if err != nil {
		sum.err, sum.Error = err, sentence(err)
	}
	e.addReport(&sum, began)
	e.addCheckpoint(context.WithoutCancel(ctx), &sum)
	return sum
}

// withdraw closes the questions of a session that ended: an answer binds the
// session, so it could never be used, and nobody should be asked for it.
func (e *engine) withdraw(ctx context.Context, session string) error {
	asks, err := e.store.Asks(ctx, true)
	if err != nil {
		return err
	}
	var errs []error
	for _, ask := range asks {
		if ask.Session != session {
			continue
		}
		// Somebody may have answered meanwhile; then there is nothing to close.
		if err := e.store.CloseAsk(ctx, ask.ID, record.AskWithdrawn); err != nil && !fault.Is(err, fault.NotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// specFor turns an agent file and the operator's settings into what the loop
// runs.
func (e *engine) specFor(ag *config.Agent) (agent.Spec, error) {
	cfg := e.app.Config
	set := cfg.Agent(ag.Username)
	model := e.targets[ag.Username]
	home := filepath.Join(e.app.Paths.Naisys, "home", ag.Username)
	box, err := e.boxSpec(ag, home)
	if err != nil {
		return agent.Spec{}, err
	}
	timeout := time.Duration(cfg.Tools.CommandTimeout) * time.Second
	output := 8 * cfg.ShellOutputTokens
	spec := agent.Spec{
		Username: ag.Username, Title: ag.Title, Model: model.target, ModelID: model.model.Model,
		Prompt: ag.AgentPrompt, TokenMax: ag.TokenMax, Pause: pauseOf(ag), WakeOnMessage: ag.WakeOnMessage,
		SpendLimit: e.models.limits[ag.Username], Protection: cfg.Protection(ag), Profile: set.Profile,
		Home:         home,
		OutputTokens: cfg.ShellOutputTokens, CommandTimeout: timeout, InitialCommands: ag.InitialCommands,
		MaxOutput: output, Operator: e.opts.Operator, SessionArgs: sessionPlan{spec: box, shell: true, timeout: timeout, output: output}.args(),
	}
	return spec, e.specHouse(ag, &spec)
}

// announce says at start what the operator must know before anything happens.
func (e *engine) announce(agents []*config.Agent) {
	say := func(format string, args ...any) { fmt.Fprintf(e.opts.Out, format+"\n", args...) }
	where := e.app.Config.Path
	if where == "" {
		where = "built-in defaults (no sallyport.yaml was found)"
	}
	say("Configuration: %s", where)
	say("State: %s", e.app.Paths.Home)
	for _, n := range e.app.Notices {
		say("Notice: %s", n)
	}
	for _, f := range e.inFlight {
		say("Notice: %s %s of %s was in flight when its process ended (%s); whether it took effect is not known.",
			f.Kind, f.Target, f.Agent, f.Since.Local().Format(time.DateTime))
	}
	for _, ag := range agents {
		for _, n := range ag.Notices {
			say("Notice: %s", n)
		}
		m := e.targets[ag.Username]
		what := fmt.Sprintf("cleared for %s data", strings.TrimSuffix(e.app.ShowLabel(e.app.Config.ModelClearance(m.model)), "/foreign"))
		if m.model.Provider == "builtin" {
			what = "rules, no LLM, $0, nothing leaves this machine"
		}
		say("Agent %s: model %s is %s (%s); profile %s; spend limit $%.2f", ag.Username, ag.ShellModel, m.target, what,
			e.app.Config.Agent(ag.Username).Profile, e.models.limits[ag.Username].Dollars())
	}
}
