package sandbox

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forkExec exists because package syscall cannot set resource limits between
// fork and exec, and nobody else can without a window: limits belong to a
// process, so the thread that forks cannot carry them, and setting them from
// outside comes after the program's first instructions. The child does what
// package syscall's does, with limits added: raw system calls only, no
// allocation, no growth of the stack, no lock.

// launch is everything a child needs, made before the fork.
type launch struct {
	path, dir  *byte
	argv, envv []*byte
	files      []int // the child's descriptors 0, 1, 2 ...
	terminal   bool  // descriptor 0 becomes the controlling terminal
	limits     []limit
	report     int // pipe the child writes a failure to; close-on-exec
	failure    [2]uint32
}

// limit is one resource limit.
type limit struct {
	resource uintptr
	value    unix.Rlimit
}

// The steps of a child, in order.
const (
	stepFork = iota
	stepSession
	stepLimit
	stepDir
	stepFile
	stepTerminal
	stepExec
)

var stepNames = [...]string{"fork", "setsid", "prlimit", "chdir", "dup3", "TIOCSCTTY", "execve"}

// forkError is the failure of one step.
type forkError struct {
	step  int
	errno syscall.Errno
}

func (e *forkError) Error() string {
	name := "fork"
	if e.step < len(stepNames) {
		name = stepNames[e.step]
	}
	return fmt.Sprintf("%s: %v", name, e.errno)
}

func (e *forkError) Unwrap() error { return e.errno }

// firstFree is above every descriptor a child is given, so that none is
// overwritten before it is copied.
const firstFree = 16

// forkExec starts path in a session of its own, bounded by limits from before
// its first instruction. It must run on the restricted thread.
func forkExec(path, dir string, argv, env []string, files []int, terminal bool, limits []limit) (int, error) {
	l := &launch{terminal: terminal, limits: limits}
	var err error
	if l.path, err = syscall.BytePtrFromString(path); err != nil {
		return 0, err
	}
	if l.dir, err = syscall.BytePtrFromString(dir); err != nil {
		return 0, err
	}
	if l.argv, err = syscall.SlicePtrFromStrings(argv); err != nil {
		return 0, err
	}
	if l.envv, err = syscall.SlicePtrFromStrings(env); err != nil {
		return 0, err
	}
	opened, err := l.open(files)
	defer func() {
		for _, fd := range opened {
			unix.Close(fd)
		}
	}()
	if err != nil {
		return 0, err
	}
	return l.start()
}

// open copies the descriptors out of the child's way.
func (l *launch) open(files []int) (opened []int, err error) {
	for _, fd := range files {
		n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstFree)
		if err != nil {
			return opened, err
		}
		opened = append(opened, n)
		l.files = append(l.files, n)
	}
	return opened, nil
}

func (l *launch) start() (int, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, err
	}
	defer unix.Close(pipe[0])
	report, err := unix.FcntlInt(uintptr(pipe[1]), unix.F_DUPFD_CLOEXEC, firstFree)
	unix.Close(pipe[1])
	if err != nil {
		return 0, err
	}
	l.report = report
	syscall.ForkLock.Lock()
	pid, errno := l.fork()
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(l)
	unix.Close(report)
	if errno != 0 {
		return 0, &forkError{stepFork, errno}
	}
	var failure [8]byte
	for {
		n, err := unix.Read(pipe[0], failure[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n != len(failure) {
			return int(pid), nil // closed by exec
		}
		break
	}
	for {
		if _, err := unix.Wait4(int(pid), nil, 0, nil); err != unix.EINTR {
			break
		}
	}
	f := (*[2]uint32)(unsafe.Pointer(&failure))
	return 0, &forkError{int(f[0]), syscall.Errno(f[1])}
}

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// fork forks and, in the child, never returns. Everything it touches is l,
// which lies in the heap.
//
//go:norace
//go:nosplit
//go:noinline
func (l *launch) fork() (pid uintptr, errno syscall.Errno) {
	beforeFork()
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		afterFork()
		return pid, errno
	}
	afterForkInChild()
	l.child()
	return 0, 0
}

//go:norace
//go:nosplit
//go:noinline
func (l *launch) child() {
	var i int
	at := uint32(stepSession)
	_, _, errno := syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
	if errno != 0 {
		goto fail
	}
	at = stepLimit
	for i = 0; i < len(l.limits); i++ {
		_, _, errno = syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, l.limits[i].resource, uintptr(unsafe.Pointer(&l.limits[i].value)), 0, 0, 0)
		if errno != 0 {
			goto fail
		}
	}
	at = stepDir
	_, _, errno = syscall.RawSyscall(unix.SYS_CHDIR, uintptr(unsafe.Pointer(l.dir)), 0, 0)
	if errno != 0 {
		goto fail
	}
	at = stepFile
	for i = 0; i < len(l.files); i++ {
		_, _, errno = syscall.RawSyscall(unix.SYS_DUP3, uintptr(l.files[i]), uintptr(i), 0)
		if errno != 0 {
			goto fail
		}
	}
	if l.terminal {
		at = stepTerminal
		_, _, errno = syscall.RawSyscall(unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
		if errno != 0 {
			goto fail
		}
	}
	at = stepExec
	_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(l.path)),
		uintptr(unsafe.Pointer(&l.argv[0])), uintptr(unsafe.Pointer(&l.envv[0])))
fail:
	l.failure[0], l.failure[1] = at, uint32(errno)
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, uintptr(l.report), uintptr(unsafe.Pointer(&l.failure)), 8)
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 253, 0, 0)
	}
}
