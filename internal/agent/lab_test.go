package agent_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/agent"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/llm"
	"sallyport/internal/record"
)

var internal = label.New(label.Internal, label.Foreign, 0)

// lab is a world around a real gate: a ledger in memory, a policy and
// executors that a test scripts.
type lab struct {
	t      *testing.T
	mu     sync.Mutex
	now    func() time.Time
	policy func(q record.Question) record.Decision
	model  func(ctx context.Context, req llm.Request) (llm.Response, error)
	shell  func(ctx context.Context, script string) (string, record.ExecResult, error)
	left   func() (int, error) // Budget.MaxTokens

	requests []llm.Request
	scripts  []string
	actions  []action.Action
	events   []record.Event
	open     int // intents that are not settled
	labels   map[string]label.Label
	note     string
	noteL    label.Label
	reports  []string
	cwd      string
	screen   *screen
	world    *world // what an organisation has; nil for none
	bits     map[string]int
	ceilings map[string]label.Label
}

func newLab(t *testing.T, replies ...any) *lab {
	l := &lab{
		t: t, now: func() time.Time { return time.Unix(1700000000, 0) }, labels: map[string]label.Label{},
		bits: map[string]int{}, ceilings: map[string]label.Label{},
		policy: func(q record.Question) record.Decision {
			return record.Decision{Verdict: record.Allow, Rules: []string{"r"}, ResultLabel: internal.Join(q.Args)}
		},
		left: func() (int, error) { return 4096, nil }, cwd: "/home/sarah", screen: &screen{},
	}
	l.shell = l.tinyShell
	l.model = l.replay(replies)
	return l
}

// raise gives the results of a kind a label of their own.
func (l *lab) raise(kind action.Kind, to label.Label) {
	calm := l.policy
	l.policy = func(q record.Question) record.Decision {
		d := calm(q)
		if q.Action.Kind == kind {
			d.ResultLabel = d.ResultLabel.Join(to)
		}
		return d
	}
}

// replay answers with texts, errors and functions, then with pauses.
func (l *lab) replay(replies []any) func(context.Context, llm.Request) (llm.Response, error) {
	return func(ctx context.Context, req llm.Request) (llm.Response, error) {
		if len(replies) == 0 {
			return llm.Response{Text: "pause 3600", Stop: llm.StopEnd}, nil
		}
		next := replies[0]
		replies = replies[1:]
		switch r := next.(type) {
		case string:
			return llm.Response{Text: r, Stop: llm.StopEnd}, nil
		case llm.Response:
			return r, nil
		case error:
			return llm.Response{}, r
		case func(context.Context) (llm.Response, error):
			return r(ctx)
		}
		return llm.Response{}, fmt.Errorf("the test has a reply of type %T", next)
	}
}

// tinyShell knows cd, echo, printf-like fixed outputs and false.
func (l *lab) tinyShell(_ context.Context, script string) (string, record.ExecResult, error) {
	var out strings.Builder
	exit := 0
	for line := range strings.Lines(script) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "cd" && len(f) == 2:
			if l.cwd = f[1]; !path.IsAbs(f[1]) {
				l.cwd = "/" + f[1]
			}
		case f[0] == "echo":
			out.WriteString(strings.Join(f[1:], " ") + "\n")
		case f[0] == "pwd":
			out.WriteString(l.cwd + "\n")
		case f[0] == "false":
			exit = 1
		default:
			out.WriteString("bash: " + f[0] + ": command not found\n")
			exit = 127
		}
	}
	return out.String(), record.ExecResult{Exit: exit, Cwd: l.cwd, Total: int64(out.Len())}, nil
}

func (l *lab) Snapshot(_ context.Context, s record.Scope) (record.Snapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.Agent == "" {
		return record.Snapshot{Context: label.Bottom, Ceiling: label.Unlabelled}, nil
	}
	cl, ok := l.labels[s.Context]
	if !ok {
		return record.Snapshot{}, fault.New("ledger", fault.NotFound, "no context %q", s.Context)
	}
	return record.Snapshot{Context: cl, Ceiling: l.ceilings[s.Context], Bits: l.bits[s.Context]}, nil
}

func (l *lab) Intend(_ context.Context, in record.Intent) (record.Receipt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.actions = append(l.actions, in.Action)
	if in.Decision.Verdict == record.Allow {
		if f := in.Fork; f != nil {
			if f.Parent != "" && l.bits[f.Parent] < f.Bits || l.world != nil && l.world.taken(f.Instruction) {
				return record.Receipt{}, fault.New("ledger", fault.Denied, "the ledger refuses this fork")
			}
			if f.Parent != "" {
				l.bits[f.Parent] -= f.Bits
			}
			l.labels[f.Context], l.ceilings[f.Context], l.bits[f.Context] = f.Label, f.Ceiling, f.Bits
		}
		l.bits[in.Action.Context] -= in.Bits
		l.open++
		if in.Fork == nil {
			l.labels[in.Action.Context] = l.labels[in.Action.Context].Join(in.Decision.ResultLabel)
		}
	}
	return record.Receipt{ID: int64(len(l.actions))}, nil
}

func (l *lab) Settle(ctx context.Context, _ record.Outcome) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	return ctx.Err()
}

func (l *lab) Decide(q record.Question) record.Decision { return l.policy(q) }
func (l *lab) SetDigest() string                        { return "set" }

func (l *lab) Find(context.Context, action.Digest) ([]record.Approval, error) { return nil, nil }

