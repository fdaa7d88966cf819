package vault

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// model is what a vault should hold, and what an attacker has seen of it.
type model struct {
	v       *Vault
	m       *memory
	root    Root
	items   map[string]content
	held    map[string]bool
	erased  map[string]bool
	seen    []Item // every envelope that ever was in the book
	oldest  uint32
	epoch   uint32
	retired []Root
}

type content struct {
	Ref
	data string
}

var labels = []label.Label{low, high, sideways, label.Bottom, label.Unlabelled}

func (x *model) id(t *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id")
}

func (x *model) remember(id string) { x.seen = append(x.seen, cloned(x.m.items[id])) }

func (x *model) put(t *rapid.T) {
	id, data := x.id(t), rapid.String().Draw(t, "data")
	have, exists := x.items[id]
	r := Ref{ID: id, Label: rapid.SampledFrom(labels).Draw(t, "label"), Version: rapid.Uint64Max(3).Draw(t, "version")}
	got, err := x.v.Put(t.Context(), anybody, r, []byte(data))
	may := !x.erased[id] && (!exists && r.Version == 0 || exists && r.Version == have.Version && r.Label == have.Label)
	switch {
	case !may:
		if !fault.Is(err, fault.Conflict) {
			t.Fatalf("put %v over %v: %v", r, have.Ref, err)
		}
	case err != nil || got.Version != r.Version+1:
		t.Fatalf("put %v: %v, %v", r, got, err)
	default:
		x.items[id] = content{got, data}
		x.remember(id)
	}
}

func (x *model) relabel(t *rapid.T) {
	id, to := x.id(t), rapid.SampledFrom(labels).Draw(t, "to")
	have, exists := x.items[id]
	got, err := x.v.Relabel(t.Context(), anybody, id, 0, to)
	switch {
	case !exists:
		if !fault.Is(err, fault.NotFound) {
			t.Fatal(err)
		}
	case err != nil || got.Label != to || got.Version != have.Version+1 && to != have.Label:
		t.Fatalf("relabel %v to %v: %v, %v", have.Ref, to, got, err)
	default:
		x.items[id] = content{got, have.data}
		x.remember(id)
	}
}

func (x *model) erase(t *rapid.T) {
	id := x.id(t)
	_, exists := x.items[id]
	err := x.v.Erase(t.Context(), anybody, id, 0)
	switch {
	case !exists:
		if !fault.Is(err, fault.NotFound) {
			t.Fatal(err)
		}
	case x.held[id]:
		if !fault.Is(err, fault.Denied) {
			t.Fatal(err)
		}
	case err != nil:
		t.Fatal(err)
	default:
		delete(x.items, id)
		x.erased[id] = true
	}
}

func (x *model) hold(t *rapid.T) {
	id, held := x.id(t), rapid.Bool().Draw(t, "held")
	if err := x.v.Hold(t.Context(), anybody, id, held); err == nil {
		x.held[id] = held
	} else if !fault.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
}

func (x *model) rotate(t *rapid.T) {
	st, err := x.v.Rotate(t.Context())
	if err != nil || st.Epoch != x.epoch+1 {
		t.Fatal(st, err)
	}
	x.epoch++
}

func (x *model) rewrap(t *rapid.T) {
	bodies := map[string][]byte{}
	for id, it := range x.m.items {
		bodies[id] = it.Body
	}
	got, err := x.v.Rewrap(t.Context(), "", rapid.IntRange(1, 3).Draw(t, "limit"))
	if err != nil || len(got.Failed) > 0 {
		t.Fatal(got, err)
	}
	for id, it := range x.m.items {
		if !slices.Equal(bodies[id], it.Body) {
			t.Fatalf("the body of %s was touched", id)
		}
		x.remember(id)
	}
}

func (x *model) retire(t *rapid.T) {
	oldest := rapid.Uint32Range(0, x.epoch+1).Draw(t, "oldest")
	needed := false
	for _, it := range x.m.items {
		needed = needed || it.Epoch < oldest
	}
	_, err := x.v.Retire(t.Context(), oldest)
	switch {
	case oldest > x.epoch:
		if !fault.Is(err, fault.Usage) {
			t.Fatal(err)
		}
	case needed:
		if !fault.Is(err, fault.Conflict) {
			t.Fatal(err)
		}
	case err != nil:
		t.Fatal(err)
	default:
		x.oldest = max(x.oldest, oldest)
	}
}

