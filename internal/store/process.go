package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// owner identifies a process for good: its pid, its start time in clock ticks
// after boot and the boot's id. A pid alone is given to others later.
func ownerOf(pid int) (string, error) {
	if runtime.GOOS != "linux" {
		return strconv.Itoa(pid) + "::", nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the command in parentheses and may hold anything.
	i := bytes.LastIndexByte(stat, ')')
	fields := strings.Fields(string(stat[i+1:]))
	const start = 22 - 3 // field 22 of the file, counted from field 3
	if i < 0 || len(fields) <= start {
		return "", errors.New("store: /proc stat has another form")
	}
	if state := fields[0]; state == "Z" || state == "X" { // it ended, its parent has not noticed
		return "", os.ErrNotExist
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%s:%s", pid, fields[start], bytes.TrimSpace(boot)), nil
}

func self() (string, error) { return ownerOf(os.Getpid()) }

// alive reports whether the process is still there. What cannot be told counts
// as alive: its intents stay open rather than being settled behind its back.
func alive(owner string) bool {
	pid, rest, _ := strings.Cut(owner, ":")
	n, err := strconv.Atoi(pid)
	if err != nil {
		return false
	}
	if n == os.Getpid() {
		me, err := self()
		return err != nil || me == owner
	}
	if runtime.GOOS != "linux" || rest == ":" {
		p, err := os.FindProcess(n)
		return err == nil && p.Release() == nil
	}
	now, err := ownerOf(n)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	return err != nil || now == owner
}
