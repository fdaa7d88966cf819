package llmproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/record"
	"sallyport/internal/scan/screen"
	"sallyport/test/fakes/modelserver"
)

// TestUpstreamErrors: its own refusals pass byte for byte and cost nothing, the
// key never comes back, and what is no reply is told in the form of the API.
func TestUpstreamErrors(t *testing.T) {
	redirect := map[string]string{"Location": "http://evil.example/"}
	text := "{\"a\":"
	tests := map[string]struct {
		reply  modelserver.Reply
		status int
		text   string
		cost   bool
	}{
		"its error":      {modelserver.Reply{Status: 429, Error: &modelserver.Failure{Type: "rate", Message: "slow down"}, Headers: map[string]string{"Retry-After": "7"}}, 429, "slow down", false},
		"its failure":    {modelserver.Reply{Status: 529, Error: &modelserver.Failure{Type: "overloaded", Message: "busy"}}, 529, "busy", false},
		"its key":        {modelserver.Reply{Status: 401, EchoKey: true}, 401, removed, false},
		"no reply":       {modelserver.Reply{Hangup: true}, 502, "could not be reached, or broke off", true},
		"a redirect":     {modelserver.Reply{Status: 307, Headers: redirect}, 502, "not followed", false},
		"no JSON":        {modelserver.Reply{Body: &text}, 502, "not passed on", true},
		"other encoding": {modelserver.Reply{Text: "x", Headers: map[string]string{"Content-Encoding": "br"}}, 502, "cannot be read", true},
	}
	for _, f := range forms {
		for name, tt := range tests {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				w := newWorld(t, nil, tt.reply)
				got := w.do(f, false, "ping")
				if got.status != tt.status || !strings.Contains(got.body, tt.text) || strings.Contains(got.body+fmt.Sprint(got.header), upstreamKey) {
					t.Errorf("%d %s %v", got.status, got.body, got.header)
				}
				if got.header.Get("Location") != "" || tt.reply.Headers["Retry-After"] != got.header.Get("Retry-After") {
					t.Errorf("headers %v", got.header)
				}
				w.settle()
				end := w.ends(action.ModelCall, 0)[0]
				if end.Status != record.Failed || (end.Result.Cost > 0) != tt.cost {
					t.Errorf("outcome %+v", end)
				}
			})
		}
	}
}

// TestGzipReply is read although none was asked for.
func TestGzipReply(t *testing.T) {
	each(t, func(t *testing.T, f form, stream bool) {
		reply := call("forbidden_tool", `{"x":"canary-5"}`)
		reply.Gzip = true
		w := newWorld(t, nil, reply)
		got := w.do(f, stream, "ping")
		if got.status != 200 || strings.Contains(got.body, "canary") || !strings.Contains(got.body, "no-forbidden") || got.header.Get("Content-Encoding") != "" {
			t.Errorf("%d %s %v", got.status, got.body, got.header)
		}
	})
}

// TestCutStreams: the client gets a clean error of its API, never half a call,
// and what was counted is paid.
func TestCutStreams(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			reply := call("ls", `{"x":"canary-5"}`)
			whole := len(newWorld(t, nil, reply).direct(f, true, f.ask("ping", true)).body)
			for _, at := range []int{0, 10, whole / 3, whole / 2, 2 * whole / 3, whole - 20} {
				reply.CutAfter = at
				if at == 0 {
					reply.Hangup, reply.CutAfter = true, 0
				} else {
					reply.Hangup = false
				}
				w := newWorld(t, nil, reply)
				got := w.do(f, true, "ping")
				if got.err != nil || !strings.Contains(got.body, "error") && !strings.Contains(got.body, "response.failed") && !strings.Contains(got.body, "canary-5") {
					t.Errorf("cut at %d: %v %s", at, got.err, got.body)
				}
				if at > 0 && at < whole/2 && strings.Contains(got.body, "canary-5") {
					t.Errorf("cut at %d: half a call: %s", at, got.body)
				}
				w.settle()
				end := w.ends(action.ModelCall, 0)[0]
				if end.Result.Cost <= 0 || end.Result.Data["usage_known"] != false && at < whole/2 {
					t.Errorf("cut at %d: outcome %+v", at, end)
				}
			}
		})
	}
}

