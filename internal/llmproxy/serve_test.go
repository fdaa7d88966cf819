package llmproxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/record"
	"sallyport/internal/scan"
	"sallyport/internal/scan/screen"
	"sallyport/test/fakes/modelserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var usage = &modelserver.Usage{Input: 11, Output: 5, CacheRead: 3, Reasoning: 2}

// TestBytesAreTheOriginalOnes: what arrives upstream is what the client wrote,
// and what the client gets is what it would get without us.
func TestBytesAreTheOriginalOnes(t *testing.T) {
	each(t, func(t *testing.T, f form, stream bool) {
		reply := modelserver.Reply{
			Text: "héllo \"world\"", Calls: []modelserver.Call{{ID: "c1", Name: "ls", Args: `{"a": "b\n"}`}}, Usage: usage, Number: 7,
			Headers: map[string]string{"X-Ratelimit-Remaining": "9", "Retry-After": "3", "Alt-Svc": "h3=\":443\""}, RequestID: "req-x",
		}
		w := newWorld(t, nil, reply, reply)
		got := w.do(f, stream, "ping", "Anthropic-Beta", "a,b", "X-Stainless-Lang", "js", "Idempotency-Key", "idem")
		seen := w.model.Requests()
		if len(seen) != 1 {
			t.Fatalf("%d requests upstream, answer %d %s", len(seen), got.status, got.body)
		}
		sent, body := seen[0], f.ask("ping", stream)
		if f.api == wire.Chat && stream {
			body = strings.Replace(string(sent.Body), `"stream_options":{"include_usage":true}`, "", 1)
			if len(body) >= len(sent.Body) {
				t.Error("usage was not asked for")
			}
		} else if string(sent.Body) != body {
			t.Errorf("sent %s\nwant %s", sent.Body, body)
		}
		h := sent.Header
		if h.Get("Anthropic-Beta") != "a,b" || h.Get("X-Stainless-Lang") != "js" || h.Get("Idempotency-Key") != "idem" || sent.Key != upstreamKey {
			t.Errorf("headers upstream %v", h)
		}
		if strings.Contains(fmt.Sprint(h), "sp-good") {
			t.Error("the client's key was sent on")
		}
		direct := w.direct(f, stream, string(f.ask("ping", stream)))
		if got.status != 200 || got.body != direct.body {
			t.Errorf("status %d, body\n%s\nwant\n%s", got.status, got.body, direct.body)
		}
		if got.header.Get("Alt-Svc") != "" {
			t.Error("the client is told a way around us")
		}
		for _, k := range []string{"X-Ratelimit-Remaining", "Retry-After", "Content-Type", "X-Request-Id", "Request-Id"} {
			if got.header.Get(k) != direct.header.Get(k) {
				t.Errorf("%s: %q, want %q", k, got.header.Get(k), direct.header.Get(k))
			}
		}
	})
}

// direct asks the model server without the proxy.
func (w *world) direct(f form, stream bool, body string) answer {
	r, _ := http.NewRequest(http.MethodPost, w.model.URL+f.where(stream), strings.NewReader(body))
	keyIn(f.api)(r.Header)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), nil}
}

