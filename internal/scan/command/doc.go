// Package command reads shell scripts to tell which programs they run, and
// matches them with a list of blocked commands.
//
// It sees through quoting, wrappers (env, sudo, xargs, timeout …), find -exec,
// sh -c, eval, aliases, functions, substitutions and variables assigned once.
// What it cannot tell before the script runs is itself a finding,
// command.unresolved.
//
// Invariants: pure and bounded in depth, programs and bytes; it advises before
// the kernel's limits and replaces none of them, because a program can always
// do what another one does.
//
// It imports the vocabulary only. App hands it to policy as a function.
package command
