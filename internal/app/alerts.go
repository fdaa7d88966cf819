package app

import (
	"context"
	"time"

	"sallyport/internal/alert"
	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// Alert is something that people must look at.
type Alert struct {
	ID         string          `json:"id"`
	State      string          `json:"state"` // open, acknowledged, resolved or false_positive
	Severity   string          `json:"severity"`
	Rule       string          `json:"rule"`
	Title      string          `json:"title"`
	Subject    string          `json:"subject,omitempty"`
	Agent      string          `json:"agent,omitempty"`
	Session    string          `json:"session,omitempty"`
	Opened     time.Time       `json:"opened"`
	Updated    time.Time       `json:"updated"`
	Count      int             `json:"count"`
	FirstEvent int64           `json:"first_event"`
	LastEvent  int64           `json:"last_event"`
	Note       string          `json:"note,omitempty"`
	By         string          `json:"by,omitempty"`
	Deliveries []AlertDelivery `json:"deliveries,omitempty"` // of one that is asked for alone
}

// AlertDelivery is what came of telling one sink.
type AlertDelivery struct {
	Sink  string    `json:"sink"`
	State string    `json:"state"` // pending, delivered or failed
	Tries int       `json:"tries"`
	Next  time.Time `json:"next,omitzero"`
	Error string    `json:"error,omitempty"`
}

// AlertFilter narrows alerts; zero fields do not, but for All.
type AlertFilter struct {
	All   bool // those that are over too
	Rule  string
	Agent string
	Since time.Time
	Limit int
}

func alertOf(r record.Alert) Alert {
	return Alert{
		ID: r.ID, State: r.State, Severity: alert.SeverityName(r.Severity), Rule: r.Rule, Title: r.Title, Subject: r.Subject, Agent: r.Agent, Session: r.Session,
		Opened: r.Opened.UTC(), Updated: r.Updated.UTC(), Count: r.Count, FirstEvent: r.FirstEvent, LastEvent: r.LastEvent, Note: r.Note, By: r.By,
	}
}

// Alerts lists alerts, last changed first.
func (a *App) Alerts(ctx context.Context, f AlertFilter) ([]Alert, error) {
	out := []Alert{}
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return out, err
	}
	q := store.AlertFilter{Rule: f.Rule, Agent: f.Agent, Since: f.Since, Limit: f.Limit}
	if !f.All {
		q.States = []string{record.AlertOpen, record.AlertAcknowledged}
	}
	rows, err := st.Alerts(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		out = append(out, alertOf(r))
	}
	return out, nil
}

// Alert gives one alert with what came of its deliveries.
func (a *App) Alert(ctx context.Context, id string) (Alert, error) {
	st, err := a.alertStore(ctx, id)
	if err != nil {
		return Alert{}, err
	}
	row, err := st.Alert(ctx, id)
	if err != nil {
		return Alert{}, err
	}
	out := alertOf(row)
	list, err := st.Deliveries(ctx, id)
	for _, d := range list {
		x := AlertDelivery{Sink: d.Sink, State: d.State, Tries: d.Tries, Error: d.Error}
		if d.State == record.DeliveryPending {
			x.Next = d.Next.UTC()
		}
		out.Deliveries = append(out.Deliveries, x)
	}
	return out, err
}

// SetAlert moves an alert to another state; by is who says so, for the record.
func (a *App) SetAlert(ctx context.Context, id, state, note, by string) (Alert, error) {
	st, err := a.alertStore(ctx, id)
	if err != nil {
		return Alert{}, err
	}
	if err := st.SetAlert(ctx, id, state, note, by); err != nil {
		return Alert{}, err
	}
	row, err := st.Alert(ctx, id)
	return alertOf(row), err
}

func (a *App) alertStore(ctx context.Context, id string) (*store.Store, error) {
	st, ok, err := a.reader(ctx)
	if err == nil && !ok {
		err = fault.New("app.alert", fault.NotFound, "there is no alert %s: nothing ever ran in %s", id, a.Paths.Home)
	}
	return st, err
}

// TestAlertSink sends a test message to one sink and gives what it answered.
func (a *App) TestAlertSink(ctx context.Context, sink, by string) error {
	sinks, err := a.alertSinks()
	if err != nil {
		return err
	}
	instance := ""
	if _, ok, err := a.reader(ctx); err == nil && ok {
		instance = a.Signer().Origin()
	}
	now := time.Now().UTC()
	return alert.NewDispatcher(sinks, nil, alert.DispatchOptions{Instance: instance}).Test(ctx, sink, record.Alert{
		Rule: "test", Severity: alert.Info, State: record.AlertOpen, Title: "a test that " + alert.Plain(by, 64) + " asked for; nothing happened",
		Opened: now, Updated: now, Count: 1,
	})
}

// WatchAlerts raises and delivers alerts until ctx ends, and calls each for
// every event about one. Several may watch: one works, another takes over when
// it ends.
func (a *App) WatchAlerts(ctx context.Context, each func(Event) error) error {
	st, err := a.Store(ctx)
	if err != nil {
		return err
	}
	last, err := st.LastEvent(ctx)
	if err != nil {
		return err
	}
	stop, err := a.watch(ctx, st)
	if err != nil {
		return err
	}
	defer stop()
	return a.FollowEvents(ctx, EventFilter{Types: []string{"alert.*"}, AfterID: last}, each)
}
