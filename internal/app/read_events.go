package app

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"sallyport/internal/store"
)

// Event is one thing that happened.
type Event struct {
	ID      int64           `json:"id"`
	Time    time.Time       `json:"time"` // UTC
	Type    string          `json:"type"`
	Agent   string          `json:"agent,omitempty"`
	Session string          `json:"session,omitempty"`
	Channel string          `json:"channel"`
	Level   string          `json:"level"`
	Alert   string          `json:"alert"` // none, suspicious or dangerous
	Leaf    int64           `json:"leaf"`  // index of its entry in the log
	Data    json.RawMessage `json:"data"`
}

// EventFilter narrows events; zero fields do not.
type EventFilter struct {
	Since, Until time.Time
	Types        []string // exact, or a prefix ending in "*"
	Agent        string
	Session      string
	Alert        string // suspicious gives dangerous too; "" gives all
	AfterID      int64
	Limit        int // the newest so many, in order; 0: all
}

// eventPage is how many events are read at a time.
const eventPage = 1000

func (f EventFilter) store() store.Filter {
	alert := f.Alert
	if alert == "suspicious" {
		alert = "any"
	}
	return store.Filter{
		Since: f.Since, Until: f.Until, Types: f.Types, Agent: f.Agent, Session: f.Session, Alert: alert, AfterID: f.AfterID,
		Limit: eventPage,
	}
}

// Events calls each for the events that a filter selects, oldest first, and
// gives how many there were; an error from each ends it.
func (a *App) Events(ctx context.Context, f EventFilter, each func(Event) error) (int, error) {
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return 0, err
	}
	q := f.store()
	if f.Limit > 0 {
		q.Limit, q.Newest = f.Limit, true
		rows, err := st.Events(ctx, q)
		if err != nil {
			return 0, err
		}
		slices.Reverse(rows)
		return len(rows), deliver(rows, each)
	}
	n, _, err := drain(ctx, st, q, each)
	return n, err
}

// drain reads page after page and gives the last id it saw.
func drain(ctx context.Context, st *store.Store, q store.Filter, each func(Event) error) (n int, last int64, err error) {
	last = q.AfterID
	for {
		q.AfterID = last
		rows, err := st.Events(ctx, q)
		if err != nil {
			return n, last, err
		}
		if err := deliver(rows, each); err != nil {
			return n, last, err
		}
		n += len(rows)
		if len(rows) > 0 {
			last = rows[len(rows)-1].ID
		}
		if len(rows) < q.Limit {
			return n, last, nil
		}
	}
}

func deliver(rows []store.EventRow, each func(Event) error) error {
	for _, r := range rows {
		if err := each(eventOf(r)); err != nil {
			return err
		}
	}
	return nil
}

// FollowEvents calls each for every event after f.AfterID that a filter selects,
// until ctx ends; then it gives nil. The database is made if need be, so that
// following can begin before the first run.
func (a *App) FollowEvents(ctx context.Context, f EventFilter, each func(Event) error) error {
	st, err := a.Store(ctx)
	if err != nil {
		return err
	}
	q := f.store()
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		_, last, err := drain(ctx, st, q, each)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		q.AfterID = last
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func eventOf(r store.EventRow) Event {
	var head struct {
		Alert string `json:"alert"`
	}
	if json.Unmarshal(r.Data, &head) != nil || head.Alert == "" {
		head.Alert = "none"
	}
	return Event{
		ID: r.ID, Time: r.Time, Type: r.Type, Agent: r.Agent, Session: r.Session, Channel: r.Channel,
		Level: r.Level, Alert: head.Alert, Leaf: r.Leaf, Data: r.Data,
	}
}
