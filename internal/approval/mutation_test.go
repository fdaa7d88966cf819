package approval

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
)

// TestMutations: 100,000 changed envelopes, none accepted. A third changes
// bytes of the envelope, a third the statement below a signature that was good,
// a third the signature itself, so that most of them parse.
func TestMutations(t *testing.T) {
	l := newLab(t, nil)
	row := l.published(t, asking(t, order(nil), owners(1)))
	good, err := Sign(row.Payload, l.owner)
	if err != nil {
		t.Fatal(err)
	}
	terms, err := readAsk(row, l.cfg.Instance)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRoster(l.trust)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.check(row, terms, good); err != nil {
		t.Fatal(err)
	}
	payload, sig, err := open(good)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	seal := func(payload, sig []byte) []byte {
		e, err := action.Canonical(map[string]any{
			"payloadType": PayloadType, "payload": b64(payload), "signatures": []any{map[string]any{"keyid": ssh.FingerprintSHA256(l.owner.PublicKey()), "sig": b64(sig)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if !bytes.Equal(seal(payload, sig.Marshal()), good) {
		t.Fatal("the envelopes that are changed are not those that are accepted")
	}
	n := 100_000
	if testing.Short() {
		n /= 10
	}
	var parsed atomic.Int64
	var all sync.WaitGroup
	const workers = 4
	for w := range uint64(workers) {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(5, w))
			for i := range n / workers {
				var bad []byte
				switch i % 3 {
				case 0:
					bad = mutate(rng, good)
				case 1:
					bad = seal(mutate(rng, payload), sig.Marshal())
				case 2:
					bad = seal(payload, mutate(rng, sig.Marshal()))
				}
				if bytes.Equal(bad, good) {
					continue
				}
				if i%16 == 2 { // a sample, to know that the signature itself is tried
					if _, _, err := open(bad); err == nil {
						parsed.Add(1)
					}
				}
				if _, _, err := r.check(row, terms, bad); err == nil {
					t.Errorf("accepted: %s", bad)
				}
			}
		})
	}
	all.Wait()
	if parsed.Load() == 0 {
		t.Error("none of those that were looked at could be read: the signature was hardly tried")
	}
}

// mutate changes one to three places.
func mutate(rng *rand.Rand, b []byte) []byte {
	const alphabet = `abzAZ019+/="{}[]:, `
	b = bytes.Clone(b)
	for range 1 + rng.IntN(3) {
		at, to := rng.IntN(len(b)), rng.IntN(len(b))
		switch rng.IntN(5) {
		case 0:
			b[at] ^= 1 << rng.IntN(8)
		case 1:
			b[at] = alphabet[rng.IntN(len(alphabet))]
		case 2:
			b = slices.Delete(b, at, at+1)
		case 3:
			b = slices.Insert(b, at, alphabet[rng.IntN(len(alphabet))])
		case 4:
			b[at], b[to] = b[to], b[at]
		}
		if len(b) < 8 {
			return b
		}
	}
	return b
}

// BenchmarkVerify measures what one stored answer costs to verify: envelope,
// signature, flags, person and clearance.
func BenchmarkVerify(b *testing.B) {
	l := newLab(b, nil)
	row := l.published(b, asking(b, order(nil), owners(1)))
	envelope, err := Sign(row.Payload, l.owner)
	if err != nil {
		b.Fatal(err)
	}
	r, err := NewRoster(l.trust)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		terms, err := readAsk(row, l.cfg.Instance)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := r.check(row, terms, envelope); err != nil {
			b.Fatal(err)
		}
	}
}
