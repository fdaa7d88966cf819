package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/test/fakes/modelserver"
)

// marker makes a number of seconds that no other process sleeps.
var markers = time.Now().UnixNano() % 1_000_000

func marker(n int64) string { return strconv.FormatInt(2_000_000_000+markers*100+n, 10) }

func (l *lab) background() *proc {
	return l.start("run", l.file("ada.yaml"), "--once", "--unattended")
}

// inCommand starts a run and waits until its sandbox runs `sleep marker`.
func (l *lab) inCommand(marker string) *proc {
	l.t.Helper()
	p := l.background()
	until(l.t, 20*time.Second, "the command runs", func() bool { return len(processes(marker)) > 0 })
	return p
}

// gone waits until no process of the sandbox is left.
func (l *lab) gone(marker string, limit time.Duration) {
	l.t.Helper()
	took := until(l.t, limit, "the sandbox is gone", func() bool { return len(processes(marker)) == 0 })
	l.t.Logf("the sandbox was gone after %v", took.Round(time.Millisecond))
}

// prefix fails unless all that was there before is there still.
func prefix(t *testing.T, before, now []string) {
	t.Helper()
	if len(now) < len(before) || len(before) == 0 {
		t.Fatalf("there were %d events, now %d", len(before), len(now))
	}
	for i := range before {
		if before[i] != now[i] {
			t.Fatalf("event %d changed:\n%s\n%s", i, before[i], now[i])
		}
	}
}

// TestKilledInCommand: kill -9 in the middle of a command takes the sandbox
// along, loses nothing that was acknowledged, and is said at the next start.
func TestKilledInCommand(t *testing.T) {
	t.Parallel()
	m := marker(1)
	l := newLab(t, say("(setsid sleep "+m+" &) ; sleep "+m), say("pause 1"), say("pause 1"))
	p := l.inCommand(m)
	before := l.eventLines()
	p.signal(syscall.SIGKILL)
	<-p.done
	l.gone(m, 2*time.Second)
	l.verify()
	prefix(t, before, l.eventLines())
	r := l.patrol(codeOK)
	l.has("the next start", r.text(), "in flight", "exec")
	prefix(t, before, l.eventLines())
	r = l.patrol(codeOK)
	l.lacks("the start after that", r.text(), "in flight")
	l.verify()
}

// TestKilledInModelCall: the same while a provider stalls; the reservation of
// the call counts as spent, for nobody knows what was charged.
func TestKilledInModelCall(t *testing.T) {
	t.Parallel()
	stalled := say("echo never")
	stalled.Stall = modelserver.Duration(time.Minute)
	l := newLab(t, stalled, say("pause 1"))
	p := l.background()
	until(t, 20*time.Second, "the provider is asked", func() bool { return len(l.server.Requests()) > 0 })
	before := l.eventLines()
	p.signal(syscall.SIGKILL)
	<-p.done
	l.verify()
	r := l.patrol(codeOK)
	l.has("the next start", r.text(), "in flight", "model.call")
	prefix(t, before, l.eventLines())
	if spent := l.cost(); spent < 5_000 {
		t.Errorf("the call in flight had reserved cents, but all that counts as spent is %d micros", spent)
	}
	l.verify()
}

// TestKilledAnywhere kills the run at many moments; the log must verify each
// time and never lose an event.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.server = modelserver.NewScript(t, modelserver.Script{Loop: true, Replies: []modelserver.Reply{
		say("echo one; seq 1 2000"), say(`endsession "note"`),
	}})
	l.patrol(codeOK, "--turns", "1")
	before := l.eventLines()
	for i := range 6 {
		p := l.background()
		time.Sleep(time.Duration(40+i*67) * time.Millisecond) // the moment is the point
		p.signal(syscall.SIGKILL)
		<-p.done
		l.verify()
		now := l.eventLines()
		prefix(t, before, now)
		before = now
	}
}

// TestKilledAtBirth kills the first run of an installation while it makes its
// keys and its database; the next run must find nothing half made.
func TestKilledAtBirth(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		l := newLab(t)
		l.server = newLoop(t, "pause 1")
		p := l.background()
		time.Sleep(time.Duration(20+i*7) * time.Millisecond) // the moment is the point
		p.signal(syscall.SIGKILL)
		<-p.done
		l.patrol(codeOK)
		l.verify()
	}
}

