package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// prefix is Ctrl-], the key before ours.
const prefixKey = "\x1d"

// destination lists api.test for another program only, so that it is asked for.
func (l *lab) destination(s *service) {
	l.extra = append(l.extra, fmt.Sprintf(`network:
  roots: %[1]s
  hosts: {api.test: ["127.0.0.1"], good.test: ["127.0.0.1"]}
  allow:
    - {host: good.test, ports: [%[2]s], private: true}
    - {host: api.test, ports: [%[2]s], private: true, programs: [/usr/bin/another]}`, s.roots, s.port))
}

// TestGuardTerminal: a real terminal in between, a question on our own row that
// neither the program nor what is typed to it can answer, job control, and a
// recording without the clipboard.
func TestGuardTerminal(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := newService(t, "api.test", "good.test")
	l.destination(s)
	k := l.sit("guard", "--config", l.file("sallyport.yaml"), "--workdir", l.workdir(), "--", "bash", "--norc", "-i")
	k.sees("tier full")
	k.types("tty; stty size; PS1='ready> '\r")
	k.sees("/dev/pts/")
	k.sees("49 200")
	k.sees("ready> ")
	k.types("sleep 1000\r")
	time.Sleep(300 * time.Millisecond) // until the shell has given the terminal away
	k.types("\x1a")
	k.sees("Stopped")
	k.types("kill %1; printf '\\033]52;c;Y2xpcA==\\007'; echo copied\r")
	k.sees("copied")
	k.types("curl -ksS -m 30 https://api.test:" + s.port + "/asked; echo first $?\r")
	k.sees("connect to api.test")
	k.types("y\ry\r") // typed to the program: no answer
	time.Sleep(500 * time.Millisecond)
	if got := s.requests(); len(got) > 0 {
		t.Fatalf("what was typed to the program answered: %q", got)
	}
	k.types(prefixKey + "n")
	k.sees("first 35")
	k.types(prefixKey + "a") // asks first: what was refused last may change under the finger
	k.sees("allow all of api.test:" + s.port + " for 1h?")
	k.types(prefixKey + "n")
	k.sees("stays refused")
	k.types("curl -ksS -m 30 https://api.test:" + s.port + "/asked; echo second $?\r")
	k.sees("connect to api.test")
	k.types(prefixKey + "y")
	k.sees("second 0")
	k.types("curl -ksS -m 30 https://api.test:" + s.port + "/again; echo third $?\r")
	k.sees("connect to api.test") // once was once
	k.types(prefixKey + "h")
	k.sees("third 0")
	k.types("curl -ksS -m 30 https://api.test:" + s.port + "/granted; echo fourth $?\r")
	k.sees("fourth 0")
	k.types("exit 7\r")
	if r := k.wait(patience); r.code != 7 {
		t.Errorf("exit %d", r.code)
	}
	if got := len(s.requests()); got != 3 {
		t.Errorf("the service saw %q", s.requests())
	}
	if strings.Contains(k.out.String(), "\x1b]52") {
		t.Error("the clipboard was set")
	}
	if got := l.ok("grants"); !strings.Contains(got.out, "api.test") {
		t.Errorf("no grant stands:\n%s", got.out)
	}
	if got := l.ok("replay", "--text"); !strings.Contains(got.out, "second 0") {
		t.Errorf("the recording lacks the session:\n%s", tail(got.out))
	}
	l.verify()
}

// TestGuardHangUp: when the person's terminal goes, so does everything.
func TestGuardHangUp(t *testing.T) {
	t.Parallel()
	m := marker(43)
	l := newLab(t)
	k := l.sit("guard", "--workdir", l.workdir(), "--", "bash", "--norc", "-c", "trap '' HUP; (setsid sleep "+m+" &); sleep "+m)
	until(t, 20*time.Second, "the program runs", func() bool { return len(processes(m)) == 2 })
	_ = k.tty.Close()
	l.gone(m, 10*time.Second)
	k.wait(patience)
	l.verify()
}

// TestAgentsEgress: an agent of ours reaches what its profile lists, through
// the same door as everybody.
func TestAgentsEgress(t *testing.T) {
	t.Parallel()
	s := newService(t, "good.test", "bad.test")
	l := newLab(t, say(fmt.Sprintf("curl -sS -m 10 --cacert /run/sallyport/ca.pem https://good.test:%[1]s/agent > got.txt 2>&1; curl -sS -m 10 https://bad.test:%[1]s/no >> got.txt 2>&1; cat got.txt", s.port)), say("pause 1"), say("pause 1"))
	l.extra = append(l.extra, fmt.Sprintf(`network:
  roots: %s
  hosts: {good.test: ["127.0.0.1"], bad.test: ["127.0.0.1"]}
  allow: [{host: good.test, ports: [%s], private: true, methods: [GET]}]`, s.roots, s.port))
	l.patrol(codeOK)
	if got := s.requests(); len(got) != 1 || !strings.HasPrefix(got[0], "good.test:"+s.port+" /agent") {
		text, _ := os.ReadFile(filepath.Join(l.home, "home/ada/got.txt"))
		t.Errorf("the service saw %q; the agent saw\n%s", got, text)
	}
	l.verify()
}
