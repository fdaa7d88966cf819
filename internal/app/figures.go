package app

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sallyport/internal/llmproxy/wire"
)

// figures are the metrics of the model proxy, in the form Prometheus reads.
// Names of models, agents and tools come from outside: beyond a bound they are
// counted as "other".
type figures struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	first    *prometheus.HistogramVec
	whole    *prometheus.HistogramVec
	tokens   *prometheus.CounterVec
	calls    *prometheus.CounterVec
	findings *prometheus.CounterVec
	held     prometheus.Gauge

	mu    sync.Mutex
	names map[string]map[string]bool // label -> values told apart
}

// maxNames bounds how many values of one label are told apart.
const maxNames = 200

func newFigures() *figures {
	f := &figures{registry: prometheus.NewRegistry(), names: map[string]map[string]bool{}}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "sallyport", Name: name, Help: help}, labels)
	}
	seconds := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "sallyport", Name: name, Help: help, Buckets: []float64{.005, .02, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300},
		}, []string{"api", "model"})
	}
	f.requests = counter("model_requests_total", "Requests to models by how they ended.", "api", "model", "agent", "outcome", "status")
	f.first = seconds("model_first_byte_seconds", "Time until a reply began.")
	f.whole = seconds("model_reply_seconds", "Time until a reply was complete.")
	f.tokens = counter("model_tokens_total", "Tokens as reported by the provider.", "api", "model", "agent", "kind")
	f.calls = counter("tool_calls_total", "Tool calls of replies by verdict.", "tool", "verdict")
	f.findings = counter("findings_total", "What screening found, by source and action.", "source", "action")
	f.held = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "sallyport", Name: "tool_calls_held", Help: "Tool calls that wait to be judged."})
	f.registry.MustRegister(f.requests, f.first, f.whole, f.tokens, f.calls, f.findings, f.held)
	return f
}

func (f *figures) handler() http.Handler {
	return promhttp.HandlerFor(f.registry, promhttp.HandlerOpts{})
}

// bounded gives the value itself while few enough are known.
func (f *figures) bounded(label, value string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.names[label]
	if known == nil {
		known = map[string]bool{}
		f.names[label] = known
	}
	if !known[value] {
		if len(known) >= maxNames || len(value) > 100 {
			return "other"
		}
		known[value] = true
	}
	return value
}

// Request implements llmproxy.Observer.
func (f *figures) Request(api wire.API, model, agent, outcome string, status int) {
	f.requests.WithLabelValues(api.String(), f.bounded("model", model), f.bounded("agent", agent), outcome, strconv.Itoa(status)).Inc()
}

// Latency implements llmproxy.Observer.
func (f *figures) Latency(api wire.API, model string, first, whole time.Duration) {
	model = f.bounded("model", model)
	f.first.WithLabelValues(api.String(), model).Observe(first.Seconds())
	f.whole.WithLabelValues(api.String(), model).Observe(whole.Seconds())
}

// Tokens implements llmproxy.Observer.
func (f *figures) Tokens(api wire.API, model, agent string, u wire.Usage) {
	model, agent = f.bounded("model", model), f.bounded("agent", agent)
	for kind, n := range map[string]int64{
		"input": u.Input, "output": u.Output, "cache_read": u.CacheRead, "cache_write": u.CacheWrite, "reasoning": u.Reasoning,
	} {
		if n > 0 {
			f.tokens.WithLabelValues(api.String(), model, agent, kind).Add(float64(n))
		}
	}
}

// Call implements llmproxy.Observer.
func (f *figures) Call(tool, verdict string) {
	f.calls.WithLabelValues(f.bounded("tool", tool), verdict).Inc()
}

// Held implements llmproxy.Observer.
func (f *figures) Held(delta int) { f.held.Add(float64(delta)) }

// Findings implements llmproxy.Observer.
func (f *figures) Findings(source, action string) {
	f.findings.WithLabelValues(source, action).Inc()
}