// TestThreeAtOnce: three processes share a state directory.
func TestThreeAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.server = modelserver.NewScript(t, modelserver.Script{Loop: true, Replies: []modelserver.Reply{say("echo hello")}})
	l.prepare()
	l.write("bob.yaml", l.agent("bob"))
	var all []*proc
	for _, name := range []string{"ada", "bob", "ada"} {
		all = append(all, l.start("run", l.file(name+".yaml"), "--once", "--unattended", "--turns", "5"))
	}
	for i, p := range all {
		if r := p.wait(patience); r.code != codeOK {
			t.Errorf("process %d: exit %d\n%s", i, r.code, tail(r.text()))
		}
	}
	var v struct {
		Sessions []map[string]any `json:"sessions"`
	}
	l.into(&v, "sessions")
	if len(v.Sessions) != 3 {
		t.Errorf("%d sessions are listed, want 3", len(v.Sessions))
	}
	if n := len(l.server.Requests()); n != 15 {
		t.Errorf("%d calls, want 15", n)
	}
	l.verify()
}

// TestStop ends a run from another process, also one that is suspended.
func TestStop(t *testing.T) {
	for i, name := range []string{"running", "suspended"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := marker(int64(10 + i))
			l := newLab(t, say("sleep "+m), say("pause 1"))
			p := l.inCommand(m)
			if name == "suspended" {
				p.signal(syscall.SIGSTOP)
			}
			began := time.Now()
			stop := l.ok("stop", "ada")
			r := p.wait(8 * time.Second)
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("it took %v", took)
			}
			t.Logf("%s ended with %d after %v: %s", name, r.code, time.Since(began).Round(time.Millisecond), stop.out)
			l.gone(m, 2*time.Second)
			if name == "running" && r.code != codeDenied {
				t.Errorf("exit %d, want %d\n%s", r.code, codeDenied, tail(r.text()))
			}
			l.has("the events", strings.Join(l.eventLines(), "\n"), "agent.stop")
			l.verify()
			l.patrol(codeOK)
			l.verify()
		})
	}
}

// TestInterrupts: the first Ctrl-C ends the command, a second soon after it the run.
func TestInterrupts(t *testing.T) {
	t.Parallel()
	m := marker(20)
	l := newLab(t, say("echo part; sleep "+m), say("sleep "+m), say("pause 1"))
	p := l.inCommand(m)
	p.signal(os.Interrupt)
	until(t, 10*time.Second, "the next call is made", func() bool { return len(l.server.Requests()) > 1 })
	l.has("the request after it", l.body(1), "interrupted", "part")
	until(t, 10*time.Second, "the second command runs", func() bool { return len(processes(m)) > 0 })
	time.Sleep(100 * time.Millisecond) // still within two seconds of the first
	p.signal(os.Interrupt)
	r := p.wait(10 * time.Second)
	if r.code != codeInterrupted {
		t.Errorf("exit %d, want %d\n%s", r.code, codeInterrupted, tail(r.text()))
	}
	if n := len(l.server.Requests()); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
	l.gone(m, 2*time.Second)
	l.verify()
	next := l.patrol(codeOK)
	l.lacks("the next start", next.text(), "in flight")
}

// TestKilledFacts: what was collected about the host for a session does not
// outlive it, not even when the run is killed.
func TestKilledFacts(t *testing.T) {
	t.Parallel()
	m := marker(70)
	l := newLab(t, say("sleep "+m), say("pause 1"))
	l.profile = "auditor"
	p := l.inCommand(m)
	facts := func() []string {
		found, err := filepath.Glob(filepath.Join(l.home, "run", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if len(facts()) == 0 {
		t.Error("no facts are where this test looks for them")
	}
	p.signal(syscall.SIGKILL)
	<-p.done
	l.gone(m, 2*time.Second)
	l.patrol(codeOK)
	if left := facts(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	l.verify()
}

// TestStopAll: everybody stays stopped until they are started again, and then
// they run.
func TestStopAll(t *testing.T) {
	t.Parallel()
	m := marker(80)
	l := newLab(t, say("sleep "+m), say("echo again-$((1+1))"), say("pause 1"), say("pause 1"))
	p := l.inCommand(m)
	l.ok("stop", "--all")
	if r := p.wait(8 * time.Second); r.code != codeDenied {
		t.Errorf("exit %d, want %d\n%s", r.code, codeDenied, tail(r.text()))
	}
	l.gone(m, 2*time.Second)
	l.patrol(codeOK)
	l.has("the run after it", l.body(2), "again-2")
	l.verify()
}
