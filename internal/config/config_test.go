package config

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sallyport/internal/fault"
)

var cfgOpts = cmp.Options{cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty()}

func TestDefaultFileSaysWhatDefaultDoes(t *testing.T) {
	got, err := Parse("sallyport.yaml", DefaultFile())
	if err != nil {
		t.Fatal(err)
	}
	got.Path = ""
	if diff := cmp.Diff(Default(), got, cfgOpts); diff != "" {
		t.Errorf("default.yaml differs from Default (-Default +file):\n%s", diff)
	}
	for _, f := range configSpec().fields { // every key that works is shown to the operator
		if !f.spec.later && !strings.Contains(string(DefaultFile()), f.name+":") {
			t.Errorf("default.yaml does not show %s", f.name)
		}
	}
}

var commentedKey = regexp.MustCompile(`^ *# (limits|enable_command_execution|spendLimitDollars|dayLimitDollars|keyword_modes|detectors|endpoint|key_env|tls): `)

// The commented parts of the default file must be right too: take the comment
// marks away and it must still parse.
func TestDefaultFileComments(t *testing.T) {
	var b strings.Builder
	for line := range strings.Lines(string(DefaultFile())) {
		trimmed := strings.TrimLeft(line, " ")
		switch {
		case strings.HasPrefix(line, "#  "):
			line = line[1:]
		case strings.HasPrefix(trimmed, "#  "):
			line = strings.Replace(line, "#  ", "  ", 1)
		case commentedKey.MatchString(line):
			line = strings.Replace(line, "# ", "", 1)
		}
		for _, key := range []string{"models: {}", "agents: {}", "anchor: []", "network: {}", "secrets: {}", "patterns: []", "compliance: {}", "upstreams: {}", "sinks: []", "rules: []", "labels: {}", "folders: {}", "clearances: {}"} {
			if strings.HasSuffix(strings.TrimSpace(line), key) {
				line = strings.Replace(line, key, key[:len(key)-2], 1)
			}
		}
		b.WriteString(line)
	}
	cfg, err := Parse("sallyport.yaml", []byte(b.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if p, err := cfg.Profile("my-agent"); err != nil || p.Network.Unlisted != "deny" || len(p.Network.Hosts) != 1 || !slices.Contains(p.Secrets, "tracker") {
		t.Errorf("my-agent = %+v, %v", p, err)
	}
	if len(cfg.Alerts.Sinks) != 2 || len(cfg.Alerts.Rules) != 1 || len(cfg.DataMasking.Patterns) != 1 || cfg.Compliance.RetentionDays != 30 || cfg.Proxy.TLS == nil || cfg.Moderation.Endpoint == "" || len(cfg.Security.KeywordModes) != 2 {
		t.Errorf("the monitor's settings are %+v", cfg)
	}
	if cfg.Profiles["auditor"].Limits.Memory != 1<<30 || cfg.Agents["sarah"].Profile != "auditor" || len(cfg.Log.Anchor) != 3 {
		t.Errorf("got %+v", cfg)
	}
}

func TestProxyExample(t *testing.T) {
	cfg, err := Load(filepath.Join("..", "..", "examples", "proxy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Problems(false); len(got) > 0 {
		t.Error(got)
	}
	if cfg.Security.DangerousAction != "block" || !slices.Contains(cfg.Security.DangerousKeywords, "TRANSFER ALL FUNDS") || !cfg.DataMasking.Enabled || len(cfg.Alerts.Rules) != 1 {
		t.Errorf("got %+v", cfg)
	}
}

func TestExamples(t *testing.T) {
	dir := filepath.Join("..", "..", "examples")
	path, ok, err := Find(Lookup{AgentFile: filepath.Join(dir, "nightwatch.yaml"), StateDir: t.TempDir()})
	if err != nil || !ok {
		t.Fatalf("Find = %q, %v, %v", path, ok, err)
	}
	cfg, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	agents, errs := LoadAgents(dir, *NewEnv(nil, "/state"))
	if len(errs) > 0 || len(agents) != 1 {
		t.Fatalf("LoadAgents = %d agents, %v", len(agents), errs)
	}
	a := agents[0]
	m, err := cfg.ResolveModel(a.ShellModel)
	if err != nil || m.Provider != "builtin" || m.Model != "auditor" || cfg.ModelClearance(m) != "internal" {
		t.Errorf("model = %+v, %v", m, err)
	}
	if s := cfg.Agent(a.Username); s.Profile != "auditor" || s.Clearance != "internal" {
		t.Errorf("settings = %+v", s)
	}
	if on, because := cfg.ExecEnabled("auditor"); !on || because != "profiles.auditor.enable_command_execution: true" {
		t.Errorf("ExecEnabled(auditor) = %v, %q", on, because)
	}
	if on, because := cfg.ExecEnabled("workspace"); on || because != "security.enable_command_execution: false" {
		t.Errorf("ExecEnabled(workspace) = %v, %q", on, because)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The two commented lines switch to a provider, exactly as the comment says.
	sw := strings.ReplaceAll(string(data), "  claude3opus: {provider: builtin", "  old: {provider: builtin")
	sw = strings.ReplaceAll(sw, "  #   claude3opus:", "  claude3opus:")
	sw = strings.ReplaceAll(sw, "  anthropic: {clearance: public}", "  anthropic: {clearance: internal}")
	cfg, err = Parse(path, []byte(sw))
	if err != nil {
		t.Fatal(err)
	}
	m, err = cfg.ResolveModel("claude3opus")
	if err != nil || m.Provider != "anthropic" || m.KeyEnv != "ANTHROPIC_API_KEY" || cfg.ModelClearance(m) != "internal" {
		t.Errorf("switched model = %+v, %v", m, err)
	}
}

func TestSeedFragmentsParse(t *testing.T) {
	tests := []struct {
		file  string
		later []string // keys refused as not yet enforced; none: the file loads
		check func(*Config) bool
	}{
		{file: "aias-command.json", check: func(c *Config) bool { return c.Security.EnableCommandExecution }},
		{file: "aias-paths.json", check: func(c *Config) bool {
			return cmp.Equal(c.Security.AllowedFilePaths, []string{"/safe/directory/only"})
		}},
		{file: "aias-python.json", later: []string{"security.enable_python_exec"}},
		{file: "aias-host.json", later: []string{"web.host"}},
		{file: "aias-auth.json", later: []string{"web.auth"}},
		{file: "cylestio.yaml", check: func(c *Config) bool {
			return len(c.Security.SuspiciousKeywords) == 5 && len(c.Security.DangerousKeywords) == 8 && c.Security.DangerousAction == "block"
		}},
		{file: "clawdis-inbound.json", later: []string{"inbound.allowFrom"}},
		{file: "clawdis-groupchat.json", later: []string{"groupChat.requireMention", "groupChat.mentionPatterns"}},
		{file: "merged.jsonc", later: []string{
			"inbound.allowFrom", "groupChat.requireMention", "groupChat.mentionPatterns",
			"security.enable_python_exec",
			"web.host", "web.port", "web.share", "web.auth",
			"tools.web_search_max_results", "tools.wikipedia_summary_length", "tools.file_read_limit",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			cfg, err := Load(filepath.Join("testdata", "seed", tt.file))
			if len(tt.later) == 0 {
				if err != nil || !tt.check(cfg) {
					t.Fatalf("Load = %+v, %v", cfg, err)
				}
				return
			}
			if !NotEnforced(err) || !errors.Is(err, ErrNotEnforced) || fault.KindOf(err) != fault.Config {
				t.Fatalf("err = %v; want only not-yet-enforced keys", err)
			}
			var es Errors
			errors.As(err, &es)
			var keys []string
			for _, e := range es {
				keys = append(keys, e.Key)
				if e.Pos.Line == 0 || e.Pos.Column == 0 || e.Source == "" || e.Remedy == "" {
					t.Errorf("%s: incomplete: %+v", e.Key, e)
				}
			}
			if diff := cmp.Diff(tt.later, keys); diff != "" {
				t.Errorf("refused keys (-want +got):\n%s", diff)
			}
			if strings.Contains(err.Error(), "strong_password") {
				t.Errorf("the error repeats a password:\n%v", err)
			}
		})
	}
}

// The JSON fragments load the same when pasted into a file called .yaml, and
// once the refused keys are gone the merged file loads and means what it says.
func TestSeedFragmentsElsewhere(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "seed", "aias-command.json"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Parse("sallyport.yaml", data)
	if err != nil || !cfg.Security.EnableCommandExecution {
		t.Errorf("as .yaml: %v", err)
	}
	cfg, err = Parse("c.json", []byte(`{"readOnlyMode": true, "security": {"enable_python_exec": false}, "logging": {"level": "INFO"}}`))
	if err != nil || !cfg.ReadOnlyMode || cfg.Logging.Level != "info" {
		t.Errorf("enforced keys: %+v, %v", cfg, err)
	}
	if on, because := cfg.ExecEnabled("auditor"); on || because != "readOnlyMode: true" {
		t.Errorf("ExecEnabled = %v, %q", on, because)
	}
}

func TestFind(t *testing.T) {
	beside, state := t.TempDir(), t.TempDir()
	agent := filepath.Join(beside, "a.yaml")
	write := func(p string) string {
		t.Helper()
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	l := Lookup{AgentFile: agent, StateDir: state}
	if _, ok, err := Find(l); ok || err != nil {
		t.Errorf("nothing there: %v, %v", ok, err)
	}
	inState := write(filepath.Join(state, "sallyport.jsonc"))
	if p, _, err := Find(l); p != inState || err != nil {
		t.Errorf("state: %q, %v", p, err)
	}
	near := write(filepath.Join(beside, "sallyport.yml"))
	if p, _, err := Find(l); p != near || err != nil {
		t.Errorf("beside: %q, %v", p, err)
	}
	if p, _, err := Find(Lookup{AgentFile: beside, StateDir: state}); p != near || err != nil {
		t.Errorf("agent directory: %q, %v", p, err)
	}
	if p, _, err := Find(Lookup{Explicit: inState, AgentFile: agent}); p != inState || err != nil {
		t.Errorf("explicit: %q, %v", p, err)
	}
	if _, _, err := Find(Lookup{Explicit: filepath.Join(state, "none.yaml")}); fault.KindOf(err) != fault.Config {
		t.Errorf("explicit but missing: %v", err)
	}
	write(filepath.Join(beside, "sallyport.json"))
	if _, ok, err := Find(l); ok || fault.KindOf(err) != fault.Config {
		t.Errorf("two in one directory: %v, %v", ok, err)
	}
}

func TestLoadFiles(t *testing.T) {
	if cfg, err := Load(""); err != nil || cmp.Diff(Default(), cfg, cfgOpts) != "" {
		t.Errorf("Load(\"\") = %v", err)
	}
	dir := t.TempDir()
	if _, err := Load(dir); fault.KindOf(err) != fault.Config {
		t.Errorf("directory: %v", err)
	}
	p := filepath.Join(dir, "sub.yaml")
	if err := os.WriteFile(p, []byte("policy: [extra.cedar, /etc/x.cedar]\nlog: {anchor: [{file: cp}]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, 0o666); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "extra.cedar"), "/etc/x.cedar"}, cfg.Policy); diff != "" {
		t.Error(diff)
	}
	if cfg.Log.Anchor[0].File != filepath.Join(dir, "cp") || len(cfg.Notices) != 1 {
		t.Errorf("anchor %+v, notices %q", cfg.Log.Anchor, cfg.Notices)
	}
}

func TestPartialEntriesKeepDefaults(t *testing.T) {
	cfg, err := Parse("c.yaml", []byte(`
profiles: {auditor: {limits: {memory: 512MiB, pids: 64}}}
models: {mine: {provider: openai, model: x, base_url: "http://127.0.0.1:11434/v1"}}
endpoints: {"127.0.0.1:11434": {allow_private: ["127.0.0.1:11434"]}}
security: {blocked_commands: [dd]}
`))
	if err != nil {
		t.Fatal(err)
	}
	if p := cfg.Profiles["auditor"]; p.Limits.Memory != 512<<20 || p.ViewLabel != "internal/foreign" || p.RequiredTier != "full" || p.EnableCommandExecution != nil {
		t.Errorf("profile %+v", p)
	}
	if cfg.Profiles["workspace"].RequiredTier != "full" || len(cfg.Models) != 9 || cfg.Endpoints["builtin"].Clearance != "internal" {
		t.Errorf("defaults lost: %+v", cfg)
	}
	if diff := cmp.Diff([]string{"dd"}, cfg.Security.BlockedCommands); diff != "" {
		t.Error(diff)
	}
	m, err := cfg.ResolveModel("mine")
	if err != nil || m.KeyEnv != "" || cfg.ModelClearance(m) != "internal" {
		t.Errorf("model on loopback: %+v, %v", m, err)
	}
	if diff := cmp.Diff([]string{"127.0.0.1:11434"}, cfg.PrivateAddresses()); diff != "" {
		t.Error(diff)
	}
}