// TestLyingUsage: figures that the reply itself belies are not believed.
func TestLyingUsage(t *testing.T) {
	each(t, func(t *testing.T, f form, stream bool) {
		w := newWorld(t, nil, modelserver.Reply{Text: strings.Repeat("many words ", 1000), Pieces: 500, Usage: &modelserver.Usage{Input: 3, Output: 1}})
		w.do(f, stream, "ping")
		w.settle()
		end := w.ends(action.ModelCall, 0)[0]
		u, _ := end.Result.Data["usage"].(map[string]any)
		if end.Result.Data["usage_doubted"] != true || u["output_tokens"] != int64(2750) {
			t.Errorf("outcome %v", end.Result.Data)
		}
	})
}

// TestRetryIsPaidOnce: the same reply to a request that the client repeats.
func TestRetryIsPaidOnce(t *testing.T) {
	reply := modelserver.Reply{Text: "x", Usage: usage, Number: 5}
	w := newWorld(t, nil, reply, reply, reply)
	w.do(forms[0], false, "ping")
	w.do(forms[0], false, "ping", "X-Stainless-Retry-Count", "1")
	w.do(forms[0], false, "pong", "X-Stainless-Retry-Count", "1")
	w.settle()
	for n, want := range []record.Micros{61, 0, 61} {
		if end := w.ends(action.ModelCall, n)[0]; end.Result.Cost != want {
			t.Errorf("request %d cost %d, want %d", n, end.Result.Cost, want)
		}
	}
}

// TestRateLimits: 429 with a time to wait, and the upstream is not asked.
func TestRateLimits(t *testing.T) {
	w := newWorld(t, nil, modelserver.Reply{Text: "x"}, modelserver.Reply{Hangup: true}, modelserver.Reply{Text: "y"})
	slow := []string{"Authorization", "Bearer sp-good-slow"}
	for i, want := range []int{200, 502, 429} {
		got := w.do(forms[0], false, fmt.Sprint("ping", i), slow...)
		if got.status != want || want == 429 && got.header.Get("Retry-After") == "" {
			t.Errorf("request %d: %d %s", i, got.status, got.body)
		}
	}
	if got := w.do(forms[0], false, "ping1", append(slow, "X-Stainless-Retry-Count", "1")...); got.status != 200 {
		t.Errorf("a repetition of what got no answer: %d %s", got.status, got.body)
	}
	if got := w.do(forms[0], false, "ping1", append(slow, "X-Stainless-Retry-Count", "2")...); got.status != 429 {
		t.Errorf("and again: %d", got.status)
	}
	if n := len(w.model.Requests()); n != 3 {
		t.Errorf("%d requests upstream", n)
	}
}

// TestOtherOperations are model calls too.
func TestOtherOperations(t *testing.T) {
	list := `{"object":"list","data":[{"id":"m-1","object":"model"}]}`
	vectors := `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1]}],"usage":{"prompt_tokens":4,"total_tokens":4}}`
	count := `{"input_tokens":14}`
	stored := `{"id":"resp_1","object":"response","status":"completed","model":"m-1","output":[{"type":"function_call","id":"fc_1","call_id":"call_1","name":"forbidden_tool","arguments":"{\"x\":\"canary-2\"}","status":"completed"}],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}`
	tests := map[string]struct {
		method, path, body, reply string
		op                        string
		want                      string
	}{
		"models":     {"GET", "/v1/models", "", list, "list", list},
		"embeddings": {"POST", "/v1/embeddings", `{"model":"m-1","input":"some text"}`, vectors, "embed", vectors},
		"count":      {"POST", "/v1/messages/count_tokens", forms[2].ask("ping", false), count, "count", count},
		"retrieve":   {"GET", "/v1/responses/resp_1", "", stored, "retrieve", "no-forbidden"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, tt.reply)
			}))
			defer srv.Close()
			w := &world{book: &book{approved: map[action.Digest]bool{}}, t: t}
			w.start(nil, srv.URL)
			got := w.send(tt.method, tt.path, tt.body)
			if got.status != 200 || !strings.Contains(got.body, tt.want) || strings.Contains(got.body, "canary") {
				t.Errorf("%d %s", got.status, got.body)
			}
			in := w.of(action.ModelCall)
			if len(in) != 1 || in[0].Action.Args["op"] != tt.op {
				t.Errorf("intents %+v", in)
			}
		})
	}
}

