//go:build !linux

package app

import "os"

// killTree kills the process alone: finding what is below it needs /proc.
func killTree(pid int, still func() bool) int {
	p, err := os.FindProcess(pid)
	if err != nil || !still() {
		return 0
	}
	if p.Kill() != nil {
		return 0
	}
	return 1
}
