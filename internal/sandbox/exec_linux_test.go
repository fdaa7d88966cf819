package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"sallyport/internal/fault"
)

// inTiers runs f in both tiers of the workspace view.
func inTiers(t *testing.T, f func(t *testing.T, x *target, sb *Sandbox)) {
	t.Helper()
	for _, v := range everyView[1:] {
		t.Run(v.view+"/"+v.tier.String(), func(t *testing.T) {
			x := newTarget(t)
			f(t, x, open(t, x.spec(v.view), v.tier))
		})
	}
}

// output runs one program to its end.
func output(t *testing.T, sb *Sandbox, c Command) (string, ExitStatus) {
	t.Helper()
	p, err := sb.Exec(t.Context(), c)
	must(t, err)
	p.Stdin.Close()
	out, err := io.ReadAll(p.Stdout)
	must(t, err)
	more, err := io.ReadAll(p.Stderr)
	must(t, err)
	st, err := p.Wait(t.Context())
	must(t, err)
	return string(out) + string(more), st
}

func TestExecPipes(t *testing.T) {
	inTiers(t, func(t *testing.T, x *target, sb *Sandbox) {
		p, err := sb.Exec(t.Context(), Command{
			Argv: []string{"sh", "-c", "cat; echo \"$1|$FOO|$PWD|$HOME\" >&2; echo again > /dev/stdout; exit 3", "-", "a\xffb\n"},
			Env:  []string{"FOO=\xfebar", "PATH=relative::/usr/bin:/bin"},
			Dir:  "/usr",
		})
		must(t, err)
		_, err = io.WriteString(p.Stdin, "hello")
		must(t, err)
		must(t, p.Stdin.Close())
		out, _ := io.ReadAll(p.Stdout)
		more, _ := io.ReadAll(p.Stderr)
		if got, want := string(out)+string(more), "helloagain\na\xffb\n|\xfebar|/usr|\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		st, err := p.Wait(t.Context())
		if diff := cmp.Diff(ExitStatus{Code: 3}, st); diff != "" || err != nil {
			t.Error(diff, err)
		}
		if out, _ := output(t, sb, Command{Argv: []string{"sh", "-c", "pwd; echo $HOME"}}); sb.spec.View == ViewWorkspace && out != x.work+"\n"+x.home+"\n" {
			t.Errorf("defaults: %q", out)
		}
		if out, _ := output(t, sb, Command{Argv: []string{"/usr/bin/env"}, Env: []string{}}); sb.report.Tier == TierFull && out != "" {
			t.Errorf("environment from nowhere: %q", out)
		}
	})
}

func TestExecRefusals(t *testing.T) {
	inTiers(t, func(t *testing.T, x *target, sb *Sandbox) {
		dir := sb.spec.Home
		script := func(name, text string, mode os.FileMode) string {
			must(t, os.WriteFile(dir+"/"+name, []byte(text), 0o644))
			must(t, os.Chmod(dir+"/"+name, mode))
			return dir + "/" + name
		}
		plain := script("plain", "#!/bin/sh\n", 0o644)
		none := script("none", "#!/no/such/interpreter\n", 0o755)
		script("mine", "#!/bin/sh\n", 0o755)
		odd := script("odd", "\x00\x01", 0o755)
		env := []string{"PATH=/usr/bin:" + dir}
		for _, c := range []struct {
			name string
			cmd  Command
			kind fault.Kind
			says []string
		}{
			{"absent", Command{Argv: []string{"no-such-program"}, Env: env}, fault.NotFound, []string{"no-such-program", "/usr/bin:" + dir}},
			{"absent path", Command{Argv: []string{"/usr/bin/no-such"}}, fault.NotFound, []string{"/usr/bin/no-such"}},
			{"absent relative", Command{Argv: []string{"./no-such"}, Dir: dir}, fault.NotFound, []string{"./no-such"}},
			{"no PATH", Command{Argv: []string{"sh"}, Env: []string{}}, fault.NotFound, []string{`PATH there is ""`}},
			{"relative PATH", Command{Argv: []string{"mine"}, Env: []string{"PATH=.:"}, Dir: dir}, fault.NotFound, []string{"mine"}},
			{"PATH from the root", Command{Argv: []string{"sh"}, Env: []string{"PATH=usr/bin:bin"}}, fault.NotFound, []string{"usr/bin:bin"}},
			{"not executable", Command{Argv: []string{"plain"}, Env: env}, fault.Denied, []string{"plain"}},
			{"not executable path", Command{Argv: []string{plain}}, fault.Denied, []string{plain}},
			{"a directory", Command{Argv: []string{"/usr"}}, fault.Denied, []string{"/usr"}},
			{"no interpreter", Command{Argv: []string{none}}, fault.NotFound, []string{"interpreter"}},
			{"no format", Command{Argv: []string{odd}}, fault.Denied, []string{"#!"}},
			{"no directory", Command{Argv: []string{"true"}, Dir: "/no/such"}, fault.NotFound, []string{"/no/such"}},
			{"relative directory", Command{Argv: []string{"true"}, Dir: "usr"}, fault.Usage, []string{"absolute"}},
			{"nothing", Command{}, fault.Usage, []string{"no program"}},
			{"NUL", Command{Argv: []string{"true", "a\x00b"}}, fault.Usage, []string{"NUL"}},
			{"environment", Command{Argv: []string{"true"}, Env: []string{"x"}}, fault.Usage, []string{"NAME=value"}},
			{"too long", Command{Argv: []string{"true", strings.Repeat("x", maxPacket)}}, fault.Usage, []string{"file"}},
		} {
			_, err := sb.Exec(t.Context(), c.cmd)
			if !fault.Is(err, c.kind) {
				t.Errorf("%s: %v, want %s", c.name, err, c.kind)
			}
			for _, s := range c.says {
				if !strings.Contains(fault.PublicText(err), s) {
					t.Errorf("%s: no %q in %q", c.name, s, fault.PublicText(err))
				}
			}
		}
		if out, st := output(t, sb, Command{Argv: []string{"true"}}); st.Code != 0 {
			t.Errorf("after the refusals: %v %s", st, out)
		}
	})
	x := newTarget(t)
	spec := x.spec(ViewWorkspace)
	spec.ReadOnly = true
	if _, err := open(t, spec, TierFull).Exec(t.Context(), Command{Argv: []string{"true"}}); !fault.Is(err, fault.Denied) {
		t.Errorf("read-only: %v", err)
	}
}

