//go:build !race

package vault

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// masked is a key that is not in memory as itself.
type masked []byte

func mask(key []byte) masked {
	m := slices.Clone(key)
	for i := range m {
		m[i] ^= 0xff
	}
	return m
}

// copies counts how often each key lies in the writable memory of this process.
func copies(t *testing.T, keys ...masked) []int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Skipf("the process may not look at itself: %v", err)
	}
	defer mem.Close()
	found := make([]int, len(keys))
	buf := make([]byte, 1<<20)
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		var from, to int64
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x rw", &from, &to); err != nil || strings.Contains(lines.Text(), "[v") || to-from > 1<<30 {
			continue // the race detector's own maps are terabytes
		}
		for at := from; at < to; at += int64(len(buf) - keySize) {
			n, err := mem.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
			if err != nil && err != io.EOF {
				break
			}
			for i, b := range buf[:n] {
				buf[i] = ^b
			}
			for i, k := range keys {
				found[i] += bytes.Count(buf[:n], k)
			}
			clear(buf)
		}
	}
	return found
}

// TestNoKeyRemains looks for keys in the process' own memory: a record key after
// its release, a KEK after Close. What is not looked for, because a library
// keeps copies that nobody can reach: the root key in the blocks of SHA-256, and
// the subkey of one nonce on a stack.
func TestNoKeyRemains(t *testing.T) {
	control := make([]byte, keySize)
	rand.Read(control)
	var record, kek masked
	func() {
		v, m, _ := made(t)
		put(t, v, "a", low, plainText)
		if _, _, err := v.Get(t.Context(), anybody, "a", 0); err != nil {
			t.Fatal(err)
		}
		id := KeyID{Level: low.Level, Compartments: low.Compartments, Epoch: 1}
		var key [keySize]byte
		if err := v.ring.root.unwrapKEK(&key, instance, m.keys[id]); err != nil {
			t.Fatal(err)
		}
		kek = mask(key[:])
		clear(key[:])
		err := v.broker.release(t.Context(), Request{}, m.items["a"], func(k *recordKey) error {
			record = mask(k[:])
			_, err := openBody(k, instance, m.items["a"].SealedRef, m.items["a"].Body)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := copies(t, kek); n[0] == 0 {
			t.Error("a key that is in use was not found, so the search shows nothing")
		}
		v.Close()
	}()
	n := copies(t, mask(control), record, kek)
	if n[0] == 0 || n[1] != 0 || n[2] != 0 {
		t.Errorf("copies of a key that is kept: %d, of a record key: %d, of a KEK: %d", n[0], n[1], n[2])
	}
	runtime.KeepAlive(control)
}
