package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/app"
)

// providerKey is the key that the proxy sends to the model server.
const providerKey = "sk-provider-0123456789abcdef"

// watching are the settings of the measured proxy: the keywords of the Cylestio
// page, its masks, and spend limits, so that every call reserves and settles.
const watching = `
security:
  suspicious_keywords: [REMOVE, CLEAR, HACK, BOMB, YOUR_CUSTOM_TERM]
  dangerous_keywords: [DROP, DELETE, SHUTDOWN, "EXEC(", FORMAT, "RM -RF", KILL, TRANSFER ALL FUNDS]
data_masking:
  enabled: true
  patterns:
    - {name: credit_card, regex: '\b(?:\d{4}[- ]?){3}\d{4}\b', replacement: "****-****-****-****"}
    - {name: ssn, regex: '\b\d{3}-\d{2}-\d{4}\b', replacement: "***-**-****"}
dayLimitDollars: 1000000
`

// settings writes the settings of a proxy before a model server and gives its
// state directory.
func settings(b *testing.B, model string) string {
	b.Helper()
	home := filepath.Join(b.TempDir(), "state")
	if err := os.MkdirAll(home, 0o700); err != nil {
		b.Fatal(err)
	}
	conf := fmt.Sprintf("proxy:\n  listen: 127.0.0.1:0\n  upstreams:\n    openai: {base_url: %[1]q, key_env: UP_KEY}\n    anthropic: {base_url: %[1]q, key_env: UP_KEY}\n%[2]s", model, watching)
	if err := os.WriteFile(filepath.Join(home, "sallyport.yaml"), []byte(conf), 0o600); err != nil {
		b.Fatal(err)
	}
	return home
}

// office opens a state directory and makes an API key.
func office(b *testing.B, home string) (a *app.App, token string) {
	b.Helper()
	a, err := app.Open(b.Context(), app.Options{Home: home, Environ: []string{"HOME=" + home, "UP_KEY=" + providerKey}, Create: true})
	if err != nil {
		b.Fatal(err)
	}
	if _, token, err = a.CreateKey(b.Context(), app.KeyRequest{Name: "bot", Limit: -1, Day: 1e6}, "bench"); err != nil {
		b.Fatal(err)
	}
	return a, token
}

// way3 are the ways to a model server: directly, through a bare ReverseProxy of
// the standard library, through Sallyport.
var way3 = []string{"direct", "reverse", "sallyport"}

// roads are their addresses.
type roads struct {
	addr  map[string]string
	token string
}

// build serves a model, and both proxies before it, in this process. Sallyport
// is served as `sallyport proxy` does.
func build(b *testing.B, model http.HandlerFunc) roads {
	b.Helper()
	srv := httptest.NewServer(model)
	b.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		b.Fatal(err)
	}
	reverse := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(u) },
		Transport: &http.Transport{DisableCompression: true, MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024},
	})
	b.Cleanup(reverse.Close)
	a, token := office(b, settings(b, srv.URL))
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- a.Proxy(ctx, app.ProxyOptions{Out: io.Discard, Ready: func(addr string) { ready <- addr }})
	}()
	r := roads{token: token, addr: map[string]string{"direct": u.Host, "reverse": reverse.Listener.Addr().String()}}
	select {
	case r.addr["sallyport"] = <-ready:
	case err := <-done:
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := a.Close(); err != nil {
			b.Error(err)
		}
	})
	return r
}

// words is harmless text of a size.
func words(n int) string {
	const s = "The boats came home in the evening and nobody spoke of the weather. "
	return strings.Repeat(s, n/len(s)+1)[:n]
}

// chat is a Chat request of a size with one new message; known tells that what
// is before it is the same every time.
func chat(size int, stream, known bool) string {
	head := fmt.Sprintf(`{"model":"gpt-4o","max_tokens":500,"stream":%v,"messages":[{"role":"system","content":"You are a harbour master."}`, stream)
	if !known {
		return head + fmt.Sprintf(`,{"role":"user","content":"%s %s"}]}`, words(max(1, size-len(head)-60)), serialMark)
	}
	var s strings.Builder
	s.WriteString(head)
	for i := 0; s.Len() < size-1100; i++ {
		fmt.Fprintf(&s, `,{"role":%q,"content":"%d %s"}`, []string{"user", "assistant"}[i%2], i, words(1000))
	}
	fmt.Fprintf(&s, `,{"role":"user","content":"%s %s"}]}`, words(1000), serialMark)
	return s.String()
}

// answered is a plain reply of 1 KB.
var answered = `{"id":"chatcmpl-` + "%d" + `","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"` +
	words(760) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":500,"completion_tokens":180,"total_tokens":680}}`

// plain serves such replies, after a while.
func plain(wait time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(wait)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, answered, serial.Add(1))
	}
}

// streamed serves a stream of 100 events, each of which leaves at once.
func streamed(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	id := serial.Add(1)
	for range 98 {
		fmt.Fprintf(w, "data: {\"id\":\"chatcmpl-%d\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"boats \"},\"finish_reason\":null}]}\n\n", id)
		_ = out.Flush()
	}
	fmt.Fprintf(w, "data: {\"id\":\"chatcmpl-%d\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", id)
	_ = out.Flush()
	_, _ = io.WriteString(w, "data: [DONE]\n\n")
}

