//go:build unix

package credential

import (
	"os/exec"
	"syscall"
)

// endWithChildren makes the end of cmd's time the end of its whole group.
func endWithChildren(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
