package auditor

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCatalogueIsWellFormed(t *testing.T) {
	checks := Catalogue()
	if len(checks) < 52 {
		t.Errorf("only %d checks", len(checks))
	}
	seen, perTopic := map[string]bool{}, map[string]int{}
	for _, c := range checks {
		perTopic[c.Topic]++
		if !idRE.MatchString(c.ID) || seen[c.ID] {
			t.Errorf("id %q is malformed or used twice", c.ID)
		}
		seen[c.ID] = true
		if c.Title == "" || c.Fix == "" || c.Ref == "" || c.Run == "" || c.Parse == nil || c.Severity < Info || c.Severity > Critical {
			t.Errorf("%s is incomplete", c.ID)
		}
		for _, s := range []string{c.Title, c.Fix, c.Ref} {
			if strings.ContainsAny(s, "\t\n\\%") || clean(s, 1000) != s {
				t.Errorf("%s: %q would not survive a tab-separated row", c.ID, s)
			}
		}
	}
	for _, topic := range Topics() {
		if perTopic[topic] == 0 {
			t.Errorf("topic %s has no checks", topic)
		}
	}
	for _, c := range Correlations() {
		for _, g := range append(c.All, []string{c.Raise}) {
			for _, id := range g {
				if !seen[id] {
					t.Errorf("%s names %s, which does not exist", c.ID, id)
				}
			}
		}
	}
}

