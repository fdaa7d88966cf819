package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/agent"
	"sallyport/internal/approval"
	"sallyport/internal/config"
	"sallyport/internal/egress"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/llm"
	"sallyport/internal/llmproxy"
	"sallyport/internal/record"
	"sallyport/internal/sandbox"
	"sallyport/internal/store"
)

// engine is what running agents needs, wired: the one place where ledger,
// policy, approvals and executors meet the gate.
type engine struct {
	app      *App
	opts     RunOptions
	store    *readable
	gate     *gate.Gate
	models   *modelCalls
	staff    *staff
	boxes    *sessions
	desk     *desk                  // classified items and mail
	targets  map[string]*wiredModel // by agent
	plans    map[string]*outletPlan // by profile: its way out
	single   bool                   // one agent: its console can answer
	inFlight []store.InFlight       // what a dead process left behind
	run      int64                  // id of this run
	now      func() time.Time

	rules                 *rulesInForce // nil until wired
	wait                  time.Duration // how long an unattended question waits for an answer from elsewhere
	screen                *screening
	up                    *upstreams
	figures               *figures
	keysKnown             *keysKnown
	moderate, moderateOut moderator // of what goes to models, and of what they say; nil for none
	watched               *watched
	unwatch               func() // ends the watching for alerts
}

// newEngine wires a run of these agents. What is wrong with a model, a key or
// the policy is an error before anything starts.
func (a *App) newEngine(ctx context.Context, agents []*config.Agent, o RunOptions, consoles map[string]Console) (_ *engine, err error) {
	e := &engine{
		app: a, opts: o, models: newModelCalls(), targets: map[string]*wiredModel{}, plans: map[string]*outletPlan{},
		single: len(agents) == 1, now: time.Now,
	}
	if err := e.wireModels(agents); err != nil {
		return nil, err
	}
	var asker approval.Asker
	if e.single && !o.Unattended {
		asker = terminalAsker{consoles[agents[0].Username]}
	}
	notices := e.newStaff(agents)
	a.Notices = append(a.Notices, notices...)
	for _, ag := range e.staff.everybody() {
		if err := e.planOutlet(ctx, a.Config.Agent(ag.Username).Profile); err != nil {
			return nil, err
		}
	}
	if err := e.wire(ctx, e.staff.everybody(), asker); err != nil {
		return nil, err
	}
	return e, e.begin(ctx, agents)
}

// wire makes the gate and what stands behind it.
func (e *engine) wire(ctx context.Context, agents []*config.Agent, asker approval.Asker) error {
	a := e.app
	st, err := a.Store(ctx)
	if err != nil {
		return err
	}
	if e.store, err = a.newReadable(st); err != nil {
		return err
	}
	dir, err := factsDir(a.Paths.Home)
	if err != nil {
		return err
	}
	rules, err := a.Policy(agents...)
	if err != nil {
		return err
	}
	if e.rules == nil {
		e.rules = &rulesInForce{}
	}
	e.rules.now.Store(rules)
	if err := e.wireMonitor(ctx); err != nil {
		return err
	}
	if e.staff == nil { // who is guarded gives nobody work
		e.newStaff(nil)
	}
	people, _, err := a.people(ctx, asker, e.wait)
	if err != nil {
		return err
	}
	e.boxes, e.desk = newSessions(dir), newDesk(a, st)
	if err := e.desk.unlock(ctx, len(e.targets) > 0); err != nil {
		return err
	}
	e.boxes.snapshot, e.boxes.scheme, e.boxes.view = e.store.Snapshot, a.scheme(), a.viewLabel
	e.boxes.places = &register{dir: filepath.Join(a.Paths.Home, "places"), rows: st}
	e.desk.openFolder = e.boxes.openFolder
	executors := e.desk.executors()
	maps.Copy(executors, map[action.Kind]gate.Executor{
		action.AgentSpawn: e.staff, action.ModelCall: e.models,
		action.SessionStart: startSession{e.boxes}, action.Exec: execScript{e.boxes},
		action.NetConnect: opened{}, action.HTTPRequest: opened{}, action.SecretUse: released{}, action.ToolCall: opened{},
	})
	e.gate, err = gate.New(gate.Config{
		Ledger: provenLedger{e.store, people}, Policy: e.rules, Approver: llmproxy.Patient(newPatience(people, e.plans, a.profileOf)), Now: e.now,
		References: e.desk, Executors: executors,
	})
	if err != nil {
		return err
	}
	p, err := e.modelProxy()
	if err != nil {
		return err
	}
	e.watched = newWatched(p, a.Config)
	e.boxes.net = &outlets{snapshot: e.store.Snapshot, gate: e.gate, models: e.watched, rules: rules, plans: e.plans, journal: e.store, state: e.app.Paths.Home, names: &grantedNames{grants: st.Grants, now: e.now}}
	return nil
}

