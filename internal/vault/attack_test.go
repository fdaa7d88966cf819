package vault

import (
	"crypto/cipher"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// attacked is a vault with rows of several ids, labels, versions and epochs, and
// an attacker who writes to its book.
type attacked struct {
	*testing.T
	v     *Vault
	m     *memory
	rows  []Item // true ones, old versions among them
	tried int
}

func attack(t *testing.T) *attacked {
	v, m, _ := made(t)
	a := &attacked{T: t, v: v, m: m}
	for _, epoch := range []int{1, 2} {
		for _, id := range []string{"a", "b"} {
			for _, l := range []label.Label{low, high} {
				id := id + l.Level.String() + string(rune('0'+epoch))
				r := put(t, v, id, l, []byte(id))
				a.rows = append(a.rows, cloned(m.items[id]))
				if _, err := v.Put(t.Context(), anybody, r, []byte(id+"!")); err != nil {
					t.Fatal(err)
				}
				a.rows = append(a.rows, cloned(m.items[id]))
			}
		}
		if _, err := v.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, it := range a.rows {
		m.items[it.ID] = it
		if _, _, err := v.Get(t.Context(), anybody, it.ID, 0); err != nil {
			t.Fatalf("the row itself does not open, so nothing would be proven: %v", err)
		}
	}
	return a
}

// refused plants a row and demands that it does not open, with the error that
// says so and without data.
func (a *attacked) refused(what string, it Item) {
	a.tried++
	a.m.items[it.ID] = it
	data, _, err := a.v.Get(a.Context(), anybody, it.ID, 0)
	if err == nil || data != nil || !fault.Is(err, fault.Corrupt) {
		a.Errorf("%s: %q, %v", what, data, err)
	}
}

func flip(b []byte, at int, by byte) []byte {
	b = slices.Clone(b)
	b[at] ^= by
	return b
}

// TestMutatedEnvelopes: 100,000 of them, 0 accepted.
func TestMutatedEnvelopes(t *testing.T) {
	a := attack(t)
	it := a.rows[1] // version 2
	for by := range 255 {
		for i := range it.Key {
			m := it
			m.Key = flip(it.Key, i, byte(by+1))
			a.refused("a byte of the key", m)
			m.Epoch, _ = epochOf(m.Key) // the column follows
			if i >= 1 && i < 5 {
				a.refused("the epoch in key and column", m)
			}
		}
		for i := range it.Body {
			m := it
			m.Body = flip(it.Body, i, byte(by+1))
			a.refused("a byte of the body", m)
		}
	}
	for n := range it.Key {
		m := it
		m.Key = it.Key[:n]
		a.refused("a shorter key", m)
		m.Key = it.Key[n+1:]
		a.refused("a key cut in front", m)
	}
	for n := range it.Body {
		m := it
		m.Body = it.Body[:n]
		a.refused("a shorter body", m)
		m.Body = it.Body[n+1:]
		a.refused("a body cut in front", m)
	}
	a.fields(it)
	a.swaps()
	rnd := rand.New(rand.NewPCG(1, 2))
	for a.tried < 100_000 {
		from, other := a.rows[rnd.IntN(len(a.rows))], a.rows[rnd.IntN(len(a.rows))]
		m := cloned(from)
		m.Key = splice(rnd, m.Key, other.Key)
		m.Body = splice(rnd, m.Body, other.Body)
		if slices.Equal(m.Key, from.Key) && slices.Equal(m.Body, from.Body) {
			continue
		}
		a.refused("spliced", m)
	}
	t.Logf("%d mutated envelopes, 0 accepted", a.tried)
}

// splice damages b in one of the ways that an attacker with another envelope has.
func splice(rnd *rand.Rand, b, other []byte) []byte {
	i := rnd.IntN(len(b))
	switch rnd.IntN(5) {
	case 0:
		return b
	case 1:
		return slices.Concat(b[:i], other[min(i, len(other)):])
	case 2:
		return slices.Concat(b, other[:rnd.IntN(len(other))])
	case 3:
		return slices.Insert(slices.Clone(b), i, byte(rnd.Uint32()))
	default:
		return flip(flip(b, i, byte(rnd.Uint32())), rnd.IntN(len(b)), byte(rnd.Uint32()))
	}
}

// fields changes everything a row says beside the envelope.
func (a *attacked) fields(it Item) {
	for i := range 64 {
		m := it
		m.Label.Compartments ^= 1 << i
		a.refused("a compartment", m)
		m = it
		m.Version ^= 1 << i
		a.refused("the version", m)
		m = it
		m.Epoch ^= 1 << (i % 32)
		a.refused("the epoch's column", m)
	}
	for l := range label.Level(255) {
		m := it
		if m.Label.Level = l; l != it.Label.Level {
			a.refused("the level", m)
		}
	}
	for i := range label.Integrity(255) {
		m := it
		if m.Label.Integrity = i; i != it.Label.Integrity {
			a.refused("the integrity", m)
		}
	}
	for _, id := range []string{it.ID + "x", it.ID[1:], "b", it.ID + " "} {
		m := it
		m.ID = id
		a.refused("the id", m)
	}
}

// swaps moves envelopes and their halves to every other row, and replays old
// versions.
func (a *attacked) swaps() {
	for i, to := range a.rows {
		for j, from := range a.rows {
			if i == j {
				continue
			}
			m := to
			m.Epoch, m.Key, m.Body = from.Epoch, from.Key, from.Body
			a.refused("an envelope of another row", m)
			m.Body = to.Body
			a.refused("a key of another row", m)
			m = to
			m.Body = from.Body
			a.refused("a body of another row", m)
		}
	}
}

// TestAnotherRow: a book whose index was altered gives a true row, of another id.
func TestAnotherRow(t *testing.T) {
	v, m, _ := made(t)
	put(t, v, "a", low, []byte("a"))
	put(t, v, "b", low, []byte("b"))
	m.items["a"] = m.items["b"]
	data, _, err := v.Get(t.Context(), anybody, "a", 0)
	if data != nil || !fault.Is(err, fault.Corrupt) {
		t.Errorf("%q, %v", data, err)
	}
}

// TestOtherInstance: the same rows, the same keys, another instance.
func TestOtherInstance(t *testing.T) {
	a := attack(t)
	root := NewRoot()
	if err := a.v.Rekey(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	for _, it := range a.rows {
		key := new(recordKey)
		id := KeyID{Level: it.Label.Level, Compartments: it.Label.Compartments, Epoch: it.Epoch}
		err := a.v.ring.with(t.Context(), id, false, func(kek cipher.AEAD) error {
			if err := unwrapKey(key, kek, "inst-2", it.SealedRef, it.Key); !errors.Is(err, errEnvelope) || *key != (recordKey{}) {
				t.Errorf("a key opened in another instance: %v", err)
			}
			return unwrapKey(key, kek, instance, it.SealedRef, it.Key)
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openBody(key, "inst-2", it.SealedRef, it.Body); !errors.Is(err, errEnvelope) {
			t.Errorf("a body opened in another instance: %v", err)
		}
		if _, err := openBody(key, instance, it.SealedRef, it.Body); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPlantedKeys: rows of KEKs moved, altered and brought back from before.
func TestPlantedKeys(t *testing.T) {
	v, m, root := made(t)
	put(t, v, "a", low, plainText)
	put(t, v, "b", high, plainText)
	keyLow := KeyID{Level: low.Level, Compartments: low.Compartments, Epoch: 1}
	keyHigh := KeyID{Level: high.Level, Compartments: high.Compartments, Epoch: 1}
	saved := maps.Clone(m.keys)
	try := func(what string, change func(k *Key)) {
		t.Helper()
		k := saved[keyHigh]
		k.Wrapped = slices.Clone(k.Wrapped)
		change(&k)
		m.keys[keyHigh] = k
		w, err := Open(t.Context(), Config{Book: m, Instance: instance, Root: root, Check: yes})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, _, err := w.Get(t.Context(), anybody, "b", 0); !fault.Is(err, fault.Corrupt) && !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range saved[keyHigh].Wrapped {
		try("an altered KEK", func(k *Key) { k.Wrapped[i] ^= 1 })
	}
	try("a lower KEK in its place", func(k *Key) { k.Wrapped = saved[keyLow].Wrapped })
	try("a lower KEK's whole row", func(k *Key) { *k = saved[keyLow] })
	try("a longer KEK", func(k *Key) { k.Wrapped = append(k.Wrapped, 0) })
	try("a shorter KEK", func(k *Key) { k.Wrapped = k.Wrapped[1:] })
	try("an older generation", func(k *Key) { k.Generation-- })
	try("a newer generation", func(k *Key) { k.Generation++ })
	m.keys = maps.Clone(saved)
	// The row of an epoch that was retired comes back.
	old := cloned(m.items["a"])
	if _, err := v.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := v.Rewrap(t.Context(), "", 10); err != nil || got.Done != 2 {
		t.Fatal(got, err)
	}
	if _, err := v.Retire(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	m.keys[keyLow], m.items["a"] = saved[keyLow], old
	for _, fresh := range []bool{false, true} {
		w := v
		if fresh {
			var err error
			if w, err = Open(t.Context(), Config{Book: m, Instance: instance, Root: root, Check: yes}); err != nil {
				t.Fatal(err)
			}
			defer w.Close()
		}
		_, _, err := w.Get(t.Context(), anybody, "a", 0)
		wantKind(t, "an item of a retired epoch", err, fault.Corrupt)
	}
}

// TestPlantedState: the state cannot be written without the root key, and does
// not go back beneath a running vault.
func TestPlantedState(t *testing.T) {
	v, m, root := made(t)
	first := m.state
	if _, err := v.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	good := m.state
	open := func() error {
		w, err := Open(t.Context(), Config{Book: m, Instance: instance, Root: root, Check: yes})
		if err == nil {
			w.Close()
		}
		return err
	}
	for name, change := range map[string]func(*State){
		"epoch":      func(s *State) { s.Epoch++ },
		"oldest":     func(s *State) { s.Oldest++ },
		"generation": func(s *State) { s.Generation++ },
		"seal":       func(s *State) { s.Seal = string(flip([]byte(s.Seal), 31, 1)) },
		"no seal":    func(s *State) { s.Seal = "" },
		"old seal":   func(s *State) { s.Seal = first.Seal },
	} {
		m.state = good
		change(&m.state)
		wantKind(t, name, open(), fault.Denied)
		if _, err := v.State(t.Context()); err == nil {
			t.Errorf("%s: a running vault takes it", name)
		}
	}
	m.state = first
	_, err := v.State(t.Context())
	wantKind(t, "an older state", err, fault.Corrupt)
	m.state = State{Generation: 1, Epoch: 1, Oldest: 2}
	m.state.Seal = v.ring.root.seal(instance, m.state)
	wantKind(t, "a state that contradicts itself", open(), fault.Corrupt)
	m.state = good
	if err := open(); err != nil {
		t.Error(err)
	}
}

// TestBareCipherFalls shows what the binding is for: with the cipher and a key
// per level alone, a row that was relabelled, moved or replayed opens.
func TestBareCipherFalls(t *testing.T) {
	aead, err := chacha20poly1305.NewX(make([]byte, keySize))
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, nonceSize)
	row := Item{SealedRef: Ref{ID: "pay", Label: low, Version: 1}, Body: aead.Seal(nil, nonce, []byte("to alice"), nil)}
	row.SealedRef = Ref{ID: "other", Label: sideways, Version: 9}
	if got, err := aead.Open(nil, nonce, row.Body, nil); err != nil || string(got) != "to alice" {
		t.Fatalf("%q, %v", got, err)
	}
}
