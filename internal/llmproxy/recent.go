package llmproxy

import (
	"container/list"
	"hash/maphash"
	"sync"
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

// seen remembers texts, the last ones, by their sums.
type seen struct {
	hash hasher
	mu   sync.Mutex
	had  *recent[sum, struct{}]
}

func newSeen(most int) *seen {
	return &seen{hash: newHasher(), had: newRecent[sum, struct{}](most)}
}

// add remembers s and tells whether it was known already.
func (s *seen) add(text string) bool {
	k := s.hash.text(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.had.get(k); ok {
		return true
	}
	s.had.put(k, struct{}{})
	return false
}
