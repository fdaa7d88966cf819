package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The filter is classic BPF assembled here: allow by default, about seventy
// denials. It is the layer that closes what namespaces and Landlock leave
// open: kernel interfaces with a history, new namespaces, socket families,
// terminal injection. Offsets are of struct seccomp_data.
const (
	offNr   = 0
	offArch = 4
	offArg0 = 16 // low half of argument 0 on a little-endian machine; 8 bytes each
)

const (
	retAllow = unix.SECCOMP_RET_ALLOW
	retKill  = unix.SECCOMP_RET_KILL_PROCESS
	retEPERM = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	retNoSys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// namespaceFlags may not be given to clone or unshare.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

type bpf struct{ code []unix.SockFilter }

func (b *bpf) op(code uint16, k uint32, jt, jf uint8) {
	b.code = append(b.code, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}
func (b *bpf) load(off uint32) { b.op(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, off, 0, 0) }
func (b *bpf) ret(v uint32)    { b.op(unix.BPF_RET|unix.BPF_K, v, 0, 0) }

// arg loads the low 32 bits of argument n: the kernel itself ignores the high
// half of ints, so a filter that compares all 64 bits can be passed by.
func (b *bpf) arg(n uint32) { b.load(offArg0 + 8*n) }

// ifEq, ifSet: run the next instruction only if the accumulator equals k, or
// has one of k's bits; otherwise skip it.
func (b *bpf) ifEq(k uint32)  { b.op(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, k, 0, 1) }
func (b *bpf) ifSet(k uint32) { b.op(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, k, 0, 1) }

// deny answers system call nr with value v.
func (b *bpf) deny(nr, v uint32) {
	b.ifEq(nr)
	b.ret(v)
}

// when runs body only for system call nr. The body must end in a return.
func (b *bpf) when(nr uint32, body func(*bpf)) {
	var in bpf
	body(&in)
	b.op(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, nr, 0, uint8(len(in.code)))
	b.code = append(b.code, in.code...)
}

// buildFilter assembles the program for a view and tier.
func buildFilter(view string, tier Tier, hostPID, unixSockets bool) []unix.SockFilter {
	var b bpf
	b.load(offArch)
	b.op(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, auditArch, 1, 0)
	b.ret(retKill)
	b.load(offNr)
	archPrologue(&b)
	for _, nr := range deniedCalls {
		b.deny(nr, retEPERM)
	}
	for _, nr := range archDenied {
		b.deny(nr, retEPERM)
	}
	// libraries fall back from clone3, whose flags lie behind a pointer
	b.deny(unix.SYS_CLONE3, retNoSys)
	if view != ViewAuditor {
		b.deny(unix.SYS_SYSLOG, retEPERM)
	} else {
		for _, nr := range []uint32{unix.SYS_CONNECT, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4} {
			b.deny(nr, retEPERM)
		}
	}
	if tier == TierLandlock {
		for _, nr := range sharedIPC {
			b.deny(nr, retEPERM)
		}
	}
	if hostPID {
		selfOnly(&b)
	}
	flagRules(&b)
	socketRules(&b, view, tier, unixSockets)
	b.ret(retAllow)
	return b.code
}

// selfOnly lets a payload change scheduling and limits of itself (number 0) but
// of nobody else: where host processes have numbers, the kernel would let it do
// so to every process of the same user, and a CPU limit kills.
func selfOnly(b *bpf) {
	for _, c := range []struct{ nr, pidArg uint32 }{
		{unix.SYS_PRLIMIT64, 0},
		{unix.SYS_SETPRIORITY, 1},
		{unix.SYS_IOPRIO_SET, 1},
		{unix.SYS_SCHED_SETAFFINITY, 0},
		{unix.SYS_SCHED_SETSCHEDULER, 0},
		{unix.SYS_SCHED_SETPARAM, 0},
		{unix.SYS_SCHED_SETATTR, 0},
	} {
		b.when(c.nr, func(b *bpf) { b.arg(c.pidArg); b.ifEq(0); b.ret(retAllow); b.ret(retEPERM) })
	}
}

func flagRules(b *bpf) {
	b.when(unix.SYS_CLONE, func(b *bpf) { b.arg(0); b.ifSet(namespaceFlags); b.ret(retEPERM); b.ret(retAllow) })
	b.when(unix.SYS_UNSHARE, func(b *bpf) {
		b.arg(0)
		b.ifSet(namespaceFlags | unix.CLONE_NEWTIME)
		b.ret(retEPERM)
		b.ret(retAllow)
	})
	b.when(unix.SYS_IOCTL, func(b *bpf) {
		b.arg(1)
		b.ifEq(unix.TIOCSTI)
		b.ret(retEPERM)
		b.ifEq(unix.TIOCLINUX)
		b.ret(retEPERM)
		b.ifEq(unix.TIOCSETD) // line disciplines are drivers that any user could load
		b.ret(retEPERM)
		b.ret(retAllow)
	})
	b.when(unix.SYS_PERSONALITY, func(b *bpf) {
		b.arg(0)
		for _, ok := range []uint32{0, 8, 0x20000, 0x20008, 0xffffffff} { // what setarch and build tools ask for
			b.ifEq(ok)
			b.ret(retAllow)
		}
		b.ret(retEPERM)
	})
}

// socketRules is the allowlist of families, types and protocols.
func socketRules(b *bpf, view string, tier Tier, unixSockets bool) {
	b.when(unix.SYS_SOCKET, func(b *bpf) {
		b.arg(0)
		b.when(unix.AF_NETLINK, func(b *bpf) {
			b.arg(2)
			b.ifEq(unix.NETLINK_ROUTE)
			b.ret(retAllow)
			if view == ViewAuditor {
				b.ifEq(unix.NETLINK_SOCK_DIAG)
				b.ret(retAllow)
			}
			b.ret(retEPERM)
		})
		if view == ViewWorkspace && tier == TierFull {
			// the network namespace has nothing that leads out
			b.when(unix.AF_INET, inetOnly)
			b.when(unix.AF_INET6, inetOnly)
		}
		if unixSockets {
			// a datagram socket could send to any other by name, unconnected
			b.when(unix.AF_UNIX, streamOnly)
		}
		b.ret(retEPERM)
	})
	// A stream pair is a pipe with two ends; a datagram pair could still send
	// to any socket by name.
	b.when(unix.SYS_SOCKETPAIR, func(b *bpf) {
		b.arg(0)
		b.when(unix.AF_UNIX, streamOnly)
		b.ret(retEPERM)
	})
	// MSG_FASTOPEN connects without connect().
	for _, c := range []struct{ nr, flagsArg uint32 }{{unix.SYS_SENDTO, 3}, {unix.SYS_SENDMSG, 2}, {unix.SYS_SENDMMSG, 3}} {
		b.when(c.nr, func(b *bpf) { b.arg(c.flagsArg); b.ifSet(unix.MSG_FASTOPEN); b.ret(retEPERM); b.ret(retAllow) })
	}
}

// socketType loads the type of a socket or pair: the low four bits of argument
// 1, the others being flags.
func (b *bpf) socketType() {
	b.arg(1)
	b.op(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, 0xf, 0, 0)
}

func streamOnly(b *bpf) {
	b.socketType()
	b.ifEq(unix.SOCK_STREAM)
	b.ret(retAllow)
	b.ret(retEPERM)
}

// inetOnly permits TCP and UDP. The type counts too, because protocol 0 means
// whatever the kernel has for it; the protocol keeps MPTCP and the like out.
func inetOnly(b *bpf) {
	b.socketType()
	for _, t := range []struct{ kind, protocol uint32 }{{unix.SOCK_STREAM, unix.IPPROTO_TCP}, {unix.SOCK_DGRAM, unix.IPPROTO_UDP}} {
		b.when(t.kind, func(b *bpf) {
			b.arg(2)
			for _, p := range []uint32{0, t.protocol} {
				b.ifEq(p)
				b.ret(retAllow)
			}
			b.ret(retEPERM)
		})
	}
	b.ret(retEPERM)
}

// loadFilter puts the program on the calling thread; no_new_privs must be set.
func loadFilter(code []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		return fmt.Errorf("prctl PR_SET_SECCOMP: %w", err)
	}
	return nil
}

// deniedCalls are refused on every architecture. Not among them, on purpose:
// memfd_create, which language runtimes need, and with it execution from memory.
// A payload may execute what it writes, because builds do; nothing rests on
// which program runs, as every one of them is held by the same limits.
var deniedCalls = []uint32{
	// looking into and steering other processes
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD,
	unix.SYS_KCMP, unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_MRELEASE, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
	// namespaces and mounts
	unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT,
	unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_TREE_ATTR,
	// files past every path rule
	unix.SYS_OPEN_BY_HANDLE_AT,
	// keys of the host
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	// large kernel surface, nothing a payload needs
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_FANOTIFY_INIT,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_LOOKUP_DCOOKIE, unix.SYS_MEMFD_SECRET,
	// the machine itself
	unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_VHANGUP, unix.SYS_NFSSERVCTL,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_KEXEC_FILE_LOAD,
}

// sharedIPC is refused where there is no IPC namespace. Not only what opens:
// System V numbers can be guessed and used without opening anything.
var sharedIPC = []uint32{
	unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_SEMGET, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP, unix.SYS_SEMCTL,
	unix.SYS_MSGGET, unix.SYS_MSGSND, unix.SYS_MSGRCV, unix.SYS_MSGCTL, unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK,
}