func TestScriptsParseAndCannotCloseTheirHereDocument(t *testing.T) {
	e := New()
	prompt := regexp.MustCompile(`[a-z]+@[a-z]+:`)
	for name, script := range e.scripts {
		if strings.Contains(script, endMark) || prompt.MatchString(script) || !strings.HasSuffix(script, "\n") {
			t.Errorf("%s holds the end mark or a prompt, or has no last newline", name)
		}
		if n := len(script); n > 7500 {
			t.Errorf("%s has %d bytes: too much for one session", name, n)
		}
		cmd := exec.Command("bash", "-n")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func lines(s ...string) Output { return Output{Data: s} }

func TestParsers(t *testing.T) {
	row := map[string]*Check{}
	for _, c := range Catalogue() {
		row[c.ID] = &c
	}
	tests := []struct {
		name string
		id   string
		out  Output
		want Status
		sev  Severity
		need string
	}{
		{"explicit yes", "SSH-01", lines("global\tpermitrootlogin\tyes\tf:1"), Finding, Medium, ""},
		{"prohibit-password", "SSH-01", lines("global\tpermitrootlogin\tprohibit-password\tf:1"), OK, 0, ""},
		{"inside a Match block", "SSH-01", lines("global\tpermitrootlogin\tno\tf:1", "Match User x\tpermitrootlogin\tYES\tf:9"), Finding, Medium, ""},
		{"default yes", "SSH-02", Output{}, Finding, Low, ""},
		{"no default without the file", "SSH-02", Output{Notes: []Note{{Kind: "absent", What: "sshd"}}}, NotInstalled, 0, ""},
		{"no default past a closed include", "SSH-02", Output{Notes: []Note{{Kind: "unreadable", What: "/etc/ssh/sshd_config.d/x"}}}, NotReadable, 0, "root"},
		{"a finding beats a gap", "SSH-03", Output{Data: []string{"global\tpermitemptypasswords\tyes\tf:1"}, Notes: []Note{{Kind: "unreadable", What: "/x"}}}, Finding, Critical, ""},
		{"malformed rows are ignored", "SSH-03", lines("", "yes", "a\tb"), OK, 0, ""},
		{"grace time in minutes", "SSH-05", lines("global\tlogingracetime\t3m\tf:1"), Finding, Low, ""},
		{"grace time of nothing", "SSH-05", lines("global\tlogingracetime\t0\tf:1"), Finding, Low, ""},
		{"grace time fine", "SSH-05", lines("global\tlogingracetime\t2m\tf:1", "global\tmaxauthtries\t4\tf:2"), OK, 0, ""},
		{"protocol 1", "SSH-07", lines("global\tprotocol\t2,1\tf:1"), Finding, High, ""},
		{"brute force", "LOG-02", lines("20 from 192.0.2.1"), Finding, Medium, ""},
		{"some failures", "LOG-02", lines("19 failed logins in all", "19 from 192.0.2.1"), OK, 0, ""},
		{"no number", "LOG-02", lines("many from 192.0.2.1"), OK, 0, ""},
		{"closed log names its group", "LOG-02", Output{Notes: []Note{{"unreadable", "/var/log/auth.log", "adm"}}}, NotReadable, 0, "adm"},
		{"a group name is no command", "LOG-02", Output{Notes: []Note{{"unreadable", "/var/log/auth.log", "$(id)"}}}, NotReadable, 0, "root"},
		{"a slow command", "FILE-01", Output{Notes: []Note{{Kind: "partial", What: "/usr"}}}, NotReadable, 0, "time"},
		{"no facts", "ACC-02", Output{Notes: []Note{{Kind: "unreadable", What: factsDir + "/accounts"}}}, NotReadable, 0, "collector"},
		{"uid 0 in the log", "LOG-07", lines("new user: name=x, UID=0, GID=0"), Finding, High, ""},
		{"telnet", "PORT-01", lines("tcp 0.0.0.0:23 inetd (/x, uid 0)"), Finding, High, ""},
		{"plain ftp", "PORT-01", lines("tcp 0.0.0.0:21 ftpd (/x, uid 0)"), Finding, Medium, ""},
		{"random addresses", "KERN-01", lines("kernel.randomize_va_space 2"), OK, 0, ""},
		{"half random addresses", "KERN-01", lines("kernel.randomize_va_space 1"), Finding, Medium, ""},
		{"one update", "PKG-01", lines("a 1 -> 2"), Finding, Medium, ""},
		{"many updates, most not shown", "PKG-01", Output{Data: []string{"a 1 -> 2"}, Skipped: 40}, Finding, High, ""},
		{"lists a week old", "PKG-02", lines("7 days since the last apt update"), OK, 0, ""},
		{"ageing off", "ACC-06", lines("PASS_MAX_DAYS 99999"), Finding, Info, ""},
		{"weak hash", "ACC-06", lines("ENCRYPT_METHOD md5"), Finding, Medium, ""},
		{"good defaults", "ACC-06", lines("PASS_MAX_DAYS 90", "UMASK 077", "ENCRYPT_METHOD SHA512"), OK, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.id+" "+tt.name, func(t *testing.T) {
			got := judge(row[tt.id], tt.out)
			if got.Status != tt.want || got.Severity != tt.sev || got.Need != tt.need {
				t.Errorf("got %c severity %d need %q, want %c %d %q", got.Status, got.Severity, got.Need, tt.want, tt.sev, tt.need)
			}
		})
	}
}

func TestEvidenceIsBoundedAndPlain(t *testing.T) {
	o := Output{Skipped: 3}
	for range 8 {
		o.Data = append(o.Data, "\x1b[31m\u202e"+strings.Repeat("x", 500)+"\t\n$(id)")
	}
	got := judge(&Check{Parse: anyLine, Severity: Low}, o)
	if len(got.Evidence) != maxEvidence+1 || got.Evidence[maxEvidence] != "(and 6 more)" {
		t.Errorf("%d lines, last %q", len(got.Evidence), got.Evidence[len(got.Evidence)-1])
	}
	for _, l := range got.Evidence {
		if len(l) > 160 || clean(l, 1000) != l {
			t.Errorf("line %q", l)
		}
	}
}

func TestCorrelationsRaiseTheLevel(t *testing.T) {
	e := New()
	tests := []struct {
		name  string
		found map[string]Severity
		want  Severity
		fired []string
	}{
		{"nothing", nil, Info, nil},
		{"root login alone", map[string]Severity{"SSH-01": Medium}, Medium, nil},
		{"root login and guessing", map[string]Severity{"SSH-01": Medium, "LOG-02": Medium}, High, []string{"C-04"}},
		{"passwords and guessing", map[string]Severity{"SSH-02": Low, "LOG-02": Medium}, High, []string{"C-05"}},
		{"somebody got in", map[string]Severity{"SSH-02": Low, "LOG-04": High}, Critical, []string{"C-01"}},
		{"open database, no firewall", map[string]Severity{"PORT-02": High, "FW-01": Medium}, Critical, []string{"C-06"}},
		{"API configured, port closed", map[string]Severity{"DOC-03": High, "FW-02": Low}, Critical, []string{"C-03"}},
		{"low findings", map[string]Severity{"KERN-02": Low, "WEB-04": Info}, Low, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := state{last: map[string]record{}}
			for id, sev := range tt.found {
				s.last[id] = record{1, Finding, sev, "-"}
			}
			p := &patrol{number: 1, plan: []string{"all"}}
			_, fired := e.assess(&s, p)
			var ids []string
			for _, f := range fired {
				ids = append(ids, f.ID)
			}
			if got := e.level(&s, p); got != tt.want {
				t.Errorf("level %d, want %d", got, tt.want)
			}
			if d := cmp.Diff(tt.fired, ids); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCoverageLineLeadsWithWhatWasNotSeen(t *testing.T) {
	e := New()
	s := state{last: map[string]record{}, user: "sarah"}
	for i, c := range e.checks {
		switch {
		case i < 12:
			s.last[c.ID] = record{1, NotReadable, 0, "adm"}
		case i < 21:
			s.last[c.ID] = record{1, NotInstalled, 0, "-"}
		case i < 52:
			s.last[c.ID] = record{1, OK, 0, "-"}
		}
	}
	rest := len(e.checks) - 52
	want := "31 of " + itoa(len(e.checks)) + " checks; 12 need membership in adm: sudo usermod -aG adm sarah; 9 not installed; " + itoa(rest) + " rotated to a later patrol"
	if got := e.coverageLine(&s, &patrol{number: 1, plan: []string{"all"}}); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s.user = "a;b"
	if got := e.coverageLine(&s, &patrol{number: 1, plan: []string{"all"}}); !strings.Contains(got, "adm USER;") {
		t.Errorf("a user name that is none went through: %s", got)
	}
}