func (x *model) rekey(t *rapid.T) {
	next := NewRoot()
	if err := x.v.Rekey(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	x.retired = append(x.retired, x.root)
	x.root = next
}

func (x *model) reopen(t *rapid.T) {
	x.v.Close()
	for _, old := range x.retired {
		if _, err := Open(t.Context(), Config{Book: x.m, Instance: instance, Root: old, Check: yes}); !fault.Is(err, fault.Denied) {
			t.Fatalf("an old root key: %v", err)
		}
	}
	var err error
	if x.v, err = Open(t.Context(), Config{Book: x.m, Instance: instance, Root: x.root, Check: yes}); err != nil {
		t.Fatal(err)
	}
}

// replay puts an envelope that was seen before into any row. It opens only if it
// is that row's own body under one of its own wrapped keys, in a live epoch.
func (x *model) replay(t *rapid.T) {
	if len(x.seen) == 0 || len(x.items) == 0 {
		t.Skip("nothing to replay")
	}
	id := rapid.SampledFrom(slices.Sorted(maps.Keys(x.items))).Draw(t, "row")
	old := x.seen[rapid.IntRange(0, len(x.seen)-1).Draw(t, "envelope")]
	row := x.m.items[id]
	planted := row
	planted.Epoch, planted.Key = old.Epoch, old.Key
	if rapid.Bool().Draw(t, "body too") {
		planted.Body = old.Body
	}
	x.m.items[id] = planted
	data, _, err := x.v.Get(t.Context(), anybody, id, 0)
	x.m.items[id] = row
	own := old.SealedRef == row.SealedRef && slices.Equal(planted.Body, row.Body) && old.Epoch >= x.oldest
	switch {
	case own && (err != nil || string(data) != x.items[id].data):
		t.Fatalf("its own envelope: %v", err)
	case !own && (data != nil || !fault.Is(err, fault.Corrupt)):
		t.Fatalf("%v of epoch %d opened as %v: %v", old.SealedRef, old.Epoch, row.SealedRef, err)
	}
}

// check compares everything with the model, after every step.
func (x *model) check(t *rapid.T) {
	for _, id := range []string{"a", "b", "c"} {
		data, r, err := x.v.Get(t.Context(), anybody, id, 0)
		if have, ok := x.items[id]; !ok {
			if !fault.Is(err, fault.NotFound) || data != nil {
				t.Fatalf("%s should not exist: %q, %v", id, data, err)
			}
		} else if err != nil || r != have.Ref || string(data) != have.data {
			t.Fatalf("%s is %q %v, %v; want %q %v", id, data, r, err, have.data, have.Ref)
		}
	}
	refs, err := x.v.List(t.Context(), anybody, "", 10)
	if err != nil || len(refs) != len(x.items) {
		t.Fatal(refs, err)
	}
	for k := range x.m.keys {
		if k.Epoch < x.oldest {
			t.Fatalf("a key of the retired epoch %d is kept", k.Epoch)
		}
	}
}

func TestSequences(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m, root := newMemory(), NewRoot()
		x := &model{
			v: create(t, m, root, yes), m: m, root: root, items: map[string]content{}, held: map[string]bool{}, erased: map[string]bool{},
			oldest: 1, epoch: 1,
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": x.check, "put": x.put, "relabel": x.relabel, "erase": x.erase, "hold": x.hold, "rotate": x.rotate,
			"rewrap": x.rewrap, "retire": x.retire, "rekey": x.rekey, "reopen": x.reopen, "replay": x.replay,
		})
		x.v.Close()
	})
}

// TestBindingIsInjective: two bindings encode alike only if they are alike, even
// where the end of one field could be the beginning of the next.
func TestBindingIsInjective(t *testing.T) {
	gen := rapid.Custom(func(t *rapid.T) [3]any {
		text := rapid.StringMatching(`[\x00a]{0,3}`)
		return [3]any{
			text.Draw(t, "purpose"), text.Draw(t, "instance"),
			Ref{ID: text.Draw(t, "id"), Label: rapid.SampledFrom(labels).Draw(t, "label"), Version: rapid.Uint64Max(2).Draw(t, "version")},
		}
	})
	encode := func(x [3]any) string {
		return string(appendBinding(nil, x[0].(string), x[1].(string), x[2].(Ref)))
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		if (a == b) != (encode(a) == encode(b)) {
			t.Fatalf("%v and %v", a, b)
		}
	})
}
