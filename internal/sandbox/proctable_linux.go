package sandbox

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// proc is one line of the process table: numbers as /proc has them, and as the
// stage's own namespace has them.
type proc struct {
	pid, ppid, own int
	zombie         bool
}

// descendants lists the processes below the one that this namespace calls
// root, by their numbers in this namespace. orphans adds the stage's other
// children and all below them.
func descendants(root int, orphans bool) []int {
	table := processTable()
	self := selfPid()
	in := map[int]bool{}
	for _, p := range table {
		if p.own == root && (p.ppid == self || p.pid == self) {
			in[p.pid] = true
		}
	}
	for again := true; again; {
		again = false
		for _, p := range table {
			if !in[p.pid] && (in[p.ppid] || orphans && p.ppid == self) {
				in[p.pid], again = true, true
			}
		}
	}
	var out []int
	for _, p := range table {
		if in[p.pid] && p.own != root && !p.zombie {
			out = append(out, p.own)
		}
	}
	return out
}

func processTable() []proc {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var table []proc
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + n + "/status")
		if err != nil {
			continue
		}
		if p, ok := parseStatus(pid, string(b)); ok {
			table = append(table, p)
		}
	}
	return table
}

// parseStatus reads the three lines of /proc/PID/status that matter here.
func parseStatus(pid int, s string) (proc, bool) {
	p := proc{pid: pid, own: pid}
	seen := false
	for line := range strings.Lines(s) {
		key, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		if len(f) == 0 {
			continue
		}
		switch key {
		case "PPid":
			p.ppid, _ = strconv.Atoi(f[0])
			seen = true
		case "NSpid":
			p.own, _ = strconv.Atoi(f[len(f)-1])
		case "State":
			p.zombie = f[0] == "Z"
		}
	}
	return p, seen
}

// sweep kills what is left of a user namespace whose stage was killed from
// outside; nothing can leave its user namespace. It looks until it finds none.
func sweep(userNS string) {
	for range 100 {
		n := 0
		for _, p := range processTable() {
			dir := "/proc/" + strconv.Itoa(p.pid)
			if l, err := os.Readlink(dir + "/ns/user"); err == nil && l == userNS && !p.zombie {
				_ = unix.Kill(p.pid, unix.SIGKILL)
				n++
			}
		}
		if n == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
