// Package archtest holds the shape of the house as tests: who may import whom
// (transitively, with a reason per row), how long files and functions may be,
// and what text must not be in the tree. It has no code of its own and nobody
// imports it.
package archtest
