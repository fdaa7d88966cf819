//go:build unix

package vault

import "syscall"

// noFollow keeps the open of a key file from following a link.
const noFollow = syscall.O_NOFOLLOW
