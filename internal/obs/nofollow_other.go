//go:build !unix

package obs

// noFollow is nothing where the system has no such flag.
const noFollow = 0
