package sandbox

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// capability numbers, from linux/capability.h
const (
	capDACReadSearch = 2
	capLast          = 40
)

// stageCaps is what the stage needs in its own user namespace when it is not
// root: exec would drop them otherwise. They are gone before any payload runs.
var stageCaps = []uintptr{
	unix.CAP_DAC_OVERRIDE, unix.CAP_SETPCAP, unix.CAP_NET_ADMIN, unix.CAP_SYS_CHROOT,
	unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_ADMIN, unix.CAP_FOWNER, unix.CAP_CHOWN,
}

func prctl(op, a2 int) error {
	if err := unix.Prctl(op, uintptr(a2), 0, 0, 0); err != nil {
		return fmt.Errorf("prctl %d: %w", op, err)
	}
	return nil
}

// dropThread leaves the calling thread with no capability but, if wanted, the
// one that reads files whatever their mode; it stays through exec because it
// is ambient. The thread's uid becomes uid when root is true.
//
// Only the calling thread changes: it must be locked and must never be
// unlocked again.
func dropThread(root bool, uid int, readAll bool) error {
	if root {
		// CAP_SETPCAP is still there: an empty bounding set keeps file
		// capabilities out even if no_new_privs were ever missing.
		for c := range capLast + 1 {
			if c == capDACReadSearch && readAll {
				continue // what is not in the bounding set cannot become ambient
			}
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && err != unix.EINVAL {
				return fmt.Errorf("drop bounding capability %d: %w", c, err)
			}
		}
		if err := prctl(unix.PR_SET_KEEPCAPS, 1); err != nil {
			return err
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
			return fmt.Errorf("setresuid: %w", e)
		}
	}
	if err := prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil {
		return err
	}
	var data [2]unix.CapUserData
	if root && readAll {
		data[0] = unix.CapUserData{Effective: 1 << capDACReadSearch, Permitted: 1 << capDACReadSearch, Inheritable: 1 << capDACReadSearch}
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	if root && readAll {
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, capDACReadSearch, 0, 0); err != nil {
			return fmt.Errorf("raise ambient capability: %w", err)
		}
	}
	return prctl(unix.PR_SET_NO_NEW_PRIVS, 1)
}

// dropProcess turns every thread of a root stage into the payload's user: a
// change of all uids away from 0 makes the kernel clear every capability.
func dropProcess(uid int) error {
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("setresuid: %w", err)
	}
	if os.Geteuid() != uid {
		return fmt.Errorf("setresuid: uid is still %d", os.Geteuid())
	}
	return nil
}
