package clients

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/test/clients/launch"
	"sallyport/test/fakes/modelserver"
)

// asking opens a proxy whose clients wait that long for people.
func asking(t *testing.T, l *lab, seconds int) (base, key string) {
	t.Helper()
	l.proxy = launch.Start(t, l.dir, modelKey, launch.Settings(t, l.model.URL, map[string]any{"approval_wait_seconds": seconds}))
	return l.proxy.Base, l.proxy.Key
}

// question waits for the one question that is open, about an action of a kind.
func (l *lab) question(t *testing.T, kind string) string {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(40 * time.Second)
	for {
		var v struct {
			Approvals []struct{ ID, State, Kind string } `json:"approvals"`
		}
		if err := json.Unmarshal([]byte(l.proxy.Run(t, "approvals", "--json")), &v); err != nil {
			t.Fatal(err)
		}
		if len(v.Approvals) == 1 && v.Approvals[0].Kind == kind {
			return v.Approvals[0].ID
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("the questions are %+v", v.Approvals)
		}
	}
}

// TestApprovedInTime: a call about which somebody is asked is held until the
// yes, and then done; the client notices nothing.
func TestApprovedInTime(t *testing.T) {
	eachGo(t, func(t *testing.T, c client, mode string) {
		l := newLab(t,
			modelserver.Reply{Text: "Look. ", Calls: []modelserver.Call{call("call_a", "touch one.txt; : "+launch.Doubtful)}, Usage: usage},
			modelserver.Reply{Text: "All is done.", Usage: usage})
		base, key := asking(t, l, 100)
		ended := make(chan report, 1)
		go func() {
			defer close(ended)
			ended <- c.drive(t, l.dir, base, key, mode)
		}()
		id := l.question(t, "tool.call")
		if made := l.made(t); len(made) > 0 {
			t.Errorf("before the answer there is %q", made)
		}
		l.proxy.Run(t, "approve", id, "--yes")
		r := <-ended
		if r.Error != "" || r.Text != "Look. All is done." || r.Requests != 2 || !slices.Equal(l.made(t), []string{"one.txt"}) {
			t.Errorf("the client said %q after %d requests, error %q %s, effects %q", r.Text, r.Requests, r.Error, r.Detail, l.made(t))
		}
	})
}

// TestApprovedLater: an answer that comes too late serves one identical call
// and no second one.
func TestApprovedLater(t *testing.T) {
	eachGo(t, func(t *testing.T, c client, mode string) {
		ask := func(id string) modelserver.Reply {
			return modelserver.Reply{Text: "Look. ", Calls: []modelserver.Call{call(id, "echo x >> one.txt; : "+launch.Doubtful)}, Usage: usage}
		}
		l := newLab(t, ask("call_a"), ask("call_b"), ask("call_c"))
		base, key := asking(t, l, 1)
		first := c.drive(t, l.dir, base, key, mode)
		id := l.question(t, "tool.call")
		if !strings.Contains(first.Text, "approve it as "+id) || len(l.made(t)) > 0 {
			t.Errorf("not answered, the client says %q %q, effects %q", first.Text, first.Error, l.made(t))
		}
		l.proxy.Run(t, "approve", id, "--yes")
		// The same call once more, in the next reply, is a question of its own.
		r := c.drive(t, l.dir, base, key, mode)
		if len(r.Calls) != 1 || len(l.made(t)) != 1 || !strings.Contains(r.Text, "approve it as ") || strings.Contains(r.Text, id) {
			t.Errorf("answered, the client says %q %q %s, runs %q, effects %q", r.Text, r.Error, r.Detail, r.commands(), l.made(t))
		}
	})
}

// eachGo runs a test for every API and mode with the Go SDKs, which cost little.
func eachGo(t *testing.T, f func(t *testing.T, c client, mode string)) {
	installed(t)
	for _, c := range clients() {
		for _, mode := range modes {
			if c.sdk == "go" {
				t.Run(c.name()+"/"+mode, func(t *testing.T) {
					t.Parallel()
					f(t, c, mode)
				})
			}
		}
	}
}
