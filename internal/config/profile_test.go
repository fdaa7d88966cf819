package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func parsed(t *testing.T, in string, files ...ProfileFile) *Config {
	t.Helper()
	cfg, err := Parse("c.yaml", []byte(in), files...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func profileOf(t *testing.T, cfg *Config, name string) Profile {
	t.Helper()
	p, err := cfg.Profile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func hostsOf(p Profile) []string {
	var out []string
	for _, r := range p.Network.Allow {
		out = append(out, r.Host)
	}
	return out
}

func TestShippedProfiles(t *testing.T) {
	cfg := Default()
	want := []string{"auditor", "claude-code", "codex", "desk", "gemini-cli", "go", "node", "offline", "python", "shell", "workspace"}
	if diff := cmp.Diff(want, sortedKeys(cfg.Profiles)); diff != "" {
		t.Error(diff)
	}
	// The two that configured agents run under are what they were.
	for name, view := range map[string]string{"auditor": "auditor", "workspace": "workspace"} {
		p := cfg.Profiles[name]
		if p.ViewLabel != "internal/foreign" || p.RequiredTier != "full" || p.View != view || p.Workdir != "direct" || p.EnableCommandExecution != nil || !p.Network.Offline() {
			t.Errorf("%s: %+v", name, p)
		}
	}
	// The one for agents that have nothing but what the gate gives them.
	if p, enabled := cfg.Profiles["desk"], cfg.Profiles["desk"].EnableCommandExecution; enabled == nil || *enabled || !p.Network.Off || p.ViewLabel != "public/signed" || len(p.Mounts)+len(p.Home)+len(p.Env)+len(p.EnvPass)+len(p.Sockets) > 0 {
		t.Errorf("desk: %+v", p)
	}
	for _, name := range want {
		p := profileOf(t, cfg, name)
		if p.Description == "" {
			t.Errorf("%s has no description", name)
		}
		for _, r := range p.Network.Allow {
			if r.Why == "" || r.Private || strings.HasPrefix(r.Host, "*") || !slices.Equal(r.Ports, []uint16{443}) || r.Label != "public/foreign" || r.Clearance != p.ViewLabel {
				t.Errorf("%s: rule %+v", name, r)
			}
		}
		for _, m := range p.Mounts {
			if m.Why == "" || !m.Optional {
				t.Errorf("%s: mount %+v", name, m)
			}
		}
		for _, h := range p.Home {
			if h.Why == "" {
				t.Errorf("%s: home %+v", name, h)
			}
		}
		for _, e := range p.EnvPass {
			if e.Why == "" {
				t.Errorf("%s: env_pass %+v", name, e)
			}
		}
		if !slices.Contains([]string{"auditor", "desk", "workspace"}, name) && (p.Workdir != "cow" || p.EnableCommandExecution == nil || !slices.Contains(p.Pinned, ".git/hooks")) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// TestAgentProfiles: an agent reaches its model's host and no other, with its
// key outside, and its own sandbox and telemetry off.
func TestAgentProfiles(t *testing.T) {
	cfg := Default()
	for name, tt := range map[string]struct{ command, host, secret, header, env string }{
		"claude-code": {"claude", "api.anthropic.com", "anthropic", "X-Api-Key", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"},
		"codex":       {"codex", "api.openai.com", "openai", "Authorization", "CODEX_CA_CERTIFICATE"},
		"gemini-cli":  {"gemini", "generativelanguage.googleapis.com", "gemini", "X-Goog-Api-Key", "SANDBOX"},
	} {
		p := profileOf(t, cfg, name)
		if diff := cmp.Diff([]string{tt.host}, hostsOf(p)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if r := p.Network.Allow[0]; len(r.Methods) == 0 || len(r.Paths) == 0 {
			t.Errorf("%s: requests are not judged: %+v", name, r)
		}
		s := cfg.SecretsOf(p)[tt.secret]
		if s.Host != tt.host || s.Port != 443 || !s.Optional || s.Inject[0].Header != tt.header {
			t.Errorf("%s: secret %+v", name, s)
		}
		if p.Env[tt.env] == "" || p.Env["SSL_CERT_FILE"] != "${run.ca}" || p.Network.Unlisted != "ask" || p.Network.Offline() {
			t.Errorf("%s: %+v", name, p)
		}
		for _, program := range []string{tt.command, "/usr/local/bin/" + tt.command} {
			if got, ok := cfg.ProfileFor(program); !ok || got != name {
				t.Errorf("ProfileFor(%s) = %q", program, got)
			}
		}
	}
	if name, ok := cfg.ProfileFor("bash"); ok {
		t.Errorf("bash selects %q", name)
	}
	codex := profileOf(t, cfg, "codex")
	if i := slices.IndexFunc(codex.Home, func(h HomeFile) bool { return h.Path == ".codex/config.toml" }); i < 0 || !strings.Contains(codex.Home[i].Content, "sandbox_mode = \"danger-full-access\"\n") {
		t.Errorf("codex keeps its own sandbox: %+v", codex.Home)
	}
}

func TestProfilesAreLayered(t *testing.T) {
	file, err := ParseProfile("/state/profiles/mine.yaml", []byte("extends: claude-code\ncommands: [mine, claude]\nlimits: {pids: 64, memory: 1GiB}\n"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := parsed(t, `
profiles:
  claude-code:
    mounts: [{path: /opt/tools}, {path: ~/.nvm, why: the program as npm puts it under nvm, optional: true}]
    limits: {pids: 100}
  mine:
    network: {unlisted: deny, allow: [{host: tracker.example.org}]}
    limits: {pids: 200}
  bare: {extends: none}
  git: {extends: offline, network: {off: false, allow: [{host: git.example.org}]}}
`, file)
	base, mine := profileOf(t, Default(), "claude-code"), profileOf(t, cfg, "mine")
	if got := profileOf(t, cfg, "claude-code"); len(got.Mounts) != len(base.Mounts)+1 || got.Limits.PIDs != 100 || got.Description != base.Description {
		t.Errorf("added to: %+v", got)
	}
	if mine.Limits.PIDs != 200 || mine.Limits.Memory != 1<<30 || mine.Network.Unlisted != "deny" || mine.Description != "" {
		t.Errorf("mine: %+v", mine)
	}
	if diff := cmp.Diff([]string{"api.anthropic.com", "tracker.example.org"}, hostsOf(mine)); diff != "" {
		t.Error(diff)
	}
	// The file is above what is shipped, so its claude wins; nothing selects two.
	if name, _ := cfg.ProfileFor("claude"); name != "mine" || len(cfg.Profiles["claude-code"].Commands) != 0 {
		t.Errorf("claude selects %q", name)
	}
	if bare := profileOf(t, cfg, "bare"); bare.View != "workspace" || bare.Workdir != "cow" || bare.RequiredTier != "full" || !bare.Network.Offline() || len(bare.Env) != 0 {
		t.Errorf("bare: %+v", bare)
	}
	if git := profileOf(t, cfg, "git"); git.Network.Offline() {
		t.Errorf("git: %+v", git.Network)
	}
	if _, err := cfg.Profile("claud-code"); err == nil || !strings.Contains(err.Error(), "did you mean claude-code?") {
		t.Errorf("unknown profile: %v", err)
	}
	mine.Network.Allow[0].Paths[0] = "/changed"
	if profileOf(t, cfg, "mine").Network.Allow[0].Paths[0] == "/changed" {
		t.Error("a resolved profile shares its lists with the configuration")
	}
}

func TestTopLevelNetwork(t *testing.T) {
	cfg := parsed(t, `
network:
  unlisted: ask
  allow: [{host: proxy.example.org, ports: [3128]}]
  hosts: {a.example.org: [192.0.2.1], b.example.org: [192.0.2.2]}
  roots: /etc/company.pem
profiles:
  shell: {network: {unlisted: deny, allow: [{host: own.example.org}], hosts: {a.example.org: ["2001:db8::1"]}}}
`)
	want := Network{
		Unlisted: "deny", Roots: "/etc/company.pem",
		Allow: []NetRule{
			{Host: "own.example.org", Ports: []uint16{443}, Clearance: "internal/foreign", Label: "public/foreign"},
			{Host: "proxy.example.org", Ports: []uint16{3128}, Clearance: "internal/foreign", Label: "public/foreign"},
		},
		Hosts: map[string][]string{"a.example.org": {"2001:db8::1"}, "b.example.org": {"192.0.2.2"}},
	}
	if diff := cmp.Diff(want, profileOf(t, cfg, "shell").Network); diff != "" {
		t.Error(diff)
	}
	if n := profileOf(t, cfg, "workspace").Network; n.Unlisted != "ask" || len(n.Allow) != 1 {
		t.Errorf("workspace: %+v", n)
	}
	for _, name := range []string{"offline", "auditor"} {
		if diff := cmp.Diff(Network{Off: true, Unlisted: "deny"}, profileOf(t, cfg, name).Network); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if n := profileOf(t, parsed(t, "network: {off: true}\n"), "claude-code").Network; !n.Offline() || len(n.Allow) != 0 {
		t.Errorf("off for all: %+v", n)
	}
}

// TestShownSettingsParse: what `config show` prints is a configuration that
// means the same.
func TestShownSettingsParse(t *testing.T) {
	opts := cmp.Options{cfgOpts, cmpopts.IgnoreFields(Config{}, "Path")}
	for name, in := range map[string]string{
		"defaults": "",
		"extended": "profiles: {claude-code: {mounts: [{path: /opt/x}], limits: {pids: 9}}, mine: {extends: claude-code, commands: [claude], network: {off: false, allow: [{host: a.example.org, private: false}]}}}\n" +
			"agents: {sarah: {profile: mine}}\nnetwork: {hosts: {a.example.org: [192.0.2.1]}}\nspendLimitDollars: 5\n" +
			"secrets: {t: {from: {command: [pass, show]}, host: a.example.org, inject: [{basic: me}], placeholder: \"{random}\"}}\n",
		"silenced": "profiles: {quiet: {extends: claude-code, local_sockets: false, network: {off: true}}}\n",
		"replaced": "profiles: {codex: {extends: none, commands: [codex]}}\n",
	} {
		cfg := parsed(t, in)
		b, err := json.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("shown.json", b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(cfg, again, opts); diff != "" {
			t.Errorf("%s (-first +again):\n%s", name, diff)
		}
	}
}

func TestLoadProfiles(t *testing.T) {
	dir := t.TempDir()
	if files, err := LoadProfiles(filepath.Join(dir, "none")); err != nil || len(files) != 0 {
		t.Errorf("no directory: %v, %v", files, err)
	}
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write("mine.yaml", "extends: shell\nenv: {COLOUR: red}\n", 0o600)
	write(".hidden.yaml", "nonsense: 1\n", 0o600)
	write("README", "nonsense", 0o600)
	cfg, err := Load("", dir)
	if err != nil || cfg.Profiles["mine"].Env["COLOUR"] != "red" {
		t.Fatalf("%+v, %v", cfg, err)
	}
	if cfg, err = Load(write("c.conf", "agents: {sarah: {profile: mine}}\n", 0o600), dir); err != nil || cfg.Agent("sarah").Profile != "mine" {
		t.Errorf("an agent of a profile file: %v", err)
	}
	for name, tt := range map[string]struct {
		file, text string
		mode       os.FileMode
		says       []string
	}{
		"unknown key": {"a.yaml", "extends: shell\nnetwerk: {}\n", 0o600, []string{"a.yaml:2:1: netwerk: unknown key", "  2 | netwerk: {}", "did you mean network?"}},
		"deep":        {"a.yaml", "extends: shell\nnetwork:\n  allow:\n    - host: \"*\"\n", 0o600, []string{"a.yaml:4:13: network.allow[0].host: allows any host"}},
		"no base":     {"a.yaml", "description: x\n", 0o600, []string{"a.yaml:1:1", "does not say what it extends"}},
		"empty":       {"a.yaml", "", 0o600, []string{"empty"}},
		"writable":    {"a.yaml", "extends: shell\n", 0o666, []string{"chmod go-w"}},
		"same name":   {"mine.yml", "extends: shell\n", 0o600, []string{"is the same profile as"}},
		"bad name":    {"A b.yaml", "extends: shell\n", 0o600, []string{"no profile's name"}},
		"taken word":  {"none.yaml", "extends: shell\n", 0o600, []string{"no profile's name"}},
	} {
		p := write(tt.file, tt.text, tt.mode)
		_, err := Load("", dir)
		for _, s := range tt.says {
			if err == nil || !strings.Contains(err.Error(), s) {
				t.Errorf("%s: %v, want %q", name, err, s)
			}
		}
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExpandAndEnviron(t *testing.T) {
	env := NewEnv(map[string]string{"TOOLS": "/opt/tools/", "BAD": "relative", "KEYS": "/home/ann/.ssh", "TERM": "xterm", "EMPTY": ""}, "")
	cfg := parsed(t, `
profiles:
  mine:
    extends: none
    mounts:
      - {path: ~/.nvm, view: /opt/nvm}
      - {path: "${env.TOOLS}/bin"}
      - {path: "${env.NOWHERE}/x", optional: true}
    sockets: [{path: "${env.TOOLS}"}]
    env_pass: [{name: TERM}, {name: LANG}]
    env: {CA: "${run.ca}", P: "${run.proxy}/${run.home}${run.workdir}", BOTH: "${secret.a}-${secret.b}", OWN_KEY: "${secret.a}"}
    secrets: [a, b]
secrets:
  a: {from: {env: A}, host: a.example.org, inject: [{header: X}], placeholder: "a-{random}", env: A_KEY}
  b: {from: {file: ~/b}, host: b.example.org, inject: [{query: key}], placeholder: "b-{random}", env: B_KEY, optional: true}
`)
	p, err := profileOf(t, cfg, "mine").Expand("/home/ann", env)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Mount{{Path: "/home/ann/.nvm", View: "/opt/nvm"}, {Path: "/opt/tools/bin"}}, p.Mounts); diff != "" || p.Sockets[0].Path != "/opt/tools" {
		t.Errorf("%s\n%+v", diff, p.Sockets)
	}
	for _, m := range []Mount{{Path: "${env.NOWHERE}/x"}, {Path: "${env.BAD}/x", Optional: true}, {Path: "${env.KEYS}", Optional: true}, {Path: "${env.EMPTY}/x"}} {
		if _, err := (Profile{Mounts: []Mount{m}}).Expand("/home/ann", env); err == nil {
			t.Errorf("%+v expands", m)
		}
	}
	if _, err := p.Expand("", env); err != nil {
		t.Errorf("nothing is left to expand: %v", err)
	}
	// where credentials are usually kept is a good place to read one from
	for _, place := range []string{"~/.config/deploy-token", "/home/ann/.netrc"} {
		if _, err := (SecretSource{File: place}).Expand("/home/ann", env); err != nil {
			t.Errorf("%s: %v", place, err)
		}
	}
	if _, err := (SecretSource{File: "${env.ODD}/x"}).Expand("/home/ann", NewEnv(map[string]string{"ODD": "relative"}, "")); err == nil {
		t.Error("a relative file was taken")
	}
	if from, err := cfg.Secrets["b"].From.Expand("/home/ann", env); err != nil || from.File != "/home/ann/b" {
		t.Errorf("%+v, %v", from, err)
	}
	run := Run{CA: "/run/ca.pem", Proxy: "http://127.0.0.1:1", Home: "/h", Workdir: "/w", Secrets: map[string]string{"a": "a-${run.ca}"}}
	want := []string{"A_KEY=a-${run.ca}", "CA=/run/ca.pem", "OWN_KEY=a-${run.ca}", "P=http://127.0.0.1:1//h/w", "TERM=xterm"}
	if diff := cmp.Diff(want, cfg.Environ(p, run, env.Lookup)); diff != "" {
		t.Error(diff)
	}
}

// TestMergeProperties: joining is idempotent, changes neither side, and loses
// nothing of either.
func TestMergeProperties(t *testing.T) {
	leaf := rapid.OneOf(rapid.Just(any("a")), rapid.Just(any("b")), rapid.Just(any(true)), rapid.Just(any(int64(3))))
	list := rapid.Custom(func(t *rapid.T) any { return rapid.SliceOfN(leaf, 0, 4).Draw(t, "list") })
	group := rapid.Custom(func(t *rapid.T) any {
		return map[string]any{
			"l": list.Draw(t, "l"), "v": leaf.Draw(t, "v"),
			"g": map[string]any{rapid.SampledFrom([]string{"x", "y"}).Draw(t, "key"): list.Draw(t, "inner")},
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := group.Draw(t, "a"), group.Draw(t, "b")
		before := fingerprint(a) + fingerprint(b)
		once := merge(a, b)
		if diff := cmp.Diff(once, merge(once, b), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("not idempotent: %s", diff)
		}
		if fingerprint(a)+fingerprint(b) != before {
			t.Fatal("a side was changed")
		}
		got := once.(map[string]any)["l"].([]any)
		for _, side := range []any{a, b} {
			for _, v := range side.(map[string]any)["l"].([]any) {
				if !slices.Contains(got, v) {
					t.Fatalf("%v was lost in %v", v, got)
				}
			}
		}
		if once.(map[string]any)["v"] != b.(map[string]any)["v"] {
			t.Fatal("a value was not replaced")
		}
	})
}
