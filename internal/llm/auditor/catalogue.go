package auditor

import (
	"strconv"
	"strings"
)

// Topics lists what the operator may ask for, in the catalogue's order.
func Topics() []string {
	return []string{"ssh", "accounts", "logs", "ports", "web", "files", "cron", "kernel", "firewall", "packages", "containers", "secrets"}
}

// preludes are the helper functions a topic's checks share.
var preludes = map[string]string{
	"ssh": sshPrelude, "logs": logPrelude, "web": webPrelude, "cron": cronPrelude,
}

// Catalogue gives every check, topic by topic. The slice is the caller's own.
func Catalogue() []Check {
	var all []Check
	for _, rows := range []struct {
		topic  string
		checks []Check
	}{
		{"ssh", sshChecks()},
		{"accounts", append(accountChecks(), sudoChecks()...)},
		{"logs", logChecks()},
		{"ports", portChecks()},
		{"web", webChecks()},
		{"files", fileChecks()},
		{"cron", cronChecks()},
		{"kernel", kernelChecks()},
		{"firewall", firewallChecks()},
		{"packages", packageChecks()},
		{"containers", containerChecks()},
		{"secrets", secretChecks()},
	} {
		for _, c := range rows.checks {
			c.Topic = rows.topic
			all = append(all, c)
		}
	}
	return all
}

// anyLine finds whatever the command printed: the shell has already selected.
func anyLine(o Output) Verdict {
	return Verdict{Bad: len(o.Data) > 0, Evidence: o.Data}
}

// atLeast finds lines "<count> <text>" whose count reaches n.
func atLeast(n int) func(Output) Verdict {
	return func(o Output) Verdict {
		var v Verdict
		for _, l := range o.Data {
			if c, ok := leading(l); ok && c >= n {
				v.Bad = true
				v.Evidence = append(v.Evidence, l)
			}
		}
		return v
	}
}

// leading reads the number a line begins with.
func leading(l string) (int, bool) {
	word, _, _ := strings.Cut(strings.TrimSpace(l), " ")
	n, err := strconv.Atoi(word)
	return n, err == nil
}

// graver gives severity sev to findings with a line that contains one of words.
func graver(sev Severity, words ...string) func(Output) Verdict {
	return func(o Output) Verdict {
		v := anyLine(o)
		for _, l := range o.Data {
			for _, w := range words {
				if strings.Contains(l, w) {
					v.Severity = sev
				}
			}
		}
		return v
	}
}
