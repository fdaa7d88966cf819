package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attacks do the thing itself; nil means it worked.
var attacks = map[string]func(arg string) error{
	"write-host-file": func(p string) error { return os.WriteFile(p, []byte("x"), 0o644) },
	"read-file": func(p string) error {
		b, err := os.ReadFile(p)
		if err == nil && len(b) == 0 {
			return errors.New("empty")
		}
		return err
	},
	"list-dir": func(p string) error {
		e, err := os.ReadDir(p)
		if err == nil && len(e) == 0 {
			return errors.New("empty")
		}
		return err
	},
	"readlink":  func(p string) error { _, err := os.Readlink(p); return err },
	"open-file": func(p string) error { f, err := os.Open(p); f.Close(); return err },
	"tcp":       func(a string) error { return dial("tcp", a) },
	"unix":      func(a string) error { return dial("unix", a) },
	"unixgram":  func(a string) error { return dial("unixgram", a) },
	"udp":       func(a string) error { return dial("udp", a) },
	"kill":      func(a string) error { return unix.Kill(num(a), 0) },
	"chmod":     func(p string) error { return os.Chmod(p, 0o777) },
	"new-user-ns": func(string) error {
		c := exec.Command("/bin/true")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
		return c.Run()
	},
	"limit": func(a string) error {
		var l unix.Rlimit
		if err := unix.Prlimit(num(a), unix.RLIMIT_CPU, nil, &l); err != nil {
			return err
		}
		return unix.Prlimit(num(a), unix.RLIMIT_CPU, &l, nil)
	},
	"renice": func(a string) error { return unix.Setpriority(unix.PRIO_PROCESS, num(a), 1) },
	"ptrace": func(a string) error {
		runtime.LockOSThread()
		if err := unix.PtraceSeize(num(a)); err != nil {
			return err
		}
		_ = unix.PtraceDetach(num(a)) // refused before the first stop
		return nil
	},
	"vm-readv": func(a string) error {
		var buf [8]byte
		l := []unix.Iovec{{Base: &buf[0], Len: 8}}
		_, err := unix.ProcessVMReadv(num(a), l, []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&buf)), Len: 8}}, 0)
		if err == unix.EFAULT {
			return nil // allowed, only the address is empty there
		}
		return err
	},
	"mount":        func(d string) error { return unix.Mount("tmpfs", d, "tmpfs", 0, "") },
	"chroot":       func(string) error { return onThread(func() error { return unix.Chroot("/") }) },
	"by-handle":    byHandle,
	"clone3":       func(string) error { return errno(unix.SYS_CLONE3, 0, 0, 0, unix.EINVAL) },
	"io-uring":     func(string) error { return errno(unix.SYS_IO_URING_SETUP, 1, 0, 0, unix.EFAULT) },
	"bpf":          func(string) error { return errno(unix.SYS_BPF, 999, 0, 0, unix.EINVAL) },
	"perf":         func(string) error { return errno(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, unix.EFAULT) },
	"userfaultfd":  func(string) error { return errno(unix.SYS_USERFAULTFD, 0xf0000000, 0, 0, unix.EINVAL) },
	"keyctl":       func(string) error { return errno(unix.SYS_KEYCTL, 0, ^uintptr(0)-4, 0, 0) },
	"fsopen":       func(string) error { return errno(unix.SYS_FSOPEN, 0, 0, 0, unix.EFAULT) },
	"pidfd-getfd":  func(string) error { return errno(unix.SYS_PIDFD_GETFD, ^uintptr(0), 0, 0, unix.EBADF) },
	"tiocsti":      func(string) error { return errno(unix.SYS_IOCTL, 1, unix.TIOCSTI, 0, unix.ENOTTY) },
	"tiocsti-high": func(string) error { return errno(unix.SYS_IOCTL, 1, unix.TIOCSTI|1<<32, 0, unix.ENOTTY) },
	"tioclinux":    func(string) error { return errno(unix.SYS_IOCTL, 1, unix.TIOCLINUX, 0, unix.ENOTTY) },
	"tiocsetd":     func(string) error { return errno(unix.SYS_IOCTL, 1, unix.TIOCSETD, 0, unix.ENOTTY) },
	"fastopen": func(string) error {
		return errno6(unix.SYS_SENDTO, ^uintptr(0), 0, 0, unix.MSG_FASTOPEN, 0, 0, unix.EBADF)
	},
	"socketpair-dgram": func(string) error {
		_, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		return err
	},
	"alg":   func(string) error { _, err := unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0); return err },
	"vsock": func(string) error { _, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0); return err },
	"uevent": func(string) error {
		_, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT)
		return err
	},
	"mptcp":    func(string) error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 262); return err },
	"shm":      func(k string) error { _, err := unix.SysvShmGet(num(k), 1, 0); return err },
	"abstract": func(a string) error { return dial("unix", "@"+a) },
}

func dial(network, addr string) error {
	c, err := net.DialTimeout(network, addr, 2*time.Second)
	if err != nil {
		return err
	}
	if network == "udp" { // connecting alone sends nothing
		_, werr := c.Write([]byte("hello\n"))
		_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		_, rerr := c.Read(make([]byte, 8))
		err = errors.Join(werr, rerr)
	}
	return errors.Join(err, c.Close())
}

