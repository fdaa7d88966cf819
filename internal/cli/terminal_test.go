package cli

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"sallyport/internal/app"
)

// onTerminal runs a command line with a real terminal as standard output.
func onTerminal(t *testing.T, columns uint16, environ []string, args ...string) string {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminal here: %v", err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&out, master) // ends with EIO when the other side closes
	}()
	var errs bytes.Buffer
	code := Run(t.Context(), args, strings.NewReader(""), slave, &errs, environ)
	slave.Close()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("the terminal did not close")
	}
	master.Close()
	if code != 0 {
		t.Fatalf("code %d: %s", code, errs.String())
	}
	return out.String()
}

func TestColourIsForTerminalsThatWantIt(t *testing.T) {
	home := "HOME=" + t.TempDir()
	for _, tt := range []struct {
		name    string
		environ []string
		args    []string
		colour  bool
	}{
		{"plain terminal", []string{home, "TERM=xterm"}, []string{"models"}, true},
		{"NO_COLOR", []string{home, "TERM=xterm", "NO_COLOR=1"}, []string{"models"}, false},
		{"flag", []string{home, "TERM=xterm"}, []string{"models", "--no-color"}, false},
		{"dumb terminal", []string{home, "TERM=dumb"}, []string{"models"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := onTerminal(t, 100, tt.environ, tt.args...)
			if got := strings.Contains(out, "\x1b["); got != tt.colour {
				t.Errorf("colour %v, want %v: %q", got, tt.colour, out)
			}
		})
	}
	piped, _, _ := runHere(t, "models")
	if strings.Contains(piped, "\x1b") {
		t.Error("piped output has colour")
	}
}

func TestTablesFitTheTerminal(t *testing.T) {
	home := "HOME=" + t.TempDir()
	out := onTerminal(t, 110, []string{home, "NO_COLOR=1"}, "policy", "show")
	for line := range strings.Lines(out) {
		if w := width(strings.TrimRight(line, "\r\n")); w > 110 {
			t.Errorf("%d columns: %q", w, line)
		}
	}
	if !strings.Contains(out, "…") {
		t.Error("nothing was cut although the rules are longer than the terminal is wide")
	}
	narrow := onTerminal(t, 200, []string{home, "NO_COLOR=1", "COLUMNS=60"}, "reports")
	if !strings.Contains(narrow, "no reports yet") {
		t.Errorf("reports: %q", narrow)
	}
}

// TestRunHandlesItsInterrupts: the name by which the run command is told from
// others, whose first Ctrl-C ends them, is the parser's.
func TestRunHandlesItsInterrupts(t *testing.T) {
	var tree commands
	parser, err := newParser(&tree, &call{flags: &tree.globals})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse([]string{"run", "x.yaml", "--once"})
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Command() != runName {
		t.Errorf("the command is %q, runName is %q", parsed.Command(), runName)
	}
}

// TestVerdict: what ended a run decides the exit code, a failure before a level.
func TestVerdict(t *testing.T) {
	level := func(n int) *app.Report { return &app.Report{Level: n} }
	for _, tt := range []struct {
		name string
		sums []app.RunSummary
		fail int
		err  error
		want int
	}{
		{"fine", []app.RunSummary{{Ended: "pause", Report: level(2)}}, 0, nil, exitOK},
		{"below", []app.RunSummary{{Ended: "pause", Report: level(2)}}, 3, nil, exitOK},
		{"at", []app.RunSummary{{Ended: "pause", Report: level(3)}}, 3, nil, exitLevel},
		{"one of two", []app.RunSummary{{Ended: "pause"}, {Ended: "report", Report: level(5)}}, 4, nil, exitLevel},
		{"budget first", []app.RunSummary{{Ended: "budget", Report: level(5)}}, 1, nil, exitBudget},
		{"stopped", []app.RunSummary{{Ended: "stopped"}}, 0, nil, exitDenied},
		{"interrupted", []app.RunSummary{{Ended: "interrupted"}}, 0, nil, exitInterrupted},
		{"failed", []app.RunSummary{{Ended: "errors", Report: level(5)}}, 1, os.ErrInvalid, exitInternal},
	} {
		if got := exitCode((runCmd{FailLevel: tt.fail}).verdict(tt.sums, tt.err)); got != tt.want {
			t.Errorf("%s: code %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestParseWhen(t *testing.T) {
	zone := time.FixedZone("test", 2*3600)
	now := time.Date(2024, 3, 7, 12, 0, 0, 0, zone)
	for in, want := range map[string]time.Time{
		"90m":                  now.Add(-90 * time.Minute),
		"7d":                   now.AddDate(0, 0, -7),
		"2w":                   now.AddDate(0, 0, -14),
		"2024-03-01":           time.Date(2024, 3, 1, 0, 0, 0, 0, zone),
		"2024-03-01 10:30":     time.Date(2024, 3, 1, 10, 30, 0, 0, zone),
		"2024-03-01T10:30:00Z": time.Date(2024, 3, 1, 10, 30, 0, 0, time.UTC),
	} {
		if got, err := parseWhen(in, now); err != nil || !got.Equal(want) {
			t.Errorf("parseWhen(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "yesterday", "-5m", "99999999d", "2024-13-01"} {
		if got, err := parseWhen(bad, now); err == nil {
			t.Errorf("parseWhen(%q) = %v", bad, got)
		}
	}
}

func FuzzParseWhen(f *testing.F) {
	f.Add("7d")
	f.Add("2024-03-01T10:30:00Z")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = parseWhen(s, time.Now()) })
}
