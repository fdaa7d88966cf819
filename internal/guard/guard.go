package guard

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// Gate is the one door; *gate.Gate is one.
type Gate interface {
	Do(ctx context.Context, a action.Action) (record.Result, error)
}

// Journal records what happened and is no effect by itself.
type Journal interface {
	Append(ctx context.Context, e record.Event) (int64, error)
}

// Deps is what a run needs from outside; every field is required.
type Deps struct {
	Gate    Gate
	Journal Journal
	Now     func() time.Time
	// Opened hears what session.start said before the program starts, so that
	// the person reads it before the agent can print anything.
	Opened func(r record.Result)
}

// Spec describes one run of somebody's agent.
type Spec struct {
	Agent       string         // the name under which it is recorded, budgeted and granted
	Session     string         // from NewSession
	Profile     string         // target of session.start
	Argv        []string       // the program and its arguments
	Dir         string         // its working directory
	Terminal    bool           // it gets a terminal; else pipes
	Label       label.Label    // least label of its context
	Ceiling     label.Label    // most confidential label its context may reach
	Operator    string         // the operator's OS user
	SessionArgs map[string]any // arguments of session.start
}

// Summary says how a run went. It is complete whether or not Run returned an
// error.
type Summary struct {
	Session string
	Context string
	Opened  bool // the sandbox was started
	Exit    int  // the program's exit code, 128 + n for signal n; -1 when it never ran
	Signal  string
	Elapsed time.Duration
}

// NewSession makes an unguessable session id.
func NewSession() string { return newID("s") }

func newID(prefix string) string {
	var b [10]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return prefix + "-" + hex.EncodeToString(b[:])
}

// Run opens context and session, runs the program to its end and records all
// of it. A refused action is an error of kind fault.Denied; the program's own
// failure is no error.
func Run(ctx context.Context, s Spec, d Deps) (Summary, error) {
	began := d.Now()
	sum := Summary{Session: s.Session, Context: newID("c"), Exit: -1}
	if len(s.Argv) == 0 {
		return sum, fault.New("guard.run", fault.Usage, "there is no program to run; write it behind --, as in `sallyport guard -- bash`")
	}
	err := s.journal(ctx, d, "session.begin", map[string]any{
		"title": Command(s.Argv), "profile": s.Profile, "attended": s.Terminal, "context": sum.Context,
	})
	if err == nil {
		err = s.open(ctx, d, &sum)
	}
	if err == nil {
		err = s.exec(ctx, d, &sum)
	}
	sum.Elapsed = d.Now().Sub(began)
	end := map[string]any{"context": sum.Context, "exit": int64(sum.Exit), "seconds": sum.Elapsed.Seconds()}
	if err != nil {
		end["error"] = fault.PublicText(err)
	}
	return sum, errors.Join(err, s.journal(ctx, d, "session.end", end))
}

// open makes the context and the session.
func (s Spec) open(ctx context.Context, d Deps, sum *Summary) error {
	_, err := d.Gate.Do(ctx, action.Action{
		Kind: action.AgentSpawn, Target: s.Agent, Session: s.Session, Principal: principal.TheOperator(s.Operator),
		Args: map[string]any{
			"agent": s.Agent, "context": sum.Context, "label": s.Label.String(), "ceiling": s.Ceiling.String(), "budget": int64(-1),
		},
	})
	if err != nil {
		return fmt.Errorf("guard.spawn: %w", err)
	}
	res, err := d.Gate.Do(ctx, s.action(sum, action.SessionStart, s.Profile, s.SessionArgs))
	if err != nil {
		return fmt.Errorf("guard.session: %w", err)
	}
	sum.Opened = true
	d.Opened(res)
	return nil
}

// exec runs the program; the action lasts as long as the program does.
func (s Spec) exec(ctx context.Context, d Deps, sum *Summary) error {
	argv := make([]any, len(s.Argv))
	for i, a := range s.Argv {
		argv[i] = a
	}
	res, err := d.Gate.Do(ctx, s.action(sum, action.Exec, s.Session, map[string]any{
		"script": Command(s.Argv), "argv": argv, "dir": s.Dir, "terminal": s.Terminal,
	}))
	if got, ok := res.Payload.(record.ExecResult); ok {
		sum.Exit, sum.Signal = got.Exit, got.Signal
	}
	if err != nil {
		return fmt.Errorf("guard.exec: %w", err)
	}
	return nil
}

func (s Spec) action(sum *Summary, k action.Kind, target string, args map[string]any) action.Action {
	return action.Action{
		Kind: k, Target: target, Args: args, Agent: s.Agent, Session: s.Session, Context: sum.Context,
		Principal: principal.ForAgent(s.Agent),
	}
}

func (s Spec) journal(ctx context.Context, d Deps, kind string, data map[string]any) error {
	data["alert"] = "none"
	_, err := d.Journal.Append(context.WithoutCancel(ctx), record.Event{
		Type: kind, Agent: s.Agent, Session: s.Session, Channel: "SYSTEM", Level: "info", Alert: "none", Data: data,
	})
	if err != nil {
		return fmt.Errorf("guard.journal: %w", err)
	}
	return nil
}

// Command writes a command line as a shell would read it back.
func Command(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = quote(a)
	}
	if len(argv) > 0 && strings.Contains(argv[0], "=") && words[0] == argv[0] {
		words[0] = "'" + argv[0] + "'" // else it would be an assignment
	}
	return strings.Join(words, " ")
}

func quote(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./:=@%+,", r)
	})
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
