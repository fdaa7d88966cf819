package credential

import (
	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// ProtectProcess keeps the memory of this process out of core dumps and away
// from other processes of the same user (ptrace, /proc/PID/mem and environ).
//
// It is for a process that holds values and starts no user namespaces as an
// ordinary user: the kernel hands the /proc files of a process that is not
// dumpable to root, and so its owner can no longer write the uid_map of a child
// it is about to start. A failure is fault.Unsupported.
func ProtectProcess() error {
	const op = "credential.protect"
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return &fault.Error{
			Op: op, Kind: fault.Unsupported, Err: err,
			Public: "the process cannot be made undumpable (PR_SET_DUMPABLE), so its secrets could be read; allow prctl",
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return &fault.Error{
			Op: op, Kind: fault.Unsupported, Err: err,
			Public: "core dumps cannot be turned off (RLIMIT_CORE), so secrets could land on disk; allow setrlimit",
		}
	}
	return nil
}