const (
	// turns is how often each way is measured, one after the other, in a run.
	turns = 5
	// turn is how long.
	turn = 500 * time.Millisecond
)

// compare measures the three ways in turns. The best turn of each counts: the
// machine is shared, and what disturbs only ever makes slower.
func compare(b *testing.B, r roads, req func(addr string) request, clients int, d time.Duration) map[string]tally {
	b.Helper()
	crowds, best := map[string]*crowd{}, map[string]tally{}
	for _, w := range way3 {
		crowds[w] = gather(b, r.addr[w], req(r.addr[w]), clients)
	}
	for i := range turns {
		for j := range way3 {
			w := way3[(i+j)%len(way3)]
			got := crowds[w].run(d)
			have := best[w]
			have.rate, have.replies, have.cut = max(have.rate, got.rate), have.replies+got.replies, have.cut+got.cut
			if have.cpu == 0 || got.cpu < have.cpu {
				have.cpu = got.cpu
			}
			if len(have.whole) == 0 || got.whole.at(.5) < have.whole.at(.5) {
				have.whole, have.first = got.whole, got.first
			}
			best[w] = have
		}
	}
	return best
}

// tell reports how Sallyport and the ReverseProxy compare with no proxy, and with
// each other.
func tell(b *testing.B, t map[string]tally, clients int) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(t["sallyport"].rate, "req/s")
	b.ReportMetric(t["reverse"].rate/t["direct"].rate, "reverse-x-direct")
	b.ReportMetric(t["sallyport"].rate/t["direct"].rate, "x-direct")
	b.ReportMetric(t["sallyport"].rate/t["reverse"].rate, "x-reverse")
	b.ReportMetric(float64(t["sallyport"].cpu)/1e3, "cpu-µs")
	b.ReportMetric(float64(t["reverse"].cpu)/1e3, "reverse-cpu-µs")
	b.ReportMetric(float64(t["direct"].cpu)/1e3, "direct-cpu-µs")
	b.ReportMetric(float64(t["sallyport"].replies), "replies")
	b.ReportMetric(float64(t["sallyport"].cut), "truncated")
	b.ReportMetric(float64(t["reverse"].cut), "reverse-truncated")
	if clients > 1 {
		return
	}
	for _, q := range []struct {
		name string
		at   float64
	}{{"p50", .5}, {"p99", .99}} {
		for _, w := range way3[1:] {
			name := map[string]string{"reverse": "reverse-added-", "sallyport": "added-"}[w]
			b.ReportMetric(float64(t[w].whole.at(q.at)-t["direct"].whole.at(q.at))/1e3, name+q.name+"-µs")
			if q.name == "p50" {
				b.ReportMetric(float64(t[w].first.at(q.at)-t["direct"].first.at(q.at))/1e3, name+"first-byte-µs")
			}
		}
	}
}

// BenchmarkProxyPlain is a reply of 1 KB from a model that answers at once. The
// prompt is new, or a conversation that is continued by one new message of 1 KB.
func BenchmarkProxyPlain(b *testing.B) {
	for _, c := range []struct {
		name    string
		size    int
		known   bool
		clients int
	}{
		{"prompt=2KB/clients=1", 2 << 10, false, 1},
		{"prompt=2KB/clients=32", 2 << 10, false, 32},
		{"prompt=2KB/clients=256", 2 << 10, false, 256},
		{"prompt=50KB.new/clients=1", 50 << 10, false, 1},
		{"prompt=50KB.continued/clients=1", 50 << 10, true, 1},
		{"prompt=1MB.new/clients=1", 1 << 20, false, 1},
		{"prompt=1MB.continued/clients=1", 1 << 20, true, 1},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := build(b, plain(0))
			body := chat(c.size, false, c.known)
			for b.Loop() {
				tell(b, compare(b, r, func(a string) request { return post(a, "/v1/chat/completions", r.token, body, "}") }, c.clients, turn), c.clients)
			}
		})
	}
}

// BenchmarkProxyStream is a reply of 100 events, each sent on its own.
func BenchmarkProxyStream(b *testing.B) {
	for _, clients := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			r := build(b, streamed)
			body := chat(2<<10, true, false)
			for b.Loop() {
				tell(b, compare(b, r, func(a string) request { return post(a, "/v1/chat/completions", r.token, body, "[DONE]") }, clients, turn), clients)
			}
		})
	}
}

// BenchmarkProxySlowModel is 256 clients of a model that takes 60 ms, for a
// minute or so: what a proxy costs where a model works.
func BenchmarkProxySlowModel(b *testing.B) {
	r := build(b, plain(60*time.Millisecond))
	body := chat(2<<10, false, false)
	for b.Loop() {
		t := compare(b, r, func(a string) request { return post(a, "/v1/chat/completions", r.token, body, "}") }, 256, 4*time.Second)
		tell(b, t, 256)
		for _, w := range way3 {
			b.ReportMetric(float64(t[w].whole.at(.5))/1e6, w+"-p50-ms")
		}
	}
}
