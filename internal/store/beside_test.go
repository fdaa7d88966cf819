package store_test

import (
	"fmt"
	"testing"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// TestBeside: a sealed row and what is stored beside it are there together, or
// none of them is.
func TestBeside(t *testing.T) {
	ctx, s := t.Context(), open(t, t.TempDir())
	b := s.Vault()
	must(t, b.SetState(ctx, record.SealedState{}, firstState, nil))
	o := record.Object{ID: "m-1", Made: internalForeign, By: "eve"}
	m := record.Message{ID: "m-1", Slot: "edge", From: "eve", To: "bob", Sent: noon}
	must(t, b.PutItem(store.WithBeside(ctx, store.Beside{Object: o, Message: &m}), sealed("m-1", 1, 1, 9)))
	if got, err := s.Object(ctx, "m-1"); err != nil || got.Version != 1 || got.Label != sealed("", 1, 1, 0).Label || got.Made != internalForeign {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := s.Message(ctx, "m-1"); err != nil {
		t.Error(err)
	}
	for name, beside := range map[string]store.Beside{
		"another item":        {Object: record.Object{ID: "x"}},
		"another message":     {Object: record.Object{ID: "m-2"}, Message: &record.Message{ID: "m-3", To: "bob"}},
		"a message to nobody": {Object: record.Object{ID: "m-2"}, Message: &record.Message{ID: "m-2"}},
	} {
		if err := b.PutItem(store.WithBeside(ctx, beside), sealed("m-2", 1, 1, 9)); !fault.Is(err, fault.Internal) {
			t.Errorf("%s: %v", name, err)
		}
		_, err := b.Item(ctx, "m-2")
		wantKind(t, err, fault.NotFound, "m-2")
		_, err = s.Object(ctx, "m-2")
		wantKind(t, err, fault.NotFound, "m-2")
	}
	must(t, s.DropObject(ctx, "m-1"))
	_, err := s.Message(ctx, "m-1")
	wantKind(t, err, fault.NotFound, "m-1")
}

// TestMailIsBounded: the bound counts what the writer sent within a day, as far
// as the sending context may know of it; what the reader does changes nothing.
func TestMailIsBounded(t *testing.T) {
	ctx, s := t.Context(), open(t, t.TempDir())
	low, high := label.New(label.Public, label.Member, 0), label.New(label.Secret, label.Member, 1)
	n := 0
	send := func(from, to string, made label.Label, at time.Time) error {
		n++
		return s.PutMessage(ctx, record.Message{ID: fmt.Sprint("m-", n), Slot: "core", From: from, To: to, Sent: at, Made: made})
	}
	for range store.MailPerDay {
		must(t, send("eve", "bob", high, noon))
	}
	wantKind(t, send("eve", "bob", high, noon), fault.Denied, "within a day")
	must(t, send("eve", "bob", low, noon)) // it may not know of the others
	must(t, send("eve", "ann", high, noon))
	must(t, send("mallory", "bob", high, noon))
	must(t, s.FetchMessages(ctx, "bob", "core"))
	wantKind(t, send("eve", "bob", high, noon.Add(24*time.Hour-time.Second)), fault.Denied, "within a day")
	must(t, send("eve", "bob", high, noon.Add(24*time.Hour)))
	for range store.MailPerDay - 1 {
		must(t, send("ann", "bob", low, noon))
	}
	must(t, send("ann", "bob", high, noon))
	wantKind(t, send("ann", "bob", high, noon), fault.Denied, "within a day")
}