// TestManyCalls: a reply with 10,000 calls is refused, one with as many as are
// judged is judged.
func TestManyCalls(t *testing.T) {
	each(t, func(t *testing.T, f form, stream bool) {
		reply := call("ls", `{"x":"canary-5"}`)
		reply.Repeat = 10_000
		const most = 64
		w := newWorld(t, func(w *world) { w.config.MaxCalls = most }, reply)
		got := w.do(f, stream, "ping")
		if got.err != nil || !stream && got.status == 200 || stream && strings.Count(got.body, "canary-5") > 5*most || !strings.Contains(got.body, "tool calls") {
			t.Errorf("%d %v %d bytes", got.status, got.err, len(got.body))
		}
		if n := len(w.of(action.ToolCall)); n > most {
			t.Errorf("%d calls were judged", n)
		}
	})
}

// TestClientGone: the upstream is cut and the call settled.
func TestClientGone(t *testing.T) {
	each(t, func(t *testing.T, f form, stream bool) {
		ended := make(chan struct{})
		begun := make(chan struct{})
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", map[bool]string{true: "text/event-stream", false: "application/json"}[stream])
			w.WriteHeader(200)
			http.NewResponseController(w).Flush()
			close(begun)
			<-r.Context().Done()
		}))
		defer srv.Close()
		w := &world{book: &book{approved: map[action.Digest]bool{}}, t: t}
		w.start(nil, srv.URL)
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, http.MethodPost, w.server.URL+f.where(stream), strings.NewReader(f.ask("ping", stream)))
		r.Header.Set("X-Api-Key", "sp-good")
		go func() { <-begun; cancel() }()
		w.exchange(r)
		<-ended
		w.settle()
		if end := w.ends(action.ModelCall, 0); len(end) != 1 || end[0].Status != record.Canceled {
			t.Errorf("outcome %+v", end)
		}
	})
}

// TestEndInMidStream: a proxy that ends tells its clients, and writes down what
// was in flight.
func TestEndInMidStream(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			w := newWorld(t, nil, modelserver.Reply{Text: "some words before", Stall: modelserver.Duration(time.Minute), StallAt: 300})
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+f.where(true), strings.NewReader(f.ask("ping", true)))
			r.Header.Set("X-Api-Key", "sp-good")
			resp, err := w.server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			first := make([]byte, 1)
			readFull(resp.Body, first)
			over, cancel := context.WithCancel(t.Context())
			cancel()
			w.flushed = true
			if err := w.proxy.Close(over); !fault.Is(err, fault.Canceled) {
				t.Errorf("close: %v", err)
			}
			b, err := io.ReadAll(resp.Body)
			if err != nil || !strings.Contains(string(b), "the proxy is ending") || strings.Contains(string(b), "Do not repeat") {
				t.Errorf("%v %s", err, b)
			}
			if end := w.ends(action.ModelCall, 0); len(end) != 1 || end[0].Status != record.Canceled {
				t.Errorf("outcome %+v", end)
			}
			if got := w.do(f, false, "ping"); got.status != 503 {
				t.Errorf("after the end: %d", got.status)
			}
		})
	}
}

