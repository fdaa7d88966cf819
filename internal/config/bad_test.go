package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

// flat gives every *Error in err.
func flat(t *testing.T, err error) []*Error {
	t.Helper()
	if err == nil {
		return nil
	}
	if fault.KindOf(err) != fault.Config {
		t.Errorf("kind = %v, want config: %v", fault.KindOf(err), err)
	}
	if es, ok := errors.AsType[Errors](err); ok {
		return es
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("not an *Error: %T %v", err, err)
	}
	return []*Error{e}
}

type place struct {
	Line, Column int
	Key          string
}

func TestBadConfig(t *testing.T) {
	tests := []struct {
		name, file, in string
		want           []place
		says           string // in the first error's text
	}{
		{"a string where a list is due", "", "security:\n  allowed_file_paths: \"/\"\n", []place{{2, 23, "security.allowed_file_paths"}}, `write a list with one element: ["/"]`},
		{"the same in JSON with tabs", "c.json", "{\n\t\"security\": {\n\t\t\"allowed_file_paths\": \"/\" // all\n\t}\n}", []place{{3, 25, "security.allowed_file_paths"}}, "must be a list"},
		{"unknown key, near", "", "readonlymode: true\n", []place{{1, 1, "readonlymode"}}, "did you mean readOnlyMode?"},
		{"unknown key, elsewhere", "", "allowed_file_paths: []\n", []place{{1, 1, "allowed_file_paths"}}, "it belongs under security:"},
		{"unknown key, above", "", "security:\n  readOnlyMode: true\n", []place{{2, 3, "security.readOnlyMode"}}, "top level"},
		{"unknown key, nested", "", "tools:\n  command_timeout: 3\n  timeoutt: 4\n", []place{{3, 3, "tools.timeoutt"}}, "unknown key"},
		{"several at once", "", "a: 1\nb: 2\n", []place{{1, 1, "a"}, {2, 1, "b"}}, "unknown key"},
		{"duplicate key", "", "readOnlyMode: true\ntools: {}\nreadOnlyMode: false\n", []place{{3, 1, "readOnlyMode"}}, "already given in line 1"},
		{"duplicate key in JSON", "c.json", "{\"readOnlyMode\": true,\n \"readOnlyMode\": false}", []place{{2, 2, "readOnlyMode"}}, "already given in line 1"},
		{"yes is a text", "", "readOnlyMode: yes\n", []place{{1, 15, "readOnlyMode"}}, "write true or false"},
		{"quoted boolean", "", "security: {enable_command_execution: \"true\"}\n", []place{{1, 38, "security.enable_command_execution"}}, "without quotes"},
		{"number in quotes", "", "tools: {command_timeout: \"30\"}\n", []place{{1, 26, "tools.command_timeout"}}, "without quotes"},
		{"fraction", "", "tools: {command_timeout: 1.5}\n", []place{{1, 26, "tools.command_timeout"}}, "without a fraction"},
		{"too small", "", "tools: {command_timeout: 0}\n", []place{{1, 26, "tools.command_timeout"}}, "use from 1 up to 86400"},
		{"too large", "", "logging:\n  backup_count: 100000\n", []place{{2, 17, "logging.backup_count"}}, "out of range"},
		{"huge", "", "tools: {command_timeout: 99999999999999999999}\n", []place{{1, 26, ""}}, "too large"},
		{"octal", "", "tools: {command_timeout: 010}\n", []place{{1, 26, ""}}, "plain decimal"},
		{"hexadecimal", "", "tools: {command_timeout: 0x1F}\n", []place{{1, 26, ""}}, "plain decimal"},
		{"underscore", "", "tools: {command_timeout: 1_0}\n", []place{{1, 26, ""}}, "plain decimal"},
		{"infinity", "", "spendLimitDollars: .inf\n", []place{{1, 20, ""}}, "finite"},
		{"limit of zero", "", "spendLimitDollars: 0\n", []place{{1, 20, "spendLimitDollars"}}, "more than 0"},
		{"no value", "", "security:\nreadOnlyMode: true\n", []place{{1, 1, "security"}}, "has no value"},
		{"null in JSON", "c.json", `{"tools": null}`, []place{{1, 2, "tools"}}, "has no value"},
		{"empty element", "", "security:\n  blocked_commands:\n    - dd\n    - \"\"\n", []place{{4, 7, "security.blocked_commands[1]"}}, "is empty"},
		{"number in a list of texts", "", "security: {blocked_commands: [dd, 7]}\n", []place{{1, 35, "security.blocked_commands[1]"}}, "put the value in quotes"},
		{"relative path", "", "security: {allowed_file_paths: [data]}\n", []place{{1, 33, "security.allowed_file_paths[0]"}}, "absolute"},
		{"path with ..", "", "security: {allowed_file_paths: [/srv/../etc]}\n", []place{{1, 33, "security.allowed_file_paths[0]"}}, ".."},
		{"unknown level", "", "logging: {level: verbos}\n", []place{{1, 18, "logging.level"}}, "use one of debug, info, warning, error"},
		{"unknown profile", "", "profiles:\n  auditer: {}\n", []place{{2, 3, "profiles.auditer"}}, "did you mean auditor?"},
		{"unknown profile of an agent", "", "agents: {sarah: {profile: root}}\n", []place{{1, 27, "agents.sarah.profile"}}, "not a known value"},
		{"bad agent name", "", "agents:\n  ../x: {}\n", []place{{2, 3, "agents.../x"}}, "not a valid name"},
		{"bad label", "", "agents: {sarah: {clearance: top}}\n", []place{{1, 29, "agents.sarah.clearance"}}, "a label"},
		{"bad size", "", "profiles: {auditor: {limits: {memory: 5 bananas}}}\n", []place{{1, 39, "profiles.auditor.limits.memory"}}, "not a size"},
		{"size overflows", "", "profiles: {auditor: {limits: {memory: 99999999999GiB}}}\n", []place{{1, 39, "profiles.auditor.limits.memory"}}, "not a size"},
		{"model without provider", "", "models:\n  x: {model: y}\n", []place{{2, 3, "models.x"}}, "lacks the key provider"},
		{"builtin with address", "", "models:\n  x:\n    provider: builtin\n    model: auditor\n    base_url: http://localhost/\n", []place{{5, 5, "models.x.base_url"}}, "no meaning for a builtin"},
		{"unknown provider", "", "models: {x: {provider: antropic, model: y}}\n", []place{{1, 24, "models.x.provider"}}, "did you mean anthropic?"},
		{"address with password", "", "models: {x: {provider: openai, model: y, base_url: \"https://u:p@h/\"}}\n", []place{{1, 52, "models.x.base_url"}}, "user name or password"},
		{"negative price", "", "models: {x: {provider: openai, model: y, price: {input: -1, output: 2}}}\n", []place{{1, 57, "models.x.price.input"}}, "out of range"},
		{"two anchors in one", "", "log:\n  anchor:\n    - {file: a, git: b}\n", []place{{3, 7, "log.anchor[0]"}}, "exactly one"},
		{"anchor is no address", "", "log: {anchor: [{webhook: \"ftp://x\"}]}\n", []place{{1, 26, "log.anchor[0].webhook"}}, "not a web address"},
		{"policy is no cedar file", "", "policy: [a.txt]\n", []place{{1, 10, "policy[0]"}}, "ends in .cedar"},
		{"endpoint in capitals", "", "endpoints: {API.example.org: {}}\n", []place{{1, 13, "endpoints.API.example.org"}}, "lower case"},
		{"private address without port", "", "endpoints: {x: {allow_private: [127.0.0.1]}}\n", []place{{1, 33, "endpoints.x.allow_private[0]"}}, "host:port"},
		{"seed key, wrong type", "", "web:\n  port: \"7860\"\n", []place{{2, 9, "web.port"}}, "must be a whole number"},
		{"seed key, auth as text", "", "web:\n  auth: hunter2\n", []place{{2, 9, "web.auth"}}, "must be a list"},
		{"seed key, auth too long", "", "web: {auth: [a, b, c]}\n", []place{{1, 13, "web.auth"}}, "exactly 2"},
		{"seed key, unknown action", "", "security: {dangerous_action: explode}\n", []place{{1, 30, "security.dangerous_action"}}, "use one of log, alert, ask, block"},
		{"tab indentation", "", "security:\n\tx: 1\n", []place{{2, 1, ""}}, "indent with spaces"},
		{"colon in a plain text", "", "logging:\n  file: a: b\n", []place{{2, 9, ""}}, "quotes"},
		{"list not closed", "", "policy: [a.cedar\n", []place{{1, 9, ""}}, "not found"},
		{"JSON not closed", "c.json", "{\"tools\": {", []place{{1, 12, ""}}, "unexpected EOF"},
		{"JSON after multibyte text", "c.json", `{"policy": ["ü.cedar", 5]}`, []place{{1, 24, "policy[1]"}}, "must be a text"},
		{"a list at the top", "", "- a\n", []place{{1, 1, ""}}, "must be a group of keys, not a list"},
		{"two documents", "", "readOnlyMode: true\n---\nreadOnlyMode: false\n", []place{{3, 1, ""}}, "second YAML document"},
		{"a tag", "", "readOnlyMode: !!bool true\n", []place{{1, 15, ""}}, "tags"},
		{"a merge key", "", "tools: &t {command_timeout: 3}\nlogging:\n  <<: *t\n", []place{{3, 3, ""}}, "merge keys"},
		{"an unknown alias", "", "tools: *t\n", []place{{1, 8, ""}}, "no anchor"},
		{"an alias of itself", "", "policy: &p [*p]\n", nil, "nested more than"},
		{"a zero byte", "", "a: \x00\n", []place{{1, 4, ""}}, "control character U+0000"},
		{"an escape sequence", "", "readOnlyMode: true\nx: \x1b[2J\n", []place{{2, 4, ""}}, "control character U+001B"},
		{"not UTF-8", "", "x: ü\ny: \xff\n", []place{{2, 4, ""}}, "UTF-8"},
		{"too deep", "", "a: " + strings.Repeat("[", 200) + "\n", []place{{1, 68, ""}}, "levels deep"},
		{"too deep in JSON", "c.json", strings.Repeat("[", 200), []place{{1, 65, ""}}, "levels deep"},
		{"too many tokens", "", strings.Repeat("a: 1\n", 20_000), nil, "tokens"},
		{"too large a file", "", strings.Repeat("#", maxBytes+1), nil, "the limit is"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := "sallyport.yaml"
			if tt.file != "" {
				name = tt.file
			}
			cfg, err := Parse(name, []byte(tt.in))
			if err == nil || cfg != nil {
				t.Fatalf("accepted: %+v", cfg)
			}
			if NotEnforced(err) {
				t.Errorf("taken for a key that is merely not enforced: %v", err)
			}
			var got []place
			for _, e := range flat(t, err) {
				got = append(got, place{e.Pos.Line, e.Pos.Column, e.Key})
				if e.Pos.File != name || e.Remedy == "" || e.Problem == "" {
					t.Errorf("incomplete: %+v", e)
				}
			}
			if diff := cmp.Diff(tt.want, got); tt.want != nil && diff != "" {
				t.Errorf("places (-want +got):\n%s\n%v", diff, err)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error lacks %q:\n%v", tt.says, err)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	_, err := Parse("dir/sallyport.yaml", []byte("security:\n  allowed_file_paths: \"/\"\n"))
	want := `dir/sallyport.yaml:2:23: security.allowed_file_paths: must be a list, not a text
  2 |   allowed_file_paths: "/"
    |                       ^
  remedy: write a list with one element: ["/"]`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	if got := fault.PublicText(err); got != `security.allowed_file_paths: must be a list, not a text; write a list with one element: ["/"]` {
		t.Errorf("public text = %q", got)
	}
}

func TestMarkedLineHidesSecretsAndControls(t *testing.T) {
	key := "sk-" + strings.Repeat("x1", 8)
	for _, in := range []string{
		"models:\n  x: {provider: openai, model: y, api_key: " + key + "}\n",
		"models:\n  x: {provider: openai, model: y, thing: " + key + "}\n",
		"web: {auth: [me, " + key + ", more]}\n",
		"{\"web\": {\"auth\": \"" + key + "\"}}",
		"web_password: " + key + "\n",
		"web:\n  auth:\n    - me\n    - 7313317313\n",
	} {
		_, err := Parse("sallyport.yaml", []byte(in))
		if err == nil || strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "7313317313") || strings.Contains(fault.PublicText(err), key) {
			t.Errorf("%q: the error shows the secret:\n%v", in, err)
		}
	}
	_, err := Parse("c.yaml", []byte("x: 1 "+strings.Repeat("y", 10_000)+"\n"))
	if len(err.Error()) > 600 {
		t.Errorf("the marked line is not bounded: %d bytes", len(err.Error()))
	}
	_, err = Parse("c.yaml", []byte("x: \x1b[31mred\n"))
	if strings.Contains(err.Error(), "\x1b") {
		t.Errorf("an escape sequence reaches the terminal: %q", err)
	}
}

