package vault

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
)

const instance = "inst-1"

var (
	anybody   = principal.ForAgent("anybody")
	low       = label.New(label.Internal, label.Member, 1)
	high      = label.New(label.Secret, label.Member, 3)
	sideways  = label.New(label.Internal, label.Member, 2)
	yes       = func(context.Context, Request) error { return nil }
	plainText = []byte("the canary sings at midnight")
)

// made gives a fresh vault that releases everything.
func made(t testing.TB) (*Vault, *memory, Root) {
	t.Helper()
	m, root := newMemory(), NewRoot()
	return create(t, m, root, yes), m, root
}

func create(t testing.TB, m *memory, root Root, check Check) *Vault {
	t.Helper()
	v, err := Create(t.Context(), Config{Book: m, Instance: instance, Root: root, Check: check})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func put(t testing.TB, v *Vault, id string, l label.Label, data []byte) Ref {
	t.Helper()
	r, err := v.Put(t.Context(), anybody, Ref{ID: id, Label: l}, data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantKind(t testing.TB, what string, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("%s: got %v, want an error of kind %s", what, err, kind)
	}
}

func TestPutGetReplace(t *testing.T) {
	v, _, _ := made(t)
	for _, data := range [][]byte{nil, {0}, plainText, make([]byte, 100_000)} {
		id := "n" + strings.Repeat("x", len(data)%199)
		r := put(t, v, id, low, data)
		got, ref, err := v.Get(t.Context(), anybody, id, 0)
		if err != nil || string(got) != string(data) || ref != r || r.Version != 1 {
			t.Fatalf("%d bytes: got %d bytes, %v, %v", len(data), len(got), ref, err)
		}
	}
	r := put(t, v, "slot", low, []byte("one"))
	r2, err := v.Put(t.Context(), anybody, r, []byte("two"))
	if err != nil || r2.Version != 2 {
		t.Fatal(r2, err)
	}
	if got, _, err := v.Get(t.Context(), anybody, "slot", 2); err != nil || string(got) != "two" {
		t.Fatalf("%q, %v", got, err)
	}
	_, _, err = v.Get(t.Context(), anybody, "slot", 1)
	wantKind(t, "a reference to the old version", err, fault.Conflict)
	_, err = v.Put(t.Context(), anybody, r, []byte("three"))
	wantKind(t, "replacing an old version", err, fault.Conflict)
	_, err = v.Put(t.Context(), anybody, Ref{ID: "slot", Label: low}, []byte("three"))
	wantKind(t, "a new item with a used name", err, fault.Conflict)
	_, err = v.Put(t.Context(), anybody, Ref{ID: "slot", Label: high, Version: 2}, []byte("three"))
	wantKind(t, "relabelling by replacing", err, fault.Conflict)
	_, err = v.Put(t.Context(), anybody, Ref{ID: "none", Label: low, Version: 2}, []byte("three"))
	wantKind(t, "replacing nothing", err, fault.Conflict)
	for _, id := range []string{"", strings.Repeat("x", 256), "a\nb", "\xff"} {
		_, err := v.Put(t.Context(), anybody, Ref{ID: id, Label: low}, nil)
		wantKind(t, "the name "+id, err, fault.Usage)
		_, _, err = v.Get(t.Context(), anybody, id, 0)
		wantKind(t, "the name "+id, err, fault.Usage)
	}
	_, err = v.Put(t.Context(), anybody, Ref{ID: "x", Label: label.Label{Level: 4}}, nil)
	wantKind(t, "level 4", err, fault.Usage)
	_, err = v.Put(t.Context(), anybody, Ref{ID: "x", Label: low}, make([]byte, MaxBody+1))
	wantKind(t, "too much", err, fault.Usage)
}

func TestWrongRootKey(t *testing.T) {
	v, m, root := made(t)
	put(t, v, "a", low, plainText)
	open := func(c Config) error {
		w, err := Open(t.Context(), c)
		if err == nil {
			w.Close()
		} else if w != nil {
			t.Error("a vault beside an error")
		}
		return err
	}
	good := Config{Book: m, Instance: instance, Root: root, Check: yes}
	if err := open(good); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		kind   fault.Kind
	}{
		"another root key": {func(c *Config) { c.Root = NewRoot() }, fault.Denied},
		"another instance": {func(c *Config) { c.Instance = "inst-2" }, fault.Denied},
		"no root key":      {func(c *Config) { c.Root = Root{} }, fault.Config},
		"a wiped root key": {func(c *Config) { c.Root = NewRoot(); c.Root.Wipe() }, fault.Config},
		"no check":         {func(c *Config) { c.Check = nil }, fault.Config},
		"no instance":      {func(c *Config) { c.Instance = "" }, fault.Config},
		"no book":          {func(c *Config) { c.Book = nil }, fault.Config},
		"no vault":         {func(c *Config) { c.Book = newMemory() }, fault.NotFound},
	} {
		c := good
		tt.change(&c)
		wantKind(t, name, open(c), tt.kind)
	}
	_, err := Create(t.Context(), good)
	wantKind(t, "creating a second time", err, fault.Conflict)
	m.state = State{}
	_, err = Create(t.Context(), good)
	wantKind(t, "creating over items without a state", err, fault.Conflict)
}

// TestRelabel: the old envelope opens no more under the new label, and the new
// one was sealed with another record key.
func TestRelabel(t *testing.T) {
	var asked []Request
	m := newMemory()
	v := create(t, m, NewRoot(), func(_ context.Context, r Request) error {
		asked = append(asked, r)
		return nil
	})
	put(t, v, "a", low, plainText)
	old := cloned(m.items["a"])
	for _, tt := range []struct {
		to  label.Label
		use Use
	}{{high, Raise}, {sideways, Lower}, {low, Lower}, {label.New(label.Internal, label.Signed, 1), Lower}} {
		asked = nil
		before := m.items["a"].SealedRef
		r, err := v.Relabel(t.Context(), anybody, "a", 0, tt.to)
		if err != nil || r.Label != tt.to || r.Version != before.Version+1 {
			t.Fatal(r, err)
		}
		want := []Request{{Who: anybody, Use: tt.use, Item: before, To: tt.to}}
		if diff := cmp.Diff(want, asked); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
		if got, _, err := v.Get(t.Context(), anybody, "a", 0); err != nil || string(got) != string(plainText) {
			t.Fatalf("%q, %v", got, err)
		}
		now := m.items["a"]
		for name, mix := range map[string]Item{
			"old envelope, new row": {SealedRef: now.SealedRef, Epoch: 1, Key: old.Key, Body: old.Body},
			"old key, new body":     {SealedRef: now.SealedRef, Epoch: 1, Key: old.Key, Body: now.Body},
			"new key, old body":     {SealedRef: now.SealedRef, Epoch: 1, Key: now.Key, Body: old.Body},
		} {
			m.items["a"] = mix
			_, _, err = v.Get(t.Context(), anybody, "a", 0)
			wantKind(t, name, err, fault.Corrupt)
		}
		m.items["a"] = now
	}
	asked = nil
	_, err := v.Relabel(t.Context(), anybody, "nope", 0, high)
	wantKind(t, "nothing", err, fault.NotFound)
	want := []Request{{Who: anybody, Use: Read, Item: Ref{ID: "nope", Label: label.Unlabelled}, To: high}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	_, err = v.Relabel(t.Context(), anybody, "a", 1, high)
	wantKind(t, "an old version", err, fault.Conflict)
	_, err = v.Relabel(t.Context(), anybody, "a", 0, label.Label{Integrity: 3})
	wantKind(t, "no label", err, fault.Usage)
	before := m.items["a"].SealedRef
	if r, err := v.Relabel(t.Context(), anybody, "a", 0, before.Label); err != nil || r != before {
		t.Errorf("the same label: %v, %v", r, err)
	}
}

func TestEraseAndHold(t *testing.T) {
	v, m, _ := made(t)
	r := put(t, v, "a", low, plainText)
	if err := v.Hold(t.Context(), anybody, "a", true); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "erasing what is held", v.Erase(t.Context(), anybody, "a", 1), fault.Denied)
	if _, err := v.Put(t.Context(), anybody, r, plainText); err != nil || !m.items["a"].Held {
		t.Errorf("a new version ended the hold: %v", err)
	}
	if err := v.Hold(t.Context(), anybody, "a", false); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "erasing another version", v.Erase(t.Context(), anybody, "a", 1), fault.Conflict)
	it := m.items["a"]
	it.Body = it.Body[:3] // what does not open can be erased
	m.items["a"] = it
	if err := v.Erase(t.Context(), anybody, "a", 2); err != nil {
		t.Fatal(err)
	}
	_, _, err := v.Get(t.Context(), anybody, "a", 0)
	wantKind(t, "reading what was erased", err, fault.NotFound)
	_, err = v.Put(t.Context(), anybody, Ref{ID: "a", Label: low}, plainText)
	wantKind(t, "using its name again", err, fault.Conflict)
	wantKind(t, "erasing it twice", v.Erase(t.Context(), anybody, "a", 0), fault.NotFound)
	wantKind(t, "holding it", v.Hold(t.Context(), anybody, "a", true), fault.NotFound)
}

