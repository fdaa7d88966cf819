package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

type book struct {
	mu       sync.Mutex
	keys     map[[sha256.Size]byte]record.APIKey
	revision int64
	asked    int
	touched  int
	broken   error
}

func (b *book) KeyByHash(_ context.Context, h [sha256.Size]byte) (record.APIKey, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if k, ok := b.keys[h]; ok {
		return k, b.broken
	}
	return record.APIKey{}, errors.Join(fault.New("test", fault.NotFound, "no key"), b.broken)
}

func (b *book) KeysRevision(context.Context) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.revision, b.broken
}

func (b *book) TouchKey(context.Context, string, time.Time) error {
	b.touched++
	return nil
}

func (b *book) put(k record.APIKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys[k.Hash] = k
	b.revision++
}

func TestKeys(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := &book{keys: map[[sha256.Size]byte]record.APIKey{}}
	k := NewKeys(b, func() time.Time { return now })
	token, hash := NewToken()
	key := record.APIKey{ID: "k1", Role: "agent,metrics", Hash: hash, Expires: now.Add(time.Hour)}
	b.put(key)
	find := func(token, role string) error {
		_, err := k.Find(t.Context(), token, role)
		return err
	}
	for range 3 {
		if err := find(token, record.RoleAgent); err != nil {
			t.Fatal(err)
		}
	}
	if b.asked != 1 || b.touched != 1 {
		t.Errorf("asked %d times, touched %d times", b.asked, b.touched)
	}
	other, _ := NewToken()
	want := find("nonsense", record.RoleAgent).Error()
	for name, err := range map[string]error{"unknown": find(other, record.RoleAgent), "role": find(token, record.RoleIngest), "empty": find("", record.RoleAgent), "no role": find(token, "")} {
		if !fault.Is(err, fault.Denied) || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	now = now.Add(time.Hour)
	if err := find(token, record.RoleAgent); !fault.Is(err, fault.Denied) {
		t.Errorf("expired: %v", err)
	}
	now = now.Add(-time.Minute)
	key.Revoked = now
	b.put(key) // in another process
	if err := find(token, record.RoleAgent); !fault.Is(err, fault.Denied) {
		t.Errorf("revoked: %v", err)
	}
	b.broken = errors.New("disk")
	if err := find(token, record.RoleAgent); err == nil || fault.Is(err, fault.Denied) {
		t.Errorf("a broken book says %v", err)
	}
}
