package llmproxy

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/gate"
	"sallyport/internal/llmproxy/wire"
)

// trip is an upstream without a network.
type trip func(*http.Request) (*http.Response, error)

func (t trip) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// TestTwoMinutes: with the times of the shipped configuration, a call that
// nobody answers is denied after 120 seconds, the client hears from us every 10
// seconds, and the upstream is drained meanwhile. A second call of the same reply
// does not make it wait longer.
func TestTwoMinutes(t *testing.T) {
	screen := must(blocking())
	synctest.Test(t, func(t *testing.T) {
		b := &book{approved: map[action.Digest]bool{}}
		g := must(gate.New(gate.Config{
			Ledger: b, Policy: b, Approver: Patient(b), Now: time.Now,
			Executors: map[action.Kind]gate.Executor{action.ModelCall: b, action.ToolCall: b},
		}))
		stream := "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"careful\",\"arguments\":\"{\\\"a\\\":\\\"canary\\\"}\"}}]}}]}\n\n" +
			"data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"call_2\",\"type\":\"function\",\"function\":{\"name\":\"careful\",\"arguments\":\"{\\\"b\\\":\\\"canary\\\"}\"}}]}}]}\n\n" +
			"data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n"
		drained := time.Time{}
		up := Upstream{Name: "fake", Base: &url.URL{Scheme: "http", Host: "x"}, Transport: trip(func(r *http.Request) (*http.Response, error) {
			pr, pw := io.Pipe()
			go func() {
				_, _ = io.Copy(io.Discard, r.Body)
				for _, part := range strings.SplitAfter(stream, "\n\n") {
					_, _ = io.WriteString(pw, part)
				}
				drained = time.Now()
				_ = pw.Close()
			}()
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: pr, ContentLength: -1}, nil
		})}
		p := must(New(Config{Gate: g, Journal: b, Screen: screen, Upstream: func(wire.API, string) (Upstream, error) { return up, nil }}))
		w := httptest.NewRecorder()
		start := time.Now()
		p.Serve(w, httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(forms[0].ask("ping", true))), Caller{Agent: "dev"}, nil)
		if d := time.Since(start); d != 120*time.Second {
			t.Errorf("denied after %s", d)
		}
		if d := drained.Sub(start); d != 0 {
			t.Errorf("the upstream was held up for %s", d)
		}
		body := w.Body.String()
		if n := strings.Count(body, ": keep-alive"); n < 11 || n > 12 || strings.Contains(body, "canary") || !strings.Contains(body, "sallyport approve ask-1") || !strings.Contains(body, "sallyport approve ask-2") {
			t.Errorf("%d signs of life, %s", n, body)
		}
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
