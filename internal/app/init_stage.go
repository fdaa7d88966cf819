package app

import "sallyport/internal/sandbox"

// MaybeInit must be the first call of main and of every TestMain whose tests
// start sandboxes: a stage of a sandbox is this program run again, and this
// call never returns in it.
func MaybeInit() { sandbox.MaybeInit() }
