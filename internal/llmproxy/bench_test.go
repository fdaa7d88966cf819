package llmproxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/gate"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/record"
)

// forgetful is a ledger that keeps nothing, so that what is measured is the
// proxy.
type forgetful struct {
	*book
	n atomic.Int64
}

func (f *forgetful) Intend(_ context.Context, _ record.Intent) (record.Receipt, error) {
	return record.Receipt{ID: f.n.Add(1)}, nil
}
func (f *forgetful) Settle(context.Context, record.Outcome) error { return nil }

// ways are the ways to a model server that answers at once.
func ways(b *testing.B, reply string, kind string) map[string]string {
	b.Helper()
	return waysTo(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", kind)
		if kind == "application/json" {
			io.WriteString(w, reply)
			return
		}
		for e := range strings.SplitAfterSeq(reply, "\n\n") {
			io.WriteString(w, e)
			http.NewResponseController(w).Flush()
		}
	}))
}

func waysTo(b *testing.B, h http.Handler) map[string]string {
	b.Helper()
	model := httptest.NewServer(h)
	b.Cleanup(model.Close)
	u := must(url.Parse(model.URL))
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 512}
	b.Cleanup(transport.CloseIdleConnections)
	reverse := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(u) }, Transport: transport, FlushInterval: -1})
	b.Cleanup(reverse.Close)
	ledger := &forgetful{book: &book{approved: map[action.Digest]bool{}}}
	g := must(gate.New(gate.Config{
		Ledger: ledger, Policy: ledger, Approver: Patient(ledger), Now: time.Now,
		Executors: map[action.Kind]gate.Executor{action.ModelCall: ledger, action.ToolCall: ledger},
	}))
	up := Upstream{Name: "fake", Base: u, Credential: keyIn(wire.Chat), Transport: transport}
	p := must(New(Config{
		Gate: g, Journal: ledger, Screen: must(blocking()), PolicySet: func() string { return "set" },
		Upstream: func(wire.API, string) (Upstream, error) { return up, nil },
	}))
	own := httptest.NewServer(p.Handler(ledger))
	b.Cleanup(func() { own.Close(); p.Close(b.Context()) })
	return map[string]string{"direct": model.URL, "reverse": reverse.URL, "proxy": own.URL}
}

// conversation makes a request of about size bytes: a history that is the same
// every time and one new message.
func conversation(size int, stream bool) func(n int) string {
	var h strings.Builder
	fmt.Fprintf(&h, `{"model":"m-1","stream":%v,"stream_options":{"include_usage":true},"messages":[`, stream)
	for h.Len() < size-200 {
		fmt.Fprintf(&h, `{"role":"user","content":%q},`, strings.Repeat("The quick brown fox jumps over the lazy dog.\n", min(40, (size-100-h.Len())/46+1)))
	}
	return func(n int) string { return h.String() + fmt.Sprintf(`{"role":"user","content":"message %d"}]}`, n) }
}

// processorTime is what the process has used, client and model server included:
// on a busy machine it says more than the clock.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func run(b *testing.B, base string, body func(int) string) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 512}}
	defer client.CloseIdleConnections()
	before := processorTime()
	defer func() { b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/op") }()
	for n := 0; b.Loop(); n++ {
		once(b, client, base, body(n))
	}
}

func once(b *testing.B, client *http.Client, base, body string) {
	r, _ := http.NewRequestWithContext(b.Context(), http.MethodPost, base+"/v1/chat/completions", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer sp-good")
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		b.Error(err)
		return
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 {
		b.Error(resp.Status)
	}
}

// many measures the throughput of clients that ask at the same time.
func many(b *testing.B, base string, clients int, body func(int) string) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	var n atomic.Int64
	b.SetParallelism(max(1, clients/runtime.GOMAXPROCS(0)))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			once(b, client, base, body(int(n.Add(1))))
		}
	})
}

// BenchmarkPlain: one client, a reply of 1 KB at once.
func BenchmarkPlain(b *testing.B) {
	reply := `{"id":"chatcmpl-1","object":"chat.completion","model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("word ", 180) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}}`
	for _, size := range []int{2 << 10, 50 << 10, 1 << 20} {
		all := ways(b, reply, "application/json")
		body := conversation(size, false)
		for _, way := range []string{"direct", "reverse", "proxy"} {
			b.Run(fmt.Sprintf("%dKB/%s", size>>10, way), func(b *testing.B) { run(b, all[way], body) })
		}
	}
}

// BenchmarkThroughput: 2 KB at once from 32 and 256 clients.
func BenchmarkThroughput(b *testing.B) {
	reply := `{"id":"chatcmpl-1","object":"chat.completion","model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("word ", 180) + `"},"finish_reason":"stop"}]}`
	all := ways(b, reply, "application/json")
	body := conversation(2<<10, false)
	for _, clients := range []int{32, 256} {
		for _, way := range []string{"direct", "reverse", "proxy"} {
			b.Run(fmt.Sprintf("%d/%s", clients, way), func(b *testing.B) { many(b, all[way], clients, body) })
		}
	}
}

// BenchmarkIdleStreams: the memory of streams that wait for their next event,
// client and model server included.
func BenchmarkIdleStreams(b *testing.B) {
	const streams = 500
	hold := make(chan struct{})
	defer close(hold)
	all := waysTo(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"}}]}\n\n")
		http.NewResponseController(w).Flush()
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	body := conversation(50<<10, true)
	used := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	for _, way := range []string{"direct", "reverse", "proxy"} {
		b.Run(way, func(b *testing.B) {
			for b.Loop() {
				ctx, cancel := context.WithCancel(b.Context())
				client := &http.Client{Transport: &http.Transport{}}
				before := used()
				for n := range streams {
					r, _ := http.NewRequestWithContext(ctx, http.MethodPost, all[way]+"/v1/chat/completions", strings.NewReader(body(n)))
					r.Header.Set("Authorization", "Bearer sp-good")
					resp, err := client.Do(r)
					if err != nil {
						b.Fatal(err)
					}
					defer resp.Body.Close()
					readFull(resp.Body, make([]byte, 10))
				}
				b.ReportMetric(float64(used()-before)/streams/1024, "KB/stream")
				cancel()
				client.CloseIdleConnections()
			}
		})
	}
}

// BenchmarkStream: 100 events, each flushed by the server.
func BenchmarkStream(b *testing.B) {
	var s strings.Builder
	for range 100 {
		s.WriteString("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"},\"finish_reason\":null}]}\n\n")
	}
	s.WriteString("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	all := ways(b, s.String(), "text/event-stream")
	body := conversation(2<<10, true)
	for _, way := range []string{"direct", "reverse", "proxy"} {
		b.Run(way, func(b *testing.B) { run(b, all[way], body) })
	}
}
