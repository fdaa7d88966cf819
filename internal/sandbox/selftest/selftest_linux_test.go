package selftest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.MaybeInit()
	MaybeProbe()
	memoryLimit = testMemory
	os.Exit(m.Run())
}

const ordinaryUID = 64322

// TestAsOrdinaryUser runs the package again as a user without rights.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this run is an ordinary user's already")
	}
	dir, err := os.MkdirTemp("/var/tmp", "sallyport-user-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chown(dir, ordinaryUID, ordinaryUID); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(dir+"/selftest.test", "/proc/self/exe", 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.timeout=300s"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	cmd := exec.Command(dir+"/selftest.test", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + dir, "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinaryUID, Gid: ordinaryUID}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as uid %d: %v\n%s", ordinaryUID, err, out)
	}
	t.Logf("as uid %d:\n%s", ordinaryUID, out)
}

// TestTiers makes every probe: none may succeed but those the tier names, and
// every one of those must.
func TestTiers(t *testing.T) {
	for _, tier := range []sandbox.Tier{sandbox.TierFull, sandbox.TierLandlock} {
		t.Run(tier.String(), func(t *testing.T) {
			extra := map[int]func(context.Context) Result{20: func(context.Context) Result {
				return Result{Probe: "more", Control: Succeeded, Inside: "blocked:policy", Holds: true, Verdict: Holds}
			}}
			sum, results, err := Run(t.Context(), Options{Tier: tier, Extra: extra})
			if err != nil {
				t.Fatal(err)
			}
			var table bytes.Buffer
			if err := WriteTable(&table, results); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s\n%s", sum, &table)
			for _, r := range results {
				if r.Verdict == Fails {
					t.Errorf("case %d, %s: %s; want %s; %s", r.Case, r.Probe, r.Inside, r.Want, r.Detail)
				}
			}
			if !sum.OK() || len(sum.Unmet) > 0 {
				t.Errorf("%s; expected to succeed and did not: %v", sum, sum.Unmet)
			}
			if sum.Holds < 55 {
				t.Errorf("only %d probes show anything on this machine", sum.Holds)
			}
			if !slices.ContainsFunc(results, func(r Result) bool { return r.Case == 20 && r.Probe == "more" }) {
				t.Error("the extra probe is missing")
			}
		})
	}
	if m, _ := os.ReadDir("/var/tmp"); os.Getenv("TMPDIR") == "" {
		for _, e := range m {
			if strings.HasPrefix(e.Name(), "sallyport-selftest-") {
				t.Logf("left behind: %s", e.Name())
			}
		}
	}
}

// TestTable: 54 cases in order, every probe has a function and no other name.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	have := attempts()
	for i, c := range Cases() {
		if c.Number != i+1 || c.Name == "" || c.Attack == "" || c.Mechanism == "" || len(c.Probes) == 0 {
			t.Errorf("case %d is incomplete: %+v", i+1, c)
		}
		for _, p := range c.Probes {
			if names[p.Name] {
				t.Errorf("two probes are called %s", p.Name)
			}
			names[p.Name] = true
			if p.Absent == "" && p.Name != "swap-during-start" && have[p.Name] == nil {
				t.Errorf("%s has no attempt", p.Name)
			}
			if (p.Absent == "") == (p.Want == "") {
				t.Errorf("%s needs either an expectation or a reason", p.Name)
			}
		}
	}
	if len(Cases()) != 54 {
		t.Errorf("%d cases", len(Cases()))
	}
	for name := range have {
		if !names[name] && name != "swap-check" {
			t.Errorf("nothing uses the attempt %s", name)
		}
	}
	for _, m := range Misses(sandbox.TierLandlock, false, false) {
		if !names[m.Probe] || m.Why == "" {
			t.Errorf("no probe %q", m.Probe)
		}
	}
	if m := Misses(sandbox.TierFull, true, true); len(m) > 0 {
		t.Errorf("the full tier misses %v", m)
	}
}

func TestJudge(t *testing.T) {
	misses := []Miss{{Probe: "m", Why: "why"}}
	for _, c := range []struct{ probe, control, inside, want string }{
		{"p", Succeeded, "blocked:EPERM", Holds},
		{"p", Succeeded, "blocked:EACCES more", Holds},
		{"p", Succeeded, "blocked:EPERMISSIVE", Fails},
		{"p", Succeeded, Succeeded, Fails},
		{"p", "blocked:EPERM", Succeeded, Fails},
		{"p", "blocked:EPERM", "blocked:EPERM", NotShown},
		{"p", "skipped:x", "blocked:EPERM", NotShown},
		{"p", Succeeded, "skipped:x", NotShown},
		{"p", Succeeded, "", NotShown},
		{"m", Succeeded, Succeeded, NotPromised},
		{"m", Succeeded, "blocked:EPERM", Holds},
	} {
		r := Result{Control: c.control, Inside: c.inside}
		judge(Probe{Name: c.probe, Want: "EPERM|EACCES"}, &r, misses)
		if diff := cmp.Diff([]any{c.want, c.want == Holds}, []any{r.Verdict, r.Holds}); diff != "" {
			t.Errorf("%+v: %s", c, diff)
		}
	}
	var s Summary
	for _, v := range []string{Holds, Fails, NotPromised, NotShown, Absent} {
		s.add(Result{Verdict: v})
	}
	if got := fmt.Sprint(s.Holds, s.Fails, s.NotPromised, s.NotShown, s.Absent, s.OK()); got != "1 1 1 1 1 false" {
		t.Error(got)
	}
}