// TestExecLimits reads the limits with the first thing the program does. It
// raises them and starts another program at once: there must be no moment in
// which that would work.
func TestExecLimits(t *testing.T) {
	inTiers(t, func(t *testing.T, x *target, sb *Sandbox) {
		const greedy = "ulimit -c 1 2>/dev/null; ulimit -f unlimited 2>/dev/null; ulimit -v >/dev/null; exec cat /proc/self/limits"
		for range 10 {
			out, _ := output(t, sb, Command{Argv: []string{"sh", "-c", greedy}})
			got := map[string][]string{}
			for line := range strings.Lines(out) {
				if len(line) > 26 {
					got[strings.TrimSpace(line[:26])] = strings.Fields(line[26:])
				}
			}
			for name, want := range map[string]string{
				"Max core file size": "0", "Max file size": strconv.Itoa(32 << 20), "Max data size": strconv.Itoa(512 << 20),
				"Max cpu time": strconv.Itoa(DefaultCPUSeconds),
			} {
				if f := got[name]; len(f) < 2 || f[0] != want || f[1] != want {
					t.Fatalf("%s: %v, want %s twice\n%s", name, f, want, out)
				}
			}
			if f := got["Max open files"]; len(f) < 2 || f[0] != strconv.Itoa(openFiles) {
				t.Fatalf("open files: %v", f)
			}
		}
	})
}

func TestExecSignals(t *testing.T) {
	inTiers(t, func(t *testing.T, x *target, sb *Sandbox) {
		p, err := sb.Exec(t.Context(), Command{Argv: []string{"sh", "-c", "trap 'echo caught; exit 7' USR1; echo ready; while :; do read x; done"}})
		must(t, err)
		line := make([]byte, 6)
		_, err = io.ReadFull(p.Stdout, line)
		must(t, err)
		must(t, p.Signal(unix.SIGUSR1))
		p.Stdin.Close()
		out, _ := io.ReadAll(p.Stdout)
		if st, err := p.Wait(t.Context()); string(out) != "caught\n" || st.Code != 7 || err != nil {
			t.Errorf("%q %v %v", out, st, err)
		}
		if err := p.Signal(unix.SIGUSR1); !fault.Is(err, fault.NotFound) {
			t.Errorf("signal to an ended program: %v", err)
		}
		p, err = sb.Exec(t.Context(), Command{Argv: []string{"sh", "-c", "sleep 1000 & sleep 1000"}})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.Wait(ctx); !fault.Is(err, fault.Canceled) {
			t.Errorf("cancelled wait: %v", err)
		}
		p.Kill()
		st, err := p.Wait(t.Context())
		if diff := cmp.Diff(ExitStatus{Code: 137, Signal: "SIGKILL"}, st); diff != "" || err != nil {
			t.Error(diff, err)
		}
		if _, err := io.ReadAll(p.Stdout); err != nil {
			t.Error(err) // the background sleep is gone too, or this would wait for it
		}
		if err := p.Resize(WinSize{1, 1}); !fault.Is(err, fault.Usage) {
			t.Errorf("resize without a terminal: %v", err)
		}
		p, err = sb.Exec(t.Context(), Command{Argv: []string{"sleep", "1000"}})
		must(t, err)
		sb.Kill()
		if st, err := p.Wait(t.Context()); err == nil && st.Signal != "SIGKILL" || err != nil && !fault.Is(err, fault.Unavailable) {
			t.Errorf("end of the sandbox: %v %v", st, err)
		}
		<-sb.Done()
		if _, err := sb.Exec(t.Context(), Command{Argv: []string{"true"}}); !fault.Is(err, fault.Unavailable) {
			t.Errorf("start in an ended sandbox: %v", err)
		}
	})
}

