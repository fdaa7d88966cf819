package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

// refusal is one file that must not load: where it is wrong, and what is said.
type refusal struct {
	in   string
	want place
	says string
}

func refused(t *testing.T, tests map[string]refusal) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg, err := Parse("sallyport.yaml", []byte(tt.in))
			if err == nil || cfg != nil {
				t.Fatalf("accepted: %q", tt.in)
			}
			es := flat(t, err)
			if diff := cmp.Diff(tt.want, place{es[0].Pos.Line, es[0].Pos.Column, es[0].Key}); diff != "" || es[0].Remedy == "" || es[0].Source == "" {
				t.Errorf("place (-want +got):\n%s\n%v", diff, err)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error lacks %q:\n%v", tt.says, err)
			}
		})
	}
}

func TestBadProfiles(t *testing.T) {
	refused(t, map[string]refusal{
		"name":                    {"profiles:\n  My_Profile: {extends: shell}\n", place{2, 3, "profiles.My_Profile"}, "not a valid name"},
		"unknown base":            {"profiles:\n  a: {extends: shel}\n", place{2, 7, "profiles.a.extends"}, "did you mean shell?"},
		"itself":                  {"profiles:\n  shell: {extends: shell}\n", place{2, 11, "profiles.shell.extends"}, "extends itself"},
		"circle":                  {"profiles:\n  a: {extends: b}\n  b: {extends: a}\n", place{3, 7, "profiles.b.extends"}, "a → b → a"},
		"circle through shipped":  {"profiles:\n  shell: {extends: claude-code}\n", place{2, 11, "profiles.shell.extends"}, "claude-code → shell → claude-code"},
		"view":                    {"profiles: {shell: {view: auditr}}\n", place{1, 26, "profiles.shell.view"}, "did you mean auditor?"},
		"workdir":                 {"profiles: {shell: {workdir: rw}}\n", place{1, 29, "profiles.shell.workdir"}, "use one of cow, direct, read-only"},
		"command with a path":     {"profiles: {shell: {commands: [/bin/sh]}}\n", place{1, 31, "profiles.shell.commands[0]"}, "base name"},
		"command of two":          {"profiles:\n  a: {extends: shell, commands: [x]}\n  b: {extends: shell, commands: [x]}\n", place{3, 23, "profiles.b.commands"}, "already selects the profile a"},
		"relative mount":          {"profiles: {shell: {mounts: [{path: x}]}}\n", place{1, 36, "profiles.shell.mounts[0].path"}, "absolute"},
		"the whole home":          {"profiles: {shell: {mounts: [{path: ~/}]}}\n", place{1, 36, "profiles.shell.mounts[0].path"}, "whole home"},
		"the whole disk":          {"profiles: {shell: {mounts: [{path: /}]}}\n", place{1, 36, "profiles.shell.mounts[0].path"}, "whole disk"},
		"mount climbs":            {"profiles: {shell: {mounts: [{path: ~/../x}]}}\n", place{1, 36, "profiles.shell.mounts[0].path"}, "clean"},
		"mount of keys":           {"profiles: {shell: {mounts: [{path: ~/.ssh}]}}\n", place{1, 36, "profiles.shell.mounts[0].path"}, "under secrets:"},
		"mount of a variable":     {"profiles: {shell: {mounts: [{path: \"${env.MY_TOKEN}\"}]}}\n", place{1, 36, "profiles.shell.mounts[0].path"}, "looks like a secret"},
		"mount pattern":           {"profiles: {shell: {mounts: [{path: /opt/*}]}}\n", place{1, 36, "profiles.shell.mounts[0].path"}, "pattern"},
		"mount without path":      {"profiles: {shell: {mounts: [{why: x}]}}\n", place{1, 29, "profiles.shell.mounts[0]"}, "lacks the key path"},
		"relative view":           {"profiles: {shell: {mounts: [{path: /x, view: y}]}}\n", place{1, 46, "profiles.shell.mounts[0].view"}, "absolute"},
		"home, absolute":          {"profiles: {shell: {home: [{path: ~/.gitconfig}]}}\n", place{1, 34, "profiles.shell.home[0].path"}, "relative"},
		"home climbs":             {"profiles: {shell: {home: [{path: ../x}]}}\n", place{1, 34, "profiles.shell.home[0].path"}, "relative"},
		"home, login of an agent": {"profiles: {shell: {home: [{path: .claude/.credentials.json}]}}\n", place{1, 34, "profiles.shell.home[0].path"}, "never enter a session"},
		"home, npm's token":       {"profiles: {shell: {home: [{path: .npmrc}]}}\n", place{1, 34, "profiles.shell.home[0].path"}, "secrets:"},
		"home, a key in a file":   {"profiles: {shell: {home: [{path: x, content: sk-ant-api03-abcdefghijkl}]}}\n", place{1, 46, "profiles.shell.home[0].content"}, "looks like a credential"},
		"variable":                {"profiles: {shell: {env: {A-B: x}}}\n", place{1, 26, "profiles.shell.env.A-B"}, "variable's name"},
		"unknown template":        {"profiles: {shell: {env: {A: \"${run.cas}\"}}}\n", place{1, 29, "profiles.shell.env.A"}, "${run.ca}"},
		"environment in env":      {"profiles: {shell: {env: {A: \"${env.HOME}\"}}}\n", place{1, 29, "profiles.shell.env.A"}, "no known template"},
		"template not closed":     {"profiles: {shell: {env: {A: \"${run.ca\"}}}\n", place{1, 29, "profiles.shell.env.A"}, "no known template"},
		"a key written out":       {"profiles: {shell: {env: {MY_API_KEY: x}}}\n", place{1, 26, "profiles.shell.env.MY_API_KEY"}, "${secret.NAME}"},
		"a secret not used":       {"profiles: {shell: {env: {A: \"${secret.openai}\"}}}\n", place{1, 20, "profiles.shell.env"}, "secrets:"},
		"pass a key":              {"profiles: {shell: {env_pass: [{name: AWS_SECRET_ACCESS_KEY}]}}\n", place{1, 38, "profiles.shell.env_pass[0].name"}, "use secrets:"},
		"pass a token":            {"profiles: {shell: {env_pass: [{name: GITHUB_TOKEN}]}}\n", place{1, 38, "profiles.shell.env_pass[0].name"}, "use secrets:"},
		"pass an agent's socket":  {"profiles: {shell: {env_pass: [{name: SSH_AUTH_SOCK}]}}\n", place{1, 38, "profiles.shell.env_pass[0].name"}, "use secrets:"},
		"protected climbs":        {"profiles: {shell: {protected: [../x]}}\n", place{1, 32, "profiles.shell.protected[0]"}, "below the working directory"},
		"pinned, absolute":        {"profiles: {shell: {pinned: [/etc]}}\n", place{1, 29, "profiles.shell.pinned[0]"}, "below the working directory"},
		"broken glob":             {"profiles: {shell: {protected: [\"[a\"]}}\n", place{1, 32, "profiles.shell.protected[0]"}, "not a glob"},
		"unknown secret":          {"profiles: {shell: {secrets: [antropic]}}\n", place{1, 20, "profiles.shell.secrets"}, "did you mean anthropic?"},
		"percent":                 {"profiles: {shell: {limits: {cpu_percent: 0}}}\n", place{1, 42, "profiles.shell.limits.cpu_percent"}, "out of range"},
		"disk":                    {"profiles: {shell: {limits: {disk: 1KiB}}}\n", place{1, 35, "profiles.shell.limits.disk"}, "out of range"},
		"auditor with network":    {"profiles: {auditor: {network: {allow: [{host: a.example.org}]}}}\n", place{1, 22, "profiles.auditor.network"}, "has no effect with view: auditor"},
		"auditor by inheritance":  {"profiles: {x: {extends: claude-code, view: auditor}}\n", place{1, 12, "profiles.x.mounts"}, "has no effect with view: auditor"},
		"off and a list":          {"profiles: {shell: {network: {off: true, allow: [{host: a.example.org}]}}}\n", place{1, 41, "profiles.shell.network.allow"}, "no effect with off"},
	})
}

