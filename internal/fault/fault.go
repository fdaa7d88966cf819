// Package fault is the one error vocabulary of Sallyport: a coarse Kind that
// edges turn into exit codes and HTTP statuses, and one public sentence that is
// safe to show to anybody.
//
// Invariants: the Public text never contains internal detail (paths of the
// state directory, keys, SQL); the wrapped error may. The kind of an error is
// the kind of the outermost *Error in its chain.
//
// Everybody may import it; it imports the standard library only.
package fault

import (
	"errors"
	"fmt"
)

// Kind classes an error by what the caller can do about it.
type Kind uint8

// The kinds. Their numbers are internal; exit codes are mapped in cli.
const (
	Internal    Kind = iota // a defect or an environment failure: nothing the caller did
	Usage                   // the words of a command are wrong
	Config                  // a configuration or agent file is wrong
	Denied                  // a rule, a label or a person said no
	NeedsAsk                // an approval is required and none was given
	Budget                  // money, tokens or rate are used up
	Unavailable             // something outside is down, a timeout passed, retrying may help
	NotFound                // the named thing does not exist
	Conflict                // a revision moved, a nonce was used: take a new snapshot and retry
	Unsupported             // this machine lacks a primitive that was required
	Corrupt                 // evidence or stored data does not verify
	Canceled                // the operator stopped it
)

var names = [...]string{
	"internal", "usage", "config", "denied", "needs-approval", "budget", "unavailable",
	"not-found", "conflict", "unsupported", "corrupt", "canceled",
}

// String gives the kind's stable name, used in JSON output and events.
func (k Kind) String() string {
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is an error with an operation, a kind and a public sentence.
type Error struct {
	Op     string // what was being done: "sandbox.start"
	Kind   Kind
	Public string // one sentence for outsiders: the rule, the cause, the remedy; may be empty
	Err    error  // the cause, may hold internal detail; may be nil
}

// New makes an Error with a public sentence and no internal cause.
func New(op string, kind Kind, format string, args ...any) *Error {
	return &Error{Op: op, Kind: kind, Public: fmt.Sprintf(format, args...)}
}

// Wrap gives err an operation and a kind; a nil err stays nil.
func Wrap(op string, kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Kind: kind, Err: err}
}

// Error renders op, public sentence and cause for the operator's own log.
func (e *Error) Error() string {
	s := e.Op
	if e.Public != "" {
		s += ": " + e.Public
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf tells the kind of err; an error that carries none is Internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// PublicText gives the first public sentence in err's chain, or a generic one:
// what an outsider may read.
func PublicText(err error) string {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			break
		}
		if e.Public != "" {
			return e.Public
		}
		err = e.Err
	}
	return "an internal error occurred; the operator's log has the detail"
}

// Is reports whether err has the given kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
