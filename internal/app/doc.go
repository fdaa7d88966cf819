// Package app is the composition root: it opens the state directory, joins the
// rooms to a running whole, and answers the operator's questions about it.
//
// Invariants: it is the only room that sees every other; it decides nothing
// about actions (policy and gate do); opening for reading never creates
// anything; the state directory belongs to the user who runs and is closed to
// everybody else, or nothing is opened.
//
// Only cli and cmd may import it. Its exported values are what commands print:
// their JSON names are stable.
package app
