// Package console is what an operator sees of a run: Terminal for a person at a
// terminal, Plain for pipes, files and runs without anybody.
//
// Invariants: no byte that a model or a command wrote reaches the output as a
// control sequence; nothing but a key the operator pressed cancels a pause; the
// terminal's mode is restored whenever no prompt is shown.
//
// Only app imports it; it imports agent for the interface it implements.
package console

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"sallyport/internal/agent"
)

// Escape makes text harmless for a terminal: control characters, C1 controls,
// directional overrides, invisible characters and bytes that are no text are
// shown as caret or backslash escapes. Line feeds and tabs stay, a carriage
// return before a line feed is dropped.
func Escape(s string) string {
	if harmless(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n' || r == '\t':
			b.WriteByte(s[i])
		case r == '\r' && strings.HasPrefix(s[i+1:], "\n"):
		case r < 0x20:
			b.WriteByte('^')
			b.WriteByte(s[i] ^ 0x40)
		case r == 0x7f:
			b.WriteString("^?")
		case r >= 0x80 && r <= 0x9f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case agent.Deceptive(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func harmless(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\n' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}
