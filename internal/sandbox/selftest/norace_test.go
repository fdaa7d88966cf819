//go:build !race

package selftest

// testMemory is what ships.
const testMemory = 192 << 20
