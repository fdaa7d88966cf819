package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestObjects(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	o := record.Object{ID: "b", Version: 1, Label: hr, Made: internalForeign, By: "ann", Created: noon}
	must(t, s.PutObject(ctx, o))
	must(t, s.PutObject(ctx, o)) // again, after a crash say
	other := o
	other.Label = internalForeign
	wantKind(t, s.PutObject(ctx, other), fault.Conflict, "changed meanwhile")
	other.Version, other.Held = 2, true
	must(t, s.PutObject(ctx, other))
	wantKind(t, s.PutObject(ctx, o), fault.Conflict, "changed meanwhile")
	got, err := s.Object(ctx, "b")
	other.Held = false // nobody holds it
	if diff := cmp.Diff(other, got); diff != "" || err != nil {
		t.Errorf("%s %v", diff, err)
	}
	b := s.Vault()
	must(t, b.SetState(ctx, record.SealedState{}, firstState, nil))
	must(t, b.PutItem(ctx, sealed("b", 1, 1, 9)))
	must(t, b.Hold(ctx, "b", true))
	if got, err := s.Object(ctx, "b"); !got.Held || err != nil {
		t.Errorf("the hold is not seen: %+v %v", got, err)
	}
	must(t, s.PutObject(ctx, record.Object{ID: "a", Version: 1, Label: hr, Made: hr}))
	page, err := s.Objects(ctx, "", 1)
	if err != nil || len(page) != 1 || page[0].ID != "a" || page[0].Created.IsZero() {
		t.Errorf("%+v %v", page, err)
	}
	if page, err = s.Objects(ctx, "a", 9); err != nil || len(page) != 1 || page[0].ID != "b" {
		t.Errorf("%+v %v", page, err)
	}
	must(t, s.DropObject(ctx, "a"))
	must(t, s.DropObject(ctx, "a"))
	_, err = s.Object(ctx, "a")
	wantKind(t, err, fault.NotFound, `"a"`)
	wantKind(t, s.PutObject(ctx, record.Object{ID: "x", Label: label.Label{Level: 9}}), fault.Internal, "label")
}

func TestMessages(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	for i, slot := range []string{"edge", "core", "edge"} {
		must(t, s.PutMessage(ctx, record.Message{ID: fmt.Sprint("m-", i), Slot: slot, From: "eve", To: "bob", Sent: noon}))
	}
	wantKind(t, s.PutMessage(ctx, record.Message{ID: "m-0", To: "ann"}), fault.Conflict, "m-0")
	must(t, s.FetchMessages(ctx, "bob", "core"))
	must(t, s.FetchMessages(ctx, "ann", "edge"))
	got, err := s.Messages(ctx, "bob", "edge", 9)
	want := []record.Message{
		{ID: "m-2", Slot: "edge", From: "eve", To: "bob", Sent: noon}, {ID: "m-0", Slot: "edge", From: "eve", To: "bob", Sent: noon},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%s %v", diff, err)
	}
	if got, err := s.Messages(ctx, "bob", "edge", 1); err != nil || len(got) != 1 {
		t.Errorf("%+v %v", got, err)
	}
	if m, err := s.Message(ctx, "m-1"); err != nil || !m.Fetched {
		t.Errorf("%+v %v", m, err)
	}
	_, err = s.Message(ctx, "m-9")
	wantKind(t, err, fault.NotFound, "m-9")
}

