package app

import (
	"errors"

	"sallyport/internal/fault"
)

// sentence gives the public sentence of an error, or its whole text: the
// operator may read it.
func sentence(err error) string {
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Public != "" {
		return e.Public
	}
	return err.Error()
}