// TestModelCall: the arguments that policy decides on, and what is settled.
func TestModelCall(t *testing.T) {
	each(t, func(t *testing.T, f form, stream bool) {
		w := newWorld(t, nil, modelserver.Reply{Text: "hello", Usage: usage, RequestID: "req-9"})
		if got := w.do(f, stream, "ping"); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		w.settle()
		in := w.of(action.ModelCall)
		if len(in) != 1 {
			t.Fatalf("%d model calls", len(in))
		}
		a := in[0].Action
		if a.Target != "fake/m-1" || a.Agent != "dev" || a.Session != "s1" || a.Context != "c1" || a.Principal.Name != "dev" {
			t.Errorf("action %+v", a)
		}
		want := map[string]any{
			"api": f.api.String(), "op": "generate", "model": "m-1", "stream": stream, "tools": int64(0), "choices": int64(1), "history": false, "client": a.Args["client"], "key": "k",
			"last_message": "ping", "screen": []any{}, "screen_because": "", "input_bytes": int64(len(f.ask("ping", stream))),
			"content": a.Args["content"], "max_output": map[bool]int64{true: 100, false: -1}[f.api == wire.Messages],
		}
		if diff := cmp.Diff(want, a.Args); diff != "" {
			t.Errorf("arguments (-want +got):\n%s", diff)
		}
		ends := w.ends(action.ModelCall, 0)
		if len(ends) != 1 || ends[0].Status != record.Done {
			t.Fatalf("outcomes %+v", ends)
		}
		d := ends[0].Result.Data
		u, _ := d["usage"].(map[string]any)
		if u["input_tokens"] != int64(11) || u["output_tokens"] != int64(5) || u["cache_read_tokens"] != int64(3) || d["usage_known"] != true {
			t.Errorf("data %v", d)
		}
		if d["status"] != int64(200) || d["request_id"] != "req-9" && f.api != wire.Gemini || d["bytes"].(int64) < 20 || ends[0].Result.Cost != 61 {
			t.Errorf("cost %d, data %v", ends[0].Result.Cost, d)
		}
	})
}

// TestToolCalls: what the policy denies is not in the reply, the rule is; what
// it allows is there as it came. The attack works without us.
func TestToolCalls(t *testing.T) {
	each(t, func(t *testing.T, f form, stream bool) {
		evil := call("forbidden_tool", `{"path":"canary-1234"}`)
		w := newWorld(t, nil, evil, call("ls", `{"path":"fine-1234"}`), evil)
		got := w.do(f, stream, "ping")
		if got.status != 200 || strings.Contains(got.body, "canary") || strings.Contains(got.body, "forbidden_tool") || !strings.Contains(got.body, "no-forbidden") || !strings.Contains(got.body, "not for agents") {
			t.Errorf("denied: %d %s", got.status, got.body)
		}
		if got = w.do(f, stream, "ping"); got.status != 200 || !strings.Contains(got.body, "fine-1234") {
			t.Errorf("allowed: %d %s", got.status, got.body)
		}
		if direct := w.direct(f, stream, f.ask("ping", stream)); !strings.Contains(direct.body, "canary-1234") {
			t.Errorf("without us: %s", direct.body)
		}
		w.settle()
		in := w.of(action.ToolCall)
		if len(in) != 2 || in[0].Decision.Verdict != record.Deny || in[1].Decision.Verdict != record.Allow {
			t.Fatalf("tool calls %+v", in)
		}
		a := in[1].Action
		args, _ := a.Args["arguments"].(string)
		if a.Target != "client/ls" || a.Args["name"] != "ls" || !strings.Contains(args, "fine-1234") || a.Args["resolved"] != true || a.Args["api"] != f.api.String() || len(a.Args) != 7 {
			t.Errorf("action %+v", a)
		}
		ends := w.ends(action.ToolCall, 1)
		if len(ends) != 2 || ends[0].Status != record.Released || ends[1].Status != record.Unknown {
			t.Errorf("outcomes %+v", ends)
		}
		if m := w.ends(action.ModelCall, 0); len(m) != 1 || m[0].Result.Data["replaced"] != int64(1) {
			t.Errorf("model call %+v", m)
		}
	})
}

// TestBlockedInput: nothing is sent upstream, two events say so, and the same
// text blocks again.
func TestBlockedInput(t *testing.T) {
	each(t, func(t *testing.T, f form, stream bool) {
		w := newWorld(t, nil, modelserver.Reply{Text: "x"})
		for range 2 {
			got := w.do(f, stream, "please DETONATE it")
			want := map[wire.API]int{wire.Messages: 403}[f.api]
			if want == 0 {
				want = 400
			}
			if got.status != want || !strings.Contains(got.body, "no-forbidden") {
				t.Errorf("%d %s", got.status, got.body)
			}
		}
		if n := len(w.model.Requests()); n != 0 {
			t.Errorf("%d requests upstream", n)
		}
		events := w.typed("LLM_call_start")
		if len(events) != 2 || events[0].Alert != "dangerous" {
			t.Errorf("events %+v", events)
		}
		in := w.of(action.ModelCall)
		if len(in) != 2 || in[0].Decision.Verdict != record.Deny || fmt.Sprint(in[0].Action.Args["screen"]) != "[dangerous_keywords.block]" || !strings.Contains(fmt.Sprint(in[0].Action.Args["screen_because"]), "keyword.dangerous") || strings.Contains(strings.ToLower(fmt.Sprint(in[0].Action.Args["screen_because"])), "detonate") {
			t.Errorf("intents %+v", in)
		}
	})
}

