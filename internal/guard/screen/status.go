package screen

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// paint appends what writes text on the row below the stage and leaves the
// program's cursor, colours, charset and open link as they are. What the
// program saved with DECSC is lost to the terminal by it; the stage remembers.
func (f *Filter) paint(dst []byte, text string, color bool) []byte {
	s, m := f.stage, &f.modes
	if m.sync() {
		// A program that holds the screen must not hold our row.
		m.set(modeSync, false)
		dst = appendMode(dst, modeSync, false)
	}
	dst = append(dst, "\x1b7\x1b]8;;\x1b\\\x1b[m\x1b(B\x0f"...)
	dst = appendCSI(dst, 'H', s.rows+1, 1)
	dst = append(dst, "\x1b[2K"...)
	if color {
		dst = append(dst, "\x1b[7m"...)
	}
	dst = append(dst, fit(plain(text), s.cols-1)...)
	dst = append(dst, "\x1b[m\x1b8"...)
	for i, c := range m.charset {
		if c != 0 {
			dst = append(dst, esc, "()"[i], c)
		}
	}
	if m.shifted {
		dst = append(dst, 0x0e)
	}
	if m.link != "" {
		dst = append(dst, "\x1b]"+m.link+"\x1b\\"...)
	}
	s.saved[m.screen()].lost = true
	s.stale = false
	return dst
}

func (m *modes) sync() bool { return m.differs(modeSync) }

// columns is how wide text is at most, whatever the terminal.
func columns(r rune) int {
	if r < 0x7f {
		return 1
	}
	return 2
}

// plain makes every character of a text visible: what a person could not see,
// or what would look like something else, is shown as an escape.
func plain(text string) string {
	var b strings.Builder
	for i, r := range text {
		if kept := visible(string(r)); kept == string(r) && r != utf8.RuneError {
			b.WriteString(kept)
			continue
		}
		_, n := utf8.DecodeRuneInString(text[i:])
		quoted := strconv.QuoteToASCII(text[i : i+n])
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// fit cuts plain text to a number of columns.
func fit(text string, most int) string {
	n := 0
	for i, r := range text {
		if n += columns(r); n > most {
			return text[:i]
		}
	}
	return text
}

// pages cuts plain text into pieces of at most so many columns, at least one.
func pages(text string, most int) []string {
	all := []string{}
	for text != "" {
		head := fit(text, max(most, 2))
		all = append(all, head)
		text = text[len(head):]
	}
	if len(all) == 0 {
		all = append(all, "")
	}
	return all
}
