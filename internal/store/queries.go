package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// EventRow is a row of the events table.
type EventRow struct {
	ID      int64
	Time    time.Time // UTC, milliseconds
	Type    string
	Agent   string
	Session string
	Channel string
	Level   string
	Data    json.RawMessage // an object with "alert"
	Leaf    int64           // entry in the log
}

// Filter selects events; zero fields select everything.
type Filter struct {
	Since, Until time.Time // Since <= time < Until
	Types        []string  // a type, or a prefix ending in "*"
	Agent        string
	Session      string
	Alert        string // "suspicious" or "dangerous"; "any" for both
	AfterID      int64
	Text         string // substring of data
	Limit        int    // default 1000
	Newest       bool   // newest first instead of oldest first
}

const defaultLimit = 1000

// alerting is the condition of the index of alerts: data that does not begin, as
// encode writes it, with none.
const alerting = `substr(data, 1, 15) <> '{"alert":"none"'`

// where builds the condition; only constants and placeholders go into the text.
func (f Filter) where() (string, []any) {
	var cond []string
	var args []any
	add := func(c string, a ...any) { cond, args = append(cond, c), append(args, a...) }
	if f.AfterID > 0 {
		add("id > ?", f.AfterID)
	}
	if !f.Since.IsZero() {
		add("timestamp >= ?", stamp(f.Since.UnixMicro()))
	}
	if !f.Until.IsZero() {
		add("timestamp < ?", stamp(f.Until.UnixMicro()))
	}
	if f.Agent != "" {
		add("agent_id = ?", f.Agent)
	}
	if f.Session != "" {
		add("session_id = ? AND session_id <> ''", f.Session)
	}
	if f.Alert != "" {
		add(alerting)
	}
	if f.Alert == "any" {
		add("json_extract(data, '$.alert') <> 'none'")
	} else if f.Alert != "" {
		add("json_extract(data, '$.alert') = ?", f.Alert)
	}
	if f.Text != "" {
		add("instr(data, ?) > 0", f.Text)
	}
	if len(f.Types) > 0 {
		var or []string
		for _, t := range f.Types {
			if p, ok := strings.CutSuffix(t, "*"); ok {
				or, args = append(or, "substr(event_type, 1, length(?)) = ?"), append(args, p, p)
			} else {
				or, args = append(or, "event_type = ?"), append(args, t)
			}
		}
		cond = append(cond, "("+strings.Join(or, " OR ")+")")
	}
	if len(cond) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(cond, " AND "), args
}

// Events gives the events that a filter selects.
func (s *Store) Events(ctx context.Context, f Filter) ([]EventRow, error) {
	const name = "store.events"
	where, args := f.where()
	order := " ORDER BY id"
	if f.Newest {
		order += " DESC"
	}
	limit := f.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	// Not through the cache of statements: the text depends on the filter.
	rows, err := s.read.QueryContext(ctx, `SELECT id, timestamp, event_type, agent_id, session_id, channel, level, data, leaf FROM events`+where+order+` LIMIT ?`, append(args, limit)...) //nolint:gosec // G202: constants and placeholders
	var out []EventRow
	err = drain(rows, err, func(scan func(...any) error) error {
		e, err := scanEvent(scan)
		out = append(out, e)
		return err
	})
	return out, s.explain(name, err)
}

func scanEvent(scan func(...any) error) (EventRow, error) {
	var e EventRow
	var when string
	var data []byte
	if err := scan(&e.ID, &when, &e.Type, &e.Agent, &e.Session, &e.Channel, &e.Level, &data, &e.Leaf); err != nil {
		return e, err
	}
	var err error
	if e.Time, err = time.Parse("2006-01-02 15:04:05.000", when); err != nil || !json.Valid(data) {
		return e, fault.New("store.events", fault.Corrupt, "event %d was damaged: run `sallyport verify` and restore a backup", e.ID)
	}
	e.Data = data
	return e, nil
}

// SessionRow sums up a session.
type SessionRow struct {
	Session     string
	Agent       string
	First, Last time.Time
	Events      int
	Denied      int
	Alerts      int
	Cost        record.Micros
}

// Sessions gives the sessions that had events since a time, newest first, at
// most limit.
func (s *Store) Sessions(ctx context.Context, since time.Time, limit int) ([]SessionRow, error) {
	const name = "store.sessions"
	from := ""
	if !since.IsZero() {
		from = stamp(since.UnixMicro())
	}
	var out []SessionRow
	err := s.each(ctx, name, `SELECT session_id, max(agent_id), min(timestamp), max(timestamp), count(*),
		sum(level = 'warning' AND event_type LIKE '%blocked'), sum(json_extract(data, '$.alert') <> 'none'),
		sum(COALESCE(json_extract(data, '$.cost_micros'), 0))
		FROM events WHERE session_id <> '' GROUP BY session_id HAVING max(timestamp) >= ? ORDER BY max(id) DESC LIMIT ?`,
		[]any{from, limit}, func(scan func(...any) error) error {
			var r SessionRow
			var first, last string
			if err := scan(&r.Session, &r.Agent, &first, &last, &r.Events, &r.Denied, &r.Alerts, &r.Cost); err != nil {
				return err
			}
			var err1, err2 error
			r.First, err1 = time.Parse("2006-01-02 15:04:05.000", first)
			r.Last, err2 = time.Parse("2006-01-02 15:04:05.000", last)
			out = append(out, r)
			return errors.Join(err1, err2)
		})
	if err != nil {
		return nil, s.explain(name, err)
	}
	return out, nil
}

