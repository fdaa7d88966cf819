package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// alertIDLength is that of asks: a person types it.
const alertIDLength = askIDLength

// aliveAlert is the condition of the index that makes alerts unique.
const aliveAlert = `state IN ('open', 'acknowledged')`

// RaiseAlert stores an alert. If one of its rule and subject is open or
// acknowledged that one counts up instead, takes the newer title, time and event
// and the higher severity, and created is false. To every sink that the alert
// names it is due for delivery at once, in the same transaction. A rule is
// required.
func (s *Store) RaiseAlert(ctx context.Context, a record.Alert) (id string, created bool, err error) {
	const name = "store.raiseAlert"
	if a.Rule == "" {
		return "", false, fault.New(name, fault.Internal, "an alert names its rule")
	}
	a.Title, a.Subject, a.Note = s.text("title", a.Title), s.text("subject", a.Subject), s.text("note", a.Note)
	key, err := marshal([]string{a.Rule, a.Subject}) // masked: a hash of a short secret tells it
	if err != nil {
		return "", false, fault.Wrap(name, fault.Internal, err)
	}
	digest := sha256.Sum256(key)
	a.Count, a.Severity = max(a.Count, 1), min(max(a.Severity, 0), dangerous+1)
	err = s.do(ctx, name, func(t *tx) error {
		id, created, err = t.raise(a, digest[:])
		return err
	})
	if err != nil {
		return "", false, s.explain(name, err)
	}
	return id, created, nil
}

func (t *tx) raise(a record.Alert, digest []byte) (string, bool, error) {
	now := time.UnixMicro(max(t.tree.clock, t.s.opt.Now().UnixMicro()))
	if a.Updated.IsZero() {
		a.Updated = now
	}
	if a.Opened.IsZero() {
		a.Opened = a.Updated
	}
	a.LastEvent = max(a.LastEvent, a.FirstEvent)
	created := false
	err := t.row(`SELECT id FROM alerts WHERE digest=? AND `+aliveAlert, digest).Scan(&a.ID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		created = true
		if a.ID, err = t.freeID(`SELECT count(*) FROM alerts WHERE id=?`, alertIDLength); err != nil {
			return "", false, err
		}
		_, err = t.exec(`INSERT INTO alerts VALUES (?,?,?,'open',?,?,?,?,?,?,?,?,?,?,?,?)`, a.ID, valid(a.Rule), a.Severity, a.Title, a.Subject, valid(a.Agent), valid(a.Session),
			a.Opened.UnixMicro(), a.Updated.UnixMicro(), a.Count, a.FirstEvent, a.LastEvent, a.Note, valid(a.By), digest)
	case err == nil:
		_, err = t.exec(`UPDATE alerts SET count = count + ?2, severity = max(severity, ?3), title = ?4, updated = max(updated, ?5), last_event = max(last_event, ?6) WHERE id=?1`,
			a.ID, a.Count, a.Severity, a.Title, a.Updated.UnixMicro(), a.LastEvent)
	}
	if err != nil {
		return "", false, err
	}
	for _, sink := range a.Sinks {
		if _, err := t.exec(`INSERT INTO deliveries VALUES (?1, ?2, 'pending', 0, ?3, '')
			ON CONFLICT (alert, sink) DO UPDATE SET state='pending', tries=0, next=?3, error='' WHERE state <> 'pending'`, a.ID, valid(sink), now.UnixMicro()); err != nil {
			return "", false, err
		}
	}
	typ := "alert.repeated"
	if created {
		typ = "alert.raised"
	}
	// Its own data.alert stays none: an alert about an alert would never end.
	return a.ID, created, t.note(record.Event{Type: typ, Agent: a.Agent, Session: a.Session, Level: "warning", Data: map[string]any{
		"id": a.ID, "rule": a.Rule, "severity": a.Severity, "title": a.Title, "subject": a.Subject, "count": a.Count,
		"first_event": a.FirstEvent, "last_event": a.LastEvent,
	}})
}

// freeID chooses a short id that a table does not have; taken counts its rows.
func (t *tx) freeID(taken string, length int) (string, error) {
	for range 16 {
		id, n := shortID(length), 0
		if err := t.row(taken, id).Scan(&n); err != nil || n == 0 {
			return id, err
		}
	}
	return "", fault.New("store.freeID", fault.Internal, "no free id was found")
}

// nextStates tells how an alert may go on; an end is final, and what comes after
// it is a new alert.
var nextStates = map[string][]string{
	record.AlertOpen:         {record.AlertAcknowledged, record.AlertResolved, record.AlertFalsePositive},
	record.AlertAcknowledged: {record.AlertResolved, record.AlertFalsePositive},
}

// SetAlert moves an alert to another state; note says why, by says who. An
// alert that does not exist is fault.NotFound, a step that is not allowed
// fault.Conflict.
func (s *Store) SetAlert(ctx context.Context, id, state, note, by string) error {
	const name = "store.setAlert"
	note = s.text("note", note)
	err := s.do(ctx, name, func(t *tx) error {
		a, err := scanAlert(t.row(selectAlert+`WHERE id=?`, id).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return fault.New(name, fault.NotFound, "there is no alert %s: `sallyport alerts` lists them", id)
		}
		if err != nil {
			return err
		}
		if !slices.Contains(nextStates[a.State], state) {
			return fault.New(name, fault.Conflict, "alert %s is %s and cannot become %s: an open one can be acknowledged, either can be resolved or called a false positive", id, a.State, state)
		}
		if _, err := t.exec(`UPDATE alerts SET state=?, note=?, by=?, updated=? WHERE id=?`,
			state, note, valid(by), max(t.tree.clock, s.opt.Now().UnixMicro()), id); err != nil {
			return err
		}
		return t.note(record.Event{Type: "alert." + state, Agent: a.Agent, Session: a.Session, Channel: "OPERATOR", Data: map[string]any{
			"id": id, "rule": a.Rule, "from": a.State, "note": note, "by": by,
		}})
	})
	return s.explain(name, err)
}

