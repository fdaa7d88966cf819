package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"os"
	"strings"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// RunInfo is one run of agents by a process.
type RunInfo struct {
	ID      int64
	PID     int
	Agents  []string
	Session string
	Begun   time.Time
	Ended   time.Time // zero while it runs, and if it died
	Alive   bool      // its process, told from others by start time, is there
}

// StartRun records that this process runs agents and gives the run's id.
func (s *Store) StartRun(ctx context.Context, agents []string, session string) (int64, error) {
	const name = "store.startRun"
	list, err := json.Marshal(agents)
	if err != nil {
		return 0, fault.Wrap(name, fault.Internal, err)
	}
	var id int64
	err = s.do(ctx, name, func(t *tx) error {
		res, err := t.exec(`INSERT INTO runs (pid, owner, agents, session, begun) VALUES (?,?,?,?,?)`,
			os.Getpid(), s.owner, string(list), session, max(t.tree.clock, s.opt.Now().UnixMicro()))
		if err != nil {
			return err
		}
		if id, err = res.LastInsertId(); err != nil {
			return err
		}
		return t.note(record.Event{Type: "run.start", Session: session, Data: map[string]any{"run": id, "agents": agents, "pid": os.Getpid()}})
	})
	if err != nil {
		return 0, s.explain(name, err)
	}
	return id, nil
}

// EndRun records that a run ended.
func (s *Store) EndRun(ctx context.Context, id int64) error {
	const name = "store.endRun"
	err := s.do(ctx, name, func(t *tx) error {
		now := max(t.tree.clock, s.opt.Now().UnixMicro())
		res, err := t.exec(`UPDATE runs SET ended=? WHERE id=? AND ended=0`, now, id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return fault.New(name, fault.NotFound, "there is no run %d to end", id)
		}
		return t.note(record.Event{Type: "run.end", Data: map[string]any{"run": id}})
	})
	return s.explain(name, err)
}

// endDeadRuns closes runs whose process is gone.
func (t *tx) endDeadRuns() (int, error) {
	owners, err := t.texts(`SELECT DISTINCT owner FROM runs WHERE ended=0`)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, o := range owners {
		if alive(o) {
			continue
		}
		n++
		if _, err := t.exec(`UPDATE runs SET ended=-1 WHERE owner=? AND ended=0`, o); err != nil {
			return n, err
		}
		if err := t.note(record.Event{Type: "run.died", Level: "warning", Data: map[string]any{"process": o}}); err != nil {
			return n, err
		}
	}
	return n, nil
}

// Runs gives the runs, newest first, at most limit.
func (s *Store) Runs(ctx context.Context, limit int) ([]RunInfo, error) {
	const name = "store.runs"
	var out []RunInfo
	err := s.each(ctx, name, `SELECT id, pid, owner, agents, session, begun, ended FROM runs ORDER BY id DESC LIMIT ?`, []any{limit},
		func(scan func(...any) error) error {
			var r RunInfo
			var owner, agents string
			var begun, ended int64
			if err := scan(&r.ID, &r.PID, &owner, &agents, &r.Session, &begun, &ended); err != nil {
				return err
			}
			r.Begun = time.UnixMicro(begun).UTC()
			if ended > 0 {
				r.Ended = time.UnixMicro(ended).UTC()
			}
			r.Alive = ended == 0 && alive(owner)
			err := json.Unmarshal([]byte(agents), &r.Agents)
			out = append(out, r)
			return err
		})
	if err != nil {
		return nil, s.explain(name, err)
	}
	return out, nil
}

// RequestStop stops an agent, or everybody for the empty one: from now on every
// intent of theirs is refused. It works whatever their process does.
func (s *Store) RequestStop(ctx context.Context, agent, by string) error {
	return s.setStop(ctx, "store.requestStop", "agent.stop.requested", agent, cmp.Or(by, "somebody"))
}

// ClearStop takes a stop back: an agent's own, or that of everybody for the
// empty one.
func (s *Store) ClearStop(ctx context.Context, agent string) error {
	return s.setStop(ctx, "store.clearStop", "agent.stop.cleared", agent, "")
}

func (s *Store) setStop(ctx context.Context, name, typ, agent, by string) error {
	err := s.do(ctx, name, func(t *tx) error {
		now := max(t.tree.clock, s.opt.Now().UnixMicro())
		res, err := t.exec(`INSERT INTO agents (agent, rev, stopped_by, stopped_at) VALUES (?1, 1, ?2, ?3)
			ON CONFLICT (agent) DO UPDATE SET rev = rev+1, stopped_by = ?2, stopped_at = ?3 WHERE stopped_by <> ?2`, agent, by, now)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err // nothing changed, nothing to tell
		}
		return t.note(record.Event{Type: typ, Agent: agent, Channel: "OPERATOR", Data: map[string]any{"by": by, "everybody": agent == ""}})
	})
	return s.explain(name, err)
}

// stopPoll is how often another process's stop is looked for.
const stopPoll = 100 * time.Millisecond

// WatchStop gives a channel that is closed when the agent, or everybody, is
// stopped, whoever asked for it. It is not closed when ctx ends.
func (s *Store) WatchStop(ctx context.Context, agent string) <-chan struct{} {
	ch := make(chan struct{})
	go func() {
		tick := time.NewTicker(stopPoll)
		defer tick.Stop()
		for {
			if by, err := s.stoppedBy(ctx, agent); err == nil && by != "" {
				close(ch)
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-s.quit:
				return
			case <-tick.C:
			}
		}
	}()
	return ch
}

func (s *Store) stoppedBy(ctx context.Context, agent string) (by string, err error) {
	err = s.each(ctx, "store.stoppedBy", `SELECT stopped_by FROM agents WHERE agent IN ('', ?) AND stopped_by <> '' LIMIT 1`, []any{agent},
		func(scan func(...any) error) error { return scan(&by) })
	return by, err
}

// shortID makes a random id that a person can type: base32, n characters.
func shortID(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, says its documentation
	return strings.ToLower(base32.StdEncoding.EncodeToString(b)[:n])
}