// TestSlowPeers: whoever stops is cut.
func TestSlowPeers(t *testing.T) {
	w := newWorld(t, func(w *world) { w.config.ReadTimeout = 20 * time.Millisecond })
	c := w.raw("POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\nX-Api-Key: sp-good\r\n\r\n{")
	defer c.Close()
	if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 408") {
		t.Errorf("a slow client: %v %s", err, b)
	}
	each(t, func(t *testing.T, f form, stream bool) {
		stall := modelserver.Reply{Text: "hello there", Stall: modelserver.Duration(time.Minute), StallAt: 50}
		w := newWorld(t, func(w *world) { w.config.UpstreamIdle = 30 * time.Millisecond }, stall)
		if got := w.do(f, stream, "ping"); got.err != nil || !strings.Contains(got.body, "error") && !strings.Contains(got.body, "failed") || !stream && got.status != 502 {
			t.Errorf("a slow upstream: %d %v %s", got.status, got.err, got.body)
		}
		stall.StallAt = 0
		w = newWorld(t, func(w *world) { w.config.HeadTimeout = 30 * time.Millisecond }, stall)
		if got := w.do(f, stream, "ping"); got.status != 502 || !strings.Contains(got.body, "did not begin to reply") {
			t.Errorf("no head: %d %s", got.status, got.body)
		}
	})
}

// TestClientThatDoesNotRead is cut instead of holding memory for ever.
func TestClientThatDoesNotRead(t *testing.T) {
	begun := make(chan struct{})
	w := newWorld(t, func(w *world) {
		w.config.WriteTimeout = 50 * time.Millisecond
		w.onIntend = func(record.Intent) { close(begun) }
	}, modelserver.Reply{Text: strings.Repeat("x", 12<<20), Pieces: 1 << 14})
	body := forms[0].ask("ping", true)
	c := w.raw(fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\nX-Api-Key: sp-good\r\n\r\n%s", len(body), body))
	defer c.Close()
	<-begun
	w.settle()
	if end := w.ends(action.ModelCall, 0); len(end) != 1 || end[0].Status != record.Canceled {
		t.Errorf("outcome %+v", end)
	}
}

// TestMemoryIsBounded: requests beyond it are told to come again.
func TestMemoryIsBounded(t *testing.T) {
	w := newWorld(t, func(w *world) { w.config.MaxMemory = 100 << 10 }, modelserver.Reply{Text: "x"})
	if got := w.do(forms[0], false, strings.Repeat("x", 200<<10)); got.status != 503 || len(w.model.Requests()) != 0 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := w.do(forms[0], false, "x"); got.status != 200 {
		t.Errorf("memory was not given back: %d %s", got.status, got.body)
	}
}

// TestModeration: only new user and tool texts, each alone if something is
// found; an error refuses.
func TestModeration(t *testing.T) {
	var asked [][]string
	var fail error
	w := newWorld(t, func(w *world) {
		w.config.Moderate = func(_ context.Context, _ Caller, texts []string) (screen.Verdict, error) {
			asked = append(asked, texts)
			v := screen.Verdict{Alert: "none"}
			if strings.Contains(strings.Join(texts, " "), "violent") {
				v = screen.Verdict{Action: screen.Block, Alert: "dangerous", Hits: []screen.Hit{{Source: screen.SourceModeration, Action: screen.Block, Rule: "violence"}}}
			}
			return v, fail
		}
	}, modelserver.Reply{Text: "a"}, modelserver.Reply{Text: "b"})
	msg := func(parts ...string) string {
		return `{"model":"m-1","messages":[{"role":"system","content":"violent rules"},` + strings.Join(parts, ",") + `]}`
	}
	post := func(body string) answer { return w.send(http.MethodPost, "/v1/chat/completions", body) }
	one, two, bad := `{"role":"user","content":"one"}`, `{"role":"user","content":"two"}`, `{"role":"user","content":"violent"}`
	if got := post(msg(one)); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := post(msg(one, two, bad)); got.status != 400 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if want := "[[one] [two violent] [two] [violent]]"; fmt.Sprint(asked) != want {
		t.Errorf("asked %v, want %s", asked, want)
	}
	if got := post(msg(one, two)); got.status != 200 || len(asked) != 4 {
		t.Errorf("the innocent one: %d %s, asked %v", got.status, got.body, asked)
	}
	if fail = errors.New("down"); post(msg(`{"role":"user","content":"three"}`)).status != 503 {
		t.Error("an error of the moderation lets it through")
	}
}

// TestConcurrency: many clients of all forms at once, each gets its own.
func TestConcurrency(t *testing.T) {
	w := newWorld(t, nil)
	var replies []modelserver.Reply
	for i := range 24 {
		r := call([]string{"ls", "forbidden_tool"}[i%2], fmt.Sprintf(`{"n":"canary-%d"}`, i))
		r.Match = fmt.Sprintf("ping-%d-", i)
		replies = append(replies, r)
	}
	w = newWorld(t, nil, replies...)
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			f, stream := forms[i%4], i/4%2 == 0
			got := w.do(f, stream, fmt.Sprintf("ping-%d-", i))
			has := strings.Contains(got.body, fmt.Sprintf("canary-%d", i))
			if got.status != 200 || has != (i%2 == 0) || strings.Count(got.body, "canary-") > 4 {
				t.Errorf("%d: %d %s", i, got.status, got.body)
			}
		})
	}
	wg.Wait()
	w.settle()
	if n := len(w.of(action.ModelCall)); n != 24 {
		t.Errorf("%d model calls", n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// Each model call has one end, each released call two, a denied one none.
	if len(w.outcomes) != 24+2*12 {
		t.Errorf("%d outcomes", len(w.outcomes))
	}
}

// TestGuardedProgram: its own upstream, path and credentials are kept.
func TestGuardedProgram(t *testing.T) {
	w := newWorld(t, nil, modelserver.Reply{Text: "x"})
	up, err := w.config.Upstream(wire.Messages, "m-1")
	if err != nil {
		t.Fatal(err)
	}
	up.Credential = nil
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !w.proxy.Watches(r) {
			t.Errorf("%s is not watched", r.URL.Path)
		}
		w.proxy.Serve(rw, r, Caller{Agent: "prog", Session: "s", Context: "c"}, &up)
	}))
	defer srv.Close()
	r, _ := http.NewRequest(http.MethodPost, srv.URL+"/v1/messages?beta=true", strings.NewReader(forms[2].ask("ping", false)))
	r.Header.Set("X-Api-Key", upstreamKey)
	if got := w.exchange(r); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if seen := w.model.Requests(); len(seen) != 1 || seen[0].Query != "beta=true" || w.of(action.ModelCall)[0].Action.Agent != "prog" {
		t.Errorf("requests %+v", seen)
	}
}

