// Package guard runs somebody else's agent, unmodified, behind the gate: it
// opens the agent's context and session, starts its program in it and stays
// until the program ends.
//
// Invariants: the program's start is an action whose control argument is the
// exact command line; the session is opened before the program and every
// effect on the way is asked of the gate; what cannot be recorded ends the
// run; the package performs nothing itself, executors do.
//
// The terminal between program and person is the package screen beneath this
// one. It imports the vocabulary, gate's interface and nothing else of ours;
// app imports it.
package guard