func TestBadNetworkRules(t *testing.T) {
	host := func(h string) string { return "network:\n  allow:\n    - host: \"" + h + "\"\n" }
	at := place{3, 13, "network.allow[0].host"}
	refused(t, map[string]refusal{
		"anything":               {host("*"), at, "any host of the internet"},
		"a whole domain":         {host("*.com"), at, "*.name.tld"},
		"capitals":               {host("API.example.org"), at, "lower case"},
		"with scheme":            {host("https://a.example.org"), at, "without scheme"},
		"with port":              {host("a.example.org:443"), at, "without scheme, port"},
		"dot at the end":         {host("a.example.org."), at, "dot at the end"},
		"star inside":            {host("a.*.example.org"), at, "pattern"},
		"star without a dot":     {host("*example.org"), at, "pattern"},
		"address as a number":    {host("2130706433"), at, "odd form"},
		"address in short":       {host("127.1"), at, "odd form"},
		"hexadecimal":            {host("0x7f000001"), at, "odd form"},
		"odd IPv6":               {host("2001:DB8::1"), at, "usual form"},
		"mapped":                 {host("::ffff:10.0.0.1"), at, "usual form"},
		"zone":                   {host("fe80::1%eth0"), at, "usual form"},
		"range with more bits":   {host("10.0.0.1/8"), at, "write 10.0.0.0/8"},
		"whole internet":         {host("0.0.0.0/0"), at, "whole internet"},
		"private, not said":      {host("10.0.0.0/8"), place{3, 7, "network.allow[0].host"}, "add private: true"},
		"loopback, not said":     {host("127.0.0.1"), place{3, 7, "network.allow[0].host"}, "add private: true"},
		"metadata, not said":     {host("169.254.169.254"), place{3, 7, "network.allow[0].host"}, "add private: true"},
		"empty":                  {host(""), at, "host name"},
		"non-ASCII":              {host("b\u00fccher.example.org"), at, "xn--"},
		"private pattern":        {"network: {allow: [{host: \"*.example.org\", private: true}]}\n", place{1, 43, "network.allow[0].private"}, "any subdomain"},
		"private of the public":  {"network: {allow: [{host: 8.8.8.8, private: true}]}\n", place{1, 35, "network.allow[0].private"}, "no meaning"},
		"port":                   {"network: {allow: [{host: a.example.org, ports: [0]}]}\n", place{1, 49, "network.allow[0].ports[0]"}, "out of range"},
		"method":                 {"network: {allow: [{host: a.example.org, methods: [get]}]}\n", place{1, 51, "network.allow[0].methods[0]"}, "capitals"},
		"path without slash":     {"network: {allow: [{host: a.example.org, paths: [v1]}]}\n", place{1, 49, "network.allow[0].paths[0]"}, "start with /"},
		"path climbs":            {"network: {allow: [{host: a.example.org, paths: [/a/../b]}]}\n", place{1, 49, "network.allow[0].paths[0]"}, "plain path"},
		"path encoded":           {"network: {allow: [{host: a.example.org, paths: [/%61]}]}\n", place{1, 49, "network.allow[0].paths[0]"}, "plain path"},
		"star inside the path":   {"network: {allow: [{host: a.example.org, paths: [/a/*/b]}]}\n", place{1, 49, "network.allow[0].paths[0]"}, "one * may stand at its end"},
		"program":                {"network: {allow: [{host: a.example.org, programs: [./git]}]}\n", place{1, 52, "network.allow[0].programs[0]"}, "base name"},
		"label":                  {"network: {allow: [{host: a.example.org, clearance: top}]}\n", place{1, 52, "network.allow[0].clearance"}, "a label"},
		"unlisted":               {"network: {unlisted: allow}\n", place{1, 21, "network.unlisted"}, "use one of deny, ask"},
		"mapping to a name":      {"network: {hosts: {a.example.org: [b.example.org]}}\n", place{1, 35, "network.hosts.a.example.org[0]"}, "192.0.2.1"},
		"mapping of a pattern":   {"network: {hosts: {\"*.example.org\": [192.0.2.1]}}\n", place{1, 19, "network.hosts.*.example.org"}, "host name"},
		"relative roots":         {"network: {roots: ca.pem}\n", place{1, 18, "network.roots"}, "absolute"},
		"rule without a host":    {"network: {allow: [{ports: [443]}]}\n", place{1, 19, "network.allow[0]"}, "lacks the key host"},
		"a host where a list is": {"network: {allow: a.example.org}\n", place{1, 18, "network.allow"}, "must be a list"},
	})
}

