package alert

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport/internal/fault"
)

// Delivery is one alert that one sink is owed.
type Delivery struct {
	Alert Alert
	Sink  string
	Tries int // made so far
}

// Result is how a try ended.
type Result struct {
	Alert Alert
	Sink  string
	Tries int       // made so far, this one included
	Err   error     // nil: delivered
	Next  time.Time // of the next try; zero: delivered, or given up
}

// Outbox remembers what is owed, beyond the life of a process.
type Outbox interface {
	// Due gives deliveries whose time has come, oldest first.
	Due(ctx context.Context, now time.Time) ([]Delivery, error)
	// Settle records how tries ended. A delivery that is not settled is due
	// again, so a crash repeats a message rather than losing it.
	Settle(ctx context.Context, results []Result) error
}

// DispatchOptions tune a Dispatcher; zero fields have defaults.
type DispatchOptions struct {
	Instance  string
	Now       func() time.Time // default time.Now
	PerMinute int              // messages of one rule to one sink in a minute; default 10
	Tries     int              // of one delivery; default 8, over about an hour
	Timeout   time.Duration    // of one try; default 30 s
	// Failed hears of results that could not be recorded; nil: nobody.
	Failed func(error)
}

// Pauses between tries.
const (
	firstPause = 5 * time.Second
	lastPause  = 15 * time.Minute
)

// Dispatcher tells sinks what the outbox owes them, each in a goroutine of its
// own. Round may be called by one goroutine.
type Dispatcher struct {
	box   Outbox
	opt   DispatchOptions
	lanes map[string]*lane
	work  sync.WaitGroup
}

// lane is the way to one sink.
type lane struct {
	sink Sink
	busy chan struct{}          // holds one while the sink is served
	sent map[string][]time.Time // by rule, within the last minute; owned by who is busy
}

