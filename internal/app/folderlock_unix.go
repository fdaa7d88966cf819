//go:build unix

package app

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes a file for its holder alone until it is closed; without wait
// it fails at once when somebody else has it.
func lockFile(f *os.File, wait bool) error {
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
