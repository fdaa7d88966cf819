package llmproxy

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/scan/screen"
	"sallyport/test/fakes/modelserver"
)

// hostile is a world whose upstream answers by method and path, whatever the
// request says.
func hostile(t *testing.T, change func(*world), answer func(r *http.Request) string) *world {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, answer(r))
	}))
	t.Cleanup(srv.Close)
	w := &world{book: &book{approved: map[action.Digest]bool{}}, t: t}
	w.start(change, srv.URL)
	return w
}

// TestModerationFollowsTheRole: bytes that were read as instructions are judged
// again where they are a user's words, and where another API reads them.
func TestModerationFollowsTheRole(t *testing.T) {
	reply := modelserver.Reply{Text: "a"}
	w := newWorld(t, func(w *world) {
		w.config.Moderate = func(_ context.Context, _ Caller, texts []string) (screen.Verdict, error) {
			if strings.Contains(strings.Join(texts, " "), "violent") {
				return screen.Verdict{Action: screen.Block, Alert: "dangerous", Hits: []screen.Hit{{Source: screen.SourceModeration, Action: screen.Block, Rule: "violence"}}}, nil
			}
			return screen.Verdict{Alert: "none"}, nil
		}
	}, reply, reply, reply, reply)
	const item = `{"type":"function_call_output","role":"assistant","call_id":"c","output":"violent things"}`
	for i, step := range []struct {
		path, body string
		want       int
	}{
		{"/v1/responses", `{"model":"m-1","instructions":"violent plan","input":"hi"}`, 200},
		{"/v1/responses", `{"model":"m-1","instructions":"be nice","input":"violent plan"}`, 400},
		{"/v1/chat/completions", `{"model":"m-1","messages":[` + item + `]}`, 200},
		{"/v1/responses", `{"model":"m-1","input":[` + item + `]}`, 400},
	} {
		if got := w.send(http.MethodPost, step.path, step.body); got.status != step.want {
			t.Errorf("step %d: %d, want %d", i, got.status, step.want)
		}
	}
}

// TestWarningIsNotLost: what could not be written down alerts when it is sent
// again.
func TestWarningIsNotLost(t *testing.T) {
	w := newWorld(t, nil, modelserver.Reply{Text: "a"})
	w.torn = fault.New("test", fault.Unavailable, "the disk is full")
	if got := w.do(forms[0], false, "a peculiar thing"); got.status != 503 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	w.mu.Lock()
	w.torn = nil
	w.mu.Unlock()
	if got := w.do(forms[0], false, "a peculiar thing"); got.status != 200 || len(w.typed("LLM_call_start")) != 1 {
		t.Errorf("%d %s, warnings %v", got.status, got.body, w.typed("LLM_call_start"))
	}
}

// TestBackgroundIsPaid: what is fetched later costs what it turns out to cost,
// once, however often it is fetched.
func TestBackgroundIsPaid(t *testing.T) {
	w := hostile(t, nil, func(r *http.Request) string {
		if r.Method == http.MethodPost {
			return `{"id":"resp_1","object":"response","status":"queued","model":"m-1","output":[]}`
		}
		return `{"id":"resp_1","object":"response","status":"completed","model":"m-1","output":[],"usage":{"input_tokens":1000,"output_tokens":100000,"total_tokens":101000}}`
	})
	w.send(http.MethodPost, "/v1/responses", `{"model":"m-1","background":true,"input":"think long"}`)
	for range 3 {
		w.send(http.MethodGet, "/v1/responses/resp_1", "")
	}
	w.settle()
	var sum record.Micros
	for n := range 4 {
		sum += w.ends(action.ModelCall, n)[0].Result.Cost
	}
	if sum != 1_001_000 {
		t.Errorf("cost %d, want 1001000", sum)
	}
}

// TestRepeatsForNothing are bounded: an upstream may give every reply the same id.
func TestRepeatsForNothing(t *testing.T) {
	reply := modelserver.Reply{Text: "x", Usage: usage, Number: 5}
	w := newWorld(t, nil, reply, reply, reply, reply, reply, reply, reply, reply)
	for range 8 {
		w.do(forms[0], false, "ping", "X-Stainless-Retry-Count", "1")
	}
	w.settle()
	free := 0
	for n := range 8 {
		if w.ends(action.ModelCall, n)[0].Result.Cost == 0 {
			free++
		}
	}
	if free != maxRepeats {
		t.Errorf("%d of 8 replies cost nothing, want %d", free, maxRepeats)
	}
}

// TestStoredRepliesOfOthers are neither read nor continued nor deleted.
func TestStoredRepliesOfOthers(t *testing.T) {
	asked := 0
	w := hostile(t, nil, func(*http.Request) string {
		asked++
		return `{"id":"resp_secret","object":"response","status":"completed","model":"m-1","output":[],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}`
	})
	if got := w.send(http.MethodPost, "/v1/responses", `{"model":"m-1","input":"my secret"}`); got.status != 200 {
		t.Fatal(got)
	}
	for _, try := range [][3]string{
		{http.MethodGet, "/v1/responses/resp_secret", ""},
		{http.MethodDelete, "/v1/responses/resp_secret", ""},
		{http.MethodGet, "/v1/responses/resp_secret/input_items", ""},
		{http.MethodPost, "/v1/responses", `{"model":"m-1","previous_response_id":"resp_secret","input":"repeat everything"}`},
	} {
		asked = 0
		if got := w.send(try[0], try[1], try[2], "Authorization", "Bearer sp-good-other"); got.status != 404 || asked != 0 {
			t.Errorf("%s %s: %d %s, upstream asked %d times", try[0], try[1], got.status, got.body, asked)
		}
		if got := w.send(try[0], try[1], try[2]); got.status != 200 {
			t.Errorf("its owner, %s %s: %d %s", try[0], try[1], got.status, got.body)
		}
	}
}

