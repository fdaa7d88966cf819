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

	texts chan string // what bash is to read, in order

	running     bool  // the script has been read and begun
	sent, acked int   // numbers of the last signal sent and the last delivered
	last        frame // the frame of an exiting shell, if it wrote one
	ended       event
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
	written := make(chan struct{})
	go func() {
		defer close(written)
		for t := range x.texts {
			_ = x.b.write(t, timeout+time.Minute)
		}
	}()
	x.write(prologue(script, x.nonce) + x.b.epilogue(x.nonce))
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
	case endedFrame, endedDeath:
	}
	if end == endedFrame && x.sent > 0 {
		end = x.resync()
	}
	_ = x.b.out.SetReadDeadline(time.Unix(1, 0))
	<-reading
	_ = x.b.out.SetReadDeadline(time.Time{})
	x.b.drain(x.out)
	x.out.fill(&res)
	x.settle(&res, f, end) // closes the pipes of a dead shell
	close(x.texts)
	<-written
	res.Elapsed = time.Since(x.began)
	return res, err
}

// wait blocks until the command's frame, bash's death, the timer or cancel.
func (x *execution) wait(cancel <-chan struct{}, timer <-chan time.Time) (frame, ending) {
	frames := x.b.frames
	var again <-chan time.Time
	tries := 0
	for {
		select {
		case f, ok := <-frames:
			switch {
			case !ok:
				frames = nil // bash has closed its end: its death is about to be told
			case f.tag == 'S' && f.nonce == x.nonce:
				x.running = true
			case f.tag == 'N' && f.nonce == x.nonce:
				return f, endedFrame
			case f.tag == 'X':
				x.last = f
			}
		case e := <-x.b.events:
			switch e.Ev {
			case evExit:
				x.ended = e
				return x.exitFrame(frames), endedDeath
			case evSent:
				x.acked = e.Seq
			}
		case <-x.s.sb.done:
			x.ended = event{Status: int(syscall.SIGKILL)}
			return x.last, endedDeath
		case <-x.s.intr:
			tries, again = interruptTries, time.After(0)
		case <-again:
			again = x.interrupt(&tries)
		case <-timer:
			return frame{}, endedTimer
		case <-cancel:
			return frame{}, endedCtx
		}
	}
}

// interruptTries is how often an interrupt is repeated. Bash forgets one that
// arrives just as a child of its ends well; a person would press the key again.
const interruptTries = 3

// interrupt sends one and says when to send the next.
func (x *execution) interrupt(tries *int) <-chan time.Time {
	if !x.running {
		return time.After(5 * time.Millisecond) // bash is still reading the script
	}
	if *tries == 0 {
		return nil
	}
	if *tries < interruptTries {
		// It may have hit bash while reading the epilogue. A second one does no
		// harm: its frame has an old nonce by the time it is written.
		x.write("\n" + x.b.epilogue(x.nonce))
	}
	*tries--
	x.sent = x.s.send(syscall.SIGINT, scopeGroup)
	return time.After(x.s.opts.Grace)
}

// write queues text for bash without waiting for one that does not read.
func (x *execution) write(text string) {
	select {
	case x.texts <- text:
	default: // a bash that is this far behind will be ended
	}
}

// resync makes sure that no interrupt is still on its way when a command is
// over: every signal is acknowledged and bash has read on past it. An
// interrupt makes bash drop the line it reads, so that line begins blank.
func (x *execution) resync() (end ending) {
	x.await(x.sent)
	for range 3 {
		x.nonce = newNonce()
		x.write("\n\n\n\n" + x.b.epilogue(x.nonce))
		if _, end = x.wait(nil, time.After(x.s.opts.Grace)); end != endedTimer {
			return end
		}
	}
	x.deliver(syscall.SIGKILL, scopeShell)
	_, end = x.wait(nil, time.After(2*time.Second))
	return end
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

// stop ends the running command: an interrupt, which leaves the shell alive;
// else, with the shell held so that it cannot go on with the script, a request
// to terminate to all it started, and then the end of all of it. A new shell
// then begins with the state before the command.
func (x *execution) stop() (frame, ending) {
	if x.running {
		x.s.Interrupt()
		f, end := x.wait(nil, time.After(2*x.s.opts.Grace)) // time for two
		if end == endedFrame {
			// what it left in the background goes too
			x.deliver(syscall.SIGKILL, scopeBelow)
		}
		if end != endedTimer {
			return f, end
		}
		x.deliver(syscall.SIGTERM, scopeHold)
		if _, end = x.wait(nil, time.After(x.s.opts.Grace)); end == endedDeath {
			return x.last, end
		}
	}
	x.deliver(syscall.SIGKILL, scopeShell)
	if _, end := x.wait(nil, time.After(2*time.Second)); end == endedDeath {
		return x.last, end
	}
	// not even a kill was answered: the sandbox itself is stuck
	x.s.sb.Kill()
	return x.last, endedDeath
}

// deliver sends a signal and waits until the stage has delivered it.
func (x *execution) deliver(sig syscall.Signal, scope string) {
	x.sent = x.s.send(sig, scope)
	x.await(x.sent)
}

// await waits for the answer to signal number seq, or for an end that makes
// it pointless; an exit is left for wait to find.
func (x *execution) await(seq int) {
	limit := time.After(2 * time.Second)
	for x.acked < seq {
		select {
		case e := <-x.b.events:
			switch e.Ev {
			case evSent:
				x.acked = e.Seq
			case evExit:
				x.b.events <- e
				return
			}
		case <-x.s.sb.done:
			return
		case <-limit:
			return
		}
	}
}

// settle turns the end into the result and the shell's next state.
func (x *execution) settle(res *Result, f frame, end ending) {
	s := x.s
	if end == endedFrame {
		if f.state != "" {
			s.state = f.state
		}
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
	res.Notice = "The shell was ended and is started again; its directory, variables and functions are those before this command."
	if f.tag == 'X' {
		s.state = f.state
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

// restorable drops what a new bash must not be given: its own variables, those
// of the protocol, and read-only ones, which it could never change again.
func restorable(state string) string {
	var w strings.Builder
	for line := range strings.Lines(state) {
		if rest, ok := strings.CutPrefix(line, "declare -"); ok {
			flags, rest, _ := strings.Cut(rest, " ")
			name, _, set := strings.Cut(strings.TrimSpace(rest), "=")
			if strings.Contains(flags, "r") || !set || bashOwn(name) {
				continue
			}
		}
		w.WriteString(line)
	}
	return w.String()
}

func bashOwn(name string) bool {
	switch name {
	case "_", "COMP_WORDBREAKS", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME", "GROUPS", "HISTCMD",
		"HISTFILESIZE", "HISTSIZE", "HOSTTYPE", "LINENO", "MACHTYPE", "OPTERR", "OPTIND", "OSTYPE", "PIPESTATUS", "PPID",
		"PROMPT_COMMAND", "PS0", "PS1", "PS2", "PS4", "PWD", "RANDOM", "SECONDS", "SHELLOPTS", "SHLVL", "SRANDOM", "TMOUT",
		"UID", "POSIXLY_CORRECT", "BASH_ENV", "ENV":
		return true
	}
	return strings.HasPrefix(name, "BASH") || strings.HasPrefix(name, "__sallyport_")
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
