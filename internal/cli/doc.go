// Package cli is the command line of Sallyport: one file per command, one
// table from error kinds to exit codes, and how things look on a terminal.
//
// Invariants: a command reaches everything through app; it reads nothing from
// the process but what Run is given (no global flags, environment or streams),
// so that a test runs it whole; output from agents, models and hosts is made
// visible before it reaches a terminal; with --json the standard output is
// nothing but JSON, whose names are stable.
//
// Only cmd may import it.
package cli
