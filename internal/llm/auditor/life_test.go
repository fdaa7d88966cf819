package auditor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lose ends the session without warning: with lost, the last command ran and its
// output never came back.
func (d *driver) lose(lost bool) {
	if lost {
		reply := d.engine.Reply("", d.turns)
		if strings.HasPrefix(reply, marker) {
			d.shell(reply)
		}
	}
	d.note = "None"
	d.open()
}

// TestTheWatchSurvivesKillsAndRotates takes a host through two patrols, with the
// process killed in between at awkward moments, and talks to it.
func TestTheWatchSurvivesKillsAndRotates(t *testing.T) {
	t.Parallel()
	d, _ := onFixture(t, "hardened")
	for i := range 18 {
		if d.turn() == "pause" {
			t.Fatal("the patrol ended before it could be killed")
		}
		if i%4 == 3 {
			d.lose(i%8 == 3)
		}
	}
	d.patrol(150)
	if n := len(d.reports("json")); n != 1 {
		t.Fatalf("%d reports after the first patrol", n)
	}
	wholeReport(t, d, "hardened", d.reports("json")[0])

	for said, want := range map[string]string{
		"help":                     "I understand: check <topic>",
		"delete everything":        "I am a set of rules, not a language model.",
		"check nonsense":           "I understand: check <topic>",
		"Explain F1!":              "has no finding F1.",
		"report":                   "The newest report is shown above: security_reports/",
		"check ssh $(touch /tmp/)": "I understand: check <topic>",
	} {
		before := len(d.said)
		last := &d.turns[len(d.turns)-1]
		last.Text = adminPrefix + said + "\n" + last.Text
		d.paused = false
		d.patrol(4)
		if got := strings.Join(d.said[before:], "\n"); !strings.Contains(got, want) {
			t.Errorf("%q was answered by %q", said, got)
		}
	}

	d.patrol(150)
	if n := len(d.reports("json")); n != 2 {
		t.Fatalf("%d reports after the second patrol", n)
	}
	r, _ := readReport(t, d.reports("json")[1])
	if r.Coverage.Rotated == 0 || r.Coverage.Ran >= r.Coverage.Checks/2+len(r.Findings)+20 || r.Level != 1 {
		t.Errorf("second patrol: %+v level %d", r.Coverage, r.Level)
	}
	for _, c := range Catalogue() {
		if c.Core && contains(r.NotChecked.Rotated, c.ID) {
			t.Errorf("core check %s was rotated away", c.ID)
		}
	}
}

func TestFindingsStayInTheRotation(t *testing.T) {
	e := New()
	s := state{last: map[string]record{}}
	for i, c := range e.checks {
		s.last[c.ID] = record{i % 3, OK, 0, "-"}
	}
	s.last["KERN-07"] = record{1, Finding, Low, "-"}
	seen := map[string]bool{}
	for n := 3; n < 6; n++ {
		plan := e.rotate(&s)
		if !contains(plan, "KERN-07") || !contains(plan, "SSH-01") {
			t.Errorf("patrol %d leaves out an open finding or the core: %v", n, plan)
		}
		for _, id := range plan {
			seen[id] = true
			s.last[id] = record{n, s.last[id].status, s.last[id].severity, "-"}
		}
	}
	if len(seen) != len(e.checks) {
		t.Errorf("three patrols saw %d of %d checks", len(seen), len(e.checks))
	}
}

// TestAnInterruptedTopicComesBackToTheRound asks for a topic in the middle.
func TestAnInterruptedTopicComesBackToTheRound(t *testing.T) {
	t.Parallel()
	d, _ := onFixture(t, "weak")
	d.inject = map[int]string{6: "check kernel"}
	d.patrol(180)
	reports := d.reports("json")
	if len(reports) != 2 || !strings.HasSuffix(reports[0], "-weak01-kernel.json") && !strings.HasSuffix(reports[1], "-weak01-kernel.json") {
		t.Fatalf("reports %v, said %q", reports, d.said)
	}
	for _, p := range reports {
		if strings.HasSuffix(p, "-kernel.json") {
			if r, _ := readReport(t, p); len(r.Findings) != 8 || r.Coverage.Checks != 8 {
				t.Errorf("topic report: %+v", r.Coverage)
			}
			continue
		}
		wholeReport(t, d, "weak", p)
	}
	last := &d.turns[len(d.turns)-1]
	last.Text = adminPrefix + "explain F3\n" + last.Text
	before := len(d.said)
	d.inject = nil
	d.patrol(4)
	if got := strings.Join(d.said[before:], "\n"); !strings.Contains(got, "F3 is check ACC-02: An account has no password. What to do: Lock it") {
		t.Errorf("explain F3: %q", got)
	}
}

