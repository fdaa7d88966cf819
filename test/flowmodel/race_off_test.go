//go:build !race

package flowmodel

const raced = false
