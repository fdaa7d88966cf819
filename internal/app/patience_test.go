package app

import (
	"context"
	"sync"
	"testing"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/record"
)

// people answer when they are let.
type people struct {
	gate.Approver
	asked chan struct{}
	let   chan struct{}
}

func (p *people) Await(context.Context, record.ApprovalRequest) ([]record.Approval, error) {
	p.asked <- struct{}{}
	<-p.let
	return nil, nil
}

// TestPatience: where the profile says deny nobody is asked; where it says ask,
// a flood of questions waits for at most so many answers; other kinds are not
// touched.
func TestPatience(t *testing.T) {
	desk := &people{asked: make(chan struct{}, 1000), let: make(chan struct{})}
	p := newPatience(desk, map[string]*outletPlan{"closed": {}, "open": {ask: true}}, func(agent string) string { return agent })
	ask := func(agent string, kind action.Kind) error {
		_, err := p.Await(t.Context(), record.ApprovalRequest{Action: action.Action{Agent: agent, Kind: kind}, Because: "no rule lists it"})
		return err
	}
	for _, agent := range []string{"closed", "unknown"} {
		if err := ask(agent, action.NetConnect); !fault.Is(err, fault.NeedsAsk) || len(desk.asked) > 0 {
			t.Errorf("%s: somebody was asked, error %v", agent, err)
		}
	}
	var wg sync.WaitGroup
	for range maxWaiting {
		wg.Go(func() {
			if err := ask("open", action.HTTPRequest); err != nil {
				t.Error(err)
			}
		})
	}
	for range maxWaiting {
		<-desk.asked
	}
	if err := ask("open", action.NetConnect); !fault.Is(err, fault.NeedsAsk) || len(desk.asked) > 0 {
		t.Errorf("one question too many was asked, error %v", err)
	}
	wg.Go(func() { _ = ask("closed", action.Exec) })
	<-desk.asked
	close(desk.let)
	wg.Wait()
	if err := ask("open", action.NetConnect); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}

// TestQuestionsAreBounded: a session that asks about ever new things is not
// answered and not stored for ever; another one is.
func TestQuestionsAreBounded(t *testing.T) {
	desk := &people{asked: make(chan struct{}, 10*askBurst), let: make(chan struct{})}
	close(desk.let)
	p := newPatience(desk, map[string]*outletPlan{"open": {ask: true}}, func(string) string { return "open" })
	ask := func(session string) error {
		_, err := p.Await(t.Context(), record.ApprovalRequest{Action: action.Action{Session: session, Kind: action.HTTPRequest}, Because: "no rule lists it"})
		return err
	}
	refused := 0
	for range 2 * askBurst {
		if fault.Is(ask("greedy"), fault.NeedsAsk) {
			refused++
		}
	}
	if refused < askBurst-5 || len(desk.asked) > askBurst+5 {
		t.Errorf("%d refused, %d put", refused, len(desk.asked))
	}
	if err := ask("modest"); err != nil {
		t.Error(err)
	}
}
