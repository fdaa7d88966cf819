package policy

import (
	"strings"
	"testing"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

var (
	internalForeign = label.New(label.Internal, label.Foreign, 0)
	internalMember  = label.New(label.Internal, label.Member, 0)
	publicForeign   = label.New(label.Public, label.Foreign, 0)
	noon            = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
)

func nightwatch() Settings {
	return Settings{
		Profiles: map[string]Profile{
			"auditor": {Exec: true, View: internalForeign},
			"desk":    {View: internalForeign, Writable: true},
		},
		Agents: map[string]Agent{
			"night":  {Profile: "auditor", Ceiling: internalForeign, Clearance: internalForeign, Endpoint: label.Unlabelled},
			"manual": {Profile: "auditor", Protection: ProtectManual, Ceiling: internalForeign, Clearance: internalForeign, Endpoint: label.Unlabelled},
			"auto":   {Profile: "auditor", Protection: ProtectAuto, Ceiling: internalForeign, Clearance: internalForeign, Endpoint: label.Unlabelled},
			"desk":   {Profile: "desk", Ceiling: internalForeign, Clearance: internalForeign, Endpoint: label.Unlabelled},
			"low":    {Profile: "auditor", Ceiling: publicForeign, Clearance: publicForeign, Endpoint: label.Unlabelled},
		},
		Sinks: []Sink{
			{Kind: action.ModelCall, Target: "builtin/*", Clearance: internalForeign, Origin: "endpoints.builtin.clearance"},
			{Kind: action.ModelCall, Target: "anthropic/*", Clearance: publicForeign, Origin: "endpoints.anthropic.clearance"},
			{Kind: action.MessageSend, Target: "mail/*", Clearance: internalForeign, Origin: "mail"},
			{Kind: action.MessageSend, Target: "mail/press@example.org", Clearance: publicForeign, Origin: "mail.press"},
			{Kind: action.ToolCall, Target: "clock/now", Clearance: publicForeign, Origin: "tools.clock"},
		},
		Results:         []Result{{Kind: action.ToolCall, Target: "clock/now", Label: label.Bottom}},
		AllowedPaths:    []string{"/srv/data"},
		BlockedCommands: []string{"rm -rf"},
		Groups:          []string{"finance"},
		Commands: func(script string) Commands {
			if strings.Contains(script, "rm -rf") {
				return Commands{Programs: []string{"rm"}, Blocked: []string{"rm -rf"}, Findings: []record.Finding{{Rule: "command.blocked"}}}
			}
			return Commands{Programs: strings.Fields(script)[:1]}
		},
	}
}

func engine(t testing.TB, s Settings) *Engine {
	t.Helper()
	e, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func ask(agent string, kind action.Kind, target string, context label.Label, args map[string]any) record.Question {
	return record.Question{
		Action: action.Action{
			Kind: kind, Target: target, Args: args, Agent: agent, Session: "s", Context: "c", Principal: principal.ForAgent(agent),
		},
		Snapshot: record.Snapshot{Context: context, Ceiling: internalForeign},
		Args:     context, Now: noon,
	}
}

func script(s string) map[string]any { return map[string]any{"script": s} }

func TestDecide(t *testing.T) {
	operator := func(q record.Question) record.Question {
		q.Action.Principal = principal.TheOperator("ann")
		return q
	}
	exec := func(agent, s string) record.Question {
		return ask(agent, action.Exec, "s", internalForeign, script(s))
	}
	file := func(kind action.Kind, path string) record.Question {
		return ask("desk", kind, path, internalMember, map[string]any{"path": path})
	}
	spawn := func(agent, ceiling string) record.Question {
		q := operator(ask("", action.AgentSpawn, agent, label.Bottom, map[string]any{"ceiling": ceiling, "label": "public/member", "context": "c"}))
		q.Snapshot.Ceiling = label.Bottom
		return q
	}
	with := func(q record.Question, change func(*record.Question)) record.Question { change(&q); return q }
	grant := record.Grant{ID: "g1", Agent: "manual", Kind: action.Exec, Target: "*", Expires: noon.Add(time.Hour)}
	tests := map[string]struct {
		q       record.Question
		verdict record.Verdict
		rule    string
		because string
	}{
		"own session":            {ask("night", action.SessionStart, "auditor", internalMember, nil), record.Allow, "allow.session.start", ""},
		"another profile":        {ask("night", action.SessionStart, "desk", internalMember, nil), record.Deny, "default", "context.target == context.agent.profile"},
		"exec":                   {exec("night", "ls"), record.Allow, "allow.exec", ""},
		"exec without profile":   {exec("desk", "ls"), record.Deny, "security.enable_command_execution", "security.enable_command_execution: false"},
		"unknown agent":          {exec("eve", "ls"), record.Deny, "agent.unknown", "not configured"},
		"empty agent":            {ask("", action.Exec, "s", publicForeign, script("ls")), record.Deny, "agent.unknown", ""},
		"speaks for another":     {with(exec("night", "ls"), func(q *record.Question) { q.Action.Principal.Name = "auto" }), record.Deny, "default", "context.agent.self"},
		"nobody behind it":       {with(exec("night", "ls"), func(q *record.Question) { q.Action.Principal = principal.Principal{} }), record.Deny, "default", ""},
		"impossible principal":   {with(exec("night", "ls"), func(q *record.Question) { q.Action.Principal.Kind = 99 }), record.Deny, "", ""},
		"blocked command":        {exec("night", "rm -rf /"), record.Deny, "security.blocked_commands", "(rm -rf)"},
		"manual asks":            {exec("manual", "ls"), record.Ask, "commandProtection.manual", "manual"},
		"manual approved":        {with(exec("manual", "ls"), func(q *record.Question) { q.Approvals = map[string]int{"owner": 1} }), record.Allow, "allow.exec", ""},
		"manual wrong group":     {with(exec("manual", "ls"), func(q *record.Question) { q.Approvals = map[string]int{"finance": 9} }), record.Ask, "commandProtection.manual", ""},
		"manual by grant":        {with(exec("manual", "ls"), func(q *record.Question) { q.Snapshot.Grants = []record.Grant{grant} }), record.Allow, "grant:g1", "g1"},
		"grant never beats deny": {with(exec("manual", "rm -rf /"), func(q *record.Question) { q.Snapshot.Grants = []record.Grant{grant} }), record.Deny, "security.blocked_commands", ""},
		"expired grant": {with(exec("manual", "ls"), func(q *record.Question) {
			q.Snapshot.Grants = []record.Grant{grant}
			q.Now = noon.Add(2 * time.Hour)
		}), record.Ask, "commandProtection.manual", ""},
		"ask is not reported when a deny remains": {exec("manual", "rm -rf /"), record.Deny, "security.blocked_commands", ""},
		"operator typed it":                       {operator(exec("manual", "ls")), record.Allow, "allow.exec", ""},
		"auto unreviewed":                         {exec("auto", "ls"), record.Ask, "commandProtection.auto", ""},
		"auto passed":                             {ask("auto", action.Exec, "s", internalForeign, map[string]any{"script": "ls", "review": "pass"}), record.Allow, "allow.exec", ""},
		"auto doubted":                            {ask("auto", action.Exec, "s", internalForeign, map[string]any{"script": "ls", "review": "ask"}), record.Ask, "commandProtection.auto", ""},
		"a review cannot lift a block":            {ask("auto", action.Exec, "s", internalForeign, map[string]any{"script": "rm -rf x", "review": "pass"}), record.Deny, "security.blocked_commands", ""},
		"read only":                               {with(exec("night", "ls"), func(q *record.Question) { q.Snapshot.ReadOnly = true }), record.Deny, "readOnlyMode", "readOnlyMode"},
		"read only model": {with(ask("night", action.ModelCall, "builtin/auditor", internalMember, nil), func(q *record.Question) {
			q.Snapshot.ReadOnly = true
		}), record.Allow, "allow.model.call", ""},
		"local model":           {ask("night", action.ModelCall, "builtin/auditor", internalForeign, nil), record.Allow, "allow.model.call", ""},
		"remote model, public":  {ask("night", action.ModelCall, "anthropic/opus", publicForeign, nil), record.Allow, "allow.model.call", ""},
		"remote model, too low": {ask("night", action.ModelCall, "anthropic/opus", internalForeign, nil), record.Deny, "R3c", "set endpoints.anthropic.clearance: internal"},
		"unlisted model":        {ask("night", action.ModelCall, "acme/x", internalForeign, nil), record.Deny, "R3c", "endpoints.acme.clearance: internal"},
		"argument above sink": {with(ask("night", action.ModelCall, "builtin/auditor", internalForeign, nil), func(q *record.Question) {
			q.Action.ArgLabels = map[string]label.Label{"doc": label.New(label.Secret, label.Member, 0)}
		}), record.Deny, "R3c", "secret"},
		"above clearance": {ask("low", action.Exec, "s", publicForeign, script("ls")), record.Deny, "R1a", "agents.low.clearance: internal"},
		"above ceiling": {with(exec("night", "ls"), func(q *record.Question) {
			q.Snapshot.Context, q.Args, q.Snapshot.Ceiling = publicForeign, publicForeign, publicForeign
		}), record.Deny, "R1b", "ceiling"},
		"send from foreign":        {ask("night", action.MessageSend, "mail/bob", internalForeign, nil), record.Deny, "R3a", "integrity member"},
		"send":                     {ask("night", action.MessageSend, "mail/bob", internalMember, nil), record.Allow, "allow.outward", ""},
		"send, specific sink wins": {ask("night", action.MessageSend, "mail/press@example.org", internalMember, nil), record.Deny, "R3c", "mail.press"},
		"send, foreign recipient": {with(ask("night", action.MessageSend, "mail/bob", internalMember, nil), func(q *record.Question) {
			q.Action.ArgLabels = map[string]label.Label{"recipient": publicForeign}
		}), record.Deny, "R3b", "recipient"},
		"send, foreign body": {with(ask("night", action.MessageSend, "mail/bob", internalMember, nil), func(q *record.Question) {
			q.Action.ArgLabels = map[string]label.Label{"body": publicForeign}
		}), record.Allow, "allow.outward", ""},
		"unlisted recipient": {ask("night", action.MessageSend, "sms/1", label.New(label.Public, label.Member, 0), nil), record.Deny, "default", "context.sink.listed"},
		"unlisted tool":      {ask("night", action.ToolCall, "x/y", label.Bottom, nil), record.Deny, "R1a", ""},
		"listed tool":        {ask("night", action.ToolCall, "clock/now", label.Bottom, nil), record.Allow, "allow.outward", ""},
		"file":               {file(action.FileRead, "/srv/data/a"), record.Allow, "allow.file.read", ""},
		"file itself":        {file(action.FileWrite, "/srv/data"), record.Allow, "allow.file.write", ""},
		"file beside":        {file(action.FileRead, "/srv/database"), record.Deny, "security.allowed_file_paths", ""},
		"file climbs":        {file(action.FileRead, "/srv/data/../../etc/passwd"), record.Deny, "security.allowed_file_paths", ""},
		"file relative":      {file(action.FileRead, "../../../etc/passwd"), record.Deny, "security.allowed_file_paths", ""},
		"file shown is not read": {with(file(action.FileRead, "/srv/data/a"), func(q *record.Question) {
			q.Action.Target = "/srv/data/b"
		}), record.Deny, "security.allowed_file_paths", ""},
		"write unwritable": {ask("night", action.FileWrite, "/srv/data/a", internalMember, map[string]any{"path": "/srv/data/a"}), record.Deny, "default", "writable"},
		"spawn":            {spawn("night", "internal/foreign"), record.Allow, "allow.operator", ""},
		"spawn too high":   {spawn("night", "secret/foreign"), record.Deny, "R6", ""},
		"spawn unknown":    {spawn("eve", "public/foreign"), record.Deny, "R6", "not configured"},
		"spawn by agent":   {ask("night", action.AgentSpawn, "auto", internalMember, map[string]any{"ceiling": "internal", "label": "internal/member"}), record.Deny, "R6", "may not spawn"},
		"stop":             {operator(ask("", action.AgentStop, "night", label.Bottom, nil)), record.Allow, "allow.operator", ""},
		"lower nothing":    {operator(ask("", action.DataLower, "d1", label.Bottom, nil)), record.Deny, "R8.exact", "names its item"},
		"unknown kind":     {ask("night", "fly", "x", label.Bottom, nil), record.Deny, "kind.unknown", ""},
		"impossible label": {ask("night", action.Exec, "s", label.Label{Level: 9}, script("ls")), record.Deny, "policy.error", ""},
	}
	e := engine(t, nightwatch())
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := e.Decide(tt.q)
			if d.Verdict != tt.verdict || len(d.Rules) == 0 || tt.rule != "" && d.Rules[0] != tt.rule || !strings.Contains(d.Because, tt.because) {
				t.Errorf("got %v by %v: %s\nwant %v by %s with %q", d.Verdict, d.Rules, d.Because, tt.verdict, tt.rule, tt.because)
			}
			if d.Because == "" {
				t.Error("no sentence")
			}
			x := e.Explain(tt.q)
			if x.Decision.Verdict != d.Verdict || (x.Remedy == "") != (d.Verdict == record.Allow) {
				t.Errorf("explanation: %v, remedy %q", x.Decision.Verdict, x.Remedy)
			}
		})
	}
}

// TestResultLabel fixes what R4 says for the kinds that matter now.
func TestResultLabel(t *testing.T) {
	e := engine(t, nightwatch())
	tests := map[string]struct {
		q    record.Question
		want label.Label
	}{
		"exec brings the view":                 {ask("night", action.Exec, "s", label.Bottom, script("ls")), internalForeign},
		"a model's words are not signed":       {ask("night", action.ModelCall, "builtin/x", label.Bottom, nil), label.New(label.Public, label.Member, 0)},
		"a model's words keep the context":     {ask("night", action.ModelCall, "builtin/x", internalForeign, nil), internalForeign},
		"an undescribed tool brings the worst": {ask("night", action.HTTPRequest, "https://x", label.Bottom, nil), label.Bottom},
	}
	for name, tt := range tests {
		if d := e.Decide(tt.q); d.ResultLabel != tt.want {
			t.Errorf("%s: %v (%v by %v), want %v", name, d.ResultLabel, d.Verdict, d.Rules, tt.want)
		}
	}
}