// screen reads a terminal.
type screen struct {
	t   *testing.T
	p   *Process
	all string
}

func (s *screen) send(text string) {
	s.t.Helper()
	_, err := s.p.Terminal.WriteString(text)
	must(s.t, err)
}

// until reads until the screen shows want, and forgets everything up to it.
func (s *screen) until(want string) string {
	s.t.Helper()
	must(s.t, s.p.Terminal.SetReadDeadline(time.Now().Add(10*time.Second)))
	buf := make([]byte, 4096)
	for {
		if before, after, ok := strings.Cut(s.all, want); ok {
			s.all = after
			return before
		}
		n, err := s.p.Terminal.Read(buf)
		if err != nil {
			s.t.Fatalf("no %q: %v; the screen shows %q", want, err, s.all)
		}
		s.all += string(buf[:n])
	}
}

func TestExecTerminal(t *testing.T) {
	inTiers(t, func(t *testing.T, x *target, sb *Sandbox) {
		p, err := sb.Exec(t.Context(), Command{Argv: []string{"bash", "--norc", "--noprofile", "-i"}, Env: append(sb.inside.Env, "PS1=% ", "TERM=dumb"), TTY: &WinSize{Rows: 33, Cols: 111}})
		must(t, err)
		s := &screen{t: t, p: p}
		run := func(command, want string) {
			t.Helper()
			s.until("% ")
			s.send(command + "\n")
			s.until("\r\n")
			s.until(want)
		}
		run("tty", "/dev/pts/")
		run("stty size", "33 111\r\n")
		run("stat -c %u $(tty); id -u", fmt.Sprintf("%d\r\n%[1]d\r\n", payloadUID()))
		run("echo > /dev/tty; echo tty=$?", "tty=0\r\n")
		run(`bash -c 'trap "stty size; exit" WINCH; echo s"e"t; while :; do sleep .02; done'`, "set\r\n")
		must(t, p.Resize(WinSize{Rows: 44, Cols: 122}))
		s.until("44 122\r\n")
		run("bash -c 'echo run; exec cat'", "run\r\n")
		s.send("\x1a")
		s.until("Stopped")
		run("jobs -l", "Stopped")
		run("fg", "cat")
		s.send("once\n") // only the terminal's foreground job may read it
		s.until("once\r\nonce\r\n")
		must(t, p.Signal(unix.SIGINT)) // to that job, not to the shell
		run("bash -c 'echo run; exec sleep 1000'", "run\r\n")
		s.send("\x1a")
		s.until("Stopped")
		run("bg; jobs -r | wc -l", "1\r\n")
		run("kill %?sleep", "") // or it would hold the terminal at the end
		run("echo still here", "still here\r\n")
		run(quote(attacker(x, sb))+" attack tiocsti x tiocsti-high x tioclinux x", strings.Repeat("refused: operation not permitted\r\n", 3))
		s.until("% ")
		s.send("exit 5\n")
		st, err := p.Wait(t.Context())
		if st.Code != 5 || err != nil {
			t.Errorf("%v %v", st, err)
		}
		_, err = io.Copy(io.Discard, p.Terminal)
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("the end of a terminal: %v", err)
		}
		must(t, p.Terminal.Close())
	})
}

func payloadUID() int {
	if os.Geteuid() == 0 {
		return PayloadUID
	}
	return os.Geteuid()
}

// attacker is where the view has the test binary.
func attacker(x *target, sb *Sandbox) string {
	if sb.spec.View == ViewAuditor {
		return x.home + "/attacker"
	}
	return x.work + "/attacker"
}

// TestHangUp closes the master: what the terminal's session runs must end.
func TestHangUp(t *testing.T) {
	inTiers(t, func(t *testing.T, x *target, sb *Sandbox) {
		p, err := sb.Exec(t.Context(), Command{Argv: []string{"sleep", "1000"}, TTY: &WinSize{Rows: 24, Cols: 80}})
		must(t, err)
		must(t, p.Terminal.Close())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if st, err := p.Wait(ctx); st.Signal != "SIGHUP" || err != nil {
			t.Errorf("%v %v", st, err)
		}
	})
}