// AlertFilter selects alerts; zero fields select everything.
type AlertFilter struct {
	States []string  // record.AlertOpen …
	Rule   string    // of this rule
	Agent  string    // about this agent
	Since  time.Time // changed not before
	Limit  int       // default 1000
}

const selectAlert = `SELECT id, rule, severity, state, title, subject, agent, session, opened, updated, count, first_event, last_event, note, by FROM alerts `

func scanAlert(scan func(...any) error) (record.Alert, error) {
	var a record.Alert
	var opened, updated int64
	err := scan(&a.ID, &a.Rule, &a.Severity, &a.State, &a.Title, &a.Subject, &a.Agent, &a.Session, &opened, &updated, &a.Count, &a.FirstEvent, &a.LastEvent, &a.Note, &a.By)
	a.Opened, a.Updated = moment(opened), moment(updated)
	return a, err
}

// Alerts gives the alerts that a filter selects, last changed first.
func (s *Store) Alerts(ctx context.Context, f AlertFilter) ([]record.Alert, error) {
	if f.Limit <= 0 {
		f.Limit = defaultLimit
	}
	since := int64(0)
	if !f.Since.IsZero() {
		since = f.Since.UnixMicro()
	}
	return s.alerts(ctx, "store.alerts", `WHERE (?1 = '' OR instr(?1, ',' || state || ',') > 0) AND (?2 = '' OR rule = ?2)
		AND (?3 = '' OR agent = ?3) AND updated >= ?4 ORDER BY updated DESC, id LIMIT ?5`, listed(f.States), f.Rule, f.Agent, since, f.Limit)
}

// listed makes a list that instr can search; empty for none.
func listed(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return "," + strings.Join(words, ",") + ","
}

func (s *Store) alerts(ctx context.Context, name, where string, args ...any) ([]record.Alert, error) {
	var out []record.Alert
	err := s.each(ctx, name, selectAlert+where, args, func(scan func(...any) error) error {
		a, err := scanAlert(scan)
		out = append(out, a)
		return err
	})
	if err != nil {
		return nil, s.explain(name, err)
	}
	return out, nil
}

// Alert gives one alert; fault.NotFound if there is none.
func (s *Store) Alert(ctx context.Context, id string) (record.Alert, error) {
	const name = "store.alert"
	as, err := s.alerts(ctx, name, `WHERE id=?`, id)
	if err != nil {
		return record.Alert{}, err
	}
	if len(as) == 0 {
		return record.Alert{}, fault.New(name, fault.NotFound, "there is no alert %s: `sallyport alerts` lists them", id)
	}
	return as[0], nil
}

// Due gives the deliveries that are pending and whose time has come, longest
// waiting first.
func (s *Store) Due(ctx context.Context, now time.Time) ([]record.Delivery, error) {
	return s.deliveries(ctx, "store.due", `WHERE state='pending' AND next <= ? ORDER BY next, alert, sink LIMIT 1000`, now.UnixMicro())
}

// Deliveries gives what is known of an alert's deliveries.
func (s *Store) Deliveries(ctx context.Context, alert string) ([]record.Delivery, error) {
	return s.deliveries(ctx, "store.deliveries", `WHERE alert=? ORDER BY sink`, alert)
}

func (s *Store) deliveries(ctx context.Context, name, where string, args ...any) ([]record.Delivery, error) {
	var out []record.Delivery
	err := s.each(ctx, name, `SELECT alert, sink, state, tries, next, error FROM deliveries `+where, args, func(scan func(...any) error) error {
		var d record.Delivery
		var next int64
		err := scan(&d.Alert, &d.Sink, &d.State, &d.Tries, &next, &d.Error)
		d.Next = moment(next)
		out = append(out, d)
		return err
	})
	if err != nil {
		return nil, s.explain(name, err)
	}
	return out, nil
}

// Delivered records what came of a try: delivered, failed for good, or still
// pending with the time of the next one. The two ends are events. A delivery
// that is not pending any more is fault.Conflict.
func (s *Store) Delivered(ctx context.Context, d record.Delivery) error {
	const name = "store.delivered"
	typ, level := "", "info"
	switch d.State {
	case record.DeliveryDone:
		typ = "alert.delivered"
	case record.DeliveryFailed:
		typ, level = "alert.delivery_failed", "warning"
	case record.DeliveryPending:
	default:
		return fault.New(name, fault.Internal, "a delivery is %s, %s or %s", record.DeliveryPending, record.DeliveryDone, record.DeliveryFailed)
	}
	d.Error = s.text("error", d.Error)
	err := s.do(ctx, name, func(t *tx) error {
		res, err := t.exec(`UPDATE deliveries SET state=?, tries=?, next=?, error=? WHERE alert=? AND sink=? AND state='pending'`,
			d.State, d.Tries, d.Next.UnixMicro(), d.Error, d.Alert, d.Sink)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return fault.New(name, fault.Conflict, "no delivery of alert %s to %s is pending", d.Alert, d.Sink)
		}
		if typ == "" {
			return nil
		}
		return t.note(record.Event{Type: typ, Level: level, Data: map[string]any{"id": d.Alert, "sink": d.Sink, "tries": d.Tries, "error": d.Error}})
	})
	return s.explain(name, err)
}
