package llmproxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/record"
	"sallyport/internal/scan"
	"sallyport/internal/scan/screen"
	"sallyport/test/fakes/modelserver"
)

// book is a ledger, a journal, an approver and a policy in memory. The policy
// denies the tool "forbidden", asks about the tool "careful" and denies a model
// call that the screen wants blocked.
type book struct {
	mu       sync.Mutex
	intents  []record.Intent
	outcomes []record.Outcome
	events   []record.Event
	approved map[action.Digest]bool
	full     error // what Intend gives
	torn     error // what Append gives
	label    label.Label

	asks     []record.ApprovalRequest
	asked    chan struct{} // gets one for each ask, if set
	answer   chan bool     // what people say; nil = nobody ever does
	onIntend func(record.Intent)
}

func (b *book) Snapshot(context.Context, record.Scope) (record.Snapshot, error) {
	return record.Snapshot{Context: b.label}, nil
}

func (b *book) Intend(ctx context.Context, in record.Intent) (record.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return record.Receipt{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full != nil {
		return record.Receipt{}, b.full
	}
	if b.onIntend != nil {
		b.onIntend(in)
	}
	b.intents = append(b.intents, in)
	return record.Receipt{ID: int64(len(b.intents))}, nil
}

func (b *book) Settle(_ context.Context, out record.Outcome) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outcomes = append(b.outcomes, out)
	return nil
}

func (b *book) Append(_ context.Context, e record.Event) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.torn != nil {
		return 0, b.torn
	}
	b.events = append(b.events, e)
	return int64(len(b.events)), nil
}

func (b *book) Find(_ context.Context, d action.Digest) ([]record.Approval, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.approved[d] {
		return []record.Approval{{Person: "ann", Groups: []string{"owner"}}}, nil
	}
	return nil, nil
}

func (b *book) approve(d action.Digest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.approved[d] = true
}

func (b *book) Await(ctx context.Context, req record.ApprovalRequest) ([]record.Approval, error) {
	b.mu.Lock()
	b.asks = append(b.asks, req)
	id := fmt.Sprintf("ask-%d", len(b.asks))
	b.mu.Unlock()
	if b.asked != nil {
		b.asked <- struct{}{}
	}
	select {
	case yes := <-b.answer:
		if !yes {
			return nil, fault.New("book", fault.Denied, "ann said no to ask %s", id)
		}
		b.approve(req.Digest)
		return b.Find(ctx, req.Digest)
	case <-ctx.Done():
		return nil, fault.New("book", fault.NeedsAsk, "%s; nobody answered in time: `sallyport approve %s` permits exactly this once", req.Because, id)
	}
}

func (b *book) SetDigest() string { return "set" }

func (b *book) Decide(q record.Question) record.Decision {
	d := record.Decision{Verdict: record.Allow, Rules: []string{"allow"}, ResultLabel: label.New(label.Internal, label.Foreign, 0)}
	name := q.Action.Arg("name")
	items, _ := q.Action.Args["screen"].([]any)
	switch text := fmt.Sprint(items); {
	case strings.Contains(text, ".block"), strings.Contains(name, "forbidden"):
		d.Verdict, d.Rules, d.Because = record.Deny, []string{"no-forbidden"}, "this is not for agents"
	case strings.Contains(text, ".ask"), name == "careful":
		if q.Approvals["owner"] < 1 {
			d.Verdict, d.Rules, d.Because, d.Needs = record.Ask, []string{"be-careful"}, "somebody has to look", []record.Need{{Count: 1, Group: "owner"}}
		}
	case q.Action.Arg("type") == "text" && strings.Contains(q.Action.Arg("arguments"), "rm "):
		d.Verdict, d.Rules, d.Because = record.Deny, []string{"no-rm"}, "nothing is removed"
	case q.Action.Kind == action.ToolCall && q.Action.Args["resolved"] == false:
		d.Verdict, d.Rules, d.Because = record.Deny, []string{"unresolved"}, "nobody can tell what it does"
	}
	return d
}

func (b *book) Perform(context.Context, *gate.Permit) (record.Result, error) {
	return record.Result{}, fault.New("book", fault.Internal, "nothing is performed here")
}

// of gives the intents of a kind, with the verdict that was recorded.
func (b *book) of(kind action.Kind) []record.Intent {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []record.Intent
	for _, in := range b.intents {
		if in.Action.Kind == kind {
			out = append(out, in)
		}
	}
	return out
}

// ends gives the outcomes of the nth intent of a kind, from 0.
func (b *book) ends(kind action.Kind, n int) []record.Outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []record.Outcome
	for i, in := range b.intents {
		if in.Action.Kind != kind {
			continue
		}
		if n--; n >= 0 {
			continue
		}
		for _, o := range b.outcomes {
			if o.Intent == int64(i+1) {
				out = append(out, o)
			}
		}
		break
	}
	return out
}

func (b *book) typed(kind string) []record.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []record.Event
	for _, e := range b.events {
		if e.Type == kind {
			out = append(out, e)
		}
	}
	return out
}

// Authenticate knows the token "sp-good" and those that begin with it.
func (b *book) Authenticate(_ context.Context, token string) (Caller, error) {
	if !strings.HasPrefix(token, "sp-good") {
		return Caller{}, fault.New("keys", fault.Denied, "unknown key")
	}
	c := Caller{Agent: "dev", Session: "s1", Context: "c1", Key: "k" + strings.TrimPrefix(token, "sp-good")}
	if token == "sp-good-slow" {
		c.RequestsPerMinute, c.TokensPerMinute = 2, 1_000_000
	}
	return c, nil
}

const upstreamKey = "upstream-secret-key-0123456789"

