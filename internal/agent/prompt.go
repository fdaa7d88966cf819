package agent

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// prompts makes the prompt lines that the model and the operator see.
type prompts struct {
	user, host string
}

// owner is the part of a prompt by which it is recognised: "sarah@sallyport:".
func (p prompts) owner() string { return p.user + "@" + p.host + ":" }

// model gives the prompt that ends every user message.
func (p prompts) model(cwd string, used, limit int) string {
	return fmt.Sprintf("%s%s [Tokens: %d/%d]$ ", p.owner(), cwd, used, limit)
}

// debug gives the operator's prompt. A nil pause waits for ever.
func (p prompts) debug(cwd string, used, limit int, pause *time.Duration, wakes bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "debug@%s:%s [Tokens: %d/%d]", p.host, cwd, used, limit)
	if pause != nil {
		fmt.Fprintf(&b, " [Paused: %ss]", seconds(*pause))
	}
	if wakes {
		b.WriteString(" [WakeOnMsg]")
	}
	b.WriteString("# ")
	return b.String()
}

// seconds renders a duration as seconds without trailing zeros.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// find gives the place where the model imitates its own prompt, or -1: at the
// start of a line, or anywhere when the whole prompt with its token count is
// there. A mere mention of the address in a line is no prompt.
func (p prompts) find(s string) int {
	own := p.owner()
	for at := 0; ; {
		i := strings.Index(s[at:], own)
		if i < 0 {
			return -1
		}
		i += at
		if lineStart(s, i) || p.tokens(s[i:]) {
			return i
		}
		at = i + len(own)
	}
}

// lineStart reports whether only blanks precede i in its line.
func lineStart(s string, i int) bool {
	line := s[strings.LastIndexByte(s[:i], '\n')+1 : i]
	return strings.Trim(line, " \t") == ""
}

func (p prompts) tokens(s string) bool {
	line, _, _ := strings.Cut(s, "\n")
	_, rest, ok := strings.Cut(line, " [Tokens: ")
	if !ok {
		return false
	}
	count, _, ok := strings.Cut(rest, "]$")
	return ok && strings.Trim(count, "0123456789/") == "" && count != ""
}

// parse reads a prompt at the start of s: the directory it names and what
// follows it. The end of the prompt is its "$"; without one the line names a
// directory and nothing follows.
func (p prompts) parse(s string) (cwd, rest string) {
	s = strings.TrimPrefix(s, p.owner())
	line, after, more := strings.Cut(s, "\n")
	if more {
		after = "\n" + after
	}
	head, tail, ok := strings.Cut(line, " [Tokens: ")
	if ok {
		if _, cmd, end := strings.Cut(tail, "$"); end {
			return head, cmd + after
		}
		return head, after
	}
	// Models often leave the token count out: "sarah@sallyport:/etc$ ls".
	if head, cmd, end := strings.Cut(line, "$ "); end {
		return head, cmd + after
	}
	return strings.TrimSuffix(strings.TrimRight(line, " \t\r"), "$"), after
}
