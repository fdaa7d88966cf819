package app

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/alert"
	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// The watcher's pace.
const (
	watchTurn    = time.Second      // between looks at who watches and what is due
	watchCheck   = 30 * time.Second // between looks at disk, memory, reports and questions
	watchSave    = 5 * time.Second  // between writes of the cursor while nothing is raised
	watchGrace   = 10 * time.Second // at the end, for what just happened to be told
	watchPage    = 500              // events read at a time
	watchHistory = 24 * time.Hour   // of a state directory that was never watched
	troubleEvery = time.Hour        // between messages about what cannot be recorded
)

// alertCursor names the watcher among the readers of events.
const alertCursor = "alerts"

// watcher raises and delivers alerts for one state directory. Of all processes
// that share it the one that holds alerts.lock works.
type watcher struct {
	app    *App
	st     *store.Store
	engine *alert.Engine
	disp   *alert.Dispatcher
	sinks  []string
	now    func() time.Time

	cursor, saved int64
	savedAt       time.Time
	dropped       int64
	raised        map[string]string // rule and subject → id of the newest alert
	checks        checks
	failure       atomic.Pointer[error] // of a delivery that was not recorded

	mu       sync.Mutex
	troubled time.Time
}

// watch starts a watcher. What it cannot do at all, because a rule or a sink is
// wrong or a secret is missing, is an error now: nobody should believe in alerts
// that are not sent. stop ends it after what has happened so far was told, as
// far as sinks answer within seconds; what is left stays due for the next.
func (a *App) watch(ctx context.Context, st *store.Store) (stop func(), err error) {
	w, err := a.newWatcher(st)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}, nil
}

func (a *App) newWatcher(st *store.Store) (*watcher, error) {
	rules, err := a.alertRules()
	if err != nil {
		return nil, err
	}
	sinks, err := a.alertSinks()
	if err != nil {
		return nil, err
	}
	w := &watcher{app: a, st: st, now: time.Now, raised: map[string]string{}, checks: a.newChecks()}
	if w.engine, err = alert.New(rules); err != nil {
		return nil, err
	}
	for _, s := range sinks {
		w.sinks = append(w.sinks, s.Name())
	}
	for _, r := range w.engine.Rules() {
		for _, name := range r.Sinks {
			if !slices.Contains(w.sinks, name) {
				return nil, fault.New("app.watch", fault.Config, "alert rule %s names the sink %q, which is not under alerts.sinks", r.Name, name)
			}
		}
	}
	w.disp = alert.NewDispatcher(sinks, st, alert.DispatchOptions{Instance: a.Signer().Origin(), Failed: func(err error) { w.failure.Store(&err) }})
	return w, nil
}

// run waits for its turn and watches until ctx ends.
func (w *watcher) run(ctx context.Context) {
	lock, err := os.OpenFile(filepath.Join(w.app.Paths.Home, "alerts.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		w.trouble(ctx, err)
		return
	}
	defer lock.Close() //nolint:errcheck // gives the lock to the next
	tick := time.NewTicker(watchTurn)
	defer tick.Stop()
	for !tryLock(lock) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	// Work outlives ctx by the grace, so that the end of a run is told too.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var chores sync.WaitGroup
	chores.Go(func() { w.chores(ctx) })
	w.serve(ctx, work)
	late := time.AfterFunc(watchGrace, cancel)
	defer late.Stop()
	w.pass(work)
	w.save(work)
	w.deliver(work)
	w.disp.Wait()
	chores.Wait()
}

// serve tails the events until ctx ends; work bounds what it starts.
func (w *watcher) serve(ctx, work context.Context) {
	for started := false; ctx.Err() == nil; {
		if !started {
			if err := w.resume(work); err != nil {
				w.trouble(work, err)
				w.pause(ctx)
				continue
			}
			started = true
		}
		w.pass(work)
		w.check(work)
		w.deliver(work)
		if w.now().Sub(w.savedAt) > watchSave {
			w.save(work)
		}
		w.pause(ctx)
	}
}

// pause returns when there are new events, or after a turn.
func (w *watcher) pause(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchTurn)
	defer cancel()
	if err := w.st.WaitEvent(ctx, w.cursor); err != nil {
		<-ctx.Done() // a store that fails is not asked without pause
	}
}

// resume finds where the last watcher was and lets the engine see what matters
// from before, without raising it again.
func (w *watcher) resume(ctx context.Context) error {
	cursor, err := w.st.Cursor(ctx, alertCursor)
	if err != nil {
		return err
	}
	if cursor == 0 {
		first, err := w.st.Events(ctx, store.Filter{Since: w.now().Add(-watchHistory), Limit: 1})
		if err != nil {
			return err
		}
		if len(first) > 0 {
			cursor = first[0].ID - 1
		} else if cursor, err = w.st.LastEvent(ctx); err != nil {
			return err
		}
		w.cursor = cursor
		return nil
	}
	before := w.now()
	if at, err := w.st.Events(ctx, store.Filter{AfterID: cursor - 1, Limit: 1}); err != nil {
		return err
	} else if len(at) > 0 {
		before = at[0].Time
	}
	q := store.Filter{Since: before.Add(-w.engine.Span()), Limit: watchPage}
	for {
		rows, err := w.st.Events(ctx, q)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if r.ID > cursor {
				w.cursor, w.saved = cursor, cursor
				return nil
			}
			w.engine.Observe(eventForRules(r))
			q.AfterID = r.ID
		}
		if len(rows) < watchPage {
			w.cursor, w.saved = cursor, cursor
			return nil
		}
	}
}

