package sandbox

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

func archPrologue(*bpf) {}

var archDenied []uint32
