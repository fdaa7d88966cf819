package llmproxy

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/gate"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/record"
	"sallyport/test/fakes/modelserver"
)

// TestApprovalReleases: while somebody thinks, the client is kept alive and gets
// none of the call; the answer releases it.
func TestApprovalReleases(t *testing.T) {
	each(t, func(t *testing.T, f form, stream bool) {
		w := newWorld(t, func(w *world) {
			w.config.KeepAlive = time.Millisecond
			w.asked, w.answer = make(chan struct{}, 1), make(chan bool)
		}, call("careful", `{"x":"canary-7"}`))
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+f.where(stream), strings.NewReader(f.ask("ping", stream)))
		r.Header.Set("X-Api-Key", "sp-good")
		got := make(chan answer, 1)
		lines := make(chan string, 1<<12)
		go func() {
			resp, err := w.server.Client().Do(r)
			if err != nil {
				got <- answer{err: err}
				return
			}
			defer resp.Body.Close()
			var all strings.Builder
			for s := bufio.NewReader(resp.Body); ; {
				line, err := s.ReadString('\n')
				all.WriteString(line)
				lines <- line
				if err != nil {
					break
				}
			}
			got <- answer{status: resp.StatusCode, body: all.String()}
		}()
		<-w.asked
		if stream { // a sign of life while the call is held
			before, line := "x", "x"
			for !strings.HasPrefix(line, ":") && !strings.Contains(line, "ping") && before+line != "\n\n" {
				before, line = line, <-lines
				if strings.Contains(line, "canary-7") {
					t.Error("the call was sent before the answer")
				}
			}
		}
		w.answer <- true
		a := <-got
		if a.err != nil || a.status != 200 || !strings.Contains(a.body, "canary-7") {
			t.Errorf("%d %v %s", a.status, a.err, a.body)
		}
	})
}

// TestUnansweredAskIsDenied names the question; answering it later permits one
// identical retry, and one only.
func TestUnansweredAskIsDenied(t *testing.T) {
	each(t, func(t *testing.T, f form, stream bool) {
		reply := call("careful", `{"x":"canary-7"}`)
		w := newWorld(t, func(w *world) { w.config.ApprovalWait = 20 * time.Millisecond }, reply, reply, reply)
		got := w.do(f, stream, "ping")
		if got.status != 200 || strings.Contains(got.body, "canary-7") || !strings.Contains(got.body, "be-careful") || !strings.Contains(got.body, "sallyport approve ask-1") {
			t.Fatalf("%d %s", got.status, got.body)
		}
		w.approve(w.asks[0].Digest)
		if got = w.do(f, stream, "ping again"); !strings.Contains(got.body, "canary-7") {
			t.Errorf("after the answer: %s", got.body)
		}
		if in := w.of(action.ToolCall); len(in) != 2 || len(in[1].Approvals) != 1 {
			t.Errorf("the approval was not consumed: %+v", in)
		}
	})
}

// TestQuestionsAreBounded: one reply cannot bury people in questions.
func TestQuestionsAreBounded(t *testing.T) {
	reply := call("careful", `{}`)
	reply.Repeat = 40
	for i := range reply.Calls {
		reply.Calls[i].Args = fmt.Sprintf(`{"n":%d}`, i)
	}
	w := newWorld(t, func(w *world) { w.config.ApprovalWait = 10 * time.Millisecond }, reply)
	got := w.do(forms[0], true, "ping")
	if len(w.asks) > maxAsks || got.status != 200 || strings.Contains(got.body, `"careful"`) || len(w.of(action.ToolCall)) != 40 {
		t.Errorf("%d asks, %d calls, %d", len(w.asks), len(w.of(action.ToolCall)), got.status)
	}
}

// TestAskOnInput waits as long, then refuses in the form of the API; the answer
// permits the identical request, and the history is not asked about again.
func TestAskOnInput(t *testing.T) {
	w := newWorld(t, func(w *world) {
		w.config.ApprovalWait = 20 * time.Millisecond
		w.config.Screen = must(asking())
	}, modelserver.Reply{Text: "x"}, modelserver.Reply{Text: "y"})
	got := w.do(forms[2], false, "detonate")
	if got.status != 403 || !strings.Contains(got.body, "approve ask-1") || len(w.model.Requests()) != 0 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	w.approve(w.asks[0].Digest)
	if got = w.do(forms[2], false, "detonate"); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	next := `{"model":"m-1","max_tokens":9,"messages":[{"role":"user","content":"detonate"},{"role":"assistant","content":"x"},{"role":"user","content":"go on"}]}`
	next = strings.Replace(next, `{"role":"user","content":"detonate"}`, segmentOf(forms[2], "detonate"), 1)
	if got = w.send(http.MethodPost, "/v1/messages", next); got.status != 200 || len(w.asks) != 1 {
		t.Errorf("asked again: %d %s, %d asks", got.status, got.body, len(w.asks))
	}
}