// TestRemoteHistoryIsReserved: a history that the provider keeps is neither
// short nor free.
func TestRemoteHistoryIsReserved(t *testing.T) {
	w := newWorld(t, nil, modelserver.Reply{Text: "some text", CutAfter: 60})
	w.send(http.MethodPost, "/v1/responses", `{"model":"m-1","stream":true,"previous_response_id":"resp_0","input":"go on"}`)
	w.settle()
	in := w.of(action.ModelCall)
	if len(in) != 1 || in[0].Action.Args["history"] != true {
		t.Fatalf("intents %+v", in)
	}
	if cost := w.ends(action.ModelCall, 0)[0].Result.Cost; cost < remoteInput {
		t.Errorf("a cut reply over a history of unknown length cost %d", cost)
	}
}

// TestMemoryOfReplies and of views is bounded like that of requests.
func TestMemoryOfReplies(t *testing.T) {
	small := func(w *world) { w.config.MaxMemory = 1 << 20 }
	big := `{"id":"r","choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("x", 2<<20) + `"},"finish_reason":"stop"}]}`
	many := `{"model":"m-1","messages":[{"role":"user","content":[""` + strings.Repeat(`,""`, 40_000) + `]}]}`
	for name, tt := range map[string]struct{ reply, body, path string }{
		"a large reply": {big, forms[0].ask("ping", false), forms[0].path},
		"a large list":  {big, `{"model":"m-1","input":"x"}`, "/v1/embeddings"},
		"many strings":  {`{}`, many, forms[0].path},
		"many answers":  {`{"choices":[{"index":0,"message":{"role":"assistant","content":[""` + strings.Repeat(`,""`, 40_000) + `]}}]}`, forms[0].ask("ping", false), forms[0].path},
	} {
		reply := tt.reply
		w := hostile(t, small, func(*http.Request) string { return reply })
		if got := w.send(http.MethodPost, tt.path, tt.body); got.status != 503 {
			t.Errorf("%s: %d %.200s", name, got.status, got.body)
		}
		reply = `{"choices":[]}`
		if got := w.do(forms[0], false, "ping"); got.status != 200 {
			t.Errorf("%s: the memory was not given back: %d %.200s", name, got.status, got.body)
		}
	}
}

// TestSplitWords: what stands across the parts of a message is found, and what
// only their borders make of harmless parts is not.
func TestSplitWords(t *testing.T) {
	long := strings.Repeat("many words ", 200)
	for name, tt := range map[string]struct {
		parts []string
		want  int
	}{
		"two parts":         {[]string{"please deto", "nate it"}, 400},
		"letter by letter":  {strings.Split("please detonate it", ""), 400},
		"long parts":        {[]string{long + "deto", "nate " + long}, 400},
		"an empty one":      {[]string{"deto", "", "nate"}, 400},
		"other words":       {[]string{"deto", "xify nate"}, 200},
		"the end of a word": {[]string{long + "undeto", "nate"}, 200},
	} {
		w := newWorld(t, nil, modelserver.Reply{Text: "x"})
		var b strings.Builder
		for i, part := range tt.parts {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`{"type":"text","text":"` + part + `"}`)
		}
		if got := w.send(http.MethodPost, forms[0].path, `{"model":"m-1","messages":[{"role":"user","content":[`+b.String()+`]}]}`); got.status != tt.want {
			t.Errorf("%s: %d %.200s", name, got.status, got.body)
		}
	}
}

// TestMemoryOfStreams: a held call counts against the memory of all, and what it
// took is given back.
func TestMemoryOfStreams(t *testing.T) {
	const most = 512 << 10
	size := 1 << 20
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		piece := `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"ls","arguments":"` + strings.Repeat("y", 32<<10) + `"}}]}}]}` + "\n\n"
		for range size / len(piece) {
			_, _ = io.WriteString(rw, piece)
		}
		_, _ = io.WriteString(rw, `data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`+"\n\ndata: [DONE]\n\n")
	}))
	defer srv.Close()
	w := &world{book: &book{approved: map[action.Digest]bool{}}, t: t}
	w.start(func(w *world) { w.config.MaxMemory = most }, srv.URL)
	if got := w.do(forms[0], true, "ping"); strings.Contains(got.body, "yyy") || !strings.Contains(got.body, "as many bytes") {
		t.Errorf("%d %.300s", got.status, got.body)
	}
	size = 100 << 10
	if got := w.do(forms[0], true, "ping"); !strings.Contains(got.body, "yyy") {
		t.Errorf("a smaller one: %d %.300s", got.status, got.body)
	}
	w.settle()
	if left := w.proxy.room.left; left != most {
		t.Errorf("%d bytes were not given back", most-left)
	}
}
