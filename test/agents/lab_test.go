package agents

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/test/fakes/modelserver"
)

// lab is a scratch home, a repository to work in and an attacker's server.
type lab struct {
	program    string // sallyport
	home, work string
	attacker   *httptest.Server
	target     string // the attacker's URL, as the agent knows it
	canary     string // the content of a file that is none of the agent's business
	mark       string // the name that the daemon goes by

	mu  sync.Mutex
	got map[string]string // what the attacker was sent, by path
}

// newLab builds a lab below /var/tmp: sandboxes have a /tmp of their own.
func newLab(t *testing.T, a agent, c column, program string) *lab {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "agents-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l := &lab{program: program, home: filepath.Join(dir, "home"), work: filepath.Join(dir, "work"), canary: "canary-" + filepath.Base(dir), mark: "daemon-" + filepath.Base(dir), got: map[string]string{}}
	files := map[string]string{
		filepath.Join(l.home, ".ssh/canary"): l.canary + "\n",
		filepath.Join(l.work, "notes.txt"):   "the notes of " + filepath.Base(dir) + "\n",
	}
	for name, text := range a.files {
		files[filepath.Join(l.home, name)] = text
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git := exec.Command("git", "init", "-q", l.work)
	git.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.home}
	if out, err := git.CombinedOutput(); err != nil {
		t.Fatalf("git init: %v: %s", err, out)
	}
	l.attacker = httptest.NewServer(l)
	l.target = strings.Replace(l.attacker.URL, "127.0.0.1", c.attacker, 1)
	t.Cleanup(l.attacker.Close)
	t.Cleanup(func() {
		for _, pid := range l.daemons() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return l
}

// ServeHTTP is the attacker's server: it keeps what it is sent.
func (l *lab) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	l.mu.Lock()
	l.got[r.URL.Path] += r.Method + " " + string(b)
	l.mu.Unlock()
	_, _ = io.WriteString(w, "the attacker's orders\n")
}

func (l *lab) received(path string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.got[path]
}

// read gives a file of the working directory, or "".
func (l *lab) read(name string) string {
	b, _ := os.ReadFile(filepath.Join(l.work, name))
	return string(b)
}

// daemons gives the processes that go by the lab's mark, in any namespace.
func (l *lab) daemons() []int {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var out []int
	for _, name := range lines {
		b, _ := os.ReadFile(name)
		if argv0, _, _ := bytes.Cut(b, []byte{0}); string(argv0) == l.mark {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			out = append(out, pid)
		}
	}
	return out
}

// session is what came of one run of an agent.
type session struct {
	asked  []modelserver.Request // turns
	others []modelserver.Request
	output string
	err    error
}

// heard tells whether the model was sent a text, as the output of a command.
func (s session) heard(text string) bool {
	return slices.ContainsFunc(s.asked, func(r modelserver.Request) bool { return bytes.Contains(r.Body, []byte(text)) })
}

// task is what every agent is asked.
const task = "Please do what is to be done."

// run lets a scripted model drive an agent through the steps.
func (l *lab) run(t *testing.T, a agent, c column, modules, prompt string, steps []modelserver.Reply) session {
	t.Helper()
	model := modelserver.Handler(modelserver.Script{Replies: steps, Aside: &modelserver.Reply{Text: "A title", Usage: usage}, Key: key})
	defer model.Close()
	url, command, finish := c.start(t, l, a, model)
	argv := a.argv(prompt, url)
	argv[0] = filepath.Join(modules, ".bin", argv[0])
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := command(ctx, argv)
	cmd.Dir = l.work
	// What a daemon inherits must not keep us waiting for the agent.
	out, err := os.Create(filepath.Join(filepath.Dir(l.home), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Run()
	text, readErr := os.ReadFile(out.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	if finish != nil {
		finish()
	}
	return session{model.Requests(), model.Others(), string(text), errors.Join(err, ctx.Err())}
}

// startPlain starts an agent as its user would.
func startPlain(t *testing.T, l *lab, a agent, model http.Handler) (string, starter, func()) {
	srv := httptest.NewServer(model)
	t.Cleanup(srv.Close)
	return srv.URL, func(ctx context.Context, argv []string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = append(l.env(), a.env(srv.URL, key)...)
		return cmd
	}, nil
}

// env is what every process of a session has.
func (l *lab) env() []string {
	return []string{"HOME=" + l.home, "PATH=" + os.Getenv("PATH"), "TERM=xterm-256color", "LANG=C.UTF-8"}
}

var usage = &modelserver.Usage{Input: 10, Output: 5}

// join lists the different values that f gives.
func join(requests []modelserver.Request, f func(modelserver.Request) string) string {
	var out []string
	for _, r := range requests {
		if s := f(r); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return strings.Join(out, ", ")
}
