package llm_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sallyport/internal/egress"
	"sallyport/internal/llm"
	"sallyport/test/fakes/modelserver"
)

// TestNothingStays: no goroutine and no timer outlives a call, however it
// ended.
func TestNothingStays(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, p := range providers {
		s, err := modelserver.Start("127.0.0.1:0", modelserver.Script{Replies: []modelserver.Reply{
			{Text: "fine"},
			{Text: strings.Repeat("long ", 99), Stall: modelserver.Duration(time.Hour), StallAt: 900},
			{Text: "half", CutAfter: 40},
			{Stall: modelserver.Duration(time.Hour)},
			{Body: new("garbage")},
		}})
		if err != nil {
			t.Fatal(err)
		}
		rule, err := egress.ParseRule(s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		doer := egress.New(egress.Config{Allow: []egress.Rule{rule}}).Client(egress.ClientOptions{})
		c, err := p.make(llm.Endpoint{BaseURL: s.URL + p.base, Key: func() string { return fakeKey }}, doer,
			llm.Options{Attempts: 1, FirstByte: 500 * time.Millisecond, Idle: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			ctx, cancel := context.WithCancel(context.Background())
			_, err := c.Complete(ctx, ask(), func(string) {
				if i == 1 {
					cancel()
				}
			})
			if (err == nil) != (i == 0) {
				t.Errorf("%s call %d: %v", p.name, i, err)
			}
			cancel()
		}
		doer.CloseIdleConnections()
		_ = s.Close()
	}
}
