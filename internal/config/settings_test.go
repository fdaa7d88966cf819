package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sallyport/internal/fault"
)

func TestResolveModel(t *testing.T) {
	c := Default()
	for name, want := range map[string]Model{
		"claude3opus": {Provider: "anthropic", Model: "claude-3-opus-20240229", KeyEnv: "ANTHROPIC_API_KEY", MaxOutput: 4096},
		"gemini-pro":  {Provider: "gemini", Model: "gemini-1.0-pro", KeyEnv: "GOOGLE_API_KEY", MaxOutput: 2048},
		"gpt4turbo":   {Provider: "openai", Model: "gpt-4-0125-preview", KeyEnv: "OPENAI_API_KEY", MaxOutput: 4096},
	} {
		got, err := c.ResolveModel(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	_, err := c.ResolveModel("claude3opuss")
	if !fault.Is(err, fault.Config) || !strings.Contains(err.Error(), "did you mean claude3opus?") || !strings.Contains(err.Error(), "gpt3turbo") {
		t.Errorf("unknown model: %v", err)
	}
}

func TestLocalModel(t *testing.T) {
	m, err := Default().ResolveModel("local")
	if err != nil || m.KeyEnv != "" {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := m.Expand(NewEnv(nil, "")); !fault.Is(err, fault.Config) || !strings.Contains(err.Error(), "LOCAL_LLM_NAME") {
		t.Errorf("not set: %v", err)
	}
	env := NewEnv(map[string]string{"LOCAL_LLM_NAME": "llama", "LOCAL_LLM_URL": "http://127.0.0.1:11434/v1"}, "")
	got, err := m.Expand(env)
	if err != nil || got.Model != "llama" || got.BaseURL != "http://127.0.0.1:11434/v1" {
		t.Errorf("%+v, %v", got, err)
	}
	if m.BaseURL != "${env.LOCAL_LLM_URL}" {
		t.Error("Expand changed its receiver")
	}
	if _, err := m.Expand(NewEnv(map[string]string{"LOCAL_LLM_NAME": "x", "LOCAL_LLM_URL": "nonsense"}, "")); !fault.Is(err, fault.Config) {
		t.Errorf("bad address: %v", err)
	}
}

func TestModelClearance(t *testing.T) {
	c := Default()
	c.Endpoints["llm.example.org"] = Endpoint{Clearance: "internal"}
	c.Endpoints["llm.example.org:8443"] = Endpoint{Clearance: "confidential"}
	c.Endpoints["openai"] = Endpoint{Clearance: "secret"}
	for _, tt := range []struct {
		m    Model
		want string
	}{
		{Model{Provider: "builtin"}, "internal"},
		{Model{Provider: "anthropic"}, "public"},
		{Model{Provider: "openai"}, "secret"},
		// The clearance of the provider is not that of whoever speaks its protocol.
		{Model{Provider: "openai", BaseURL: "https://other.example.org/v1"}, "public"},
		{Model{Provider: "openai", BaseURL: "https://llm.example.org/v1"}, "internal"},
		{Model{Provider: "openai", BaseURL: "https://LLM.example.org:8443/v1"}, "confidential"},
		{Model{Provider: "openai", BaseURL: "http://127.0.0.1:11434/v1"}, "internal"},
		{Model{Provider: "openai", BaseURL: "http://[::1]:11434/v1"}, "internal"},
		{Model{Provider: "openai", BaseURL: "http://127.0.0.1.example.org/v1"}, "public"},
		{Model{Provider: "openai", Clearance: "public"}, "public"},
		{Model{Provider: "openai", BaseURL: "http://[bad"}, "public"},
	} {
		if got := c.ModelClearance(tt.m); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.m, got, tt.want)
		}
	}
}

func TestProtectionIsTheStricter(t *testing.T) {
	c := Default()
	for _, tt := range [][3]string{
		{"none", "", "none"},
		{"none", "manual", "manual"},
		{"manual", "none", "manual"},
		{"auto", "none", "auto"},
		{"auto", "manual", "manual"},
		{"", "", "none"},
	} {
		c.Agents["a"] = AgentSettings{CommandProtection: tt[1]}
		if got := c.Protection(&Agent{Username: "a", CommandProtection: tt[0]}); got != tt[2] {
			t.Errorf("%q over %q = %q", tt[1], tt[0], got)
		}
	}
	if s := c.Agent("nobody"); s.Profile != "workspace" || s.Clearance != "public" {
		t.Errorf("unknown agent: %+v", s)
	}
}

func TestProblems(t *testing.T) {
	if p := Default().Problems(false); len(p) != 0 {
		t.Errorf("defaults: %v", p)
	}
	parse := func(in string) *Config {
		t.Helper()
		c, err := Parse("c.yaml", []byte(in))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	safe := "log: {anchor: [{webhook: \"https://x.example/\"}]}\nspendLimitDollars: 5\n"
	if p := parse(safe).Problems(true); len(p) != 0 {
		t.Errorf("safe: %v", p)
	}
	for _, tt := range []struct {
		in         string
		production bool
		want       string
	}{
		{"log: {anchor: [{webhook: \"http://x.example/\"}]}\nspendLimitDollars: 5\n", false, "log.anchor[0].webhook"},
		{safe + "models: {x: {provider: openai, model: y, base_url: \"http://x.example/v1\", key_env: K}}\n", false, "models.x.base_url"},
		{safe + "security: {allowed_file_paths: [/]}\n", false, "security.allowed_file_paths"},
		{safe + "security: {enable_command_execution: true}\n", true, "security.enable_command_execution"},
		{safe + "security: {blocked_commands: []}\n", true, "security.blocked_commands"},
		{safe + "profiles: {auditor: {required_tier: landlock}}\n", true, "profiles.auditor.required_tier"},
		{safe + "models: {x: {provider: openai, model: y, base_url: \"http://x.example/v1\"}}\n", true, "models.x.base_url"},
		{"spendLimitDollars: 5\n", true, "log.anchor"},
		{"log: {anchor: [{file: /x}]}\n", true, "spendLimitDollars"},
	} {
		c := parse(tt.in)
		got := c.Problems(tt.production)
		if len(got) != 1 || !strings.HasPrefix(fault.PublicText(got[0]), tt.want+": ") || fault.KindOf(got[0]) != fault.Config {
			t.Errorf("%q: %v, want one about %s", tt.in, got, tt.want)
		}
		if tt.production && len(c.Problems(false)) != 0 {
			t.Errorf("%q: a problem while trying things out: %v", tt.in, c.Problems(false))
		}
	}
	c := parse(safe + "models: {x: {provider: openai, model: y, base_url: \"http://127.0.0.1:1/v1\", key_env: K}}\n")
	if p := c.Problems(true); len(p) != 0 {
		t.Errorf("loopback: %v", p)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"debugPauseSeconds", "shellModel", "webModel", "tokenMax"}
	for word, want := range map[string]string{
		"debug_pause_seconds": "debugPauseSeconds", "shelModel": "shellModel", "TokenMax": "tokenMax",
		"tokneMax": "tokenMax", "zzz": "", "": "", strings.Repeat("x", 100): "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

// distance is symmetric, zero only for equal words, and never more than the longer one.
func TestDistanceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-e]{0,8}`)
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) {
			t.Fatalf("distance(%q, %q) = %d", a, b, d)
		}
	})
}

func TestParseBytes(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "10": 10, "1KiB": 1024, "512MiB": 512 << 20, "2 GiB": 2 << 30, "1TiB": 1 << 40, "8388607TiB": 8388607 << 40} {
		if got, ok := parseBytes(in); !ok || got != want {
			t.Errorf("%q = %d, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "MiB", "-1", "1.5GiB", "1MB", "8388608TiB", "9223372036854775808", "1 MiB x", "+1"} {
		if got, ok := parseBytes(in); ok {
			t.Errorf("%q = %d", in, got)
		}
	}
}
