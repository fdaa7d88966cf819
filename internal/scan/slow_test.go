package scan

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"testing"
	"time"
)

// dearest is what a byte may cost at most, in steps of roughly a nanosecond:
// the budget, what one piece of work may exceed it by, and the passes over
// readings that nobody is charged for.
const dearest = 40

// cost gives the steps per byte that a window full of a pattern takes. It
// depends on the text alone, not on the clock.
func cost(s *Scanner, pattern []byte) (float64, Result) {
	text := bytes.Repeat(pattern, window/len(pattern)+1)[:window]
	r := s.Scan(text)
	return float64(s.work) / window, r
}

func slowEngine(t testing.TB) *Engine {
	return compile(t, Options{Keywords: seed(), Secrets: []Secret{{"canary", known}}})
}

// patterns are what a search for slow texts begins with.
func patterns() [][]byte {
	var out [][]byte
	for _, text := range worst() {
		out = append(out, text[:min(len(text), 96)])
	}
	slices.SortFunc(out, bytes.Compare)
	return out
}

// FuzzCost: whatever a text is, its cost is bounded, and who met the bound says
// so.
func FuzzCost(f *testing.F) {
	s := slowEngine(f).NewScanner()
	for _, p := range patterns() {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, pattern []byte) {
		if len(pattern) == 0 || len(pattern) > window {
			return
		}
		c, r := cost(s, pattern)
		if c > dearest {
			t.Errorf("%q costs %.1f steps per byte, more than %d", pattern, c, dearest)
		}
		if c > DefaultBudget+8 && len(r.Unscanned) == 0 {
			t.Errorf("%q costs %.1f steps per byte and counts as read", pattern, c)
		}
	})
}

// mutated gives a pattern that differs from one: pieces of others, another
// coding, a part of itself, other bytes.
func mutated(r *rand.Rand, p []byte, all [][]byte) []byte {
	p = slices.Clone(p)
	at := r.IntN(len(p))
	switch q := all[r.IntN(len(all))]; r.IntN(7) {
	case 0:
		p[at] = byte(r.IntN(256))
	case 1:
		from := r.IntN(len(q))
		p = slices.Insert(p, at, q[from:from+1+r.IntN(min(len(q)-from, 24))]...)
	case 2:
		p = slices.Delete(p, at, at+1+r.IntN(min(len(p)-at, 24)))
	case 3:
		p = []byte(base64.StdEncoding.EncodeToString(p))
	case 4:
		p = append(p[:at:at], url.QueryEscape(string(p[at:]))...)
	case 5:
		p = append(p, p[at:]...)
	default:
		p = slices.Insert(p, at, "=/.@%&\\ \n0aZ\u200b-"[r.IntN(12)])
	}
	if len(p) == 0 || len(p) > 4096 {
		return all[r.IntN(len(all))]
	}
	return p
}

// TestSlowSearch climbs from the known slow texts to slower ones for as long as
// SALLYPORT_SLOW says, and shows the slowest. The same seed finds the same.
func TestSlowSearch(t *testing.T) {
	limit, err := time.ParseDuration(os.Getenv("SALLYPORT_SLOW"))
	if err != nil {
		t.Skip("SALLYPORT_SLOW names no time to search for slow texts, such as 60s")
	}
	s := slowEngine(t).NewScanner()
	all := patterns()
	best := make([]float64, len(all))
	for i, p := range all {
		best[i], _ = cost(s, p)
	}
	r := rand.New(rand.NewPCG(5, 6))
	for start := time.Now(); time.Since(start) < limit; {
		i := r.IntN(len(all))
		p := mutated(r, all[i], all)
		if c, _ := cost(s, p); c > best[i] {
			all[i], best[i] = p, c
		}
	}
	for i, p := range all {
		took := time.Duration(1<<63 - 1)
		for range 20 {
			start := time.Now()
			cost(s, p)
			took = min(took, time.Since(start))
		}
		t.Logf("%6.2f steps per byte, %6.1f MB/s: %q", best[i], window/took.Seconds()/1e6, p)
	}
	if worst := slices.Max(best); worst > dearest {
		t.Errorf("%.1f steps per byte, more than %d", worst, dearest)
	}
}
