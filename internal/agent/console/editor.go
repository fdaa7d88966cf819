package console

import (
	"strings"
	"unicode/utf8"

	"sallyport/internal/agent"
)

// The keys a line editor knows beside text.
const (
	keyInterrupt = 0x03 // Ctrl-C
	keyEnd       = 0x04 // Ctrl-D
	keyBackspace = 0x08
	keyEnter     = '\r'
	keyFeed      = '\n'
	keyKill      = 0x15 // Ctrl-U
	keyWord      = 0x17 // Ctrl-W
	keyEscape    = 0x1b
	keyDelete    = 0x7f
)

// editor is a line editor for keys that come one by one. Escape sequences,
// which terminals also send on their own, are no typing.
type editor struct {
	text    []byte
	touched bool // something was typed: the pause is off until Enter
	answer  agent.Answer
	escape  uint8 // 0 none, 1 after ESC, 2 inside CSI or SS3
}

// key takes one byte. It gives what to echo, and done when the line is over;
// answer then says how.
func (e *editor) key(c byte) (echo string, done bool) {
	if e.escape > 0 {
		e.sequence(c)
		return "", false
	}
	switch c {
	case keyEscape:
		e.escape = 1
	case keyEnter, keyFeed:
		e.answer = agent.Line
		return "\r\n", true
	case keyInterrupt:
		if len(e.text) == 0 {
			e.answer = agent.Interrupt
			return "^C\r\n", true
		}
		return e.erase(len(e.text)), false
	case keyEnd:
		if len(e.text) == 0 {
			e.answer = agent.EOF
			return "\r\n", true
		}
	case keyBackspace, keyDelete:
		_, n := utf8.DecodeLastRune(e.text)
		return e.erase(n), false
	case keyKill:
		return e.erase(len(e.text)), false
	case keyWord:
		s := strings.TrimRight(string(e.text), " ")
		return e.erase(len(e.text) - (strings.LastIndexByte(s, ' ') + 1)), false
	default:
		return e.add(c), false
	}
	return "", false
}

// sequence follows an escape sequence to its final byte.
func (e *editor) sequence(c byte) {
	switch {
	case e.escape == 1 && (c == '[' || c == 'O'):
		e.escape = 2
	case e.escape == 2 && (c < 0x40 || c > 0x7e):
		// parameter bytes
	default:
		e.escape = 0
	}
}

// add takes a byte of text; a rune is echoed when it is whole.
func (e *editor) add(c byte) string {
	if c < 0x20 && c != '\t' || len(e.text) >= maxLine {
		return ""
	}
	e.touched = true
	if c == '\t' {
		c = ' '
	}
	e.text = append(e.text, c)
	if c < utf8.RuneSelf {
		return string(rune(c))
	}
	if r, n := utf8.DecodeLastRune(e.text); r != utf8.RuneError {
		return Escape(string(e.text[len(e.text)-n:]))
	}
	return ""
}

// erase removes the last n bytes and moves the cursor back over their runes.
func (e *editor) erase(n int) string {
	gone := e.text[len(e.text)-n:]
	e.text = e.text[:len(e.text)-n]
	return strings.Repeat("\b \b", utf8.RuneCount(gone))
}

// line gives the text; bytes that are no UTF-8 are dropped.
func (e *editor) line() string { return strings.ToValidUTF8(string(e.text), "") }
