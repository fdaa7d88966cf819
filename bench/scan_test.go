package bench

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"sallyport/internal/scan"
)

// added is a plain loop: what the machine can do at the time.
func added(text []byte) (n int) {
	for _, c := range text {
		n += int(c)
	}
	return n
}

// BenchmarkScan reads harmless text with all rules, the shipped kind of
// keywords and one known secret. The rate is the fastest of the runs, of-sum
// its ratio to a plain loop that adds the same bytes, in turns; the times are
// those of single readings of 4 KiB.
func BenchmarkScan(b *testing.B) {
	e, err := scan.Compile(scan.Options{
		Keywords: []scan.Keyword{{Text: "DROP"}, {Text: "rm -rf"}, {Text: "transfer all funds"}},
		Secrets:  []scan.Secret{{Name: "canary", Value: "canary-7Hq2vXz9LmP4rTw8"}},
	})
	if err != nil {
		b.Fatal(err)
	}
	var text bytes.Buffer
	for i := 0; text.Len() < 1<<18; i++ {
		fmt.Fprintf(&text, "The boats of day %d came home; nobody spoke of the weather.\n{\"id\": %d, \"open\": true}\n", i, i%100)
	}
	s := e.NewScanner()
	var small samples
	best, plain, n := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64), 0
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		start := time.Now()
		if r := s.Scan(text.Bytes()); len(r.Findings)+len(r.Unscanned) > 0 {
			b.Fatal(r)
		}
		best = min(best, time.Since(start))
		start = time.Now()
		n += added(text.Bytes())
		plain = min(plain, time.Since(start))
		at := n % (text.Len() - 4096)
		start = time.Now()
		s.Scan(text.Bytes()[at : at+4096])
		small.since(start)
	}
	b.ReportMetric(float64(text.Len())/best.Seconds()/1e6, "best-MB/s")
	b.ReportMetric(plain.Seconds()/best.Seconds(), "of-sum")
	small.report(b, "4KiB-", time.Microsecond)
}
