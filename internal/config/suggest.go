package config

import (
	"maps"
	"slices"
	"strings"
)

// nearest gives the candidate that word was probably meant to be, or "".
// Case, underscores and hyphens do not count, because the dialects differ in
// them only.
func nearest(word string, candidates []string) string {
	best, bestDist := "", 1<<30
	w := squash(word)
	if len(w) > 64 {
		return "" // nobody's typing error; keeps the distance cheap
	}
	for _, c := range candidates {
		d := distance(w, squash(c))
		if d < bestDist {
			best, bestDist = c, d
		}
	}
	if bestDist <= max(1, len(w)/3) {
		return best
	}
	return ""
}

func squash(s string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
}

// distance counts single-byte insertions, deletions, replacements and swaps of
// neighbours that turn a into b.
func distance(a, b string) int {
	prev2 := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
