//go:build unix

package vault

import (
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// benchRing gives a ring with one KEK in memory, and its name.
func benchRing(b *testing.B) (*Vault, *memory) {
	v, m, _ := made(b)
	put(b, v, "warm", low, nil)
	return v, m
}

// rate starts to count the process' own CPU time, so that a busy machine does
// not count; what it gives reports operations per second of it.
func rate(b *testing.B) func() {
	start := cpu(b)
	return func() { b.ReportMetric(float64(b.N)/(cpu(b)-start).Seconds(), "ops/cpu-s") }
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSeal compares an envelope of 1 KiB with the cipher alone, one call of
// it with a fixed key, in the same run.
func BenchmarkSeal(b *testing.B) {
	data := make([]byte, 1024)
	b.Run("envelope", func(b *testing.B) {
		v, _ := benchRing(b)
		r := Ref{ID: "0123456789abcdef", Label: low, Version: 1}
		b.ReportAllocs()
		done := rate(b)
		for b.Loop() {
			if _, err := v.ring.seal(b.Context(), 1, r, data); err != nil {
				b.Fatal(err)
			}
		}
		done()
	})
	b.Run("bare", func(b *testing.B) {
		aead, nonce := bare(b)
		out := make([]byte, 0, 2048)
		b.ReportAllocs()
		done := rate(b)
		for b.Loop() {
			out = aead.Seal(out[:0], nonce, data, nil)
		}
		done()
	})
	b.Run("book", func(b *testing.B) {
		v, m := benchRing(b)
		b.ReportAllocs()
		done := rate(b)
		for i := 0; b.Loop(); i++ {
			if i%10_000 == 0 {
				clear(m.items)
			}
			if _, err := v.Put(b.Context(), anybody, Ref{ID: fmt.Sprint(i), Label: low}, data); err != nil {
				b.Fatal(err)
			}
		}
		done()
	})
}

// BenchmarkOpen is the way back.
func BenchmarkOpen(b *testing.B) {
	data := make([]byte, 1024)
	b.Run("envelope", func(b *testing.B) {
		v, m := benchRing(b)
		put(b, v, "0123456789abcdef", low, data)
		it := m.items["0123456789abcdef"]
		b.ReportAllocs()
		done := rate(b)
		for b.Loop() {
			err := v.broker.release(b.Context(), Request{}, it, func(key *recordKey) error {
				_, err := openBody(key, instance, it.SealedRef, it.Body)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		done()
	})
	b.Run("bare", func(b *testing.B) {
		aead, nonce := bare(b)
		sealed := aead.Seal(nil, nonce, data, nil)
		out := make([]byte, 0, 2048)
		b.ReportAllocs()
		done := rate(b)
		for b.Loop() {
			var err error
			if out, err = aead.Open(out[:0], nonce, sealed, nil); err != nil {
				b.Fatal(err)
			}
		}
		done()
	})
	b.Run("book", func(b *testing.B) {
		v, _ := benchRing(b)
		put(b, v, "0123456789abcdef", low, data)
		b.ReportAllocs()
		done := rate(b)
		for b.Loop() {
			if _, _, err := v.Get(b.Context(), anybody, "0123456789abcdef", 0); err != nil {
				b.Fatal(err)
			}
		}
		done()
	})
}

// BenchmarkRewrap is what one item costs when an epoch changes.
func BenchmarkRewrap(b *testing.B) {
	v, m := benchRing(b)
	put(b, v, "a", low, make([]byte, 1024))
	it := m.items["a"]
	if _, err := v.Rotate(b.Context()); err != nil {
		b.Fatal(err)
	}
	done := rate(b)
	for b.Loop() {
		m.items["a"] = it
		if err := v.rewrap(b.Context(), 2, it); err != nil {
			b.Fatal(err)
		}
	}
	done()
}

func BenchmarkPassphrase(b *testing.B) {
	for b.Loop() {
		clear(Floor.derive([]byte("correct horse battery"), make([]byte, saltSize)))
	}
}

func bare(b *testing.B) (cipher.AEAD, []byte) {
	var key [keySize]byte
	nonce := make([]byte, nonceSize)
	rand.Read(key[:])
	rand.Read(nonce)
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		b.Fatal(err)
	}
	return aead, nonce
}
