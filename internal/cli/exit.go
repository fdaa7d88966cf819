package cli

import (
	"context"
	"errors"
	"slices"

	"sallyport/internal/fault"
)

// The exit codes; docs/exit-codes.md is the same table.
const (
	exitOK          = 0
	exitInternal    = 1
	exitUsage       = 2
	exitConfig      = 3
	exitDenied      = 4
	exitBudget      = 5
	exitUnavailable = 6
	exitNotFound    = 7
	exitUnsupported = 8
	exitCorrupt     = 9
	exitLevel       = 10
	exitInterrupted = 130
)

// exitRow is one row of the table of exit codes.
type exitRow struct {
	Code    int
	Name    string
	Kinds   []fault.Kind
	Meaning string
}

// exitTable maps every kind of error to what a script sees.
func exitTable() []exitRow {
	return []exitRow{
		{exitOK, "ok", nil, "done; for `run`: every agent ended by itself and no report reached --fail-level"},
		{exitInternal, "internal", []fault.Kind{fault.Internal}, "a defect or a failure of the environment; the message is worth a report"},
		{exitUsage, "usage", []fault.Kind{fault.Usage}, "the words of the command are wrong; `sallyport COMMAND --help` shows them"},
		{exitConfig, "configuration", []fault.Kind{fault.Config}, "a configuration or agent file, a permission, a variable or a key is wrong; in mid-run, what a provider refused for good"},
		{exitDenied, "denied", []fault.Kind{fault.Denied, fault.NeedsAsk}, "a rule said no, or an approval was needed and nobody gave it"},
		{exitBudget, "budget", []fault.Kind{fault.Budget}, "money, tokens or turns are used up"},
		{exitUnavailable, "unavailable", []fault.Kind{fault.Unavailable, fault.Conflict}, "something is down, busy, full or timed out, and trying again may help; or it is there, over or changed already"},
		{exitNotFound, "not found", []fault.Kind{fault.NotFound}, "the named thing does not exist"},
		{exitUnsupported, "unsupported", []fault.Kind{fault.Unsupported}, "this machine lacks a required primitive; `sallyport doctor` names it"},
		{exitCorrupt, "corrupt", []fault.Kind{fault.Corrupt}, "evidence or stored data does not verify"},
		{exitLevel, "warning level", nil, "a report's warning level is at or above --fail-level; for `selftest`: an attack works that should not; for `scan`: a finding is at or above --fail-severity, or something was not read"},
		{exitInterrupted, "interrupted", []fault.Kind{fault.Canceled}, "the operator interrupted it; what was started was settled"},
	}
}

// levelError ends a run whose reports reached --fail-level.
type levelError struct{ level, limit int }

func (e levelError) Error() string {
	return "warning level reached the limit of --fail-level"
}

// exitCode gives the code for an error; nil is 0.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[levelError](err); ok {
		return exitLevel
	}
	if _, ok := errors.AsType[attackError](err); ok {
		return exitLevel
	}
	if errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	kind := fault.KindOf(err)
	for _, row := range exitTable() {
		if slices.Contains(row.Kinds, kind) {
			return row.Code
		}
	}
	return exitInternal
}