// pass raises what the new events call for.
func (w *watcher) pass(ctx context.Context) {
	for ctx.Err() == nil {
		rows, err := w.st.EventsAfter(ctx, w.cursor, watchPage)
		if err != nil {
			w.trouble(ctx, err)
			return
		}
		for _, r := range rows {
			for _, a := range w.engine.Observe(eventForRules(r)) {
				if err := w.raise(ctx, a); err != nil {
					w.trouble(ctx, err)
					w.tell(ctx, a) // it is told, if it cannot be kept
				}
			}
			w.cursor = r.ID
		}
		if d := w.engine.Dropped(); d != w.dropped {
			w.append(ctx, record.Event{Type: alert.EventForgot, Level: "warning", Data: map[string]any{"subjects": d - w.dropped}}, record.Alert{})
			w.dropped = d
		}
		if len(rows) < watchPage {
			return
		}
	}
}

// raise stores an alert. A new one is told to sinks; one that counts up is not
// told again, because somebody was told already.
func (w *watcher) raise(ctx context.Context, a record.Alert) error {
	key := a.Rule + "\x00" + a.Subject
	old, ok, err := w.newest(ctx, key, a)
	if err != nil {
		return err
	}
	if ok && old.LastEvent >= a.LastEvent {
		return nil // raised by a watcher that ended before it saved how far it was
	}
	if !ok || old.State != record.AlertOpen && old.State != record.AlertAcknowledged {
		if a.Sinks = w.engine.Sinks(a.Rule); len(a.Sinks) == 0 {
			a.Sinks = w.sinks
		}
	}
	id, _, err := w.st.RaiseAlert(ctx, a)
	if err != nil {
		return err
	}
	if len(w.raised) >= maxRaised {
		clear(w.raised)
	}
	w.raised[key] = id
	return nil
}

// maxRaised bounds what is remembered to save a look into the database.
const maxRaised = 10_000

// newest gives the newest alert of a rule and subject.
func (w *watcher) newest(ctx context.Context, key string, a record.Alert) (record.Alert, bool, error) {
	if id, ok := w.raised[key]; ok {
		old, err := w.st.Alert(ctx, id)
		if err == nil || !fault.Is(err, fault.NotFound) {
			return old, err == nil, err
		}
	}
	list, err := w.st.Alerts(ctx, store.AlertFilter{Rule: a.Rule, Agent: a.Agent})
	if err != nil {
		return record.Alert{}, false, err
	}
	var newest record.Alert
	for _, old := range list {
		if old.Subject == a.Subject && (newest.ID == "" || old.LastEvent > newest.LastEvent) {
			newest = old
		}
	}
	return newest, newest.ID != "", nil
}

func (w *watcher) deliver(ctx context.Context) {
	if err := w.disp.Round(ctx); err != nil {
		w.trouble(ctx, err)
	}
	if err := w.failure.Swap(nil); err != nil {
		w.trouble(ctx, *err)
	}
}

// save records how far the watcher is, if it moved.
func (w *watcher) save(ctx context.Context) {
	w.savedAt = w.now()
	if w.cursor == w.saved {
		return
	}
	if err := w.st.SetCursor(ctx, alertCursor, w.cursor); err != nil {
		w.trouble(ctx, err)
		return
	}
	w.saved = w.cursor
}

// append records an event of the watcher's own. If it cannot be recorded, the
// alert that it would have raised is told to all sinks at once.
func (w *watcher) append(ctx context.Context, e record.Event, a record.Alert) {
	e.Channel, e.Alert = "SYSTEM", "none"
	if _, err := w.st.Append(ctx, e); err != nil {
		w.trouble(ctx, err)
		if a.Rule != "" {
			a.Opened, a.Updated = w.now(), w.now()
			w.tell(ctx, a)
		}
	}
}

// trouble tells all sinks that the watcher cannot do its work: by then the
// database may take nothing any more.
func (w *watcher) trouble(ctx context.Context, err error) {
	w.mu.Lock()
	again := w.now().Sub(w.troubled) < troubleEvery
	if ctx.Err() != nil || fault.Is(err, fault.Canceled) || again {
		w.mu.Unlock()
		return
	}
	w.troubled = w.now()
	w.mu.Unlock()
	w.tell(ctx, record.Alert{
		Rule: "watcher", Severity: alert.Critical, State: record.AlertOpen, Count: 1, Opened: w.now(), Updated: w.now(),
		Title: "alerts cannot be recorded: " + fault.PublicText(err),
	})
}

// tell sends an alert past the database. What sinks answer cannot be recorded.
func (w *watcher) tell(ctx context.Context, a record.Alert) { _ = w.disp.Tell(ctx, a) }

// eventForRules is a recorded event as rules see it.
func eventForRules(r store.EventRow) alert.Event {
	e := alert.Event{ID: r.ID, Time: r.Time, Type: r.Type, Agent: r.Agent, Session: r.Session, Channel: r.Channel, Level: r.Level, Alert: "none"}
	if json.Unmarshal(r.Data, &e.Data) == nil {
		if s, ok := e.Data["alert"].(string); ok {
			e.Alert = s
		}
	}
	return e
}
