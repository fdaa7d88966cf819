package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// Shell is one persistent bash inside a sandbox. Variables, functions and the
// working directory live on between runs; options, traps and redirections of
// one run do not reach the next. Runs are one at a time; Interrupt and Close
// may be called during one.
type Shell struct {
	sb   *Sandbox
	opts ShellOptions

	run  sync.Mutex // one Run at a time
	intr chan struct{}

	mu     sync.Mutex
	b      *bash // nil when none is alive
	closed bool
	seq    int // of the last signal sent

	cwd   string // after the last finished command
	state string // declarations to begin a new bash with, as of the last finished command
}

// bash is one bash process and the supervisor's ends of its pipes.
type bash struct {
	id     int
	events chan event
	script *os.File // its standard input: what it reads and runs
	out    *os.File // standard output and error of everything it runs
	ctl    *os.File // frames
	frames chan frame
	reset  string // commands that restore the shell options it began with
}

var bashPaths = []string{"/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"}

// Shell starts a bash. Errors: Denied in a read-only sandbox, Unsupported when
// the view has no bash, Unavailable when the sandbox has ended.
func (sb *Sandbox) Shell(ctx context.Context, opts ShellOptions) (*Shell, error) {
	if sb.spec.ReadOnly {
		return nil, fault.New("sandbox.shell", fault.Denied, "read-only mode allows no shell; set readOnlyMode to false to run commands")
	}
	s := &Shell{sb: sb, intr: make(chan struct{}, 1), opts: opts.withDefaults(), cwd: sb.spec.Workdir}
	if s.cwd == "" || sb.spec.View == ViewAuditor && sb.spec.Home != "" {
		s.cwd = sb.spec.Home
	}
	if s.cwd == "" {
		s.cwd = "/"
	}
	s.run.Lock()
	defer s.run.Unlock()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func findBash() string {
	for _, p := range bashPaths {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

// start makes the pipes, asks the stage for a bash and brings it to the point
// where it waits for a script. s.run is held.
func (s *Shell) start(ctx context.Context) error {
	const op = "sandbox.shell"
	path := findBash()
	if path == "" {
		return fault.New(op, fault.Unsupported, "no bash was found on this machine; install the package bash")
	}
	b := &bash{events: make(chan event, 64), frames: make(chan frame, 8)}
	theirs, err := b.pipes()
	if err != nil {
		return fault.Wrap(op, fault.Internal, err)
	}
	s.sb.mu.Lock()
	s.sb.nextID++
	b.id = s.sb.nextID
	s.sb.shells[b.id] = b.events
	s.sb.mu.Unlock()
	fds := make([]int, len(theirs))
	for i, f := range theirs {
		fds[i] = int(f.Fd())
	}
	// -i: an interrupt returns to the prompt instead of ending the shell, and
	// no error of a script ends it either. There is no terminal and no job control.
	err = sendPacket(s.sb.ctl, request{
		Op: opSpawn, ID: b.id,
		Argv: []string{path, "--norc", "--noprofile", "--noediting", "-i", "+m", "+H", "-s"},
	}, fds...)
	for _, f := range theirs {
		f.Close()
	}
	if err == nil {
		err = s.boot(ctx, b)
	}
	if err != nil {
		b.close()
		s.sb.forget(b.id)
		if ctx.Err() != nil {
			return fault.Wrap(op, fault.Canceled, ctx.Err())
		}
		return fault.Wrap(op, fault.Unavailable, fmt.Errorf("start bash: %w", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		b.close()
		return fault.New(op, fault.Canceled, "the shell was closed; open a new one")
	}
	s.b = b
	return nil
}

func (sb *Sandbox) forget(id int) {
	sb.mu.Lock()
	delete(sb.shells, id)
	sb.mu.Unlock()
}

// pipeSize lets a flood of output move in large pieces.
const pipeSize = 1 << 20

// pipes makes the three pipes and returns bash's ends in the order of its
// descriptors: 0 script, 1 and 2 output, 3 frames.
func (b *bash) pipes() ([]*os.File, error) {
	sr, sw, err1 := os.Pipe()
	or, ow, err2 := os.Pipe()
	cr, cw, err3 := os.Pipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	b.script, b.out, b.ctl = sw, or, cr
	_, _ = unix.FcntlInt(ow.Fd(), unix.F_SETPIPE_SZ, pipeSize) // a user's pipe quota may refuse; smaller works
	if os.Geteuid() == 0 {
		// so that opening /dev/stdout or /dev/stderr by name works inside
		if err := ow.Chown(PayloadUID, PayloadUID); err != nil {
			return nil, err
		}
	}
	return []*os.File{sr, ow, ow, cw}, nil
}

func (b *bash) close() {
	b.script.Close()
	b.out.Close()
	b.ctl.Close()
}

// bootTimeout bounds the start of a bash.
const bootTimeout = 10 * time.Second

// boot waits for the process, moves its private descriptors out of the way,
// restores state and learns the option defaults.
func (s *Shell) boot(ctx context.Context, b *bash) error {
	timer := time.NewTimer(bootTimeout)
	defer timer.Stop()
	select {
	case e := <-b.events:
		if e.Error != "" {
			return errors.New(e.Error)
		}
	case <-ctx.Done():
		return ctx.Err()
	case <-s.sb.done:
		return errors.New("the sandbox has ended")
	case <-timer.C:
		return errors.New("the sandbox's stage does not answer")
	}
	go b.readFrames()
	nonce := newNonce()
	var w strings.Builder
	w.WriteString("exec 198>&1 199>&2 201>&3 3>&-\nset +o history\nunset HISTFILE MAILCHECK MAIL PROMPT_COMMAND TMOUT; PS1= PS2= PS4='+ '\nshopt -u expand_aliases checkwinsize\n")
	w.WriteString("{ printf 'N " + nonce + " 0 0\\0%s\\0' \"$PWD\"; shopt -p; set +o; printf '\\0'; } >&201\n")
	if err := b.write(w.String(), bootTimeout); err != nil {
		return err
	}
	f, err := s.bootFrame(ctx, b, nonce, timer)
	if err != nil {
		return err
	}
	b.reset = strings.ReplaceAll(strings.TrimSpace(f.state), "\n", "; ")
	// Restoring is done by the new bash itself, which checks nothing less than
	// the old one did; what cannot be assigned is skipped.
	nonce = newNonce()
	w.Reset()
	w.WriteString(restorable(s.state) + "\n")
	w.WriteString("\\cd -- " + quote(s.cwd) + " 2>/dev/null || \\cd -- " + quote(s.sb.spec.Home) + " 2>/dev/null || \\cd /\n")
	w.WriteString(b.epilogue(nonce))
	if err := b.write(w.String(), bootTimeout); err != nil {
		return err
	}
	if f, err = s.bootFrame(ctx, b, nonce, timer); err != nil {
		return err
	}
	s.cwd = f.cwd
	return b.discardOutput()
}

func (s *Shell) bootFrame(ctx context.Context, b *bash, nonce string, timer *time.Timer) (frame, error) {
	for {
		select {
		case f, ok := <-b.frames:
			if !ok {
				return frame{}, errors.New("bash ended while starting")
			}
			if f.tag == 'N' && f.nonce == nonce {
				return f, nil
			}
		case <-ctx.Done():
			return frame{}, ctx.Err()
		case <-timer.C:
			return frame{}, errors.New("bash did not start in time")
		}
	}
}

func newNonce() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// prologue is what bash reads for one script. The script arrives as a quoted
// here-document whose end is unguessable, and is sourced, so that its syntax
// errors cannot touch what follows; it runs with no input and without the frame
// pipe, whose saved copy is descriptor 11 and close-on-exec. As one group, it is
// given up as a whole when an interrupt comes. The start is announced because an
// interrupt before it would make bash take the rest of the text for commands.
func prologue(script, nonce string) string {
	return "{ __sallyport_line=0; \\trap '[[ ${BASH_SOURCE[0]-} == /dev/fd/9 ]] && __sallyport_line=$LINENO' ERR; " +
		"\\printf 'S " + nonce + " 0 0\\0\\0\\0' >&201; " +
		"\\. /dev/fd/9 9<<'" + nonce + "' </dev/null >&198 2>&199 201>&-; }\n" +
		"{ :; " + script + "\n\n}\n" + nonce + "\n"
}

// epilogue restores the shell and writes the frame. Assigning POSIXLY_CORRECT
// needs no command, and in that mode a function cannot stand in for unset; so
// no function or alias of the script's takes part in what follows.
func (b *bash) epilogue(nonce string) string {
	return "{ __sallyport_status=$? POSIXLY_CORRECT=1; \\unset -f unset builtin set eval printf pwd declare shopt trap unalias export cd; " +
		"\\unset POSIXLY_CORRECT PROMPT_COMMAND PS0; \\unalias -a; \\trap - DEBUG ERR RETURN INT TERM HUP QUIT USR1 USR2 PIPE CHLD WINCH ALRM; PS1= PS2=; " +
		b.reset + "; " +
		`\trap '__sallyport_status=$?; { { \true >&201; } 2>/dev/null || { [[ -p /proc/self/fd/11 ]] && \exec 201>&11; }; { \printf "X - $__sallyport_status ${__sallyport_line:-0}\0"; \pwd -P; \printf "\0"; \declare -p; \declare -f; \printf "\0"; } >&201; } 2>/dev/null' EXIT; ` +
		`{ \printf 'N ` + nonce + ` %s %s\0' "$__sallyport_status" "${__sallyport_line:-0}"; \pwd -P; \printf '\0'; \declare -p; \declare -f; \printf '\0'; } >&201; ` +
		"} 2>/dev/null\n"
}

func (b *bash) write(s string, limit time.Duration) error {
	_ = b.script.SetWriteDeadline(time.Now().Add(limit))
	_, err := b.script.WriteString(s)
	return err
}

// readFrames parses the frame pipe until bash, its only writer, has ended.
func (b *bash) readFrames() {
	defer close(b.frames)
	var p frameParser
	buf := make([]byte, 32<<10)
	for {
		n, err := b.ctl.Read(buf)
		p.feed(buf[:n], func(f frame) {
			f.cwd = strings.TrimSuffix(f.cwd, "\n")
			select {
			case b.frames <- f:
			default: // a shell that floods frames loses them
			}
		})
		if err != nil {
			return
		}
	}
}

// readOutput copies what is in the output pipe to into. With wait it blocks for
// more until a deadline is set on the pipe; without, it stops when the pipe is empty.
func (b *bash) readOutput(into *outputBuffer, wait bool) error {
	rc, err := b.out.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 128<<10)
	for {
		n, end := 0, false
		rerr := rc.Read(func(fd uintptr) bool {
			var err error
			n, err = unix.Read(int(fd), buf)
			switch {
			case err == unix.EAGAIN && wait:
				n = 0
				return false
			case err == unix.EINTR:
				n = 0
			case err != nil || n == 0:
				n, end = 0, true
			}
			return true
		})
		if into != nil {
			into.write(buf[:n])
		}
		if rerr != nil || end {
			return rerr
		}
	}
}

// maxDrain bounds what is still read after a command's end: a background
// process that writes without pause must not hold the result back.
func (b *bash) drain(into *outputBuffer) {
	var left int
	rc, err := b.out.SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Control(func(fd uintptr) { left, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	buf := make([]byte, 64<<10)
	for left > 0 {
		n := 0
		_ = rc.Read(func(fd uintptr) bool { n, _ = unix.Read(int(fd), buf[:min(left, len(buf))]); return true })
		if n <= 0 {
			return
		}
		into.write(buf[:n])
		left -= n
	}
}

func (b *bash) discardOutput() error {
	b.drain(newOutputBuffer(1 << 10))
	return nil
}

// Run has bash execute script and returns what it printed and how it ended.
// A timeout of zero means the option's. On timeout or cancellation the command
// is interrupted, then terminated, then killed with all it started; the shell
// survives if bash itself still answers. The error is non-nil when nothing ran
// (Usage, Denied, Unavailable) or ctx was cancelled (Canceled, with the Result
// filled); a command's own failure is no error.
func (s *Shell) Run(ctx context.Context, script string, timeout time.Duration) (Result, error) {
	const op = "sandbox.run"
	if strings.ContainsRune(script, 0) {
		return Result{Exit: -1}, fault.New(op, fault.Usage, "the script contains a NUL byte, which no shell accepts; remove it")
	}
	if len(script) > MaxScript {
		return Result{Exit: -1}, fault.New(op, fault.Usage, "the script is %d bytes long, the limit is %d; put it in a file", len(script), MaxScript)
	}
	if timeout <= 0 {
		timeout = s.opts.Timeout
	}
	s.run.Lock()
	defer s.run.Unlock()
	b, err := s.live(ctx)
	if err != nil {
		return Result{Exit: -1}, err
	}
	select {
	case <-s.intr: // it was meant for an earlier command
	default:
	}
	x := &execution{s: s, b: b, nonce: newNonce(), out: newOutputBuffer(s.opts.OutputBytes), began: time.Now(), texts: make(chan string, 16)}
	return x.do(ctx, script, timeout)
}

// live gives the running bash, or starts one with the saved state.
func (s *Shell) live(ctx context.Context) (*bash, error) {
	select {
	case <-s.sb.done:
		return nil, fault.New("sandbox.run", fault.Unavailable, "the sandbox has ended; start a new session")
	default:
	}
	s.mu.Lock()
	b, closed := s.b, s.closed
	s.mu.Unlock()
	if closed {
		return nil, fault.New("sandbox.run", fault.Unavailable, "the shell is closed; open a new one")
	}
	if b != nil {
		return b, nil
	}
	err := s.start(ctx)
	if err != nil && s.state != "" && ctx.Err() == nil {
		// declarations that break a shell must not break every one after it
		s.state = ""
		err = s.start(ctx)
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b, nil
}

// Interrupt does what Ctrl-C does: it ends the running command, not the shell.
// Without a running command it does nothing.
func (s *Shell) Interrupt() {
	select {
	case s.intr <- struct{}{}:
	default: // one is on its way
	}
}

// send asks the stage for a signal and returns the number of its answer.
func (s *Shell) send(sig syscall.Signal, scope string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.b == nil {
		return 0
	}
	s.seq++
	_ = sendPacket(s.sb.ctl, request{Op: opSignal, ID: s.b.id, Sig: int(sig), Scope: scope, Seq: s.seq})
	return s.seq
}

// Close ends the shell and everything it started, except what has given up its
// parent while other shells live in the same sandbox: that ends with the sandbox.
func (s *Shell) Close() error {
	s.send(syscall.SIGKILL, scopeShell)
	s.mu.Lock()
	b := s.b
	s.closed = true
	s.mu.Unlock()
	if b == nil {
		return nil
	}
	if s.run.TryLock() { // a Run in progress sees the death itself and cleans up
		defer s.run.Unlock()
		b.awaitExit(s.sb.done)
		s.mu.Lock()
		s.b = nil
		s.mu.Unlock()
		s.sb.forget(b.id)
		b.close()
	}
	return nil
}

func (b *bash) awaitExit(done <-chan struct{}) {
	limit := time.After(2 * time.Second)
	for {
		select {
		case e := <-b.events:
			if e.Ev == evExit {
				return
			}
		case <-done:
			return
		case <-limit:
			return
		}
	}
}
