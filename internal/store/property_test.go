package store_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// model is what the ledger must agree with.
type model struct {
	round    int
	agents   []string
	label    map[string]label.Label
	spent    map[string]record.Micros
	reserved map[string]record.Micros
	nonces   map[string]bool
	open     map[int64]record.Reservation
	allowed  map[string]record.Micros // limits of keys and days, which the agents share
	denied   map[string]int
	stopped  map[string]bool
}

const limit = record.Micros(1000)

func drawLabel(t *rapid.T) label.Label {
	return label.New(label.Level(rapid.IntRange(0, 3).Draw(t, "level")), label.Integrity(rapid.IntRange(0, 2).Draw(t, "integrity")),
		label.Compartments(rapid.Uint64Range(0, 7).Draw(t, "compartments")))
}

// TestLedgerProperties runs random operations of two agents against a model:
// labels only rise, money never passes a limit of agent, key or day and is
// neither lost nor held for ever, also when the process dies, a nonce counts
// once, an intent settles once, a stop holds.
func TestLedgerProperties(t *testing.T) {
	s := open(t, t.TempDir())
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++ // new agents each time: opening a database is what takes long
		m := &model{
			round: round, agents: []string{fmt.Sprint("ann", round), fmt.Sprint("bob", round)},
			label: map[string]label.Label{}, spent: map[string]record.Micros{}, reserved: map[string]record.Micros{},
			nonces: map[string]bool{}, open: map[int64]record.Reservation{}, denied: map[string]int{}, stopped: map[string]bool{},
			allowed: map[string]record.Micros{fmt.Sprint("key:k", round): 700, fmt.Sprint("day:2026-11-21:key:k", round): 500, fmt.Sprint("day:d", round): -1},
		}
		for _, a := range m.agents {
			spawn(t, s, a, "ctx-"+a)
			m.label[a] = label.New(label.Public, label.Member, 0)
		}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			step(t, rt, s, m)
		}
		for _, a := range m.agents {
			snap := snapshot(t, s, a, "ctx-"+a)
			if snap.Context != m.label[a] || snap.Spent != m.spent[a]+m.reserved[a] || snap.Denials != m.denied[a] || (snap.Stopped != "") != m.stopped[a] {
				rt.Fatalf("%s: %+v, model %+v", a, snap, m)
			}
		}
		crash(t, rt, s, m)
		for name, most := range m.allowed {
			spent, reserved, err := s.Budget(t.Context(), name)
			if err != nil || spent != m.spent[name] || reserved != m.reserved[name] || reserved != 0 || (most >= 0 && spent > most) {
				rt.Fatalf("%s: spent %d, reserved %d %v, model %+v", name, spent, reserved, err, m)
			}
		}
	})
	if err := s.CheckTree(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func step(t *testing.T, rt *rapid.T, s *store.Store, m *model) {
	agent := rapid.SampledFrom(m.agents).Draw(rt, "agent")
	switch rapid.IntRange(0, 9).Draw(rt, "op") {
	case 0:
		err := s.RequestStop(t.Context(), agent, "test")
		m.stopped[agent] = true
		if err != nil {
			rt.Fatal(err)
		}
	case 1, 2:
		if err := s.ClearStop(t.Context(), agent); err != nil {
			rt.Fatal(err)
		}
		m.stopped[agent] = false
	case 3, 4:
		for id, r := range m.open {
			cost := record.Micros(rapid.IntRange(0, int(r.Micros)).Draw(rt, "cost"))
			if err := s.Settle(t.Context(), record.Outcome{Intent: id, Status: record.Done, Result: record.Result{Cost: cost}}); err != nil {
				rt.Fatal(err)
			}
			if err := s.Settle(t.Context(), record.Outcome{Intent: id, Status: record.Done}); !fault.Is(err, fault.Conflict) {
				rt.Fatalf("settled twice: %v", err)
			}
			m.settle(r, cost)
			delete(m.open, id)
			break
		}
	case 5:
		crash(t, rt, s, m)
	default:
		intendStep(t, rt, s, m, agent)
	}
}

// accounts gives the names of everything that a reservation is held in.
func accounts(r record.Reservation) []string {
	out := []string{r.Account}
	for _, a := range r.Also {
		out = append(out, a.Account)
	}
	return out
}

func (m *model) settle(r record.Reservation, cost record.Micros) {
	for _, a := range accounts(r) {
		m.spent[a] += cost
		m.reserved[a] -= r.Micros
	}
}

// fits reports whether a reservation is within every limit.
func (m *model) fits(r record.Reservation) bool {
	ok := m.spent[r.Account]+m.reserved[r.Account]+r.Micros <= r.Limit
	for _, a := range r.Also {
		ok = ok && (a.Limit < 0 || m.spent[a.Account]+m.reserved[a.Account]+r.Micros <= a.Limit)
	}
	return ok
}

// crash makes everything that is open that of a process which is gone.
func crash(t *testing.T, rt *rapid.T, s *store.Store, m *model) {
	if len(m.open) == 0 {
		return
	}
	alter(t, filepath.Dir(s.Path()), `UPDATE intents SET owner='4194305:1:gone' WHERE status='open'`)
	flying, err := s.Recover(t.Context())
	if err != nil || len(flying) != len(m.open) {
		rt.Fatalf("recovered %d of %d: %v", len(flying), len(m.open), err)
	}
	for _, f := range flying {
		m.settle(m.open[f.Intent], f.Reserved)
		delete(m.open, f.Intent)
	}
}

func intendStep(t *testing.T, rt *rapid.T, s *store.Store, m *model, agent string) {
	in := intent(t, s, action.ModelCall, agent, "ctx-"+agent, record.Micros(rapid.IntRange(0, 600).Draw(rt, "micros")), limit)
	in.Decision.ResultLabel = drawLabel(rt)
	for _, name := range slices.Sorted(maps.Keys(m.allowed)) {
		if rapid.Bool().Draw(rt, name) {
			in.Reserve.Also = append(in.Reserve.Also, record.Allowance{Account: name, Limit: m.allowed[name]})
		}
	}
	nonce := fmt.Sprintf("n%d-%d", m.round, rapid.IntRange(0, 5).Draw(rt, "nonce"))
	if rapid.Bool().Draw(rt, "approved") { // two people over one nonce
		in.Approvals = []record.Approval{{Nonce: nonce, Person: "p"}, {Nonce: nonce, Person: "q"}}
	}
	if rapid.IntRange(0, 4).Draw(rt, "deny") == 0 {
		in.Decision.Verdict = record.Deny
	}
	stale := rapid.IntRange(0, 5).Draw(rt, "stale") == 0
	if stale {
		in.Revision--
	}
	r, err := s.Intend(t.Context(), in)
	fits := m.fits(in.Reserve)
	used := len(in.Approvals) > 0 && m.nonces[nonce]
	switch {
	case in.Decision.Verdict == record.Deny:
		m.denied[agent]++
		if err != nil {
			rt.Fatal(err)
		}
	case stale:
		if !fault.Is(err, fault.Conflict) {
			rt.Fatalf("stale: %v", err)
		}
	case m.stopped[agent], used:
		m.denied[agent]++
		if !fault.Is(err, fault.Denied) {
			rt.Fatalf("stopped %t, nonce used %t: %v", m.stopped[agent], used, err)
		}
	case !fits:
		m.denied[agent]++
		if !fault.Is(err, fault.Budget) {
			rt.Fatalf("over budget: %v", err)
		}
	case err != nil:
		rt.Fatal(err)
	default:
		if len(in.Approvals) > 0 {
			m.nonces[nonce] = true
		}
		for _, a := range accounts(in.Reserve) {
			m.reserved[a] += in.Reserve.Micros
		}
		m.open[r.ID] = in.Reserve
		m.label[agent] = m.label[agent].Join(in.Decision.ResultLabel)
	}
}