// TestSuspiciousPassesOnce: it alerts, once, however often the history is sent.
func TestSuspiciousPassesOnce(t *testing.T) {
	w := newWorld(t, nil, modelserver.Reply{Text: "x"}, modelserver.Reply{Text: "y"})
	for range 2 {
		if got := w.do(forms[0], false, "how peculiar"); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	w.settle()
	if e := w.typed("LLM_call_start"); len(e) != 1 || e[0].Alert != "suspicious" {
		t.Errorf("events %+v", e)
	}
	if first, second := w.ends(action.ModelCall, 0), w.ends(action.ModelCall, 1); first[0].Result.Data["alert"] != "suspicious" || second[0].Result.Data["alert"] != nil {
		t.Errorf("alerts %v, %v", first[0].Result.Data, second[0].Result.Data)
	}
}

// TestOutputIsScreened: a reply with a dangerous word does not arrive, in pieces
// or whole.
func TestOutputIsScreened(t *testing.T) {
	each(t, func(t *testing.T, f form, stream bool) {
		w := newWorld(t, nil, modelserver.Reply{Text: "first this. now detonate it all", Pieces: 2, Usage: usage})
		got := w.do(f, stream, "ping")
		if strings.Contains(strings.ReplaceAll(got.body, `"`, ""), "it all") || strings.Contains(got.body, "detonate it") || !strings.Contains(got.body, "dangerous_keywords") {
			t.Errorf("%d %s", got.status, got.body)
		}
		w.settle()
		end := w.ends(action.ModelCall, 0)[0]
		if end.Result.Data["alert"] != "dangerous" || end.Result.Data["outcome"] != outcomeDenied || len(end.Result.Findings) == 0 {
			t.Errorf("outcome %+v", end.Result)
		}
	})
}

// TestNoEvidenceNoEffect: a full disk lets nothing through.
func TestNoEvidenceNoEffect(t *testing.T) {
	each(t, func(t *testing.T, f form, stream bool) {
		w := newWorld(t, nil, modelserver.Reply{Text: "x"}, call("ls", `{"a":"canary-9"}`))
		w.full = fault.New("store", fault.Unavailable, "the disk is full; make room")
		got := w.do(f, stream, "ping")
		if got.status < 500 || !strings.Contains(got.body, "disk is full") || len(w.model.Requests()) != 0 {
			t.Errorf("%d %s, %d upstream", got.status, got.body, len(w.model.Requests()))
		}
		w.full, w.torn = nil, fault.New("store", fault.Unavailable, "the journal is full")
		if got = w.do(f, stream, "how peculiar"); got.status < 500 || len(w.model.Requests()) != 0 {
			t.Errorf("unwritten warning: %d %s", got.status, got.body)
		}
		w.torn = nil
		w.do(f, stream, "ping")
		w.onIntend = func(in record.Intent) {
			if in.Action.Kind == action.ModelCall {
				w.full = fault.New("store", fault.Unavailable, "the disk is full; make room")
			}
		}
		if got = w.do(f, stream, "ping"); strings.Contains(got.body, "canary-9") || !strings.Contains(got.body, "disk is full") {
			t.Errorf("a call that was not written down: %d %s", got.status, got.body)
		}
		w.mu.Lock()
		w.full = nil
		w.mu.Unlock()
	})
}

// TestAuthentication: nothing is read before the key is known.
func TestAuthentication(t *testing.T) {
	for _, f := range forms {
		for name, headers := range map[string][]string{
			"none": {"Authorization", ""}, "unknown": {"Authorization", "Bearer sp-bad"}, "two": {"X-Api-Key", "sp-good2"},
		} {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				w := newWorld(t, nil, modelserver.Reply{Text: "x"})
				got := w.do(f, false, "ping", headers...)
				if got.status != http.StatusUnauthorized || len(w.model.Requests()) != 0 || !json.Valid([]byte(got.body)) {
					t.Errorf("%d %s", got.status, got.body)
				}
				if e := w.typed("auth.failed"); len(e) != 1 || strings.Contains(fmt.Sprint(e), "sp-") {
					t.Errorf("events %+v", e)
				}
			})
		}
	}
	w := newWorld(t, nil)
	for _, size := range []int{100, 1_000_000} {
		c := w.raw(fmt.Sprintf("POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\nX-Api-Key: sp-bad\r\n\r\n", size))
		if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 401") {
			t.Errorf("without its body of %d bytes: %v %q", size, err, b)
		}
		c.Close()
	}
	c := w.raw("POST /v1/unknown HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\nX-Api-Key: sp-good\r\n\r\n")
	defer c.Close()
	if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 404") {
		t.Errorf("refused without its body: %v %q", err, b)
	}
	w = newWorld(t, nil, modelserver.Reply{Text: "x"})
	if got := w.send(http.MethodPost, "/v1beta/models/m-1:generateContent?key=sp-good", forms[3].ask("p", false), "Authorization", ""); got.status != 200 || w.model.Requests()[0].Query != "" {
		t.Errorf("key in the query: %d %s, query %q", got.status, got.body, w.model.Requests()[0].Query)
	}
}

