package credential

import (
	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// ProtectProcess keeps the memory of this process out of core dumps and, unless
// it will start user namespaces, away from other processes of the same user
// (ptrace, /proc/PID/mem and environ).
//
// The kernel hands the /proc files of a process that is not dumpable to root,
// and so an ordinary user's could no longer write the uid_map of a child it is
// about to start. With namespaces only core dumps are prevented, by a limit of
// one byte: that stops the programs which cores are piped to as well (core(5)).
// A failure is fault.Unsupported.
func ProtectProcess(namespaces bool) error {
	const op = "credential.protect"
	limit := uint64(0)
	if namespaces {
		limit = 1
	} else if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return &fault.Error{
			Op: op, Kind: fault.Unsupported, Err: err,
			Public: "the process cannot be made undumpable (PR_SET_DUMPABLE), so its secrets could be read; allow prctl",
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		return &fault.Error{
			Op: op, Kind: fault.Unsupported, Err: err,
			Public: "core dumps cannot be turned off (RLIMIT_CORE), so secrets could land on disk; allow setrlimit",
		}
	}
	return nil
}
