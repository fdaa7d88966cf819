package store_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// TestAllowances: which rule refuses, and what its sentence names. A refusal
// holds nothing anywhere.
func TestAllowances(t *testing.T) {
	s := open(t, t.TempDir())
	spawn(t, s, "bob", "c1")
	for _, tc := range []struct{ account, rule, text string }{
		{"key:k1", "budget.key", "API key k1 may spend $0.0001, spent $0.0001 so far and holds $0.0000"},
		{"day:2026-11-21", "budget.day", "everybody on 2026-11-21 (UTC) may spend"},
		{"day:2026-11-21:key:k1", "budget.day", "API key k1 on 2026-11-21 (UTC) may spend"},
		{"day:2026-11-21:agent:bob", "budget.day", "agent bob on 2026-11-21 (UTC) may spend"},
	} {
		in := intent(t, s, action.ModelCall, "bob", "c1", 100, -1)
		in.Reserve.Also = []record.Allowance{{Account: "key:other", Limit: -1}, {Account: tc.account, Limit: 100}}
		r, err := s.Intend(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(t.Context(), record.Outcome{Intent: r.ID, Status: record.Done, Result: record.Result{Cost: 100}}); err != nil {
			t.Fatal(err)
		}
		in.Revision = snapshot(t, s, "bob", "c1").Revision
		_, err = s.Intend(t.Context(), in)
		wantKind(t, err, fault.Budget, tc.text)
		events, err := s.Events(t.Context(), store.Filter{Types: []string{"LLM_call_blocked"}, Newest: true, Limit: 1})
		if err != nil || !strings.Contains(string(events[0].Data), `"`+tc.rule+`"`) {
			t.Errorf("%s: %s %v", tc.account, events[0].Data, err)
		}
		for _, name := range []string{"bob", "key:other", tc.account} {
			if _, reserved, err := s.Budget(t.Context(), name); reserved != 0 || err != nil {
				t.Errorf("%s holds %d after a refusal %v", name, reserved, err)
			}
		}
	}
}

// TestTotalCountsAgents: the limit of all agents together is not used up by
// what their keys and days were charged with beside them.
func TestTotalCountsAgents(t *testing.T) {
	s := open(t, t.TempDir())
	spawn(t, s, "bob", "c1")
	call := func() error {
		in := intent(t, s, action.ModelCall, "bob", "c1", 100, -1)
		in.Reserve.Total = 200
		in.Reserve.Also = []record.Allowance{{Account: "key:k1", Limit: -1}, {Account: "day:2026-11-21", Limit: -1}}
		_, err := s.Intend(t.Context(), in)
		return err
	}
	for range 2 {
		if err := call(); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, call(), fault.Budget, "all agents together may spend $0.0002, spent $0.0000 so far and holds $0.0002")
	if st, err := s.Status(t.Context()); err != nil || st.Reserved != 200 {
		t.Errorf("%d %v", st.Reserved, err)
	}
}

func TestBadAllowances(t *testing.T) {
	s := open(t, t.TempDir())
	spawn(t, s, "bob", "c1")
	for _, also := range [][]record.Allowance{{{Account: "eve", Limit: 5}}, {{Account: "key:k1"}, {Account: "key:k1"}}} {
		in := intent(t, s, action.ModelCall, "bob", "c1", 0, -1)
		in.Reserve.Also = also
		_, err := s.Intend(t.Context(), in)
		wantKind(t, err, fault.Internal, "allowance")
	}
}

// TestCostBeyondSums: an upstream's figures cannot break the sums.
func TestCostBeyondSums(t *testing.T) {
	s := open(t, t.TempDir())
	spawn(t, s, "bob", "c1")
	for range 3 {
		r, err := s.Intend(t.Context(), intent(t, s, action.ModelCall, "bob", "c1", 1, -1))
		if err != nil {
			t.Fatal(err)
		}
		lie := map[string]any{"usage": map[string]any{"input_tokens": int64(math.MaxInt64), "output_tokens": math.Inf(1), "reasoning_tokens": int64(-5), "cache_read_tokens": "9"}}
		if err := s.Settle(t.Context(), record.Outcome{Intent: r.ID, Status: record.Done, Result: record.Result{Cost: math.MaxInt64, Data: lie}}); err != nil {
			t.Fatal(err)
		}
	}
	spent, reserved, err := s.Budget(t.Context(), "bob")
	if spent != 1<<53 || reserved != 0 || err != nil {
		t.Errorf("spent %d, reserved %d %v", spent, reserved, err)
	}
	if c, err := s.Costs(t.Context(), store.ByAgent, time.Time{}); err != nil || len(c) != 1 || c[0].Cost != 3<<53 || c[0].Input != 3<<40 || c[0].Output+c[0].Reasoning+c[0].CacheRead != 0 {
		t.Errorf("%+v %v", c, err)
	}
	in := intent(t, s, action.ModelCall, "bob", "c1", math.MaxInt64, math.MaxInt64)
	_, err = s.Intend(t.Context(), in)
	wantKind(t, err, fault.Budget, "beyond what can be accounted for")
	_, err = s.Intend(t.Context(), intent(t, s, action.ModelCall, "bob", "c1", 1, 1<<53))
	wantKind(t, err, fault.Budget, "does not fit")
}
