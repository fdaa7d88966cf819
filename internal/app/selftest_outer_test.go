package app

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/internal/sandbox"
	"sallyport/internal/sandbox/selftest"
)

func TestMain(m *testing.M) {
	MaybeInit()
	os.Exit(m.Run())
}

// TestOutsideProbes: each attack works without us and is stopped as it should
// be.
func TestOutsideProbes(t *testing.T) {
	probes, done := outsideProbes(sandbox.TierNone)
	defer done()
	start := time.Now()
	for _, number := range slices.Sorted(maps.Keys(probes)) {
		r := probes[number](t.Context())
		t.Logf("%d %+v", number, r)
		if r.Verdict == selftest.NotShown {
			if _, err := sandbox.StartTier(t.Context(), sandbox.Spec{View: sandbox.ViewWorkspace, Workdir: t.TempDir()}, sandbox.TierFull); err != nil {
				t.Skipf("no sandbox here: %v", err)
			}
		}
		if r.Verdict != selftest.Holds || !r.Holds {
			t.Errorf("case %d, %s: %s outside, %s inside: %s", number, r.Probe, r.Control, r.Inside, r.Detail)
		}
	}
	t.Logf("%v", time.Since(start))
}

// TestOutsideProbesWithoutOutlet: in the tier that has no way out there is
// nothing to attack, and nothing fails.
func TestOutsideProbesWithoutOutlet(t *testing.T) {
	probes, done := outsideProbes(sandbox.TierLandlock)
	defer done()
	for number, probe := range probes {
		r := probe(t.Context())
		want := []string{selftest.Absent}
		if number == 3 || number == 9 {
			want = []string{selftest.Holds, selftest.NotShown} // by root's user, who cannot reach its copy
		}
		if !slices.Contains(want, r.Verdict) || r.Probe == "" || r.Verdict != selftest.Holds && r.Detail == "" {
			t.Errorf("case %d: %+v", number, r)
		}
	}
}

func TestJudgedOuter(t *testing.T) {
	for _, c := range []struct{ control, inside, want string }{
		{selftest.Succeeded, "blocked:403", selftest.Holds},
		{selftest.Succeeded, "blocked:4031", selftest.Fails},
		{selftest.Succeeded, "blocked:200", selftest.Fails},
		{selftest.Succeeded, selftest.Succeeded, selftest.Fails},
		{"blocked:x", selftest.Succeeded, selftest.Fails},
		{"blocked:403", "blocked:403", selftest.NotShown},
		{selftest.Succeeded, "skipped:x", selftest.NotShown},
		{selftest.Succeeded, "", selftest.NotShown},
	} {
		r := judged(selftest.Result{Control: c.control, Inside: c.inside, Want: "403"})
		if r.Verdict != c.want || r.Holds != (c.want == selftest.Holds) {
			t.Errorf("%+v: %+v", c, r)
		}
	}
}

func TestOutcome(t *testing.T) {
	const no = "\nanswer: HTTP/1.1 403 Forbidden\nX: y\n"
	s := &street{token: "t0ken"}
	for _, c := range []struct {
		first, said string
		err         error
		hits        int64
		want        string
	}{
		{"", no + no, nil, 0, "blocked:403"},
		{"", no + "answer: HTTP/1.1 200 OK\n\nt0ken", nil, 0, selftest.Succeeded},
		{"", no, nil, 1, selftest.Succeeded},
		{"", no, errors.New("late"), 1, selftest.Succeeded},
		{"", no + "answer: HTTP/1.1 200 OK\n", nil, 0, `blocked:"200"`},
		{"", no + "answer: \n", nil, 0, `blocked:""`},
		{"", "", nil, 0, "skipped:no answer"},
		{"302", "answer: HTTP/1.1 302 Found\n" + no, nil, 0, "blocked:403"},
		{"302", no, nil, 0, "skipped:no answer"},
		{"302", no + no, nil, 0, `skipped:the first step was answered with "403"`},
	} {
		if got := s.outcome(outletAttack{first: c.first}, c.said, c.err, c.hits); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// FuzzOutcome: what is printed inside may be anything; without the token it is
// no success, and nothing of it gets into a terminal.
func FuzzOutcome(f *testing.F) {
	f.Add("302", "answer: HTTP/1.1 302 Found\r\nanswer: HTTP/1.1 403 Forbidden")
	f.Add("", "answer: \x1b[2J")
	f.Add("", "answer: 00018183000100000000000001610000010001")
	f.Fuzz(func(t *testing.T, first, said string) {
		s := &street{token: "t0ken"}
		got := s.outcome(outletAttack{first: first}, said, nil, 0)
		if (got == selftest.Succeeded) != strings.Contains(said, s.token) {
			t.Errorf("%q", got)
		}
		for _, r := range got + answerCode(said) {
			if r < ' ' || r > '~' {
				t.Errorf("%q, %q", got, answerCode(said))
			}
		}
	})
}
