package app

import (
	"context"
	"sync"
	"time"

	"sallyport/internal/fault"
)

// Every action leaves lines in the log, refused ones too, so a program that
// connects without end would fill the disk of the state directory. These bound
// what one session can have written: bursts as builds and installations have
// them pass at once, then it goes on at the steady rate.
const (
	actionBurst, actionsPerSecond   = 3000, 50 // connections, requests and uses of secrets
	refusalBurst, refusalsPerSecond = 300, 2   // of these, refused
	noteBurst, notesPerSecond       = 300, 2   // refusals that never became an action
	askBurst, asksPerSecond         = 200, .05 // questions for people
)

// leastFree is how many bytes of the state directory's file system an agent's
// connections leave alone.
const leastFree = 256 << 20

// pace lets a burst through and then a steady rate. It is safe for concurrent
// use.
type pace struct {
	mu    sync.Mutex
	rate  float64 // a second
	burst float64
	left  float64 // negative: somebody waits
	at    time.Time
}

func newPace(burst, rate float64) *pace {
	return &pace{rate: rate, burst: burst, left: burst, at: time.Now()}
}

func (p *pace) refill() {
	now := time.Now()
	p.left = min(p.burst, p.left+now.Sub(p.at).Seconds()*p.rate)
	p.at = now
}

// now takes one if there is one.
func (p *pace) now() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refill()
	if p.left < 1 {
		return false
	}
	p.left--
	return true
}

// wait takes one when there is one, or gives ctx's error.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	p.refill()
	p.left--
	short := -p.left
	p.mu.Unlock()
	if short <= 0 {
		return nil
	}
	t := time.NewTimer(time.Duration(short / p.rate * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		p.mu.Lock()
		p.left++
		p.mu.Unlock()
		return fault.Wrap("app.pace", fault.Canceled, context.Cause(ctx))
	}
}

// room tells whether the file system of the state directory has space for what
// will be written down. It looks at most once a second.
type room struct {
	dir  string
	free func(dir string) (uint64, error)

	mu   sync.Mutex
	at   time.Time
	full error
}

func newRoom(dir string) *room { return &room{dir: dir, free: freeOf} }

// check is nil while there is room.
func (r *room) check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.at.IsZero() || now.Sub(r.at) >= time.Second {
		free, err := r.free(r.dir)
		r.at, r.full = now, nil
		switch {
		case err != nil:
			r.full = fault.Wrap("app.room", fault.Unavailable, err)
		case free < leastFree:
			r.full = fault.New("app.room", fault.Budget, "the disk of the state directory has less than %d MiB left, and what is not written down does not pass; free some space", leastFree>>20)
		}
	}
	return r.full
}
