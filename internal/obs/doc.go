// Package obs is what an operator watches a running Sallyport with: the
// readable log, JSON lines in a rotated file that only its owner can read.
//
// Invariants: the readable log is a convenience and never evidence (that is
// the verifiable log's part), so an action never depends on it; files are
// created with mode 0600 and never followed through a symbolic link; a line is
// written whole or not at all.
//
// Services, gate and drivers may import it; it imports fault only.
package obs
