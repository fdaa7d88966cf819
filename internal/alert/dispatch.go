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
	"sallyport/internal/record"
)

// Outbox remembers what is owed, beyond the life of a process; the store is one.
type Outbox interface {
	// Due gives pending deliveries whose time has come, longest waiting first.
	Due(ctx context.Context, now time.Time) ([]record.Delivery, error)
	// Alert gives an alert by its id.
	Alert(ctx context.Context, id string) (record.Alert, error)
	// Delivered records what came of a try. A delivery that is not recorded is
	// due again, so a crash repeats a message rather than losing it.
	Delivered(ctx context.Context, d record.Delivery) error
}

// owed is a delivery with its alert.
type owed struct {
	record.Delivery
	alert record.Alert
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
	bySink := map[string][]owed{}
	for _, x := range due {
		bySink[x.Sink] = append(bySink[x.Sink], owed{Delivery: x})
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
// is due, and what comes later waits for the minute to pass. A try that finds the
// sink down counts for everything that is due.
func (d *Dispatcher) serve(ctx context.Context, l *lane, list []owed) {
	var rules []string
	byRule := map[string][]owed{}
	for _, x := range list {
		a, err := d.box.Alert(ctx, x.Alert)
		if err != nil {
			d.opt.Failed(err)
			continue
		}
		if byRule[a.Rule] == nil {
			rules = append(rules, a.Rule)
		}
		byRule[a.Rule] = append(byRule[a.Rule], owed{x.Delivery, a})
	}
	for i, rule := range rules {
		group := byRule[rule]
		for room := d.room(l, rule); room > 0 && len(group) > 0; room-- {
			n := 1
			if room == 1 {
				n = len(group)
			}
			err := d.send(ctx, l, group[:n])
			group = group[n:]
			if ctx.Err() != nil {
				return
			}
			if fault.Is(err, fault.Unavailable) {
				for _, later := range rules[i+1:] {
					group = append(group, byRule[later]...)
				}
				d.settle(ctx, group, err)
				return
			}
		}
	}
}

// room tells how many more messages of a rule a sink may get now, the one that
// stands for the rest included.
func (d *Dispatcher) room(l *lane, rule string) int {
	past := d.opt.Now().Add(-time.Minute)
	l.sent[rule] = slices.DeleteFunc(l.sent[rule], func(t time.Time) bool { return !t.After(past) })
	return d.opt.PerMinute + 1 - len(l.sent[rule])
}

// send makes one message of a group, its first alert and more, and records what
// came of it.
func (d *Dispatcher) send(ctx context.Context, l *lane, group []owed) error {
	if ctx.Err() != nil {
		return fault.Wrap("alert.deliver", fault.Unavailable, ctx.Err())
	}
	a := group[0].alert
	det := Detail{Instance: d.opt.Instance, More: len(group) - 1, Time: d.opt.Now()}
	ids := make([]string, len(group))
	for i, x := range group {
		ids[i] = x.alert.ID
	}
	det.Message, det.IDs = messageID(l.sink.Name(), ids), ids[1:min(len(ids), 1+maxIDs)]
	l.sent[a.Rule] = append(l.sent[a.Rule], det.Time)
	try, cancel := context.WithTimeout(ctx, d.opt.Timeout)
	err := l.sink.Send(try, a, det)
	cancel()
	if err == nil || ctx.Err() == nil { // else we end; the next process tries again
		d.settle(context.WithoutCancel(ctx), group, err)
	}
	return err
}

// settle records a try of every delivery in a group.
func (d *Dispatcher) settle(ctx context.Context, group []owed, err error) {
	for _, o := range group {
		x := o.Delivery
		x.Tries++
		x.State, x.Error, x.Next = record.DeliveryDone, "", time.Time{}
		switch {
		case err == nil:
		case fault.Is(err, fault.Unavailable) && x.Tries < d.opt.Tries:
			x.State, x.Error, x.Next = record.DeliveryPending, fault.PublicText(err), d.opt.Now().Add(pause(x.Tries-1))
		default:
			x.State, x.Error = record.DeliveryFailed, fault.PublicText(err)
		}
		// Somebody else may have settled it: then there is nothing to record.
		if err := d.box.Delivered(ctx, x); err != nil && !fault.Is(err, fault.Conflict) {
			d.opt.Failed(err)
		}
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
func messageID(sink string, ids []string) string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{sink}, ids...), "\x00")))
	return "msg_" + hex.EncodeToString(sum[:12])
}

// Tell sends one alert to every sink at once, past the outbox: for what cannot
// be recorded any more. It returns when all have answered or failed.
func (d *Dispatcher) Tell(ctx context.Context, a record.Alert) error {
	errs := make(chan error, len(d.lanes))
	for name, l := range d.lanes {
		go func() {
			try, cancel := context.WithTimeout(ctx, d.opt.Timeout)
			defer cancel()
			now := d.opt.Now()
			id := messageID(name, []string{a.Rule, now.UTC().Format(time.RFC3339Nano)})
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
func (d *Dispatcher) Test(ctx context.Context, sink string, a record.Alert) error {
	l, ok := d.lanes[sink]
	if !ok {
		return fault.New("alert.test", fault.NotFound, "there is no alert sink %q; alerts.sinks in the configuration lists them", sink)
	}
	return (&Dispatcher{opt: d.opt, lanes: map[string]*lane{sink: l}}).Tell(ctx, a)
}
