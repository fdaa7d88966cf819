package sandbox

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A mount in a running sandbox is made by nobody inside: no process there has
// the right, and none holds the tree. A child of the supervisor's enters the
// sandbox's user and mount namespaces, moves one detached tree to the place of
// which the supervisor holds a descriptor, and ends. It is forked and does not
// execute, because only a process of one thread may enter a user namespace; it
// is not in the sandbox's PID namespace and not dumpable, so nobody inside sees
// or opens it. Both ends are descriptors: no path is looked up that the payload
// could have changed.

// entry is everything such a child needs, made before the fork.
type entry struct {
	user, mnt   int // namespaces
	tree, place int // what is moved where
	report      int // pipe the child writes a failure to
	empty       [1]byte
	failure     [2]uint32
}

var entrySteps = [...]string{"prctl", "setns user", "setns mount", "move_mount"}

// move runs the child and waits for it.
func (e *entry) move() error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(pipe[0])
	e.report = pipe[1]
	syscall.ForkLock.Lock()
	pid, errno := e.fork()
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(e)
	unix.Close(pipe[1])
	if errno != 0 {
		return fmt.Errorf("fork: %w", errno)
	}
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(int(pid), &ws, 0, nil); err != unix.EINTR {
			if err != nil {
				return fmt.Errorf("wait: %w", err)
			}
			break
		}
	}
	if ws.Exited() && ws.ExitStatus() == 0 {
		return nil
	}
	var failure [8]byte
	if n, err := unix.Read(pipe[0], failure[:]); err != nil || n != len(failure) {
		return fmt.Errorf("the child that attaches ended with status %#x", uint32(ws))
	}
	f := (*[2]uint32)(unsafe.Pointer(&failure))
	name := "attach"
	if int(f[0]) < len(entrySteps) {
		name = entrySteps[f[0]]
	}
	return fmt.Errorf("%s: %w", name, syscall.Errno(f[1]))
}

// fork forks and, in the child, never returns. Everything it touches is e,
// which lies in the heap.
//
//go:norace
//go:nosplit
//go:noinline
func (e *entry) fork() (pid uintptr, errno syscall.Errno) {
	beforeFork()
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		afterFork()
		return pid, errno
	}
	afterForkInChild()
	e.child()
	return 0, 0
}

//go:norace
//go:nosplit
//go:noinline
func (e *entry) child() {
	at := uint32(0)
	_, _, errno := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0, 0)
	if errno != 0 {
		goto fail
	}
	at = 1
	_, _, errno = syscall.RawSyscall(unix.SYS_SETNS, uintptr(e.user), unix.CLONE_NEWUSER, 0)
	if errno != 0 {
		goto fail
	}
	at = 2
	_, _, errno = syscall.RawSyscall(unix.SYS_SETNS, uintptr(e.mnt), unix.CLONE_NEWNS, 0)
	if errno != 0 {
		goto fail
	}
	at = 3
	_, _, errno = syscall.RawSyscall6(unix.SYS_MOVE_MOUNT, uintptr(e.tree), uintptr(unsafe.Pointer(&e.empty)),
		uintptr(e.place), uintptr(unsafe.Pointer(&e.empty)), unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH, 0)
	if errno != 0 {
		goto fail
	}
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
fail:
	e.failure[0], e.failure[1] = at, uint32(errno)
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, uintptr(e.report), uintptr(unsafe.Pointer(&e.failure)), 8)
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 1, 0, 0)
	}
}
