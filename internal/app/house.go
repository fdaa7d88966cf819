package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"sallyport/internal/action"
	"sallyport/internal/agent"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// staff is the organisation of one process: which agents can be given work, and
// the children that work. It performs agent.spawn.
type staff struct {
	e       *engine
	members map[string]*config.Agent // whose contexts can be made here, by username

	mu   sync.Mutex
	runs map[string]*household // by session
}

// household is one run with the children of its present context.
type household struct {
	agent    string
	depth    int             // 0 for a run that the operator began
	parent   context.Context //nolint:containedctx // children end with the run, not with the call that makes them
	ctx      context.Context //nolint:containedctx // of the present context's children
	end      context.CancelFunc
	children int // that the context has made
	working  sync.WaitGroup
}

// fanOutAt bounds how many children one context makes, by its depth. Each
// context has its own bound: if contexts shared one, what one had used up would
// tell the others of what it read. So it is counted by children made, not by
// children that still work: readiness is part of the result.
var fanOutAt = [...]int{8, 2, 1}

// childTurns bounds a child's model turns.
const childTurns = 50

// newStaff learns who can be given work: the agents of the run and, if any of
// them belongs to the organisation, those whose files lie beside theirs.
func (e *engine) newStaff(agents []*config.Agent) (notices []string) {
	e.staff = &staff{e: e, members: map[string]*config.Agent{}, runs: map[string]*household{}}
	org := e.app.Config.Organisation
	looked := map[string]bool{}
	for _, ag := range agents {
		e.staff.members[ag.Username] = ag
	}
	for _, ag := range agents {
		dir := filepath.Dir(ag.Path)
		if _, ok := org.TierOf(ag.Username); !ok || ag.Path == "" || looked[dir] {
			continue
		}
		looked[dir] = true
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		beside, errs := config.LoadAgents(dir, *e.app.Env)
		for _, err := range errs {
			notices = append(notices, "an agent file beside "+ag.Path+" cannot be used: "+sentence(err))
		}
		for _, other := range beside {
			if _, ok := org.TierOf(other.Username); !ok || e.staff.members[other.Username] != nil {
				continue
			}
			if err := e.wireModels([]*config.Agent{other}); err != nil {
				notices = append(notices, other.Username+" can be given no work: "+sentence(err))
				continue
			}
			e.staff.members[other.Username] = other
		}
	}
	return notices
}

// everybody lists the members.
func (h *staff) everybody() []*config.Agent {
	out := make([]*config.Agent, 0, len(h.members))
	for _, ag := range h.members {
		out = append(out, ag)
	}
	slices.SortFunc(out, func(a, b *config.Agent) int {
		if a.Username < b.Username {
			return -1
		}
		return 1
	})
	return out
}

func newHousehold(parent context.Context, name string, depth int) *household {
	run := &household{agent: name, depth: depth, parent: parent}
	run.ctx, run.end = context.WithCancel(parent)
	return run
}

// enter makes a run known, so that its contexts can make children. They end
// with ctx.
func (h *staff) enter(ctx context.Context, session, name string, depth int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runs[session] = newHousehold(ctx, name, depth)
}

// leave ends a run's children and waits for them.
func (h *staff) leave(session string) {
	h.mu.Lock()
	run := h.runs[session]
	delete(h.runs, session)
	h.mu.Unlock()
	if run != nil {
		run.end()
		run.working.Wait()
	}
}

// Perform implements gate.Executor: the context itself was made by the intent,
// in the same transaction as its evidence. What is left is a child's work, and
// the end of the children whose context the run leaves behind.
func (h *staff) Perform(_ context.Context, p *gate.Permit) (record.Result, error) {
	a, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	made := record.Result{Output: "context " + a.Arg("context")}
	if a.Agent == "" {
		h.renew(a.Session)
		return made, nil
	}
	if a.Arg("sha256") == "" {
		return made, nil // it answers one question and has no tools
	}
	return h.employ(a)
}

// renew ends the children of a run's earlier context: nobody could read what
// they leave but through what that context wrote down.
func (h *staff) renew(session string) {
	h.mu.Lock()
	run := h.runs[session]
	h.mu.Unlock()
	if run == nil {
		return
	}
	run.end()
	run.working.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.runs[session] == run {
		h.runs[session] = newHousehold(run.parent, run.agent, run.depth)
	}
}

