package app

import (
	"context"
	"sync"

	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// futures are the results of children that run: each is labelled from birth
// with the highest that its child may reach, and tells nothing, not even whether
// it is there yet, before it is read (rule R6).
type futures struct {
	mu   sync.Mutex
	byID map[string]*future
}

type future struct {
	owner string // the agent that may read it
	label label.Label
	done  chan struct{} // closed when text is there
	text  string
}

func newFutures() *futures { return &futures{byID: map[string]*future{}} }

// open makes the future id of a child; l is fixed. Who read is not asked for
// may be any agent that was told the id.
func (f *futures) open(id string, l label.Label) { f.openFor(id, "", l) }

// openFor makes a future that only one agent may read.
func (f *futures) openFor(id, owner string, l label.Label) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.byID[id] = &future{owner: owner, label: l, done: make(chan struct{})}
}

// finish gives a future its text, once; what comes later is dropped.
func (f *futures) finish(id, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.byID[id]
	if u == nil {
		return
	}
	select {
	case <-u.done:
	default:
		u.text = text
		close(u.done)
	}
}

func (f *futures) get(id, agent string) (*future, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.byID[id]
	return u, u != nil && (u.owner == "" || u.owner == agent)
}

// label gives a future's label; of what is not there, label.Unlabelled.
func (f *futures) label(id, agent string) label.Label {
	if u, ok := f.get(id, agent); ok {
		return u.label
	}
	return label.Unlabelled
}

// read waits for the text.
func (f *futures) read(ctx context.Context, id, agent string) (string, error) {
	u, ok := f.get(id, agent)
	if !ok {
		return "", errAbsent(id)
	}
	select {
	case <-u.done:
		return u.text, nil
	case <-ctx.Done():
		return "", fault.Wrap("app.future", fault.Canceled, context.Cause(ctx))
	}
}
