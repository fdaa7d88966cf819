package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// echo is a server on loopback that says back each line and remembers it.
type echo struct {
	port  string
	mu    sync.Mutex
	lines []string
}

func newEcho(t *testing.T) *echo {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{}
	_, e.port, _ = net.SplitHostPort(ln.Addr().String())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				sc := bufio.NewScanner(c)
				for sc.Scan() {
					e.mu.Lock()
					e.lines = append(e.lines, sc.Text())
					e.mu.Unlock()
					fmt.Fprintln(c, sc.Text())
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return e
}

func (e *echo) heard() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.lines...)
}

// opens asks for a folder as any program can, and waits until it is there or
// was refused.
const opens = `ask() { echo "$1" > /run/sallyport/open; for i in $(seq 200); do case "$(cat /run/sallyport/answer)" in "$1: being decided"|"") sleep 0.05;; *) break;; esac; done; cat /run/sallyport/answer; }
`

// classified prepares a labelled folder, an agent that may open it and one that
// may not, and destinations that may hear different things.
func classified(t *testing.T, l *lab) (host string, s *service, e *echo) {
	t.Helper()
	s, e = newService(t, "api.test", "hr.test"), newEcho(t)
	dir, err := os.MkdirTemp("/var/tmp", "sallyport-e2e-folders-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	host = filepath.Join(dir, "hr")
	if err := os.Mkdir(host, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(host, "pay"), []byte("salary-canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.noExec = true
	l.extra = append(l.extra, fmt.Sprintf(`labels: {compartments: [hr]}
folders:
  hr: {path: %[1]s, label: "confidential{hr}/member", agents: [clerk]}
network:
  roots: %[2]s
  hosts: {api.test: ["127.0.0.1"], hr.test: ["127.0.0.1"], raw.test: ["127.0.0.1"]}
  allow:
    - {host: api.test, ports: [%[3]s], private: true, methods: [GET, POST], clearance: internal}
    - {host: hr.test, ports: [%[3]s], private: true, methods: [GET, POST], clearance: "confidential{hr}"}
    - {host: raw.test, ports: [%[4]s], private: true, clearance: internal}`, host, s.roots, s.port, e.port))
	l.prepare()
	text := strings.Replace(l.config(), "agents:\n", "agents:\n  clerk: {profile: shell, clearance: \"confidential{hr}\"}\n  other: {profile: shell, clearance: internal}\n", 1)
	l.write("sallyport.yaml", text)
	return host, s, e
}

// TestLabelledFolder: an ordinary program that has never heard of Sallyport
// finds the folder empty, opens it with an echo, reads it with a plain cat, and
// is cut off from where it could talk about it; so is whatever runs in the same
// home afterwards.
func TestLabelledFolder(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	host, s, e := classified(t, l)
	script := opens + strings.NewReplacer("PORT", s.port, "RAW", e.port, "HR", host).Replace(`
cat HR/pay; ls -A HR; cat HR/CLOSED
curl -sS -o /dev/null -w 'before: %{http_code}\n' https://api.test:PORT/before
exec 3<>/dev/tcp/raw.test/RAW; echo hello >&3; read -r -t 10 line <&3; echo "line: $line"
ask nothing; ask hr
cat HR/pay
curl -sS -o refused -w 'after: %{http_code}\n' https://api.test:PORT/after --data @HR/pay; cat refused
curl -sS -o /dev/null -w 'cleared: %{http_code}\n' https://hr.test:PORT/cleared
trap '' PIPE; cat HR/pay >&3; if read -r -t 10 line <&3; then echo "said back: $line"; else echo 'the line is dead'; fi
cp HR/pay ~/kept; cp HR/pay ./copied
echo changed > HR/pay || echo 'not writable'
`)
	r := l.guard("--as", "clerk", "--", "bash", "-c", script).wait(patience)
	l.has("output", r.out, "CLOSED\n", "labelled confidential{hr}/member and is closed", "before: 200", "line: hello", "nothing: ", "hr: folder hr is open; this session is now confidential{hr}/foreign",
		"\nsalary-canary\n", "after: 403", "R3c", "cleared: 200", "the line is dead", "not writable")
	if strings.Count(r.out, "salary-canary") != 1 || strings.Index(r.out, "salary-canary") < strings.Index(r.out, "hr: folder hr is open") {
		t.Errorf("read before it was opened:\n%s", r.out)
	}
	l.has("errors", r.err, "folder hr was opened")
	for _, line := range e.heard() {
		if strings.Contains(line, "canary") {
			t.Error("the open connection carried the content away")
		}
	}
	if seen := s.requests(); len(seen) != 2 || !strings.Contains(seen[1], "/cleared") {
		t.Errorf("requests: %q", seen)
	}
	events := l.ok("events", "--json", "--limit", "200").out
	l.has("events", events, "data.read", "folder/hr", "confidential{c0}/foreign")

	again := l.guard("--as", "clerk", "--", "bash", "-c", "cat ~/kept; ls -A "+host+"; curl -sS -o /dev/null -w 'next session: %{http_code}\\n' https://api.test:"+s.port+"/next").wait(patience)
	l.has("the next session", again.out, "salary-canary", "CLOSED", "next session: 403")
	config := "--config=" + l.file("sallyport.yaml")
	l.has("changes", l.ok("changes", config).out, "confidential{hr}/foreign")
	l.has("commit", l.ok("changes", "commit", "--all", config).out, "holds confidential{hr}/foreign now")
	l.has("folders", l.ok("folders", config).out, "confidential{hr}/member", "clerk", l.workdir())
	other := l.guard("--as", "other", "--", "bash", "-c", "cat copied").wait(patience)
	l.lacks("an agent that is not cleared, in that directory", other.text(), "salary-canary")
	if other.code == codeOK {
		t.Errorf("it started:\n%s", other.text())
	}
	l.ends(7, "folders", "lower", config, host, "internal", "--because", "x", "--yes")
	l.has("lowered", l.ok("folders", "lower", config, l.workdir(), "internal", "--because", "looked through", "--yes").out, "internal/foreign now")
	other = l.guard("--as", "other", "--", "bash", "-c", "cat copied").wait(patience)
	l.has("an agent in the lowered directory", other.out, "salary-canary") // people took it for internal
	l.verify()
}

// TestFolderOfOthers: an agent that may not open a folder sees nothing of it,
// whatever it asks for and wherever it works.
func TestFolderOfOthers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	host, _, _ := classified(t, l)
	r := l.guard("--as", "other", "--", "bash", "-c", "echo hr > /run/sallyport/open; cat "+host+"/pay "+host+"/CLOSED; ls -A "+host+"; find / -name pay 2>/dev/null; true").wait(patience)
	l.lacks("output", r.text(), "salary-canary", "CLOSED\n", "confidential")
	inside := l.start("guard", "--config", l.file("sallyport.yaml"), "--workdir", host, "--as", "clerk", "--", "cat", "pay").wait(patience)
	if inside.code == codeOK || strings.Contains(inside.out, "salary-canary") {
		t.Errorf("work inside the folder:\n%s", inside.text())
	}
	l.has("the refusal", inside.err, "labelled folder hr")
	above := l.start("guard", "--config", l.file("sallyport.yaml"), "--workdir", filepath.Dir(host), "--as", "other", "--", "bash", "-c", "cat hr/pay; ls -A hr; mv hr x; cat x/pay; true").wait(patience)
	l.lacks("above the folder", above.text(), "salary-canary")
	l.verify()
}

// TestRaisedSessionIsAlone: a session cannot open a folder while another one
// that may not know of it shares its home.
func TestRaisedSessionIsAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	host, _, _ := classified(t, l)
	low := l.guard("--as", "clerk", "--", "bash", "-c", "echo up; while ! [ -e ~/stop ]; do sleep 0.1; done; cat ~/leak")
	until(t, patience, "the first session runs", func() bool { return strings.Contains(low.out.String(), "up") })
	r := l.guard("--as", "clerk", "--", "bash", "-c", opens+"ask hr; cat "+host+"/pay > ~/leak; touch ~/stop").wait(patience)
	l.has("the second session", r.out, "shares")
	if got := low.wait(patience); strings.Contains(got.text(), "salary-canary") {
		t.Errorf("the other session read it:\n%s", got.text())
	}
	l.has("alone", l.guard("--as", "clerk", "--", "bash", "-c", opens+"ask hr; cat "+host+"/pay").wait(patience).out, "salary-canary")
}
