package app

import (
	"context"
	"math"
	"strings"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/store"
)

// Session is one session of an agent.
type Session struct {
	ID      string    `json:"id"`
	Agent   string    `json:"agent"`
	Begun   time.Time `json:"begun"`
	Last    time.Time `json:"last"` // of its newest event
	Events  int       `json:"events"`
	Blocked int       `json:"blocked"`
	Alerts  int       `json:"alerts"`
	Dollars float64   `json:"dollars"`
}

// Sessions lists sessions, newest first; agent "" means all. since bounds their
// newest event.
func (a *App) Sessions(ctx context.Context, agent string, since time.Time) ([]Session, error) {
	out := []Session{}
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return out, err
	}
	rows, err := st.Sessions(ctx, since, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if agent == "" || r.Agent == agent {
			out = append(out, sessionOf(r))
		}
	}
	return out, nil
}

func sessionOf(r store.SessionRow) Session {
	return Session{
		ID: r.Session, Agent: r.Agent, Begun: r.First, Last: r.Last, Events: r.Events, Blocked: r.Denied,
		Alerts: r.Alerts, Dollars: r.Cost.Dollars(),
	}
}

// Session gives a session by its id or the unambiguous beginning of it ("" is
// the newest), with everything that happened in it. fault.NotFound or
// fault.Usage otherwise.
func (a *App) Session(ctx context.Context, id string) (Session, []Event, error) {
	all, err := a.Sessions(ctx, "", time.Time{})
	if err != nil {
		return Session{}, nil, err
	}
	found := -1
	for i, s := range all {
		switch {
		case s.ID == id, id == "":
			found = i
		case strings.HasPrefix(s.ID, id):
			if found >= 0 {
				return Session{}, nil, fault.New("app.session", fault.Usage, "%q begins more than one session's id; write more of it", id)
			}
			found = i
			continue
		default:
			continue
		}
		break
	}
	if found < 0 {
		if id == "" {
			return Session{}, nil, fault.New("app.session", fault.NotFound, "there is no session yet: run `sallyport run examples/nightwatch.yaml --once`")
		}
		return Session{}, nil, fault.New("app.session", fault.NotFound, "there is no session %q; `sallyport sessions` lists them", id)
	}
	st, _, err := a.reader(ctx)
	if err != nil {
		return Session{}, nil, err
	}
	rows, err := st.SessionEvents(ctx, all[found].ID)
	if err != nil {
		return Session{}, nil, err
	}
	events := make([]Event, len(rows))
	for i, r := range rows {
		events[i] = eventOf(r)
	}
	return all[found], events, nil
}