// TestOtherTerminals: in the landlock tier the host's terminals have names, and
// some belong to the payload's own user.
func TestOtherTerminals(t *testing.T) {
	other, err := openTerminal("/dev/ptmx", WinSize{24, 80})
	must(t, err)
	defer other.close()
	name := fmt.Sprintf("/proc/self/fd/%d", other.slave)
	name, err = os.Readlink(name)
	must(t, err)
	if os.Geteuid() == 0 {
		must(t, os.Chown(name, PayloadUID, PayloadUID))
	}
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err) // this user could
	f.Close()
	x := newTarget(t)
	sb := open(t, x.spec(ViewWorkspace), TierLandlock)
	out, st := output(t, sb, Command{Argv: []string{"sh", "-c", "echo lies > " + name}})
	if st.Code == 0 || !strings.Contains(out, "ermission denied") {
		t.Errorf("another terminal could be written to: %v %s", st, out)
	}
}

// TestExecDaemons: what has left the program's session and ignores every signal
// dies with the program's Kill, the stage, the sandbox.
func TestExecDaemons(t *testing.T) {
	for i, end := range []struct {
		name string
		do   func(*Sandbox, *Process)
	}{
		{"sandbox", func(sb *Sandbox, _ *Process) { sb.Kill() }},
		{"stage", func(sb *Sandbox, _ *Process) { _ = sb.proc.Kill() }},
		{"program", func(_ *Sandbox, p *Process) { p.Kill() }},
	} {
		t.Run(end.name, func(t *testing.T) {
			x := newTarget(t)
			sb := open(t, x.spec(ViewWorkspace), TierFull)
			mark := fmt.Sprintf("4%d%03d", os.Getpid(), i)
			p, err := sb.Exec(t.Context(), Command{Argv: []string{"bash", "-c", daemons(mark) + "; echo up; exec sleep 1000"}})
			must(t, err)
			if _, err := io.ReadFull(p.Stdout, make([]byte, 3)); err != nil || running(mark) < 3 {
				t.Fatalf("%d daemons run, the test proves nothing: %v", running(mark), err)
			}
			end.do(sb, p)
			gone(t, mark, time.Second)
		})
	}
}

// TestLandlockTierRefusesToHideWithin: what lies inside a granted directory
// cannot be hidden without mounts, so nothing is started that promises to.
func TestLandlockTierRefusesToHideWithin(t *testing.T) {
	x := newTarget(t)
	hidden := x.work + "/.env"
	must(t, os.WriteFile(hidden, []byte("KEY=fake\n"), 0o666))
	spec := x.spec(ViewWorkspace)
	spec.Masked = append(spec.Masked, hidden)
	if out, _ := output(t, open(t, spec, TierLandlock), Command{Argv: []string{"cat", hidden}}); out != "KEY=fake\n" {
		t.Errorf("the test proves nothing: %q", out)
	}
	_, err := StartTier(t.Context(), spec, TierLandlock)
	if !fault.Is(err, fault.Unsupported) || !strings.Contains(fault.PublicText(err), "tier full") {
		t.Errorf("started: %v", err)
	}
	sb, err := StartTier(t.Context(), x.spec(ViewWorkspace), TierFull)
	must(t, err)
	defer sb.Close()
	if sb.Report().Tier != TierFull {
		t.Error(sb.Report().Tier)
	}
	if _, err := StartTier(t.Context(), spec, TierNone); !fault.Is(err, fault.Unsupported) {
		t.Errorf("tier none: %v", err)
	}
}

func TestWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.Map(rapid.SliceOf(rapid.ByteRange(1, 255)), func(b []byte) string { return string(b) })
		w := words(rapid.SliceOf(word).Draw(t, "words"))
		if rapid.Bool().Draw(t, "nil") {
			w = nil
		}
		b, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		var back words
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w, back); diff != "" {
			t.Error(diff)
		}
	})
}

// BenchmarkExec starts /bin/true in a running sandbox.
func BenchmarkExec(b *testing.B) {
	dir, err := filepath.EvalSymlinks(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	spec, err := Spec{View: ViewWorkspace, Workdir: dir}.normalise()
	if err != nil {
		b.Fatal(err)
	}
	sb, err := startTier(b.Context(), spec, TierFull)
	if err != nil {
		b.Fatal(err)
	}
	defer sb.Close()
	for b.Loop() {
		p, err := sb.Exec(b.Context(), Command{Argv: []string{"/bin/true"}})
		if err != nil {
			b.Fatal(err)
		}
		_, _ = p.Wait(b.Context())
		p.closeFiles()
	}
}
