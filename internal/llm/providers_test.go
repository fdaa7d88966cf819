package llm_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/egress"
	"sallyport/internal/fault"
	"sallyport/internal/llm"
	"sallyport/internal/llm/anthropic"
	"sallyport/internal/llm/gemini"
	"sallyport/internal/llm/openai"
	"sallyport/test/fakes/modelserver"
)

// fakeKey is obviously no real key, and long enough to be hidden in parts.
const fakeKey = "fake-key-0123456789-ABCDEFGHIJ+/="

type maker func(llm.Endpoint, llm.Doer, llm.Options) (llm.Client, error)

type provider struct {
	name, base string // base is appended to the server's address
	make       maker
}

var providers = []provider{
	{"openai", "/v1", openai.New},
	{"anthropic", "", anthropic.New},
	{"google", "", gemini.New},
}

func quick(o llm.Options) llm.Options {
	if o.Backoff == 0 {
		o.Backoff, o.BackoffMax = time.Millisecond, 2*time.Millisecond
	}
	return o
}

// connect makes a client of the server through a dialer that allows exactly
// the server's address.
func connect(t *testing.T, p provider, s *modelserver.Server, o llm.Options, change ...func(*llm.Endpoint)) llm.Client {
	t.Helper()
	rule, err := egress.ParseRule(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	doer := egress.New(egress.Config{Allow: []egress.Rule{rule}}).Client(egress.ClientOptions{})
	t.Cleanup(doer.CloseIdleConnections)
	ep := llm.Endpoint{Provider: p.name, BaseURL: s.URL + p.base, Key: func() string { return fakeKey }, KeyName: "TEST_KEY"}
	for _, c := range change {
		c(&ep)
	}
	c, err := p.make(ep, doer, quick(o))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ask() llm.Request {
	temp := 0.5
	return llm.Request{
		Model: "test-model", System: "be brief", MaxTokens: 100, Temperature: &temp, Stop: []string{"END"},
		Messages: []llm.Message{{Role: llm.User, Text: "héllo"}, {Role: llm.Assistant, Text: "yes?"}, {Role: llm.User, Text: "go on"}},
		Tools:    []llm.Tool{{Name: "look", Description: "looks", Schema: []byte(`{"type":"object","properties":{"at":{"type":"string"}}}`)}},
	}
}

// TestReplies: the same reply comes out of every provider, mode and
// fragmentation, with the same figures.
func TestReplies(t *testing.T) {
	usage := &modelserver.Usage{Input: 120, Output: 45, CacheRead: 30, Reasoning: 5}
	replies := map[string]modelserver.Reply{
		"text":  {Text: "ls -la\nécho 日本 🙂 \"quoted\"\n", Usage: usage, Think: "hidden"},
		"tools": {Text: "ok", Usage: usage, Calls: []modelserver.Call{{ID: "c1", Name: "look", Args: `{"at":"日本"}`}, {ID: "c2", Name: "look", Args: `{}`}}},
		"crlf":  {Text: "line", Usage: usage, CRLF: true, Comments: true},
	}
	for _, p := range providers {
		for _, plain := range []bool{false, true} {
			for _, chunk := range []int{1, 7, 4096} {
				for name, reply := range replies {
					t.Run(fmt.Sprintf("%s/plain=%v/%d/%s", p.name, plain, chunk, name), func(t *testing.T) {
						s := modelserver.NewScript(t, modelserver.Script{Replies: []modelserver.Reply{reply}, Chunk: chunk, Key: fakeKey})
						c := connect(t, p, s, llm.Options{Plain: plain})
						var heard strings.Builder
						got, err := c.Complete(context.Background(), ask(), func(s string) { heard.WriteString(s) })
						if err != nil {
							t.Fatal(err)
						}
						want := llm.Response{
							Text: reply.Text, Stop: llm.StopEnd, RequestID: "req_1", Attempts: 1, UsageKnown: true,
							Usage: llm.Usage{Input: 120, Output: 45, CacheRead: 30, Reasoning: 5},
						}
						if p.name == "anthropic" {
							want.Usage.Reasoning = 0 // not reported apart
						}
						for _, c := range reply.Calls {
							want.ToolCalls, want.Stop = append(want.ToolCalls, llm.ToolCall{ID: c.ID, Name: c.Name, Arguments: c.Args}), llm.StopTools
						}
						if d := cmp.Diff(want, got); d != "" {
							t.Fatalf("(-want +got)\n%s", d)
						}
						if heard.String() != reply.Text {
							t.Fatalf("handed on %q", heard.String())
						}
						if r := s.Requests()[0]; r.Stream == plain {
							t.Fatalf("stream %v", r.Stream)
						}
					})
				}
			}
		}
	}
}

// TestWhatIsSent: golden bodies and headers.
func TestWhatIsSent(t *testing.T) {
	bodies := map[string]string{
		"openai":    `{"model":"test-model","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"héllo"},{"role":"assistant","content":"yes?"},{"role":"user","content":"go on"}],"max_tokens":100,"temperature":0.5,"stop":["END"],"tools":[{"type":"function","function":{"name":"look","description":"looks","parameters":{"type":"object","properties":{"at":{"type":"string"}}}}}],"stream":true,"stream_options":{"include_usage":true}}`,
		"anthropic": `{"model":"test-model","max_tokens":100,"system":"be brief","messages":[{"role":"user","content":"héllo"},{"role":"assistant","content":"yes?"},{"role":"user","content":"go on"}],"temperature":0.5,"stop_sequences":["END"],"tools":[{"name":"look","description":"looks","input_schema":{"type":"object","properties":{"at":{"type":"string"}}}}],"stream":true}`,
		"google":    `{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"héllo"}]},{"role":"model","parts":[{"text":"yes?"}]},{"role":"user","parts":[{"text":"go on"}]}],"generationConfig":{"maxOutputTokens":100,"temperature":0.5,"stopSequences":["END"]},"tools":[{"functionDeclarations":[{"name":"look","description":"looks","parametersJsonSchema":{"type":"object","properties":{"at":{"type":"string"}}}}]}]}`,
	}
	paths := map[string]string{
		"openai": "/v1/chat/completions?", "anthropic": "/v1/messages?",
		"google": "/v1beta/models/test-model:streamGenerateContent?alt=sse",
	}
	for _, p := range providers {
		t.Run(p.name, func(t *testing.T) {
			s := modelserver.New(t, modelserver.Reply{Text: "ok"})
			if _, err := connect(t, p, s, llm.Options{}).Complete(context.Background(), ask(), nil); err != nil {
				t.Fatal(err)
			}
			r := s.Requests()[0]
			if d := cmp.Diff(bodies[p.name], string(r.Body)); d != "" {
				t.Errorf("body (-want +got)\n%s", d)
			}
			if got := r.Path + "?" + r.Query; got != paths[p.name] {
				t.Errorf("path %q", got)
			}
			if r.Key != fakeKey || strings.Contains(r.Query, fakeKey) {
				t.Errorf("key %q in query %q", r.Key, r.Query)
			}
		})
	}
}

func TestMissingKeyNamesTheVariable(t *testing.T) {
	for _, p := range providers {
		s := modelserver.New(t)
		c := connect(t, p, s, llm.Options{}, func(ep *llm.Endpoint) { ep.Key = func() string { return "" } })
		_, err := c.Complete(context.Background(), ask(), nil)
		if !fault.Is(err, fault.Config) || !strings.Contains(fault.PublicText(err), "TEST_KEY") {
			t.Errorf("%s: %v", p.name, err)
		}
		if len(s.Requests()) != 0 {
			t.Errorf("%s: something was sent without a key", p.name)
		}
	}
	// A local server needs none.
	s := modelserver.New(t, modelserver.Reply{Text: "hi"})
	c := connect(t, providers[0], s, llm.Options{}, func(ep *llm.Endpoint) { ep.Key, ep.KeyOptional = nil, true })
	if r, err := c.Complete(context.Background(), ask(), nil); err != nil || r.Text != "hi" {
		t.Fatal(r, err)
	}
	if h := s.Requests()[0].Header; h.Get("Authorization") != "" {
		t.Fatalf("header %q", h)
	}
}
