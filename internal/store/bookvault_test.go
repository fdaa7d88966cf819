package store_test

import (
	"context"
	"testing"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/store"
	"sallyport/internal/vault"
)

var _ vault.Book = (*store.Book)(nil)

// TestVaultOnBook leads a vault through its life on the real book, with a second
// process beside it.
func TestVaultOnBook(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	root, next := vault.NewRoot(), vault.NewRoot()
	config := func(s *store.Store, r vault.Root) vault.Config {
		return vault.Config{Book: s.Vault(), Instance: instance, Root: r, Check: func(context.Context, vault.Request) error { return nil }}
	}
	s, other := open(t, dir), open(t, dir)
	v, err := vault.Create(ctx, config(s, root))
	must(t, err)
	defer v.Close()
	if _, err := vault.Create(ctx, config(s, root)); !fault.Is(err, fault.Conflict) {
		t.Fatalf("created twice: %v", err)
	}
	w, err := vault.Open(ctx, config(other, root))
	must(t, err)
	defer w.Close()
	who := principal.ForAgent("bob")
	for _, id := range []string{"b", "a", "c"} {
		_, err := v.Put(ctx, who, vault.Ref{ID: id, Label: label.New(label.Secret, label.Member, 1<<63)}, []byte("text of "+id))
		must(t, err)
	}
	ref, err := w.Relabel(ctx, who, "a", 1, label.New(label.Internal, label.Member, 0))
	must(t, err)
	if _, err := v.Put(ctx, who, ref, []byte("newer a")); err != nil {
		t.Fatal(err)
	}
	must(t, v.Erase(ctx, who, "c", 0))
	if _, err := w.Put(ctx, who, vault.Ref{ID: "c"}, nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("an erased name was used again: %v", err)
	}
	must(t, v.Rekey(ctx, next))
	if _, err := v.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Retire(ctx, 2); !fault.Is(err, fault.Conflict) {
		t.Errorf("retired under an item: %v", err)
	}
	for done := true; done; {
		r, err := v.Rewrap(ctx, "", 1)
		must(t, err)
		done = r.Done > 0
	}
	if _, err := v.Retire(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Open(ctx, config(other, root)); !fault.Is(err, fault.Denied) {
		t.Errorf("the old root key still opens: %v", err)
	}
	u, err := vault.Open(ctx, config(other, next))
	must(t, err)
	defer u.Close()
	refs, err := u.List(ctx, who, "", 10)
	if err != nil || len(refs) != 2 || refs[0].ID != "a" || refs[0].Version != 3 || refs[1].ID != "b" {
		t.Fatal(refs, err)
	}
	if got, _, err := u.Get(ctx, who, "a", 0); string(got) != "newer a" || err != nil {
		t.Errorf("%q %v", got, err)
	}
}