// employ sets a child to work. From here on everything that happens to it is in
// its future, failures too.
func (h *staff) employ(a action.Action) (record.Result, error) {
	task, err := taskOf(a)
	if err != nil {
		return record.Result{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	run, who := h.runs[a.Session], h.members[a.Target]
	switch {
	case run == nil:
		return record.Result{}, fault.New("app.child", fault.Unsupported, "no work can be given from here")
	case who == nil:
		return record.Result{}, fault.New("app.child", fault.NotFound, "there is no agent file for %s beside that of %s; add one", a.Target, run.agent)
	case run.depth >= len(fanOutAt):
		return record.Result{}, fault.New("app.child", fault.Denied, "children of children of children make none; do the work here, or give it from further above")
	case run.children >= fanOutAt[run.depth]:
		return record.Result{}, fault.New("app.child", fault.Denied, "this session has made its %d children; endsession begins with none", fanOutAt[run.depth])
	}
	run.children++
	task.Down = h.above(a.Agent, a.Target)
	id := newHandle("f")
	h.e.desk.futures.open(id, task.Ceiling)
	run.working.Go(func() {
		h.e.desk.futures.finish(id, h.work(run.ctx, run.depth+1, who, task))
	})
	return record.Result{Output: "future " + id + " (label " + h.e.app.Config.Scheme().Format(task.Ceiling) + "); to wait for it and read it: read --taint " + id}, nil
}

// taskOf reads what a child is to do.
func taskOf(a action.Action) (*agent.Task, error) {
	sum := sha256.Sum256(a.Body)
	if n, ok := a.Args["bytes"].(int64); !ok || n != int64(len(a.Body)) || a.Arg("sha256") != hex.EncodeToString(sum[:]) {
		return nil, fault.New("app.child", fault.Denied, "the task is not the text that was decided about; send it again")
	}
	t := &agent.Task{Context: a.Arg("context"), From: a.Agent, Text: string(a.Body)}
	var err error
	if t.Label, err = label.Parse(a.Arg("label")); err != nil {
		return nil, fault.Wrap("app.child", fault.Internal, err)
	}
	if t.Ceiling, err = label.Parse(a.Arg("ceiling")); err != nil {
		return nil, fault.Wrap("app.child", fault.Internal, err)
	}
	if n, ok := a.Args["bits"].(int64); ok {
		t.Bits = int(n)
	}
	return t, nil
}

// above tells whether an agent gives orders to another: it stands above it in
// the organisation, or it is the same.
func (h *staff) above(from, to string) bool {
	org := h.e.app.Config.Organisation
	a, okA := org.TierOf(from)
	b, okB := org.TierOf(to)
	return from == to || okA && okB && a < b
}

// work runs a child to its end and gives the text of its future.
func (h *staff) work(ctx context.Context, depth int, who *config.Agent, task *agent.Task) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("%s failed: panic: %v", who.Username, p)
		}
	}()
	e, session := h.e, newHandle("s")
	con := e.opts.Console(task.From + ">" + who.Username + "| ")
	spec, err := e.specFor(who)
	if err != nil {
		return who.Username + " could not begin: " + fault.PublicText(err)
	}
	h.enter(ctx, session, who.Username, depth)
	sum, err := agent.Run(ctx, spec, e.deps(con, nil), agent.Options{Once: true, Turns: childTurns, Session: session, Task: task})
	h.leave(session)
	e.afterRun(ctx, session)
	switch {
	case sum.Ended == agent.EndedResult:
		return sum.Note
	case err != nil:
		return fmt.Sprintf("%s gave no result, because it failed (%s): %s\n%s", who.Username, sum.Ended, fault.PublicText(err), sum.Note)
	default:
		return fmt.Sprintf("%s gave no result; its run ended by %s.\n%s", who.Username, sum.Ended, sum.Note)
	}
}

// newHandle makes an unguessable name.
func newHandle(prefix string) string {
	var b [10]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return prefix + "-" + hex.EncodeToString(b[:])
}
