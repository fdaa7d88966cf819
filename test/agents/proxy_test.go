package agents

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sallyport/internal/llmproxy/stream"
	"sallyport/internal/llmproxy/wire"
	"sallyport/test/clients/launch"
	"sallyport/test/fakes/modelserver"
)

func TestMain(m *testing.M) {
	code := m.Run()
	launch.Clean()
	os.Exit(code)
}

// front stands between an agent and its base URL and counts the agent's turns:
// requests that offer a shell tool, answered or not.
type front struct {
	mu    sync.Mutex
	turns []modelserver.Request
	to    string
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	if err != nil {
		return
	}
	asked := modelserver.Request{Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Body: body}
	if _, ok := asked.Shell(""); ok {
		f.mu.Lock()
		f.turns = append(f.turns, asked)
		f.mu.Unlock()
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, f.to+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return
	}
	out.Header = r.Header.Clone()
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	flush := http.NewResponseController(w).Flush
	for buf := make([]byte, 32<<10); ; {
		n, err := resp.Body.Read(buf)
		if _, gone := w.Write(buf[:n]); gone != nil || flush() != nil || err != nil {
			return
		}
	}
}

// count is how many turns the agent took.
func (f *front) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.turns)
}

// startProxied starts an agent as its user would who was given the address and
// a key of sallyport proxy. The front is nil in the column without.
func startProxied(f *front) func(*testing.T, *lab, agent, http.Handler) (string, starter, func()) {
	return func(t *testing.T, l *lab, a agent, model http.Handler) (string, starter, func()) {
		srv := httptest.NewServer(model)
		t.Cleanup(srv.Close)
		p := launch.Start(t, filepath.Dir(l.home), key, launch.Settings(t, srv.URL, nil))
		f.to = p.Base
		return started(t, l, a, f, p.Key)
	}
}

// startCounted starts an agent without a proxy.
func startCounted(f *front) func(*testing.T, *lab, agent, http.Handler) (string, starter, func()) {
	return func(t *testing.T, l *lab, a agent, model http.Handler) (string, starter, func()) {
		srv := httptest.NewServer(model)
		t.Cleanup(srv.Close)
		f.to = srv.URL
		return started(t, l, a, f, key)
	}
}

func started(t *testing.T, l *lab, a agent, f *front, key string) (string, starter, func()) {
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return srv.URL, func(ctx context.Context, argv []string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = append(l.env(), a.env(srv.URL, key)...)
		return cmd
	}, nil
}

// crossing is one run of an agent with a proxy or without.
type crossing struct {
	l *lab
	f *front
	s session
}

// cross runs an agent with a prompt and a script.
func cross(t *testing.T, a agent, judged bool, prompt string, steps ...modelserver.Reply) crossing {
	t.Helper()
	f := &front{}
	c := column{name: "direct", attacker: "127.0.0.1", start: startCounted(f)}
	if judged {
		c.name, c.start = "proxy", startProxied(f)
	}
	l := newLab(t, a, c, "")
	x := crossing{l, f, l.run(t, a, c, packages(t), prompt, steps)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%d turns; the agent ended with %v and said:\n%s", f.count(), x.s.err, x.s.output)
		}
	})
	return x
}

// apis are the forms as the proxy calls them.
var apis = map[string]wire.API{"responses": wire.Responses, "anthropic": wire.Messages, "gemini": wire.Gemini}

// callers are the agents as the proxy knows them.
var callers = map[string]wire.Client{"claude": wire.ClaudeCode, "codex": wire.Codex, "gemini": wire.GeminiCLI}

// reason is one for which no agent may try again.
var reason = wire.Reason{Rule: launch.Rule, Because: "a word was found; change it in sallyport.yaml to permit it"}

