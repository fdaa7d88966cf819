package gate

import (
	"sync/atomic"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Permit is the single-use right to perform one action. Only Open makes one,
// so a function that takes a Permit cannot be reached without a decision and a
// durable intent.
type Permit struct {
	Receipt record.Receipt
	Label   label.Label // the result's label, fixed before the result exists

	action action.Action
	opened time.Time
	taken  atomic.Bool
	state  atomic.Int32 // open, released, settled
}

// The states of a permit, in the only order they are passed.
const (
	open int32 = iota
	released
	settled
)

// Take gives the action to perform, exactly once.
func (p *Permit) Take() (action.Action, error) {
	if p == nil || !p.taken.CompareAndSwap(false, true) {
		return action.Action{}, fault.New("gate.take", fault.Denied, "a permit is good for one use")
	}
	return p.action, nil
}
