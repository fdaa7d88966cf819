package app

import (
	"context"
	"math"
	"slices"
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
	Live    bool      `json:"live"`            // it has begun in a process that runs, and has not ended
	Label   string    `json:"label,omitempty"` // what a live one knows by now, with the operator's names
}

// LiveSession is a session that goes on.
type LiveSession struct {
	ID    string `json:"id"`
	Agent string `json:"agent"`
	Label string `json:"label"` // what its contexts know by now, with the operator's names
}

// live gives the sessions that go on of the agents that processes run, oldest
// first. Those of children end with the session that gave them work, and are
// told by nobody.
func (a *App) live(ctx context.Context, st *store.Store) ([]LiveSession, error) {
	rep, err := st.Status(ctx)
	if err != nil {
		return nil, err
	}
	out := []LiveSession{}
	for _, run := range rep.Runs {
		for _, name := range run.Agents {
			rows, err := st.Events(ctx, store.Filter{Agent: name, Types: []string{"session.begin", "session.end"}, Since: run.Begun, Limit: math.MaxInt32})
			if err != nil {
				return nil, err
			}
			goes := map[string]bool{}
			for _, r := range rows {
				goes[r.Session] = r.Type == "session.begin"
			}
			for _, r := range rows {
				if !goes[r.Session] {
					continue
				}
				delete(goes, r.Session)
				s := LiveSession{ID: r.Session, Agent: name}
				l, ok, err := st.SessionLabel(ctx, r.Session)
				if err != nil {
					return nil, err
				}
				if ok {
					s.Label = a.scheme().Format(l)
				}
				out = append(out, s)
			}
		}
	}
	return out, nil
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
	live, err := a.live(ctx, st)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if agent != "" && r.Agent != agent {
			continue
		}
		s := sessionOf(r)
		if i := slices.IndexFunc(live, func(l LiveSession) bool { return l.ID == s.ID }); i >= 0 {
			s.Live, s.Label = true, live[i].Label
		}
		out = append(out, s)
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