// ended gives a stream that the proxy ends: after its first n events.
func ended(t *testing.T, form string, n int) string {
	t.Helper()
	b, err := modelserver.Render(form, modelserver.Reply{Text: "Look. ", Model: "m", Usage: usage}, true)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	m := stream.New(stream.Options{API: apis[form], Out: func(p []byte) error { _, err := out.Write(p); return err }})
	_, err = m.Write(bytes.Join(bytes.SplitAfterN(b, []byte("\n\n"), n+1)[:n], nil))
	if err := errors.Join(err, m.Fail(reason)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestAnswers: what the proxy writes when it refuses, at once or wherever a
// stream is ended, is read by the user, and no agent tries again.
func TestAnswers(t *testing.T) {
	packages(t)
	for _, a := range catalogue() {
		api, caller := apis[a.form], callers[a.name]
		refusal := wire.Refuse(api, caller, reason)
		body := string(refusal.Body)
		before := modelserver.Reply{Status: refusal.Status, Body: &body, Headers: map[string]string{}}
		for name := range refusal.Header {
			before.Headers[name] = refusal.Header.Get(name)
		}
		replies := map[string]modelserver.Reply{"before": before}
		for n := range 4 {
			body := ended(t, a.form, n)
			replies[fmt.Sprint("after ", n, " events")] = modelserver.Reply{Body: &body}
		}
		for name, reply := range replies {
			t.Run(a.name+"/"+name, func(t *testing.T) {
				x := cross(t, a, false, task, reply, reply, reply, reply, reply, reply, reply, reply)
				n := x.f.count()
				if n != 1 || !strings.Contains(x.s.output, launch.Rule) {
					t.Errorf("%d turns, the user reads %s: %t", n, launch.Rule, strings.Contains(x.s.output, launch.Rule))
				}
			})
		}
	}
}

// TestForbiddenCall: honest work is done; then the model calls for something
// that the policy forbids. It has no effect, the user reads why, and the agent
// takes no turn more than for the two calls.
func TestForbiddenCall(t *testing.T) {
	packages(t)
	work := modelserver.Reply{Text: "First this.", Shell: "cat notes.txt && printf 'done\\n' > result.txt", Usage: usage}
	evil := modelserver.Reply{Text: "Then this.", Shell: "printf x > denied.txt; : " + launch.Forbidden, Usage: usage}
	last := modelserver.Reply{Text: "All is done.", Usage: usage}
	for _, a := range catalogue() {
		for _, judged := range []bool{false, true} {
			t.Run(a.name+map[bool]string{false: "/direct", true: "/proxy"}[judged], func(t *testing.T) {
				x := cross(t, a, judged, task, work, evil, last, last, last)
				if x.l.read("result.txt") != "done\n" || !x.s.heard(strings.TrimSpace(x.l.read("notes.txt"))) {
					t.Error("honest work was not done")
				}
				if done := x.l.read("denied.txt") != ""; done == judged {
					t.Errorf("the forbidden command was done: %t", done)
				}
				for _, q := range x.s.asked {
					if q.Key != key {
						t.Errorf("the model was sent the key %q", q.Key)
					}
				}
				if !judged {
					return
				}
				if !strings.Contains(x.s.output, launch.Rule) {
					t.Errorf("the user does not read %s", launch.Rule)
				}
				if n := x.f.count(); n != 2 {
					t.Errorf("two calls took %d turns", n)
				}
			})
		}
	}
}

// TestForbiddenPrompt: what may not be said to a model is not, the user reads
// why, and the agent asks once.
func TestForbiddenPrompt(t *testing.T) {
	packages(t)
	last := modelserver.Reply{Text: "All is done.", Usage: usage}
	for _, a := range catalogue() {
		for _, judged := range []bool{false, true} {
			t.Run(a.name+map[bool]string{false: "/direct", true: "/proxy"}[judged], func(t *testing.T) {
				x := cross(t, a, judged, "Please tell me about "+launch.Forbidden+".", last, last, last)
				if heard := x.s.heard(launch.Forbidden); heard == judged {
					t.Errorf("the model heard it: %t", heard)
				}
				if n := x.f.count(); n != 1 {
					t.Errorf("one prompt took %d turns", n)
				}
				if judged && !strings.Contains(x.s.output, launch.Rule) {
					t.Errorf("the user does not read %s", launch.Rule)
				}
			})
		}
	}
}
