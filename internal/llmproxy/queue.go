package llmproxy

import "sync"

// lanes is how many outcomes are written at a time. They wait for the disk, not
// for the processor, and the ledger commits in groups.
const lanes = 32

// queue writes down what has happened behind the backs of those who wait for
// bytes. What belongs to one permit stays in order; a full lane makes whoever
// adds to it wait.
type queue struct {
	lane [lanes]chan func()
	done sync.WaitGroup

	mu     sync.RWMutex
	closed bool
}

func newQueue() *queue {
	q := &queue{}
	for i := range q.lane {
		c := make(chan func(), 64)
		q.lane[i] = c
		q.done.Go(func() {
			for f := range c {
				f()
			}
		})
	}
	return q
}

// add has f run after everything that was added for the same number. After
// close it runs at once.
func (q *queue) add(number int64, f func()) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		f()
		return
	}
	q.lane[uint64(number)%lanes] <- f //nolint:gosec // any lane will do, the same one for the same number
}

// close waits until everything is written.
func (q *queue) close() {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		for _, c := range q.lane {
			close(c)
		}
	}
	q.mu.Unlock()
	q.done.Wait()
}
