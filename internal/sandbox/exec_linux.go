package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// Process is one program running in a sandbox, started by Exec. Its files
// belong to the caller, who closes them; its methods may be called concurrently.
type Process struct {
	// Terminal is the master of the program's terminal; nil without one. Reading
	// it fails with EIO once nothing inside has the terminal open any more.
	// Closing it hangs the terminal up.
	Terminal *os.File
	// Stdin, Stdout and Stderr are the program's pipes; nil with a terminal.
	Stdin          io.WriteCloser
	Stdout, Stderr io.ReadCloser

	sb     *Sandbox
	id     int
	events chan event

	ended  chan struct{} // closed when status is known, or never can be
	status ExitStatus
	lost   bool // the sandbox ended first

	mu  sync.Mutex
	seq int
}

// startExec bounds how long a stage may take to start a program.
const startExec = 10 * time.Second

// Exec starts one program, in a session and process group of its own, bounded
// by the resource limits from before its first instruction. ctx bounds the
// start only. The end of the program does not end the sandbox. In the landlock
// tier a terminal comes from the host's devpts: its name can be seen by, and it
// can be opened by, other programs of the same user outside the sandbox.
//
// Errors: Usage for a command that makes no sense; Denied in a read-only
// sandbox or for a program that may not be executed; NotFound for a program or
// a directory that the view does not have; Unsupported when the view has no
// terminals; Unavailable when the sandbox has ended or is full; Canceled.
func (sb *Sandbox) Exec(ctx context.Context, c Command) (*Process, error) {
	const op = "sandbox.exec"
	if sb.spec.ReadOnly {
		return nil, fault.New(op, fault.Denied, "read-only mode allows no program; set readOnlyMode to false to run commands")
	}
	c, err := c.complete(sb)
	if err != nil {
		return nil, err
	}
	p := &Process{sb: sb, events: make(chan event, 64), ended: make(chan struct{})}
	r := request{Op: opSpawn, Argv: c.Argv, Env: c.Env, Dir: words{c.Dir}, Terminal: c.TTY != nil}
	theirs, err := p.files(c, &r)
	if err != nil {
		p.closeFiles()
		return nil, fault.Wrap(op, fault.Internal, err)
	}
	if err := p.start(ctx, r, theirs); err != nil {
		p.closeFiles()
		sb.forget(p.id)
		for len(p.events) > 0 { // it may have started just too late
			closeAll((<-p.events).fds)
		}
		return nil, err
	}
	go p.watch()
	return p, nil
}

// complete checks c and fills in what it leaves out.
func (c Command) complete(sb *Sandbox) (Command, error) {
	usage := func(format string, args ...any) (Command, error) {
		return c, fault.New("sandbox.exec", fault.Usage, format, args...)
	}
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return usage("no program was named; give its name or path")
	}
	for _, a := range c.Argv {
		if strings.ContainsRune(a, 0) {
			return usage("an argument of %q contains a NUL byte, which no program can be given; remove it", c.Argv[0])
		}
	}
	if err := checkEnv(c.Env); err != nil {
		return usage("%v; correct it", err)
	}
	if c.Env == nil {
		c.Env = sb.inside.Env
	} else if sb.report.Tier == TierLandlock {
		c.Env = withTmp(c.Env, sb.inside.Home, sb.inside.Workdir)
	}
	if c.Env == nil {
		c.Env = []string{}
	}
	for _, d := range []string{sb.inside.Workdir, sb.inside.Home, "/"} {
		if c.Dir == "" {
			c.Dir = d
		}
	}
	if !filepath.IsAbs(c.Dir) || strings.ContainsRune(c.Dir, 0) {
		return usage("the working directory %q is not an absolute path; give the whole path", c.Dir)
	}
	for _, o := range sb.overlays {
		if rest, ok := strings.CutPrefix(c.Dir, o.Dir); ok && sb.report.Tier == TierLandlock && beneath(c.Dir, o.Dir) {
			c.Dir = o.Upper + rest // there it is worked on at the path of its copy
			break
		}
	}
	return c, nil
}

