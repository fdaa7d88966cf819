//go:build !unix

package credential

import "os/exec"

// endWithChildren: elsewhere only the command itself is ended.
func endWithChildren(*exec.Cmd) {}