func TestBadSecrets(t *testing.T) {
	secret := func(from, host, inject, more string) string {
		return "secrets:\n  x:\n    from: " + from + "\n    host: \"" + host + "\"\n    inject: " + inject + "\n    placeholder: \"x-{random}\"\n" + more
	}
	const from, host, inject = "{env: X}", "a.example.org", "[{header: X-Key}]"
	if cfg := parsed(t, secret(from, host, inject, "")); cfg.Secrets["x"].Host != host || len(cfg.Secrets) != 4 {
		t.Errorf("a good one: %+v", cfg.Secrets)
	}
	refused(t, map[string]refusal{
		"pattern":            {secret(from, "*.example.org", inject, ""), place{4, 11, "secrets.x.host"}, "one exact host is due"},
		"odd address":        {secret(from, "127.1", inject, ""), place{4, 11, "secrets.x.host"}, "odd form"},
		"two sources":        {secret("{env: X, file: /x}", host, inject, ""), place{3, 5, "secrets.x.from"}, "exactly one of env, file, keyring, command"},
		"no source":          {secret("{}", host, inject, ""), place{3, 5, "secrets.x.from"}, "exactly one"},
		"relative file":      {secret("{file: x}", host, inject, ""), place{3, 18, "secrets.x.from.file"}, "absolute"},
		"keyring":            {secret("{keyring: x}", host, inject, ""), place{3, 21, "secrets.x.from.keyring"}, "service/user"},
		"no place":           {secret(from, host, "[]", ""), place{5, 13, "secrets.x.inject"}, "1 to 16"},
		"two places in one":  {secret(from, host, "[{header: X, query: k}]", ""), place{5, 14, "secrets.x.inject[0]"}, "exactly one of header, query"},
		"template of query":  {secret(from, host, "[{query: k, template: \"{}\"}]", ""), place{5, 25, "secrets.x.inject[0].template"}, "header only"},
		"template, nothing":  {secret(from, host, "[{header: X, template: Bearer}]", ""), place{5, 36, "secrets.x.inject[0].template"}, "{} exactly once"},
		"header's name":      {secret(from, host, "[{header: \"X: y\"}]", ""), place{5, 23, "secrets.x.inject[0].header"}, "header's name"},
		"fixed placeholder":  {strings.Replace(secret(from, host, inject, ""), "{random}", "1", 1), place{6, 18, "secrets.x.placeholder"}, "{random} exactly once"},
		"without host":       {"secrets:\n  x: {from: {env: X}, inject: [{header: X}], placeholder: \"{random}\"}\n", place{2, 3, "secrets.x"}, "lacks the key host"},
		"a value":            {"secrets:\n  x: hunter2\n", place{2, 6, "secrets.x"}, "must be a group"},
		"two in a variable":  {secret(from, host, inject, "    env: ANTHROPIC_API_KEY\nprofiles: {claude-code: {secrets: [x]}}\n"), place{8, 26, "profiles.claude-code.secrets"}, "anthropic and x are both shown in ANTHROPIC_API_KEY"},
		"variable set twice": {secret(from, host, inject, "    env: X_VAR\nprofiles: {shell: {secrets: [x], env: {X_VAR: y}}}\n"), place{8, 34, "profiles.shell.env"}, "by the secret x"},
	})
	value := "sk-ant-" + strings.Repeat("x1", 8)
	_, err := Parse("c.yaml", []byte("secrets:\n  x: {value: "+value+"}\n"))
	if err == nil || strings.Contains(err.Error(), value) {
		t.Errorf("a value that is written out anyway is repeated: %v", err)
	}
}

