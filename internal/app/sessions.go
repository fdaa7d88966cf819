package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/sandbox"
	"sallyport/internal/sandbox/changes"
	"sallyport/internal/sandbox/collect"
	"sallyport/internal/store"
)

// sessions performs session.start and exec: it holds the live sandboxes by
// session id, the opaque handles that agents act on.
type sessions struct {
	dir  string // private directory for collected facts
	mu   sync.Mutex
	live map[string]*session
	lost map[string]context.CancelCauseFunc // by session: ends its run

	net       *outlets
	sets      map[string]*changes.Set // by store: made before the session that fills them
	terminals map[string]attach       // by session: where its program is seen and typed to

	told     map[string]func(name, shown string) // by session: hears of opened folders
	rises    map[string]func(label.Label)        // by session: hears what it is to know, before it does
	snapshot func(context.Context, record.Scope) (record.Snapshot, error)
	places   *register // nil: nothing outlives these sessions
	scheme   label.Scheme
	view     func(profile string) label.Label
}

// session is one live sandbox with its shell.
type session struct {
	box     *sandbox.Sandbox
	shell   *sandbox.Shell
	timeout time.Duration
	facts   string // directory of collected facts, removed at the end; "" for none
	outlet  *outlet
	sets    []*changes.Set // where copy-on-write changes go
	forget  func()         // ends the collecting that still goes on; nil for none
	folders opening
	places  *tenancy
	unheed  func() // ends the answering of requests for folders; nil for none
}

func newSessions(dir string) *sessions {
	return &sessions{
		dir: dir, live: map[string]*session{}, lost: map[string]context.CancelCauseFunc{}, net: &outlets{},
		sets: map[string]*changes.Set{}, terminals: map[string]attach{}, told: map[string]func(name, shown string){},
		rises: map[string]func(label.Label){},
	}
}

// start performs session.start; exec performs exec. They are two executors
// over one table of handles.
type (
	startSession struct{ *sessions }
	execScript   struct{ *sessions }
)

// Perform collects what the view shows about the host, starts the sandbox and
// its shell, and says which tier was achieved.
func (s startSession) Perform(ctx context.Context, p *gate.Permit) (record.Result, error) {
	a, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	plan, err := planOf(a.Args)
	if err != nil {
		return record.Result{}, err
	}
	// A run that begins a second session has left the first one behind: nothing
	// of it, and no process in it, may outlive that.
	if err := s.end(a.Session); err != nil {
		return record.Result{}, err
	}
	spec := plan.spec
	live := &session{timeout: plan.timeout}
	coverage := ""
	if spec.View == sandbox.ViewAuditor && spec.Facts == "" {
		if coverage, err = s.collect(ctx, live); err != nil {
			return record.Result{}, err
		}
		spec.Facts = live.facts
	}
	if spec.Network == sandbox.NetworkHandoff {
		if spec.Files, err = s.net.files(a.Target); err != nil {
			return record.Result{}, errors.Join(err, live.close())
		}
	}
	if spec.View == sandbox.ViewWorkspace {
		spec.Files = append(spec.Files, accountFiles(a.Agent, spec.Home)...)
	}
	if err := s.open(ctx, a, live, spec, p.Label); err != nil {
		return record.Result{}, errors.Join(err, live.close())
	}
	report := live.box.Report()
	res := record.Result{
		Output: fmt.Sprintf("Sandbox: view %s, tier %s%s", spec.View, report.Tier, coverage),
		Data: map[string]any{
			"tier": report.Tier.String(), "not_promised": texts(report.NotPromised), "limits": texts(live.box.Limits()),
		},
	}
	if spec.ReadOnly || !plan.shell {
		s.put(a.Session, a.Agent, live)
		return res, nil
	}
	if live.shell, err = live.box.Shell(ctx, sandbox.ShellOptions{OutputBytes: plan.output, Timeout: plan.timeout}); err != nil {
		return record.Result{}, errors.Join(err, live.close())
	}
	s.put(a.Session, a.Agent, live)
	return res, nil
}

// open starts the sandbox of a session that knows l, and what serves it.
func (s startSession) open(ctx context.Context, a action.Action, live *session, spec sandbox.Spec, l label.Label) (err error) {
	if s.places != nil {
		if live.places, err = s.places.enter(ctx, a.Session, a.Agent, spec, l, s.view(a.Target)); err != nil {
			return err
		}
		live.places.hear(s.risesOf(a.Session))
	}
	if live.box, err = sandbox.Start(ctx, spec); err != nil {
		return err
	}
	if spec.Network == sandbox.NetworkHandoff {
		if live.outlet, err = s.net.open(ctx, a, live.box, live.places); err != nil {
			return err
		}
	}
	s.heedFolders(ctx, a, live, spec)
	return s.began(live)
}

func (s *sessions) risesOf(session string) func(label.Label) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rises[session]
}

// collect gathers as trusted code what a confined agent cannot see.
func (s startSession) collect(ctx context.Context, live *session) (string, error) {
	dir, err := os.MkdirTemp(s.dir, "facts-")
	if err != nil {
		return "", fault.Wrap("app.collect", fault.Unavailable, err)
	}
	live.facts = dir
	// What takes long is read while the session already runs.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	sum, err := collect.Collect(ctx, dir, collect.Options{Late: true})
	live.forget = func() { cancel(); <-sum.Done }
	if err != nil {
		return "", errors.Join(fault.Wrap("app.collect", fault.Unavailable, err), live.close())
	}
	return ", facts " + sum.String(), nil
}

func (s *sessions) put(id, agent string, live *session) {
	s.mu.Lock()
	s.live[id] = live
	s.mu.Unlock()
	go s.guard(id, agent, live)
}

