package policy

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// NoAnswer is the value of an extraction that brought none: what was read did
// not lead to an answer of its schema. It counts as one of the answers.
const NoAnswer = "none"

// Bounds of an answer's schema.
const (
	maxChoices = 256
	maxChoice  = 64 // bytes of one
	maxSchema  = 8 << 10
)

// Answers is the schema of what an extraction may bring (rule R7): one of some
// names, yes or no, or a whole number between two bounds.
type Answers struct {
	choices []string // of an enum
	boolean bool
	lo, hi  int64
}

// ParseAnswers reads "enum:a,b,c", "bool" or "int:LO..HI". An enum has 2 to 256
// different names of 1 to 64 bytes of printable text without commas, none of
// which is NoAnswer; LO is less than HI.
func ParseAnswers(text string) (Answers, error) {
	kind, rest, _ := strings.Cut(text, ":")
	switch {
	case len(text) > maxSchema:
		return Answers{}, fmt.Errorf("policy: schema: %d bytes; at most %d", len(text), maxSchema)
	case text == "bool":
		return Answers{boolean: true}, nil
	case kind == "enum":
		return parseEnum(rest)
	case kind == "int":
		return parseRange(rest)
	}
	return Answers{}, fmt.Errorf("policy: schema %.40q is not enum:a,b,c or bool or int:LO..HI", text)
}

func parseEnum(rest string) (Answers, error) {
	names := strings.Split(rest, ",")
	if len(names) < 2 || len(names) > maxChoices {
		return Answers{}, fmt.Errorf("policy: schema: %d choices; use 2 to %d", len(names), maxChoices)
	}
	for i, n := range names {
		bad := func(r rune) bool { return !unicode.IsPrint(r) }
		if n == "" || len(n) > maxChoice || n != strings.TrimSpace(n) || !utf8.ValidString(n) || strings.ContainsFunc(n, bad) {
			return Answers{}, fmt.Errorf("policy: schema: choice %d, %.40q, is not 1 to %d bytes of printable text", i+1, n, maxChoice)
		}
		if n == NoAnswer || slices.Index(names, n) != i {
			return Answers{}, fmt.Errorf("policy: schema: choice %d, %q, is given twice (%q always is one)", i+1, n, NoAnswer)
		}
	}
	return Answers{choices: names}, nil
}

func parseRange(rest string) (Answers, error) {
	from, to, ok := strings.Cut(rest, "..")
	lo, err := strconv.ParseInt(from, 10, 64)
	hi, err2 := strconv.ParseInt(to, 10, 64)
	if !ok || err != nil || err2 != nil || lo >= hi || strconv.FormatInt(lo, 10) != from || strconv.FormatInt(hi, 10) != to {
		return Answers{}, fmt.Errorf("policy: schema: %.60q is not a range like 1..10", rest)
	}
	return Answers{lo: lo, hi: hi}, nil
}

// Bits gives how many bits an answer can carry, 2 to 65: the logarithm of the
// number of answers, NoAnswer among them, rounded up.
func (a Answers) Bits() int {
	switch {
	case a.boolean:
		return 2
	case a.choices != nil:
		return bits.Len(uint(len(a.choices))) // of n+1 answers: the bits of n
	}
	span := uint64(a.hi) - uint64(a.lo) //nolint:gosec // the difference of two int64 is exact modulo 2^64
	if span == ^uint64(0) {
		return 65
	}
	return bits.Len64(span + 1) // span+1 numbers and no answer
}

// Contains says whether a value is one of the answers: a name of the enum,
// "true" or "false", a whole number in decimal, or NoAnswer.
func (a Answers) Contains(value string) bool {
	switch {
	case value == NoAnswer:
		return true
	case a.boolean:
		return value == "true" || value == "false"
	case a.choices != nil:
		return slices.Contains(a.choices, value)
	}
	n, err := strconv.ParseInt(value, 10, 64)
	return err == nil && n >= a.lo && n <= a.hi && strconv.FormatInt(n, 10) == value
}