func (w *world) raw(text string) net.Conn {
	c, err := net.Dial("tcp", strings.TrimPrefix(w.server.URL, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	_, _ = io.WriteString(c, text)
	return c
}

func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	return err
}

// TestHeadIsRefused: unknown paths, upgrades, pages of others.
func TestHeadIsRefused(t *testing.T) {
	body := forms[0].ask("ping", false)
	tests := map[string]struct {
		method, path, body string
		headers            []string
		status             int
	}{
		"unknown path":   {"POST", "/v1/audio/speech", body, nil, 404},
		"dots":           {"POST", "/v1/../v1/messages", body, nil, 404},
		"method":         {"PUT", "/v1/messages", body, nil, 404},
		"other letters":  {"POST", "/v1/chat/completions", forms[0].ask("p", false), []string{"Content-Type", "application/json; charset=utf-7"}, 400},
		"two charsets":   {"POST", "/v1/chat/completions", forms[0].ask("p", false), []string{"Content-Type", "application/json; charset=utf-8; charset=utf-16"}, 400},
		"websocket":      {"GET", "/v1/responses", "", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 426},
		"other origin":   {"POST", "/v1/messages", body, []string{"Origin", "https://evil.example"}, 403},
		"body of a GET":  {"GET", "/v1/models", "{}", nil, 400},
		"duplicate key":  {"POST", "/v1/chat/completions", `{"model":"a","model":"b","messages":[]}`, nil, 400},
		"no JSON":        {"POST", "/v1/chat/completions", `{"model"`, nil, 400},
		"invalid UTF-8":  {"POST", "/v1/chat/completions", "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}", nil, 400},
		"deep":           {"POST", "/v1/chat/completions", `{"model":"m","messages":[` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `]}`, nil, 400},
		"no upstream":    {"POST", "/v1/chat/completions", `{"model":"nowhere","messages":[{"role":"user","content":"x"}]}`, nil, 404},
		"unknown coding": {"POST", "/v1/chat/completions", body, []string{"Content-Encoding", "br"}, 415},
		"too large":      {"POST", "/v1/chat/completions", forms[0].ask(strings.Repeat("x", 1<<20), false), nil, 413},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(w *world) { w.config.MaxBody = 1 << 20 }, modelserver.Reply{Text: "x"})
			got := w.send(tt.method, tt.path, tt.body, tt.headers...)
			if got.status != tt.status || len(w.model.Requests())+len(w.model.Others()) != 0 || !json.Valid([]byte(got.body)) {
				t.Errorf("%d %s %v, want %d", got.status, got.body, got.err, tt.status)
			}
			w.settle()
			if e := w.typed("proxy.denied"); len(e) != 1 || e[0].Data["rule"] == "" {
				t.Errorf("events %+v", e)
			}
		})
	}
}

