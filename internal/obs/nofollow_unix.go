//go:build unix

package obs

import "syscall"

const noFollow = syscall.O_NOFOLLOW
