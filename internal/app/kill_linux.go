package app

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
)

// killTree kills a process and everything below it and gives how many it
// killed. still is asked once the process is held by a handle, which keeps
// naming it even if its number is given to another meanwhile: only then is it
// certain that the number still is the run's.
func killTree(pid int, still func() bool) int {
	root, err := os.FindProcess(pid) // a pidfd
	if err != nil || !still() {
		return 0
	}
	defer func() { _ = root.Release() }() // nothing depends on it
	// The descendants first by name: once the root is gone they belong to init.
	tree := descendants(pid)
	killed := 0
	if root.Kill() == nil {
		killed++
	}
	for _, d := range tree {
		p, err := os.FindProcess(d.pid)
		if err != nil {
			continue
		}
		if now, ok := statOf(d.pid); ok && now.start == d.start && p.Kill() == nil {
			killed++
		}
		_ = p.Release() // nothing depends on it
	}
	return killed
}

type procStat struct {
	pid, parent int
	start       string // clock ticks after boot: with the pid it names one process
}

// descendants lists the processes below one, nearest first.
func descendants(root int) []procStat {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]procStat{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, ok := statOf(pid); ok {
			children[s.parent] = append(children[s.parent], s)
		}
	}
	out := slices.Clone(children[root])
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i].pid]...)
	}
	return out
}

// statOf reads what /proc says; the command's name may hold anything, so
// fields are counted after its closing parenthesis.
func statOf(pid int) (procStat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, false
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return procStat{}, false
	}
	parent, err := strconv.Atoi(f[1])
	return procStat{pid: pid, parent: parent, start: f[19]}, err == nil
}
