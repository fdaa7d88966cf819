package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/test/fakes/modelserver"
)

// TestBombs: with the shipped limits, not ones set for the test, a command that
// takes all it can get harms neither the run nor the host.
func TestBombs(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		wants  []string
	}{
		"forks":  {`b() { b | b & }; b; sleep 2; echo bombed`, []string{"bombed"}},
		"memory": {`head -c 6000000000 /dev/zero | tail -c 5000000000 | wc -c; echo "over ${PIPESTATUS[*]}"`, []string{"over"}},
		"tmp":    {`head -c 3000000000 /dev/zero > /tmp/big; echo "over $?"; du -m /tmp/big; rm -f /tmp/big`, []string{"over 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			// Not parallel: they compete for what they exhaust.
			l := newLab(t, say(c.script), say("echo alive-$((6*7))"), say("pause 1"))
			l.tools = "{command_timeout: 15}"
			r := l.patrol(codeOK)
			l.has("the answer", after(l.body(1), c.script), c.wants...)
			l.has("the answer after that", l.body(2), "alive-42")
			t.Logf("%v: %.300s", r.took.Round(time.Millisecond), strings.TrimSpace(after(l.body(1), c.script)))
			l.verify()
		})
	}
}

// TestHomeFull: an agent's files cannot fill the disk of the record without
// end; each file is bounded.
func TestHomeFull(t *testing.T) {
	t.Parallel()
	l := newLab(t, say(`head -c 200000000 /dev/zero > big; echo "wrote $?"; ls -l big | cut -d' ' -f5; rm -f big`), say("pause 1"))
	l.bounds = "{file_size: 1MiB}"
	l.patrol(codeOK)
	l.lacks("the answer", l.body(1), "wrote 0", "200000000\n")
	l.verify()
}

// TestEvery: patrols repeat, with the note of the one before.
func TestEvery(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.server = newLoop(t, "echo round", "pause 1")
	p := l.start("run", l.file("ada.yaml"), "--every", "1s", "--unattended")
	until(t, 30*time.Second, "the third patrol begins", func() bool { return len(l.server.Requests()) >= 5 })
	l.has("the third patrol", l.body(4), "Automatic note")
	l.ok("stop", "--all")
	if r := p.wait(10 * time.Second); r.code != codeDenied {
		t.Errorf("exit %d, want %d\n%s", r.code, codeDenied, tail(r.text()))
	}
	l.verify()
}

// TestBetweenPatrols: in the long wait, too, a stop and Ctrl-C end the run at
// once and in order.
func TestBetweenPatrols(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*lab, *proc)
		code int
		says string
	}{
		"stop":   {func(l *lab, _ *proc) { l.has("stop", l.ok("stop", "ada").out, "ended by itself") }, codeDenied, "stopped by the operator"},
		"ctrl-c": {func(_ *lab, p *proc) { p.signal(os.Interrupt) }, codeInterrupted, "interrupted"},
		"term":   {func(_ *lab, p *proc) { p.signal(syscall.SIGTERM) }, codeInterrupted, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, say("pause 1"))
			p := l.start("run", l.file("ada.yaml"), "--every", "1h", "--unattended")
			until(t, 20*time.Second, "the wait begins", func() bool { return strings.Contains(p.out.String(), "Next patrol") })
			c.end(l, p)
			r := p.wait(4 * time.Second)
			if r.code != c.code {
				t.Errorf("exit %d, want %d\n%s", r.code, c.code, tail(r.text()))
			}
			l.has("the error", r.err, c.says)
			l.verify()
		})
	}
}

