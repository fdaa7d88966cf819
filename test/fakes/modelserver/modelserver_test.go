package modelserver

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func post(t *testing.T, url, body string, header ...string) (int, http.Header, string, error) {
	t.Helper()
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	c := http.Client{Timeout: 10 * time.Second}
	defer c.CloseIdleConnections()
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(b), err
}

const script = `{"chunk": 5, "key": "fake", "replies": [
	{"match": "second", "text": "for the second"},
	{"text": "for the first", "usage": {"input": 3, "output": 4}},
	{"status": 429, "headers": {"Retry-After": "2"}, "error": {"type": "rate_limit_error", "message": "slow down"}},
	{"text": "late", "stall": "10ms"}]}`

func TestScriptFromJSON(t *testing.T) {
	s, err := Load(strings.NewReader(script))
	if err != nil {
		t.Fatal(err)
	}
	f := Handler(s)
	srv := httptest.NewServer(f)
	defer srv.Close()
	url := srv.URL + "/v1/messages"
	code, h, body, _ := post(t, url, `{"q":"first"}`, "x-api-key", "fake")
	if code != 200 || !strings.Contains(body, "for the first") || !strings.Contains(body, `"input_tokens":3`) || h.Get("Request-Id") != "req_1" {
		t.Errorf("first: %d %v %s", code, h, body)
	}
	if code, _, body, _ = post(t, url, `{"q":"second"}`, "x-api-key", "fake"); !strings.Contains(body, "for the second") {
		t.Errorf("second: %d %s", code, body)
	}
	if code, h, body, _ = post(t, url, `{}`, "x-api-key", "fake"); code != 429 || h.Get("Retry-After") != "2" || !strings.Contains(body, "slow down") {
		t.Errorf("refusal: %d %s", code, body)
	}
	if code, _, body, _ = post(t, url, `{}`, "x-api-key", "other"); code != 401 {
		t.Errorf("wrong key: %d %s", code, body)
	}
	if code, _, body, _ = post(t, url, `{}`, "x-api-key", "fake"); code != 500 || !strings.Contains(body, "no further reply") {
		t.Errorf("end: %d %s", code, body)
	}
	if code, _, _, _ = post(t, srv.URL+"/v1/other", `{}`); code != 404 {
		t.Errorf("unknown path: %d", code)
	}
	var seen []string
	for _, r := range f.Requests() {
		seen = append(seen, r.Form+" "+r.Key+" "+string(r.Body))
	}
	want := []string{`anthropic fake {"q":"first"}`, `anthropic fake {"q":"second"}`, "anthropic fake {}", "anthropic other {}", "anthropic fake {}"}
	if d := cmp.Diff(want, seen); d != "" {
		t.Errorf("recorded (-want +got)\n%s", d)
	}
	for _, bad := range []string{"", "[]", `{"replise":[]}`, `{"replies":[{"stall":"soon"}]}`} {
		if _, err := Load(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	again, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Load(bytes.NewReader(again))
	if err != nil || cmp.Diff(s, back) != "" {
		t.Errorf("the script does not survive writing: %v %s", err, cmp.Diff(s, back))
	}
}

func TestLoop(t *testing.T) {
	s := NewScript(t, Script{Loop: true, Replies: []Reply{{Text: "a"}, {Text: "b"}}})
	got := ""
	for range 5 {
		_, _, body, _ := post(t, s.URL+"/v1/chat/completions", `{}`)
		var v struct {
			Choices []struct{ Message struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Fatal(err)
		}
		got += v.Choices[0].Message.Content
	}
	if got != "ababa" {
		t.Fatalf("said %q", got)
	}
}

func TestCutsAndHangups(t *testing.T) {
	s := New(t, Reply{Hangup: true}, Reply{Text: strings.Repeat("x", 500), CutAfter: 100})
	if _, _, _, err := post(t, s.URL+"/v1/messages", `{}`); err == nil {
		t.Error("a hangup answered")
	}
	_, _, body, err := post(t, s.URL+"/v1/messages", `{"stream":true}`)
	if err == nil || len(body) != 100 {
		t.Errorf("cut after %d bytes: %v", len(body), err)
	}
}

func TestCloseEndsAStall(t *testing.T) {
	s := New(t, Reply{Stall: Duration(time.Hour)})
	done := make(chan error, 1)
	go func() {
		_, _, _, err := post(t, s.URL+"/v1/messages", `{}`)
		done <- err
	}()
	for len(s.Requests()) == 0 {
		time.Sleep(time.Millisecond)
	}
	_ = s.Close()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("the stalled reply survived the server")
	}
}

// TestRenderings pins the forms: the client under test is written against the
// same documents, so a silent change here would hide one there.
func TestRenderings(t *testing.T) {
	r := Reply{Text: "hi", Usage: &Usage{Input: 3, Output: 2, CacheRead: 1}}
	for name, want := range map[string]string{
		"openai": `data: {"choices":[{"delta":{"content":"","role":"assistant"},"finish_reason":null,"index":0}],"id":"chatcmpl-1","object":"chat.completion.chunk","usage":null}

data: {"choices":[{"delta":{"content":"hi"},"finish_reason":null,"index":0}],"id":"chatcmpl-1","object":"chat.completion.chunk","usage":null}

data: {"choices":[{"delta":{},"finish_reason":"stop","index":0}],"id":"chatcmpl-1","object":"chat.completion.chunk","usage":null}

data: {"choices":[],"id":"chatcmpl-1","usage":{"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":0},"prompt_tokens":4,"prompt_tokens_details":{"cached_tokens":1},"total_tokens":6}}

data: [DONE]

`,
		"anthropic": `event: message_start
data: {"message":{"content":[],"id":"msg_1","role":"assistant","stop_reason":null,"type":"message","usage":{"cache_creation_input_tokens":0,"cache_read_input_tokens":1,"input_tokens":3,"output_tokens":1}},"type":"message_start"}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"content_block":{"text":"","type":"text"},"index":0,"type":"content_block_start"}

event: content_block_delta
data: {"delta":{"text":"hi","type":"text_delta"},"index":0,"type":"content_block_delta"}

event: content_block_stop
data: {"index":0,"type":"content_block_stop"}

event: message_delta
data: {"delta":{"stop_reason":"end_turn","stop_sequence":null},"type":"message_delta","usage":{"output_tokens":2}}

event: message_stop
data: {"type":"message_stop"}

`,
		"gemini": `data: {"candidates":[{"content":{"parts":[{"text":"hi"}],"role":"model"},"index":0}],"modelVersion":"fake","usageMetadata":{"cachedContentTokenCount":1,"candidatesTokenCount":0,"promptTokenCount":4,"thoughtsTokenCount":0,"totalTokenCount":4}}

data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],"modelVersion":"fake","usageMetadata":{"cachedContentTokenCount":1,"candidatesTokenCount":2,"promptTokenCount":4,"thoughtsTokenCount":0,"totalTokenCount":6}}

`,
	} {
		b, err := Render(name, r, true)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, string(b)); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
	if _, err := Render("other", r, true); err == nil {
		t.Error("an unknown form was rendered")
	}
}

func TestServe(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/script.json", []byte(`{"replies":[{"text":"hi"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, dir+"/script.json", dir+"/url") }()
	var url []byte
	for end := time.Now().Add(5 * time.Second); len(url) == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		url, _ = os.ReadFile(dir + "/url")
	}
	if code, _, body, err := post(t, string(url)+"/v1/messages", `{"q":1}`); code != 200 || !strings.Contains(body, "hi") {
		t.Errorf("%d %s %v", code, body, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	asked, err := os.ReadFile(dir + "/url.asked")
	if err != nil || !strings.Contains(string(asked), `{\"q\":1}`) {
		t.Fatalf("%s %v", asked, err)
	}
	if err := Serve(ctx, dir+"/absent", dir+"/url"); err == nil {
		t.Error("a missing script was served")
	}
}
