package app

import (
	"context"
	"strings"
	"testing"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/label"
)

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "wages.csv": true, "a/b/c/d": true, "indexes": true, "A-1_b": true,
		"": false, "index": false, "new": false, "mail/x": false, "folder/hr": false, "a/b/c/d/e": false, "a//b": false, "../a": false,
		"a/..": false, ".a": false, "a b": false, "a\u202eb": false, "o-0123456789abcdef0123": false, "mail": false, "/a": false,
		strings.Repeat("a", 65): false,
	} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestFutures: a reader waits, and what is not there is labelled with all.
func TestFutures(t *testing.T) {
	f, l := newFutures(), label.New(label.Public, label.Member, 0)
	id := handle("f")
	f.open(id, l)
	if f.label(id) != l || f.label("f-0") != label.Unlabelled {
		t.Error("labels of futures")
	}
	got := make(chan string)
	go func() {
		text, err := f.read(t.Context(), id)
		if err != nil {
			text = err.Error()
		}
		got <- text
	}()
	f.finish(id, "done")
	f.finish(id, "again")
	if text := <-got; text != "done" {
		t.Errorf("read %q", text)
	}
	other := handle("f")
	f.open(other, l)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := f.read(ctx, other); !fault.Is(err, fault.Canceled) {
		t.Errorf("a reader that left: %v", err)
	}
	if _, err := f.read(t.Context(), "f-none"); !fault.Is(err, fault.NotFound) {
		t.Errorf("no future: %v", err)
	}
}