// TestKeyInReply: an upstream that says its own key does not reach the client
// with it.
func TestKeyInReply(t *testing.T) {
	each(t, func(t *testing.T, f form, stream bool) {
		w := newWorld(t, nil, modelserver.Reply{Text: "the key is " + upstreamKey + ", keep it", Pieces: 200})
		got := w.do(f, stream, "ping")
		if got.err != nil || strings.Contains(got.body, upstreamKey) || !stream && !strings.Contains(got.body, removed) || stream && !strings.Contains(got.body, "repeated its own key") {
			t.Errorf("%d %v %s", got.status, got.err, got.body)
		}
	})
}

// TestPayload: dropped when the reply has begun, whole and in order until then.
func TestPayload(t *testing.T) {
	p := &payload{b: []byte("0123456789")}
	a, err := p.open()
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 4)
	readFull(a, first)
	b, _ := p.open()
	p.drop()
	if rest, err := io.ReadAll(a); string(first)+string(rest) != "0123456789" || err != nil {
		t.Errorf("%s%s, %v", first, rest, err)
	}
	var out strings.Builder
	if n, err := io.Copy(&out, b); n != 10 || err != nil || out.String() != "0123456789" {
		t.Errorf("%d %v %s", n, err, out.String())
	}
	if _, err := p.open(); !errors.Is(err, errSent) {
		t.Errorf("opened after it was dropped: %v", err)
	}
	c := &sending{b: []byte("x")}
	c.Close()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d after close, %v", n, err)
	}
}