// segmentOf is the message of an ask as it stands in its body.
func segmentOf(f form, text string) string {
	body := f.ask(text, false)
	i := strings.Index(body, `{"role"`)
	return body[i : strings.Index(body[i:], "}")+i+1]
}

// TestResultsSettle: a result that comes back ends its call; one of a call that
// nobody released alerts, once.
func TestResultsSettle(t *testing.T) {
	w := newWorld(t, nil, call("ls", `{}`), modelserver.Reply{Text: "x"}, modelserver.Reply{Text: "y"})
	w.do(forms[0], false, "ping")
	next := `{"model":"m-1","messages":[{"role":"user","content":"ping"},
		{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"ls","arguments":"{}"}},{"id":"call_x","type":"function","function":{"name":"rm","arguments":"{}"}}]},
		{"role":"tool","tool_call_id":"call_1","content":"a b c"},{"role":"tool","tool_call_id":"call_x","content":"gone"}]}`
	for range 2 {
		if got := w.send(http.MethodPost, "/v1/chat/completions", next); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	w.settle()
	ends := w.ends(action.ToolCall, 0)
	if len(ends) != 2 || ends[0].Status != record.Released || ends[1].Status != record.Done || ends[1].Result.Data["result_bytes"] != int64(5) || len(fmt.Sprint(ends[1].Result.Data["digest"])) != 64 {
		t.Errorf("outcomes %+v", ends)
	}
	e := w.typed("proxy.unjudged_result")
	if len(e) != 1 || e[0].Alert != "suspicious" || e[0].Data["count"] != int64(1) || !strings.Contains(fmt.Sprint(e[0].Data), "call_x") {
		t.Errorf("events %+v", e)
	}
}

// TestGeminiResultsHaveNoID: they are found by name and order.
func TestGeminiResultsHaveNoID(t *testing.T) {
	w := newWorld(t, nil, call("ls", `{}`), modelserver.Reply{Text: "x"})
	f := forms[3]
	got := w.do(f, false, "ping")
	if !strings.Contains(got.body, "functionCall") {
		t.Fatalf("%s", got.body)
	}
	result := `{"functionResponse":{"name":"ls","response":{"out":"abc"}}}`
	if strings.Contains(got.body, `"id":"call_1"`) {
		result = `{"functionResponse":{"id":"call_1","name":"ls","response":{"out":"abc"}}}`
	}
	next := `{"contents":[{"role":"user","parts":[{"text":"ping"}]},{"role":"model","parts":[{"functionCall":{"name":"ls","args":{}}}]},{"role":"user","parts":[` + result + `]}]}`
	if got = w.send(http.MethodPost, f.path, next); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	w.settle()
	if ends := w.ends(action.ToolCall, 0); len(ends) != 2 || ends[1].Status != record.Done {
		t.Errorf("outcomes %+v", ends)
	}
	if e := w.typed("proxy.unjudged_result"); len(e) != 0 {
		t.Errorf("events %+v", e)
	}
}

// TestGeminiResultsRepeat: as many calls of a name end as new results of it come,
// although the history holds the old ones too.
func TestGeminiResultsRepeat(t *testing.T) {
	w := newWorld(t, nil)
	x := &exchange{p: w.proxy, who: Caller{Agent: "dev"}, route: wire.Route{API: wire.Gemini}, ctx: t.Context()}
	var permits []*gate.Permit
	open := func() {
		x.patience = &patience{}
		p, _, err := x.openCall(wire.Call{Name: "ls", Arguments: "{}", Type: "function"}, true, x.patience)
		if err != nil {
			t.Fatal(err)
		}
		permits = append(permits, p)
		x.hand(wire.Call{Name: "ls"}, []*gate.Permit{p})
	}
	come := func(results string) {
		body := `{"contents":[{"role":"user","parts":[` + results + `]}]}`
		q, err := wire.ParseRequest(wire.Route{API: wire.Gemini, Model: "m"}, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		x.q, x.view = q, []byte(body)
		x.results()
	}
	result := func(size int) string {
		return fmt.Sprintf(`{"functionResponse":{"name":"ls","response":{"out":%q}}}`, strings.Repeat("x", size))
	}
	open()
	open()
	come(result(1) + "," + result(2)) // both at once, in the order of the calls
	open()
	come(result(1) + "," + result(2) + "," + result(3))
	w.settle()
	for n := range permits {
		ends := w.ends(action.ToolCall, n)
		if len(ends) != 2 || ends[1].Status != record.Done {
			t.Errorf("call %d: %+v", n, ends)
		}
	}
}

// TestTextThatIsExecuted: for a client that runs what the model says, text is a
// call.
func TestTextThatIsExecuted(t *testing.T) {
	for _, stream := range []bool{false, true} {
		w := newWorld(t, nil, modelserver.Reply{Text: "touch pwned; careful"}, modelserver.Reply{Text: "rm x"})
		naisys := func(text string) answer {
			c := Caller{Agent: "dev", Context: "c", Key: "k", Client: "naisys"}
			return w.as(c, forms[0], stream, text)
		}
		if got := naisys("ping"); got.status != 200 || !strings.Contains(got.body, "pwned") && !stream {
			t.Errorf("%d %s", got.status, got.body)
		}
		in := w.of(action.ToolCall)
		if len(in) != 1 || in[0].Action.Args["type"] != "text" || !strings.Contains(fmt.Sprint(in[0].Action.Args["arguments"]), "touch pwned") {
			t.Errorf("stream %v: calls %+v", stream, in)
		}
		if got := naisys("ping"); strings.Contains(got.body, "rm x") || !strings.Contains(got.body, "# Blocked") || !strings.Contains(got.body, "no-rm") {
			t.Errorf("denied: %d %s", got.status, got.body)
		}
	}
}

// as serves a request of a caller that was authenticated elsewhere.
func (w *world) as(who Caller, f form, stream bool, text string) answer {
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.proxy.Serve(rw, r, who, nil) })}
	l := w.listen()
	go srv.Serve(l)
	defer srv.Close()
	r, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+l.Addr().String()+f.where(stream), strings.NewReader(f.ask(text, stream)))
	return w.exchange(r)
}