func (l *lab) Await(context.Context, record.ApprovalRequest) ([]record.Approval, error) {
	return nil, fault.New("ask", fault.NeedsAsk, "nobody is here to approve")
}

func (l *lab) Perform(ctx context.Context, p *gate.Permit) (record.Result, error) {
	a, err := p.Take()
	if err != nil {
		return record.Result{}, err
	}
	switch a.Kind {
	case action.ModelCall:
		req, err := llm.FromArgs(a.Args)
		if err != nil {
			return record.Result{}, err
		}
		l.requests = append(l.requests, req)
		res, err := l.model(ctx, req)
		return record.Result{Output: res.Text, Payload: res, Cost: 1000}, err
	case action.Exec:
		if a.Target != a.Session || a.Session == "" {
			return record.Result{}, errors.New("exec does not name its session")
		}
		l.scripts = append(l.scripts, a.Arg("script"))
		out, done, err := l.shell(ctx, a.Arg("script"))
		return record.Result{Output: out, Payload: done}, err
	case action.SessionStart:
		return record.Result{Output: "sandbox: tier full"}, nil
	case action.AgentSpawn:
		if l.world == nil {
			return record.Result{}, nil
		}
		return l.world.perform(a)
	default:
		if l.world != nil {
			return l.world.perform(a)
		}
		return record.Result{}, nil
	}
}

func (l *lab) Append(_ context.Context, e record.Event) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	return int64(len(l.events)), nil
}

func (l *lab) Memory(_ context.Context, _ string, slot label.Label) (string, bool, error) {
	if slot != l.noteL {
		return "", false, nil
	}
	return l.note, l.note != "", nil
}

func (l *lab) SaveMemory(_ context.Context, _, note string, from, slot label.Label) error {
	if !from.FlowsTo(slot) {
		return fault.New("store", fault.Denied, "R5")
	}
	l.note, l.noteL = note, slot
	return nil
}

func (l *lab) Remaining(context.Context, string) (record.Micros, error) { return 2_000_000, nil }

func (l *lab) MaxTokens(string, record.Micros, llm.Request) (int, error) { return l.left() }

func (l *lab) New(time.Time) ([]string, error) { return l.reports, nil }

func spec() agent.Spec {
	return agent.Spec{
		Username: "sarah", Title: "Security Engineer", Model: "fake/model", Prompt: "Guard this system.",
		TokenMax: 6000, Profile: "auditor", Home: "/home/sarah", SpendLimit: 2_000_000,
		Label: internal, Ceiling: label.New(label.Confidential, label.Foreign, 0), Memory: internal,
	}
}

func (l *lab) deps() agent.Deps {
	l.t.Helper()
	execs := map[action.Kind]gate.Executor{}
	for _, k := range []action.Kind{action.ModelCall, action.Exec, action.SessionStart, action.AgentSpawn} {
		execs[k] = l
	}
	c := gate.Config{Ledger: l, Policy: l, Approver: l, Executors: execs, Now: l.now}
	d := agent.Deps{Journal: l, Notes: l, Budget: l, Reports: l, Console: l.screen, Now: l.now}
	if l.world != nil {
		for _, k := range []action.Kind{action.DataRead, action.DataWrite, action.DataExtract, action.DataLower, action.MessageSend} {
			execs[k] = l
		}
		c.References, d.Instructions = l.world, l.world
	}
	g, err := gate.New(c)
	if err != nil {
		l.t.Fatal(err)
	}
	d.Gate = g
	return d
}

// once runs one unattended patrol.
func (l *lab) once(s agent.Spec) (agent.Summary, error) {
	l.t.Helper()
	sum, err := agent.Run(l.t.Context(), s, l.deps(), agent.Options{Once: true})
	l.settled()
	return sum, err
}

// settled checks that everything that was started has ended in the ledger.
func (l *lab) settled() {
	l.t.Helper()
	if l.open != 0 {
		l.t.Errorf("%d intents were never settled", l.open)
	}
}

// eventsOf lists the data of all events of a type.
func (l *lab) eventsOf(kind string) []map[string]any {
	var out []map[string]any
	for _, e := range l.events {
		if e.Type == kind {
			out = append(out, e.Data)
		}
	}
	return out
}

// last gives the last user message of the n-th model call, counted from 0.
func (l *lab) last(n int) string {
	l.t.Helper()
	if n >= len(l.requests) {
		l.t.Fatalf("there were %d model calls, none with index %d", len(l.requests), n)
	}
	msgs := l.requests[n].Messages
	return msgs[len(msgs)-1].Text
}

// screen is an operator who types prepared answers.
type screen struct {
	mu      sync.Mutex
	answers []any // string = a line; agent.Answer; func() any
	prompts []string
	printed []string
	status  []agent.Status
}

func (s *screen) Prompt(ctx context.Context, text string, _ *time.Duration, _ <-chan struct{}) (string, agent.Answer, error) {
	s.mu.Lock()
	s.prompts = append(s.prompts, text)
	if len(s.answers) == 0 {
		s.mu.Unlock()
		return "", agent.EOF, nil
	}
	next := s.answers[0]
	s.answers = s.answers[1:]
	s.mu.Unlock()
	if f, ok := next.(func()); ok {
		f()
		<-ctx.Done()
		return "", agent.EOF, context.Cause(ctx)
	}
	if a, ok := next.(agent.Answer); ok {
		return "", a, nil
	}
	return next.(string), agent.Line, nil
}

func (s *screen) Print(_ agent.Voice, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.printed = append(s.printed, text)
}

func (s *screen) Status(st agent.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = append(s.status, st)
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.printed, "\n")
}
