package app

import (
	"sync"

	"sallyport/internal/record"
)

// keysKnown are the API keys by id, for whoever has to know what one may spend.
type keysKnown struct {
	mu   sync.RWMutex
	byID map[string]record.APIKey
}

func (k *keysKnown) set(keys []record.APIKey) {
	byID := make(map[string]record.APIKey, len(keys))
	for _, key := range keys {
		byID[key.ID] = key
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.byID = byID
}

func (k *keysKnown) get(id string) (record.APIKey, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	key, ok := k.byID[id]
	return key, ok
}
