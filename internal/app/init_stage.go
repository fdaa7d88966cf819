package app

import (
	"sallyport/internal/sandbox"
	"sallyport/internal/sandbox/selftest"
)

// MaybeInit must be the first call of main and of every TestMain whose tests
// start sandboxes: a stage of a sandbox is this program run again, and so is a
// probe of the self-test; this call never returns in either.
func MaybeInit() {
	sandbox.MaybeInit()
	selftest.MaybeProbe()
}
