package agent

import (
	"context"
	"fmt"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/llm"
	"sallyport/internal/record"
)

// Protection says who looks at a command before it runs.
const (
	ProtectNone   = "none"   // the policy alone
	ProtectManual = "manual" // the policy asks the operator
	ProtectAuto   = "auto"   // a model reviews first; its word can only narrow or ask
)

// Spec describes the agent to run.
type Spec struct {
	Username        string         // letters, digits, '-', '_', '.'; names the agent everywhere
	Title           string         // shown to the operator
	Model           string         // target of model.call, such as "builtin/auditor"
	ModelID         string         // model id in the request; empty = Model
	Prompt          string         // the agent's own part of the system message, variables resolved
	TokenMax        int            // tokens a transcript may hold, system message included; > 0
	Pause           *time.Duration // wait at the debug prompt; nil = for ever
	WakeOnMessage   bool           // a message ends the wait
	SpendLimit      record.Micros  // for the spawn action; the ledger enforces it; negative = none
	Protection      string         // ProtectNone (or empty), ProtectManual, ProtectAuto
	Profile         string         // target of session.start
	Host            string         // host part of the prompt; empty = "sallyport"
	Home            string         // first working directory
	Label           label.Label    // least label of a context
	Ceiling         label.Label    // most confidential label a context may reach
	OutputTokens    int            // tokens of one command's output shown to the model; 0 = 2,500
	CommandTimeout  time.Duration  // passed to exec as timeout_ms; 0 = the session's default
	InitialCommands []string       // run at the start of every context
	MaxOutput       int            // bytes of output the session keeps; passed to session.start as output_bytes; 0 = its default
	Operator        string         // the operator's OS user; empty = "operator"
	SessionArgs     map[string]any // arguments of session.start; nil = view, home and output_bytes from above
	NoShell         bool           // the profile runs no commands: there is no session, and an exec is refused
	Memory          label.Label    // fixed label of the agent's session note
	House           *House         // what it has beside a shell; nil = nothing
}

// Gate is the one door; *gate.Gate is one.
type Gate interface {
	Do(ctx context.Context, a action.Action) (record.Result, error)
}

// Journal records what happened and is no effect by itself. An error ends the
// run: what cannot be recorded must not go on.
type Journal interface {
	Append(ctx context.Context, e record.Event) (int64, error)
}

// Budget tells what is left. MaxTokens gives how many output tokens a request,
// priced as the gate will reserve it, can afford; it returns a fault.Budget
// error, or a number too small for a reply, when it can afford none. A negative
// remainder means that there is no limit.
type Budget interface {
	Remaining(ctx context.Context, agent string) (record.Micros, error)
	MaxTokens(target string, remaining record.Micros, req llm.Request) (int, error)
}

// Reports lists the report files that appeared after a time.
type Reports interface {
	New(since time.Time) ([]string, error)
}

// Deps is what a run needs from outside. Wake, Interrupts and Instructions may
// be nil, everything else is required.
type Deps struct {
	Gate       Gate
	Journal    Journal
	Notes      Notes
	Budget     Budget
	Reports    Reports
	Console    Console
	Now        func() time.Time
	Interrupts <-chan struct{} // one value per Ctrl-C
	Wake       <-chan struct{} // one value per message that arrived

	Instructions Instructions // nil = nobody gives signed instructions
}

// Options say how to run.
type Options struct {
	Once     bool   // one patrol: no pauses, ends at `pause` or at `endsession` with a new report
	Attended bool   // somebody is at the console
	Turns    int    // most model turns; 0 = 200 with Once, unlimited without
	Session  string // id of the run, unguessable; "" = a new one
	Task     *Task  // the run is a child's; needs Once
}

// Why a run ended; Summary.Ended is one of these.
const (
	EndedPause       = "pause"       // Once: the model had nothing more to do
	EndedReport      = "report"      // Once: the session ended and a report is there
	EndedTurns       = "turns"       // Options.Turns used up
	EndedResult      = "result"      // Task: the child gave its result
	EndedTokens      = "tokens"      // Task: the child's context is full
	EndedIdle        = "idle"        // Once: no signed instruction waits
	EndedExit        = "exit"        // the operator said exit
	EndedBudget      = "budget"      // the spend limit leaves no call
	EndedErrors      = "errors"      // too many failures in a row, or one that repeating cannot cure
	EndedStopped     = "stopped"     // `sallyport stop`
	EndedInterrupted = "interrupted" // Ctrl-C or the context was cancelled
)

// Summary tells how a run went. It is complete whether or not Run returned an
// error.
type Summary struct {
	Session  string // session id
	Turns    int    // model turns that gave a reply
	Tokens   int64  // input and output tokens of all model calls, as reported
	Cost     record.Micros
	Sessions int // contexts begun; the operator calls them sessions
	Commands int // scripts given to the shell
	Denied   int // actions refused
	Errors   int // failed model calls
	Elapsed  time.Duration
	Ended    string
	Note     string // Task: what the child leaves, its result or an automatic note
}

// Defaults of Spec and Options.
const (
	defaultHost         = "sallyport"
	defaultOutputTokens = 2500 // what NAISYS 2024 cut at
	defaultOnceTurns    = 200
)

// check fills defaults and refuses a Spec that cannot run.
func (s *Spec) check() error {
	for name, v := range map[string]string{"username": s.Username, "model": s.Model, "profile": s.Profile} {
		if v == "" {
			return fault.New("agent.spec", fault.Config, "the agent has no %s; set it in the agent file", name)
		}
	}
	for _, c := range s.Username {
		if !isNameRune(c) {
			return fault.New("agent.spec", fault.Config, "username %q holds %q; use letters, digits, '-', '_' and '.'", s.Username, c)
		}
	}
	if s.TokenMax <= 0 {
		return fault.New("agent.spec", fault.Config, "tokenMax is %d; it must be above 0", s.TokenMax)
	}
	switch s.Protection {
	case "":
		s.Protection = ProtectNone
	case ProtectNone, ProtectManual, ProtectAuto:
	default:
		return fault.New("agent.spec", fault.Config, "commandProtection %q is unknown; use none, manual or auto", s.Protection)
	}
	if s.Host == "" {
		s.Host = defaultHost
	}
	if s.OutputTokens <= 0 {
		s.OutputTokens = defaultOutputTokens
	}
	if s.ModelID == "" {
		s.ModelID = s.Model
	}
	if s.Operator == "" {
		s.Operator = "operator"
	}
	return nil
}

func isNameRune(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

func (d Deps) check() error {
	for name, missing := range map[string]bool{
		"gate": d.Gate == nil, "journal": d.Journal == nil, "notes": d.Notes == nil, "budget": d.Budget == nil,
		"reports": d.Reports == nil, "console": d.Console == nil, "clock": d.Now == nil,
	} {
		if missing {
			return fmt.Errorf("agent.run: no %s was wired", name)
		}
	}
	return nil
}
