package auditor

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/internal/llm/token"
)

// driver plays the agent loop around an engine: it runs shell replies with a real
// bash, keeps the transcript, counts tokens, and starts a new session when asked.
type driver struct {
	t       *testing.T
	engine  *Engine
	home    string
	naisys  string
	wrap    func(script string) *exec.Cmd
	limit   int
	turns   []Turn
	note    string
	said    []string
	paused  bool
	replies []string
	peak    int
	inject  map[int]string // before this reply, the operator says
	mangle  func(string) string
}

func newDriver(t *testing.T) *driver {
	dir := t.TempDir()
	d := &driver{t: t, engine: New(), home: filepath.Join(dir, "home"), naisys: filepath.Join(dir, "naisys"), limit: 6000, note: "None"}
	for _, p := range []string{d.home, d.naisys} {
		if err := os.MkdirAll(p, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d.wrap = func(script string) *exec.Cmd { return exec.Command("bash", "--noprofile", "--norc", script) }
	d.open()
	return d
}

func (d *driver) prompt() string {
	n := 800
	for _, t := range d.turns {
		n += token.Estimate(t.Text)
	}
	d.peak = max(d.peak, n)
	return fmt.Sprintf("sarah@sallyport:%s [Tokens: %d/%d]$ ", d.home, n, d.limit)
}

func (d *driver) open() {
	d.turns = nil
	text := "Previous Session Note:\n" + d.note + "\n"
	d.turns = []Turn{{Text: text + d.prompt()}}
}

func (d *driver) hear(text string) {
	d.turns = append(d.turns, Turn{Text: text + d.prompt()})
}

var quotedRE = regexp.MustCompile(`^(comment|endsession) "([^"\n]*)"$`)

// turn runs one reply and tells its first word.
func (d *driver) turn() string {
	d.t.Helper()
	reply := d.engine.Reply("You are sarah.", d.turns)
	d.replies = append(d.replies, reply)
	d.turns = append(d.turns, Turn{Assistant: true, Text: reply})
	if m := quotedRE.FindStringSubmatch(reply); m != nil {
		if m[1] == "endsession" {
			d.note = m[2]
			d.open()
			return m[1]
		}
		d.said = append(d.said, m[2])
		d.hear("Comment noted\n")
		return m[1]
	}
	if strings.HasPrefix(reply, "pause ") {
		d.paused = true
		return "pause"
	}
	if !strings.HasPrefix(reply, marker) {
		d.t.Fatalf("a reply is neither a script nor a built-in: %q", reply)
	}
	d.hear(d.shell(reply))
	return "shell"
}

func (d *driver) shell(script string) string {
	d.t.Helper()
	f := filepath.Join(d.t.TempDir(), "script")
	if err := os.WriteFile(f, []byte(script), 0o600); err != nil {
		d.t.Fatal(err)
	}
	cmd := d.wrap(f)
	cmd.Env = append(cmd.Env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME="+d.home, "NAISYS_FOLDER="+d.naisys, "LANG=C.UTF-8")
	cmd.Dir = "/"
	start := time.Now()
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &buf, &buf, time.Second
	err := cmd.Start()
	if err == nil { // as the real shell would, end what does not end
		stop := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		err = cmd.Wait()
		stop.Stop()
	}
	out := buf.Bytes()
	if err != nil {
		d.t.Logf("script ended with %v after %v: %.300s", err, time.Since(start), out)
	}
	if len(out) > 10000 {
		d.t.Errorf("a command printed %d characters; the shell would cut it", len(out))
	}
	s := string(out)
	if d.mangle != nil {
		s = d.mangle(s)
	}
	return s
}

// patrol drives until the model pauses.
func (d *driver) patrol(maxTurns int) {
	d.t.Helper()
	d.paused = false
	for i := range maxTurns {
		if msg := d.inject[i]; msg != "" {
			last := &d.turns[len(d.turns)-1]
			last.Text = adminPrefix + msg + "\n" + last.Text
		}
		d.turn()
		if d.paused {
			d.hear("")
			return
		}
	}
	d.t.Fatalf("no pause after %d turns; last reply:\n%s", maxTurns, d.replies[len(d.replies)-1])
}

func (d *driver) reports(ext string) []string {
	m, _ := filepath.Glob(filepath.Join(d.naisys, "security_reports", "*."+ext))
	return m
}
