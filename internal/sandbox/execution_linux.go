package sandbox

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// execution is one Run.
type execution struct {
	s     *Shell
	b     *bash
	nonce string
	out   *outputBuffer
	began time.Time

	last  frame // the frame of an exiting shell, if it wrote one
	ended event
}

// How a wait ended.
type ending int

const (
	endedFrame ending = iota // the command is over, the shell lives
	endedDeath               // bash is gone
	endedTimer
	endedCtx
)

func (x *execution) do(ctx context.Context, script string, timeout time.Duration) (Result, error) {
	_ = x.b.out.SetReadDeadline(time.Time{})
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		_ = x.b.readOutput(x.out, true)
	}()
	go func() { _ = x.b.write(prologue(script, x.nonce)+x.b.epilogue(x.nonce), timeout) }()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	f, end := x.wait(ctx.Done(), timer.C)
	var res Result
	var err error
	switch end {
	case endedTimer:
		res.TimedOut = true
		f, end = x.stop()
	case endedCtx:
		err = fault.Wrap("sandbox.run", fault.Canceled, ctx.Err())
		f, end = x.stop()
	}
	_ = x.b.out.SetReadDeadline(time.Unix(1, 0))
	<-reading
	_ = x.b.out.SetReadDeadline(time.Time{})
	x.b.drain(x.out)
	x.out.fill(&res)
	x.settle(&res, f, end)
	res.Elapsed = time.Since(x.began)
	return res, err
}

// wait blocks until the command's frame, bash's death, the timer or cancel.
func (x *execution) wait(cancel <-chan struct{}, timer <-chan time.Time) (frame, ending) {
	frames := x.b.frames
	for {
		select {
		case f, ok := <-frames:
			switch {
			case !ok:
				frames = nil // bash has closed its end: its death is about to be told
			case f.tag == 'N' && f.nonce == x.nonce:
				return f, endedFrame
			case f.tag == 'X':
				x.last = f
			}
		case e := <-x.b.events:
			if e.Ev == evExit {
				x.ended = e
				return x.exitFrame(frames), endedDeath
			}
		case <-x.s.sb.done:
			x.ended = event{Status: int(syscall.SIGKILL)}
			return x.last, endedDeath
		case <-timer:
			return frame{}, endedTimer
		case <-cancel:
			return frame{}, endedCtx
		}
	}
}

// exitFrame collects what the dying bash still wrote.
func (x *execution) exitFrame(frames <-chan frame) frame {
	limit := time.After(time.Second)
	for frames != nil {
		select {
		case f, ok := <-frames:
			if !ok {
				return x.last
			}
			if f.tag == 'X' {
				x.last = f
			}
		case <-limit:
			return x.last
		}
	}
	return x.last
}

// stop ends the running command in four steps of rising force.
func (x *execution) stop() (frame, ending) {
	steps := []struct {
		sig   syscall.Signal
		scope string
	}{
		{syscall.SIGINT, scopeGroup},
		{syscall.SIGTERM, scopeDescendants},
		{syscall.SIGKILL, scopeDescendants},
		{syscall.SIGKILL, scopeShell},
	}
	for i, st := range steps {
		x.s.signal(st.sig, st.scope)
		if i == 1 {
			// an interrupt taken by a child leaves bash going on with the script
			x.s.signal(syscall.SIGINT, scopeGroup)
		}
		f, end := x.wait(nil, time.After(x.s.opts.Grace))
		if end == endedTimer {
			continue
		}
		if end == endedFrame {
			// what it left in the background goes too
			x.s.signal(syscall.SIGKILL, scopeDescendants)
		}
		return f, end
	}
	// not even a kill was answered: the sandbox itself is stuck
	x.s.sb.Kill()
	return x.last, endedDeath
}

// settle turns the end into the result and the shell's next state.
func (x *execution) settle(res *Result, f frame, end ending) {
	s := x.s
	if end == endedFrame {
		s.state = f.state
		if f.cwd != "" {
			s.cwd = f.cwd
		}
		res.Exit, res.FailedLine, res.Cwd = f.status, f.line, s.cwd
		res.Signal = shellSignal(res.Exit)
		return
	}
	res.ShellDied = true
	ws := unix.WaitStatus(x.ended.Status)
	switch {
	case ws.Exited():
		res.Exit = ws.ExitStatus()
	case ws.Signaled():
		res.Exit = 128 + int(ws.Signal())
	}
	res.Signal = shellSignal(res.Exit)
	res.Notice = "The shell ended and was started again; the working directory and exported variables are those before this command."
	if f.tag == 'X' {
		s.state = restorable(f.state)
		if f.cwd != "" {
			s.cwd = f.cwd
		}
		res.FailedLine = f.line
		res.Notice = "The script ended the shell; it was started again with the same directory, variables and functions."
	}
	select {
	case <-s.sb.done:
		res.Notice = "The sandbox has ended; no further command can run in it."
	default:
	}
	res.Cwd = s.cwd
	s.mu.Lock()
	if s.b == x.b {
		s.b = nil
	}
	s.mu.Unlock()
	s.sb.forget(x.b.id)
	x.b.close()
}

// restorable drops read-only declarations: bash's own would be refused, and
// one of the script's is not worth a shell that cannot work.
func restorable(state string) string {
	var w strings.Builder
	for line := range strings.Lines(state) {
		if flags, ok := strings.CutPrefix(line, "declare -"); ok {
			flags, _, _ = strings.Cut(flags, " ")
			if strings.Contains(flags, "r") {
				continue
			}
		}
		w.WriteString(line)
	}
	return w.String()
}

// shellSignal names the signal behind a shell status above 128.
func shellSignal(status int) string {
	if status <= 128 || status > 128+31 {
		return ""
	}
	if name := unix.SignalName(syscall.Signal(status - 128)); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", status-128)
}
