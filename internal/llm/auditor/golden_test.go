package auditor

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/llm/auditor/fixture"
)

var update = flag.Bool("update", false, "write the golden reports anew")

// onFixture makes a driver whose shell sees the named fixture host in place of
// this machine's /etc, /var/log and so on, by bind mounts in a mount namespace of
// its own. It needs root; without it the test is skipped, and says so.
func onFixture(t *testing.T, name string) (*driver, fixture.Host) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT PASSED: bind mounts and owners of a fixture host need root")
	}
	if out, err := exec.Command("unshare", "--mount", "--propagation", "private", "true").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, NOT PASSED: no mount namespace here: %v %s", err, out)
	}
	d := newDriver(t)
	host, err := fixture.Materialise(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	var sh strings.Builder
	sh.WriteString("set -e; mount -t tmpfs none /run; mkdir -p /run/sallyport/host; mount --bind " + host.Facts + " /run/sallyport/host\n")
	for view, dir := range host.Replace {
		sh.WriteString("mount --bind " + dir + " " + view + "\n")
	}
	sh.WriteString("exec bash --noprofile --norc \"$1\"\n")
	d.wrap = func(script string) *exec.Cmd {
		return exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", sh.String(), "sh", script)
	}
	return d, host
}

var (
	whenRE   = regexp.MustCompile(`\d+/\d+/\d{4} \d+:\d\d [AP]M`)
	patrolRE = regexp.MustCompile(`"patrol": \d+`)
	isoRE    = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:]+Z`)
)

func normalise(b []byte) string {
	s := whenRE.ReplaceAllString(string(b), "3/7/2024 5:40 AM")
	s = patrolRE.ReplaceAllString(s, `"patrol": 1`)
	return isoRE.ReplaceAllString(s, "2024-03-07T05:40:00Z")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	p := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), -update writes it anew:\n%s", name, diff)
	}
}

type jsonReport struct {
	Version  int
	Host     string
	Level    int
	Coverage Coverage
	Findings []struct {
		ID, Check, Title, Recommendation, Reference string
		Severity                                    int
		Evidence                                    []string
	}
	Correlations []struct{ ID string }
	NotChecked   struct {
		NotReadable  []struct{ Check, Reason, Remedy string } `json:"not_readable"`
		NotInstalled []string                                 `json:"not_installed"`
		Rotated      []string
	} `json:"not_checked"`
}

func readReport(t *testing.T, path string) (jsonReport, []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r jsonReport
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, b)
	}
	return r, b
}

// wholeReport compares the report whose JSON is at path with its golden files, and
// checks what must hold for the fixture host whatever the files say.
func wholeReport(t *testing.T, d *driver, name, path string) jsonReport {
	t.Helper()
	r, js := readReport(t, path)
	txt, err := os.ReadFile(strings.TrimSuffix(path, "json") + "txt")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, name+".txt", normalise(txt))
	golden(t, name+".json", normalise(js))
	t.Logf("%d replies, peak %d tokens; %q", len(d.replies), d.peak, d.said)
	if d.peak > d.limit {
		t.Errorf("the context grew to %d of %d tokens", d.peak, d.limit)
	}
	if len(r.NotChecked.NotReadable) > 0 {
		t.Errorf("root could not read %v", r.NotChecked.NotReadable)
	}
	var found, missing []string
	for _, f := range r.Findings {
		found = append(found, f.Check)
	}
	for _, c := range Catalogue() {
		if !contains(found, c.ID) {
			missing = append(missing, c.ID)
		}
	}
	switch name {
	case "hardened":
		if r.Level != 1 || len(found) > 0 {
			t.Errorf("level %d, false findings %v", r.Level, found)
		}
	case "weak":
		if r.Level != 5 {
			t.Errorf("level %d", r.Level)
		}
		// PORT-07 compares with the running kernel; LOG-01 needs a host that logs nothing.
		if diff := cmp.Diff([]string{"LOG-01", "PORT-07"}, missing); diff != "" {
			t.Errorf("checks that found nothing on the weak host:\n%s", diff)
		}
	}
	if _, err := os.Stat("/tmp/sallyport-pwned"); err == nil {
		t.Error("text of a fixture's log was run as a command")
	}
	return r
}