// Aliases count each time they are used: the classic bomb of nine lines stays small.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		prev, this := string(rune('0'+i-1)), string(rune('0'+i))
		b.WriteString("a" + this + ": &a" + this + " [" + strings.TrimSuffix(strings.Repeat("*a"+prev+", ", 10), ", ") + "]\n")
	}
	_, err := Parse("c.yaml", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "after aliases are expanded") {
		t.Errorf("err = %v", err)
	}
	cfg, err := Parse("c.yaml", []byte("security:\n  blocked_commands: &list [dd, mkfs]\n  allowed_file_paths: [&d /srv, *d]\n"))
	if err != nil || len(cfg.Security.AllowedFilePaths) != 2 {
		t.Errorf("ordinary anchors: %v", err)
	}
}

func TestLineEndingsAndBOM(t *testing.T) {
	cfg, err := Parse("c.yaml", []byte("\xef\xbb\xbfreadOnlyMode: true\r\nlogging:\r\n  file: \"x\"\r\n"))
	if err != nil || !cfg.ReadOnlyMode || cfg.Logging.File != "x" {
		t.Errorf("CRLF: %+v, %v", cfg, err)
	}
	_, err = Parse("c.yaml", []byte("logging:\r\n  file: \"x\r\n    y\"\r\n  colour: 1\r\n"))
	if es := flat(t, err); len(es) != 1 || es[0].Pos.Line != 4 {
		t.Errorf("line after a folded text: %v", err)
	}
	for _, in := range []string{"", "# nothing\n", "{}", "---\n", "  \n\n"} {
		if cfg, err := Parse("c.yaml", []byte(in)); err != nil || cfg.ShellOutputTokens != 2500 {
			t.Errorf("%q: %v", in, err)
		}
	}
}
