package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// TestBookRefuses holds the book to each refusal of its contract, and to
// changing nothing then.
func TestBookRefuses(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	b := s.Vault()
	refuse := func(what string, kind fault.Kind, err error) {
		t.Helper()
		if !fault.Is(err, kind) || fault.PublicText(err) == "" {
			t.Errorf("%s: %v, want %s", what, err, kind)
		}
	}
	_, err := b.State(ctx)
	refuse("no state", fault.NotFound, err)
	refuse("an item without a state", fault.Conflict, b.PutItem(ctx, sealed("a", 1, 0, 9)))
	id := func(level label.Level, epoch uint32) record.SealedKeyID {
		return record.SealedKeyID{Level: level, Compartments: label.AllCompartments, Epoch: epoch}
	}
	key := func(level label.Level, epoch, generation uint32) record.SealedKey {
		return record.SealedKey{SealedKeyID: id(level, epoch), Generation: generation, Wrapped: random(72)}
	}
	refuse("a key without a state", fault.Conflict, b.AddKey(ctx, key(1, 1, 1)))
	refuse("a state after none", fault.Conflict, b.SetState(ctx, firstState, firstState, nil))
	must(t, b.SetState(ctx, record.SealedState{}, firstState, nil))
	refuse("a second first state", fault.Conflict, b.SetState(ctx, record.SealedState{}, firstState, nil))
	low, high := key(1, 1, 1), key(3, 1, 1)
	must(t, b.AddKey(ctx, low))
	must(t, b.AddKey(ctx, high))
	refuse("a key again", fault.Conflict, b.AddKey(ctx, low))
	refuse("a key of another epoch", fault.Conflict, b.AddKey(ctx, key(1, 2, 1)))
	refuse("a key of another generation", fault.Conflict, b.AddKey(ctx, key(2, 1, 2)))
	if got, err := b.Key(ctx, high.SealedKeyID); cmp.Diff(high, got) != "" || err != nil {
		t.Errorf("%+v %v", got, err)
	}
	_, err = b.Key(ctx, id(2, 1))
	refuse("no key", fault.NotFound, err)

	it := sealed("a", 1, 1, 9)
	refuse("a second version first", fault.Conflict, b.PutItem(ctx, sealed("a", 2, 1, 9)))
	refuse("an item of another epoch", fault.Conflict, b.PutItem(ctx, sealed("a", 1, 2, 9)))
	must(t, b.PutItem(ctx, it))
	refuse("the same version", fault.Conflict, b.PutItem(ctx, it))
	refuse("holding nothing", fault.NotFound, b.Hold(ctx, "b", true))
	must(t, b.Hold(ctx, "a", true))
	refuse("erasing what is held", fault.Denied, b.Erase(ctx, "a", 1))
	it = sealed("a", 2, 1, 5000)
	must(t, b.PutItem(ctx, it))
	if it.Held = true; cmp.Diff(it, must2(b.Item(ctx, "a"))) != "" {
		t.Error("another version ended the hold")
	}
	must(t, b.Hold(ctx, "a", false))
	refuse("erasing another version", fault.Conflict, b.Erase(ctx, "a", 1))
	refuse("erasing nothing", fault.NotFound, b.Erase(ctx, "b", 1))
	for _, id := range []string{"c", "b", "d"} {
		must(t, b.PutItem(ctx, sealed(id, 1, 1, 9)))
	}

	second := firstState
	second.Epoch = 2
	refuse("wrapping into an epoch to come", fault.Conflict, b.Rewrap(ctx, "a", 2, 1, 2, random(76)))
	must(t, b.SetState(ctx, firstState, second, nil))
	retired := second
	retired.Oldest = 2
	refuse("retiring under items", fault.Conflict, b.SetState(ctx, second, retired, nil))
	refuse("wrapping another version", fault.Conflict, b.Rewrap(ctx, "a", 1, 1, 2, random(76)))
	refuse("wrapping from another epoch", fault.Conflict, b.Rewrap(ctx, "a", 2, 2, 2, random(76)))
	refuse("wrapping nothing", fault.Conflict, b.Rewrap(ctx, "x", 1, 1, 2, random(76)))
	behind, err := b.Behind(ctx, 2, "a", 2)
	if err != nil || len(behind) != 2 || behind[0].ID != "b" || behind[1].ID != "c" || behind[0].Body != nil || len(behind[0].Key) != 76 {
		t.Errorf("%+v %v", behind, err)
	}
	must(t, b.Rewrap(ctx, "a", 2, 1, 2, behind[0].Key))
	for _, id := range []string{"b", "c", "d"} {
		must(t, b.Erase(ctx, id, 1))
	}
	refuse("an erased name", fault.Conflict, b.PutItem(ctx, sealed("b", 1, 2, 9)))
	refuse("an erased name's next version", fault.Conflict, b.PutItem(ctx, sealed("b", 2, 2, 9)))
	if refs, err := b.Items(ctx, "", 9); err != nil || len(refs) != 1 || refs[0] != it.SealedRef {
		t.Errorf("%+v %v", refs, err)
	}

	rekeyed := second
	rekeyed.Generation = 2
	again := func(k record.SealedKey) record.SealedKey { k.Generation, k.Wrapped = 2, random(72); return k }
	refuse("too few keys", fault.Conflict, b.SetState(ctx, second, rekeyed, []record.SealedKey{again(low)}))
	refuse("a key twice", fault.Conflict, b.SetState(ctx, second, rekeyed, []record.SealedKey{again(low), again(low)}))
	refuse("another key", fault.Conflict, b.SetState(ctx, second, rekeyed, []record.SealedKey{again(low), again(high), again(key(0, 1, 1))}))
	sorted := cmpopts.SortSlices(func(a, b record.SealedKey) bool { return a.Level < b.Level })
	if keys := must2(b.Keys(ctx)); cmp.Diff([]record.SealedKey{low, high}, keys, sorted) != "" {
		t.Errorf("a refusal changed the keys: %+v", keys)
	}
	low, high = again(low), again(high)
	must(t, b.SetState(ctx, second, rekeyed, []record.SealedKey{high, low}))
	if keys := must2(b.Keys(ctx)); cmp.Diff([]record.SealedKey{low, high}, keys, sorted) != "" {
		t.Errorf("%+v", keys)
	}
	retired.Generation = 2
	must(t, b.SetState(ctx, rekeyed, retired, nil))
	if keys := must2(b.Keys(ctx)); len(keys) != 0 || must2(b.State(ctx)) != retired {
		t.Errorf("after retiring: %+v", keys)
	}
}

// must2 panics with an error, which ends the test.
func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