func TestNetworkProblems(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"profiles: {shell: {network: {allow: [{host: a.example.org, clearance: secret}]}}}\n", "profiles.shell.network.allow[0].clearance"},
		{"network: {allow: [{host: a.example.org, clearance: confidential}]}\n", "network.allow[0].clearance"},
		{"secrets: {x: {from: {file: /srv/data/key}, host: a.example.org, inject: [{header: X}], placeholder: \"{random}\"}}\nsecurity: {allowed_file_paths: [/srv/data]}\n", "secrets.x.from.file"},
	} {
		got := parsed(t, tt.in).Problems(false)
		if len(got) != 1 || !strings.HasPrefix(fault.PublicText(got[0]), tt.want+": ") || fault.KindOf(got[0]) != fault.Config {
			t.Errorf("%q: %v, want %s", tt.in, got, tt.want)
		}
	}
	for _, in := range []string{
		"network: {allow: [{host: 10.0.0.0/8, private: true, clearance: secret}]}\n",
		"profiles: {shell: {network: {allow: [{host: a.example.org, clearance: internal}]}}}\n",
		"secrets: {x: {from: {file: /srv/database}, host: a.example.org, inject: [{header: X}], placeholder: \"{random}\"}}\nsecurity: {allowed_file_paths: [/srv/data]}\n",
	} {
		if got := parsed(t, in).Problems(false); len(got) != 0 {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func FuzzParseProfile(f *testing.F) {
	names, err := profileFiles.ReadDir("profiles")
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range names {
		data, err := profileFiles.ReadFile("profiles/" + n.Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("extends: x\n"))
	f.Add([]byte("extends: none\nmounts: [{path: \"${env.A}/b\"}]\nenv: {A: \"${secret.x}${run.ca}\"}\nhome: [{path: a, content: \"b\\n\"}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := ParseProfile("profiles/x.yaml", data)
		if err != nil {
			wellFormed(t, err, data)
			return
		}
		cfg := Default()
		if err := cfg.layer(nil, []ProfileFile{file}); err != nil {
			wellFormed(t, err, data)
			return
		}
		p, err := cfg.Profile("x")
		if err != nil || p.View == "" || p.RequiredTier == "" || p.Network.Unlisted == "" {
			t.Fatalf("%+v, %v", p, err)
		}
		for _, r := range p.Network.Allow {
			if r.Host == "" || r.Host == "*" || len(r.Ports) == 0 || r.Clearance == "" {
				t.Fatalf("rule %+v", r)
			}
		}
		for _, e := range p.EnvPass {
			if strings.Contains(strings.ToUpper(e.Name), "_TOKEN") && strings.HasSuffix(strings.ToUpper(e.Name), "TOKEN") {
				t.Fatalf("%s is passed", e.Name)
			}
		}
	})
}
