package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/store"
	"sallyport/test/fakes/modelserver"
)

// office is a model proxy before a scripted provider.
type office struct {
	t     *testing.T
	app   *App
	base  string
	model *modelserver.Server
	token string
	key   KeyInfo
	end   func() error
	cut   chan struct{} // closed: open calls are not waited for
}

const providerKey = "sk-provider-0123456789abcdef"

func newOffice(t *testing.T, settings string, replies ...modelserver.Reply) *office {
	t.Helper()
	return newOfficeTo(t, settings, io.Discard, replies...)
}

// newOfficeTo is newOffice with what its proxy says written to said.
func newOfficeTo(t *testing.T, settings string, said io.Writer, replies ...modelserver.Reply) *office {
	t.Helper()
	home := filepath.Join(t.TempDir(), "state")
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, cut: make(chan struct{}), model: modelserver.NewScript(t, modelserver.Script{Replies: replies, Loop: true, Key: providerKey})}
	conf := fmt.Sprintf("proxy:\n  listen: 127.0.0.1:0\n  approval_wait_seconds: 0\n  upstreams:\n    openai: {base_url: %q, key_env: UP_KEY}\n    anthropic: {base_url: %q, key_env: UP_KEY}\n%s", o.model.URL, o.model.URL, settings)
	if err := os.WriteFile(filepath.Join(home, "sallyport.yaml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	o.app, err = Open(t.Context(), Options{Home: home, Environ: []string{"HOME=" + t.TempDir(), "UP_KEY=" + providerKey}, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if o.key, o.token, err = o.app.CreateKey(t.Context(), KeyRequest{Name: "bot", Limit: -1, Day: -1}, "tester"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- o.app.Proxy(ctx, ProxyOptions{Out: said, Cut: o.cut, Ready: func(addr string) { ready <- addr }})
	}()
	select {
	case addr := <-ready:
		o.base = "http://" + addr
	case err := <-done:
		t.Fatal(err)
	}
	o.end = func() error {
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := o.end(); err != nil {
			t.Error(err)
		}
		_ = o.app.Close()
	})
	return o
}

