package e2e

import (
	"math"
	"os"
	"testing"

	"sallyport/test/fakes/modelserver"
)

// cost is what was spent, in millionths of a dollar.
func (l *lab) cost() int64 {
	l.t.Helper()
	var v struct {
		Costs []struct {
			Key     string  `json:"key"`
			Calls   int     `json:"calls"`
			Dollars float64 `json:"dollars"`
		} `json:"costs"`
	}
	l.into(&v, "cost")
	sum := 0.0
	for _, c := range v.Costs {
		sum += c.Dollars
	}
	return int64(math.Round(sum * 1e6))
}

// TestBudget: the limit is never passed, ends the run with 5, and holds after a
// restart. Each call reports a tenth of a cent.
func TestBudget(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dear := modelserver.Reply{Text: "echo again", Pieces: 40, Usage: &modelserver.Usage{Input: 600, Output: 200}}
	l.server = modelserver.NewScript(t, modelserver.Script{Loop: true, Replies: []modelserver.Reply{dear}})
	l.limit = "0.02" // 20,000 micros
	r := l.patrol(codeBudget)
	l.has("the output", r.text(), "spend")
	spent := l.cost()
	if spent <= 0 || spent > 20_000 {
		t.Errorf("spent %d micros of 20,000", spent)
	}
	calls := len(l.server.Requests())
	if calls < 2 {
		t.Errorf("only %d calls were made", calls)
	}
	// A restart begins with a short transcript, whose calls may still fit; after
	// a few restarts nothing does, and the limit held all the while.
	for restart := 1; ; restart++ {
		l.patrol(codeBudget)
		n := len(l.server.Requests())
		if spent = l.cost(); spent > 20_000 {
			t.Fatalf("spent %d micros of 20,000 after restart %d", spent, restart)
		}
		if n == calls {
			break
		}
		if calls = n; restart == 20 {
			t.Fatal("every restart made calls")
		}
	}
	l.verify()
	if spent != int64(calls)*1000 {
		t.Errorf("%d calls of 1,000 micros cost %d", calls, spent)
	}
}

// TestUnknownPrice: a limit that could not be held refuses at start.
func TestUnknownPrice(t *testing.T) {
	t.Parallel()
	l := newLab(t, say("pause 1"))
	l.noPrice = true
	r := l.patrol(codeBudget)
	l.has("the refusal", r.text(), "models.", ".price", "sallyport.yaml")
	if n := len(l.server.Requests()); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
}

// TestReadOnly: nothing can be executed, whatever else is set.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	l := newLab(t, say("touch made-anyway"), say("pause 1"))
	l.extra = []string{"readOnlyMode: true"}
	r := l.call("run", l.file("ada.yaml"), "--once", "--unattended")
	t.Logf("exit %d: %s", r.code, tail(r.text()))
	if len(l.server.Requests()) > 1 {
		l.has("the answer", l.body(1), "readOnlyMode")
	} else {
		l.has("the output", r.text(), "readOnlyMode")
	}
	l.nothingMade("made-anyway")
	l.verify()
}

// TestNoExecution: without the setting the shell refuses, and names it.
func TestNoExecution(t *testing.T) {
	t.Parallel()
	l := newLab(t, say("touch made-anyway"), say("pause 1"))
	l.noExec = true
	r := l.call("run", l.file("ada.yaml"), "--once", "--unattended")
	t.Logf("exit %d", r.code)
	if len(l.server.Requests()) > 1 {
		l.has("the answer", l.body(1), "enable_command_execution")
	} else {
		l.has("the output", r.text(), "enable_command_execution")
	}
	l.nothingMade("made-anyway")
	l.verify()
}

// nothingMade looks for a file in the agent's home, where a command would have
// made it.
func (l *lab) nothingMade(name string) {
	l.t.Helper()
	if l.made(name) {
		l.t.Errorf("a command ran: %s is there", name)
	}
}

func (l *lab) made(name string) bool {
	_, err := os.Lstat(l.home + "/home/ada/" + name)
	return err == nil
}
