// Package patrol holds the whole night watch against whole hosts: the built-in
// model's words, run by the real shell inside the kernel sandbox's auditor view.
package patrol

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/llm"
	"sallyport/internal/llm/auditor"
	"sallyport/internal/llm/auditor/fixture"
	"sallyport/internal/llm/token"
	"sallyport/internal/sandbox"
	"sallyport/internal/sandbox/collect"
)

func TestMain(m *testing.M) {
	sandbox.MaybeInit()
	os.Exit(m.Run())
}

const (
	tokenMax = 6000 // the seed's
	system   = 700  // about what the agent's own words take
	outMax   = 2500 // tokens of one output; the agent would cut a longer one
)

// watch is an agent loop reduced to what the model sees of one.
type watch struct {
	t              *testing.T
	shell          *sandbox.Shell
	client         llm.Client
	home, naisys   string
	messages       []llm.Message
	said           []string
	peak, sessions int
}

// start opens the auditor view over the given mounts.
func start(t *testing.T, replace map[string]string, facts string) *watch {
	t.Helper()
	if r := sandbox.Probe(t.Context()); r.Tier < sandbox.TierFull {
		t.Skipf("SKIPPED, NOT PASSED: the auditor view needs tier full, here is %v", r.Tier)
	}
	dir, err := os.MkdirTemp("", "patrol")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w := &watch{t: t, client: auditor.NewClient(), home: filepath.Join(dir, "home"), naisys: filepath.Join(dir, "naisys")}
	reports := filepath.Join(w.naisys, "security_reports")
	for _, d := range []string{w.home, reports} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	box, err := sandbox.Start(t.Context(), sandbox.Spec{
		View: sandbox.ViewAuditor, MinTier: sandbox.TierFull, Home: w.home, Writable: []string{reports}, Replace: replace, Facts: facts,
		Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + w.home, "NAISYS_FOLDER=" + w.naisys, "LANG=C.UTF-8"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = box.Close() })
	if w.shell, err = box.Shell(t.Context(), sandbox.ShellOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.shell.Close() })
	w.open("None")
	return w
}

func (w *watch) open(note string) {
	w.sessions++
	w.messages = nil
	w.hear("Previous Session Note:\n" + note + "\n")
}

func (w *watch) hear(text string) {
	n := system + token.Estimate(text)
	for _, m := range w.messages {
		n += token.Estimate(m.Text)
	}
	w.peak = max(w.peak, n)
	prompt := fmt.Sprintf("sarah@sallyport:%s [Tokens: %d/%d]$ ", w.home, n, tokenMax)
	w.messages = append(w.messages, llm.Message{Role: llm.User, Text: text + prompt})
}

var quoted = regexp.MustCompile(`^(comment|endsession) "([^"\n]*)"$`)

// patrol drives until the model pauses.
func (w *watch) patrol(turns int) {
	w.t.Helper()
	for range turns {
		res, err := w.client.Complete(w.t.Context(), llm.Request{Model: "auditor", System: "x", Messages: w.messages, MaxTokens: 4096}, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		w.messages = append(w.messages, llm.Message{Role: llm.Assistant, Text: res.Text})
		if strings.HasPrefix(res.Text, "pause ") {
			return
		}
		if m := quoted.FindStringSubmatch(res.Text); m != nil {
			if m[1] == "endsession" {
				w.open(m[2])
				continue
			}
			w.said = append(w.said, m[2])
			w.hear("Comment noted.\n")
			continue
		}
		w.hear(w.run(res.Text))
	}
	w.t.Fatalf("no pause after %d turns; said %q; last message:\n%s", turns, w.said, w.messages[len(w.messages)-1].Text)
}

func (w *watch) run(script string) string {
	w.t.Helper()
	res, err := w.shell.Run(w.t.Context(), script, 10*time.Second)
	if err != nil {
		w.t.Fatalf("shell: %v", err)
	}
	out := string(res.Head) + string(res.Tail)
	if res.TimedOut || res.ShellDied || res.DroppedBytes > 0 {
		w.t.Logf("timed out %v, shell died %v, dropped %d: %.200s\n%.200s", res.TimedOut, res.ShellDied, res.DroppedBytes, script, out)
	}
	if n := token.Estimate(out); n > outMax {
		w.t.Logf("an output has %d tokens and would be cut", n)
	}
	return out
}

// report gives the only report, JSON and text.
func (w *watch) report() (js, txt []byte) {
	w.t.Helper()
	m, _ := filepath.Glob(filepath.Join(w.naisys, "security_reports", "*.json"))
	if len(m) != 1 {
		w.t.Fatalf("reports %v; said %q", m, w.said)
	}
	js, err := os.ReadFile(m[0])
	if err != nil {
		w.t.Fatal(err)
	}
	if txt, err = os.ReadFile(strings.TrimSuffix(m[0], "json") + "txt"); err != nil {
		w.t.Fatal(err)
	}
	return js, txt
}

var (
	when = regexp.MustCompile(`\d+/\d+/\d{4} \d+:\d\d [AP]M`)
	iso  = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:]+Z`)
)

// TestFixtureHostsInTheSandbox must give the same reports as bind mounts without
// a sandbox do: the golden files are the auditor's own.
func TestFixtureHostsInTheSandbox(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT PASSED: owners of a fixture host need root")
	}
	for _, name := range fixture.Names() {
		t.Run(name, func(t *testing.T) {
			host, err := fixture.Materialise(t.TempDir(), name)
			if err != nil {
				t.Fatal(err)
			}
			w := start(t, host.Replace, host.Facts)
			w.patrol(200)
			js, txt := w.report()
			for ext, got := range map[string][]byte{"txt": txt, "json": js} {
				want, err := os.ReadFile("../../internal/llm/auditor/testdata/" + name + "." + ext)
				if err != nil {
					t.Fatal(err)
				}
				s := iso.ReplaceAllString(when.ReplaceAllString(string(got), "3/7/2024 5:40 AM"), "2024-03-07T05:40:00Z")
				if d := cmp.Diff(string(want), s); d != "" {
					t.Errorf("%s.%s inside the sandbox (-want +got):\n%s", name, ext, d)
				}
			}
			t.Logf("%d sessions, peak %d tokens, said %q", w.sessions, w.peak, w.said)
			if w.peak > tokenMax {
				t.Errorf("the context grew to %d tokens", w.peak)
			}
		})
	}
}

// TestThisHostInTheSandbox audits the machine the tests run on, facts and all.
func TestThisHostInTheSandbox(t *testing.T) {
	if testing.Short() {
		t.Skip("walks this host's file system")
	}
	facts := t.TempDir()
	sum, err := collect.Collect(context.Background(), facts, collect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(facts, 0o755); err != nil {
		t.Fatal(err)
	}
	w := start(t, nil, facts)
	w.patrol(200)
	js, txt := w.report()
	t.Logf("collected %v in %v; %d sessions, peak %d tokens\n%s", sum, sum.Elapsed, w.sessions, w.peak, txt)
	var r struct {
		Level    int
		Coverage auditor.Coverage
	}
	if err := json.Unmarshal(js, &r); err != nil {
		t.Fatal(err)
	}
	if r.Level < 1 || r.Level > 5 || r.Coverage.Checks < 52 || r.Coverage.Ran+r.Coverage.NotReadable+r.Coverage.NotInstalled+r.Coverage.Rotated != r.Coverage.Checks {
		t.Errorf("level %d, coverage %+v", r.Level, r.Coverage)
	}
	if r.Coverage.Rotated != 0 {
		t.Errorf("the first patrol left out %d checks", r.Coverage.Rotated)
	}
}
