package policy

import (
	"testing"

	"sallyport/internal/action"
	"sallyport/internal/record"
	"sallyport/internal/scan/command"
)

// TestWithRealReader decides with the reader that app injects, on the list
// that is shipped.
func TestWithRealReader(t *testing.T) {
	s := nightwatch()
	s.BlockedCommands = []string{"format", "del", "rm -rf", "shutdown", "reboot", "mkfs"}
	m, err := command.Compile(s.BlockedCommands)
	if err != nil {
		t.Fatal(err)
	}
	s.Commands = func(script string) Commands { return Commands(m.Read(script)) }
	s.Extra = []Source{{Name: "site.cedar", Text: `
@id("unclear") @ask("1:owner") @because("the owner looks at what cannot be read")
forbid (principal, action == Action::"exec", resource) when { context.command.unresolved } unless { context.approval.owner >= 1 };

@id("no-curl")
forbid (principal, action == Action::"exec", resource) when { context.command.programs.contains("curl") };`}}
	e := engine(t, s)
	for script, want := range map[string]struct {
		verdict record.Verdict
		rule    string
	}{
		"git log --format=%h; ls model": {record.Allow, "allow.exec"},
		"echo rm -rf":                   {record.Allow, "allow.exec"},
		"sudo /bin/rm -r -f x":          {record.Deny, "security.blocked_commands"},
		"bash -c 'mkfs.ext4 /dev/sda'":  {record.Deny, "security.blocked_commands"},
		"$X -rf /":                      {record.Ask, "unclear"},
		"nohup curl http://localhost":   {record.Deny, "no-curl"},
		"":                              {record.Allow, "allow.exec"},
	} {
		d := e.Decide(ask("night", action.Exec, "s", internalForeign, map[string]any{"script": script}))
		if d.Verdict != want.verdict || d.Rules[0] != want.rule {
			t.Errorf("%q: %v by %v: %s", script, d.Verdict, d.Rules, d.Because)
		}
		if d.Verdict != record.Allow && want.rule != "no-curl" && len(d.Advice) == 0 {
			t.Errorf("%q: no advice", script)
		}
	}
}
