package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/guard"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/sandbox/changes"
)

// GuardOptions say whose agent is run and how.
type GuardOptions struct {
	Argv         []string // the program and its arguments
	Profile      string   // "" = what the program selects, else shell
	As           string   // name under which it is recorded; "" = the profile's
	Workdir      string   // "" = the current directory
	Allow        []string // host:port destinations permitted for this run
	RequireTier  string   // full or landlock; "" = what the profile says
	NoTranscript bool     // what it prints is not recorded
	Unattended   bool     // nobody answers: an ask is a deny
	Operator     string   // the OS user at the terminal
	Color        bool
	In           *os.File
	Out          *os.File  // terminal or pipe of the program's output
	Err          *os.File  // where its errors go when Out is no terminal
	Notes        io.Writer // what Sallyport itself says
}

// GuardSummary says how a guarded run went.
type GuardSummary struct {
	Agent       string         `json:"agent"`
	Profile     string         `json:"profile"`
	Program     string         `json:"program"`
	Session     string         `json:"session"`
	Tier        string         `json:"tier,omitempty"`
	Ran         bool           `json:"ran"` // the program was started
	Exit        int            `json:"exit"`
	Signal      string         `json:"signal,omitempty"`
	Seconds     float64        `json:"seconds"`
	Changes     []ChangeSet    `json:"changes"`               // what waits for review
	Passed      map[string]int `json:"passed"`                // by kind: connections, requests, uses of secrets
	Refused     []Refusal      `json:"refused"`               // most frequent first
	NotPromised []string       `json:"not_promised,omitzero"` // what this tier does not give
	Transcript  string         `json:"transcript,omitempty"`
	Error       string         `json:"error,omitempty"`
	LogSize     int64          `json:"log_size"`
	LogRoot     string         `json:"log_root"`
}

// Refusal is something that the agent was not given.
type Refusal struct {
	Kind   string `json:"kind"`
	Target string `json:"target"`
	Rule   string `json:"rule"`
	Count  int    `json:"count"`
}

// guarded is one guarded run.
type guarded struct {
	boxOf
	opts     GuardOptions
	engine   *engine
	session  string
	userHome string
	sets     []*changes.Set
	tally    *tally
	seat     *seat
	sum      GuardSummary
}

// Guard runs somebody else's program as an agent that nobody trusts, to its
// end. What it changed waits for review; what it was refused is in the summary.
// An error is what Sallyport refused or could not do; the program's own failure
// is in the summary alone.
func (a *App) Guard(ctx context.Context, o GuardOptions) (GuardSummary, error) {
	g, err := a.newGuarded(ctx, o)
	if err != nil {
		return GuardSummary{Exit: -1}, err
	}
	err = g.run(ctx)
	err = errors.Join(err, g.finish(context.WithoutCancel(ctx)))
	if err != nil {
		g.sum.Error = sentence(err)
	}
	return g.sum, err
}

// newGuarded decides what is run, where and as whom; nothing is started.
func (a *App) newGuarded(ctx context.Context, o GuardOptions) (*guarded, error) {
	if len(o.Argv) == 0 {
		return nil, fault.New("app.guard", fault.Usage, "there is no program to run; write it behind --, as in `sallyport guard -- bash`")
	}
	if err := errors.Join(a.Config.Problems(false)...); err != nil {
		return nil, err
	}
	g := &guarded{opts: o, session: guard.NewSession(), userHome: a.userHome()}
	g.profile = o.Profile
	if g.profile == "" {
		var ok bool
		if g.profile, ok = a.Config.ProfileFor(o.Argv[0]); !ok {
			g.profile = "shell"
		}
	}
	g.name = o.As
	if g.name == "" {
		g.name = g.profile
	}
	if !config.ValidUsername(g.name) {
		return nil, fault.New("app.guard", fault.Usage, "%q is no agent's name; use 1 to 32 of a-z, 0-9, _ and -", g.name)
	}
	g.app = a.withAgent(g.name, g.profile)
	var err error
	if g.prof, err = g.app.profile(g.profile); err != nil {
		return nil, err
	}
	if g.prof.View != "workspace" {
		return nil, fault.New("app.guard", fault.Usage, "profile %s shows the host to a Sallyport agent and runs no program of others; choose one of `sallyport config profiles`", g.profile)
	}
	if g.dir, err = a.workdirOf(o.Workdir, g.userHome); err != nil {
		return nil, err
	}
	g.home = filepath.Join(a.Paths.Home, "home", g.name)
	path, _ := a.Env.Lookup("PATH")
	if g.program, err = locate(o.Argv[0], path, g.dir, g.visible); err != nil {
		return nil, err
	}
	g.seat = g.newSeat()
	g.tally = newTally(g.seat.changed)
	g.sum = GuardSummary{Agent: g.name, Profile: g.profile, Program: g.program.Path, Session: g.session, Exit: -1}
	g.engine, err = g.app.guardEngine(ctx, g)
	return g, err
}

