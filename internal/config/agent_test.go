package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

const goodAgent = `username: sam
title: Tester
shellModel: claude3opus
webModel: gemini-pro
agentPrompt: You are ${agent.username}.
tokenMax: 6000
spendLimitDollars: 2.00
`

func testEnv() Env {
	return *NewEnv(map[string]string{"SITE": "example", "MY_API_KEY": "not-for-models", "EVIL": "${agent.title} ${env.SITE}"}, "/state")
}

func TestNightwatch(t *testing.T) {
	a, err := LoadAgent(filepath.Join("..", "..", "examples", "nightwatch.yaml"), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	want := &Agent{
		Path: filepath.Join("..", "..", "examples", "nightwatch.yaml"), Username: "sarah", Title: "Security Engineer",
		ShellModel: "claude3opus", WebModel: "gemini-pro", TokenMax: 6000, DebugPauseSeconds: new(5.0),
		SpendLimitDollars: 2, CommandProtection: "none", MultipleAgents: &yes, Dialect: Dialect2024,
		AgentPrompt: a.AgentPrompt, Raw: a.Raw, Notices: a.Notices,
	}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(a.AgentPrompt, "You are sarah a Security Engineer with the job") ||
		!strings.Contains(a.AgentPrompt, "report file in /state/security_reports/\n") {
		t.Errorf("prompt = %q", a.AgentPrompt)
	}
	if len(a.Notices) != 1 || !strings.HasPrefix(a.Notices[0], "multipleAgents has no effect") {
		t.Errorf("notices = %q", a.Notices)
	}
	if a.Raw["spendLimitDollars"] != 2.0 || a.Raw["tokenMax"] != int64(6000) {
		t.Errorf("raw = %v", a.Raw)
	}
}

func TestAgentDialects(t *testing.T) {
	now := "dialect: 3\nusername: sam\ntitle: T\nshellModel: m\nagentPrompt: p\ntokenMax: 10\n"
	tests := []struct {
		name, in string
		check    func(*Agent) bool
	}{
		{"2024: zero waits for ever", goodAgent + "debugPauseSeconds: 0\n", func(a *Agent) bool { return a.DebugPauseSeconds == nil }},
		{"2024: fraction", goodAgent + "debugPauseSeconds: 0.5\n", func(a *Agent) bool { return *a.DebugPauseSeconds == 0.5 }},
		{"2024 declared", "dialect: 1\n" + goodAgent, func(a *Agent) bool { return a.Dialect == 1 && a.DebugPauseSeconds == nil }},
		{"now: zero goes on", now + "debugPauseSeconds: 0\n", func(a *Agent) bool { return *a.DebugPauseSeconds == 0 && a.Dialect == 3 }},
		{"now: absent waits", now, func(a *Agent) bool { return a.DebugPauseSeconds == nil && a.SpendLimitDollars == 0 }},
		{"now: features off", now + "mailEnabled: false\nchatEnabled: false\ncontrolDesktop: false\n", func(a *Agent) bool { return true }},
		{"initial commands", now + "initialCommands: [\"echo ${env.SITE}\", pwd]\n", func(a *Agent) bool {
			return cmp.Equal(a.InitialCommands, []string{"echo example", "pwd"})
		}},
		{"own key in a template", goodAgent + "city: Oslo\nextra: 3\ninitialCommands: [\"echo ${agent.city} ${agent.extra}\"]\n", func(a *Agent) bool {
			return a.InitialCommands[0] == "echo Oslo 3" && a.Raw["city"] == "Oslo"
		}},
		{"numbers read as NAISYS reads them", goodAgent + "initialCommands: [\"${agent.spendLimitDollars}\"]\n", func(a *Agent) bool { return a.InitialCommands[0] == "2" }},
		{"the shell's own variables stay", strings.Replace(goodAgent, "You are", "$HOME ${HOME} ${x.y}", 1), func(a *Agent) bool {
			return a.AgentPrompt == "$HOME ${HOME} ${x.y} sam."
		}},
		{"values are not expanded again", strings.Replace(goodAgent, "You are", "-${env.EVIL}-", 1), func(a *Agent) bool {
			return a.AgentPrompt == "-${agent.title} ${env.SITE}- sam."
		}},
		{"model name by variable", strings.Replace(goodAgent, "claude3opus", "${env.SITE}", 1), func(a *Agent) bool { return a.ShellModel == "example" }},
		{"protection", goodAgent + "commandProtection: auto\nwakeOnMessage: true\n", func(a *Agent) bool { return a.CommandProtection == "auto" && a.WakeOnMessage }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := ParseAgent("a.yaml", []byte(tt.in), testEnv())
			if err != nil {
				t.Fatal(err)
			}
			if !tt.check(a) {
				t.Errorf("got %+v", a)
			}
		})
	}
}

