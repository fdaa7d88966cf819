package llmproxy

import (
	"sync"
	"time"

	"sallyport/internal/gate"
)

// maxHanded bounds the calls whose results are awaited or known.
const maxHanded = 1 << 16

// handed remembers which tool calls a client was given, until their results come
// back, and which results were seen. What is forgotten before its result came is
// lost.
type handed struct {
	ttl  time.Duration
	now  func() time.Time
	lost func(ps []*gate.Permit, because string)
	hash hasher

	mu     sync.Mutex
	calls  *recent[sum, *given]
	due    []deadline // in order
	timer  *time.Timer
	closed bool
}

// given is what was handed out under one id, or, where the form has none, under
// one name.
type given struct {
	open []waiting // oldest first
}

type waiting struct {
	permits []*gate.Permit
	since   time.Time
}

type deadline struct {
	at  time.Time
	key sum
}

func newHanded(ttl time.Duration, now func() time.Time, lost func([]*gate.Permit, string)) *handed {
	return &handed{ttl: ttl, now: now, lost: lost, hash: newHasher(), calls: newRecent[sum, *given](maxHanded)}
}

// key finds a call again: by its id within its context, or by its name.
func (h *handed) key(context, id, name string) sum {
	if id == "" {
		return h.hash.text(context + "\x00name\x00" + name)
	}
	return h.hash.text(context + "\x00id\x00" + id)
}

// put remembers permits under a call's id.
func (h *handed) put(context, id, name string, ps []*gate.Permit) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		h.lost(ps, becauseEnd)
		return
	}
	k, at := h.key(context, id, name), h.now()
	g, ok := h.calls.get(k)
	var old *given
	if !ok {
		g = &given{}
		old, _ = h.calls.put(k, g)
	}
	g.open = append(g.open, waiting{ps, at})
	h.due = append(h.due, deadline{at.Add(h.ttl), k})
	if h.timer == nil {
		h.timer = time.AfterFunc(h.ttl, h.expire)
	}
	h.mu.Unlock()
	h.forget(old)
}

// Why nobody will know how a call ended.
const (
	becauseLate = "no result came in time"
	becauseFull = "more results are awaited than are remembered"
	becauseEnd  = "the proxy ended before the result came"
)

// forget gives up what waits in an entry that there was no more room for.
func (h *handed) forget(g *given) {
	if g == nil {
		return
	}
	for _, w := range g.open {
		h.lost(w.permits, becauseFull)
	}
}

// expire gives up what has waited too long.
func (h *handed) expire() {
	now := h.now()
	var late [][]*gate.Permit
	h.mu.Lock()
	for len(h.due) > 0 && !h.due[0].at.After(now) {
		k := h.due[0].key
		h.due = h.due[1:]
		g, ok := h.calls.items[k]
		if !ok {
			continue
		}
		v := g.Value.(*pair[sum, *given]).value
		for len(v.open) > 0 && !v.open[0].since.Add(h.ttl).After(now) {
			late = append(late, v.open[0].permits)
			v.open = v.open[1:]
		}
	}
	h.timer = nil
	if len(h.due) > 0 && !h.closed {
		h.timer = time.AfterFunc(max(h.due[0].at.Sub(now), time.Second), h.expire)
	}
	h.mu.Unlock()
	for _, ps := range late {
		h.lost(ps, becauseLate)
	}
}

// result takes the permits of a call whose result was seen. known is false the
// first time a result is seen that nobody was given a call for. Without an id,
// the oldest call of that name has ended.
func (h *handed) result(context, id, name string) (ps []*gate.Permit, known bool) {
	h.mu.Lock()
	k := h.key(context, id, name)
	g, ok := h.calls.get(k)
	if !ok {
		old, _ := h.calls.put(k, &given{})
		h.mu.Unlock()
		h.forget(old)
		return nil, false
	}
	defer h.mu.Unlock()
	if id != "" { // one id, one result: whatever was given under it has ended
		for _, w := range g.open {
			ps = append(ps, w.permits...)
		}
		g.open = nil
	} else if len(g.open) > 0 {
		ps, g.open = g.open[0].permits, g.open[1:]
	}
	return ps, true
}

// known tells whether a call's id was seen, and remembers it.
func (h *handed) known(context, id string) bool {
	h.mu.Lock()
	k := h.key(context, id, "")
	_, ok := h.calls.get(k)
	var old *given
	if !ok {
		old, _ = h.calls.put(k, &given{})
	}
	h.mu.Unlock()
	h.forget(old)
	return ok
}

// close gives up everything that waits.
func (h *handed) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.timer != nil {
		h.timer.Stop()
	}
	for {
		g, ok := h.calls.oldest()
		if !ok {
			return
		}
		for _, w := range g.open {
			h.lost(w.permits, becauseEnd)
		}
	}
}
