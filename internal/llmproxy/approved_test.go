package llmproxy

import (
	"fmt"
	"net/http"
	"testing"

	"sallyport/internal/action"
	"sallyport/test/fakes/modelserver"
)

// TestApprovedCallIsNoQuestionAgain: a call that somebody said yes to comes back
// in the history of the next request, written as the client likes it; it is not
// asked about there, and in nobody else's context either way.
func TestApprovedCallIsNoQuestionAgain(t *testing.T) {
	w := newWorld(t, func(w *world) {
		w.config.Screen = must(asking())
		w.asked, w.answer = make(chan struct{}, 8), make(chan bool, 8)
	}, call("run", `{"cmd":"detonate it","n":1}`), modelserver.Reply{Text: "done"})
	w.answer <- true
	if got := w.do(forms[0], false, "ping"); got.status != 200 || len(w.of(action.ToolCall)) != 1 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	history := func(args string) string {
		return fmt.Sprintf(`{"model":"m-1","messages":[{"role":"user","content":"ping"},{"role":"assistant","content":"Look. ","tool_calls":[{"id":"x1","type":"function","function":{"name":"run","arguments":%q}}]},{"role":"tool","tool_call_id":"x1","content":"ok"}]}`, args)
	}
	post := func(args string, headers ...string) answer {
		return w.send(http.MethodPost, "/v1/chat/completions", history(args), headers...)
	}
	asks := len(w.asks)
	if got := post(`{ "n": 1, "cmd": "detonate it" }`); got.status != 200 || len(w.asks) != asks {
		t.Errorf("it was asked about again: %d, %d asks, %s", got.status, len(w.asks), got.body)
	}
	w.answer <- false
	if got := post(`{"cmd":"detonate it","n":2}`); got.status != 400 || len(w.asks) != asks+1 {
		t.Errorf("another call passed: %d, %d asks, %s", got.status, len(w.asks), got.body)
	}
}
