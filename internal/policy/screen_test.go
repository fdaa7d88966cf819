package policy

import (
	"slices"
	"strings"
	"testing"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// screenedSettings reads what a test put into the argument "said".
func screenedSettings() Settings {
	s := nightwatch()
	s.Screen = func(a action.Action) Screening {
		if a.Arg("said") == "" {
			return Screening{}
		}
		return Screening{Items: strings.Fields(a.Arg("said")), Because: "the word DROP was found", Findings: []record.Finding{{Rule: "keyword.dangerous", Severity: 4}}}
	}
	s.Sinks = append(s.Sinks,
		Sink{Kind: action.ToolCall, Target: "client/*", Clearance: label.New(label.Internal, label.Foreign, 0), Origin: "proxy.tools_clearance", Endorsed: true},
		Sink{Kind: action.ToolCall, Target: "plain/*", Clearance: label.New(label.Internal, label.Foreign, 0), Origin: "test"})
	s.Results = append(s.Results, Result{Kind: action.ToolCall, Target: "client/*", Label: label.New(label.Public, label.Foreign, 0)},
		Result{Kind: action.ToolCall, Target: "plain/*", Label: label.New(label.Public, label.Foreign, 0)})
	return s
}

func TestScreening(t *testing.T) {
	e := engine(t, screenedSettings())
	for name, tt := range map[string]struct {
		kind    action.Kind
		target  string
		said    string
		yes     int
		verdict record.Verdict
		rule    string
	}{
		"clean":                       {action.ToolCall, "client/Bash", "", 0, record.Allow, "allow.outward"},
		"blocked":                     {action.ToolCall, "client/Bash", "dangerous_keywords.block", 0, record.Deny, "security.dangerous_keywords"},
		"nobody can approve a block":  {action.ToolCall, "client/Bash", "dangerous_keywords.block", 1, record.Deny, "security.dangerous_keywords"},
		"asked":                       {action.ToolCall, "client/Bash", "suspicious_keywords.ask", 0, record.Ask, "security.suspicious_keywords.ask"},
		"approved":                    {action.ToolCall, "client/Bash", "suspicious_keywords.ask", 1, record.Allow, "allow.outward"},
		"block beats ask":             {action.ToolCall, "client/Bash", "detectors.ask moderation.block", 1, record.Deny, "moderation"},
		"commands too":                {action.Exec, "s", "unscanned.block", 0, record.Deny, "security.unscanned_action"},
		"no tool without a listing":   {action.ToolCall, "other/Bash", "", 0, record.Deny, "R3a"},
		"no endorsement, no foreign":  {action.ToolCall, "plain/Bash", "", 0, record.Deny, "R3a"},
		"what is not read is not hit": {action.SessionStart, "auditor", "dangerous_keywords.block", 0, record.Allow, "allow.session.start"},
	} {
		t.Run(name, func(t *testing.T) {
			q := ask("night", tt.kind, tt.target, internalForeign, map[string]any{"said": tt.said, "script": "ls"})
			q.Approvals = map[string]int{"owner": tt.yes}
			d := e.Decide(q)
			if d.Verdict != tt.verdict || !slices.Contains(d.Rules, tt.rule) {
				t.Errorf("%v by %v: %s", d.Verdict, d.Rules, d.Because)
			}
			if strings.HasPrefix(tt.rule, "security.dangerous") && (!strings.Contains(d.Because, "DROP") || len(d.Advice) != 1) {
				t.Errorf("because %q, advice %v", d.Because, d.Advice)
			}
		})
	}
}