// world is a proxy in front of a scripted model server.
type world struct {
	*book
	t       testing.TB
	proxy   *Proxy
	server  *httptest.Server
	model   *modelserver.Server
	config  Config
	flushed bool
}

func keyIn(api wire.API) func(http.Header) {
	return func(h http.Header) {
		switch api {
		case wire.Messages:
			h.Set("X-Api-Key", upstreamKey)
		case wire.Gemini:
			h.Set("X-Goog-Api-Key", upstreamKey)
		default:
			h.Set("Authorization", "Bearer "+upstreamKey)
		}
	}
}

// screens are made once: their rules are compiled for every other test too.
var (
	blocking = sync.OnceValues(func() (*screen.Screen, error) { return screenOf(screen.Block) })
	asking   = sync.OnceValues(func() (*screen.Screen, error) { return screenOf(screen.Ask) })
)

func screenOf(dangerous screen.Action) (*screen.Screen, error) {
	return screen.New(screen.Settings{
		Dangerous: []scan.Keyword{{Text: "detonate"}}, Suspicious: []scan.Keyword{{Text: "peculiar"}},
		DangerousAction: dangerous, SuspiciousAction: screen.Alert,
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// newWorld makes a world; change may alter the configuration before it starts.
func newWorld(t testing.TB, change func(*world), replies ...modelserver.Reply) *world {
	t.Helper()
	w := &world{book: &book{approved: map[action.Digest]bool{}, label: label.New(label.Public, label.Foreign, 0)}, t: t}
	w.model = modelserver.NewScript(t, modelserver.Script{Replies: replies, Key: upstreamKey})
	w.start(change, w.model.URL)
	return w
}

func (w *world) start(change func(*world), base string) {
	t := w.t
	t.Helper()
	g, err := gate.New(gate.Config{
		Ledger: w, Policy: w, Approver: Patient(w), Now: time.Now,
		Executors: map[action.Kind]gate.Executor{action.ModelCall: w, action.ToolCall: w},
	})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 512}
	t.Cleanup(transport.CloseIdleConnections)
	w.config = Config{
		Gate: g, Journal: w, Screen: must(blocking()), PolicySet: w.SetDigest,
		Upstream: func(api wire.API, model string) (Upstream, error) {
			if model == "nowhere" {
				return Upstream{}, fault.New("test", fault.NotFound, "no upstream serves nowhere")
			}
			return Upstream{Name: "fake", Base: u, Credential: keyIn(api), Transport: transport}, nil
		},
		Cost: func(_ string, u wire.Usage) (record.Micros, bool) { return record.Micros(u.Input + 10*u.Output), true },
	}
	if change != nil {
		change(w)
	}
	if w.proxy, err = New(w.config); err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewServer(w.proxy.Handler(w))
	t.Cleanup(func() {
		w.settle()
		w.server.Close()
	})
}

// settle closes the proxy, so that everything is written down.
func (w *world) settle() {
	if w.flushed {
		return
	}
	w.flushed = true
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.proxy.Close(ctx); err != nil {
		w.t.Errorf("close: %v", err)
	}
}

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

// form is one API as a client uses it.
type form struct {
	api    wire.API
	name   string
	path   string
	stream string // the path of a stream, if it differs
}

var forms = []form{
	{wire.Chat, "chat", "/v1/chat/completions", ""},
	{wire.Responses, "responses", "/v1/responses", ""},
	{wire.Messages, "messages", "/v1/messages", ""},
	{wire.Gemini, "gemini", "/v1beta/models/m-1:generateContent", "/v1beta/models/m-1:streamGenerateContent?alt=sse"},
}

// ask makes the body of a request that says text.
func (f form) ask(text string, stream bool) string {
	switch f.api {
	case wire.Chat:
		return fmt.Sprintf(`{"model":"m-1","stream":%v,"messages":[{"role":"user","content":%q}],"x_unknown":{"a":[1, 2.50 ]}}`, stream, text)
	case wire.Responses:
		return fmt.Sprintf(`{"model":"m-1","stream":%v,"input":[{"role":"user","content":%q}],"x_unknown":{"a":[1, 2.50 ]}}`, stream, text)
	case wire.Messages:
		return fmt.Sprintf(`{"model":"m-1","max_tokens":100,"stream":%v,"messages":[{"role":"user","content":%q}],"x_unknown":{"a":[1, 2.50 ]}}`, stream, text)
	default:
		return fmt.Sprintf(`{"contents":[{"role":"user","parts":[{"text":%q}]}],"xUnknown":{"a":[1, 2.50 ]}}`, text)
	}
}

func (f form) where(stream bool) string {
	if stream && f.stream != "" {
		return f.stream
	}
	return f.path
}

// do sends a request with a good key and reads its answer to the end.
func (w *world) do(f form, stream bool, text string, headers ...string) answer {
	return w.send(http.MethodPost, f.where(stream), f.ask(text, stream), headers...)
}

func (w *world) send(method, path, body string, headers ...string) answer {
	r, err := http.NewRequestWithContext(context.Background(), method, w.server.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer sp-good")
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	return w.exchange(r)
}

func (w *world) exchange(r *http.Request) answer {
	resp, err := w.server.Client().Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), err}
}

// each runs f for every API, plain and streamed.
func each(t *testing.T, f func(t *testing.T, form form, stream bool)) {
	t.Helper()
	for _, form := range forms {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stream=%v", form.name, stream), func(t *testing.T) { f(t, form, stream) })
		}
	}
}

func call(name, args string) modelserver.Reply {
	return modelserver.Reply{Text: "hello", ArgPieces: 100, Calls: []modelserver.Call{{ID: "call_1", Name: name, Args: args}}, Usage: &modelserver.Usage{Input: 7, Output: 5}}
}

func (w *world) listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}
