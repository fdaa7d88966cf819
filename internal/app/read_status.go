package app

import (
	"context"
	"encoding/base64"
	"time"

	"sallyport/internal/audit"
	"sallyport/internal/store"
)

// Status is the state of the installation.
type Status struct {
	Paths     Paths         `json:"paths"`
	Begun     bool          `json:"begun"` // there is a database
	Runs      []RunState    `json:"runs"`
	Sessions  []LiveSession `json:"sessions"` // that go on
	Stops     []StopState   `json:"stops"`
	InFlight  int           `json:"in_flight"` // actions under way
	OpenAsks  int           `json:"open_asks"`
	Dollars   float64       `json:"dollars"`
	Reserved  float64       `json:"reserved_dollars"`
	Entries   int64         `json:"entries"` // of the log
	Root      string        `json:"root"`    // of its newest checkpoint, base64
	Clock     time.Time     `json:"clock"`   // of its newest entry
	ClockBack bool          `json:"clock_back"`
	Anchors   []AnchorInfo  `json:"anchors"`
	Bytes     int64         `json:"bytes"`
	Denied    int64         `json:"last_denied,omitempty"` // the newest denial's event among the last 1,000, 0 for none
}

// RunState is one running process.
type RunState struct {
	ID     int64     `json:"id"`
	PID    int       `json:"pid"`
	Agents []string  `json:"agents"`
	Proxy  bool      `json:"proxy"` // it is `sallyport proxy`, which runs no agent of its own
	Begun  time.Time `json:"begun"`
}

// StopState is a stop in force.
type StopState struct {
	Agent string    `json:"agent"` // "" is everybody
	By    string    `json:"by"`
	At    time.Time `json:"at"`
}

// AnchorInfo is what is known of a place where checkpoints are kept.
type AnchorInfo struct {
	Name  string    `json:"name"`
	Size  int64     `json:"size"` // entries that are safe there
	Time  time.Time `json:"time"`
	Error string    `json:"error,omitempty"`
}

// Status tells what runs, what was stopped and how the log stands.
func (a *App) Status(ctx context.Context) (Status, error) {
	out := Status{Paths: a.Paths, Runs: []RunState{}, Sessions: []LiveSession{}, Stops: []StopState{}, Anchors: []AnchorInfo{}}
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return out, err
	}
	rep, err := st.Status(ctx)
	if err != nil {
		return out, err
	}
	out.Begun, out.InFlight, out.OpenAsks = true, rep.InFlight, rep.OpenAsks
	out.Dollars, out.Reserved, out.Entries = rep.Spent.Dollars(), rep.Reserved.Dollars(), rep.Entries
	out.Clock, out.ClockBack, out.Bytes = rep.Clock, rep.Behind, rep.Bytes
	if out.Denied, err = lastDenied(ctx, st); err != nil {
		return out, err
	}
	for _, r := range rep.Runs {
		out.Runs = append(out.Runs, runOf(r))
	}
	if out.Sessions, err = a.live(ctx, st); err != nil {
		return out, err
	}
	for _, s := range rep.Stops {
		out.Stops = append(out.Stops, StopState{s.Agent, s.By, s.At})
	}
	for _, x := range rep.Anchors {
		out.Anchors = append(out.Anchors, AnchorInfo{x.Name, x.Size, x.Time, x.Error})
	}
	if len(rep.Checkpoint) > 0 {
		cp, err := audit.OpenCheckpoint(rep.Checkpoint, a.Signer().Verifier())
		if err != nil {
			return out, err
		}
		out.Root = base64.StdEncoding.EncodeToString(cp.Root[:])
	}
	return out, nil
}

// deniedAmong bounds how far back the newest denial is looked for, so that the
// state of a long log is told as quickly as that of a short one.
const deniedAmong = 1000

func lastDenied(ctx context.Context, st *store.Store) (int64, error) {
	last, err := st.LastEvent(ctx)
	if err != nil {
		return 0, err
	}
	rows, err := st.Events(ctx, store.Filter{AfterID: max(0, last-deniedAmong), Types: decisionTypes(phaseBlocked), Newest: true, Limit: 1})
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	return rows[0].ID, nil
}

func runOf(r store.RunInfo) RunState {
	return RunState{ID: r.ID, PID: r.PID, Agents: append([]string{}, r.Agents...), Proxy: len(r.Agents) == 0, Begun: r.Begun}
}
