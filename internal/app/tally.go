package app

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"sallyport/internal/action"
	"sallyport/internal/record"
)

// tally counts what a session asked of the network, for its summary and the
// status line. It is no evidence.
type tally struct {
	changed func() // may be nil
	mu      sync.Mutex
	passed  map[action.Kind]int
	refused map[refusedKey]int
	last    refusedKey
}

type refusedKey struct{ Kind, Target, Rule string }

// maxRefusals bounds how many different refusals are told apart.
const maxRefusals = 200

func newTally(changed func()) *tally {
	return &tally{changed: changed, passed: map[action.Kind]int{}, refused: map[refusedKey]int{}}
}

func (t *tally) pass(a action.Action) {
	t.mu.Lock()
	t.passed[a.Kind]++
	t.mu.Unlock()
	t.tell()
}

func (t *tally) refuse(kind, target, rule string, n int) {
	k := refusedKey{kind, target, rule}
	t.mu.Lock()
	if _, known := t.refused[k]; !known && len(t.refused) >= maxRefusals {
		k.Target = fmt.Sprintf("(more than %d others)", maxRefusals)
	}
	t.refused[k] += n
	t.last = refusedKey{kind, target, rule}
	t.mu.Unlock()
	t.tell()
}

func (t *tally) tell() {
	if t.changed != nil {
		t.changed()
	}
}

// journal takes events; the store does.
type journal interface {
	Append(ctx context.Context, e record.Event) (int64, error)
}

// refusals writes down what was refused without a question to the gate: names
// that no rule could allow, connections that are not what they say. They may
// come faster than they can or should be written; then they are counted.
type refusals struct {
	journal journal
	who     action.Action
	waiting chan refusal
	pace    *pace
	mu      sync.Mutex
	missed  int
}

type refusal struct {
	refusedKey
	count int
}

func newRefusals(j journal, who action.Action) *refusals {
	return &refusals{journal: j, who: who, waiting: make(chan refusal, 64), pace: newPace(noteBurst, notesPerSecond)}
}

// refused tells people and record of something that never became an action.
func (o *outlet) refused(kind, target, rule string, n int) {
	target = strings.ToValidUTF8(target, "\uFFFD")
	o.tally.refuse(kind, target, rule, n)
	o.notes.add(refusal{refusedKey{kind, target, rule}, n})
}

// add takes a refusal without blocking.
func (r *refusals) add(x refusal) {
	if r.pace.now() {
		select {
		case r.waiting <- x:
			return
		default:
		}
	}
	r.mu.Lock()
	r.missed += x.count
	r.mu.Unlock()
}

// write appends until ctx ends, then what is left.
func (r *refusals) write(ctx context.Context) {
	for {
		select {
		case x := <-r.waiting:
			r.append(ctx, x)
		case <-ctx.Done():
			for {
				select {
				case x := <-r.waiting:
					r.append(ctx, x)
				default:
					r.rest(ctx)
					return
				}
			}
		}
	}
}

// rest writes how many went uncounted since the last line.
func (r *refusals) rest(ctx context.Context) {
	r.mu.Lock()
	missed := r.missed
	r.mu.Unlock()
	if missed > 0 {
		r.append(ctx, refusal{refusedKey{Kind: "any", Rule: "many"}, 0})
	}
}

func (r *refusals) append(ctx context.Context, x refusal) {
	r.mu.Lock()
	missed := r.missed
	r.missed = 0
	r.mu.Unlock()
	// Nothing passed, so nothing depends on this line; a ledger that cannot be
	// written denies the next action itself.
	_, _ = r.journal.Append(context.WithoutCancel(ctx), record.Event{
		Type: "egress.refused", Agent: r.who.Agent, Session: r.who.Session, Channel: "SYSTEM", Level: "warning", Alert: "none",
		Data: map[string]any{
			"alert": "none", "context": r.who.Context, "kind": x.Kind, "target": x.Target, "rule": x.Rule, "count": int64(x.count), "missed": int64(missed),
		},
	})
}
