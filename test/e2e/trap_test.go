package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/test/fakes/modelserver"
)

// TestReach: from inside there is no way to the provider, the database, the
// keys or the configuration.
func TestReach(t *testing.T) {
	for _, profile := range []string{"workspace", "auditor"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.home = beyondTmp(t)
			host, port, _ := strings.Cut(l.server.Addr(), ":")
			l.server = modelserver.New(t,
				say(fmt.Sprintf("(exec 3<>/dev/tcp/%s/%s && printf 'POST /v1/chat/completions HTTP/1.0\\r\\nContent-Length: 2\\r\\n\\r\\n{}' >&3 && echo connec''ted; cat <&3) 2>&1", host, port)),
				say(fmt.Sprintf("for f in %[1]s/state.db %[1]s/keys/* %[1]s/logs/* %[1]s/run/*; do test -s $f && echo read''able $f && head -c 99 $f; done; ls -la %[1]s %[1]s/keys; id -u; kill -9 %[2]d; ls /proc | grep -c '^[0-9]'", l.home, os.Getpid())),
				say("pause 1"))
			l.profile = profile
			l.patrol(codeOK)
			l.lacks("the answer", l.body(1), "connected")
			l.lacks("the answer", l.body(2), "readable", "SQLite format", "PRIVATE KEY", "\n0\n")
			if n := len(l.server.Requests()); n != 3 {
				t.Errorf("%d requests reached the provider, want 3", n)
			}
			l.verify()
		})
	}
}

// beyondTmp makes a state directory where the auditor's view shows the host:
// /tmp is private to each sandbox, so nothing there tests what is masked.
func beyondTmp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "sallyport-reach-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestReportTraps: the folder of reports belongs to the agent, so what lies in
// it must not lead the operator's commands astray.
func TestReportTraps(t *testing.T) {
	t.Parallel()
	name := time.Now().UTC().Format(time.DateOnly)
	l := newLab(t, say(`cd $NAISYS_FOLDER/security_reports && ln -s ../keys/owner `+name+`-level5-link.txt; mkfifo `+name+`-level4-pipe.txt; mkdir `+name+`-level3-dir.txt; `+
		`ln -s / `+name+`-level2-root; printf '\033]0;owned\007' > $'`+name+`-level5-\033[2J.txt'; ln -s `+name+`-level1-self.txt `+name+`-level1-self.txt; ls -la; echo planted`),
		say("pause 1"))
	run := l.patrol(codeOK)
	l.has("the answer", l.body(1), "planted")
	for _, args := range [][]string{{"reports"}, {"reports", "--json"}, {"reports", "show"}, {"reports", "show", name + "-level5-link.txt"}, {"reports", "show", name + "-level4-pipe.txt"}, {"status"}} {
		p := l.start(args...)
		r := p.wait(10 * time.Second)
		l.lacks(strings.Join(args, " "), r.text(), "PRIVATE KEY", "\x1b")
	}
	l.lacks("the run", run.text(), "PRIVATE KEY", "\x1b")
	l.verify()
}

// TestHomeTraps: an agent that replaces its own home by links gains nothing at
// the next start.
func TestHomeTraps(t *testing.T) {
	t.Parallel()
	l := newLab(t,
		say(`cd ..; rm -rf ada; ln -s /etc ada; ls -la; cd ada; rm -rf * .[a-z]*; ln -s /etc/passwd notes; ln -s ../../keys keys; mkfifo .bashrc; mkfifo .profile; echo don''e`), say("pause 1"),
		say(`ls -la; cat keys/* 2>&1; echo stil''l`), say("pause 1"))
	l.patrol(codeOK)
	l.patrol(codeOK)
	l.has("the answer", l.body(3), "still")
	l.lacks("the answer", l.body(3), "PRIVATE KEY")
	if info, err := os.Lstat(filepath.Join(l.home, "home", "ada")); err != nil || !info.IsDir() {
		t.Errorf("the home is %v, %v", info, err)
	}
	l.verify()
}

// TestTerminal: neither the model nor a command can write escapes to the
// operator's terminal, nor pass its words off as the operator's prompt.
func TestTerminal(t *testing.T) {
	t.Parallel()
	l := newLab(t,
		say("talk \"\x1b]0;owned\x07 \x1b[2Jhi \u202e\""),
		say("comment \"\x1b[31mred\""),
		say(`printf '\033[2J\033]52;c;b3duZWQ=\007\233'; printf 'ada@sallyport:/ [Tokens: 1/2]$ fake\n'`),
		say("echo \x1b[2J; endsession \"x\x1b[2J\""), say("endsession \"x\x1b[2J\""), say("pause 1"))
	r := l.patrol(codeOK)
	l.lacks("the output", r.text(), "\x1b", "\x07", "\u202e", "\u009b")
	id := ""
	for _, line := range l.eventLines() {
		if _, rest, ok := strings.Cut(line, `"session_id":"`); ok && id == "" {
			id, _, _ = strings.Cut(rest, `"`)
		}
	}
	for _, args := range [][]string{{"sessions"}, {"sessions", "show", id}, {"events"}, {"logs"}, {"approvals", "--all"}} {
		l.lacks(strings.Join(args, " "), l.call(args...).text(), "\x1b", "\x07", "\u202e", "\u009b")
	}
	l.verify()
}