// onLoss says what ends the run whose sandbox is lost, nil for nothing more.
func (s *sessions) onLoss(session string, end context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost[session] = end; end == nil {
		delete(s.lost, session)
	}
}

// guard ends the run of an agent whose sandbox ended without being closed: its
// model could only pay for commands that nothing can run.
func (s *sessions) guard(id, agent string, live *session) {
	<-live.box.Done()
	s.mu.Lock()
	open, end := s.live[id] == live, s.lost[id]
	s.mu.Unlock()
	if open && end != nil {
		end(fault.New("app.sandbox", fault.Unavailable,
			"the sandbox of %s has ended, because its wall_seconds are used up or its processes were killed; `sallyport run` starts a new one", agent))
	}
}

func (s *sessions) get(id string) (*session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live, ok := s.live[id]
	return live, ok && live.shell != nil
}

// tierOf gives the tier a live session achieved, "" if there is none.
func (s *sessions) tierOf(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if live := s.live[id]; live != nil {
		return live.box.Report().Tier.String()
	}
	return ""
}

// end closes one session; it is the end of everything that runs in it.
func (s *sessions) end(id string) error {
	s.mu.Lock()
	live := s.live[id]
	delete(s.live, id)
	s.mu.Unlock()
	if live == nil {
		return nil
	}
	return live.close()
}

// endAll closes every session.
func (s *sessions) endAll() error {
	s.mu.Lock()
	ids := make([]string, 0, len(s.live))
	for id := range s.live {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	var errs []error
	for _, id := range ids {
		errs = append(errs, s.end(id))
	}
	return errors.Join(errs...)
}

func (l *session) close() error {
	var errs []error
	if l.unheed != nil {
		l.unheed()
	}
	if l.shell != nil {
		errs = append(errs, l.shell.Close())
	}
	if l.box != nil {
		errs = append(errs, l.box.Close())
	}
	if l.outlet != nil {
		l.outlet.close()
	}
	for _, set := range l.sets {
		errs = append(errs, set.End())
	}
	if l.forget != nil {
		l.forget()
	}
	if l.facts != "" {
		errs = append(errs, os.RemoveAll(l.facts))
	}
	l.places.leave() // nothing writes any more
	return errors.Join(errs...)
}

// Perform runs one script in the session's shell. A cancelled ctx interrupts
// the script alone; the shell lives on.
func (s execScript) Perform(ctx context.Context, p *gate.Permit) (record.Result, error) {
	a, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	s.mu.Lock()
	known := s.live[a.Target]
	s.mu.Unlock()
	if known != nil { // what the context knows, the script may write down, or what runs there tell
		if err := known.learn(ctx, p.Label); err != nil {
			return record.Result{}, err
		}
	}
	if _, program := a.Args["argv"]; program {
		return s.run(ctx, a)
	}
	live, ok := s.get(a.Target)
	if !ok {
		return record.Result{}, fault.New("app.exec", fault.NotFound, "session %s has no shell; the session ended or is read-only", a.Target)
	}
	timeout := live.timeout
	if ms, ok := a.Args["timeout_ms"].(int64); ok && ms > 0 {
		timeout = time.Duration(ms) * time.Millisecond
	}
	got, err := live.shell.Run(ctx, a.Arg("script"), timeout)
	out := outputOf(got)
	res := record.Result{
		Output: out,
		Payload: record.ExecResult{
			Exit: got.Exit, Signal: got.Signal, Cwd: got.Cwd, TimedOut: got.TimedOut,
			Restart: got.ShellDied, Total: got.TotalBytes, Dropped: got.DroppedBytes,
		},
		Data: map[string]any{
			"exit": int64(got.Exit), "cwd": strings.ToValidUTF8(got.Cwd, "\uFFFD"), "timed_out": got.TimedOut,
			"bytes": got.TotalBytes, "dropped": got.DroppedBytes, "shell_restarted": got.ShellDied,
		},
	}
	return res, err
}

// outputOf joins what a command printed into text a model and a log can hold:
// valid UTF-8, with the true size of what was left out.
func outputOf(r sandbox.Result) string {
	var b strings.Builder
	b.Write(r.Head)
	if r.DroppedBytes > 0 {
		fmt.Fprintf(&b, "\n[... %d of %d bytes are not shown ...]\n", r.DroppedBytes, r.TotalBytes)
	}
	b.Write(r.Tail)
	if r.Notice != "" {
		b.WriteString("\n[" + r.Notice + "]")
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

func texts(s []string) []any {
	out := make([]any, len(s))
	for i, v := range s {
		out[i] = v
	}
	return out
}

// factsDir is where collected facts live while a session does.
func factsDir(home string) (string, error) {
	dir := filepath.Join(home, "run")
	return dir, fault.Wrap("app.facts", fault.Unavailable, os.MkdirAll(dir, 0o700))
}

// own gives this run its own directory for facts and removes those of runs
// whose process died: what was collected about the host must not outlive the
// session it was collected for.
func (s *sessions) own(ctx context.Context, st *store.Store, run int64) error {
	// Listed before the runs: a directory's run is recorded before it is made, so
	// one that appears meanwhile is never taken for a dead run's.
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fault.Wrap("app.facts", fault.Unavailable, err)
	}
	runs, err := st.Runs(ctx, math.MaxInt32)
	if err != nil {
		return err
	}
	alive := map[string]bool{}
	for _, r := range runs {
		alive[strconv.FormatInt(r.ID, 10)] = r.Alive
	}
	for _, e := range entries {
		if !alive[e.Name()] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, e.Name())))
		}
	}
	s.dir = filepath.Join(s.dir, strconv.FormatInt(run, 10))
	return fault.Wrap("app.facts", fault.Unavailable, errors.Join(err, os.MkdirAll(s.dir, 0o700)))
}
