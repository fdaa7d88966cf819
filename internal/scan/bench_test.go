package scan

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cleanText is prose, code and JSON of our own, about 1 MiB.
func cleanText() []byte {
	var b bytes.Buffer
	words := strings.Fields("the harbour was quiet when boats came home and nobody spoke of weather because everyone had seen it change before noon yet children ran along stones counting gulls while their mothers mended nets and talked about prices in town")
	for i := 0; b.Len() < 1<<20; i++ {
		switch i % 3 {
		case 0:
			for j := range 60 {
				b.WriteString(words[(i*7+j*j)%len(words)])
				b.WriteByte(" \n"[j/59])
			}
		case 1:
			fmt.Fprintf(&b, "func (r *reader) line%d(n int) error {\n\tif n <= r.limit {\n\t\treturn fmt.Errorf(\"line %%d: %%w\", n, errShort)\n\t}\n\tr.count += n * %d\n\treturn nil\n}\n\n", i, i%17)
		default:
			fmt.Fprintf(&b, `{"id": %d, "name": "%s %s", "tags": ["%s", "%s"], "open": true, "count": %d}`+"\n", i, words[i%len(words)], words[i*3%len(words)], words[i*5%len(words)], words[i*11%len(words)], i%100)
		}
	}
	return b.Bytes()
}

func TestCleanTextIsClean(t *testing.T) {
	if r := compile(t, Options{}).Scan(cleanText()); len(r.Findings)+len(r.Unscanned) > 0 {
		t.Errorf("%v %v", r.Findings, r.Unscanned)
	}
}

func TestNoAllocation(t *testing.T) {
	s := compile(t, Options{Keywords: seed()}).NewScanner()
	text := cleanText()[:200000]
	if n := testing.AllocsPerRun(5, func() { s.Scan(text) }); n != 0 {
		t.Errorf("%v allocations on clean text", n)
	}
}

func sum(text []byte) (n int) {
	for _, c := range text {
		n += int(c)
	}
	return n
}

// measure runs a piece of work beside a plain loop over the same bytes. On a
// machine that others use too, the mean tells about them: best-MB/s is the
// fastest run, and of-sum is that of the loop's fastest.
func measure(b *testing.B, text []byte, work func()) {
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	best, plain := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	n := 0
	for b.Loop() {
		start := time.Now()
		work()
		best = min(best, time.Since(start))
		start = time.Now()
		n += sum(text)
		plain = min(plain, time.Since(start))
	}
	if n == 0 {
		b.Fatal("no bytes")
	}
	b.ReportMetric(float64(len(text))/best.Seconds()/1e6, "best-MB/s")
	b.ReportMetric(plain.Seconds()/best.Seconds(), "of-sum")
}

func BenchmarkClean(b *testing.B) {
	text := cleanText()[:1<<18] // four windows, so that a run fits between two interruptions
	run := func(name string, o Options) {
		b.Run(name, func(b *testing.B) {
			s := compile(b, o).NewScanner()
			measure(b, text, func() { s.Scan(text) })
		})
	}
	run("all rules", Options{})
	run("keywords", Options{Keywords: seed()})
	run("a secret", Options{Secrets: []Secret{{"canary", known}}})
	b.Run("literals", func(b *testing.B) {
		f := compile(b, Options{}).filter
		measure(b, text, func() { f.scan(text, func(int32, int) bool { return true }) })
	})
}

// BenchmarkSmall takes the time of single readings of 4 KiB, each another part
// of the text.
func BenchmarkSmall(b *testing.B) {
	text := cleanText()
	s := compile(b, Options{Keywords: seed()}).NewScanner()
	var took []time.Duration
	for at := 0; b.Loop(); at = (at + 4096) % (len(text) - 4096) {
		start := time.Now()
		s.Scan(text[at : at+4096])
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	for _, q := range []float64{0.5, 0.99, 0.999} {
		b.ReportMetric(float64(took[int(q*float64(len(took)-1))].Nanoseconds())/1e3, fmt.Sprintf("p%g-µs", 100*q))
	}
}

// worst are texts made to cost much.
func worst() map[string][]byte {
	fill := func(s string) []byte { return []byte(strings.Repeat(s, 1<<18/len(s)+1)) }
	return map[string][]byte{
		"digits":     fill("4111 1111 1111 1112 "),
		"at signs":   fill("a@b.c@"),
		"secrets":    fill("api_key password token secret "),
		"ignore":     fill("ignore ignore all "),
		"base64":     []byte(base64.StdEncoding.EncodeToString(fill("some words that are text "))),
		"nested":     []byte(base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString(fill("password=token "))))),
		"zero width": fill("a\u200b"),
		"percent":    fill("%41%42"),
		"escapes":    fill("\x1b[2J"),
		"eyJ":        fill("eyJhbGciOiJ"),
		"slashes":    fill("AbCdEfGh/IjKlMnOp="),
		"brackets":   fill("![](http://a.b/?"),
		"pem":        fill("-----BEGIN RSA PRIVATE KEY-----"),
		"chinese":    fill("\u4f60\u597d\u4e16\u754c "),
		"found":      fill(found()),
	}
}

//go:embed testdata/slow.txt
var slow string

// found is the text that TestSlowSearch climbed to.
func found() string {
	text, err := strconv.Unquote(strings.TrimSpace(slow))
	if err != nil {
		panic(err)
	}
	return text
}

func BenchmarkWorst(b *testing.B) {
	for _, name := range slices.Sorted(maps.Keys(worst())) {
		b.Run(name, func(b *testing.B) {
			text := worst()[name]
			s := compile(b, Options{Keywords: seed(), Secrets: []Secret{{"canary", known}}}).NewScanner()
			measure(b, text, func() { s.Scan(text) })
		})
	}
}