// files makes the program's descriptors and returns the sandbox's ends.
func (p *Process) files(c Command, r *request) ([]*os.File, error) {
	switch {
	case c.TTY == nil:
		return p.pipes()
	case p.sb.report.Tier == TierFull:
		r.Size = c.TTY // by the stage, in the view's own devpts
		return nil, nil
	}
	t, err := openTerminal("/dev/ptmx", *c.TTY)
	if err != nil {
		return nil, err
	}
	slave := os.NewFile(uintptr(t.slave), "terminal's other end")
	if p.Terminal, err = terminalFile(t.master); err != nil {
		slave.Close()
		return nil, err
	}
	if os.Geteuid() == 0 {
		if err := slave.Chown(PayloadUID, PayloadUID); err != nil {
			slave.Close()
			return nil, err
		}
	}
	return []*os.File{slave, slave, slave}, nil
}

func (p *Process) pipes() ([]*os.File, error) {
	ir, iw, err1 := os.Pipe()
	or, ow, err2 := os.Pipe()
	er, ew, err3 := os.Pipe()
	if err1 == nil {
		p.Stdin = iw
	}
	if err2 == nil {
		p.Stdout = or
	}
	if err3 == nil {
		p.Stderr = er
	}
	theirs := []*os.File{ir, ow, ew}
	err := errors.Join(err1, err2, err3)
	for _, f := range theirs {
		if err == nil && os.Geteuid() == 0 {
			// so that opening /dev/stdin and the others by name works inside
			err = f.Chown(PayloadUID, PayloadUID)
		}
	}
	if err != nil {
		for _, f := range theirs {
			f.Close()
		}
		return nil, err
	}
	return theirs, nil
}

