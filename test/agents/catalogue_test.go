package agents

import (
	"os"
	"path/filepath"
	"testing"
)

// agent is what it takes to start one agent headless.
type agent struct {
	name  string
	form  string            // of the model's API
	files map[string]string // below the home directory
	env   func(model, key string) []string
	ca    string                              // the variable that names certificates to trust
	argv  func(prompt, model string) []string // the first word is below node_modules/.bin
}

func catalogue() []agent {
	return []agent{
		{
			name: "claude", form: "anthropic", ca: "NODE_EXTRA_CA_CERTS",
			env: func(model, key string) []string {
				return []string{
					"ANTHROPIC_BASE_URL=" + model, "ANTHROPIC_API_KEY=" + key,
					"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
					"IS_SANDBOX=1", // root may only skip permissions where this is set
				}
			},
			argv: func(prompt, _ string) []string {
				return []string{"claude", "-p", "--dangerously-skip-permissions", prompt}
			},
		},
		{
			name: "codex", form: "responses", ca: "CODEX_CA_CERTIFICATE",
			files: map[string]string{".codex/config.toml": "check_for_update_on_startup = false\n" +
				"[analytics]\nenabled = false\n[feedback]\nenabled = false\n[features]\napps = false\nplugins = false\n"},
			env: func(_, key string) []string { return []string{"CODEX_API_KEY=" + key} },
			argv: func(prompt, model string) []string {
				return []string{
					"codex", "exec", "--dangerously-bypass-approvals-and-sandbox", "--skip-git-repo-check",
					"-c", "openai_base_url=\"" + model + "/v1\"", prompt,
				}
			},
		},
		{
			name: "gemini", form: "gemini", ca: "NODE_EXTRA_CA_CERTS",
			files: map[string]string{".gemini/settings.json": `{"general": {"enableAutoUpdate": false, "enableAutoUpdateNotification": false},
				"privacy": {"usageStatisticsEnabled": false}, "telemetry": {"enabled": false},
				"security": {"auth": {"selectedType": "gemini-api-key"}}}`},
			env: func(model, key string) []string {
				return []string{
					"GOOGLE_GEMINI_BASE_URL=" + model, "GEMINI_API_KEY=" + key, "GEMINI_CLI_TRUST_WORKSPACE=true",
					"GEMINI_CLI_NO_RELAUNCH=true", // it would start itself once more, with another heap size
				}
			},
			argv: func(prompt, _ string) []string {
				// With a model chosen it asks no other model which to take.
				return []string{"gemini", "--yolo", "-m", "gemini-2.5-flash", "-p", prompt}
			},
		},
	}
}

// key is what every agent holds as its credential.
const key = "sk-fake-0123456789abcdef"

// packages gives the node_modules directory with the agents, or skips.
func packages(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real agents, seconds each")
	}
	dir := os.Getenv("SALLYPORT_AGENTS")
	if dir == "" {
		dir = filepath.Join("..", "..", ".tools", "agents", "node_modules")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".bin")); err != nil {
		t.Skipf("the agents are not installed in %s: run npm ci with test/agents/package-lock.json there, or set SALLYPORT_AGENTS to a node_modules directory", dir)
	}
	return dir
}