// TestInterruptAll: Ctrl-C is meant for every agent of the process.
func TestInterruptAll(t *testing.T) {
	t.Parallel()
	m := marker(60)
	l := newLab(t, reply("You are ada", "sleep "+m), reply("You are bob", "sleep "+m),
		reply("You are ada", "sleep "+m+"0"), reply("You are bob", "sleep "+m+"0"))
	l.prepare()
	l.write("bob.yaml", l.agent("bob"))
	p := l.start("run", l.dir, "--once", "--unattended")
	until(t, 20*time.Second, "both commands run", func() bool { return len(processes(m)) == 2 })
	p.signal(os.Interrupt)
	until(t, 10*time.Second, "both next commands run", func() bool { return len(processes(m+"0")) == 2 })
	if n := len(processes(m)); n != 0 {
		t.Errorf("%d of the first commands go on", n)
	}
	p.signal(os.Interrupt)
	if r := p.wait(10 * time.Second); r.code != codeInterrupted {
		t.Errorf("exit %d, want %d\n%s", r.code, codeInterrupted, tail(r.text()))
	}
	l.gone(m+"0", 2*time.Second)
	l.verify()
}

// TestStopInModelCall ends a run whose provider does not answer.
func TestStopInModelCall(t *testing.T) {
	t.Parallel()
	stalled := say("echo never")
	stalled.Stall = modelserver.Duration(time.Minute)
	l := newLab(t, stalled, say("pause 1"))
	p := l.background()
	until(t, 20*time.Second, "the provider is asked", func() bool { return len(l.server.Requests()) > 0 })
	l.ok("stop", "ada")
	if r := p.wait(6 * time.Second); r.code != codeDenied {
		t.Errorf("exit %d, want %d\n%s", r.code, codeDenied, tail(r.text()))
	}
	l.lacks("the next start", l.patrol(codeOK).text(), "in flight")
	l.verify()
}

// TestStopOne ends one of two agents in a process; the other goes on.
func TestStopOne(t *testing.T) {
	t.Parallel()
	m := marker(50)
	l := newLab(t, reply("You are ada", "sleep "+m), reply("You are bob", "sleep "+m+"0"), reply("You are bob", "pause 1"))
	l.prepare()
	l.write("bob.yaml", l.agent("bob"))
	p := l.start("run", l.dir, "--once", "--unattended")
	until(t, 20*time.Second, "both commands run", func() bool { return len(processes(m)) > 0 && len(processes(m+"0")) > 0 })
	l.ok("stop", "ada")
	l.gone(m, 6*time.Second)
	if len(processes(m+"0")) == 0 {
		t.Error("bob's command was ended by the stop of ada")
	}
	l.ok("stop", "bob")
	p.wait(10 * time.Second)
	l.gone(m+"0", 2*time.Second)
	l.verify()
}

// TestManyTurns looks for growth that a long run must not have: descriptors of
// the process and residue of the sandbox.
func TestManyTurns(t *testing.T) {
	t.Parallel()
	stall := say("echo done")
	stall.Stall = modelserver.Duration(30 * time.Second)
	var replies []modelserver.Reply
	for i := range 60 {
		text := fmt.Sprintf("echo turn-%d; exit", i)
		if i%3 == 0 {
			text = fmt.Sprintf(`endsession "note %d"`, i)
		}
		replies = append(replies, say(text))
	}
	l := newLab(t, append(replies, stall)...)
	p := l.background()
	count := func() int {
		d, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		return len(d)
	}
	until(t, 20*time.Second, "it begins", func() bool { return len(l.server.Requests()) > 5 })
	early := count()
	until(t, 60*time.Second, "all turns are done", func() bool { return len(l.server.Requests()) > 60 })
	if late := count(); late > early+8 {
		t.Errorf("%d descriptors were open early, %d late", early, late)
	}
	if n := len(l.below(p.cmd.Process.Pid)); n > 6 {
		t.Errorf("%d processes are below the run", n)
	}
	p.signal(os.Interrupt)
	p.signal(os.Interrupt)
	time.Sleep(50 * time.Millisecond)
	_ = p.cmd.Process.Signal(os.Interrupt) // signals that come together count once
	p.wait(10 * time.Second)
	l.verify()
}
