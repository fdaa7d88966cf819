//go:build !unix

package store

// turnstile is left to SQLite's own lock where there is no flock: correct, but
// not fair between processes.
type turnstile struct{}

func openTurnstile(string) (*turnstile, error) { return &turnstile{}, nil }

func (*turnstile) lock() error   { return nil }
func (*turnstile) unlock() error { return nil }
func (*turnstile) close() error  { return nil }
