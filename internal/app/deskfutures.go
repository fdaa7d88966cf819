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
	label label.Label
	done  chan struct{} // closed when text is there
	text  string
}

func newFutures() *futures { return &futures{byID: map[string]*future{}} }

// open makes the future id, which is a handle that nobody can guess; l is fixed.
func (f *futures) open(id string, l label.Label) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.byID[id] = &future{label: l, done: make(chan struct{})}
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

func (f *futures) get(id string) *future {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.byID[id]
}

// label gives a future's label; of what is not there, label.Unlabelled.
func (f *futures) label(id string) label.Label {
	if u := f.get(id); u != nil {
		return u.label
	}
	return label.Unlabelled
}

// read waits for the text.
func (f *futures) read(ctx context.Context, id string) (string, error) {
	u := f.get(id)
	if u == nil {
		return "", errAbsent(id)
	}
	select {
	case <-u.done:
		return u.text, nil
	case <-ctx.Done():
		return "", fault.Wrap("app.future", fault.Canceled, context.Cause(ctx))
	}
}