// TestClearance is rule R1 over pairs of labels, and what a refusal may tell.
func TestClearance(t *testing.T) {
	clearances := map[string]label.Label{}
	check := Clearance(func(_ context.Context, who principal.Principal) (label.Label, error) {
		c, ok := clearances[who.Name]
		if !ok {
			return label.Label{}, errors.New("nobody knows him")
		}
		return c, nil
	})
	m := newMemory()
	v := create(t, m, NewRoot(), check)
	put(t, v, "item", label.New(label.Confidential, label.Member, 0b11), plainText)
	for level := label.Public; level <= label.Secret; level++ {
		for comps := range label.Compartments(8) {
			clearances["x"] = label.New(level, label.Signed, comps)
			got, _, err := v.Get(t.Context(), principal.ForAgent("x"), "item", 0)
			may := level >= label.Confidential && comps&0b11 == 0b11
			if may != (err == nil) || may != (string(got) == string(plainText)) || !may && !fault.Is(err, fault.Denied) {
				t.Errorf("clearance %v: %q, %v", clearances["x"], got, err)
			}
			refs, err := v.List(t.Context(), principal.ForAgent("x"), "", 10)
			if err != nil || may != (len(refs) == 1) {
				t.Errorf("clearance %v lists %v, %v", clearances["x"], refs, err)
			}
		}
	}
	clearances["low"], clearances["all"] = low, label.Label{Level: label.Secret, Compartments: label.AllCompartments}
	who := principal.ForAgent("low")
	_, _, there := v.Get(t.Context(), who, "item", 0)
	_, _, version := v.Get(t.Context(), who, "item", 7)
	_, relabel := v.Relabel(t.Context(), who, "item", 0, label.Bottom)
	_, raise := v.Relabel(t.Context(), who, "item", 9, label.Unlabelled)
	_, _, missing := v.Get(t.Context(), who, "nope", 0)
	_, missingRelabel := v.Relabel(t.Context(), who, "nope", 0, label.Bottom)
	for _, err := range []error{version, relabel, raise, missing, missingRelabel} {
		if err == nil || strings.ReplaceAll(err.Error(), "nope", "item") != there.Error() {
			t.Errorf("a refusal tells what is there:\n%v\n%v", there, err)
		}
	}
	_, _, err := v.Get(t.Context(), principal.ForAgent("unknown"), "item", 0)
	wantKind(t, "somebody unknown", err, fault.Denied)
	_, _, err = v.Get(t.Context(), principal.ForAgent("all"), "nope", 0)
	wantKind(t, "somebody who may read all", err, fault.NotFound)
	_, err = v.Relabel(t.Context(), principal.ForAgent("all"), "nope", 0, low)
	wantKind(t, "relabelling nothing, by somebody who may read all", err, fault.NotFound)
	_, err = v.Relabel(t.Context(), principal.ForAgent("all"), "item", 0, low)
	wantKind(t, "lowering by clearance", err, fault.Denied)
	if _, err = v.Relabel(t.Context(), principal.ForAgent("all"), "item", 0, label.Unlabelled); err != nil {
		t.Errorf("raising: %v", err)
	}
}

