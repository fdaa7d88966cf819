package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Settle records how an intent ended: its outcome and real cost, which may be
// below or above what was reserved and is recorded as it is; the reservation is
// released, and the cost charged, in every account that it was held in. An outcome released may be settled once more by what the released
// call came to; anything else settles once, a second time is fault.Conflict.
func (s *Store) Settle(ctx context.Context, out record.Outcome) error {
	const name = "store.settle"
	data := s.outcomeData(out)
	err := s.do(ctx, name, func(t *tx) error { return t.settle(out, data) })
	return s.explain(name, err)
}

type openIntent struct {
	id, leaf, opened                        int64
	agent, session, kind, target, acct, lab string
	status, also                            string
	reserved                                record.Micros
}

const selectIntent = `SELECT id, leaf, opened, agent, session, kind, target, account, label, status, also, reserved FROM intents `

func (i *openIntent) scan(scan func(...any) error) error {
	return scan(&i.id, &i.leaf, &i.opened, &i.agent, &i.session, &i.kind, &i.target, &i.acct, &i.lab, &i.status, &i.also, &i.reserved)
}

func (t *tx) settle(out record.Outcome, data []byte) error {
	const name = "store.settle"
	var i openIntent
	err := i.scan(t.row(selectIntent+`WHERE id=?`, out.Intent).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(name, fault.NotFound, "there is no intent %d to settle", out.Intent)
	}
	if err != nil {
		return err
	}
	again := i.status == string(record.Released) && out.Status != record.Released
	if i.status != "open" && !again {
		return fault.New(name, fault.Conflict, "intent %d was settled before, as %s: an action ends once", i.id, i.status)
	}
	cost := bounded(out.Result.Cost)
	held := i.reserved
	if again {
		held = 0 // let go when it was released
	}
	accounts, err := i.accounts()
	if err != nil {
		return err
	}
	fields := map[string]any{"intent": i.id, "kind": i.kind, "target": valid(i.target)}
	genAI(fields, action.Kind(i.kind), i.target)
	if data, err = with(data, fields); err != nil {
		return err
	}
	t.certain()
	if err := t.charge(accounts, cost, held); err != nil {
		return err
	}
	phase, level := "finish", "info"
	if out.Status != record.Done && out.Status != record.Released {
		phase, level = "error", "error"
		if out.Status == record.Canceled {
			level = "warning"
		}
	}
	leaf, err := t.append(entry{
		kind: "outcome", label: out.Result.Label.String(),
		row: eventRow{
			typ: eventType(action.Kind(i.kind), phase), agent: valid(i.agent), session: valid(i.session),
			channel: Channel(action.Kind(i.kind), i.agent), level: level, data: data,
		},
	})
	if err != nil {
		return err
	}
	u := usageOf(out.Result.Data)
	_, err = t.exec(`UPDATE intents SET status=?, cost=cost+?, settled=?, outcome=?, input=input+?, output=output+?, cache_read=cache_read+?, cache_write=cache_write+?, reasoning=reasoning+? WHERE id=?`,
		string(out.Status), int64(cost), t.tree.clock, leaf, u.input, u.output, u.cacheRead, u.cacheWrite, u.reasoning, i.id)
	return err
}

// InFlight is an intent whose process died before it settled.
type InFlight struct {
	Intent   int64
	Leaf     int64
	Agent    string
	Session  string
	Kind     action.Kind
	Target   string
	Since    time.Time
	Reserved record.Micros // what is now counted as spent
}

// What is said of an intent whose process died.
const (
	lost     = "its process ended before it was settled; whether it took effect is not known"
	lostPaid = lost + ", so what it had reserved is counted as spent"
)

// Recover settles the intents of dead processes as record.Unknown and tells
// which they were. Nobody knows whether such a call was billed, so what it had
// reserved is counted as spent. Intents of living processes are left alone.
func (s *Store) Recover(ctx context.Context) ([]InFlight, error) {
	const name = "store.recover"
	var out []InFlight
	err := s.do(ctx, name, func(t *tx) error {
		out = nil
		open, err := t.orphans()
		if err != nil {
			return err
		}
		if err := t.guard(); err != nil { // the second of them may fail
			return err
		}
		for _, i := range open {
			l := label.Unlabelled
			if p, err := label.Parse(i.lab); err == nil {
				l = p
			}
			o := record.Outcome{
				Intent: i.id, Status: record.Unknown, Err: lost,
				Result:  record.Result{Label: l, Cost: i.reserved},
				Elapsed: 0,
			}
			if i.reserved > 0 {
				o.Err = lostPaid
			}
			if err := t.settle(o, s.outcomeData(o)); err != nil {
				return err
			}
			out = append(out, InFlight{
				Intent: i.id, Leaf: i.leaf, Agent: i.agent, Session: i.session, Kind: action.Kind(i.kind),
				Target: i.target, Since: time.UnixMicro(i.opened).UTC(), Reserved: i.reserved,
			})
		}
		_, err = t.endDeadRuns()
		return err
	})
	if err != nil {
		return nil, s.explain(name, err)
	}
	return out, nil
}

// orphans gives the open intents of processes that are gone.
func (t *tx) orphans() ([]openIntent, error) {
	owners, err := t.texts(`SELECT DISTINCT owner FROM intents WHERE status='open'`)
	if err != nil {
		return nil, err
	}
	var out []openIntent
	for _, o := range owners {
		if alive(o) {
			continue
		}
		err := t.each(func(scan func(...any) error) error {
			var i openIntent
			err := i.scan(scan)
			out = append(out, i)
			return err
		}, selectIntent+`WHERE status='open' AND owner=? ORDER BY id`, o)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// texts reads a column.
func (t *tx) texts(query string, args ...any) ([]string, error) {
	var out []string
	err := t.each(func(scan func(...any) error) error {
		var s string
		err := scan(&s)
		out = append(out, s)
		return err
	}, query, args...)
	return out, err
}

// Append records an event that is no action's and gives its entry in the log.
func (s *Store) Append(ctx context.Context, e record.Event) (int64, error) {
	const name = "store.append"
	var leaf int64
	row := s.rowOf(e)
	err := s.do(ctx, name, func(t *tx) error {
		var err error
		leaf, err = t.event(row, nil)
		return err
	})
	if err != nil {
		return 0, s.explain(name, err)
	}
	return leaf, nil
}

// rowOf makes the row of an event; missing channel and level get defaults.
func (s *Store) rowOf(e record.Event) eventRow {
	t := &trimmer{mask: s.opt.Mask}
	data, _ := t.value("data", e.Data, 0).(map[string]any)
	if data == nil {
		data = map[string]any{}
	}
	data["alert"] = e.Alert
	alert := validAlert(e.Alert)
	r := eventRow{typ: valid(e.Type), agent: valid(e.Agent), session: valid(e.Session), channel: valid(e.Channel), level: valid(e.Level), alert: alert, label: label.Bottom}
	if text, ok := e.Data["label"].(string); ok { // a caller may know better than its session
		if l, err := label.Parse(text); err == nil {
			r.label = l
		}
	}
	r.data = encode(data, t)
	if r.channel == "" {
		r.channel = "SYSTEM"
	}
	if r.level == "" {
		r.level = "info"
	}
	return r
}

// valid makes a text valid UTF-8, which the log's encoding needs.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
