package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/agent"
	"sallyport/internal/agent/console"
	"sallyport/internal/gate"
	"sallyport/internal/llm"
	"sallyport/internal/record"
	"sallyport/internal/sandbox"
	"sallyport/internal/store"
)

// rig performs what an agent asks for: a model that answers at once, and a real
// sandboxed bash. It takes the time of what is not ours.
type rig struct {
	view  string
	home  string
	state string
	box   *sandbox.Sandbox
	shell *sandbox.Shell
	store *store.Store

	mu       sync.Mutex
	turn     int
	replied  time.Time     // when the last reply was handed over
	ran      time.Duration // how long commands took since then
	added    samples       // reply ready to next model call, without the command
	commands samples
}

type (
	rigModel struct{ *rig }
	rigStart struct{ *rig }
	rigExec  struct{ *rig }
)

// Quote reserves as a priced model does.
func (rigModel) Quote(a action.Action) (record.Reservation, error) {
	return record.Reservation{Account: a.Agent, Micros: 1000, Limit: 1 << 50}, nil
}

// Perform answers with a command.
func (r rigModel) Perform(_ context.Context, p *gate.Permit) (record.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.replied.IsZero() {
		r.added = append(r.added, time.Since(r.replied)-r.ran)
	}
	a, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	if _, err := llm.FromArgs(a.Args); err != nil {
		return record.Result{}, err
	}
	r.turn++
	reply := llm.Response{
		Text: fmt.Sprintf("# check %d\nls -ld /etc /var /usr", r.turn), Stop: llm.StopEnd,
		Usage: llm.Usage{Output: 20}, UsageKnown: true,
	}
	r.ran, r.replied = 0, time.Now()
	return record.Result{Output: reply.Text, Payload: reply, Cost: 100, Data: map[string]any{"output_tokens": int64(20)}}, nil
}

// Perform starts the sandbox and its shell.
func (r rigStart) Perform(ctx context.Context, p *gate.Permit) (record.Result, error) {
	if _, err := p.Take(); err != nil {
		return record.Result{}, err
	}
	spec := sandbox.Spec{
		View: r.view, MinTier: sandbox.TierFull, Home: r.home, Masked: []string{r.state},
		Env: []string{"PATH=/usr/bin:/bin", "HOME=" + r.home},
	}
	var err error
	if r.box, err = sandbox.Start(ctx, spec); err != nil {
		return record.Result{}, err
	}
	r.shell, err = r.box.Shell(ctx, sandbox.ShellOptions{})
	return record.Result{Output: "tier " + r.box.Report().Tier.String()}, err
}

// Perform runs a script in the shell.
func (r rigExec) Perform(ctx context.Context, p *gate.Permit) (record.Result, error) {
	a, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	start := time.Now()
	got, err := r.shell.Run(ctx, a.Arg("script"), 0)
	took := time.Since(start)
	r.mu.Lock()
	r.ran += took
	r.commands = append(r.commands, took)
	r.mu.Unlock()
	return record.Result{
		Output: string(got.Head) + string(got.Tail), Payload: record.ExecResult{Exit: got.Exit, Cwd: got.Cwd, Total: got.TotalBytes},
		Data: map[string]any{"exit": int64(got.Exit), "bytes": got.TotalBytes},
	}, err
}

// Remaining asks the ledger, as a run does.
func (r *rig) Remaining(ctx context.Context, name string) (record.Micros, error) {
	spent, reserved, err := r.store.Budget(ctx, name)
	return 1<<50 - spent - reserved, err
}

// MaxTokens is what any budget here affords.
func (r *rig) MaxTokens(string, record.Micros, llm.Request) (int, error) { return 4096, nil }

// New reports nothing.
func (r *rig) New(time.Time) ([]string, error) { return nil, nil }

func (r *rig) close() {
	if r.shell != nil {
		_ = r.shell.Close()
	}
	if r.box != nil {
		_ = r.box.Close()
	}
}

// BenchmarkTurn is what one turn of an agent costs beside its model and its
// command, everything recorded: reading the reply, two mediated actions, the
// journal, the transcript. The context is small (the seed's 6,000 tokens) or
// filled with about 100,000.
func BenchmarkTurn(b *testing.B) {
	for _, size := range []struct {
		name   string
		tokens int
		prompt string
	}{
		{"context=6k", 6000, "Guard this system."},
		{"context=100k", 200_000, strings.Repeat("Guard this system, and look at every corner of it twice. ", 7000)},
	} {
		b.Run(size.name, func(b *testing.B) {
			home, state := b.TempDir(), b.TempDir()
			if err := os.Chmod(home, 0o700); err != nil {
				b.Fatal(err)
			}
			a, st := installation(b, state)
			r := &rig{view: sandbox.ViewAuditor, home: home, state: state, store: st}
			defer r.close()
			g := monitor(b, a, st, map[action.Kind]gate.Executor{
				action.AgentSpawn: noop{}, action.SessionStart: rigStart{r}, action.ModelCall: rigModel{r}, action.Exec: rigExec{r},
			})
			sum, err := agent.Run(context.Background(), agent.Spec{
				Username: "sarah", Title: "Security Engineer", Model: "builtin/auditor", ModelID: "auditor",
				Prompt: size.prompt, TokenMax: size.tokens, Profile: "auditor", Home: home, SpendLimit: 1 << 50,
				Label: birth, Ceiling: ceiling, Operator: "bench",
			}, agent.Deps{
				Gate: g, Journal: st, Notes: st, Budget: r, Reports: r, Console: console.NewPlain(nil, io.Discard, ""), Now: time.Now,
			}, agent.Options{Once: true, Turns: b.N})
			if err != nil || sum.Denied > 0 || sum.Errors > 0 {
				b.Fatalf("%+v, %v", sum, err)
			}
			r.added.report(b, "added-", time.Microsecond)
			r.commands.report(b, "command-", time.Microsecond)
		})
	}
}