func TestBadAgents(t *testing.T) {
	with := func(old, new string) string { return strings.Replace(goodAgent, old, new, 1) }
	without := func(key string) string {
		var b strings.Builder
		for l := range strings.Lines(goodAgent) {
			if !strings.HasPrefix(l, key+":") {
				b.WriteString(l)
			}
		}
		return b.String()
	}
	const now = "dialect: 3\nusername: sam\ntitle: T\nshellModel: m\nagentPrompt: p\ntokenMax: 10\n"
	tests := []struct {
		name, in string
		want     []place
		says     string
	}{
		{"empty file", "", []place{{1, 1, "username"}, {1, 1, "title"}, {1, 1, "shellModel"}, {1, 1, "webModel"}, {1, 1, "agentPrompt"}, {1, 1, "spendLimitDollars"}, {1, 1, "tokenMax"}}, "is missing"},
		{"no username", without("username"), []place{{1, 1, "username"}, {4, 22, "agentPrompt"}}, "is missing"},
		{"no title", without("title"), []place{{1, 1, "title"}}, "is missing"},
		{"no shellModel", without("shellModel"), []place{{1, 1, "shellModel"}}, "is missing"},
		{"no webModel", without("webModel"), []place{{1, 1, "webModel"}}, "is missing"},
		{"no agentPrompt", without("agentPrompt"), []place{{1, 1, "agentPrompt"}}, "is missing"},
		{"no spend limit", without("spendLimitDollars"), []place{{1, 1, "spendLimitDollars"}}, "is missing"},
		{"no tokenMax", without("tokenMax"), []place{{1, 1, "tokenMax"}}, "is missing"},
		{"spend limit of zero", with("2.00", "0"), []place{{7, 1, "spendLimitDollars"}}, "not defined"},
		{"empty title", with("Tester", `""`), []place{{2, 1, "title"}}, "not defined"},
		{"title of spaces", with("Tester", `"  "`), []place{{2, 8, "title"}}, "is empty"},
		{"negative spend limit", with("2.00", "-1"), []place{{7, 20, "spendLimitDollars"}}, "more than 0"},
		{"spend limit as text", with("2.00", "two"), []place{{7, 20, "spendLimitDollars"}}, "must be a number"},
		{"tokenMax as text", with("6000", `"6000"`), []place{{6, 11, "tokenMax"}}, "without quotes"},
		{"bad protection", goodAgent + "commandProtection: sometimes\n", []place{{8, 20, "commandProtection"}}, "none, manual, auto"},
		{"protection of the newer dialect", now + "commandProtection: semi-auto\n", []place{{7, 20, "commandProtection"}}, "none, manual, auto"},
		{"username as a path", with("sam", "../../etc"), []place{{1, 11, "username"}}, "a-z"},
		{"username as an option", with("sam", "-rf"), []place{{1, 11, "username"}}, "not starting with -"},
		{"username in capitals", with("sam", "Sam"), []place{{1, 11, "username"}}, "a-z"},
		{"username too long", with("sam", strings.Repeat("a", 33)), []place{{1, 11, "username"}}, "1 to 32"},
		{"username of the operator", with("sam", "admin"), []place{{1, 11, "username"}}, "reserved"},
		{"username as a number", with("sam", "123"), []place{{1, 11, "username"}}, "put the value in quotes"},
		{"mistyped key", goodAgent + "debugPauseSecond: 5\n", []place{{8, 1, "debugPauseSecond"}}, "did you mean debugPauseSeconds?"},
		{"unused own key", goodAgent + "city: Oslo\n", []place{{8, 1, "city"}}, "use it in the prompt as ${agent.city}"},
		{"own key that is a list", goodAgent + "city: [a]\ninitialCommands: [\"${agent.city}\"]\n", []place{{8, 1, "city"}, {9, 20, "initialCommands[0]"}}, "not a text"},
		{"duplicate key", goodAgent + "title: X\n", []place{{8, 1, "title"}}, "already given in line 2"},
		{"key of dialect 3", goodAgent + "spendLimitHours: 4\n", []place{{8, 1, "spendLimitHours"}}, "add dialect: 3"},
		{"key that is gone", now + "webModel: x\n", []place{{7, 1, "webModel"}}, "does not exist in dialect 3"},
		{"dialect 2", "dialect: 2\n" + goodAgent, []place{{1, 10, "dialect"}}, "must be 1 or 3"},
		{"dialect as text", "dialect: \"3\"\n" + goodAgent, []place{{1, 10, "dialect"}}, "whole number"},
		{"pause with fraction in dialect 3", now + "debugPauseSeconds: 0.5\n", []place{{7, 20, "debugPauseSeconds"}}, "whole number"},
		{"negative pause", goodAgent + "debugPauseSeconds: -1\n", []place{{8, 20, "debugPauseSeconds"}}, "out of range"},
		{"undefined agent template", with("${agent.username}", "${agent.nick}"), []place{{5, 22, "agentPrompt"}}, "names no key"},
		{"undefined variable, in a block", with("You are ${agent.username}.", "|\n  line one\n  ü ${env.NOPE}"), []place{{7, 5, "agentPrompt"}}, "NOPE is not set"},
		{"template not closed", with("${agent.username}", "${agent.username"), []place{{5, 22, "agentPrompt"}}, "not closed"},
		{"key in the prompt", with("${agent.username}", "${env.MY_API_KEY}"), []place{{5, 22, "agentPrompt"}}, "MY_API_KEY} would send a secret to a model"},
		{"key in a command", goodAgent + "initialCommands: [\"x ${env.OPENAI_API_KEY}\"]\n", []place{{8, 22, "initialCommands[0]"}}, "secret"},
		{"commands as text", goodAgent + "initialCommands: ls\n", []place{{8, 18, "initialCommands"}}, `["ls"]`},
		{"a list", "- a\n", []place{{1, 1, ""}}, "must be a group of keys"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := ParseAgent("a.yaml", []byte(tt.in), testEnv())
			if err == nil || a != nil {
				t.Fatalf("accepted: %+v", a)
			}
			var got []place
			for _, e := range flat(t, err) {
				got = append(got, place{e.Pos.Line, e.Pos.Column, e.Key})
				if e.Remedy == "" || e.Problem == "" {
					t.Errorf("incomplete: %+v", e)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("places (-want +got):\n%s\n%v", diff, err)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error lacks %q:\n%v", tt.says, err)
			}
			if strings.Contains(err.Error(), "not-for-models") {
				t.Errorf("the error shows a key's value: %v", err)
			}
		})
	}
}