// withAgent gives the same installation with one more agent known: a guarded
// program needs no entry under agents: to be run by the operator.
func (a *App) withAgent(name, profile string) *App {
	b, cfg := *a, *a.Config
	cfg.Agents = maps.Clone(cfg.Agents)
	if cfg.Agents == nil {
		cfg.Agents = map[string]config.AgentSettings{}
	}
	set := cfg.Agents[name]
	set.Profile = profile
	if set.Clearance == "" {
		set.Clearance = strings.TrimSuffix(cfg.Profiles[profile].ViewLabel, "/foreign")
	}
	cfg.Agents[name] = set
	b.Config = &cfg
	if p, err := cfg.Profile(profile); err == nil {
		b.sinks = modelSinksOf(&cfg, p)
	}
	return &b
}

// profile gives a profile with every path resolved.
func (a *App) profile(name string) (config.Profile, error) {
	p, err := a.Config.Profile(name)
	if err != nil {
		return p, err
	}
	return p.Expand(a.userHome(), a.Env)
}

// userHome is the operator's own home, "" if there is none.
func (a *App) userHome() string {
	if h, ok := a.Env.Lookup("HOME"); ok && filepath.IsAbs(h) {
		return h
	}
	if u, err := user.Current(); err == nil {
		return u.HomeDir
	}
	return ""
}

// guardEngine wires the gate for one guarded run.
func (a *App) guardEngine(ctx context.Context, g *guarded) (*engine, error) {
	e := &engine{
		app: a, opts: RunOptions{Operator: g.opts.Operator, Out: g.opts.Notes}, models: newModelCalls(),
		plans: map[string]*outletPlan{}, single: true, now: time.Now,
	}
	agents := []*config.Agent{{Username: g.name}}
	if err := e.planOutlet(ctx, g.profile); err != nil {
		return nil, err
	}
	g.plan = e.plans[g.profile]
	if err := e.wire(ctx, agents, g.seat.asker()); err != nil {
		return nil, err
	}
	e.boxes.net.watch(g.session, g.tally)
	return e, e.begin(ctx, agents)
}

// endedByKey is the exit code of a program that the person ended: 128 + SIGKILL.
const endedByKey = 137

