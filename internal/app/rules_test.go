package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/policy"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

const house = `labels: {compartments: [hr, finance]}
models:
  inside: {provider: openai, model: x, base_url: "http://127.0.0.1:9/v1", clearance: "secret{hr,finance}"}
  outside: {provider: openai, model: y}
agents:
  chief: {profile: desk, clearance: "secret{hr,finance}"}
  reviewer: {profile: desk, clearance: confidential}
  scout: {profile: shell}
organisation:
  tiers:
    - {name: core, agents: [chief]}
    - {name: auditor, agents: [reviewer]}
    - {name: edge, agents: [scout]}
  channels:
    - {from: core, to: edge, label: public/member}
    - {from: edge, to: core, label: public/foreign}
  agencies:
    - {kinds: [agent.instruct], type: payroll, sign: ["1:owner", "2:finance"]}
    - {kinds: [data.lower], sign: ["2:owner"]}
folders:
  hr: {path: /srv/hr, label: "secret{hr}", agents: [chief]}
  board: {path: /srv/board, label: confidential}
clearances:
  tools: {"tracker/*": internal}
  messages: {"ops/pager": "internal{hr}"}
`

// installation opens a state directory with this configuration.
func installation(t *testing.T, conf string) *App {
	t.Helper()
	home := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "sallyport.yaml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := Open(t.Context(), Options{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// TestOrganisationBecomesRules: what the operator wrote about the organisation
// is what policy is given.
func TestOrganisationBecomesRules(t *testing.T) {
	a := installation(t, house)
	s, err := a.settings([]*config.Agent{{Username: "chief", ShellModel: "inside"}, {Username: "scout", ShellModel: "outside"}})
	if err != nil {
		t.Fatal(err)
	}
	both := label.New(label.Secret, label.Foreign, 3)
	public := label.New(label.Public, label.Foreign, 0)
	for name, want := range map[string]policy.Agent{
		"chief":    {Profile: "desk", Protection: "none", Ceiling: both, Clearance: both, Endpoint: both, Model: "openai/x@127.0.0.1:9", Origin: "endpoints.\"127.0.0.1:9\".clearance", Spawns: []string{"chief", "reviewer", "scout"}},
		"reviewer": {Profile: "desk", Protection: "none", Ceiling: label.New(label.Confidential, label.Foreign, 0), Clearance: label.New(label.Confidential, label.Foreign, 0), Endpoint: label.Unlabelled, Spawns: []string{"reviewer", "scout"}},
		"scout":    {Profile: "shell", Protection: "none", Ceiling: public, Clearance: public, Endpoint: public, Model: "openai/y", Origin: "endpoints.openai.clearance", Spawns: []string{"scout"}},
	} {
		if diff := cmp.Diff(want, s.Agents[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	var sinks []policy.Sink
	for _, k := range s.Sinks {
		if strings.HasPrefix(k.Origin, "organisation.") || strings.HasPrefix(k.Origin, "clearances.") {
			sinks = append(sinks, k)
		}
	}
	if diff := cmp.Diff([]policy.Sink{
		{Kind: action.MessageSend, Target: "mail/scout/core", Clearance: label.New(label.Public, label.Member, 0), Floor: label.Member, Agents: []string{"chief"}, Origin: "organisation.channels[0]"},
		{Kind: action.MessageSend, Target: "mail/chief/edge", Clearance: public, Endorsed: true, Agents: []string{"scout"}, Origin: "organisation.channels[1]"},
		{Kind: action.ToolCall, Target: "tracker/*", Clearance: label.New(label.Internal, label.Foreign, 0), Origin: "clearances.tools.tracker/*"},
		{Kind: action.MessageSend, Target: "ops/pager", Clearance: label.New(label.Internal, label.Foreign, 1), Origin: "clearances.messages.ops/pager"},
	}, sinks); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]policy.Quorum{
		{Kinds: []action.Kind{action.AgentInstruct}, Type: "payroll", Needs: []record.Need{{Count: 1, Group: "owner"}, {Count: 2, Group: "finance"}}, Origin: "organisation.agencies[0]"},
		{Kinds: []action.Kind{action.DataLower}, Needs: []record.Need{{Count: 2, Group: "owner"}}, Origin: "organisation.agencies[1]"},
	}, s.Quorums); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"chief"}, s.Instructable); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"owner", "finance"}, s.Groups); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"hr", "finance"}, s.Scheme.Compartments); diff != "" {
		t.Error(diff)
	}
}

// TestFolderIsForItsAgents: a list of agents keeps out who is cleared and not
// on it; without a list the label alone decides.
func TestFolderIsForItsAgents(t *testing.T) {
	a := installation(t, strings.Replace(house, "agents:\n  chief", "agents:\n  twin: {profile: desk, clearance: \"secret{hr,finance}\"}\n  chief", 1))
	e, err := a.Policy()
	if err != nil {
		t.Fatal(err)
	}
	read := func(agent, target string, l label.Label) record.Decision {
		return e.Decide(record.Question{
			Action: action.Action{
				Kind: action.DataRead, Target: target, Agent: agent, Args: map[string]any{"item": target, "taint": "yes"},
				ArgLabels: map[string]label.Label{"item": l},
				Principal: principal.Principal{Kind: principal.Agent, Name: agent},
			},
			Args: l, Snapshot: record.Snapshot{Context: label.New(label.Public, label.Member, 0), Ceiling: label.Unlabelled},
		})
	}
	hr, board := label.New(label.Secret, label.Foreign, 1), label.New(label.Confidential, label.Foreign, 0)
	for _, tt := range []struct {
		agent, target string
		label         label.Label
		want          record.Verdict
	}{
		{"chief", "folder/hr", hr, record.Allow},
		{"twin", "folder/hr", hr, record.Deny},
		{"twin", "folder/board", board, record.Allow},
		{"reviewer", "folder/board", board, record.Allow},
		{"scout", "folder/board", board, record.Deny},
	} {
		d := read(tt.agent, tt.target, tt.label)
		if d.Verdict != tt.want {
			t.Errorf("%s reading %s: %v by %v (%s)", tt.agent, tt.target, d.Verdict, d.Rules, d.Because)
		}
	}
	// Who is not on the list cannot tell a folder from one that does not exist.
	kept, absent := read("twin", "folder/hr", hr), read("twin", "folder/no", label.Unlabelled)
	if got, want := kept.Because, strings.ReplaceAll(absent.Because, "folder/no", "folder/hr"); got != want {
		t.Errorf("kept out: %s\nabsent:   %s", got, want)
	}
}

// TestCoreStaysInside: a guarded program chooses its profile when it starts,
// and a name of the first tier does not go out with it.
func TestCoreStaysInside(t *testing.T) {
	a := installation(t, house)
	_, err := a.withAgent("chief", "shell").Policy(&config.Agent{Username: "chief"})
	if !fault.Is(err, fault.Config) || !strings.Contains(fault.PublicText(err), "never talks outside") {
		t.Errorf("the core was given a network: %v", err)
	}
	for name, profile := range map[string]string{"chief": "offline", "scout": "shell", "anybody": "shell"} {
		if _, err := a.withAgent(name, profile).Policy(&config.Agent{Username: name}); err != nil {
			t.Errorf("%s with profile %s: %v", name, profile, err)
		}
	}
}