func num(s string) int { n, _ := strconv.Atoi(s); return n }

// errno makes a call that cannot do harm: expected is what the kernel answers
// to its nonsense arguments when the call as such is allowed.
func errno(nr, a, b, c uintptr, expected unix.Errno) error {
	return errno6(nr, a, b, c, 0, 0, 0, expected)
}

func errno6(nr, a, b, c, d, e, f uintptr, expected unix.Errno) error {
	_, _, no := unix.Syscall6(nr, a, b, c, d, e, f)
	if no == expected || no == 0 {
		return nil
	}
	return no
}

func onThread(f func() error) error {
	ch := make(chan error)
	go func() { runtime.LockOSThread(); ch <- f() }()
	return <-ch
}

func byHandle(p string) error {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, p, 0)
	if err != nil {
		return err
	}
	dir, err := unix.Open(filepath.Dir(p), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	_, err = unix.OpenByHandleAt(dir, h, unix.O_RDONLY)
	return err
}

func runAttack(name, arg string) error {
	f, ok := attacks[name]
	if !ok {
		f, ok = networkAttacks[name]
	}
	if !ok {
		return fmt.Errorf("unknown attack %q", name)
	}
	return f(arg)
}

// target is the host side the attacks are aimed at.
type target struct {
	dir, state, home, work, secret string
	pid, shm                       int
	tcp, udp, sock, gram, name     string
	bin                            string
}

func newTarget(t testing.TB) *target {
	t.Helper()
	// Not under /tmp: the auditor's view has one of its own and would hide the
	// directory without any mask's help.
	dir, err := os.MkdirTemp("/var/tmp", "sallyport-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	x := &target{dir: dir, state: dir + "/state", secret: dir + "/state/keys/owner"}
	x.home, x.work = x.state+"/home/bob", dir+"/work"
	for _, d := range []string{filepath.Dir(x.secret), x.home, x.work} {
		must(t, os.MkdirAll(d, 0o755))
	}
	must(t, os.Chmod(dir, 0o755))
	must(t, os.WriteFile(x.secret, []byte("not a real key\n"), 0o600))
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	x.bin = "attacker"
	must(t, os.WriteFile(x.home+"/attacker", self, 0o755))
	must(t, os.WriteFile(x.work+"/attacker", self, 0o755))
	x.listen(t)
	cmd := exec.Command("sleep", "1000")
	cmd.Env = []string{"SECRET_OF_A_HOST_PROCESS=1"}
	must(t, cmd.Start())
	x.pid = cmd.Process.Pid
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	x.shm, err = unix.SysvShmGet(unix.IPC_PRIVATE, 4096, 0o666|unix.IPC_CREAT)
	must(t, err)
	t.Cleanup(func() { _, _ = unix.SysvShmCtl(x.shm, unix.IPC_RMID, nil) })
	return x
}

func (x *target) listen(t testing.TB) {
	t.Helper()
	x.sock, x.gram, x.name = x.home+"/s", x.home+"/g", filepath.Base(x.dir)
	serve := func(network, addr string) string {
		l, err := net.Listen(network, addr)
		must(t, err)
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		return l.Addr().String()
	}
	x.tcp = serve("tcp", "127.0.0.1:0")
	serve("unix", x.sock)
	serve("unix", "@"+x.name)
	g, err := net.ListenPacket("unixgram", x.gram)
	must(t, err)
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	x.udp = u.LocalAddr().String()
	t.Cleanup(func() { g.Close(); u.Close() })
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = u.WriteTo([]byte("hi"), from)
		}
	}()
	must(t, os.Chmod(x.sock, 0o777))
	must(t, os.Chmod(x.gram, 0o777))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (x *target) spec(view string) Spec {
	return Spec{
		View: view, MinTier: TierLandlock, Home: x.home, Workdir: x.work, Masked: []string{x.state},
		Env:    []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + x.home, "LANG=C.UTF-8"},
		Limits: Limits{Memory: 512 << 20, Pids: 64, Tmp: 8 << 20, FileSize: 32 << 20},
	}
}

type attackCase struct {
	name, attack, arg string
	control           string // why there is no control run; empty: it must succeed outside
	in                string // views and tiers it is made in; empty: all
}