// run starts the program and stays until it ends.
func (g *guarded) run(ctx context.Context) error {
	revoke, err := g.permit(ctx)
	defer revoke()
	if err != nil {
		return err
	}
	if err := g.seedHome(); err != nil {
		return err
	}
	spec, err := g.box()
	if err != nil {
		return err
	}
	for _, set := range g.sets {
		g.engine.boxes.sets[set.Store()] = set
	}
	g.engine.boxes.terminals[g.session] = g.seat
	g.engine.boxes.told[g.session], g.engine.boxes.rises[g.session] = g.seat.raised, g.seat.rises
	clearance, err := label.Parse(g.app.Config.Agent(g.name).Clearance)
	if err != nil {
		return fault.Wrap("app.guard", fault.Config, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go g.stopped(ctx, cancel)
	argv := append([]string{g.program.Path}, g.opts.Argv[1:]...)
	got, err := guard.Run(ctx, guard.Spec{
		Agent: g.name, Session: g.session, Profile: g.profile, Argv: argv, Dir: g.dir, Terminal: g.seat.size() != nil,
		Label: label.New(label.Public, label.Member, 0), Ceiling: clearance, Operator: g.opts.Operator,
		SessionArgs: sessionPlan{spec: spec}.args(),
	}, guard.Deps{Gate: g.engine.gate, Journal: g.engine.store, Now: g.engine.now, Opened: g.opened})
	g.sum.Ran, g.sum.Exit, g.sum.Signal, g.sum.Seconds = got.Exit >= 0, got.Exit, got.Signal, got.Elapsed.Seconds()
	if g.seat.ended.Load() && fault.Is(err, fault.Unavailable) { // the whole sandbox was ended, so nobody told the code
		g.sum.Ran, g.sum.Exit, g.sum.Signal = true, endedByKey, "killed"
		fmt.Fprintln(g.opts.Notes, "sallyport: the program was ended at the terminal")
		return nil
	}
	return because(ctx, err)
}

// stopped ends the run when the operator stops the agent.
func (g *guarded) stopped(ctx context.Context, end context.CancelCauseFunc) {
	select {
	case <-g.engine.store.WatchStop(ctx, g.name):
		end(fault.New("app.guard", fault.Denied, "%s was stopped by the operator; `sallyport guard` starts it again", g.name))
	case <-ctx.Done():
	}
}

// permit gives the grants that the command line asks for; they end with the run.
func (g *guarded) permit(ctx context.Context) (revoke func(), err error) {
	var ids []string
	revoke = func() {
		for _, id := range ids {
			if err := g.app.Revoke(context.WithoutCancel(ctx), id, g.opts.Operator); err != nil {
				fmt.Fprintln(g.opts.Notes, sentence(err))
			}
		}
	}
	for _, dest := range g.opts.Allow {
		got, err := g.app.GrantDestination(ctx, g.name, dest, 24*time.Hour, "allowed on the command line of guard")
		for _, info := range got {
			ids = append(ids, info.ID)
		}
		if err != nil {
			return revoke, err
		}
	}
	return revoke, nil
}

// opened says what was started before the program can print anything.
func (g *guarded) opened(r record.Result) {
	say := func(format string, args ...any) { fmt.Fprintf(g.opts.Notes, format+"\n", args...) }
	g.sum.Tier, _ = r.Data["tier"].(string)
	if list, ok := r.Data["not_promised"].([]any); ok {
		for _, s := range list {
			g.sum.NotPromised = append(g.sum.NotPromised, fmt.Sprint(s))
		}
	}
	work := map[string]string{"cow": "copy-on-write, reviewed later", "direct": "written in place", "read-only": "read-only"}[g.prof.Workdir]
	net := "no network"
	if g.plan != nil {
		net = fmt.Sprintf("%d network rules, the rest is %s", len(g.prof.Network.Allow), map[bool]string{true: "asked for", false: "denied"}[g.plan.ask])
	}
	// An agent that writes in place may have named both.
	say("sallyport: %s as %s in tier %s; %s %s; %s", changes.Visible(filepath.Base(g.program.Path), false), g.name, g.sum.Tier, changes.Visible(g.dir, false), work, net)
	if g.sum.Tier != "full" {
		for _, line := range g.sum.NotPromised {
			say("sallyport: not promised here: %s", line)
		}
	}
	if g.plan != nil {
		for _, name := range slices.Sorted(maps.Keys(g.plan.missing)) {
			say("sallyport: secret %s is left out: %s", name, g.plan.missing[name])
		}
	}
}

// finish ends what is left of the session and sums up.
func (g *guarded) finish(ctx context.Context) error {
	e := g.engine
	err := errors.Join(e.boxes.end(g.session), e.withdraw(ctx, g.session), g.seat.close())
	for _, set := range g.sets {
		err = errors.Join(err, set.End()) // of a session that never began too
		info, serr := describe(ctx, set, false)
		if serr == nil {
			info, serr = g.app.labelled(ctx, set, info)
		}
		if serr != nil {
			info.Error = sentence(serr)
		}
		if serr == nil && info.Count == 0 {
			err = errors.Join(err, set.DiscardAll(ctx), set.Remove())
			continue
		}
		g.sum.Changes = append(g.sum.Changes, info)
	}
	g.sum.Passed, g.sum.Refused = g.tally.summary()
	g.sum.Transcript = g.seat.transcript()
	size, root, cerr := e.checkpoint(ctx)
	g.sum.LogSize, g.sum.LogRoot = size, root
	e.close()
	return errors.Join(err, cerr)
}

// summary gives the counts by kind, and what was refused, most frequent first.
func (t *tally) summary() (map[string]int, []Refusal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	passed := map[string]int{}
	for k, n := range t.passed {
		passed[string(k)] = n
	}
	refused := make([]Refusal, 0, len(t.refused))
	for k, n := range t.refused {
		refused = append(refused, Refusal{k.Kind, k.Target, k.Rule, n})
	}
	slices.SortFunc(refused, func(a, b Refusal) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return strings.Compare(a.Kind+a.Target, b.Kind+b.Target)
	})
	return passed, refused
}

// lastRefused gives the destination that was refused last, as host:port.
func (t *tally) lastRefused() (dest string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.last.Kind {
	case "dns":
		return t.last.Target + ":443", true
	case string(action.NetConnect):
		return t.last.Target, true
	case string(action.HTTPRequest):
		return destinationOf(t.last.Target)
	}
	return "", false
}
