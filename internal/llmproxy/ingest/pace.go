package ingest

import (
	"sync"
	"time"
)

// maxSources bounds how many sources are told apart. Sources are keys that the
// operator gave out, so there are few; the one that was quiet for longest is
// forgotten first.
const maxSources = 4096

// pace bounds events per minute and source: a bucket that refills evenly and
// holds one minute's worth.
type pace struct {
	perMinute int
	now       func() time.Time

	mu   sync.Mutex
	seen map[string]bucket
}

type bucket struct {
	left float64
	at   time.Time
}

func newPace(perMinute int, now func() time.Time) *pace {
	return &pace{perMinute: perMinute, now: now, seen: map[string]bucket{}}
}

// take takes n events' room, or none and tells how long to wait. A request of
// more than a minute's worth passes when the bucket is full and leaves a debt.
func (p *pace) take(source string, n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, full := p.now(), float64(p.perMinute)
	b, ok := p.seen[source]
	if !ok {
		p.makeRoom()
		b = bucket{full, now}
	}
	b.left = min(full, b.left+full*max(0, now.Sub(b.at).Minutes()))
	b.at = now
	need := min(float64(n), full)
	if b.left < need {
		p.seen[source] = b
		return time.Duration((need - b.left) / full * float64(time.Minute))
	}
	b.left -= float64(n)
	p.seen[source] = b
	return 0
}

func (p *pace) makeRoom() {
	if len(p.seen) < maxSources {
		return
	}
	oldest, when := "", time.Time{}
	for s, b := range p.seen {
		if when.IsZero() || b.at.Before(when) {
			oldest, when = s, b.at
		}
	}
	delete(p.seen, oldest)
}
