package llmproxy

import (
	"sync"
	"time"
)

// maxMeters bounds whose rates are remembered; one that was not used for
// longest is full again anyway.
const maxMeters = 4096

// maxOwed bounds the unanswered requests that one account may repeat.
const maxOwed = 64

// limits holds how fast each account may go.
type limits struct {
	mu     sync.Mutex
	meters *recent[string, *meter]
}

func newLimits() *limits { return &limits{meters: newRecent[string, *meter](maxMeters)} }

// meter is one account's pace, in requests and tokens.
type meter struct {
	requests, tokens bucket
	owed             *recent[[32]byte, time.Time] // requests that got no answer
}

// bucket holds what may still be used; it fills in a minute.
type bucket struct {
	left float64
	last time.Time
}

// maxDebt is how many minutes' worth a bucket can owe: figures of an upstream
// that lies do not shut a caller out for long.
const maxDebt = 10

// refill adds what has come since, at most per. It starts full.
func (b *bucket) refill(per int, now time.Time) {
	most := float64(per)
	b.left = max(b.left, -maxDebt*most)
	if b.last.IsZero() {
		b.left, b.last = most, now
	}
	if d := now.Sub(b.last); d > 0 {
		b.left = min(most, b.left+most*d.Minutes())
		b.last = now
	}
}

// wait gives how long it takes until need is there.
func (b *bucket) wait(per int, need float64) time.Duration {
	if b.left >= need {
		return 0
	}
	return time.Duration((need - b.left) / float64(per) * float64(time.Minute))
}

// owedFor is how long an unanswered request may be repeated without counting.
const owedFor = 10 * time.Minute

// admit takes one request of about that many tokens. It gives zero, or how long
// to wait and which limit said so. A repetition of a request that got no answer
// does not count as a further request.
func (l *limits) admit(who Caller, digest func() [32]byte, repeated bool, tokens int64, now time.Time) (time.Duration, string) {
	if who.RequestsPerMinute <= 0 && who.TokensPerMinute <= 0 {
		return 0, ""
	}
	body := digest()
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.meter(who)
	free := false
	if repeated {
		at, ok := m.owed.get(body)
		free = ok && now.Sub(at) < owedFor
	}
	if who.RequestsPerMinute > 0 {
		m.requests.refill(who.RequestsPerMinute, now)
		if w := m.requests.wait(who.RequestsPerMinute, 1); w > 0 && !free {
			return w, "rate.requests"
		}
	}
	if who.TokensPerMinute > 0 {
		m.tokens.refill(who.TokensPerMinute, now)
		// More than a whole minute's worth passes when the bucket is full.
		need := min(float64(tokens), float64(who.TokensPerMinute))
		if w := m.tokens.wait(who.TokensPerMinute, need); w > 0 {
			return w, "rate.tokens"
		}
		m.tokens.left -= float64(tokens)
	}
	m.owed.drop(body)
	if !free {
		m.requests.left--
	}
	return 0, ""
}

func (l *limits) meter(who Caller) *meter {
	m, ok := l.meters.get(who.account())
	if !ok {
		m = &meter{owed: newRecent[[32]byte, time.Time](maxOwed)}
		l.meters.put(who.account(), m)
	}
	return m
}

// used corrects the tokens of an admitted request by what it really used.
func (l *limits) used(who Caller, more int64) {
	if who.TokensPerMinute <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.meter(who).tokens.left -= float64(more)
}

// unanswered notes that a request got no answer, so that its repetition is free.
func (l *limits) unanswered(who Caller, digest func() [32]byte, now time.Time) {
	if who.RequestsPerMinute <= 0 {
		return
	}
	body := digest()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.meter(who).owed.put(body, now)
}

// pace bounds how many refusals of unknown requests are written down: each costs
// a leaf, and whoever sends them pays nothing. What is not written is counted.
type pace struct {
	mu     sync.Mutex
	b      bucket
	missed int
}

// noted is how many refusals are written down in a minute.
const noted = 120

func newPace() *pace { return &pace{} }

// now tells whether one more may be written, and how many were not before it.
func (p *pace) now(at time.Time) (ok bool, missed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.b.refill(noted, at)
	if p.b.left < 1 {
		p.missed++
		return false, 0
	}
	p.b.left--
	missed, p.missed = p.missed, 0
	return true, missed
}

// room bounds the memory of requests; it never waits.
type room struct {
	mu   sync.Mutex
	left int64
}

func newRoom(most int64) *room { return &room{left: most} }

func (r *room) take(n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > r.left {
		return false
	}
	r.left -= n
	return true
}

func (r *room) give(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left += n
}
