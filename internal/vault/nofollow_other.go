//go:build !unix

package vault

// noFollow: here an open cannot be told not to follow a link.
const noFollow = 0
