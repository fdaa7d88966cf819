package app

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// space is room of some kind, in bytes; the zero value is unknown.
type space struct{ free, total uint64 }

// below reports less than a share in percent, or less than some bytes.
func (s space) below(percent, bytes uint64) bool {
	return s.total > 0 && (s.free < bytes || s.free/percent < s.total/100)
}

// diskOf gives the room on the file system of dir that is left to us.
func diskOf(dir string) space {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Bsize <= 0 {
		return space{}
	}
	return space{st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize)}
}

// memoryOf gives the machine's memory, and what could be had without swapping.
func memoryOf() (s space) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return space{}
	}
	defer f.Close() //nolint:errcheck // read only
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		n, err := strconv.ParseUint(words[1], 10, 50)
		switch {
		case err != nil:
		case words[0] == "MemTotal:":
			s.total = n << 10
		case words[0] == "MemAvailable:":
			s.free = n << 10
		}
	}
	return s
}

// tryLock takes a file's lock if nobody has it; it vanishes with the process.
func tryLock(f *os.File) bool { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }

// groupKilled makes a program, with all that it starts, end with its context.
func groupKilled(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
