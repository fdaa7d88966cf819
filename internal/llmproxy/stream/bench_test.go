package stream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"sallyport/internal/llmproxy/wire"
	"sallyport/test/fakes/modelserver"
)

// BenchmarkText compares, in one run, a text stream of 100 events through a
// machine, through a plain copy and through encoding/json for each event.
func BenchmarkText(b *testing.B) {
	for _, form := range []string{"openai", "responses", "anthropic", "gemini"} {
		in := []byte(render(b, form, modelserver.Reply{Text: strings.Repeat("ten runes ", 100), Pieces: 10, Usage: &modelserver.Usage{Input: 1, Output: 2}}))
		events := bytes.Count(in, []byte("\n\n"))
		report := func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		}
		o := options(form)
		o.Out = func(p []byte) error { _, err := io.Discard.Write(p); return err }
		o.Judge = func(wire.Call) Verdict { return Verdict{} }
		o.Text = func(string) error { return nil }
		for _, piece := range []int{4096, 200} {
			b.Run(fmt.Sprintf("%s/machine-%d", form, piece), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					m := New(o)
					for p := in; len(p) > 0; p = p[min(piece, len(p)):] {
						if _, err := m.Write(p[:min(piece, len(p))]); err != nil {
							b.Fatal(err)
						}
					}
					if _, err := m.Close(); err != nil {
						b.Fatal(err)
					}
				}
				report(b)
			})
		}
		b.Run(form+"/copy", func(b *testing.B) {
			buf := make([]byte, 4096)
			for b.Loop() {
				// The wrappers keep the copy from being one call.
				_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{bytes.NewReader(in)}, buf)
			}
			report(b)
		})
		b.Run(form+"/encoding-json", func(b *testing.B) {
			for b.Loop() {
				for ev := range bytes.SplitSeq(in, []byte("\n\n")) {
					if _, data, ok := bytes.Cut(ev, []byte("data: ")); ok {
						var v map[string]any
						_ = json.Unmarshal(data, &v)
					}
				}
			}
			report(b)
		})
	}
}
