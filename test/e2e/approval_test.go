package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/test/fakes/modelserver"
)

// later is a reply that gives the operator time to answer.
func later(text string) modelserver.Reply {
	r := say(text)
	r.Stall = modelserver.Duration(4 * time.Second)
	return r
}

type asked struct {
	ID, State, Kind string
}

func (l *lab) asks() []asked {
	l.t.Helper()
	var v struct{ Approvals []asked }
	l.into(&v, "approvals", "--all")
	return v.Approvals
}

// lines counts the lines of a file in the agent's home.
func (l *lab) lines(name string) int {
	b, err := os.ReadFile(filepath.Join(l.home, "home", "ada", name))
	if err != nil {
		return 0
	}
	return strings.Count(string(b), "\n")
}

// TestApproval: alone, a question is a no that names the command for a yes. The
// yes counts for this command, once.
func TestApproval(t *testing.T) {
	t.Parallel()
	const script = "echo ran >> ledger"
	l := newLab(t, say(script), later(script), say(script), say(script+" "), say("pause 1"))
	l.protection = "manual"
	p := l.background()
	until(t, 20*time.Second, "the model was told no", func() bool { return len(l.server.Requests()) > 1 })
	if l.made("ledger") {
		t.Fatal("it ran before anybody said yes")
	}
	open := l.asks()
	if len(open) != 1 || open[0].State != "open" || open[0].Kind != "exec" {
		t.Fatalf("asks: %+v\n%s", open, l.asked())
	}
	l.has("the refusal", l.body(1), "sallyport approve "+open[0].ID)
	l.has("the question", l.ok("approve", open[0].ID, "--yes").out, script, "once")
	r := p.wait(patience)
	if r.code != codeOK {
		t.Errorf("exit %d\n%s", r.code, tail(r.text()))
	}
	if n := l.lines("ledger"); n != 1 {
		t.Errorf("it ran %d times, want once\n%s", n, l.asked())
	}
	l.has("the answer to the third try", after(l.body(3), script), "sallyport approve ")
	l.lacks("the answer to the third try", after(l.body(3), script), open[0].ID)
	l.verify()
}

// TestDenial: a no is final for the question.
func TestDenial(t *testing.T) {
	t.Parallel()
	const script = "echo ran >> ledger"
	l := newLab(t, say(script), later(script), say("pause 1"))
	l.protection = "manual"
	p := l.background()
	until(t, 20*time.Second, "the model was told no", func() bool { return len(l.server.Requests()) > 1 })
	id := l.asks()[0].ID
	l.ok("deny", id, "--yes")
	l.ends(codeUnavailable, "approve", id, "--yes")
	p.wait(patience)
	if l.made("ledger") {
		t.Error("it ran although it was denied")
	}
	l.verify()
}

// TestStaleApproval: the questions of a session that ended are withdrawn, so
// that nobody gives a yes that could never be used, and a yes to another run's
// question does not carry over.
func TestStaleApproval(t *testing.T) {
	t.Parallel()
	const script = "echo ran >> ledger"
	l := newLab(t, say(script), say("pause 1"), say(script), say("pause 1"))
	l.protection = "manual"
	l.patrol(codeOK)
	ask := l.asks()[0]
	if ask.State != "withdrawn" {
		t.Errorf("after the session the question is %s", ask.State)
	}
	if r := l.call("approve", ask.ID, "--yes"); r.code == codeOK {
		t.Errorf("a question of an ended session was answered: %s", r.text())
	}
	l.patrol(codeOK)
	if n := l.lines("ledger"); n != 0 {
		t.Errorf("it ran %d times without a yes", n)
	}
	l.verify()
}

// TestGrant: a standing permission answers in advance, until it is used up or
// revoked.
func TestGrant(t *testing.T) {
	t.Parallel()
	const script = "echo ran >> ledger"
	l := newLab(t, say(script), say(script), say("pause 1"), say(script), say("pause 1"), say(script), say("pause 1"))
	l.protection = "manual"
	l.prepare()
	var g struct{ ID string }
	l.into(&g, "grant", "ada", "exec", "*", "--uses", "1", "--expires", "1h")
	l.patrol(codeOK)
	if n := l.lines("ledger"); n != 1 {
		t.Errorf("with a grant for one use it ran %d times\n%s", n, l.asked())
	}
	l.into(&g, "grant", "ada", "exec", "*", "--expires", "1h")
	l.patrol(codeOK)
	if n := l.lines("ledger"); n != 2 {
		t.Errorf("with the second grant it ran %d times in all, want 2\n%s", n, l.asked())
	}
	l.ok("revoke", g.ID)
	l.patrol(codeOK)
	if n := l.lines("ledger"); n != 2 {
		t.Errorf("after the revocation it ran %d times in all, want 2", n)
	}
	l.verify()
}

// TestReview: with commandProtection: auto the model looks first; its yes is
// only as good as the word, everything else asks.
func TestReview(t *testing.T) {
	t.Parallel()
	const script = "echo ran >> ledger"
	l := newLab(t, say(script), say("ALLOW"), say(script), say("ALLOWED, go on"), say(script), say("ASK\nno idea"), say("pause 1"))
	l.protection = "auto"
	l.patrol(codeOK)
	if n := l.lines("ledger"); n != 1 {
		t.Errorf("it ran %d times, want once\n%s", n, l.asked())
	}
	l.verify()
}
