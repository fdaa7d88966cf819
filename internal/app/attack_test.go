package app

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/config"
	"sallyport/internal/egress/proxy"
	"sallyport/internal/record"
)

// TestUnwatchedWays: at a host of models nothing passes unjudged that could be a
// call of one, whatever it is dressed as.
func TestUnwatchedWays(t *testing.T) {
	cfg := &config.Config{Models: map[string]config.Model{
		"mine":   {Provider: "openai", Model: "m", BaseURL: "https://llm.example.org/v1"},
		"deeper": {Provider: "openai", Model: "m", BaseURL: "https://gateway.example.org/some/where"},
	}}
	o := &outlet{models: newWatched(nil, cfg), tally: newTally(nil), notes: newRefusals(nil, action.Action{})}
	for name, tt := range map[string]struct {
		host, method, path, body string
		upgrade                  bool
		want                     int // 0 = it passes on
	}{
		"a list":                  {"api.openai.com", "GET", "/v1/files", "", false, 0},
		"elsewhere":               {"example.org", "POST", "/v1/other", "x", false, 0},
		"an unknown path":         {"api.openai.com", "POST", "/v1/other", "x", false, 403},
		"realtime":                {"api.openai.com", "GET", "/v1/realtime", "", true, 426},
		"responses by WebSocket":  {"api.openai.com", "GET", "/v1/responses", "", true, 426},
		"Gemini live":             {"generativelanguage.googleapis.com", "GET", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", "", true, 426},
		"GET with a body":         {"api.openai.com", "GET", "/v1/chat/completions", "{}", false, 403},
		"a region":                {"eu.api.openai.com", "POST", "/v1/other", "x", false, 403},
		"a region's WebSocket":    {"eu.api.openai.com", "GET", "/v1/realtime", "", true, 426},
		"no region":               {"xapi.openai.com", "POST", "/v1/other", "x", false, 0},
		"an alias's host":         {"llm.example.org", "POST", "/v1/other", "x", false, 403},
		"a path that hides calls": {"gateway.example.org", "POST", "/some/where/v1/chat/completions", "x", false, 0},
	} {
		r := httptest.NewRequest(tt.method, "https://"+tt.host+tt.path, strings.NewReader(tt.body))
		if tt.upgrade {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
		}
		w := httptest.NewRecorder()
		done := o.watch(w, r, proxy.Dest{Host: tt.host, Port: 443}, nil)
		if done != (tt.want != 0) || done && w.Code != tt.want {
			t.Errorf("%s: done %v, status %d, want %d", name, done, w.Code, tt.want)
		}
		if level := o.models.is(tt.host); done && !level {
			t.Errorf("%s: its requests are not looked at one by one", name)
		}
	}
}

// TestQuoteForAll: what is reserved covers every choice, and a history that the
// provider keeps.
func TestQuoteForAll(t *testing.T) {
	u, err := newUpstreams(&config.Config{}, &config.Env{})
	if err != nil {
		t.Fatal(err)
	}
	quote := func(args map[string]any) record.Micros {
		t.Helper()
		res, err := u.quote(action.Action{Kind: action.ModelCall, Target: "openai/gpt-4o", Agent: "a", Args: args}, record.APIKey{}, false, 0, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return res.Micros
	}
	args := func(most, choices, in int64, history bool) map[string]any {
		return map[string]any{"op": "generate", "max_output": most, "choices": choices, "input_bytes": in, "history": history}
	}
	one := quote(args(-1, 1, 0, false))
	if many := quote(args(-1, 128, 0, false)); one == 0 || many < 128*one-128 {
		t.Errorf("128 unbounded replies hold %d, one holds %d", many, one)
	}
	big := quote(args(1<<22, 1, 0, false))
	if many := quote(args(128<<22, 128, 0, false)); many < 128*big-128 {
		t.Errorf("128 large replies hold %d, one holds %d", many, big)
	}
	if here, there := quote(args(1, 1, 10, false)), quote(args(1, 1, 10, true)); there < here+quote(args(1, 1, assumedHistory, false))/2 {
		t.Errorf("a history elsewhere holds %d, none %d", there, here)
	}
}