// wireMonitor makes what reads texts, prices calls and counts.
func (e *engine) wireMonitor(ctx context.Context) (err error) {
	if e.screen, err = e.app.texts.get(); err != nil {
		return err
	}
	if e.up, err = newUpstreams(e.app.Config, e.app.Env); err != nil {
		return err
	}
	if e.moderate, e.moderateOut, err = e.app.newModerators(e.store.Snapshot); err != nil {
		return err
	}
	if limit := e.app.Config.SpendLimitDollars; limit != nil {
		e.models.total = microsOf(*limit)
	}
	e.figures, e.keysKnown = newFigures(), &keysKnown{}
	keys, err := e.store.Keys(ctx)
	if err != nil {
		return err
	}
	e.keysKnown.set(keys)
	e.models.proxied = func(a action.Action) (record.Reservation, error) {
		key, known := e.keysKnown.get(a.Arg("key"))
		return e.up.quote(a, key, known, e.models.total, e.now())
	}
	return nil
}

// planOutlet prepares a profile's way out, if it has one.
func (e *engine) planOutlet(ctx context.Context, profile string) error {
	p, err := e.app.Config.Profile(profile)
	if err != nil || p.View != sandbox.ViewWorkspace || p.Network.Offline() || e.plans[profile] != nil {
		return err
	}
	plan, err := e.app.planOutlet(ctx, profile, p, e.now())
	e.plans[profile] = plan
	return err
}

// begin records the run and settles what dead processes left in flight.
func (e *engine) begin(ctx context.Context, agents []*config.Agent) (err error) {
	if e.inFlight, err = e.store.Recover(ctx); err != nil {
		return err
	}
	names := make([]string, len(agents))
	for i, ag := range agents {
		names[i] = ag.Username
	}
	if err := release(ctx, e.store.Store, names); err != nil {
		return err
	}
	if e.run, err = e.store.StartRun(ctx, names, ""); err != nil {
		return err
	}
	if e.unwatch, err = e.app.watch(context.WithoutCancel(ctx), e.store.Store); err != nil {
		return err
	}
	return e.boxes.own(ctx, e.store.Store, e.run)
}

func (e *engine) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	err := errors.Join(e.boxes.endAll(), e.closeModels(ctx))
	e.desk.close()
	if e.unwatch != nil {
		e.unwatch()
	}
	err = errors.Join(err, os.RemoveAll(e.boxes.dir), e.store.EndRun(context.Background(), e.run), e.store.file.Close())
	if err != nil {
		fmt.Fprintln(e.opts.Out, sentence(err))
	}
}

func (e *engine) wireModels(agents []*config.Agent) error {
	cfg, env := e.app.Config, e.app.Env
	rules, err := dialRules(cfg, env)
	if err != nil {
		return err
	}
	dial := egress.New(egress.Config{Allow: rules})
	if cfg.SpendLimitDollars != nil {
		e.models.total = microsOf(*cfg.SpendLimitDollars)
	}
	for _, ag := range agents {
		w, err := e.models.wire(cfg, env, dial, ag.ShellModel)
		if err != nil {
			return fmt.Errorf("%s: %w", ag.Path, err)
		}
		e.targets[ag.Username] = w
		limit := record.Micros(-1) // dialect 3 knows agents without a limit of their own
		if ag.SpendLimitDollars > 0 {
			limit = microsOf(ag.SpendLimitDollars)
		}
		e.models.limits[ag.Username] = limit
		if !w.priced && (limit >= 0 || cfg.SpendLimitDollars != nil) {
			return fmt.Errorf("%s: %w", ag.Path, unpriced(w))
		}
	}
	return nil
}

// deps gives one agent's loop what it needs; everything with an effect is the
// gate.
func (e *engine) deps(con Console, interrupts <-chan struct{}) agent.Deps {
	return agent.Deps{
		Gate: e.gate, Journal: e.store, Notes: memory{e}, Console: con, Now: e.now,
		Budget: budget{e}, Reports: newReports{e.app}, Interrupts: interrupts,
		Instructions: orders{e},
	}
}

// budget tells an agent what its limit leaves.
type budget struct{ e *engine }

