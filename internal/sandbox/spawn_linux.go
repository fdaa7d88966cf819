package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// spawnJob asks the restricted thread for a payload process.
type spawnJob struct {
	request
	files []int
	reply chan spawnReply
}

type spawnReply struct {
	pid int
	err error
}

// spawner owns the thread all payloads are forked from. The thread takes on
// every restriction and keeps it; a child inherits them, and there is no moment
// between fork and exec in which a payload would be freer than this thread.
func (s *stage) spawner(ready chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread is poisoned for good
	limits, err := s.limits()
	if err == nil {
		err = s.restrict()
	}
	ready <- err
	if err != nil {
		return
	}
	for j := range s.spawns {
		path, err := j.lookUp()
		if err != nil {
			j.reply <- spawnReply{0, err}
			continue
		}
		pid, err := forkExec(path, j.dir(), j.Argv, j.Env, j.files, j.Terminal, limits)
		j.reply <- spawnReply{pid, j.explain(err)}
	}
}

// restrict takes every right from the calling thread, for good.
func (s *stage) restrict() error {
	readAll := s.c.Spec.View == ViewAuditor
	if err := dropThread(s.c.Root, s.c.UID, readAll); err != nil {
		return step("capabilities", err)
	}
	if s.ruleset != nil {
		if err := s.ruleset.restrictThread(); err != nil {
			return step("landlock", err)
		}
	}
	if err := loadFilter(buildFilter(s.c.Spec.View, s.c.Tier, s.c.HostPID, s.c.unixSockets())); err != nil {
		return step("seccomp", err)
	}
	return nil
}

// openFiles is the usual soft limit of open files: select knows no descriptor
// above it. What can use more raises its own limit, as it does outside.
const openFiles = 1024

// limits are the resource limits of every payload process. The hard limits of
// the machine are never exceeded.
func (s *stage) limits() ([]limit, error) {
	l := s.c.Spec.Limits
	var out []limit
	for _, r := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"core", unix.RLIMIT_CORE, 0},
		{"nproc", unix.RLIMIT_NPROC, uint64(s.c.NProc)},
		{"fsize", unix.RLIMIT_FSIZE, uint64(l.FileSize)},
		{"cpu", unix.RLIMIT_CPU, uint64(l.CPUSeconds)},
		{"data", unix.RLIMIT_DATA, uint64(l.Memory)},
		{"memlock", unix.RLIMIT_MEMLOCK, 1 << 20},
		{"msgqueue", unix.RLIMIT_MSGQUEUE, 1 << 20},
		{"nofile", unix.RLIMIT_NOFILE, openFiles},
	} {
		var old unix.Rlimit
		if err := unix.Prlimit(0, r.resource, nil, &old); err != nil {
			return nil, fmt.Errorf("prlimit %s: %w", r.name, err)
		}
		v := unix.Rlimit{Cur: min(r.value, old.Max), Max: min(r.value, old.Max)}
		if r.resource == unix.RLIMIT_NOFILE {
			v.Max = old.Max
		}
		out = append(out, limit{uintptr(r.resource), v})
	}
	return out, nil
}

// spawn starts one payload and says so before anybody can say that it ended.
func (s *stage) spawn(r request, fds []int) {
	e := event{Ev: evSpawned, ID: r.ID}
	if r.Env == nil {
		r.Env = s.c.Spec.Env
	}
	master := -1
	if r.Size != nil {
		t, err := openTerminal("/dev/ptmx", *r.Size)
		if err != nil {
			e.fail(fault.New("sandbox.exec", fault.Unsupported, "the sandbox's view has no terminals (%v); run the program without one", err))
			_ = s.send(e)
			return
		}
		defer t.close()
		master, fds = t.master, []int{t.slave, t.slave, t.slave}
	}
	if len(r.Argv) == 0 {
		return
	}
	j := spawnJob{request: r, files: fds, reply: make(chan spawnReply, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spawns <- j
	got := <-j.reply
	if got.err != nil {
		e.fail(got.err)
		_ = s.send(e)
		return
	}
	s.shells[got.pid] = r.ID
	if master >= 0 {
		_ = s.send(e, master)
		return
	}
	_ = s.send(e)
}

// fail puts an error into the event that answers a request.
func (e *event) fail(err error) {
	e.Kind, e.Error = uint8(fault.KindOf(err)), err.Error()
	if _, ok := errors.AsType[*fault.Error](err); ok {
		e.Error = fault.PublicText(err)
	}
}

func (r request) dir() string {
	if len(r.Dir) == 0 {
		return "/"
	}
	return r.Dir[0]
}

// lookUp finds the program as the payload itself would: it runs on the
// restricted thread, with the payload's user, root directory and Landlock domain.
func (j *spawnJob) lookUp() (string, error) {
	name := j.Argv[0]
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(j.dir(), name)
		}
		if err := executable(name); err != nil {
			return "", j.refused(err, "")
		}
		return name, nil
	}
	var path string
	for _, kv := range j.Env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
			break
		}
	}
	found := error(unix.ENOENT)
	for dir := range strings.SplitSeq(path, ":") {
		if !filepath.IsAbs(dir) {
			continue // a relative entry would let the working directory choose
		}
		err := executable(filepath.Join(dir, name))
		if err == nil {
			return filepath.Join(dir, name), nil
		}
		if errors.Is(err, unix.EACCES) {
			found = err
		}
	}
	return "", j.refused(found, path)
}