// TestMetaToolIsUnwrapped: what it calls is judged, not what it is called.
func TestMetaToolIsUnwrapped(t *testing.T) {
	reply := call("multi_tool_use.parallel", `{"tool_uses":[{"recipient_name":"functions.ls","parameters":{}},{"recipient_name":"functions.forbidden_tool","parameters":{"a":"canary-3"}}]}`)
	w := newWorld(t, nil, reply)
	got := w.do(forms[0], false, "ping")
	w.settle()
	in := w.of(action.ToolCall)
	if strings.Contains(got.body, "canary-3") || len(in) != 2 || in[1].Decision.Verdict != record.Deny {
		t.Errorf("%s, calls %+v", got.body, in)
	}
	if ends := w.ends(action.ToolCall, 0); len(ends) != 1 || ends[0].Status != record.Failed {
		t.Errorf("the part that was permitted: %+v", ends)
	}
}

// TestServerTool: what the provider has done already is written down, and
// alerts if nobody would have permitted it.
func TestServerTool(t *testing.T) {
	body := `{"id":"msg_1","type":"message","role":"assistant","model":"m-1","content":[{"type":"server_tool_use","id":"srv_1","name":"forbidden_search","input":{"query":"x"}},{"type":"text","text":"ok"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}`
	w := newWorld(t, nil, modelserver.Reply{Body: &body})
	got := w.do(forms[2], false, "ping")
	w.settle()
	if got.body != body {
		t.Errorf("%s", got.body)
	}
	if e := w.typed("proxy.server_tool"); len(e) != 1 || e[0].Alert != "dangerous" {
		t.Errorf("events %+v", e)
	}
}

// TestMostOutput: what is reserved is for all choices.
func TestMostOutput(t *testing.T) {
	for _, tt := range []struct{ most, choices, want int64 }{
		{-1, 1, -1}, {-1, 9, -1}, {10, 1, 10}, {10, 3, 30}, {1 << 52, 1 << 40, maxExact}, {0, 5, 0},
	} {
		x := &exchange{q: &wire.Request{MaxOutput: tt.most, Choices: tt.choices}}
		if got := x.most(); got != tt.want {
			t.Errorf("%d of %d choices: %d, want %d", tt.most, tt.choices, got, tt.want)
		}
	}
}
