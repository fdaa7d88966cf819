//go:build race

package screen

// raced says whether the race detector slows everything down tenfold.
const raced = true
