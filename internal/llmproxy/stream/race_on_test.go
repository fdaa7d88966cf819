//go:build race

package stream

// raced says that the race detector slows everything down tenfold.
const raced = true
