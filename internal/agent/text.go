package agent

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Marks that only Sallyport itself may put at the start of a line of a user
// message.
const (
	adminMark = "Message from admin: "
	noteMark  = "Previous Session Note:"

	instructionMark = "Signed instruction "
	orderMark       = "Order from "
)

// foreign makes text that did not come from us fit for a transcript: valid
// UTF-8, control characters and bytes that are no text visible as escapes, and
// no line that could pass for the prompt, the operator's message, an order, a
// signed instruction or the note.
func foreign(text string, p prompts) string {
	text = printable(text)
	var b strings.Builder
	b.Grow(len(text))
	for line := range strings.Lines(text) {
		if claims(line, p) {
			b.WriteByte(' ')
		}
		b.WriteString(line)
	}
	return b.String()
}

func claims(line string, p prompts) bool {
	for _, mark := range []string{strings.TrimSpace(adminMark), noteMark, instructionMark, orderMark, p.owner(), "debug@" + p.host + ":"} {
		if len(line) >= len(mark) && strings.EqualFold(line[:len(mark)], mark) {
			return true
		}
	}
	return false
}

// printable escapes what is no text. Line ends become "\n".
func printable(s string) string {
	if clean(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\r':
			if !strings.HasPrefix(s[i+1:], "\n") {
				b.WriteByte('\n')
			}
		case r == '\n' || r == '\t':
			b.WriteByte(s[i])
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case hidden(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// hidden reports runes that change how a text looks without being seen: C1
// controls, what is deceptive, and the replacement character (which exact JSON
// refuses).
func hidden(r rune) bool {
	return r >= 0x80 && r <= 0x9f || r == utf8.RuneError || Deceptive(r)
}

// Deceptive reports runes that reorder or hide text: directional marks and
// overrides, invisible separators, the byte order mark and tag characters.
func Deceptive(r rune) bool {
	switch {
	case r == 0x061c, r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e,
		r >= 0x2060 && r <= 0x206f, r == 0xfeff, r >= 0xe0000 && r <= 0xe007f:
		return true
	}
	return false
}

func clean(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\n' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}

// cut shortens an output to limit tokens, keeping head and tail, and says what
// the true size is. total is how many bytes the command printed; it is more
// than len(text) if the session itself had to drop some.
func cut(text string, limit int, total int64, count func(string) int) string {
	n := count(text)
	if n <= limit {
		return text
	}
	total = max(total, int64(len(text)))
	keep := len(text) * limit / n
	for {
		head, tail := runesFrom(text, keep/2)
		if keep < 2 || count(head)+count(tail) <= limit {
			return fmt.Sprintf("%s\n[output cut: it has %d bytes, about %d tokens; the first %d and the last %d bytes are shown because the limit is %d tokens]\n%s",
				strings.TrimSuffix(head, "\n"), total, int64(n)*total/int64(len(text)), len(head), len(tail), limit, tail)
		}
		keep = keep * 9 / 10
	}
}

// runesFrom gives at most n bytes of each end of s, at whole lines if one ends
// in the outer half of the part, else at whole runes.
func runesFrom(s string, n int) (head, tail string) {
	i := n
	for i > 0 && !utf8.RuneStart(s[i]) {
		i--
	}
	head = s[:i]
	if nl := strings.LastIndexByte(head, '\n'); nl >= n/2 {
		head = head[:nl+1]
	}
	j := len(s) - n
	for j < len(s) && !utf8.RuneStart(s[j]) {
		j++
	}
	tail = s[j:]
	if nl := strings.IndexByte(tail, '\n'); nl >= 0 && nl < n/2 {
		tail = tail[nl+1:]
	}
	return head, tail
}

// rawMost bounds what is looked at of one output, in bytes, whatever the session
// kept.
const rawMost = 1 << 20

// bounded drops the middle of a text beyond rawMost.
func bounded(s string) string {
	if len(s) <= rawMost {
		return s
	}
	head, tail := runesFrom(s, rawMost/2)
	return head + tail
}

// oneLine shortens a text to one line of at most n bytes, for lists and notes.
func oneLine(s string, n int) string {
	s = strings.Join(strings.Fields(printable(s)), " ")
	if len(s) <= n {
		return s
	}
	i := n
	for i > 0 && !utf8.RuneStart(s[i]) {
		i--
	}
	return s[:i] + "…"
}