func TestPlacesAndPin(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	if _, ok, err := s.Place(ctx, "/a"); ok || err != nil {
		t.Fatal(ok, err)
	}
	must(t, s.RaisePlace(ctx, "/a", label.New(label.Internal, label.Member, 1)))
	must(t, s.RaisePlace(ctx, "/a", label.New(label.Public, label.Foreign, 2)))
	if l, ok, err := s.Place(ctx, "/a"); l != label.New(label.Internal, label.Foreign, 3) || !ok || err != nil {
		t.Error(l, ok, err)
	}
	was := label.New(label.Internal, label.Foreign, 3)
	for _, other := range []struct {
		path string
		from label.Label
	}{{"/a", label.New(label.Internal, label.Member, 1)}, {"/b", label.Unlabelled}} {
		wantKind(t, s.LowerPlace(ctx, other.path, other.from, label.Bottom), fault.Conflict, "meanwhile")
	}
	if l, _, err := s.Place(ctx, "/a"); l != was || err != nil {
		t.Error(l, err)
	}
	must(t, s.LowerPlace(ctx, "/a", was, label.Bottom))
	if all, err := s.Places(ctx); err != nil || len(all) != 1 || all[0].Label != label.Bottom {
		t.Error(all, err)
	}
	for _, step := range []struct {
		version int64
		ok      bool
	}{{0, false}, {-1, false}, {2, true}, {2, false}, {1, false}, {3, true}} {
		err := s.SetTrustPin(ctx, step.version, fmt.Sprint("d", step.version))
		if step.ok != (err == nil) || err != nil && !fault.Is(err, fault.Conflict) {
			t.Errorf("version %d: %v", step.version, err)
		}
	}
	if v, d, err := s.TrustPin(ctx); v != 3 || d != "d3" || err != nil {
		t.Error(v, d, err)
	}
}

func TestMemory(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir, func(o *store.Options) { o.Mask = hide })
	wantKind(t, s.SaveMemory(ctx, "bob", "x", hr, internalForeign), fault.Denied, "R5")
	wantKind(t, s.SaveMemory(ctx, "bob", "x", internalForeign, hr), fault.Denied, "R5") // it would gain integrity
	must(t, s.SaveMemory(ctx, "bob", "low "+secret, label.Bottom, internalForeign))
	must(t, s.SaveMemory(ctx, "bob", "\x00\xff"+secret, hr, hr))
	must(t, s.SaveMemory(ctx, "eve", "hers", hr, hr))
	for slot, want := range map[label.Label]string{internalForeign: "low [masked]", hr: "\x00\xff" + secret, label.Unlabelled: ""} {
		if got, ok, err := s.Memory(ctx, "bob", slot); got != want || ok != (want != "") || err != nil {
			t.Errorf("%s: %q %t %v", slot, got, ok, err)
		}
	}
	must(t, s.SaveMemory(ctx, "bob", "newer", hr, hr))
	if got, _, err := s.Memory(ctx, "bob", hr); got != "newer" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	leaf, err := s.Append(ctx, record.Event{Type: "session.note", Agent: "bob", Session: "bob-s", Data: map[string]any{"note": "low"}})
	must(t, err)
	must(t, s.Erase(ctx, leaf+1, "op")) // the only event: ids begin at 1
	if _, ok, err := s.Memory(ctx, "bob", internalForeign); ok || err != nil {
		t.Error("the erased note is remembered", err)
	}
}

func TestInstructions(t *testing.T) {
	ctx := t.Context()
	now := noon
	s := open(t, t.TempDir(), clock(&now))
	put := func(id, to string, life time.Duration) record.Instruction {
		i := record.Instruction{ID: id, To: to, Type: "task", Text: "do", Label: internalForeign, Ceiling: hr, Digest: "d", Created: noon, Expires: noon.Add(life)}
		must(t, s.PutInstruction(ctx, i))
		return i
	}
	one, two := put("i1", "bob", time.Hour), put("i2", "eve", time.Hour)
	put("i3", "bob", time.Second)
	wantKind(t, s.PutInstruction(ctx, one), fault.Conflict, "i1")
	now = now.Add(time.Minute)
	for to, want := range map[string][]record.Instruction{"bob": {one}, "": {one, two}, "ann": nil} {
		if got, err := s.Instructions(ctx, to, false); cmp.Diff(want, got) != "" || err != nil {
			t.Errorf("%q: %+v %v", to, got, err)
		}
	}
	take := func(id, ctxID string) error {
		in := intent(t, s, action.AgentSpawn, "", "", 0, -1)
		in.Action.Target, in.Fork = "bob", &record.Fork{Context: ctxID, Label: label.Bottom, Ceiling: hr, Instruction: id}
		_, err := s.Intend(ctx, in)
		return err
	}
	must(t, take("i1", "c1"))
	texts := map[string]bool{}
	for _, tt := range []struct{ id, rule string }{{"i1", "instruction.taken"}, {"i2", "instruction.other"}, {"i3", "instruction.expired"}, {"i9", "instruction.unknown"}} {
		err := take(tt.id, "c-"+tt.id)
		wantKind(t, err, fault.Denied, "no instruction of that id waits")
		texts[fault.PublicText(err)] = true
		blocked := events(t, s, "agent.spawn.blocked")
		if got := blocked[len(blocked)-1]["rules"].([]any)[0]; got != tt.rule {
			t.Errorf("%s: rule %v", tt.id, got)
		}
		if got := snapshot(t, s, "bob", "c-"+tt.id); got.Context != label.Unlabelled {
			t.Errorf("%s made a context", tt.id)
		}
	}
	if len(texts) != 1 {
		t.Errorf("the refusals tell what is there: %v", texts)
	}
	now = noon // an hour that passed does not come back
	wantKind(t, take("i3", "c3"), fault.Denied, "no instruction")
	if all, err := s.Instructions(ctx, "bob", true); err != nil || len(all) != 2 || all[0].Taken.IsZero() || !all[1].Taken.IsZero() {
		t.Errorf("%+v %v", all, err)
	}
}

