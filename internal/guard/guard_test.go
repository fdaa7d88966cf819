package guard_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"mvdan.cc/sh/v3/syntax"
	"pgregory.net/rapid"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/guard"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// door is a gate that writes down what passed, and refuses one kind.
type door struct {
	passed []action.Action
	refuse action.Kind
	events []record.Event
	deaf   bool // the journal cannot write
}

func (d *door) Do(_ context.Context, a action.Action) (record.Result, error) {
	if a.Kind == d.refuse {
		return record.Result{}, fault.New("gate", fault.Denied, "%s is refused", a.Kind)
	}
	d.passed = append(d.passed, a)
	if a.Kind == action.Exec {
		return record.Result{Payload: record.ExecResult{Exit: 7}}, nil
	}
	return record.Result{Output: "opened"}, nil
}

func (d *door) Append(_ context.Context, e record.Event) (int64, error) {
	if d.deaf {
		return 0, errors.New("disk full")
	}
	d.events = append(d.events, e)
	return 1, nil
}

func run(t *testing.T, d *door) (guard.Summary, []string, error) {
	t.Helper()
	var heard []string
	sum, err := guard.Run(t.Context(), guard.Spec{
		Agent: "coder", Session: "s-1", Profile: "shell", Argv: []string{"sh", "-c", "echo it's"}, Dir: "/p", Terminal: true,
		Label: label.New(label.Public, label.Member, 0), Ceiling: label.New(label.Internal, label.Foreign, 0), Operator: "ann",
		SessionArgs: map[string]any{"view": "workspace"},
	}, guard.Deps{Gate: d, Journal: d, Now: time.Now, Opened: func(r record.Result) { heard = append(heard, r.Output) }})
	return sum, heard, err
}

func TestRunPassesTheGateInOrder(t *testing.T) {
	d := &door{}
	sum, heard, err := run(t, d)
	if err != nil || sum.Exit != 7 || !sum.Opened {
		t.Fatalf("summary %+v, error %v", sum, err)
	}
	var kinds []action.Kind
	for _, a := range d.passed {
		kinds = append(kinds, a.Kind)
	}
	if diff := cmp.Diff([]action.Kind{action.AgentSpawn, action.SessionStart, action.Exec}, kinds); diff != "" {
		t.Error(diff)
	}
	exec := d.passed[2]
	if exec.Arg("script") != `sh -c 'echo it'\''s'` || exec.Target != "s-1" || exec.Agent != "coder" || exec.Context != d.passed[0].Args["context"] {
		t.Errorf("exec %+v", exec)
	}
	if diff := cmp.Diff([]any{"sh", "-c", "echo it's"}, exec.Args["argv"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"opened"}, heard); diff != "" {
		t.Error(diff)
	}
	if len(d.events) != 2 || d.events[0].Type != "session.begin" || d.events[1].Type != "session.end" || d.events[1].Data["exit"] != int64(7) {
		t.Errorf("events %+v", d.events)
	}
}

// TestRefusedStopsThere: what comes after a refused action is never asked.
func TestRefusedStopsThere(t *testing.T) {
	for kind, passed := range map[action.Kind]int{action.AgentSpawn: 0, action.SessionStart: 1, action.Exec: 2} {
		d := &door{refuse: kind}
		sum, heard, err := run(t, d)
		if !fault.Is(err, fault.Denied) || len(d.passed) != passed || sum.Exit != -1 || sum.Opened != (passed == 2) || len(heard) != passed/2 {
			t.Errorf("%s refused: %d passed, %+v, %v", kind, len(d.passed), sum, err)
		}
		if len(d.events) != 2 || d.events[1].Data["error"] == nil {
			t.Errorf("%s refused: the end is not recorded: %+v", kind, d.events)
		}
	}
}

func TestNoEvidenceNoEffect(t *testing.T) {
	d := &door{deaf: true}
	if _, _, err := run(t, d); err == nil || len(d.passed) != 0 {
		t.Errorf("%d actions passed although nothing can be recorded; error %v", len(d.passed), err)
	}
}

// TestCommandReadsBack: a shell reads exactly the words that were written.
func TestCommandReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		argv := rapid.SliceOfN(rapid.StringMatching(`[ -~\n]{0,12}`), 1, 5).Draw(t, "argv")
		if rapid.Bool().Draw(t, "assignment") {
			argv[0] = "a=" + argv[0]
		}
		f, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(guard.Command(argv)), "")
		if err != nil || len(f.Stmts) != 1 {
			t.Fatalf("%q: %v", guard.Command(argv), err)
		}
		call, ok := f.Stmts[0].Cmd.(*syntax.CallExpr)
		if !ok || len(call.Args) != len(argv) || len(call.Assigns) > 0 {
			t.Fatalf("%q is no plain command", guard.Command(argv))
		}
		for i, w := range call.Args {
			var got strings.Builder
			for _, p := range w.Parts {
				switch p := p.(type) {
				case *syntax.Lit:
					got.WriteString(strings.NewReplacer(`\'`, `'`).Replace(p.Value))
				case *syntax.SglQuoted:
					got.WriteString(p.Value)
				default:
					t.Fatalf("%q holds a %T", guard.Command(argv), p)
				}
			}
			if got.String() != argv[i] {
				t.Fatalf("word %q reads back as %q", argv[i], got.String())
			}
		}
	})
}