func (p *Process) closeFiles() {
	if p.Terminal != nil {
		p.Terminal.Close()
	}
	for _, f := range []io.Closer{p.Stdin, p.Stdout, p.Stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// start has the stage start the program and waits for its answer.
func (p *Process) start(ctx context.Context, r request, theirs []*os.File) error {
	const op = "sandbox.exec"
	p.sb.mu.Lock()
	p.sb.nextID++
	p.id = p.sb.nextID
	p.sb.shells[p.id] = p.events
	p.sb.mu.Unlock()
	r.ID = p.id
	fds := make([]int, len(theirs))
	for i, f := range theirs {
		fds[i] = int(f.Fd())
	}
	err := sendPacket(p.sb.ctl, r, fds...)
	for _, f := range theirs {
		f.Close()
	}
	if errors.Is(err, errTooLong) {
		return &fault.Error{Op: op, Kind: fault.Usage, Err: err, Public: "the arguments and the environment are longer than the sandbox takes (about 90 KiB); put them in a file"}
	}
	if err != nil {
		return fault.Wrap(op, fault.Unavailable, fmt.Errorf("ask the sandbox's stage: %w", err))
	}
	timer := time.NewTimer(startExec)
	defer timer.Stop()
	select {
	case e := <-p.events:
		return p.started(e)
	case <-p.sb.heard:
		return fault.New(op, fault.Unavailable, "the sandbox has ended; start a new session")
	case <-ctx.Done():
		// It may start yet; then nobody would ever end it.
		_ = sendPacket(p.sb.ctl, request{Op: opSignal, ID: p.id, Sig: int(syscall.SIGKILL), Scope: scopeShell})
		return fault.Wrap(op, fault.Canceled, ctx.Err())
	case <-timer.C:
		_ = sendPacket(p.sb.ctl, request{Op: opSignal, ID: p.id, Sig: int(syscall.SIGKILL), Scope: scopeShell})
		return fault.New(op, fault.Unavailable, "the sandbox's stage does not answer; end the sandbox")
	}
}

// started takes the stage's first answer.
func (p *Process) started(e event) error {
	if e.Error != "" {
		closeAll(e.fds)
		return fault.New("sandbox.exec", fault.Kind(e.Kind), "%s", e.Error)
	}
	if len(e.fds) == 0 {
		return nil
	}
	var err error
	p.Terminal, err = terminalFile(e.fds[0])
	closeAll(e.fds[1:])
	return fault.Wrap("sandbox.exec", fault.Internal, err)
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// watch waits for the end of the program or of the sandbox.
func (p *Process) watch() {
	defer close(p.ended)
	defer p.sb.forget(p.id)
	over := p.sb.heard
	for {
		select {
		case e := <-p.events:
			if e.Ev == evExit {
				p.status = exitStatus(unix.WaitStatus(e.Status))
				return
			}
			continue
		case <-over:
		}
		if len(p.events) == 0 {
			p.status, p.lost = ExitStatus{Code: -1}, true
			return
		}
		over = closed // what was said before the end still counts
	}
}

// closed is a channel that is always ready.
var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func exitStatus(ws unix.WaitStatus) ExitStatus {
	if ws.Signaled() {
		code := 128 + int(ws.Signal())
		return ExitStatus{Code: code, Signal: shellSignal(code)}
	}
	return ExitStatus{Code: ws.ExitStatus()}
}

// Wait waits for the end of the program and tells how it ended; what it left
// running may live on. Errors: Canceled when ctx ends first, Unavailable when
// the sandbox ended and took the program's status with it.
func (p *Process) Wait(ctx context.Context) (ExitStatus, error) {
	select {
	case <-p.ended:
	case <-ctx.Done():
		return ExitStatus{Code: -1}, fault.Wrap("sandbox.wait", fault.Canceled, ctx.Err())
	}
	if p.lost {
		return p.status, fault.New("sandbox.wait", fault.Unavailable, "the sandbox ended before the program did; start a new session")
	}
	return p.status, nil
}

// Resize changes the size of the terminal; the kernel tells the programs with
// SIGWINCH. Errors: Usage without a terminal.
func (p *Process) Resize(size WinSize) error {
	const op = "sandbox.resize"
	if p.Terminal == nil {
		return fault.New(op, fault.Usage, "the program has no terminal; start it with one to set a size")
	}
	rc, err := p.Terminal.SyscallConn()
	if err != nil {
		return fault.Wrap(op, fault.Internal, err)
	}
	cerr := rc.Control(func(fd uintptr) { err = setWinSize(int(fd), size) })
	return fault.Wrap(op, fault.Internal, errors.Join(cerr, err))
}

// Signal sends sig to the process group that has the terminal, as a key would;
// without a terminal, to the program's own group. The signal has been delivered,
// or lost because nothing was left to take it, some time after the return.
// Errors: NotFound when the program has ended.
func (p *Process) Signal(sig syscall.Signal) error {
	const op = "sandbox.signal"
	select {
	case <-p.ended:
		return fault.New(op, fault.NotFound, "the program has ended; there is nothing to signal")
	default:
	}
	if p.Terminal == nil {
		return fault.Wrap(op, fault.Unavailable, p.send(sig, scopeGroup))
	}
	// The stage looks the group up: only its numbers are the namespace's, and
	// what it signals cannot be a process of the host that took the number.
	rc, err := p.Terminal.SyscallConn()
	if err != nil {
		return fault.Wrap(op, fault.Internal, err)
	}
	cerr := rc.Control(func(fd uintptr) { err = p.send(sig, scopeFront, int(fd)) })
	return fault.Wrap(op, fault.Unavailable, errors.Join(cerr, err))
}

// Kill ends the program and everything it started and did not give away. It
// returns at once; Wait tells when it has happened. What gave up its parent
// ends with the sandbox.
func (p *Process) Kill() {
	select {
	case <-p.ended:
	default:
		_ = p.send(syscall.SIGKILL, scopeShell)
	}
}

func (p *Process) send(sig syscall.Signal, scope string, fds ...int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq++
	return sendPacket(p.sb.ctl, request{Op: opSignal, ID: p.id, Sig: int(sig), Scope: scope, Seq: p.seq}, fds...)
}