// Remaining implements agent.Budget; negative = no limit.
func (b budget) Remaining(ctx context.Context, name string) (record.Micros, error) {
	own, total := b.e.models.limit(name)
	left := record.Micros(-1)
	if own >= 0 {
		spent, reserved, err := b.e.store.Budget(ctx, name)
		if err != nil {
			return 0, err
		}
		left = max(0, own-spent-reserved)
	}
	if total < 0 {
		return left, nil
	}
	spent, reserved, err := b.e.store.Budget(ctx, "")
	if err != nil {
		return 0, err
	}
	if all := max(0, total-spent-reserved); left < 0 || all < left {
		left = all
	}
	return left, nil
}

// MaxTokens implements agent.Budget.
func (b budget) MaxTokens(target string, left record.Micros, req llm.Request) (int, error) {
	return b.e.models.most(target, left, req)
}

// newReports tells an agent's loop which reports appeared.
type newReports struct{ app *App }

// New implements agent.Reports.
func (r newReports) New(since time.Time) ([]string, error) {
	all, err := r.app.Reports()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, rep := range all {
		if !rep.Written.Before(since.Truncate(time.Second)) {
			out = append(out, rep.File)
		}
	}
	return out, nil
}

// pauseOf gives the wait at the debug prompt; nil waits for ever.
func pauseOf(ag *config.Agent) *time.Duration {
	if ag.DebugPauseSeconds == nil {
		return nil
	}
	d := time.Duration(*ag.DebugPauseSeconds * float64(time.Second))
	return &d
}

// boxSpec describes the agent's sandbox: its home and the report folder are
// writable, the state directory is hidden, nothing of our environment is
// inherited.
func (e *engine) boxSpec(ag *config.Agent, home string) (sandbox.Spec, error) {
	cfg, paths := e.app.Config, e.app.Paths
	set := cfg.Agent(ag.Username)
	prof, err := e.app.profile(set.Profile)
	if err != nil {
		return sandbox.Spec{}, err
	}
	reports := paths.Reports
	if len(cfg.Organisation.Tiers) > 0 { // what one tier writes is not for every other to read
		reports = filepath.Join(reports, ag.Username)
	}
	for _, dir := range []string{home, reports} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return sandbox.Spec{}, &fault.Error{
				Op: "app.home", Kind: fault.Unavailable, Err: err,
				Public: dir + " cannot be created; check NAISYS_FOLDER and its permissions",
			}
		}
	}
	spec := sandbox.Spec{
		View: prof.View, MinTier: tierOf(e.opts.RequireTier, prof.RequiredTier), Home: home, Writable: []string{reports},
		Masked: e.masked(), ReadOnly: cfg.ReadOnlyMode, Limits: limitsOf(prof.Limits), LocalSockets: prof.LocalSockets,
	}
	box := boxOf{app: e.app, profile: set.Profile, prof: prof, plan: e.plans[set.Profile], name: ag.Username, home: home, dir: home}
	if spec.View == sandbox.ViewWorkspace {
		spec.Workdir = home // an agent's home is its own: there is nothing to review
		box.show(&spec)
	}
	if spec.Folders, err = e.app.foldersFor(ag.Username, spec.View); err != nil {
		return spec, err
	}
	spec.Env = box.environment("NAISYS_FOLDER="+paths.Naisys, "LANG=C.UTF-8", "TERM=dumb", "PAGER=cat", "TZ="+e.zone())
	if f := e.opts.Fixture; f != nil {
		spec.Replace, spec.Facts = f.Replace, f.Facts
	}
	return spec, nil
}

// masked lists what no agent may see: the state directory (its own home and
// the reports are put back by the sandbox), other agents' homes and the .env
// files that were read.
func (e *engine) masked() []string {
	paths := e.app.Paths
	out := []string{paths.Home, filepath.Join(paths.Naisys, "home"), filepath.Join(paths.Naisys, ".env")}
	for _, file := range e.app.envFiles {
		if abs, err := filepath.Abs(file); err == nil {
			out = append(out, abs)
		}
	}
	return out
}

// zone names the local time zone, so that an agent's dates are the operator's.
func (e *engine) zone() string {
	if name := e.now().Location().String(); name != "Local" {
		return name
	}
	if link, err := os.Readlink("/etc/localtime"); err == nil {
		if rel, err := filepath.Rel("/usr/share/zoneinfo", link); err == nil && filepath.IsLocal(rel) {
			return rel
		}
	}
	return "UTC"
}
