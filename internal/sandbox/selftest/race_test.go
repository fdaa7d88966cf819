//go:build race

package selftest

// testMemory lets the race detector's own memory into the sandbox.
const testMemory = 512 << 20
