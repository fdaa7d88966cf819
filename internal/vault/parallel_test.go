package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"sallyport/internal/fault"
)

// TestParallel lets two processes' vaults work on one book while epochs come and
// go beneath them. No item may be lost, and nothing may be called corrupt.
func TestParallel(t *testing.T) {
	v, m, root := made(t)
	w, err := Open(t.Context(), Config{Book: m, Instance: instance, Root: root, Check: yes})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const rounds = 60
	var wg sync.WaitGroup
	for n, x := range []*Vault{v, w, v, w} {
		wg.Go(func() {
			id := fmt.Sprint("item", n)
			r, err := x.Put(t.Context(), anybody, Ref{ID: id, Label: labels[n]}, []byte(id))
			for i := 0; i < rounds && err == nil; i++ {
				switch i % 3 {
				case 0:
					r, err = x.Put(t.Context(), anybody, r, []byte(id))
				case 1:
					r, err = x.Relabel(t.Context(), anybody, id, r.Version, labels[(n+i)%len(labels)])
				default:
					var data []byte
					if data, _, err = x.Get(t.Context(), anybody, id, r.Version); err == nil && string(data) != id {
						err = fmt.Errorf("got %q", data)
					}
				}
				if _, lerr := x.List(t.Context(), anybody, "", 10); lerr != nil {
					err = lerr
				}
			}
			if err != nil {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	for _, x := range []*Vault{v, w} {
		wg.Go(func() {
			for range rounds {
				st, err := x.Rotate(t.Context())
				if err == nil {
					var done Rewrapped
					if done, err = x.Rewrap(t.Context(), "", 10); len(done.Failed) > 0 {
						t.Errorf("called corrupt: %v", done.Failed)
					}
				}
				if err == nil {
					_, err = x.Retire(t.Context(), st.Epoch)
				}
				if err != nil && !fault.Is(err, fault.Conflict) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if st, err := v.State(t.Context()); err != nil || st.Oldest < 2 {
		t.Errorf("nothing was retired meanwhile, so the test shows nothing: %+v, %v", st, err)
	}
}

// TestCloseBesideUse: closing waits for uses, and whoever comes later is told.
func TestCloseBesideUse(t *testing.T) {
	v, _, _ := made(t)
	put(t, v, "a", low, plainText)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				data, _, err := v.Get(t.Context(), anybody, "a", 0)
				if err == nil && string(data) == string(plainText) {
					continue
				}
				wantKind(t, "after closing", err, fault.Unavailable)
				return
			}
		})
	}
	v.Close()
	v.Close()
	wg.Wait()
	for what, err := range map[string]error{
		"rotate": second(v.Rotate(t.Context())), "retire": second(v.Retire(t.Context(), 1)), "rekey": v.Rekey(t.Context(), NewRoot()),
		"rewrap": second(v.Rewrap(t.Context(), "", 1)), "put": second(v.Put(t.Context(), anybody, Ref{ID: "b", Label: low}, nil)),
	} {
		wantKind(t, what, err, fault.Unavailable)
	}
}

func second[T any](_ T, err error) error { return err }

// between runs f once, when the book is about to be asked for method.
func (m *memory) between(method string, f func()) {
	m.hook = func(name string) error {
		if name == method {
			m.hook = nil
			f()
		}
		return nil
	}
}

func renew(t *testing.T, v *Vault) {
	t.Helper()
	st, err := v.Rotate(t.Context())
	if err == nil {
		_, err = v.Rewrap(t.Context(), "", 100)
	}
	if err == nil {
		_, err = v.Retire(t.Context(), st.Epoch)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestMovedKeys puts another process' rotation between the steps of ours.
func TestMovedKeys(t *testing.T) {
	for _, method := range []string{"Item", "Key", "AddKey", "PutItem"} {
		m, root := newMemory(), NewRoot()
		other := create(t, m, root, yes)
		put(t, other, "a", low, plainText)
		v, err := Open(t.Context(), Config{Book: m, Instance: instance, Root: root, Check: yes})
		if err != nil {
			t.Fatal(err)
		}
		m.between(method, func() { renew(t, other) })
		if _, err := v.Put(t.Context(), anybody, Ref{ID: "b", Label: high}, plainText); err != nil {
			t.Errorf("put, rotation before %s: %v", method, err)
		}
		m.between(method, func() { renew(t, other) })
		if got, _, err := v.Get(t.Context(), anybody, "a", 0); err != nil || string(got) != string(plainText) {
			t.Errorf("get, rotation before %s: %q, %v", method, got, err)
		}
		m.hook = nil
		if _, err := other.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.between("Key", func() { renew(t, other) })
		if got, err := v.Rewrap(t.Context(), "", 10); err != nil || len(got.Failed) > 0 {
			t.Errorf("rewrap, rotation meanwhile: %v, %v", got, err)
		}
		m.hook = nil
		if err := other.Rekey(t.Context(), NewRoot()); err != nil {
			t.Fatal(err)
		}
		_, _, err = v.Get(t.Context(), anybody, "a", 0)
		wantKind(t, "after another process changed the root key", err, fault.Conflict)
		_, err = v.Put(t.Context(), anybody, Ref{ID: "c", Label: low}, nil)
		wantKind(t, "after another process changed the root key", err, fault.Conflict)
		v.Close()
	}
}

// TestNewKeyBesideRekey: a KEK that is made while the root key changes is not
// lost under the old one.
func TestNewKeyBesideRekey(t *testing.T) {
	m, root := newMemory(), NewRoot()
	other := create(t, m, root, yes)
	put(t, other, "a", low, plainText)
	v, err := Open(t.Context(), Config{Book: m, Instance: instance, Root: root, Check: yes})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	next := NewRoot()
	m.between("SetState", func() { put(t, v, "b", high, plainText) })
	wantKind(t, "rekeying past a new KEK", other.Rekey(t.Context(), next), fault.Conflict)
	m.between("AddKey", func() {
		if err := other.Rekey(t.Context(), next); err != nil {
			t.Error(err)
		}
	})
	_, err = v.Put(t.Context(), anybody, Ref{ID: "c", Label: sideways}, plainText)
	wantKind(t, "a KEK under the old root key", err, fault.Conflict)
	for _, id := range []string{"a", "b"} {
		if _, _, err := other.Get(t.Context(), anybody, id, 0); err != nil {
			t.Error(err)
		}
	}
}

// TestRewrapTellsWhatFails: what does not open is named, and does not keep the
// rest from being wrapped; it keeps its epoch from being retired until erased.
func TestRewrapTellsWhatFails(t *testing.T) {
	v, m, _ := made(t)
	for _, id := range []string{"a", "b", "c"} {
		put(t, v, id, low, plainText)
	}
	it := m.items["b"]
	it.Key = flip(it.Key, 40, 1)
	m.items["b"] = it
	if _, err := v.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := v.Rewrap(t.Context(), "", 2)
	if err != nil || got.Done != 1 || len(got.Failed) != 1 || got.Failed[0] != "b" {
		t.Fatal(got, err)
	}
	if got, err = v.Rewrap(t.Context(), "b", 2); err != nil || got.Done != 1 || got.Failed != nil {
		t.Fatal(got, err)
	}
	_, err = v.Retire(t.Context(), 2)
	wantKind(t, "retiring what b needs", err, fault.Conflict)
	if err := v.Erase(t.Context(), anybody, "b", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Retire(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	_, err = v.Rewrap(t.Context(), "", 0)
	wantKind(t, "no limit", err, fault.Usage)
}

// TestBookFails: whatever the book cannot do is an error of ours, never data.
func TestBookFails(t *testing.T) {
	m, root := newMemory(), NewRoot()
	put(t, create(t, m, root, yes), "a", low, plainText)
	if _, err := mustOpen(t, m, root).Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk")
	for _, method := range []string{"State", "SetState", "Key", "Keys", "AddKey", "Item", "Items", "PutItem", "Behind", "Rewrap", "Erase", "Hold"} {
		v := mustOpen(t, m, root)
		m.hook = func(name string) error {
			if name == method {
				return broken
			}
			return nil
		}
		failed := 0
		for _, do := range []func() error{
			func() error {
				data, _, err := v.Get(t.Context(), anybody, "a", 0)
				if err != nil && data != nil {
					t.Error("data beside an error")
				}
				return err
			},
			func() error { return second(v.List(t.Context(), anybody, "", 1)) },
			func() error { return v.Hold(t.Context(), anybody, "a", false) },
			func() error { return second(v.Put(t.Context(), anybody, Ref{ID: method, Label: high}, nil)) },
			func() error { return second(v.Rewrap(t.Context(), "", 1)) },
			func() error { return second(v.Rotate(t.Context())) },
			func() error { return v.Erase(t.Context(), anybody, method, 0) },
			func() error { return v.Rekey(t.Context(), root) },
		} {
			if err := do(); errors.Is(err, broken) {
				failed++
			} else if err != nil && !fault.Is(err, fault.NotFound) {
				t.Errorf("%s fails: %v", method, err)
			}
		}
		if failed == 0 {
			t.Errorf("nobody noticed that %s fails", method)
		}
		m.hook = nil
		v.Close()
	}
}

func mustOpen(t *testing.T, m *memory, root Root) *Vault {
	t.Helper()
	v, err := Open(t.Context(), Config{Book: m, Instance: instance, Root: root, Check: yes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// TestListPages: more rows than one page, of which few may be read.
func TestListPages(t *testing.T) {
	m := newMemory()
	v := create(t, m, NewRoot(), yes)
	for i := range 3*listPage + 1 {
		l := high
		if i%100 == 0 {
			l = low
		}
		put(t, v, fmt.Sprintf("%05d", i), l, nil)
	}
	v.check = func(_ context.Context, r Request) error {
		if r.Item.Label == low {
			return nil
		}
		return fault.New("test", fault.Denied, "no")
	}
	all, err := v.List(t.Context(), anybody, "", 100)
	if err != nil || len(all) != 8 {
		t.Fatal(len(all), err)
	}
	some, err := v.List(t.Context(), anybody, all[1].ID, 3)
	if err != nil || len(some) != 3 || some[0] != all[2] {
		t.Fatal(some, err)
	}
}
