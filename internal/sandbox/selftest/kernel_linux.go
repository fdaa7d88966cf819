package selftest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernelAttempts reach for kernel interfaces.
func kernelAttempts() map[string]attempt {
	return map[string]attempt{
		"io-uring": func(*target) error { return nonsense(unix.EFAULT, unix.SYS_IO_URING_SETUP, 1) },
		"bpf":      func(*target) error { return nonsense(unix.EINVAL, unix.SYS_BPF, 999) },
		"perf":     func(*target) error { return nonsense(unix.EFAULT, unix.SYS_PERF_EVENT_OPEN) },
		"userfaultfd": func(*target) error {
			return nonsense(unix.EINVAL, unix.SYS_USERFAULTFD, 0xf0000000)
		},
		// more segments than there can be: refused after the capability was seen
		"kexec": func(*target) error { return nonsense(unix.EINVAL, unix.SYS_KEXEC_LOAD, 0, 1<<20, 0, 0) },
		"clock": func(*target) error { var t unix.Timex; _, err := unix.Adjtimex(&t); return err }, // reads only
		"keyctl": func(*target) error {
			_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_PROCESS_KEYRING, true)
			return err
		},
		"mount": func(t *target) error { return unix.Mount("tmpfs", t.Mount, "tmpfs", unix.MS_NOSUID, "") },
		"fsopen": func(*target) error {
			fd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
			if err == nil {
				err = unix.Close(fd)
			}
			return err
		},
		"umount": func(t *target) error {
			// it takes a mount of its own outside; inside there is one already
			if err := unix.Mount("tmpfs", t.Mount, "tmpfs", unix.MS_NOSUID, ""); err == nil {
				return unix.Unmount(t.Mount, unix.MNT_DETACH)
			}
			return unix.Unmount("/tmp", unix.MNT_DETACH)
		},
		"chroot": func(t *target) error {
			p, err := unix.BytePtrFromString("/")
			if err != nil {
				return err
			}
			defer runtime.KeepAlive(p)
			return inChild(unix.SYS_CHROOT, uintptr(unsafe.Pointer(p)), 0, 0)
		},
		"setns": func(*target) error {
			fd, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return inChild(unix.SYS_SETNS, uintptr(fd), unix.CLONE_NEWUTS, 0)
		},
		"tiocsti":            func(*target) error { return inject(unix.TIOCSTI) },
		"tiocsti-high-bits":  func(*target) error { return inject(unix.TIOCSTI | 1<<32) },
		"tioclinux":          func(*target) error { return inject(unix.TIOCLINUX) },
		"tiocsetd":           func(*target) error { return inject(unix.TIOCSETD) },
		"shared-memory-bomb": sharedMemoryBomb,
		"notify-listener":    notifyListener,
	}
}

// inject makes an ioctl on the controlling terminal; where there is none, it
// makes one first.
func inject(request uintptr) error {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		if fd, err = ownTerminal(); err != nil {
			return fmt.Errorf("no terminal: %w", err)
		}
	}
	arg := [4]byte{'x'}
	if request == unix.TIOCSETD {
		arg[0] = 0 // the discipline it has already
	}
	_, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&arg)))
	return errnoOf(no)
}

func ownTerminal() (int, error) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, err
	}
	fd, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if no != 0 {
		return -1, no
	}
	return int(fd), unix.IoctlSetInt(int(fd), unix.TIOCSCTTY, 0)
}

// sharedMemoryBomb fills what no limit of a single process counts.
func sharedMemoryBomb(t *target) error {
	b, err := unix.Mmap(-1, 0, int(t.Memory+64<<20), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
	return unix.Munmap(b)
}

// notifyListener succeeds when a filter with a notification listener is there
// already: the kernel allows one for all filters of a process together.
func notifyListener(t *target) error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if t.Listener {
		if err := listen(); err != nil {
			return err
		}
	}
	err := listen()
	if errors.Is(err, unix.EBUSY) {
		return nil
	}
	if err == nil {
		return outcome("none")
	}
	return err
}

// listen loads a filter that allows everything, with a listener.
func listen() error {
	code := [1]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
	prog := unix.SockFprog{Len: 1, Filter: &code[0]}
	_, _, no := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	return errnoOf(syscall.Errno(no))
}
