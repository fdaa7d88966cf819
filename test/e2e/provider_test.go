package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/test/fakes/modelserver"
)

// TestProviders drives a whole session over each provider's form, across a
// restart, and looks for the provider's key in every byte the run left.
func TestProviders(t *testing.T) {
	for _, provider := range []string{"openai", "anthropic", "gemini"} {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			l := newLab(t,
				say(`echo "sum $((20+22))"`),
				say("env; cat /proc/self/environ | tr '\\0' '\\n'; cat $NAISYS_FOLDER/state.db ../../keys/* 2>&1 | head -c 300"),
				say(`endsession "remember the cormorant"`),
				say("pause 1"),
				say("pause 2"),
			)
			l.provider = provider
			first := l.patrol(codeOK)
			l.has("request 1", l.body(1), "sum 42")
			l.has("request 2", l.body(2), "NAISYS_FOLDER=", "PATH=")
			l.has("request 3", l.body(3), "remember the cormorant")
			second := l.patrol(codeOK)
			l.has("the request after a restart", l.body(4), "cormorant")
			for i, r := range l.server.Requests() {
				if r.Form != provider || r.Key != l.key {
					t.Errorf("request %d: form %s, key as given %v", i, r.Form, r.Key == l.key)
				}
				if bytes.Contains(r.Body, []byte(l.key)) {
					t.Errorf("the body of request %d holds the key", i)
				}
			}
			l.lacks("output", first.text()+second.text(), l.key)
			l.noTrace(l.key)
			l.verify()
		})
	}
}

// noTrace looks for a canary in every file of the state directory.
func (l *lab) noTrace(canary string) {
	l.t.Helper()
	files := 0
	err := filepath.WalkDir(filepath.Dir(l.home), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(canary)) {
			l.t.Errorf("%s holds the provider's key", path)
		}
		return err
	})
	if err != nil || files < 4 {
		l.t.Errorf("the search saw %d files: %v", files, err)
	}
}

// TestClearance: what the view shows is internal, the endpoint is cleared for
// public data, so nothing is sent once the view is open.
func TestClearance(t *testing.T) {
	t.Parallel()
	l := newLab(t, say("pause 1"))
	l.clearance, l.profile = "public", "auditor"
	r := l.patrol(codeDenied)
	l.has("the refusal", r.text(), "endpoints.", ".clearance")
	if n := len(l.server.Requests()); n != 0 {
		t.Errorf("the provider was asked %d times:\n%s", n, l.asked())
	}
	l.verify()
}

// TestProviderFaults: what a provider can do wrong costs an error and leaves
// nothing behind in the transcript.
func TestProviderFaults(t *testing.T) {
	garbage := "\x00\xff{]] no json"
	many := modelserver.Reply{Text: "", Calls: []modelserver.Call{{ID: "c", Name: "shell", Args: `{"x":1}`}}, Repeat: 10_000}
	for name, fault := range map[string]modelserver.Reply{
		"too many requests": {Status: 429, Headers: map[string]string{"Retry-After": "1"}, Error: &modelserver.Failure{Type: "rate_limit", Message: "slow down"}},
		"garbage":           {Body: &garbage},
		"half a stream":     {Text: "echo never-to-be-run > half; echo more", CutAfter: 300},
		"hangup":            {Hangup: true},
		"empty":             {Text: ""},
		"ten thousand":      many,
		"not utf-8": {Body: func() *string {
			s := "data: {\"choices\":[{\"delta\":{\"content\":\"echo \xff\xfe\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
			return &s
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, say("echo before"), fault, say("ls; echo after"), say("pause 1"))
			r := l.patrol(codeOK)
			last := l.body(len(l.server.Requests()) - 1)
			l.has("the last request", last, "before", "after")
			l.lacks("the last request", last, "never-to-be-run", "no json", "slow down", "\nhalf\n")
			if name != "too many requests" {
				l.has("the output", r.text(), "thinker")
			}
			asked := l.server.Requests()
			if diff := cmp.Diff(turns(asked[1]), turns(asked[2])); diff != "" {
				t.Errorf("the failed call left a trace in the next request:\n%s", diff)
			}
			l.verify()
		})
	}
}

// turns gives a request's messages.
func turns(r modelserver.Request) any { return r.JSON()["messages"] }

// TestErrorsInARow ends an unattended run after five failed calls, and at once
// when the same call can only fail again.
func TestErrorsInARow(t *testing.T) {
	for name, c := range map[string]struct {
		reply       modelserver.Reply
		calls, code int
		says        string
	}{
		"garbage": {modelserver.Reply{Body: new(string)}, 5, codeUnavailable, "openai"},
		"refused": {modelserver.Reply{Status: 401, EchoKey: true}, 1, codeConfig, "401"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.server = modelserver.NewScript(t, modelserver.Script{Loop: true, Replies: []modelserver.Reply{c.reply}})
			r := l.patrol(c.code)
			l.has("the output", r.text(), c.says)
			l.lacks("the output", r.text(), l.key)
			if n := len(l.server.Requests()); n != c.calls {
				t.Errorf("%d calls, want %d", n, c.calls)
			}
			l.noTrace(l.key)
			l.verify()
		})
	}
}
