//go:build !linux

package changes

import (
	"context"
	"io"

	"sallyport/internal/fault"
)

const maxPath = 4000

var errNoOverlay = fault.New("changes", fault.Unsupported, "copy-on-write changes need a Linux sandbox, which this system does not have; run Sallyport on Linux")

// Set cannot exist on this system.
type Set struct{}

// Found is one Set below a parent directory, or why it cannot be used.
type Found struct {
	ID   string
	Meta Meta
	Live bool
	Err  error
}

// Create refuses.
func Create(string, Meta) (*Set, error) { return nil, errNoOverlay }

// Open refuses.
func Open(string, string) (*Set, error) { return nil, errNoOverlay }

// Sets is empty.
func Sets(string) ([]Found, error) { return nil, nil }

// Store is empty.
func (*Set) Store() string { return "" }

// Meta is empty.
func (*Set) Meta() Meta { return Meta{} }

// Protect does nothing.
func (*Set) Protect(...Protection) {}

// Began refuses.
func (*Set) Began(string) error { return errNoOverlay }

// End refuses.
func (*Set) End() error { return errNoOverlay }

// Live is false.
func (*Set) Live() bool { return false }

// Remove refuses.
func (*Set) Remove() error { return errNoOverlay }

// List refuses.
func (*Set) List(context.Context) ([]Change, error) { return nil, errNoOverlay }

// Walk refuses.
func (*Set) Walk(context.Context, func(Change) error) error { return errNoOverlay }

// Diff refuses.
func (*Set) Diff(context.Context, io.Writer, Change, DiffOptions) error { return errNoOverlay }

// Commit refuses.
func (*Set) Commit(context.Context, []Change, CommitOptions) (Result, error) {
	return Result{}, errNoOverlay
}

// Discard refuses.
func (*Set) Discard(context.Context, []Change) error { return errNoOverlay }

// DiscardAll refuses.
func (*Set) DiscardAll(context.Context) error { return errNoOverlay }