// NewDispatcher makes a dispatcher for sinks with distinct names.
func NewDispatcher(sinks []Sink, box Outbox, o DispatchOptions) *Dispatcher {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.PerMinute <= 0 {
		o.PerMinute = 10
	}
	if o.Tries <= 0 {
		o.Tries = 8
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	d := &Dispatcher{box: box, opt: o, lanes: map[string]*lane{}}
	for _, s := range sinks {
		d.lanes[s.Name()] = &lane{sink: s, busy: make(chan struct{}, 1), sent: map[string][]time.Time{}}
	}
	return d
}

// Round starts to deliver what is due and returns without waiting for sinks. A
// sink that is still busy with an earlier round is left alone. ctx bounds the
// deliveries too.
func (d *Dispatcher) Round(ctx context.Context) error {
	due, err := d.box.Due(ctx, d.opt.Now())
	if err != nil {
		return err
	}
	bySink := map[string][]Delivery{}
	for _, x := range due {
		bySink[x.Sink] = append(bySink[x.Sink], x)
	}
	for name, list := range bySink {
		l, ok := d.lanes[name]
		if !ok {
			d.settle(ctx, list, fault.New("alert.deliver", fault.NotFound, "the sink %s is no longer configured", name))
			continue
		}
		select {
		case l.busy <- struct{}{}:
		default:
			continue
		}
		d.work.Go(func() {
			defer func() { <-l.busy }()
			d.serve(ctx, l, list)
		})
	}
	return nil
}

// Wait waits for the deliveries that were started.
func (d *Dispatcher) Wait() { d.work.Wait() }

// serve delivers to one sink, rule by rule. Of one rule's alerts at most
// PerMinute are told one by one; a single message stands for the rest of what
// is due, and what comes later waits for the minute to pass.
func (d *Dispatcher) serve(ctx context.Context, l *lane, list []Delivery) {
	var rules []string
	byRule := map[string][]Delivery{}
	for _, x := range list {
		if byRule[x.Alert.Rule] == nil {
			rules = append(rules, x.Alert.Rule)
		}
		byRule[x.Alert.Rule] = append(byRule[x.Alert.Rule], x)
	}
	for _, rule := range rules {
		group := byRule[rule]
		room := min(d.room(l, rule), len(group))
		if room <= 0 {
			continue
		}
		for _, x := range group[:room] {
			d.send(ctx, l, []Delivery{x})
		}
		if rest := group[room:]; len(rest) > 0 {
			d.send(ctx, l, rest)
		}
	}
}

// room tells how many more messages of a rule a sink may get now.
func (d *Dispatcher) room(l *lane, rule string) int {
	past := d.opt.Now().Add(-time.Minute)
	l.sent[rule] = slices.DeleteFunc(l.sent[rule], func(t time.Time) bool { return !t.After(past) })
	return d.opt.PerMinute - len(l.sent[rule])
}

// send makes one message of a group: its first alert, and more.
func (d *Dispatcher) send(ctx context.Context, l *lane, group []Delivery) {
	if ctx.Err() != nil {
		return
	}
	a := group[0].Alert
	det := Detail{Message: messageID(l.sink.Name(), group), Instance: d.opt.Instance, More: len(group) - 1, Time: d.opt.Now()}
	for _, x := range group[1:min(len(group), 1+maxIDs)] {
		det.IDs = append(det.IDs, x.Alert.ID)
	}
	l.sent[a.Rule] = append(l.sent[a.Rule], det.Time)
	try, cancel := context.WithTimeout(ctx, d.opt.Timeout)
	err := l.sink.Send(try, a, det)
	cancel()
	if err != nil && ctx.Err() != nil {
		return // we end; the next process tries again
	}
	d.settle(context.WithoutCancel(ctx), group, err)
}

func (d *Dispatcher) settle(ctx context.Context, group []Delivery, err error) {
	results := make([]Result, len(group))
	for i, x := range group {
		results[i] = Result{Alert: x.Alert, Sink: x.Sink, Tries: x.Tries + 1, Err: err}
		if fault.Is(err, fault.Unavailable) && x.Tries+1 < d.opt.Tries {
			results[i].Next = d.opt.Now().Add(pause(x.Tries))
		}
	}
	if err := d.box.Settle(ctx, results); err != nil {
		d.opt.Failed(err)
	}
}

// pause is how long to wait after n tries that failed before.
func pause(n int) time.Duration {
	p := firstPause
	for range min(n, 10) {
		p *= 4
	}
	return min(p, lastPause)
}

// messageID names a message by what it says to whom.
func messageID(sink string, group []Delivery) string {
	var b strings.Builder
	b.WriteString(sink)
	for _, x := range group {
		b.WriteString("\x00" + x.Alert.ID)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return "msg_" + hex.EncodeToString(sum[:12])
}

// Tell sends one alert to every sink at once, past the outbox: for what cannot
// be recorded any more. It returns when all have answered or failed.
func (d *Dispatcher) Tell(ctx context.Context, a Alert) error {
	errs := make(chan error, len(d.lanes))
	for name, l := range d.lanes {
		go func() {
			try, cancel := context.WithTimeout(ctx, d.opt.Timeout)
			defer cancel()
			now := d.opt.Now()
			id := messageID(name, []Delivery{{Alert: Alert{ID: a.Rule + now.UTC().Format(time.RFC3339Nano)}}})
			errs <- l.sink.Send(try, a, Detail{Message: id, Instance: d.opt.Instance, Time: now})
		}()
	}
	var all error
	for range d.lanes {
		all = errors.Join(all, <-errs)
	}
	return all
}

// Test sends one alert to one sink and gives its error; an unknown name is
// fault.NotFound.
func (d *Dispatcher) Test(ctx context.Context, sink string, a Alert) error {
	l, ok := d.lanes[sink]
	if !ok {
		return fault.New("alert.test", fault.NotFound, "there is no alert sink %q; alerts.sinks in the configuration lists them", sink)
	}
	return (&Dispatcher{opt: d.opt, lanes: map[string]*lane{sink: l}}).Tell(ctx, a)
}
