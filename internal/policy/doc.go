// Package policy decides: allow, ask or deny, with the rules that decided, the
// first failing condition and the remedy.
//
// The rules are Cedar. Simple settings (readOnlyMode, blocked_commands, a
// profile without exec) and the label rules are generated as Cedar text with an
// origin; the operator's own *.cedar files join the same set. A forbid with
// @ask("2:owner") asks instead of denying. Deny is stronger than ask, ask is
// stronger than allow, and what no rule permits is denied.
//
// Invariants: no I/O, no clock, no goroutines, so the same question always has
// the same answer; every policy was validated against a closed schema before
// the first question; requests are built by one function that follows that
// schema; any evaluation error denies, because Cedar itself skips a forbid that
// errors; an ask is reported only if the named approvals would really allow.
//
// It imports the vocabulary only and is wired by app; everybody but the
// vocabulary may import it.
package policy
