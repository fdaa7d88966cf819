package llmproxy

import (
	"strings"
	"testing"

	"sallyport/internal/action"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/record"
	"sallyport/test/fakes/modelserver"
)

// TestBounce: a denied call goes back to the model, which answers without it;
// each round is a model call of its own, and the client sees the last reply.
func TestBounce(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			evil := call("forbidden_tool", `{"a":"canary-1"}`)
			evil.Calls = append(evil.Calls, modelserver.Call{ID: "call_2", Name: "ls", Args: `{"a":"canary-2"}`})
			w := newWorld(t, func(w *world) { w.config.Bounce = true }, evil, modelserver.Reply{Text: "another way", Usage: usage})
			got := w.do(f, false, "ping")
			w.settle()
			seen := w.model.Requests()
			if f.api != wire.Chat && f.api != wire.Messages {
				if len(seen) != 1 || !strings.Contains(got.body, "no-forbidden") {
					t.Errorf("%d requests, %s", len(seen), got.body)
				}
				return
			}
			if got.status != 200 || len(seen) != 2 || !strings.Contains(got.body, "another way") || strings.Contains(got.body, "canary") {
				t.Fatalf("%d requests, %d %s", len(seen), got.status, got.body)
			}
			again := string(seen[1].Body)
			if !strings.HasPrefix(again, string(seen[0].Body[:40])) || !strings.Contains(again, "no-forbidden") || !strings.Contains(again, "Not run, because") || !strings.Contains(again, `"x_unknown":{"a":[1, 2.50 ]}`) {
				t.Errorf("asked again: %s", again)
			}
			if _, err := wire.ParseRequest(wire.Route{API: f.api}, seen[1].Body); err != nil {
				t.Error(err)
			}
			if n := len(w.of(action.ModelCall)); n != 2 {
				t.Errorf("%d model calls", n)
			}
			for n := range 2 {
				if end := w.ends(action.ModelCall, n); len(end) != 1 || end[0].Status != record.Done || end[0].Result.Cost == 0 {
					t.Errorf("model call %d: %+v", n, end)
				}
			}
			if end := w.ends(action.ToolCall, 1); len(end) != 1 || end[0].Status != record.Failed {
				t.Errorf("the permitted call that was not handed out: %+v", end)
			}
		})
	}
}

// TestBounceEnds: a model that insists is told twice, then the client gets the
// notice.
func TestBounceEnds(t *testing.T) {
	evil := call("forbidden_tool", `{"a":"canary-1"}`)
	w := newWorld(t, func(w *world) { w.config.Bounce = true }, evil, evil, evil, evil)
	got := w.do(forms[0], false, "ping")
	if n := len(w.model.Requests()); n != 1+maxBounces || strings.Contains(got.body, "canary") || !strings.Contains(got.body, "no-forbidden") {
		t.Errorf("%d requests, %d %s", n, got.status, got.body)
	}
}
