package vault

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"sallyport/internal/fault"
)

// memory is a Book without a disk. It keeps the contract to the letter, since
// the tests of the vault lean on it.
type memory struct {
	mu    sync.Mutex
	state State
	keys  map[KeyID]Key
	items map[string]Item
	used  map[string]bool // ids that were erased

	hook func(method string) error // called first, without the lock; may fail
}

func newMemory() *memory {
	return &memory{keys: map[KeyID]Key{}, items: map[string]Item{}, used: map[string]bool{}}
}

func said(kind fault.Kind) error { return fault.New("memory", kind, "the book says %s", kind) }

func (m *memory) enter(method string) error {
	if m.hook != nil {
		if err := m.hook(method); err != nil {
			return err
		}
	}
	m.mu.Lock()
	return nil
}

// cloned copies the bytes too, as rows that were read from a disk do.
func cloned(it Item) Item {
	it.Key, it.Body = slices.Clone(it.Key), slices.Clone(it.Body)
	return it
}

func (m *memory) State(context.Context) (State, error) {
	if err := m.enter("State"); err != nil {
		return State{}, err
	}
	defer m.mu.Unlock()
	if m.state == (State{}) {
		return State{}, said(fault.NotFound)
	}
	return m.state, nil
}

func (m *memory) SetState(_ context.Context, prior, next State, keys []Key) error {
	if err := m.enter("SetState"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if m.state != prior || prior == (State{}) && len(m.keys)+len(m.items) > 0 {
		return said(fault.Conflict)
	}
	for _, it := range m.items {
		if it.Epoch < next.Oldest {
			return said(fault.Conflict)
		}
	}
	if keys != nil {
		replaced := map[KeyID]Key{}
		for _, k := range keys {
			if _, ok := m.keys[k.SealedKeyID]; !ok {
				return said(fault.Conflict)
			}
			replaced[k.SealedKeyID] = k
		}
		if len(replaced) != len(m.keys) {
			return said(fault.Conflict)
		}
		m.keys = replaced
	}
	maps.DeleteFunc(m.keys, func(id KeyID, _ Key) bool { return id.Epoch < next.Oldest })
	m.state = next
	return nil
}

func (m *memory) Key(_ context.Context, id KeyID) (Key, error) {
	if err := m.enter("Key"); err != nil {
		return Key{}, err
	}
	defer m.mu.Unlock()
	if k, ok := m.keys[id]; ok {
		return k, nil
	}
	return Key{}, said(fault.NotFound)
}

func (m *memory) Keys(context.Context) ([]Key, error) {
	if err := m.enter("Keys"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.keys)), nil
}

func (m *memory) AddKey(_ context.Context, k Key) error {
	if err := m.enter("AddKey"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if _, ok := m.keys[k.SealedKeyID]; ok || k.Generation != m.state.Generation || k.Epoch != m.state.Epoch {
		return said(fault.Conflict)
	}
	m.keys[k.SealedKeyID] = k
	return nil
}

func (m *memory) Item(_ context.Context, id string) (Item, error) {
	if err := m.enter("Item"); err != nil {
		return Item{}, err
	}
	defer m.mu.Unlock()
	if it, ok := m.items[id]; ok {
		return cloned(it), nil
	}
	return Item{}, said(fault.NotFound)
}

// sorted gives the items that keep admits, in the order of the contract.
func (m *memory) sorted(after string, limit int, keep func(Item) bool) []Item {
	var out []Item
	for _, it := range m.items {
		if it.ID > after && keep(it) {
			out = append(out, cloned(it))
		}
	}
	slices.SortFunc(out, func(a, b Item) int { return strings.Compare(a.ID, b.ID) })
	return out[:min(limit, len(out))]
}

func (m *memory) Items(_ context.Context, after string, limit int) ([]Ref, error) {
	if err := m.enter("Items"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var out []Ref
	for _, it := range m.sorted(after, limit, func(Item) bool { return true }) {
		out = append(out, it.SealedRef)
	}
	return out, nil
}

func (m *memory) PutItem(_ context.Context, it Item) error {
	if err := m.enter("PutItem"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	old := m.items[it.ID]
	if it.Epoch != m.state.Epoch || it.Version != old.Version+1 || m.used[it.ID] {
		return said(fault.Conflict)
	}
	it.Held = old.Held
	m.items[it.ID] = cloned(it)
	return nil
}

func (m *memory) Behind(_ context.Context, epoch uint32, after string, limit int) ([]Item, error) {
	if err := m.enter("Behind"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	out := m.sorted(after, limit, func(it Item) bool { return it.Epoch < epoch })
	for i := range out {
		out[i].Body = nil
	}
	return out, nil
}

func (m *memory) Rewrap(_ context.Context, id string, version uint64, oldEpoch, newEpoch uint32, key []byte) error {
	if err := m.enter("Rewrap"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	it, ok := m.items[id]
	if !ok || it.Version != version || it.Epoch != oldEpoch || newEpoch != m.state.Epoch {
		return said(fault.Conflict)
	}
	it.Epoch, it.Key = newEpoch, slices.Clone(key)
	m.items[id] = it
	return nil
}

func (m *memory) Erase(_ context.Context, id string, version uint64) error {
	if err := m.enter("Erase"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	it, ok := m.items[id]
	switch {
	case !ok:
		return said(fault.NotFound)
	case it.Held:
		return said(fault.Denied)
	case it.Version != version:
		return said(fault.Conflict)
	}
	delete(m.items, id)
	m.used[id] = true
	return nil
}

func (m *memory) Hold(_ context.Context, id string, held bool) error {
	if err := m.enter("Hold"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	it, ok := m.items[id]
	if !ok {
		return said(fault.NotFound)
	}
	it.Held = held
	m.items[id] = it
	return nil
}

var _ Book = (*memory)(nil)