// SessionLabel joins the labels of a session's contexts; ok is false if it has
// none.
func (s *Store) SessionLabel(ctx context.Context, session string) (l label.Label, ok bool, err error) {
	const name = "store.sessionLabel"
	l = label.Bottom
	err = s.each(ctx, name, `SELECT label FROM contexts WHERE session = ? AND session <> ''`, []any{session}, func(scan func(...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		next, err := storedLabel(name, text)
		l, ok = l.Join(next), true
		return err
	})
	if err != nil || !ok {
		return label.Unlabelled, false, s.explain(name, err)
	}
	return l, true, nil
}

// SessionEvents gives everything that happened in a session, in order.
func (s *Store) SessionEvents(ctx context.Context, session string) ([]EventRow, error) {
	const name = "store.sessionEvents"
	var out []EventRow
	err := s.each(ctx, name, `SELECT id, timestamp, event_type, agent_id, session_id, channel, level, data, leaf FROM events
		WHERE session_id = ? AND session_id <> '' ORDER BY id`, []any{session}, func(scan func(...any) error) error {
		e, err := scanEvent(scan)
		out = append(out, e)
		return err
	})
	if err != nil {
		return nil, s.explain(name, err)
	}
	return out, nil
}

// AnchorRow is what is known of a place where checkpoints are kept.
type AnchorRow struct {
	Name  string
	Size  int64 // entries under the newest checkpoint there
	Time  time.Time
	Error string // why the last push did not arrive, empty if it did
}

// SetAnchor records the outcome of a push. It is no event, so that pushing a
// checkpoint does not make the next one; report changes with Append.
func (s *Store) SetAnchor(ctx context.Context, anchor string, size int64, problem string) error {
	const name = "store.setAnchor"
	err := s.do(ctx, name, func(t *tx) error {
		_, err := t.exec(`INSERT INTO anchors VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO UPDATE SET
			size = CASE WHEN ?4 = '' THEN ?2 ELSE size END, time = ?3, error = ?4`, anchor, size, s.opt.Now().UnixMicro(), problem)
		return err
	})
	return s.explain(name, err)
}

// Stop is a stop in force.
type Stop struct {
	Agent string // empty for everybody
	By    string
	At    time.Time
}

// StatusReport is the state of the instance.
type StatusReport struct {
	Runs       []RunInfo // not ended
	Stops      []Stop
	InFlight   int // intents not settled, of living and dead processes
	OpenAsks   int
	Spent      record.Micros
	Reserved   record.Micros
	Entries    int64
	Checkpoint []byte // newest signed checkpoint, nil if none
	Clock      time.Time
	Behind     bool // the machine's clock is behind the log's
	Anchors    []AnchorRow
	Bytes      int64 // database and write-ahead log
}

// Status gives the state of the instance.
func (s *Store) Status(ctx context.Context) (StatusReport, error) {
	const name = "store.status"
	var out StatusReport
	runs, err := s.Runs(ctx, 100)
	if err != nil {
		return out, err
	}
	for _, r := range runs {
		if r.Alive {
			out.Runs = append(out.Runs, r)
		}
	}
	var clock int64
	err = s.read.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM intents WHERE status='open'),
		(SELECT count(*) FROM asks WHERE state='open' AND expires > ?), (SELECT COALESCE(sum(spent), 0) FROM accounts),
		(SELECT COALESCE(sum(reserved), 0) FROM accounts), size, clock, behind,
		(SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1) FROM head`, s.opt.Now().UnixMicro()).
		Scan(&out.InFlight, &out.OpenAsks, &out.Spent, &out.Reserved, &out.Entries, &clock, &out.Behind, &out.Checkpoint)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return out, unavailable(name, err)
	}
	out.Clock = time.UnixMicro(clock).UTC()
	err = s.each(ctx, name, `SELECT name, size, time, error FROM anchors ORDER BY name`, nil, func(scan func(...any) error) error {
		var a AnchorRow
		var at int64
		err := scan(&a.Name, &a.Size, &at, &a.Error)
		a.Time = time.UnixMicro(at).UTC()
		out.Anchors = append(out.Anchors, a)
		return err
	})
	if err != nil {
		return out, s.explain(name, err)
	}
	err = s.each(ctx, name, `SELECT agent, stopped_by, stopped_at FROM agents WHERE stopped_by <> '' ORDER BY agent`, nil, func(scan func(...any) error) error {
		var st Stop
		var at int64
		err := scan(&st.Agent, &st.By, &at)
		st.At = time.UnixMicro(at).UTC()
		out.Stops = append(out.Stops, st)
		return err
	})
	if err != nil {
		return out, s.explain(name, err)
	}
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(s.path + suffix); err == nil {
			out.Bytes += info.Size()
		}
	}
	return out, nil
}