// executable says why path is not a file that this thread may execute:
// ENOENT when there is none, else EACCES.
func executable(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		if err == unix.EACCES {
			return err
		}
		return unix.ENOENT
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) != nil {
		return unix.EACCES
	}
	return nil
}

func (j *spawnJob) refused(err error, path string) error {
	const op = "sandbox.exec"
	name := j.Argv[0]
	switch {
	case errors.Is(err, unix.EACCES):
		return fault.New(op, fault.Denied, "the program %q may not be executed in the sandbox: it is not an executable file, or the view grants no execution there; make it executable or move it into the working directory", name)
	case strings.Contains(name, "/"):
		return fault.New(op, fault.NotFound, "the program %q does not exist in the sandbox's view; name one that is shown there", name)
	}
	return fault.New(op, fault.NotFound, "the program %q was not found in the sandbox; PATH there is %q; install it in one of these directories or name its whole path", name, path)
}

// explain turns the failure of a child into one sentence.
func (j *spawnJob) explain(err error) error {
	const op = "sandbox.exec"
	fe, ok := errors.AsType[*forkError](err)
	if !ok {
		return err
	}
	var e *fault.Error
	switch {
	case fe.step == stepDir && fe.errno == unix.EACCES:
		e = fault.New(op, fault.Denied, "the working directory %q may not be entered in the sandbox; choose one that is shown there", j.dir())
	case fe.step == stepDir:
		e = fault.New(op, fault.NotFound, "the working directory %q does not exist in the sandbox's view; choose one that is shown there", j.dir())
	case fe.step == stepFork && fe.errno == unix.EAGAIN:
		e = fault.New(op, fault.Unavailable, "the sandbox has as many processes as its limit allows; end some or raise the limit")
	case fe.step == stepExec && fe.errno == unix.EACCES:
		return j.refused(unix.EACCES, "")
	case fe.step == stepExec && fe.errno == unix.ENOENT:
		e = fault.New(op, fault.NotFound, "the program %q exists, but the interpreter it names does not exist in the sandbox's view; install that interpreter", j.Argv[0])
	case fe.step == stepExec && fe.errno == unix.ENOEXEC:
		e = fault.New(op, fault.Denied, "the program %q is neither a binary of this machine nor a script that names its interpreter; begin it with #! and a path", j.Argv[0])
	case fe.step == stepExec && fe.errno == unix.E2BIG:
		e = fault.New(op, fault.Usage, "the arguments and the environment of %q are too long for this kernel; shorten them", j.Argv[0])
	default:
		return err
	}
	e.Err = err
	return e
}

// terminal is both ends of a pseudo-terminal.
type terminal struct{ master, slave int }

// openTerminal makes a pseudo-terminal. The slave belongs to the calling user.
func openTerminal(ptmx string, size WinSize) (*terminal, error) {
	master, err := unix.Open(ptmx, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", ptmx, err)
	}
	t := &terminal{master: master, slave: -1}
	if err := t.setUp(size); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *terminal) setUp(size WinSize) error {
	if err := unix.IoctlSetPointerInt(t.master, unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlock terminal: %w", err)
	}
	// by the master, not by a name that something else could stand for
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(t.master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return fmt.Errorf("open terminal: %w", errno)
	}
	t.slave = int(fd)
	if err := setWinSize(t.master, size); err != nil {
		return err
	}
	attr, err := unix.IoctlGetTermios(t.slave, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("terminal attributes: %w", err)
	}
	attr.Iflag |= unix.IUTF8 // so that erasing takes a whole character
	if err := unix.IoctlSetTermios(t.slave, unix.TCSETS, attr); err != nil {
		return fmt.Errorf("terminal attributes: %w", err)
	}
	return nil
}

func setWinSize(fd int, size WinSize) error {
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols}); err != nil {
		return fmt.Errorf("terminal size: %w", err)
	}
	return nil
}

func (t *terminal) close() {
	unix.Close(t.master)
	if t.slave >= 0 {
		unix.Close(t.slave)
	}
}

// foreground is the process group that has the terminal, in the caller's
// numbers; 0 when there is none or it cannot be told.
func foreground(fds []int) int {
	if len(fds) != 1 {
		return 0
	}
	group, err := unix.IoctlGetInt(fds[0], unix.TIOCGPGRP)
	if err != nil || group <= 1 {
		return 0
	}
	return group
}

// terminalFile gives a descriptor to the runtime's poller, so that closing the
// file ends a read.
func terminalFile(fd int) (*os.File, error) {
	if err := syscall.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "terminal"), nil
}