// TestSmuggling: whatever follows on a connection is a request of its own, with
// a key of its own, or is not read.
func TestSmuggling(t *testing.T) {
	inner := "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nevil"
	body := forms[0].ask("ping", false)
	head := "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: sp-good\r\n"
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	for name, text := range map[string]string{
		"length over chunks": head + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n", len(chunked)+len(inner)) + chunked + inner,
		"chunks over length": head + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + chunked + inner,
		"two lengths":        head + fmt.Sprintf("Content-Length: %d\r\nContent-Length: %d\r\n\r\n", len(body), len(body)+len(inner)) + body + inner,
		"odd chunking":       head + "Transfer-Encoding: xchunked\r\n\r\n" + chunked + inner,
		"old protocol":       strings.Replace(head, "1.1", "1.0", 1) + "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked + inner,
		"underscore":         head + fmt.Sprintf("Content_Length: 3\r\nContent-Length: %d\r\n\r\n", len(body)) + body + inner,
		"trailer":            head + "Transfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n" + strings.TrimSuffix(chunked, "\r\n") + "X-Late: 1\r\n\r\n" + inner,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil, modelserver.Reply{Text: "one"}, modelserver.Reply{Text: "two"})
			c := w.raw(text)
			defer c.Close()
			all, _ := io.ReadAll(c)
			if bytes.Count(all, []byte("HTTP/1.1 200")) > 1 || strings.Contains(string(all), "two") {
				t.Errorf("a smuggled request was answered: %s", all)
			}
			for _, r := range w.model.Requests() {
				if strings.Contains(string(r.Body), "evil") || string(r.Body) != body {
					t.Errorf("upstream got %s", r.Body)
				}
			}
		})
	}
}

// TestHistoryOfCalls: what a call of the history was given is read as that of a
// call in a reply is, whether the form writes it as JSON or as JSON in a string.
func TestHistoryOfCalls(t *testing.T) {
	strict, err := screen.New(screen.Settings{
		Dangerous: []scan.Keyword{{Text: "DROP"}, {Text: "RM -RF"}}, DangerousAction: screen.Block, SuspiciousAction: screen.Alert, Unscanned: screen.Alert,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, given := range []struct {
		args string
		ok   bool
	}{
		{`{"sql":"DROP TABLE users"}`, false},
		{`{"\u0073ql":"\u0044ROP TABLE users"}`, false},
		{`{"command":"rm","args":["-fr","/srv"]}`, false},
		{`{"text":"drop me a line"}`, true},
	} {
		text, err := json.Marshal(given.args)
		if err != nil {
			t.Fatal(err)
		}
		for path, body := range map[string]string{
			"/v1/chat/completions": fmt.Sprintf(`{"model":"gpt-4o","messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"x","arguments":%s}}]},{"role":"tool","tool_call_id":"a","content":"ok"}]}`, text),
			"/v1/responses":        fmt.Sprintf(`{"model":"gpt-4o","input":[{"type":"function_call","call_id":"a","name":"x","arguments":%s},{"type":"function_call_output","call_id":"a","output":"ok"}]}`, text),
			"/v1/messages":         fmt.Sprintf(`{"model":"claude-sonnet-4-5","max_tokens":5,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"x","input":%s}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"ok"}]}]}`, given.args),
			"/v1beta/models/gemini-2.5-flash:generateContent": fmt.Sprintf(`{"contents":[{"role":"model","parts":[{"functionCall":{"name":"x","args":%s}}]},{"role":"user","parts":[{"functionResponse":{"name":"x","response":{"r":"ok"}}}]}]}`, given.args),
		} {
			w := newWorld(t, func(w *world) { w.config.Screen = strict }, modelserver.Reply{Text: "x"})
			if got := w.send(http.MethodPost, path, body); (got.status == 200) != given.ok {
				t.Errorf("%s %s: %d %s", path, given.args, got.status, got.body)
			}
			if n := len(w.typed("LLM_call_start")); (n == 0) != given.ok || n > 1 {
				t.Errorf("%s %s: %d warnings", path, given.args, n)
			}
		}
	}
}
