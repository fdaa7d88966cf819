package sandbox

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// judge runs a filter as the kernel does, on one system call.
func judge(t *testing.T, code []unix.SockFilter, nr uint32, args ...uint64) uint32 {
	var data [64]byte
	binary.LittleEndian.PutUint32(data[offNr:], nr)
	binary.LittleEndian.PutUint32(data[offArch:], auditArch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[offArg0+8*i:], a)
	}
	var acc uint32
	for pc := 0; pc < len(code); pc++ {
		in := code[pc]
		jump := func(ok bool) {
			if ok {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[in.K:])
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(acc == in.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump(acc&in.K != 0)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(acc >= in.K)
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d has code %#x", pc, in.Code)
		}
	}
	t.Fatal("the filter ends without an answer")
	return 0
}

// protocols are those of every family that anybody uses, and TCP, UDP, SCTP,
// UDP-Lite, raw, SMC and MPTCP by their numbers.
var protocols = []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 17, 33, 132, 136, 255, 256, 262}

// TestSocketRules tries every family, type and protocol there is room for, and
// knows the ones that may pass.
func TestSocketRules(t *testing.T) {
	for _, c := range []struct {
		view        string
		tier        Tier
		unixSockets bool
	}{
		{ViewAuditor, TierFull, false},
		{ViewWorkspace, TierFull, false},
		{ViewWorkspace, TierFull, true},
		{ViewWorkspace, TierLandlock, false},
	} {
		t.Run(fmt.Sprintf("%s %s %v", c.view, c.tier, c.unixSockets), func(t *testing.T) {
			code := buildFilter(c.view, c.tier, c.tier == TierLandlock, c.unixSockets)
			if len(code) > unix.BPF_MAXINSNS {
				t.Fatalf("%d instructions", len(code))
			}
			inet := c.view == ViewWorkspace && c.tier == TierFull
			for family := range uint64(64) {
				for kind := range uint64(16) {
					for _, protocol := range protocols {
						stream, dgram := kind == unix.SOCK_STREAM, kind == unix.SOCK_DGRAM
						var want bool
						switch family {
						case unix.AF_INET, unix.AF_INET6:
							want = inet && (stream && (protocol == 0 || protocol == unix.IPPROTO_TCP) || dgram && (protocol == 0 || protocol == unix.IPPROTO_UDP))
						case unix.AF_UNIX:
							want = c.unixSockets && stream
						case unix.AF_NETLINK:
							want = protocol == unix.NETLINK_ROUTE || protocol == unix.NETLINK_SOCK_DIAG && c.view == ViewAuditor
						}
						for _, flags := range []uint64{0, unix.SOCK_CLOEXEC, unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC, 1 << 32, 0x30} {
							if got := judge(t, code, unix.SYS_SOCKET, family, kind|flags, protocol) == retAllow; got != want {
								t.Fatalf("socket(%d, %#x, %d): %v", family, kind|flags, protocol, got)
							}
						}
					}
				}
			}
			for family := range uint64(64) {
				for kind := range uint64(16) {
					want := family == unix.AF_UNIX && kind == unix.SOCK_STREAM
					if got := judge(t, code, unix.SYS_SOCKETPAIR, family, kind|unix.SOCK_CLOEXEC) == retAllow; got != want {
						t.Errorf("socketpair(%d, %d): %v", family, kind, got)
					}
				}
			}
			// the high half of an int is not the kernel's business
			for nr, arg := range map[uint32]int{unix.SYS_SENDTO: 3, unix.SYS_SENDMSG: 2, unix.SYS_SENDMMSG: 3} {
				args := make([]uint64, 6)
				args[arg] = unix.MSG_NOSIGNAL
				if judge(t, code, nr, args...) != retAllow {
					t.Errorf("call %d is refused", nr)
				}
				args[arg] |= unix.MSG_FASTOPEN | 1<<40
				if judge(t, code, nr, args...) == retAllow {
					t.Errorf("call %d connects by itself", nr)
				}
			}
		})
	}
}
