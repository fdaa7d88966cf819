package moderation

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

type sum = [sha256.Size]byte

// cache remembers the results of the inputs asked for last. A nil cache
// remembers nothing.
type cache struct {
	mu   sync.Mutex
	max  int
	by   map[sum]*list.Element
	used *list.List // of entry, the last used first
}

type entry struct {
	sum    sum
	result Result // never changed
}

func newCache(n int) *cache {
	return &cache{max: n, by: map[sum]*list.Element{}, used: list.New()}
}

func (c *cache) get(s sum) (Result, bool) {
	if c == nil {
		return Result{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.by[s]
	if !ok {
		return Result{}, false
	}
	c.used.MoveToFront(e)
	return e.Value.(entry).result, true // the list holds nothing else
}

func (c *cache) put(s sum, r Result) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.by[s]; ok {
		c.used.MoveToFront(e)
		return
	}
	c.by[s] = c.used.PushFront(entry{s, r})
	if c.used.Len() > c.max {
		last := c.used.Back()
		delete(c.by, last.Value.(entry).sum)
		c.used.Remove(last)
	}
}