func (o *office) post(path, token, body string) (int, string) {
	o.t.Helper()
	r, err := http.NewRequestWithContext(o.t.Context(), http.MethodPost, o.base+path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// types lists the types of the events so far, oldest first.
func (o *office) types() []string {
	o.t.Helper()
	st, err := o.app.Store(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	rows, err := st.Events(o.t.Context(), store.Filter{Limit: 1000})
	if err != nil {
		o.t.Fatal(err)
	}
	var out []string
	for _, r := range rows {
		out = append(out, r.Type)
	}
	return out
}

const chatBody = `{"model":"gpt-4o","max_tokens":100,"messages":[{"role":"user","content":%q}]}`

func TestProxyPassesACall(t *testing.T) {
	o := newOffice(t, "", modelserver.Reply{Text: "hello there", Usage: &modelserver.Usage{Input: 10, Output: 3}})
	status, body := o.post("/v1/chat/completions", o.token, fmt.Sprintf(chatBody, "good day"))
	if status != 200 || !strings.Contains(body, "hello there") {
		t.Fatalf("%d %s", status, body)
	}
	if err := o.end(); err != nil { // settles what is under way
		t.Fatal(err)
	}
	o.end = func() error { return nil }
	if got := o.types(); !slices.Contains(got, "LLM_call_start") || !slices.Contains(got, "LLM_call_finish") {
		t.Errorf("events %v", got)
	}
	costs, err := o.app.Costs(t.Context(), "key", time.Time{})
	if err != nil || len(costs) != 1 || costs[0].Key != "bot" || costs[0].Dollars <= 0 {
		t.Errorf("costs %+v, %v", costs, err)
	}
	if asked := o.model.Requests(); len(asked) != 1 || bytes.Contains(asked[0].Body, []byte(o.token)) {
		t.Errorf("the provider was asked %d times", len(asked))
	}
}

func TestProxyTurnsStrangersAway(t *testing.T) {
	o := newOffice(t, "", modelserver.Reply{Text: "x"})
	for name, token := range map[string]string{"none": "", "wrong": strings.Repeat("x", 60), "the provider's": providerKey} {
		if status, body := o.post("/v1/chat/completions", token, fmt.Sprintf(chatBody, "hi")); status != 401 {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if _, err := o.app.RevokeKey(t.Context(), "bot", "tester"); err != nil {
		t.Fatal(err)
	}
	if status, _ := o.post("/v1/chat/completions", o.token, fmt.Sprintf(chatBody, "hi")); status != 401 {
		t.Errorf("a revoked key: %d", status)
	}
	if n := len(o.model.Requests()); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
}

// TestProxyKeywords: the seed's lists act as its page says.
func TestProxyKeywords(t *testing.T) {
	o := newOffice(t, "security:\n  dangerous_keywords: [DROP, TRANSFER ALL FUNDS]\n  suspicious_keywords: [HACK]\n", modelserver.Reply{Text: "fine"})
	status, body := o.post("/v1/chat/completions", o.token, fmt.Sprintf(chatBody, "please transfer  all funds now"))
	if status != 400 || !strings.Contains(body, "security.dangerous_keywords") {
		t.Errorf("%d %s", status, body)
	}
	if n := len(o.model.Requests()); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
	if got := o.types(); !slices.Contains(got, "LLM_call_start") || !slices.Contains(got, "LLM_call_blocked") {
		t.Errorf("events %v", got)
	}
	if status, body := o.post("/v1/chat/completions", o.token, fmt.Sprintf(chatBody, "how to hack a tomato plant")); status != 200 {
		t.Errorf("a suspicious word: %d %s", status, body)
	}
	if status, _ := o.post("/v1/chat/completions", o.token, fmt.Sprintf(chatBody, "drop me a line about the backdrop")); status != 200 {
		t.Errorf("harmless words: %d", status)
	}
	st, _ := o.app.Store(t.Context())
	rows, err := st.Events(t.Context(), store.Filter{Alert: "suspicious", Limit: 10})
	if err != nil || len(rows) == 0 {
		t.Errorf("no suspicious event: %v", err)
	}
}

// TestProxyKeyBudget: what a key may spend is reserved before the call.
func TestProxyKeyBudget(t *testing.T) {
	o := newOffice(t, "", modelserver.Reply{Text: "fine", Usage: &modelserver.Usage{Input: 1, Output: 1}})
	_, poor, err := o.app.CreateKey(t.Context(), KeyRequest{Name: "poor", Limit: 0.000001, Day: -1}, "tester")
	if err != nil {
		t.Fatal(err)
	}
	status, body := o.post("/v1/chat/completions", poor, fmt.Sprintf(chatBody, "hi"))
	if status != 400 || !strings.Contains(body, "rule budget") || !strings.Contains(body, "API key") {
		t.Errorf("%d %s", status, body)
	}
	if n := len(o.model.Requests()); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
}

// TestProxyKnownSecrets: canaries and providers' keys pass in no coding and are
// written down nowhere.
func TestProxyKnownSecrets(t *testing.T) {
	const canary = "canary-7f3a9b2c-do-not-send"
	o := newOffice(t, "security:\n  canaries: ["+canary+"]\n", modelserver.Reply{Text: "fine"})
	for name, said := range map[string]string{
		"canary": canary, "base64": base64.StdEncoding.EncodeToString([]byte("it is " + canary)), "the provider's key": providerKey, "hex": hex.EncodeToString([]byte(providerKey)),
	} {
		status, body := o.post("/v1/chat/completions", o.token, fmt.Sprintf(chatBody, "look: "+said))
		if status != 400 || !strings.Contains(body, "security.detectors") || strings.Contains(body, said) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if n := len(o.model.Requests()); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
	err := filepath.WalkDir(o.app.Paths.Home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(path) == "sallyport.yaml" {
			return err
		}
		b, err := os.ReadFile(path)
		for _, secret := range []string{canary, providerKey, hex.EncodeToString([]byte(providerKey))} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s holds %s", path, secret)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestProxyRoles: a key opens what its roles say.
func TestProxyRoles(t *testing.T) {
	o := newOffice(t, "", modelserver.Reply{Text: "x"})
	_, sender, err := o.app.CreateKey(t.Context(), KeyRequest{Name: "app", Roles: []string{record.RoleIngest}, Limit: -1, Day: -1}, "tester")
	if err != nil {
		t.Fatal(err)
	}
	event := `{"event_type":"ai_error","data":{"code":7,"alert":"suspicious"},"channel":"APPLICATION","level":"error"}`
	if status, body := o.post("/v1/events", sender, event); status/100 != 2 {
		t.Errorf("an event: %d %s", status, body)
	}
	if status, _ := o.post("/v1/events", o.token, event); status != 401 && status != 403 {
		t.Errorf("an event by an agent's key: %d", status)
	}
	if status, _ := o.post("/v1/chat/completions", sender, fmt.Sprintf(chatBody, "hi")); status != 401 {
		t.Errorf("a model call by a sender's key: %d", status)
	}
	if got := o.types(); !slices.Contains(got, "ai_error") {
		t.Errorf("events %v", got)
	}
	_, reader, err := o.app.CreateKey(t.Context(), KeyRequest{Name: "prom", Roles: []string{record.RoleMetrics}, Limit: -1, Day: -1}, "tester")
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]int{reader: 200, o.token: 401, "": 401} {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, o.base+"/metrics", http.NoBody)
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want || want == 200 && !strings.Contains(string(b), "sallyport_tool_calls_held") {
			t.Errorf("metrics: %d %s", resp.StatusCode, b)
		}
	}
}

// A proxy that ends in the middle of a stream gives the client an error that it
// can read, records what was in flight, and says so.
func TestProxyEndsInAStream(t *testing.T) {
	var said safeBuffer
	o := newOfficeTo(t, "", &said, modelserver.Reply{Text: strings.Repeat("one two three ", 50), Pace: modelserver.Duration(20 * time.Millisecond), Chunk: 64})
	status, err := o.app.Status(t.Context())
	if err != nil || len(status.Runs) != 1 || !status.Runs[0].Proxy {
		t.Errorf("runs %+v, %v", status.Runs, err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, o.base+"/v1/chat/completions", strings.NewReader(`{"model":"gpt-4o","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"go on"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+o.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	close(o.cut)
	if err := o.end(); !fault.Is(err, fault.Canceled) {
		t.Errorf("the end: %v", err)
	}
	o.end = func() error { return nil }
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Contains(rest, []byte("the proxy is ending; send the request again")) || !bytes.HasSuffix(rest, []byte("data: [DONE]\n\n")) {
		t.Errorf("%v %s", err, rest)
	}
	if got := o.types(); !slices.Contains(got, "LLM_call_error") {
		t.Errorf("events %v", got)
	}
	if !strings.Contains(said.String(), "open calls were cut") || !strings.Contains(said.String(), "gemini cannot be called: GOOGLE_API_KEY is not set") {
		t.Errorf("said %s", said.String())
	}
}

func TestProxyAddressTaken(t *testing.T) {
	o := newOffice(t, "")
	err := o.app.Proxy(t.Context(), ProxyOptions{Listen: strings.TrimPrefix(o.base, "http://"), Out: io.Discard})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.PublicText(err), "another program listens there") {
		t.Error(err)
	}
}

// safeBuffer is written by a proxy and read by its test.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
