package selftest

// archAttempts are those of other system call tables.
func archAttempts() map[string]attempt {
	none := func(*target) error { return skip("this processor has no such system calls") }
	return map[string]attempt{"x32": none, "int-0x80": none}
}
