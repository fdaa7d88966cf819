package cli

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// paint colours text when the output is a terminal that wants it.
type paint struct{ on bool }

func (p paint) sgr(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p paint) bold(s string) string   { return p.sgr("1", s) }
func (p paint) dim(s string) string    { return p.sgr("2", s) }
func (p paint) red(s string) string    { return p.sgr("31", s) }
func (p paint) green(s string) string  { return p.sgr("32", s) }
func (p paint) yellow(s string) string { return p.sgr("33", s) }

// alert colours a word by how much it should worry.
func (p paint) alert(s string) string {
	switch strings.ToLower(s) {
	case "dangerous", "error", "deny", "denied", "fail":
		return p.red(s)
	case "suspicious", "warning", "warn", "ask":
		return p.yellow(s)
	case "ok", "allow", "done":
		return p.green(s)
	}
	return s
}

// visible makes one line of text safe for a terminal: what an agent, a model
// or a host wrote must not move the cursor, change the title or reorder what
// the operator reads.
func visible(s string) string { return strings.Map(lineRune, escape(s, false)) }

// visibleLines does the same and keeps line breaks and tabs.
func visibleLines(s string) string { return escape(s, true) }

func lineRune(r rune) rune {
	if r == '\n' || r == '\t' {
		return ' '
	}
	return r
}

func escape(s string, lines bool) string {
	clean := true
	for _, r := range s {
		if hostile(r) {
			clean = false
			break
		}
	}
	if clean && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, "\\x%02x", s[i])
		case r == '\r' && lines && strings.HasPrefix(s[i:], "\r\n"):
		case hostile(r) && r < 0x80:
			fmt.Fprintf(&b, "\\x%02x", r)
		case hostile(r):
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// hostile says which runes must not reach a terminal: control characters but
// newline and tab, and what is invisible or reorders text (bidi, joiners, tags).
func hostile(r rune) bool {
	if r == '\n' || r == '\t' {
		return false
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

// localTime shows a time in the operator's zone.
func localTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// dollars shows money with as many digits as small sums need.
func dollars(d float64) string {
	if d != 0 && d < 0.01 && d > -0.01 {
		return fmt.Sprintf("$%.4f", d)
	}
	return fmt.Sprintf("$%.2f", d)
}

// bytesText shows a size.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/unit, 0
	for v >= unit && i < 4 {
		v /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[i])
}

// duration shows a span in the two largest units.
func duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// oneLine shortens a text to its first line of content and a mark for the rest.
func oneLine(s string) string {
	s = strings.TrimSpace(s)
	if first, _, more := strings.Cut(s, "\n"); more {
		return strings.TrimSpace(first) + " …"
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
