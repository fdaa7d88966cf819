package agents

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The names of the two servers; the test server's certificate is for the first.
const (
	modelHost    = "model.example.com"
	attackerHost = "attacker.example.com"
)

// build gives the program that is under test.
func build(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "agents-bin-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	name := filepath.Join(dir, "sallyport")
	if out, err := exec.Command("go", "build", "-o", name, "sallyport/cmd/sallyport").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return name
}

// startGuarded starts an agent under sallyport guard. The model is reached over
// TLS that the guard opens, and wants a key that the agent never holds. Then the
// changes are committed as an owner would who trusts what is not protected.
func startGuarded(t *testing.T, l *lab, a agent, model http.Handler) (string, starter, func()) {
	t.Helper()
	srv := httptest.NewTLSServer(model)
	t.Cleanup(srv.Close)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(srv.URL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + net.JoinHostPort(modelHost, port)
	state := filepath.Join(filepath.Dir(l.home), "state")
	l.configure(t, state, a, url, port, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	env := append(l.env(), "SALLYPORT_HOME="+state, "MODEL_KEY="+key)
	start := func(ctx context.Context, argv []string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, l.program, append([]string{"guard", "--profile", "lab", "--unattended", "--"}, argv...)...)
		cmd.Env = env
		return cmd
	}
	commit := func() {
		cmd := exec.Command(l.program, "changes", "commit", "--all")
		cmd.Env, cmd.Dir = env, l.work
		out, err := cmd.CombinedOutput()
		t.Logf("changes commit: %v\n%s", err, bytes.TrimSpace(out))
		l.story(t, env)
	}
	return url, start, commit
}

// story holds the log against what happened: the start, the turns with the
// model, each use of its key, what was refused, what was committed; and it
// verifies.
func (l *lab) story(t *testing.T, env []string) {
	t.Helper()
	say := func(args ...string) string {
		cmd := exec.Command(l.program, args...)
		cmd.Env, cmd.Dir = env, l.work
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("sallyport %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	events := say("events", "--json", "--limit", "2000")
	for _, want := range []string{
		`"session.start.start"`, `"exec.start"`, `"http.request.finish"`, `"secret.use.start"`, `"LLM_call_start"`, `"LLM_call_finish"`, `"MCP_tool_call_start"`, `"egress.refused"`, attackerHost, `"file.write.finish"`, `"session.end"`,
	} {
		if !strings.Contains(events, want) {
			t.Errorf("the log does not tell of %s", want)
		}
	}
	if strings.Contains(events, key) {
		t.Error("the log holds the model's key")
	}
	say("verify")
}

// configure writes the state directory's configuration. It lists the model and
// maps the attacker's name, which it does not list.
func (l *lab) configure(t *testing.T, state string, a agent, url, port string, root []byte) {
	t.Helper()
	type object = map[string]any
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	inside := object{a.ca: "${run.ca}"}
	for _, pair := range a.env(url, "${secret.model}") {
		name, value, _ := strings.Cut(pair, "=")
		inside[name] = value
	}
	home := []object{}
	for name, text := range a.files {
		home = append(home, object{"path": name, "content": text, "why": "the agent's settings"})
	}
	modules := packages(t)
	inject := []object{{"header": "X-Api-Key"}, {"header": "X-Goog-Api-Key"}, {"header": "Authorization", "template": "Bearer {}"}}
	b, err := json.MarshalIndent(object{
		"profiles": object{"lab": object{
			"extends": "shell", "env": inside, "home": home, "secrets": []string{"model"},
			"mounts":  []object{{"path": modules, "why": "the agents"}},
			"network": object{"unlisted": "deny", "allow": []object{{"host": modelHost, "ports": []int{number}, "private": true, "why": "the model"}}},
		}},
		"network": object{
			"hosts": object{modelHost: []string{"127.0.0.1"}, attackerHost: []string{"127.0.0.1"}},
			"roots": filepath.Join(state, "roots.pem"),
		},
		// Told where the model is, the guard judges its calls and its tools too.
		"proxy": object{"upstreams": object{vendors[a.name]: object{"base_url": url}}},
		"secrets": object{"model": object{
			"from": object{"env": "MODEL_KEY"}, "host": modelHost, "port": number, "inject": inject, "placeholder": "sk-{random}", "why": "the model's key",
		}},
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"sallyport.yaml": b, "roots.pem": root} {
		if err := os.WriteFile(filepath.Join(state, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// vendors are whose APIs the agents speak.
var vendors = map[string]string{"claude": "anthropic", "codex": "openai", "gemini": "gemini"}