// TestBitsAreNeverMade runs spawns and extractions of agents against a model:
// the sum of all budgets only falls, except for what the operator begins, and
// neither a refusal nor a spend moves a revision.
func TestBitsAreNeverMade(t *testing.T) {
	s := open(t, t.TempDir())
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		bits := map[string]int{}
		var contexts []string
		begin := func() {
			id := fmt.Sprintf("r%d-%d", round, len(contexts))
			bits[id] = rapid.IntRange(0, 20).Draw(rt, "budget")
			spawnAt(t, s, "bob", record.Fork{Context: id, Label: internalForeign, Ceiling: label.Unlabelled, Bits: bits[id]})
			contexts = append(contexts, id)
		}
		begin()
		for range rapid.IntRange(1, 15).Draw(rt, "steps") {
			from := rapid.SampledFrom(contexts).Draw(rt, "context")
			n := rapid.IntRange(0, 12).Draw(rt, "bits")
			before := snapshot(t, s, "bob", from)
			var err error
			ok := n <= bits[from]
			switch rapid.IntRange(0, 4).Draw(rt, "op") {
			case 0:
				begin()
				continue
			case 1:
				in := intent(t, s, action.DataExtract, "bob", from, 0, -1)
				in.Bits = n
				if _, err = s.Intend(t.Context(), in); err == nil {
					bits[from] -= n
				}
			default: // a child, whose parent may be said to be somebody else
				in := intent(t, s, action.AgentSpawn, "bob", from, 0, -1)
				parent := rapid.SampledFrom(append(contexts, "", "nowhere", from, from, from)).Draw(rt, "parent")
				ok = n == 0 || ok && parent == from
				id := fmt.Sprintf("r%d-%d", round, len(contexts))
				in.Action.Target, in.Fork = "bob", &record.Fork{Context: id, Label: internalForeign, Ceiling: label.Unlabelled, Bits: n, Parent: parent}
				if _, err = s.Intend(t.Context(), in); err == nil {
					bits[from] -= n
					bits[id] = n
					contexts = append(contexts, id)
				}
			}
			if ok != (err == nil) || err != nil && !fault.Is(err, fault.Denied) {
				rt.Fatalf("%d bits of %s, which has %d: %v", n, from, before.Bits, err)
			}
			if after := snapshot(t, s, "bob", from); after.Revision != before.Revision {
				rt.Fatalf("the revision moved from %d to %d", before.Revision, after.Revision)
			}
		}
		for id, want := range bits {
			if got := snapshot(t, s, "bob", id).Bits; got != want {
				rt.Fatalf("%s has %d bits, want %d", id, got, want)
			}
		}
	})
}

func TestBitsOfNobody(t *testing.T) {
	s := open(t, t.TempDir())
	in := intent(t, s, action.DataExtract, "", "", 0, -1)
	in.Bits = 1
	_, err := s.Intend(t.Context(), in)
	wantKind(t, err, fault.Denied, "1 bits left")
	in.Bits = -1
	_, err = s.Intend(t.Context(), in)
	if !fault.Is(err, fault.Internal) {
		t.Errorf("a negative number: %v", err)
	}
	blocked := events(t, s, "data.extract.blocked")
	if len(blocked) != 1 || blocked[0]["rules"].([]any)[0] != "R7" {
		t.Errorf("%v", blocked)
	}
}
