package llmproxy

import (
	"container/list"
	"hash/maphash"
	"sync"

	"sallyport/internal/record"
)

// sum identifies bytes within this process: 128 bits under two keys that nobody
// outside knows, and that do not outlive the process.
type sum [2]uint64

// hasher makes sums.
type hasher struct{ a, b maphash.Seed }

func newHasher() hasher { return hasher{maphash.MakeSeed(), maphash.MakeSeed()} }

func (h hasher) bytes(b []byte) sum { return sum{maphash.Bytes(h.a, b), maphash.Bytes(h.b, b)} }
func (h hasher) text(s string) sum  { return sum{maphash.String(h.a, s), maphash.String(h.b, s)} }

// recent is a map that forgets what was not used for longest. It is not safe for
// concurrent use.
type recent[K comparable, V any] struct {
	most  int
	items map[K]*list.Element
	order *list.List // front = used last
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](most int) *recent[K, V] {
	return &recent[K, V]{most: most, items: map[K]*list.Element{}, order: list.New()}
}

// get gives the value of a key, which counts as a use.
func (r *recent[K, V]) get(k K) (V, bool) {
	e, ok := r.items[k]
	if !ok {
		var none V
		return none, false
	}
	r.order.MoveToFront(e)
	return e.Value.(*pair[K, V]).value, true
}

// put sets the value of a key and gives the one that had to be forgotten for it.
func (r *recent[K, V]) put(k K, v V) (dropped V, full bool) {
	if e, ok := r.items[k]; ok {
		e.Value.(*pair[K, V]).value = v
		r.order.MoveToFront(e)
		return dropped, false
	}
	r.items[k] = r.order.PushFront(&pair[K, V]{k, v})
	if len(r.items) <= r.most {
		return dropped, false
	}
	return r.oldest()
}

// oldest forgets what was not used for longest.
func (r *recent[K, V]) oldest() (V, bool) {
	e := r.order.Back()
	if e == nil {
		var none V
		return none, false
	}
	p := r.order.Remove(e).(*pair[K, V])
	delete(r.items, p.key)
	return p.value, true
}

// drop forgets a key.
func (r *recent[K, V]) drop(k K) {
	if e, ok := r.items[k]; ok {
		r.order.Remove(e)
		delete(r.items, k)
	}
}

// paid is what a reply was billed at.
type paid struct {
	target string
	cost   record.Micros
	times  int
}

// maxRepeats is how often a client may repeat a request for nothing: there are
// upstreams that give every reply the same id.
const maxRepeats = 3

// bills remembers what replies were billed at, the last ones.
type bills struct {
	hash hasher
	mu   sync.Mutex
	had  *recent[sum, paid]
}

func newBills(most int) *bills { return &bills{hash: newHasher(), had: newRecent[sum, paid](most)} }

func (b *bills) put(id string, p paid) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.had.put(b.hash.text(id), p)
}

// repeated tells that a reply at that price was billed before, at most maxRepeats
// times.
func (b *bills) repeated(id string, cost record.Micros) bool {
	k := b.hash.text(id)
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.had.get(k)
	if !ok {
		b.had.put(k, paid{cost: cost})
		return false
	}
	p.times++
	b.had.put(k, p)
	return cost <= p.cost && p.times <= maxRepeats
}

// rest bills a reply at its price, of what was billed before only what is
// missing; known tells that nothing is. The first target counts: a request that
// only fetches a reply names none.
func (b *bills) rest(id, target string, price func(target string) record.Micros) (due record.Micros, known bool) {
	k := b.hash.text(id)
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.had.get(k)
	if !ok {
		p.target = target
	}
	if due = price(p.target) - p.cost; due <= 0 && ok {
		return 0, true
	}
	p.cost += due
	b.had.put(k, p)
	return due, false
}

// owners remembers whose stored replies are, the last ones.
type owners struct {
	hash hasher
	mu   sync.Mutex
	of   *recent[sum, string]
}

func newOwners(most int) *owners { return &owners{hash: newHasher(), of: newRecent[sum, string](most)} }

// put notes an owner; the first one stays, whatever ids an upstream repeats.
func (o *owners) put(id, account string) {
	k := o.hash.text(id)
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.of.get(k); !ok {
		o.of.put(k, account)
	}
}

// foreign tells that a reply is known to be somebody else's.
func (o *owners) foreign(id, account string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	of, ok := o.of.get(o.hash.text(id))
	return ok && of != account
}