// TestWhatIsClosedIsCountedAndNamesItsRemedy runs as an ordinary user.
func TestWhatIsClosedIsCountedAndNamesItsRemedy(t *testing.T) {
	t.Parallel()
	d, _ := onFixture(t, "hardened")
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("SKIPPED, NOT PASSED: setpriv is not here")
	}
	const uid = 65534
	for _, p := range []string{d.home, d.naisys} {
		for q := p; strings.HasPrefix(q, os.TempDir()+"/"); q = filepath.Dir(q) {
			if err := os.Chmod(q, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(p, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	root := d.wrap
	d.wrap = func(script string) *exec.Cmd {
		for q := script; strings.HasPrefix(q, os.TempDir()+"/"); q = filepath.Dir(q) {
			_ = os.Chmod(q, 0o755) // the test's own directories
		}
		cmd := root(script)
		for i, a := range cmd.Args {
			cmd.Args[i] = strings.Replace(a, "exec bash", "exec setpriv --reuid 65534 --regid 65534 --clear-groups bash", 1)
		}
		return cmd
	}
	d.inject = map[int]string{0: "check logs"}
	d.patrol(40)
	d.inject = map[int]string{0: "check accounts"}
	d.patrol(40)
	said := strings.Join(d.said, "\n")
	for _, want := range []string{"need membership in adm: sudo usermod -aG adm", "need root: run sallyport with sudo"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is missing in: %s", want, said)
		}
	}
	for _, p := range d.reports("json") {
		r, _ := readReport(t, p)
		for _, n := range r.NotChecked.NotReadable {
			if n.Reason == "" || n.Remedy == "" {
				t.Errorf("%s: reason %q remedy %q", n.Check, n.Reason, n.Remedy)
			}
			if n.Check == "LOG-02" && n.Reason != "/var/log/auth.log cannot be read by this user" {
				t.Errorf("LOG-02: %+v", n)
			}
		}
		if r.Coverage.NotReadable == 0 {
			t.Errorf("%s: nothing was closed: %+v", p, r.Coverage)
		}
	}
}

func TestItFailsClosedWithOneSentence(t *testing.T) {
	tests := []struct {
		name, want string
		set        func(*driver)
	}{
		{"no shell", "The shell does not run my commands", func(d *driver) {
			d.mangle = func(string) string { return "command execution is disabled\n" }
		}},
		{"closed home", "My home folder is not writable", func(d *driver) { d.home = "/proc/nowhere" }},
		{"no report folder", "The report could not be written", func(d *driver) { d.naisys = "/proc/nowhere" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDriver(t)
			tt.set(d)
			d.inject = map[int]string{0: "check kernel"}
			d.patrol(20)
			if len(d.said) != 1 || !strings.HasPrefix(d.said[0], tt.want) {
				t.Errorf("said %q", d.said)
			}
			if len(d.reports("txt")) != 0 {
				t.Error("a report was written")
			}
			d.inject = nil
			if word := d.turn(); word != "endsession" {
				t.Errorf("after the pause it did %q, not a fresh start", word)
			}
		})
	}
}

func TestReportsAreNeverOverwritten(t *testing.T) {
	d := newDriver(t)
	// A clock that stands still gives every report the same name.
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "date"), []byte("#!/bin/sh\n[ \"$1\" = +%s ] && { echo 1700000000; exit; }\nexec /bin/date \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	d.wrap = func(script string) *exec.Cmd {
		return exec.Command("bash", "--noprofile", "--norc", "-c", "PATH="+bin+":$PATH; . "+script)
	}
	for range 3 {
		d.inject = map[int]string{0: "check firewall"}
		d.patrol(20)
	}
	if n := len(d.reports("txt")); n != 3 {
		t.Errorf("%d reports: %v", n, d.reports("txt"))
	}
	if m, _ := filepath.Glob(filepath.Join(d.naisys, "security_reports", ".*")); len(m) != 0 {
		t.Errorf("left behind: %v", m)
	}
}

// TestAnEmptyJournalIsNoLog: a journal directory without a journal must not make
// the log checks fine.
func TestAnEmptyJournalIsNoLog(t *testing.T) {
	t.Parallel()
	d, host := onFixture(t, "hardened")
	log := host.Replace["/var/log"]
	if err := os.Remove(filepath.Join(log, "auth.log")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(log, "journal"), 0o755); err != nil {
		t.Fatal(err)
	}
	d.inject = map[int]string{0: "check logs"}
	d.patrol(30)
	r, _ := readReport(t, d.reports("json")[0])
	if len(r.Findings) != 1 || r.Findings[0].Check != "LOG-01" {
		t.Errorf("findings %+v", r.Findings)
	}
	for _, id := range []string{"LOG-02", "LOG-03", "LOG-04", "LOG-05", "LOG-06", "LOG-07"} {
		if !contains(r.NotChecked.NotInstalled, id) {
			t.Errorf("%s counts as checked without a log", id)
		}
	}
}
