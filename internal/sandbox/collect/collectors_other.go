//go:build !linux

package collect

// collectors is empty where no host can be audited; a check then finds no row in
// coverage.tsv and counts itself as not readable.
func collectors() []collector { return nil }