func TestAgentKeysNotYetEnforced(t *testing.T) {
	const now = "dialect: 3\nusername: sam\ntitle: T\nshellModel: m\nagentPrompt: p\ntokenMax: 10\n"
	_, err := ParseAgent("a.yaml", []byte(now+"mailEnabled: true\nmultipleCommandsEnabled: false\nspendLimitHours: 2\nimageModel: x\n"), testEnv())
	if es := flat(t, err); !NotEnforced(err) || len(es) != 4 {
		t.Errorf("err = %v", err)
	}
	_, err = ParseAgent("a.yaml", []byte(goodAgent+"dreamModel: x\nsubagentMax: 2\n"), testEnv())
	if es := flat(t, err); !NotEnforced(err) || len(es) != 2 {
		t.Errorf("err = %v", err)
	}
}

func TestLoadAgents(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml":          goodAgent,
		"b.yml":           strings.Replace(goodAgent, "sam", "bob", 1),
		"c.yaml":          strings.Replace(goodAgent, "6000", "lots", 1),
		"d.yaml":          goodAgent, // sam again
		"e.yaml":          "username: [\n",
		"compose.yaml":    "services: {web: {image: x}}\n",
		"sallyport.yaml":  "readOnlyMode: true\n",
		".hidden.yaml":    "nonsense",
		"notes.txt":       "nonsense",
		"sallyport.jsonc": "nonsense",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	agents, errs := LoadAgents(dir, testEnv())
	var names []string
	for _, a := range agents {
		names = append(names, a.Username)
	}
	if diff := cmp.Diff([]string{"sam", "bob"}, names); diff != "" {
		t.Error(diff)
	}
	if len(errs) != 3 {
		t.Fatalf("errors: %v", errs)
	}
	for i, want := range []string{"c.yaml:6:11: tokenMax", "d.yaml: username: \"sam\" is already the agent of", "e.yaml:1:11"} {
		if !strings.Contains(errs[i].Error(), want) || fault.KindOf(errs[i]) != fault.Config {
			t.Errorf("error %d = %v, want %q", i, errs[i], want)
		}
	}
	if _, errs := LoadAgents(t.TempDir(), testEnv()); len(errs) != 1 {
		t.Errorf("empty directory: %v", errs)
	}
	if _, errs := LoadAgents(filepath.Join(dir, "none.yaml"), testEnv()); len(errs) != 1 {
		t.Errorf("missing file: %v", errs)
	}
	if as, errs := LoadAgents(filepath.Join(dir, "a.yaml"), testEnv()); len(errs) != 0 || len(as) != 1 {
		t.Errorf("one file: %v", errs)
	}
}
