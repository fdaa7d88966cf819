package app

import (
	"testing"

	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// TestMemoryIsSealed: a note of a slot that is not clear lies nowhere in the
// clear, comes back from its own slot alone, and does not open with another
// label.
func TestMemoryIsSealed(t *testing.T) {
	a := installation(t, house)
	st, err := a.Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.newReadable(st)
	if err != nil {
		t.Fatal(err)
	}
	m := memory{&engine{app: a, store: r, desk: newDesk(a, st)}}
	defer m.e.desk.close()
	ctx := t.Context()
	secret, open := label.New(label.Secret, label.Member, 1), label.New(label.Public, label.Member, 0)
	const first, second = "first-canary-of-the-memory", "second-canary-of-the-memory"
	for _, note := range []string{first, second} {
		if err := m.SaveMemory(ctx, "chief", note, secret, secret); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := m.Memory(ctx, "chief", secret); got != note || !ok || err != nil {
			t.Errorf("the slot holds %q, %v, %v", got, ok, err)
		}
	}
	if err := m.SaveMemory(ctx, "chief", "plain", secret, open); !fault.Is(err, fault.Denied) {
		t.Errorf("a secret context wrote a public memory: %v", err)
	}
	if got, ok, err := m.Memory(ctx, "chief", open); got != "" || ok || err != nil {
		t.Errorf("the public slot holds %q, %v, %v", got, ok, err)
	}
	if err := m.SaveMemory(ctx, "chief", "plain", open, open); err != nil {
		t.Fatal(err)
	}
	if found := holding(t, a.Paths.Home, []byte("canary-of-the-memory")); len(found) > 0 {
		t.Errorf("the note lies in the clear in %v", found)
	}
	id, _, err := st.Memory(ctx, "chief", secret)
	if err != nil {
		t.Fatal(err)
	}
	higher := label.New(label.Secret, label.Foreign, 3)
	if err := st.SaveMemory(ctx, "chief", id, secret, higher); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := m.Memory(ctx, "chief", higher); ok || got != "" || !fault.Is(err, fault.Corrupt) {
		t.Errorf("a note was moved to another slot: %q, %v, %v", got, ok, err)
	}
}
