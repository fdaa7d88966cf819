//go:build race

package policy_test

// raced says that the race detector makes each step ten times slower, while
// there is one goroutine: fewer steps do.
const raced = true
