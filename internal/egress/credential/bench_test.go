package credential

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkScrub measures clean text of the kinds that pass, with one secret
// and with twenty.
func BenchmarkScrub(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var random strings.Builder
	for random.Len() < 1<<20 {
		random.WriteByte(sextets[rnd.IntN(64)])
	}
	texts := map[string]string{
		"prose":  strings.Repeat("The quick brown fox jumps over the lazy dog, 100 times a day. ", 1<<20/62),
		"sse":    strings.Repeat("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hel\\u00e9lo\"}}\n\n", 1<<20/130),
		"base64": random.String(),
	}
	for _, secrets := range []int{1, 20} {
		var all []Binding
		for i := range secrets {
			v := make([]byte, 40)
			for j := range v {
				v[j] = sextets[rnd.IntN(62)]
			}
			all = append(all, Binding{
				Name: fmt.Sprint(i), Host: fmt.Sprintf("h%d.example", i), Value: newValue(append([]byte("sk-ant-api03-"), v...)),
				Placeholder: NewPlaceholder("sk-ant-api03-{random}"), Places: []Place{{Name: "X-Api-Key"}},
			})
		}
		s, err := NewSet(all)
		if err != nil {
			b.Fatal(err)
		}
		for name, text := range texts {
			data := []byte(text)
			b.Run(fmt.Sprintf("%s/%d", name, secrets), func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					if out := s.Scrub(data); len(out) != len(data) {
						b.Fatal("found something")
					}
				}
			})
		}
		b.Run(fmt.Sprintf("reader/%d", secrets), func(b *testing.B) {
			text := texts["sse"]
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if n, err := io.Copy(io.Discard, &reader{m: s.values, src: strings.NewReader(text)}); n != int64(len(text)) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// BenchmarkOutgoing measures what a request costs.
func BenchmarkOutgoing(b *testing.B) {
	s := lab(b)
	r := parse(b, "POST /v1/messages"+plainHead+"Accept: */*\nUser-Agent: agent/1.0\nX-Api-Key: "+placeholder+"\n\n")
	b.ReportAllocs()
	for b.Loop() {
		r.Header = http.Header{"X-Api-Key": {placeholder}, "Accept": {"*/*"}, "User-Agent": {"agent/1.0"}, "Content-Type": {"application/json"}}
		if _, err := s.Outgoing(b.Context(), host, 443, true, r, yes); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNewSet measures the start of a run.
func BenchmarkNewSet(b *testing.B) {
	for b.Loop() {
		if _, err := NewSet(bindings()); err != nil {
			b.Fatal(err)
		}
	}
}