// TestCheckComesFirst: a refusal happens before a key is looked for, and nothing
// is released by an error.
func TestCheckComesFirst(t *testing.T) {
	m, root := newMemory(), NewRoot()
	put(t, create(t, m, root, yes), "a", low, plainText)
	no := errors.New("no")
	v, err := Open(t.Context(), Config{Book: m, Instance: instance, Root: root, Check: func(context.Context, Request) error { return no }})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	m.hook = func(method string) error {
		if method != "State" && method != "Item" && method != "Items" {
			t.Errorf("%s was called in spite of the refusal", method)
		}
		return nil
	}
	_, _, get := v.Get(t.Context(), anybody, "a", 0)
	_, put := v.Put(t.Context(), anybody, Ref{ID: "b", Label: low}, nil)
	_, relabel := v.Relabel(t.Context(), anybody, "a", 0, high)
	_, list := v.List(t.Context(), anybody, "", 1)
	export := v.Export(t.Context(), anybody, nil, label.Scheme{}, []string{"a"})
	for _, err := range []error{get, put, relabel, list, export, v.Erase(t.Context(), anybody, "a", 0), v.Hold(t.Context(), anybody, "a", true)} {
		if !errors.Is(err, no) {
			t.Errorf("got %v", err)
		}
	}
}
