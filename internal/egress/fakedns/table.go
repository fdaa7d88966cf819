package fakedns

import (
	"encoding/binary"
	"net/netip"
	"sync"
)

// MaxNames bounds the names of one sandbox.
const MaxNames = 1 << 16

var (
	// Range4 holds the fake IPv4 addresses; the low 17 bits number the names.
	Range4 = netip.MustParsePrefix("198.18.0.0/15")
	// Range6 holds the fake IPv6 addresses; the low 32 bits number the names.
	Range6 = netip.MustParsePrefix("fd00:5a11::/96")
)

// table numbers names from 1; a number stands for one address of each family.
type table struct {
	mu      sync.RWMutex
	numbers map[string]uint32
	names   []string
	limit   int
}

func newTable(limit int) *table {
	return &table{numbers: make(map[string]uint32), limit: limit}
}

// number gives a name its number, the same for ever; false when the table is
// full.
func (t *table) number(name string) (uint32, bool) {
	t.mu.RLock()
	n, ok := t.numbers[name]
	t.mu.RUnlock()
	if ok {
		return n, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, ok = t.numbers[name]; ok {
		return n, true
	}
	if len(t.names) >= t.limit {
		return 0, false
	}
	t.names = append(t.names, name)
	n = uint32(len(t.names)) //nolint:gosec // bounded by limit
	t.numbers[name] = n
	return n, true
}

// name is the inverse of number over both ranges.
func (t *table) name(a netip.Addr) (string, bool) {
	var n uint32
	switch a = a.Unmap(); {
	case Range4.Contains(a):
		b, base := a.As4(), Range4.Addr().As4()
		n = binary.BigEndian.Uint32(b[:]) - binary.BigEndian.Uint32(base[:])
	case Range6.Contains(a):
		b := a.As16()
		n = binary.BigEndian.Uint32(b[12:])
	default:
		return "", false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if n == 0 || uint64(n) > uint64(len(t.names)) {
		return "", false
	}
	return t.names[n-1], true
}

func address4(n uint32) [4]byte {
	b := Range4.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
	return b
}

func address6(n uint32) [16]byte {
	b := Range6.Addr().As16()
	binary.BigEndian.PutUint32(b[12:], n)
	return b
}
