//go:build unix

package screen

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// TestMain attaches a shell script to the terminal it was started on if asked
// to: the program that runs inside tmux.
func TestMain(m *testing.M) {
	script := os.Getenv("SCREEN_SCRIPT")
	if script == "" {
		os.Exit(m.Run())
	}
	if err := attachScript(script); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func attachScript(script string) error {
	cmd := exec.Command("bash", "-c", script)
	master, err := pty.Start(cmd)
	if err != nil {
		return err
	}
	o := Options{In: os.Stdin, Out: os.Stdout, Status: func() string { return "sallyport: ours" }}
	if path := os.Getenv("SCREEN_CAST"); path != "" {
		file, err := os.Create(path)
		if err != nil {
			return err
		}
		defer file.Close()
		o.Recorder = NewRecorder(file, RecorderOptions{})
		defer o.Recorder.Close()
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	s, err := Attach(ctx, real{master}, o)
	if err != nil {
		return err
	}
	defer s.Close()
	_ = s.Wait()
	return nil
}

// tmux is a real terminal with nobody in front of it.
type tmux struct {
	t      *testing.T
	socket string
}

// inTmux runs a script in a terminal of 12 rows, attached by us or, to see that
// an attack works, on its own.
func inTmux(t *testing.T, script string, attached bool, env ...string) *tmux {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is not installed; test/setup.sh installs it")
	}
	x := &tmux{t, filepath.Join(t.TempDir(), "s")}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The shell that stays shows what is left of the terminal afterwards.
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	run := "bash " + file
	if attached {
		run = "env SCREEN_SCRIPT='. " + file + "' " + strings.Join(env, " ") + " " + self
	}
	x.run("new-session", "-d", "-x", "60", "-y", "12", "sh", "-c", run+"; stty -a; exec cat")
	t.Cleanup(func() { exec.Command("tmux", "-S", x.socket, "kill-server").Run() })
	return x
}

func (x *tmux) run(args ...string) string {
	x.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// screen waits until what is shown is as expected.
func (x *tmux) screen(what string, ok func(rows []string) bool) []string {
	x.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var rows []string
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); <-tick.C {
		rows = strings.Split(strings.TrimSuffix(x.run("capture-pane", "-p"), "\n"), "\n")
		if ok(rows) {
			return rows
		}
	}
	x.t.Fatalf("never came: %s\n%s", what, strings.Join(rows, "\n"))
	return nil
}

const tmuxStatus = "sallyport: ours"

func ours(rows []string) bool { return len(rows) == 12 && rows[11] == tmuxStatus }

// settled ends a script with two round trips to the terminal, so that all
// before them was drawn, and then waits.
const settled = `
stty raw -echo
for i in 1 2; do printf '\033[6n'; IFS= read -r -d R x; done
printf '\033[?25l\033[1;1Hsettled'
cat >/dev/null`

// TestTmuxLastRow: what writes on the last row of a real terminal does not
// through us.
func TestTmuxLastRow(t *testing.T) {
	for name, in := range map[string]string{
		"address":   `\033[12;1Hevil\033[99;1Hevil`,
		"scroll":    `\033[r\033[11;1H\n\n\nevil\n\nevil`,
		"region":    `\033[1;3r\033[11;1H\n\nevil\033[99Bevil`,
		"alternate": `\033[?1049h\033[99;1Hevil\033[?1049l\033[99;1Hevil\033[2J\033[?47h\033[99Bevil\n\nevil`,
		"reset":     `\033c\033[99;1Hevil\033[!p\n\n\033[99Bevil`,
		"origin":    `\033[2;12r\033[?6h\033[99;1Hevil\n\n\n\nevil`,
		"all of it": `\033#8\033[99B\033Devil\033[?3h\033[12devil\033[?6h\033[99d\033[2J\033[12;60Hevil\nevil`,
	} {
		t.Run(name, func(t *testing.T) {
			script := "printf '" + in + "'" + settled
			bare := inTmux(t, script, false)
			rows := bare.screen("the attack", func(rows []string) bool { return strings.Contains(strings.Join(rows, ""), "settled") })
			if !strings.Contains(rows[11], "evil") {
				t.Errorf("the attack does not work at all:\n%s", strings.Join(rows, "\n"))
			}
			x := inTmux(t, script, true)
			rows = x.screen("the program", func(rows []string) bool { return strings.Contains(strings.Join(rows, ""), "settled") })
			if !ours(rows) {
				t.Errorf("the last row is not ours:\n%s", strings.Join(rows, "\n"))
			}
		})
	}
}

// TestTmuxEditor: vim looks and works as on a terminal of one row less.
func TestTmuxEditor(t *testing.T) {
	if _, err := exec.LookPath("vim"); err != nil {
		t.Skip("vim is not installed")
	}
	text := filepath.Join(t.TempDir(), "text")
	var b bytes.Buffer
	for i := range 100 {
		fmt.Fprintf(&b, "line %d grüße 世界\n", i+1)
	}
	if err := os.WriteFile(text, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	x := inTmux(t, "vim -u NONE -N -c 'set ruler' "+text, true)
	x.screen("the text", func(rows []string) bool {
		return strings.HasPrefix(rows[0], "line 1 ") && strings.HasPrefix(rows[9], "line 10 ") && ours(rows)
	})
	x.run("send-keys", "50jzt") // scrolls by margins
	x.screen("the text further down", func(rows []string) bool { return strings.HasPrefix(rows[0], "line 51 ") && ours(rows) })
	x.run("send-keys", "12j3k", "C-y", "C-y", "C-e")
	x.screen("scrolled by single rows", func(rows []string) bool {
		for i := range 9 {
			var first, n int
			fmt.Sscanf(rows[0], "line %d", &first)
			if fmt.Sscanf(rows[i], "line %d", &n); n != first+i || first == 51 {
				return false
			}
		}
		return ours(rows)
	})
	x.run("send-keys", "ohello", "Escape", ":split", "Enter", "dd")
	x.screen("two windows", func(rows []string) bool { return strings.Contains(strings.Join(rows, "|"), "text [+]") && ours(rows) })
	x.run("resize-window", "-x", "50", "-y", "9")
	x.screen("a smaller terminal", func(rows []string) bool {
		return len(rows) == 9 && rows[8] == tmuxStatus && strings.Contains(rows[6], "%")
	})
	x.run("resize-window", "-x", "60", "-y", "12")
	x.screen("a larger terminal", ours)
	x.run("send-keys", ":qa!", "Enter")
	x.screen("the shell", func(rows []string) bool {
		all := strings.Join(rows, "\n")
		return strings.Contains(all, " icanon") && strings.Contains(all, " echo ") && !strings.Contains(all, tmuxStatus) && !strings.Contains(all, "line 5")
	})
}

// TestTmuxKeys: the prefix key reaches us through a real terminal, and within a
// paste it reaches the program.
func TestTmuxKeys(t *testing.T) {
	x := inTmux(t, "stty raw -echo; printf ready; dd bs=1 count=4 2>/dev/null | od -An -tx1; cat >/dev/null", true)
	x.screen("the program", func(rows []string) bool { return strings.HasPrefix(rows[0], "ready") && ours(rows) })
	x.run("set-buffer", "a\x1d?b")
	x.run("paste-buffer", "-p")
	x.screen("the paste", func(rows []string) bool { return strings.Contains(rows[0], "61 1d 3f 62") && ours(rows) })
	x.run("send-keys", "C-]", "?")
	x.screen("help", func(rows []string) bool { return strings.Contains(rows[11], "close this help") })
	x.run("send-keys", "C-]", "?")
	x.screen("the status again", ours)
}

// TestTmuxKilled: a recording is whole when its writer is killed, and a
// terminal is restored when it is asked to end.
func TestTmuxKilled(t *testing.T) {
	cast := filepath.Join(t.TempDir(), "cast")
	x := inTmux(t, "printf '\\033[?1049h\\033[?1000hone\\r\\ntwo\\r\\n'; kill -TERM $PPID; sleep 60", true, "SCREEN_CAST="+cast)
	x.screen("the shell", func(rows []string) bool {
		all := strings.Join(rows, "\n")
		return strings.Contains(all, " icanon") && !strings.Contains(all, tmuxStatus)
	})
	if got := x.run("display-message", "-p", "#{mouse_any_flag}#{alternate_on}"); got != "00\n" {
		t.Errorf("mouse and alternate screen are %q", got)
	}
	x = inTmux(t, "printf 'one\\r\\ntwo\\r\\n'; read x; printf three; kill -KILL $PPID; sleep 60", true, "SCREEN_CAST="+cast)
	x.screen("the program", func(rows []string) bool { return strings.Contains(strings.Join(rows, "|"), "two") })
	x.run("send-keys", "Enter")
	x.screen("the end", func(rows []string) bool { return strings.Contains(strings.Join(rows, "|"), "icanon") })
	file, err := os.Open(cast)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var text bytes.Buffer
	if err := Text(file, &text); err != nil || !strings.Contains(text.String(), "one\ntwo\n") {
		t.Errorf("%q, %v", text.String(), err)
	}
}