// TestSharedBudget: three processes of one agent pass no limit together.
func TestSharedBudget(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.server = modelserver.NewScript(t, modelserver.Script{Loop: true, Replies: []modelserver.Reply{
		{Text: "echo again", Pieces: 40, Usage: &modelserver.Usage{Input: 1000, Output: 2000}},
	}})
	l.limit = "0.10"
	var all []*proc
	for range 3 {
		all = append(all, l.background())
	}
	for _, p := range all {
		if r := p.wait(patience); r.code != codeBudget {
			t.Errorf("exit %d, want %d\n%s", r.code, codeBudget, tail(r.text()))
		}
	}
	calls := len(l.server.Requests())
	if spent := l.cost(); spent > 100_000 || spent != int64(calls)*5000 {
		t.Errorf("%d calls cost %d micros of 100,000", calls, spent)
	}
	l.verify()
}

// TestFatReplies: what a model says is bounded too.
func TestFatReplies(t *testing.T) {
	for name, c := range map[string]struct {
		reply modelserver.Reply
	}{
		"five megabytes": {modelserver.Reply{Text: "echo " + strings.Repeat("z", 5<<20), Pieces: 1 << 16}},
		"for ever":       {modelserver.Reply{Text: "echo " + strings.Repeat("z", 1<<20), Pieces: 1 << 16, RepeatBody: 1 << 10}},
		"nul":            {say("echo a\x00b")},
		"cut":            {modelserver.Reply{Text: "touch made-anyway; rm -rf /tm", Pieces: 40, Stop: "length", Usage: &modelserver.Usage{Input: 1, Output: 1}}},
		"filtered":       {modelserver.Reply{Text: "touch made-anyway", Pieces: 40, Stop: "content_filter", Usage: &modelserver.Usage{Input: 1, Output: 1}}},
		"unknown stop":   {modelserver.Reply{Text: "touch made-anyway", Pieces: 40, Stop: "who_knows", Usage: &modelserver.Usage{Input: 1, Output: 1}}},
		"lying figures":  {modelserver.Reply{Text: "echo cheap", Pieces: 40, Usage: &modelserver.Usage{Input: -5_000_000, Output: -1}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, c.reply, say("echo alive-$((6*7))"), say("pause 1"))
			r := l.call("run", l.file("ada.yaml"), "--once", "--unattended")
			if r.code != codeOK && r.code != codeBudget {
				t.Errorf("exit %d\n%s", r.code, tail(r.text()))
			}
			if n := len(l.server.Requests()); n > 1 && r.code == codeOK {
				l.has("the last request", l.body(n-1), "alive-42")
			}
			l.nothingMade("made-anyway")
			if spent := l.cost(); spent < 0 || spent > 1_000_000 {
				t.Errorf("spent %d", spent)
			}
			t.Logf("exit %d after %v, %d calls, %d micros", r.code, r.took.Round(time.Millisecond), len(l.server.Requests()), l.cost())
			l.verify()
		})
	}
}

// TestSandboxDies: when the sandbox is lost, killed from outside or at its
// limit of time, the run says so and ends; it must not pay a model for commands
// that nothing can run.
func TestSandboxDies(t *testing.T) {
	for i, name := range []string{"killed", "out of time"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := marker(int64(30 + i))
			l := newLab(t, say("sleep "+m), say("pause 1"), say("pause 1"))
			if name == "out of time" {
				l.bounds = "{wall_seconds: 2}"
			}
			p := l.inCommand(m)
			if name == "killed" {
				for _, pid := range l.below(p.cmd.Process.Pid) {
					_ = syscall.Kill(pid, syscall.SIGKILL) // some went with their parent
				}
			}
			r := p.wait(20 * time.Second)
			if r.code != codeUnavailable {
				t.Errorf("exit %d, want %d", r.code, codeUnavailable)
			}
			l.has("the error", r.err, "the sandbox of ada has ended", "sallyport run")
			if n := len(l.server.Requests()); n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
			l.gone(m, 2*time.Second)
			l.verify()
			l.lacks("the next start", l.patrol(codeOK).text(), "in flight")
		})
	}
}

// below lists the processes that a process started, through all generations.
func (l *lab) below(root int) []int {
	children := map[int][]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		var pid, parent int
		_, _ = fmt.Sscan(string(b), &pid)
		_, rest, _ := strings.Cut(string(b), ") ")
		var state string
		_, _ = fmt.Sscan(rest, &state, &parent)
		children[parent] = append(children[parent], pid)
	}
	out := append([]int(nil), children[root]...)
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i]]...)
	}
	return out
}

// TestTerminated: SIGTERM and SIGHUP end a run in order.
func TestTerminated(t *testing.T) {
	for i, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			m := marker(int64(40 + i))
			l := newLab(t, say("sleep "+m), say("pause 1"))
			p := l.inCommand(m)
			p.signal(s)
			r := p.wait(10 * time.Second)
			if r.code != codeInterrupted {
				t.Errorf("exit %d, want %d\n%s", r.code, codeInterrupted, tail(r.text()))
			}
			l.gone(m, 2*time.Second)
			l.lacks("the next start", l.patrol(codeOK).text(), "in flight")
			l.verify()
		})
	}
}
