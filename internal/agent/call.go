package agent

import (
	"fmt"
	"slices"
	"strings"
)

// call is what follows the name of a built-in: words, flags and at most one
// quoted text at the end. No shell ever sees it.
type call struct {
	words  []string
	flags  map[string]string // by name without dashes; a flag without a value has ""
	text   string
	quoted bool // there is a text, which may be empty
}

// valued are the flags that take a value.
var valued = []string{"ceiling", "bits", "choices", "int"}

// maxWord bounds a word, in bytes: names, handles, labels and choices are
// short.
const maxWord = 4096

// parseCall reads what follows a built-in's name.
func parseCall(arg string) (call, error) {
	c := call{flags: map[string]string{}}
	head := arg
	if i := openingQuote(arg); i >= 0 {
		end, ok := closingQuote(arg, i)
		if !ok || strings.TrimSpace(arg[end:]) != "" {
			return call{}, misuse(`the text in quotes comes last and ends with a quote; write \" for a quote in it`)
		}
		head, c.text, c.quoted = arg[:i], unquote(arg[i:end]), true
	}
	fields := strings.Fields(head)
	for i := 0; i < len(fields); i++ {
		name, value, given := strings.Cut(fields[i], "=")
		name, dashed := strings.CutPrefix(name, "--")
		switch {
		case len(fields[i]) > maxWord:
			return call{}, misuse(fmt.Sprintf("a word of %d bytes is no name", len(fields[i])))
		case !dashed:
			c.words = append(c.words, fields[i])
			continue
		case slices.Contains(valued, name) && !given:
			if i++; i == len(fields) {
				return call{}, misuse("--" + name + " needs a value")
			}
			value = fields[i]
		}
		if _, twice := c.flags[name]; twice {
			return call{}, misuse("--" + name + " is given twice")
		}
		c.flags[name] = value
	}
	return c, nil
}

// openingQuote gives the place of the quote that opens a text: after a blank,
// or first of all; -1 for none.
func openingQuote(s string) int {
	for i := range len(s) {
		if s[i] == '"' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t' || s[i-1] == '\n') {
			return i
		}
	}
	return -1
}

// has tells whether a flag was given.
func (c call) has(flag string) bool {
	_, ok := c.flags[flag]
	return ok
}

// takes refuses a call that has another number of words, a text where none is
// due or none where one is, or a flag that is not among those named. A single
// word may be quoted where no text is due.
func (c *call) takes(words int, text bool, flags ...string) error {
	if c.quoted && !text && len(c.words) == words-1 && strings.TrimSpace(c.text) != "" && len(strings.Fields(c.text)) == 1 {
		c.words, c.text, c.quoted = append(c.words, c.text), "", false
	}
	for name := range c.flags {
		if !slices.Contains(flags, name) {
			return misuse("--" + name + " is not known here; `help` is in the first message")
		}
	}
	switch {
	case len(c.words) != words:
		return misuse(fmt.Sprintf("takes %d words before the text, not %d", words, len(c.words)))
	case text && !c.quoted:
		return misuse(`needs a text in double quotes at the end`)
	case !text && c.quoted:
		return misuse("takes no text in quotes")
	}
	return nil
}
