package llm_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
	"sallyport/internal/llm"
	"sallyport/test/fakes/modelserver"
)

// body gives at most n bytes per read.
type body struct {
	b []byte
	n int
}

func (f *body) Read(p []byte) (int, error) {
	if len(f.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.b[:min(f.n, len(f.b))])
	f.b = f.b[n:]
	return n, nil
}

// wire answers one request with bytes, in pieces, without a network.
type wire struct {
	status int
	media  string
	bytes  []byte
	piece  int
}

func (w wire) Do(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: w.status, Request: r, Header: http.Header{"Content-Type": {w.media}},
		Body: io.NopCloser(&body{w.bytes, w.piece}),
	}, nil
}

var small = llm.Limits{Body: 1 << 16, Event: 1 << 14, Text: 2000, ToolCalls: 8, Arguments: 2000}

type outcome struct {
	R     llm.Response
	Heard string
	Err   string
}

func exchange(t testing.TB, p provider, w wire) outcome {
	t.Helper()
	c, err := p.make(llm.Endpoint{Provider: p.name, Key: func() string { return fakeKey }}, w, llm.Options{Attempts: 1, Limits: small, Total: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var o outcome
	o.R, err = c.Complete(context.Background(), ask(), func(s string) { o.Heard += s })
	if err != nil {
		o.Err = err.Error()
		if k := fault.KindOf(err); k != fault.Unavailable && k != fault.Config && k != fault.Budget {
			t.Fatalf("kind %v: %v", k, err)
		}
		if len(o.Err) > 900 || !utf8.ValidString(o.Err) {
			t.Fatalf("the error is no short text: %q", o.Err)
		}
	}
	if o.Heard != o.R.Text || len(o.R.Text) > small.Text || !utf8.ValidString(o.R.Text) || len(o.R.ToolCalls) > small.ToolCalls {
		t.Fatalf("out of bounds: %+v", o)
	}
	n := 0
	for _, c := range o.R.ToolCalls {
		n += len(c.ID) + len(c.Name) + len(c.Arguments)
	}
	if n > small.Arguments {
		t.Fatalf("%d bytes of tool calls", n)
	}
	u := o.R.Usage
	for _, f := range []int64{u.Input, u.Output, u.CacheRead, u.CacheWrite, u.Reasoning} {
		if f < 0 || f > llm.MaxFigure {
			t.Fatalf("figure %d", f)
		}
	}
	if err == nil && o.R.Stop == "" {
		t.Fatalf("accepted without a reason to stop: %+v", o.R)
	}
	return o
}

// seeds are the fake server's own replies.
func seeds(f *testing.F, add func(provider int, media string, b []byte)) {
	usage := &modelserver.Usage{Input: 5, Output: 7, CacheRead: 2, Reasoning: 1}
	for i, p := range providers {
		for _, plain := range []bool{false, true} {
			for _, r := range []modelserver.Reply{
				{Text: "héllo", Usage: usage},
				{Usage: usage, Calls: []modelserver.Call{{ID: "c", Name: "look", Args: `{"a":1}`}}},
				{Text: "x", Error: &modelserver.Failure{Type: "server_error", Message: "m"}},
				{Think: "t", Stop: "length", CRLF: true},
			} {
				media := "text/event-stream"
				if plain {
					media = "application/json"
				}
				form := p.name
				if form == "google" {
					form = "gemini"
				}
				b, err := modelserver.Render(form, r, !plain)
				if err != nil {
					f.Fatal(err)
				}
				add(i, media, b)
			}
		}
	}
}

// FuzzStream: any bytes end in bounds, and their fragmentation does not matter.
func FuzzStream(f *testing.F) {
	seeds(f, func(i int, media string, b []byte) {
		if media == "text/event-stream" {
			f.Add(uint8(i), b, 3)
		}
	})
	f.Add(uint8(0), []byte("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":-9,\"id\":\"x\"}]},\"finish_reason\":\"q\"}],\"usage\":{\"prompt_tokens\":9223372036854775807}}\n\n"), 1)
	f.Add(uint8(2), []byte("data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"},\"usageMetadata\":{\"promptTokenCount\":9223372036854775807,\"toolUsePromptTokenCount\":9}}\n\n"), 1)
	f.Fuzz(func(t *testing.T, i uint8, b []byte, piece int) {
		if piece < 1 || piece > 5000 {
			piece = 1
		}
		if len(b) > 1<<14 {
			return
		}
		p := providers[int(i)%len(providers)]
		whole := exchange(t, p, wire{200, "text/event-stream", b, 1 << 20})
		split := exchange(t, p, wire{200, "text/event-stream", b, piece})
		if d := cmp.Diff(whole, split); d != "" {
			t.Fatalf("fragmentation matters:\n%s", d)
		}
	})
}

// FuzzWhole: whole replies and error bodies.
func FuzzWhole(f *testing.F) {
	seeds(f, func(i int, media string, b []byte) {
		if media != "text/event-stream" {
			f.Add(uint8(i), uint16(200), b)
			f.Add(uint8(i), uint16(429), b)
		}
	})
	f.Add(uint8(2), uint16(400), []byte(`[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]`))
	f.Add(uint8(0), uint16(400), []byte(`{"error":"just words"}`))
	f.Fuzz(func(t *testing.T, i uint8, status uint16, b []byte) {
		if status < 200 || status > 599 || len(b) > 1<<16 {
			return
		}
		o := exchange(t, providers[int(i)%len(providers)], wire{int(status), "application/json", b, 1 << 20})
		if status != 200 && o.Err == "" {
			t.Fatalf("status %d was accepted", status)
		}
	})
}

// TestStops: the words of each provider for why it stopped.
func TestStops(t *testing.T) {
	for i, words := range []map[string]string{
		{"stop": llm.StopEnd, "length": llm.StopLength, "content_filter": llm.StopFiltered, "tool_calls": llm.StopTools, "new": llm.StopOther},
		{"end_turn": llm.StopEnd, "stop_sequence": llm.StopEnd, "max_tokens": llm.StopLength, "refusal": llm.StopFiltered, "tool_use": llm.StopTools, "pause_turn": llm.StopOther},
		{"STOP": llm.StopEnd, "MAX_TOKENS": llm.StopLength, "SAFETY": llm.StopFiltered, "MALFORMED_FUNCTION_CALL": llm.StopOther},
	} {
		for word, want := range words {
			for _, plain := range []bool{false, true} {
				s := modelserver.New(t, modelserver.Reply{Text: "t", Stop: word})
				r, err := connect(t, providers[i], s, llm.Options{Plain: plain}).Complete(context.Background(), ask(), nil)
				if err != nil || r.Stop != want || r.UsageKnown {
					t.Errorf("%s %s: %+v %v", providers[i].name, word, r, err)
				}
			}
		}
	}
}

// TestToolCallsWithoutAnIndex: servers that number every call 0, or none.
func TestToolCallsWithoutAnIndex(t *testing.T) {
	for _, index := range []string{`"index":0,`, ``} {
		call := func(id, args string) string {
			return `data: {"choices":[{"index":0,"delta":{"tool_calls":[{` + index + id + `"function":{"name":"look","arguments":"` + args + `"}}]}}]}` + "\n\n"
		}
		o := exchange(t, providers[0], wire{200, "text/event-stream", []byte(call(`"id":"a",`, "{") + call("", "}") + call(`"id":"b",`, "{}") +
			"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n"), 9})
		want := []llm.ToolCall{{ID: "a", Name: "look", Arguments: "{}"}, {ID: "b", Name: "look", Arguments: "{}"}}
		if d := cmp.Diff(want, o.R.ToolCalls); d != "" {
			t.Errorf("%q: (-want +got)\n%s\n%s", index, d, o.Err)
		}
	}
}

// TestUsageOfEachProvider: the figures on the wire, as the providers document
// them, not as the fake derives them.
func TestUsageOfEachProvider(t *testing.T) {
	for _, tt := range []struct {
		name  string
		p     int
		media string
		body  string
		want  llm.Usage
	}{
		{
			"openai: cached inside prompt, reasoning inside completion", 0, "application/json",
			`{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":60},"completion_tokens_details":{"reasoning_tokens":20}}}`,
			llm.Usage{Input: 40, CacheRead: 60, Output: 50, Reasoning: 20},
		},
		{
			"openai: no details", 0, "text/event-stream",
			"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
			llm.Usage{Input: 9, Output: 2},
		},
		{
			"anthropic: cached outside input, delta cumulative", 1, "text/event-stream",
			"data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\"output_tokens\":1,\"cache_read_input_tokens\":200,\"cache_creation_input_tokens\":30}}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":77}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
			llm.Usage{Input: 10, Output: 77, CacheRead: 200, CacheWrite: 30},
		},
		{
			"anthropic: delta corrects the input", 1, "text/event-stream",
			"data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":12,\"output_tokens\":3}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
			llm.Usage{Input: 12, Output: 3},
		},
		{
			"gemini: cached inside prompt, thoughts outside candidates", 2, "application/json",
			`{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":60,"toolUsePromptTokenCount":5,"candidatesTokenCount":50,"thoughtsTokenCount":20}}`,
			llm.Usage{Input: 45, CacheRead: 60, Output: 70, Reasoning: 20},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := exchange(t, providers[tt.p], wire{200, tt.media, []byte(tt.body), 7})
			if d := cmp.Diff(tt.want, o.R.Usage); d != "" || !o.R.UsageKnown {
				t.Fatalf("%s\n%+v", d, o)
			}
		})
	}
}
