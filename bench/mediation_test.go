package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/policy"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// BenchmarkMediation is everything that Sallyport adds to one action: snapshot,
// labels, the shipped settings' policy, looking for approvals, a durable intent
// and a durable outcome. The action itself does nothing.
func BenchmarkMediation(b *testing.B) {
	a, st := installation(b, b.TempDir())
	g := monitor(b, a, st, map[action.Kind]gate.Executor{
		action.AgentSpawn: noop{}, action.SessionStart: noop{}, action.Exec: noop{},
	})
	b.Run("goroutines=1", func(b *testing.B) {
		spawn(b, g, b.Name())
		act := listing(b.Name())
		var took samples
		for b.Loop() {
			start := time.Now()
			if _, err := g.Do(context.Background(), act); err != nil {
				b.Fatal(err)
			}
			took.since(start)
		}
		took.report(b, "", time.Microsecond)
	})
	for _, n := range []int{64, 1024} {
		b.Run(fmt.Sprintf("goroutines=%d", n), func(b *testing.B) {
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprintf("%s-%d-%d", b.Name(), b.N, i)
			}
			each(n, n, func(i int) error { spawn(b, g, names[i]); return nil })
			lanes := make([]samples, n)
			b.ResetTimer()
			err := each(n, b.N, func(i int) error {
				start := time.Now()
				_, err := g.Do(context.Background(), listing(names[i]))
				lanes[i].since(start)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "actions/s")
			join(lanes).report(b, "", time.Microsecond)
		})
	}
}

// each runs f in n goroutines until it has run total times; f gets the number
// of its goroutine. With total equal to n each goroutine runs it once.
func each(n, total int, f func(lane int) error) error {
	var left atomic.Int64
	left.Store(int64(total))
	errs := make(chan error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if total == n {
				if err := f(i); err != nil {
					errs <- err
				}
				return
			}
			for left.Add(-1) >= 0 {
				if err := f(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func join(lanes []samples) samples {
	var all samples
	for _, l := range lanes {
		all = append(all, l...)
	}
	return all
}

// thousand is a site's own rules: 50 about commands, whose conditions have to
// be evaluated for every command, and 950 about tools by name.
func thousand() string {
	var s strings.Builder
	for i := range 50 {
		fmt.Fprintf(&s, "@id(\"exec%d\") forbid (principal, action == Action::\"exec\", resource) when { context.args has script && context.args.script like \"*needle%d*\" && context.label.level >= 3 };\n", i, i)
	}
	for i := range 950 {
		fmt.Fprintf(&s, "@id(\"tool%d\") forbid (principal, action == Action::\"tool.call\", resource == Tool::\"server/tool%d\") when { context.label.level > 1 && context.hist.calls > %d };\n", i, i%95, i)
	}
	return s.String()
}

// BenchmarkDecision1000 decides with 1,000 policies of the operator beside the
// generated ones.
func BenchmarkDecision1000(b *testing.B) {
	rules, err := policy.New(policy.Settings{
		Profiles: map[string]policy.Profile{"auditor": {Exec: true, View: ceiling}},
		Agents: map[string]policy.Agent{
			"sarah": {Profile: "auditor", Ceiling: ceiling, Clearance: ceiling, Endpoint: label.Unlabelled, Spawns: []string{"scout"}},
			"scout": {Profile: "auditor", Ceiling: birth, Clearance: birth, Endpoint: label.Unlabelled},
		},
		Sinks: []policy.Sink{
			{Kind: action.ModelCall, Target: "builtin/auditor", Clearance: ceiling},
			{Kind: action.MessageSend, Target: "mail/scout/core", Clearance: ceiling, Agents: []string{"sarah"}},
		},
		Extra: []policy.Source{{Name: "site.cedar", Text: thousand()}},
	})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	ask := func(kind action.Kind, target string, args map[string]any) record.Question {
		return record.Question{
			Action:   action.Action{Kind: kind, Target: target, Agent: "sarah", Session: "s", Context: "c", Args: args, Principal: principal.ForAgent("sarah")},
			Snapshot: record.Snapshot{Context: ceiling, Ceiling: ceiling}, Args: ceiling, Now: now,
		}
	}
	for _, q := range []record.Question{
		ask(action.Exec, "s", map[string]any{"script": "ss -tlnp | sort"}),
		ask(action.ToolCall, "server/tool7", map[string]any{}),
		ask(action.ModelCall, "builtin/auditor", map[string]any{"max_tokens": int64(1000)}),
		referring(ask(action.DataRead, "plan", map[string]any{"item": "plan", "version": int64(1)})),
		referring(ask(action.DataExtract, "plan", map[string]any{
			"item": "plan", "version": int64(1), "schema": "bool", "bits": int64(1), "value": "true", "child": "c2",
		})),
		ask(action.MessageSend, "mail/scout/core", map[string]any{
			"recipient": "scout", "slot": "core", "sha256": strings.Repeat("0", 64), "bytes": int64(10),
		}),
		ask(action.AgentSpawn, "scout", map[string]any{
			"agent": "scout", "context": "c2", "label": ceiling.String(), "ceiling": ceiling.String(), "bits": int64(0),
		}),
	} {
		b.Run(string(q.Action.Kind), func(b *testing.B) {
			took := make(samples, 0, 1<<18)
			for b.Loop() {
				start := time.Now()
				rules.Decide(q)
				took.since(start)
			}
			took.report(b, "", time.Microsecond)
		})
	}
}

// referring says what an item is labelled, as the gate does before it asks.
func referring(q record.Question) record.Question {
	q.Action.ArgLabels = map[string]label.Label{"item": ceiling}
	return q
}

// BenchmarkLabelJoin joins labels with compartments. Each join depends on the
// one before, so that the loop cannot be thinned out.
func BenchmarkLabelJoin(b *testing.B) {
	ls := [4]label.Label{
		label.New(label.Public, label.Signed, 1), label.New(label.Internal, label.Member, 1<<5|1<<40),
		label.New(label.Confidential, label.Foreign, 0), label.New(label.Secret, label.Member, 1<<63),
	}
	sum := label.Bottom
	for i := 0; b.Loop(); i++ {
		sum = sum.Join(ls[i&3])
	}
	if sum == label.Bottom {
		b.Fatal("no join happened")
	}
}
