package selftest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// processAttempts reach for processes and for what is inherited.
func processAttempts() map[string]attempt {
	return map[string]attempt{
		"proc-root":    func(t *target) error { return t.reads(t.proc("root") + t.Canary) },
		"proc-environ": func(t *target) error { return t.reads(t.proc("environ")) },
		"proc-cmdline": func(t *target) error { return t.reads(t.proc("cmdline")) },
		"proc-fd": func(t *target) error {
			l, err := os.Readlink(t.proc("fd/" + strconv.Itoa(canaryFD)))
			if err == nil && l != t.Canary {
				return outcome("other")
			}
			return err
		},
		"process-memory": processMemory,
		"ptrace": func(t *target) error {
			runtime.LockOSThread()
			if err := unix.PtraceSeize(t.Pid); err != nil {
				return err
			}
			return nil // the end of this process lets go of it
		},
		"process-vm-readv": func(t *target) error {
			var buf [8]byte
			local := []unix.Iovec{{Base: &buf[0], Len: 8}}
			_, err := unix.ProcessVMReadv(t.Pid, local, []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&buf)), Len: 8}}, 0)
			if err == unix.EFAULT {
				return nil // allowed, only nothing is mapped there
			}
			return err
		},
		"pidfd-getfd": func(t *target) error {
			fd, err := unix.PidfdOpen(t.Pid, 0)
			if err != nil {
				return err
			}
			_, err = unix.PidfdGetfd(fd, canaryFD, 0)
			return err
		},
		"signal":             func(t *target) error { return unix.Kill(t.Pid, unix.SIGUSR1) },
		"daemon":             daemon,
		"fork-bomb":          forkBomb,
		"environment-names":  environmentNames,
		"environment-values": environmentValues,
		"setuid":             setuid,
		"core-limit": func(*target) error {
			l := unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}
			return unix.Prlimit(0, unix.RLIMIT_CORE, &l, nil)
		},
		"clone-newuser": func(*target) error {
			return reaped(fork(uintptr(unix.SIGCHLD)|unix.CLONE_NEWUSER, 0, 0, 0, 0))
		},
		"unshare-newuser": func(*target) error { return inChild(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0) },
		"clone3-newuser":  func(*target) error { return reaped(clone3()) },
		"memfd-copy":      memfdCopy,
	}
}

func (t *target) proc(name string) string { return fmt.Sprintf("/proc/%d/%s", t.Pid, name) }

func processMemory(t *target) error {
	pids := []int{1, os.Getppid()}
	if t.reads(t.proc("cmdline")) == nil {
		pids = append(pids, t.Pid) // it is the planted one, not another of that number
	}
	var err error
	for _, pid := range pids {
		var fd int
		if fd, err = unix.Open(fmt.Sprintf("/proc/%d/mem", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
			return unix.Close(fd)
		}
	}
	return err
}

func reaped(pid uintptr, no syscall.Errno) error {
	if no != 0 {
		return no
	}
	_, err := unix.Wait4(int(pid), nil, 0, nil)
	return err
}

// clone3 is fork with a new user namespace by the newer call.
//
//go:norace
//go:nosplit
//go:noinline
func clone3() (uintptr, syscall.Errno) {
	args := [8]uint64{0: unix.CLONE_NEWUSER, 4: uint64(unix.SIGCHLD)}
	pid, _, no := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	if no != 0 || pid != 0 {
		return pid, no
	}
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// forkBomb starts more processes than the limit, by a margin, and ends them.
func forkBomb(t *target) error {
	runtime.LockOSThread()
	var pids []uintptr
	var no syscall.Errno
	for range t.Pids + 72 {
		var pid uintptr
		if pid, no = fork(uintptr(unix.SIGCHLD), childWaits, 0, 0, 0); no != 0 {
			break
		}
		pids = append(pids, pid)
	}
	for _, pid := range pids {
		_ = unix.Kill(int(pid), unix.SIGKILL)
	}
	for _, pid := range pids {
		_, _ = unix.Wait4(int(pid), nil, 0, nil)
	}
	return errnoOf(no)
}

func environmentNames(t *target) error {
	for _, kv := range os.Environ() { //nolint:forbidigo // what the environment holds is the question
		name, _, _ := strings.Cut(kv, "=")
		if !slices.Contains(t.Env, name) {
			return nil
		}
	}
	return outcome("none")
}

func environmentValues(t *target) error {
	for _, kv := range os.Environ() { //nolint:forbidigo // what the environment holds is the question
		if strings.Contains(kv, t.Token) {
			return nil
		}
	}
	return outcome("none")
}

func setuid(t *target) error {
	if t.Setuid == "" {
		return skip("only root can plant a setuid program")
	}
	out, err := exec.Command(t.Setuid, "-u").Output() //nolint:noctx // ends by itself
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(out)) == strconv.Itoa(os.Getuid()) {
		return outcome("unchanged")
	}
	return nil
}

// memfdCopy runs a copy of this program from memory and has it try io_uring.
func memfdCopy(t *target) error {
	fd, err := unix.MemfdCreate("copy", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	self, err := os.ReadFile(t.Program)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "copy")
	if _, err := f.Write(self); err != nil {
		return err
	}
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), []string{t.Program, probeName, "io-uring", string(b)}, nil)
}

// canaryFD is where the canary has the secret file open.
const canaryFD = 30

// canary is a process of the host to be reached for. It writes a byte for
// every SIGUSR1 and ends when its input does.
func canary(t *target) {
	_ = unix.Prctl(unix.PR_SET_PTRACER, ^uintptr(0), 0, 0, 0) // -1: by anybody of the same user
	fd, err := unix.Open(t.Canary, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	if unix.Dup3(fd, canaryFD, 0) != nil {
		return
	}
	ch := make(chan os.Signal, 16)
	signal.Notify(ch, unix.SIGUSR1)
	say("ready")
	go func() {
		for range ch {
			_, _ = unix.Write(1, []byte("U"))
		}
	}()
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// daemon leaves a process in a session of its own that holds a lock.
func daemon(t *target) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	c := exec.Command(t.Program) //nolint:noctx // outliving everything is its purpose
	c.Args = []string{t.Program, probeName, "linger", string(b)}
	c.Stdout, c.Env = w, []string{}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return err
	}
	w.Close()
	buf := make([]byte, 64)
	n, err := r.Read(buf)
	if !bytes.Contains(buf[:n], []byte("held")) {
		return fmt.Errorf("no daemon: %w", err)
	}
	return nil
}

// linger holds the lock and waits to be killed, deaf to every other signal.
func linger(t *target) {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	f, err := os.OpenFile(t.Work+"/lock", os.O_RDWR, 0)
	if err != nil || unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	say("held")
	os.Stdout.Close()
	for {
		_, _ = unix.Poll(nil, -1)
	}
}