func (x *target) cases() []attackCase {
	proc := "/proc/" + strconv.Itoa(x.pid)
	pid := strconv.Itoa(x.pid)
	root := ""
	if os.Geteuid() != 0 {
		root = "needs root outside"
	}
	return []attackCase{
		{name: "write beside the view", attack: "write-host-file", arg: x.dir + "/new", in: "auditor"}, // the workspace has a /var/tmp of its own
		{name: "write to a system directory", attack: "write-host-file", arg: "/usr/local/sallyport-test", control: "would change the host"},
		{name: "write to /etc", attack: "write-host-file", arg: "/etc/sallyport-test", control: "would change the host"},
		{name: "change a mode", attack: "chmod", arg: x.dir, in: "auditor/full"},
		{name: "read the state directory", attack: "read-file", arg: x.secret},
		{name: "list the state directory's keys", attack: "list-dir", arg: x.state + "/keys", in: "full"},
		{name: "read shadow", attack: "read-file", arg: "/etc/shadow", control: root},
		{name: "shadow's backup", attack: "read-file", arg: "/etc/shadow-", control: root},
		{name: "environment of a host process", attack: "read-file", arg: proc + "/environ"},
		{name: "memory of a host process", attack: "open-file", arg: proc + "/mem"},
		{name: "descriptors of a host process", attack: "readlink", arg: proc + "/fd/0"},
		{name: "root of a host process", attack: "list-dir", arg: proc + "/root/"},
		{name: "directory of a host process", attack: "readlink", arg: proc + "/cwd"},
		{name: "kernel memory", attack: "open-file", arg: "/proc/1/mem", control: "may be forbidden by the machine"},
		{name: "TCP to the host", attack: "tcp", arg: x.tcp},
		{name: "UDP to the host", attack: "udp", arg: x.udp},
		{name: "unix socket in the home", attack: "unix", arg: x.sock},
		{name: "datagram socket in the home", attack: "unixgram", arg: x.gram},
		{name: "abstract socket", attack: "abstract", arg: x.name},
		{name: "signal a host process", attack: "kill", arg: pid},
		{name: "limit a host process", attack: "limit", arg: pid},
		{name: "renice a host process", attack: "renice", arg: pid},
		{name: "trace a host process", attack: "ptrace", arg: pid},
		{name: "read a host process's memory", attack: "vm-readv", arg: pid},
		{name: "mount", attack: "mount", arg: "/mnt", control: "would change the host"},
		{name: "chroot", attack: "chroot", control: root},
		{name: "new user namespace", attack: "new-user-ns"},
		{name: "open by handle", attack: "by-handle", arg: x.home + "/attacker", control: root},
		{name: "clone3", attack: "clone3"},
		{name: "io_uring", attack: "io-uring"},
		{name: "bpf", attack: "bpf", control: root},
		{name: "perf", attack: "perf"},
		{name: "userfaultfd", attack: "userfaultfd", control: root},
		{name: "keyctl", attack: "keyctl"},
		{name: "new mount API", attack: "fsopen", control: root},
		{name: "take a descriptor", attack: "pidfd-getfd"},
		{name: "terminal injection", attack: "tiocsti"},
		{name: "terminal injection, high bits", attack: "tiocsti-high"},
		{name: "console injection", attack: "tioclinux"},
		{name: "line discipline", attack: "tiocsetd"},
		{name: "TCP fast open", attack: "fastopen"},
		{name: "datagram pair", attack: "socketpair-dgram"},
		{name: "AF_ALG", attack: "alg", control: "the module may be absent"},
		{name: "AF_VSOCK", attack: "vsock", control: "the module may be absent"},
		{name: "uevent netlink", attack: "uevent"},
		{name: "MPTCP", attack: "mptcp", control: "may be disabled"},
	}
}

// results pairs the attacker's lines with the cases it was given.
func results(t *testing.T, cases []attackCase, out []byte) map[string]string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(cases) {
		t.Fatalf("%d results for %d attacks:\n%s", len(lines), len(cases), out)
	}
	m := map[string]string{}
	for i, c := range cases {
		m[c.name] = lines[i]
	}
	return m
}

func TestAttacks(t *testing.T) {
	x := newTarget(t)
	all := x.cases()
	var controls []attackCase
	args := []string{"attack"}
	for _, c := range all {
		if c.control != "" {
			t.Logf("%s: no control run: %s", c.name, c.control)
			continue
		}
		controls = append(controls, c)
		args = append(args, c.attack, c.arg)
	}
	out, err := exec.Command(x.work+"/attacker", args...).Output()
	must(t, err)
	for name, r := range results(t, controls, out) {
		if r != "SUCCEEDED" {
			t.Errorf("control run of %q did not succeed, the test proves nothing: %s", name, r)
		}
	}
	os.Remove(x.dir + "/new")
	for _, v := range everyView {
		kind := v.view + "/" + v.tier.String()
		t.Run(kind, func(t *testing.T) {
			if v.tier == TierLandlock && os.Geteuid() == 0 {
				// this tier hands the writable directories to the payload's user
				defer func() { _ = exec.Command("chown", "-R", "0:0", x.home, x.work).Run() }()
			}
			sh := openShell(t, x.spec(v.view), v.tier)
			script := quote(x.work + "/attacker")
			if v.view == ViewAuditor {
				script = quote(x.home + "/attacker")
			}
			script += " attack"
			var cases []attackCase
			for _, c := range all {
				if strings.Contains(kind, c.in) {
					cases = append(cases, c)
					script += " " + quote(c.attack) + " " + quote(c.arg)
				}
			}
			r := runOK(t, sh, script)
			for name, got := range results(t, cases, r.Head) {
				if !strings.HasPrefix(got, "refused: ") {
					t.Errorf("%s: %s", name, got)
				}
			}
			if _, err := os.Stat(x.dir + "/new"); err == nil {
				t.Error("a file appeared beside the view")
			}
		})
	}
}
