package audit

import (
	"crypto/sha256"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a node of the tree.
type Hash = [32]byte

// HashSize is the length of a Hash in bytes.
const HashSize = tlog.HashSize

// recordHash is tlog.RecordHash without its allocations.
func recordHash(leaf []byte) tlog.Hash {
	var room [768]byte // most entries fit, with the zero that marks them as such
	return sha256.Sum256(append(room[:1], leaf...))
}

// Peaks tells where the peaks of the tree with n entries are: the i-th is the
// hash at height levels[i] that was completed by, and is stored with, entry
// leaves[i]. They come from the largest subtree to the smallest.
func Peaks(n int64) (leaves []int64, levels []int) {
	var start int64
	for level := 62; level >= 0; level-- {
		if n&(1<<level) != 0 {
			start += 1 << level
			leaves, levels = append(leaves, start-1), append(levels, level)
		}
	}
	return leaves, levels
}

// Grow appends entry n to a tree given by its peaks. It gives the hashes to
// store with the entry, one per level from the entry's own upwards (what
// tlog.StoredHashes gives), and the peaks of the grown tree. The peaks given
// are not changed.
func Grow(n int64, peaks []Hash, leaf []byte) (stored, next []Hash, err error) {
	if bits.OnesCount64(uint64(n)) != len(peaks) || n < 0 { //nolint:gosec // G115: n >= 0 is checked
		return nil, nil, fmt.Errorf("audit.grow: a tree of %d entries has other than %d peaks", n, len(peaks))
	}
	h := recordHash(leaf)
	stored = append(make([]Hash, 0, 1+bits.TrailingZeros64(^uint64(n))), Hash(h))
	for m := n; m&1 == 1; m >>= 1 {
		h = tlog.NodeHash(tlog.Hash(peaks[len(peaks)-1]), h)
		peaks = peaks[:len(peaks)-1]
		stored = append(stored, Hash(h))
	}
	next = make([]Hash, 0, len(peaks)+1)
	return stored, append(append(next, peaks...), Hash(h)), nil
}

// Root folds peaks into the root of the tree; an empty tree has the hash of
// nothing, as RFC 6962 says.
func Root(peaks []Hash) Hash {
	if len(peaks) == 0 {
		h, _ := tlog.TreeHash(0, nil) // reads nothing for an empty tree
		return Hash(h)
	}
	h := tlog.Hash(peaks[len(peaks)-1])
	for i := len(peaks) - 2; i >= 0; i-- {
		h = tlog.NodeHash(tlog.Hash(peaks[i]), h)
	}
	return Hash(h)
}

// HashReader reads stored hashes by entry and level, as Peaks names them.
type HashReader func(leaf int64, level int) (Hash, error)

// ReadHashes implements tlog.HashReader: the hash at (level, k) was completed
// by entry (k+1)·2^level − 1.
func (r HashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		level, k := tlog.SplitStoredHashIndex(x)
		h, err := r((k+1)<<level-1, level)
		if err != nil {
			return nil, err
		}
		out[i] = tlog.Hash(h)
	}
	return out, nil
}

// Inclusion proves that entry n is in the tree of the given size.
func Inclusion(size, n int64, r HashReader) ([]Hash, error) {
	p, err := tlog.ProveRecord(size, n, r)
	if err != nil {
		return nil, fmt.Errorf("audit.inclusion: %w", err)
	}
	return fromHashes(p), nil
}

// CheckInclusion checks such a proof against a root.
func CheckInclusion(proof []Hash, size int64, root Hash, n int64, leaf []byte) error {
	err := tlog.CheckRecord(toHashes(proof), size, tlog.Hash(root), n, tlog.RecordHash(leaf))
	if err != nil {
		return fmt.Errorf("audit.checkInclusion: %w", err)
	}
	return nil
}

// Consistency proves that the tree of size older is a prefix of that of size.
func Consistency(size, older int64, r HashReader) ([]Hash, error) {
	p, err := tlog.ProveTree(size, older, r)
	if err != nil {
		return nil, fmt.Errorf("audit.consistency: %w", err)
	}
	return fromHashes(p), nil
}

// CheckConsistency checks such a proof between two roots.
func CheckConsistency(proof []Hash, size int64, root Hash, older int64, olderRoot Hash) error {
	err := tlog.CheckTree(toHashes(proof), size, tlog.Hash(root), older, tlog.Hash(olderRoot))
	if err != nil {
		return fmt.Errorf("audit.checkConsistency: %w", err)
	}
	return nil
}

func fromHashes(in []tlog.Hash) []Hash {
	out := make([]Hash, len(in))
	for i, h := range in {
		out[i] = Hash(h)
	}
	return out
}

func toHashes(in []Hash) []tlog.Hash {
	out := make([]tlog.Hash, len(in))
	for i, h := range in {
		out[i] = tlog.Hash(h)
	}
	return out
}
