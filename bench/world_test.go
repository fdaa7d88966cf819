package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/app"
	"sallyport/internal/config"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// roleEnv makes this binary the second process of a benchmark.
const roleEnv = "BENCH_ROLE"

func TestMain(m *testing.M) {
	app.MaybeInit()
	if role := os.Getenv(roleEnv); role != "" {
		if err := second(role, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// samples are the durations of single calls.
type samples []time.Duration

func (s *samples) since(start time.Time) { *s = append(*s, time.Since(start)) }

// at gives a quantile; it sorts.
func (s samples) at(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	slices.Sort(s)
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// report gives p50 and p99 in a unit, under a prefix such as "wait-".
func (s samples) report(b *testing.B, prefix string, unit time.Duration) {
	b.Helper()
	name := map[time.Duration]string{time.Nanosecond: "ns", time.Microsecond: "µs", time.Millisecond: "ms"}[unit]
	b.ReportMetric(float64(s.at(.5))/float64(unit), prefix+"p50-"+name)
	b.ReportMetric(float64(s.at(.99))/float64(unit), prefix+"p99-"+name)
	b.ReportMetric(0, "ns/op") // a mean says less
}

// ratio reports how many times the median of s is that of base.
func ratio(b *testing.B, name string, s, base samples) {
	b.Helper()
	if m := base.at(.5); m > 0 {
		b.ReportMetric(float64(s.at(.5))/float64(m), name)
	}
}

// nightwatch is the shipped example; its settings lie beside it.
const nightwatch = "../examples/nightwatch.yaml"

// installation opens a state directory with the shipped example's settings.
func installation(tb testing.TB, home string) (*app.App, *store.Store) {
	tb.Helper()
	if err := os.Chmod(home, 0o700); err != nil {
		tb.Fatal(err)
	}
	a, err := app.Open(context.Background(), app.Options{Home: home, AgentFile: nightwatch, Environ: []string{"HOME=" + home}, Create: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := a.Close(); err != nil {
			tb.Error(err)
		}
	})
	st, err := a.Store(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	return a, st
}

// monitor wires a gate as a run does: the policy of the shipped settings, the
// store as ledger, the approval room as approver. Only the executors are given.
func monitor(tb testing.TB, a *app.App, st *store.Store, execs map[action.Kind]gate.Executor) *gate.Gate {
	tb.Helper()
	agents, errs := config.LoadAgents(nightwatch, *a.Env)
	for _, err := range errs {
		tb.Fatal(err)
	}
	rules, err := a.Policy(agents...)
	if err != nil {
		tb.Fatal(err)
	}
	people, _, err := a.People(context.Background(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	g, err := gate.New(gate.Config{Ledger: st, Policy: rules, Approver: people, Executors: execs, Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// noop performs an action by doing nothing.
type noop struct{}

func (noop) Perform(_ context.Context, p *gate.Permit) (record.Result, error) {
	_, err := p.Take()
	return record.Result{Output: "ok", Data: map[string]any{"exit": int64(0)}}, err
}

// The labels of the shipped example's agent.
var (
	birth   = label.New(label.Public, label.Member, 0)
	ceiling = label.New(label.Internal, label.Foreign, 0)
)

// spawn makes a context of the example's agent and opens its session.
func spawn(tb testing.TB, g *gate.Gate, name string) {
	tb.Helper()
	for _, a := range []action.Action{
		{Kind: action.AgentSpawn, Target: "sarah", Args: map[string]any{
			"context": name, "label": birth.String(), "ceiling": ceiling.String(),
		}, Principal: principal.TheOperator("bench")},
		{Kind: action.SessionStart, Target: "auditor", Agent: "sarah", Session: name, Context: name, Args: map[string]any{
			"view": "auditor",
		}, Principal: principal.ForAgent("sarah")},
	} {
		if _, err := g.Do(context.Background(), a); err != nil {
			tb.Fatal(err)
		}
	}
}

// listing is a command as an agent gives it.
func listing(name string) action.Action {
	return action.Action{
		Kind: action.Exec, Target: name, Agent: "sarah", Session: name, Context: name,
		Args:      map[string]any{"script": "ss -tlnp 2>/dev/null | awk 'NR>1{print $4}' | sort -u", "timeout_ms": int64(10000)},
		Principal: principal.ForAgent("sarah"),
	}
}

// built is the stripped binary, made once.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// binary builds what `make` builds. It is always built, because a stale one
// would be measured without a word; the build cache makes that cheap.
func binary(tb testing.TB) string {
	tb.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "sallyport-bench-"); built.err != nil {
			return
		}
		c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", built.dir, "../cmd/sallyport")
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		tb.Fatal(built.err)
	}
	return filepath.Join(built.dir, "sallyport")
}

// second is what this binary does as the second process of a benchmark.
func second(role string, args []string) error {
	switch {
	case role == "writer" && len(args) == 1:
		return saturate(args[0], os.Stdin, os.Stdout)
	case role == "payload":
		return payload(os.Stdin, os.Stdout)
	default:
		return fmt.Errorf("bench: no role %q", role)
	}
}

// fork runs this binary in a role until the returned function ends it. It
// returns once the process says that it is ready.
func fork(tb testing.TB, role string, args ...string) (end func()) {
	tb.Helper()
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), roleEnv+"="+role)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	in, err := c.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := c.Start(); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		_ = in.Close()
		_ = c.Wait()
		tb.Fatalf("the second process did not start: %v: %s", err, stderr.String())
	}
	return func() {
		_ = in.Close() // its sign to end
		if err := c.Wait(); err != nil {
			tb.Errorf("the second process: %v: %s", err, stderr.String())
		}
	}
}
