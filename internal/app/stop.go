package app

import (
	"cmp"
	"context"
	"slices"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// StopOptions say who is stopped. The zero Agent is everybody.
type StopOptions struct {
	Agent string
	By    string        // who asks, for the record
	Wait  time.Duration // for the run to end by itself; 0 means 5 s
}

// StopResult says what a stop came to.
type StopResult struct {
	Agent string       `json:"agent"` // "" is everybody
	Runs  []StoppedRun `json:"runs"`
}

// StoppedRun is one process that ran a stopped agent.
type StoppedRun struct {
	PID    int      `json:"pid"`
	Agents []string `json:"agents"`
	How    string   `json:"how"` // ended, killed or alive
}

// How a run ended.
const (
	StopEnded  = "ended"  // it saw the stop and ended by itself
	StopKilled = "killed" // it did not; its processes were killed
	StopAlive  = "alive"  // it could not be killed
)

const (
	stopWait = 5 * time.Second
	stopPoll = 50 * time.Millisecond
	killWait = 2 * time.Second
)

// Stop records the stop, from which moment every intent of the agent is
// refused whatever its process does, waits for the processes that run it to
// end, and kills those that do not. A process that is suspended or hangs is
// ended too. What was in flight there is settled as unknown.
func (a *App) Stop(ctx context.Context, o StopOptions) (StopResult, error) {
	res := StopResult{Agent: o.Agent, Runs: []StoppedRun{}}
	st, ok, err := a.reader(ctx)
	if err != nil {
		return res, err
	}
	if !ok {
		return res, fault.New("app.stop", fault.NotFound, "nothing ever ran in %s, so there is nothing to stop; `sallyport status` shows what runs", a.Paths.Home)
	}
	runs, err := affected(ctx, st, o.Agent)
	if err != nil {
		return res, err
	}
	if len(runs) == 0 && o.Agent != "" {
		if err := a.knowsAgent(ctx, st, o.Agent); err != nil {
			return res, err
		}
	}
	before, err := newestEvent(ctx, st)
	if err != nil {
		return res, err
	}
	act := action.Action{Kind: action.AgentStop, Target: cmp.Or(o.Agent, "*"), Args: map[string]any{"agent": o.Agent}}
	if err := a.steer(ctx, act, func(ctx context.Context) error { return st.RequestStop(ctx, o.Agent, o.By) }); err != nil {
		return res, err
	}
	if o.Wait <= 0 {
		o.Wait = stopWait
	}
	left, err := awaitEnd(ctx, st, o, runs, before)
	if err != nil {
		return res, err
	}
	for _, r := range runs {
		out := StoppedRun{PID: r.PID, Agents: r.Agents, How: StopEnded}
		if slices.ContainsFunc(left, func(l store.RunInfo) bool { return l.ID == r.ID }) {
			if out.How, err = endRun(ctx, st, r, o.By); err != nil {
				return res, err
			}
		}
		res.Runs = append(res.Runs, out)
	}
	_, err = st.Recover(ctx)
	return res, err
}

// affected lists the living runs of an agent; "" is everybody.
func affected(ctx context.Context, st *store.Store, agent string) ([]store.RunInfo, error) {
	runs, err := st.Runs(ctx, 1000)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(runs, func(r store.RunInfo) bool {
		return !r.Alive || agent != "" && !slices.Contains(r.Agents, agent)
	}), nil
}

// knowsAgent refuses a name that never ran: a typing mistake must not look
// like a stop.
func (a *App) knowsAgent(ctx context.Context, st *store.Store, agent string) error {
	rows, err := st.Events(ctx, store.Filter{Agent: agent, Limit: 1})
	if err != nil {
		return err
	}
	if _, configured := a.Config.Agents[agent]; len(rows) == 0 && !configured {
		return fault.New("app.stop", fault.NotFound, "no agent %q ever ran here; `sallyport status` shows what runs, `sallyport stop --all` stops everything", agent)
	}
	return nil
}

func newestEvent(ctx context.Context, st *store.Store) (int64, error) {
	rows, err := st.Events(ctx, store.Filter{Limit: 1, Newest: true})
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	return rows[0].ID, nil
}

// awaitEnd waits for the runs to end and gives those that did not. Of a run
// with several agents only the stopped one must end.
func awaitEnd(ctx context.Context, st *store.Store, o StopOptions, runs []store.RunInfo, since int64) ([]store.RunInfo, error) {
	deadline := time.NewTimer(o.Wait)
	defer deadline.Stop()
	for {
		alive, err := affected(ctx, st, o.Agent)
		if err != nil {
			return nil, err
		}
		alive = slices.DeleteFunc(alive, func(r store.RunInfo) bool {
			return !slices.ContainsFunc(runs, func(x store.RunInfo) bool { return x.ID == r.ID })
		})
		if o.Agent != "" && len(alive) > 0 {
			ended, err := st.Events(ctx, store.Filter{Agent: o.Agent, Types: []string{"session.end"}, AfterID: since, Limit: 1})
			if err != nil {
				return nil, err
			}
			if len(ended) > 0 {
				alive = slices.DeleteFunc(alive, func(r store.RunInfo) bool { return len(r.Agents) > 1 })
			}
		}
		if len(alive) == 0 {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return alive, fault.Wrap("app.stop", fault.Canceled, ctx.Err())
		case <-deadline.C:
			return alive, nil
		case <-time.After(stopPoll):
		}
	}
}

// endRun kills the processes of a run and records it.
func endRun(ctx context.Context, st *store.Store, r store.RunInfo, by string) (string, error) {
	alive := func() bool {
		runs, err := st.Runs(ctx, 1000)
		return err == nil && slices.ContainsFunc(runs, func(x store.RunInfo) bool { return x.ID == r.ID && x.Alive })
	}
	how, killed := StopKilled, killTree(r.PID, alive)
	for end := time.Now().Add(killWait); alive(); time.Sleep(stopPoll) {
		if time.Now().After(end) {
			how = StopAlive
			break
		}
	}
	_, err := st.Append(ctx, record.Event{
		Type: "agent.stop.killed", Channel: "OPERATOR", Level: "warning", Alert: "none",
		Data: map[string]any{"by": by, "pid": r.PID, "agents": r.Agents, "processes": killed, "how": how},
	})
	return how, err
}
