package app

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"sallyport/internal/action"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// TestChildrenAreBounded: each context has its own bound, by its depth, that
// counts children made and not those that work; and a task is the text that was
// decided about.
func TestChildrenAreBounded(t *testing.T) {
	a := installation(t, house)
	st, err := a.Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{app: a, desk: newDesk(a, st), opts: RunOptions{Console: func(string) Console { return nil }}}
	defer e.desk.close()
	s := &staff{e: e, members: map[string]*config.Agent{"scout": {Username: "scout"}}, runs: map[string]*household{}}
	spawn := func(session, to string, change func(map[string]any)) (record.Result, error) {
		body := []byte("work")
		sum := sha256.Sum256(body)
		args := map[string]any{
			"agent": to, "context": "c-x", "label": "public/member", "ceiling": "public/foreign",
			"sha256": hex.EncodeToString(sum[:]), "bytes": int64(len(body)),
		}
		if change != nil {
			change(args)
		}
		return s.employ(action.Action{Kind: action.AgentSpawn, Target: to, Agent: "chief", Session: session, Args: args, Body: body})
	}
	if _, err := spawn("s-0", "scout", nil); !fault.Is(err, fault.Unsupported) {
		t.Errorf("a run that nobody knows gave work: %v", err)
	}
	for depth, most := range map[int]int{0: 8, 1: 2, 2: 1, 3: 0} {
		session := fmt.Sprintf("s-%d", depth)
		s.enter(t.Context(), session, "chief", depth)
		for n := range most {
			if res, err := spawn(session, "scout", nil); err != nil || res.Output == "" {
				t.Fatalf("depth %d: child %d: %v", depth, n, err)
			}
		}
		s.runs[session].working.Wait() // that they have ended changes nothing
		if _, err := spawn(session, "scout", nil); !fault.Is(err, fault.Denied) {
			t.Errorf("depth %d: one more than %d: %v", depth, most, err)
		}
		s.renew(session)
		if _, err := spawn(session, "scout", nil); (err == nil) != (most > 0) {
			t.Errorf("depth %d, the next session: %v", depth, err)
		}
		s.leave(session)
	}
	s.enter(t.Context(), "s-4", "chief", 0)
	for name, change := range map[string]func(map[string]any){
		"digest": func(m map[string]any) { m["sha256"] = hex.EncodeToString(make([]byte, 32)) },
		"size":   func(m map[string]any) { m["bytes"] = int64(5) },
		"type":   func(m map[string]any) { m["bytes"] = "4" },
	} {
		if _, err := spawn("s-4", "scout", change); !fault.Is(err, fault.Denied) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if _, err := spawn("s-4", "nobody", nil); !fault.Is(err, fault.NotFound) {
		t.Errorf("an agent without a file: %v", err)
	}
	s.leave("s-4")
}
