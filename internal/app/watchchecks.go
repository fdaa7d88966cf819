package app

import (
	"context"
	"encoding/json"
	"time"

	"sallyport/internal/alert"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// Thresholds of what the watcher looks at.
const (
	diskPercent, diskBytes = 5, 1 << 30
	memoryPercent          = 5
	lowAgain               = time.Hour        // between events about the same shortage
	askPatience            = 10 * time.Minute // before a question is told of
	reportAge              = 24 * time.Hour   // of the oldest report that is told of
	daily                  = 24 * time.Hour
)

// Readers of nothing: their cursors hold when a daily task was done, in Unix
// seconds.
const (
	verifyCursor = "alerts.verify"
	retainCursor = "alerts.retain"
)

// checks is what the watcher remembers about what it looks at.
type checks struct {
	at       time.Time
	low      map[string]time.Time            // shortage → when it was told
	told     map[string]bool                 // questions and reports
	disk     func(dir string) space          // diskOf, but for tests
	memory   func() space                    // memoryOf
	verified func(ctx context.Context) error // VerifyLog
}

func (a *App) newChecks() checks {
	return checks{
		low: map[string]time.Time{}, told: map[string]bool{}, disk: diskOf, memory: memoryOf,
		verified: func(ctx context.Context) error {
			_, err := a.VerifyLog(ctx, VerifyOptions{})
			return err
		},
	}
}

// check looks at what makes no event by itself.
func (w *watcher) check(ctx context.Context) {
	c := &w.checks
	if w.now().Sub(c.at) < watchCheck {
		return
	}
	c.at = w.now()
	if len(c.told) >= maxRaised {
		clear(c.told)
	}
	w.shortage(ctx, alert.EventDiskLow, "the disk of the state directory runs full", c.disk(w.app.Paths.Home), diskPercent, diskBytes)
	w.shortage(ctx, alert.EventMemoryLow, "the machine's memory runs out", c.memory(), memoryPercent, 0)
	w.questions(ctx)
	w.reports(ctx)
}

// chores does the daily tasks, beside the watching, until ctx ends.
func (w *watcher) chores(ctx context.Context) {
	tick := time.NewTicker(watchCheck)
	defer tick.Stop()
	for {
		w.once(ctx, verifyCursor, w.verify)
		if w.app.Config.Compliance.RetentionDays > 0 {
			w.once(ctx, retainCursor, w.retain)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// shortage records that something runs out, when it begins and every hour.
func (w *watcher) shortage(ctx context.Context, typ, text string, s space, percent, bytes uint64) {
	if !s.below(percent, bytes) {
		delete(w.checks.low, typ)
		return
	}
	if told, ok := w.checks.low[typ]; ok && w.now().Sub(told) < lowAgain {
		return
	}
	w.checks.low[typ] = w.now()
	w.append(ctx, record.Event{Type: typ, Level: "warning", Data: map[string]any{
		"free_mib": int64(s.free >> 20), "total_mib": int64(s.total >> 20), "free_percent": int64(s.free / max(s.total/100, 1)), //nolint:gosec // 2^44 MiB is far away
	}}, record.Alert{Rule: typ, Severity: alert.Critical, State: record.AlertOpen, Title: text, Count: 1})
}

// questions records each question that has waited long, once.
func (w *watcher) questions(ctx context.Context) {
	asks, err := w.st.Asks(ctx, true)
	if err != nil {
		w.trouble(ctx, err)
		return
	}
	for _, q := range asks {
		if waited := w.now().Sub(q.Created); waited > askPatience && w.now().Before(q.Expires) && w.first(ctx, alert.EventApprovalWaiting, "ask", q.ID) {
			w.append(ctx, record.Event{Type: alert.EventApprovalWaiting, Agent: q.Agent, Session: q.Session, Level: "warning", Data: map[string]any{
				"ask": q.ID, "kind": string(q.Kind), "minutes": int64(waited / time.Minute),
			}}, record.Alert{})
		}
	}
}

// reports records each new security report, once. Level and name are what the
// agent wrote, and sinks are told the name: one of a folder that sessions have
// written which know more than may lie about in the clear is not recorded, only
// that there is a report.
func (w *watcher) reports(ctx context.Context) {
	list, err := w.app.Reports()
	if err != nil {
		return // the folder is the agents'; that it cannot be read is for `reports` to say
	}
	holds, err := w.holds(ctx, w.app.Paths.Reports)
	if err != nil {
		w.trouble(ctx, err)
		return
	}
	for _, r := range list {
		if r.Level <= 0 || w.now().Sub(r.Written) >= reportAge {
			continue
		}
		data := map[string]any{"file": r.File, "level": r.Level, "host": r.Host}
		if !w.st.Clears(holds) {
			key := alert.EventReport + "\x00" + r.File
			if w.checks.told[key] {
				continue
			}
			w.checks.told[key] = true
			data = map[string]any{"file": "a name that is withheld", "level": r.Level, "withheld": holds.String()}
		} else if !w.first(ctx, alert.EventReport, "file", r.File) {
			continue
		}
		w.append(ctx, record.Event{Type: alert.EventReport, Level: "info", Data: data}, record.Alert{})
	}
}

// holds joins the labels of what sessions may have written into a directory.
func (w *watcher) holds(ctx context.Context, dir string) (label.Label, error) {
	out := label.Bottom
	places, err := w.st.Places(ctx)
	for _, p := range places {
		if touches(dir, p) {
			out = out.Join(p.Label)
		}
	}
	return out, err
}

// first reports whether there was no event of a type about something yet, here
// or in an earlier watcher.
func (w *watcher) first(ctx context.Context, typ, field, value string) bool {
	key := typ + "\x00" + value
	if w.checks.told[key] {
		return false
	}
	text, err := json.Marshal(map[string]string{field: value})
	if err != nil {
		return false
	}
	rows, err := w.st.Events(ctx, store.Filter{Types: []string{typ}, Text: string(text[1 : len(text)-1]), Limit: 1})
	if err != nil {
		w.trouble(ctx, err)
		return false
	}
	w.checks.told[key] = true
	return len(rows) == 0
}

// once does a daily task when its day has passed, whoever did it last.
func (w *watcher) once(ctx context.Context, cursor string, do func(ctx context.Context) error) {
	last, err := w.st.Cursor(ctx, cursor)
	if err != nil || w.now().Sub(time.Unix(last, 0)) < daily {
		return
	}
	if err := do(ctx); ctx.Err() != nil {
		return // the next watcher begins again
	} else if err != nil {
		w.trouble(ctx, err)
	}
	if err := w.st.SetCursor(ctx, cursor, w.now().Unix()); err != nil {
		w.trouble(ctx, err)
	}
}

// verify proves the log, and records it when it does not hold.
func (w *watcher) verify(ctx context.Context) error {
	err := w.checks.verified(ctx)
	if ctx.Err() != nil || !fault.Is(err, fault.Corrupt) {
		return err // an export that was cut short proves nothing
	}
	w.append(ctx, record.Event{Type: alert.EventLogDamaged, Level: "error", Data: map[string]any{"problem": fault.PublicText(err)}},
		record.Alert{Rule: "log", Severity: alert.Critical, State: record.AlertOpen, Title: "the log does not verify: " + fault.PublicText(err), Count: 1})
	return nil
}

// retain removes the values of what is older than compliance.retention_days.
// That a reader still holds old copies is no trouble: they go with it.
func (w *watcher) retain(ctx context.Context) error {
	_, err := w.st.Retain(ctx, w.now().AddDate(0, 0, -w.app.Config.Compliance.RetentionDays), 0)
	if fault.Is(err, fault.Unavailable) && w.st.Err() == nil {
		return nil
	}
	return err
}
