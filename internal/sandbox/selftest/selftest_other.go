//go:build !linux

package selftest

import (
	"context"

	"sallyport/internal/fault"
)

// MaybeProbe does nothing where there is no sandbox.
func MaybeProbe() {}

// Run refuses.
func Run(context.Context, Options) (Summary, []Result, error) {
	return Summary{}, nil, fault.New("selftest.run", fault.Unsupported, "the sandbox needs Linux, so there is nothing to test here; run the self-test on Linux")
}
