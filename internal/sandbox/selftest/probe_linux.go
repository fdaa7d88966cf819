package selftest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// probeName is the first argument of a probe. Anybody may give it: a probe does nothing that its user could not do otherwise.
const probeName = "sallyport-selftest-probe"

// target tells a probe what to reach for. It is the same outside and inside,
// but for the paths of directories that the landlock tier works on in a copy.
type target struct {
	Token                                  string // what only the planted things contain
	Program                                string // this executable, as the view has it
	Canary, Modes, Outside, State          string
	Work, Cow, Common                      string
	Pid                                    int // a process outside
	Stream, Datagram, Control, Abstract    string
	TCP4, TCP6, Alias, Host, Redirect, UDP string // addresses; empty: this machine has none
	ShmID                                  int
	ShmFile, Queue                         string
	Setuid                                 string // empty: none could be planted
	Env                                    []string
	RootDev, RootIno, CanaryDev, CanaryIno uint64
	Tmp                                    string // what to fill
	Mount                                  string // an empty directory to mount on
	Pids                                   int
	Memory, FileSize, TmpSize              int64
	Listener                               bool // a notification listener is to be made first
}

// outcome is an error that is an outcome in itself.
type outcome string

func (o outcome) Error() string { return string(o) }

// skip says why a probe cannot be made.
type skip string

func (s skip) Error() string { return string(s) }

// attempt makes one attack; nil means that it worked.
type attempt func(*target) error

// attempts are all probes by name.
func attempts() map[string]attempt {
	all := map[string]attempt{}
	for _, m := range []map[string]attempt{fileAttempts(), processAttempts(), networkAttempts(), kernelAttempts(), archAttempts()} {
		maps.Copy(all, m)
	}
	return all
}

// MaybeProbe must be called by main and TestMain right after the sandbox's
// MaybeInit. In a process that is a probe it makes its attempt and never
// returns; in any other it does nothing.
func MaybeProbe() {
	if len(os.Args) != 4 || os.Args[1] != probeName {
		return
	}
	var t target
	if err := json.Unmarshal([]byte(os.Args[3]), &t); err != nil {
		say("skipped:no target")
		syscall.Exit(2)
	}
	switch os.Args[2] {
	case "canary":
		canary(&t)
	case "linger":
		linger(&t)
	default:
		say(describe(perform(os.Args[2], &t)))
	}
	syscall.Exit(0)
}

func perform(name string, t *target) error {
	f, ok := attempts()[name]
	if !ok {
		return skip("no such probe: " + name)
	}
	return f(t)
}

// resultPrefix begins the line of a probe that counts.
const resultPrefix = "result: "

// say writes at once, past everything that buffers.
func say(text string) {
	_, _ = unix.Write(1, []byte("\n"+resultPrefix+text+"\n"))
}

// describe gives the text of a Result's Control or Inside.
func describe(err error) string {
	if err == nil {
		return Succeeded
	}
	if s, ok := errors.AsType[skip](err); ok {
		return "skipped:" + string(s)
	}
	if o, ok := errors.AsType[outcome](err); ok {
		return "blocked:" + string(o)
	}
	if no, ok := errors.AsType[syscall.Errno](err); ok {
		name := unix.ErrnoName(no)
		if name == "" {
			name = fmt.Sprintf("errno%d", int(no))
		}
		return "blocked:" + name
	}
	if os.IsTimeout(err) {
		return "blocked:timeout"
	}
	return "blocked:" + strings.ReplaceAll(err.Error(), "\n", " ")
}

// errnoOf makes an errno an error; 0 is none.
func errnoOf(no syscall.Errno) error {
	if no == 0 {
		return nil
	}
	return no
}

// nonsense makes a system call with arguments that the kernel refuses with
// granted, after it has granted the call as such.
func nonsense(granted syscall.Errno, nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, no := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if no == granted {
		return nil
	}
	return errnoOf(no)
}

// childWaits makes a raw child wait for its end instead of exiting.
const childWaits = ^uintptr(0)

// inChild makes a system call in a child of one thread, which some calls
// demand, and gives its error. The child shares nothing and ends at once.
func inChild(nr, a1, a2, a3 uintptr) error {
	pid, no := fork(uintptr(unix.SIGCHLD), nr, a1, a2, a3)
	if no != 0 {
		return no
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(int(pid), &ws, 0, nil); err != nil {
		return err
	}
	if ws.Signaled() {
		return outcome(unix.SignalName(ws.Signal()))
	}
	return errnoOf(syscall.Errno(ws.ExitStatus()))
}

// fork makes a child with raw flags. The child makes one system call and exits
// with its errno, or waits to be killed, without any help of the runtime.
//
//go:norace
//go:nosplit
//go:noinline
func fork(flags, nr, a1, a2, a3 uintptr) (uintptr, syscall.Errno) {
	pid, _, no := syscall.RawSyscall6(unix.SYS_CLONE, flags, 0, 0, 0, 0, 0)
	if no != 0 || pid != 0 {
		return pid, no
	}
	_, _, _ = syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
	for nr == childWaits {
		_, _, _ = syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
	no = 0
	if nr != 0 {
		_, _, no = syscall.RawSyscall(nr, a1, a2, a3)
	}
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(no), 0, 0)
	}
}
