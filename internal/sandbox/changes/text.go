package changes

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// quotePath renders a path for people and for Change.Path. It is injective: a
// path that is plain text is itself, any other one is a Go string literal, and
// so is one that looks like a literal.
func quotePath(raw string) string {
	if plain(raw) && !strings.HasPrefix(raw, `"`) {
		return raw
	}
	return strconv.Quote(raw)
}

// rawPath undoes quotePath. It refuses whatever quotePath never makes and paths
// that are not clean and relative.
func rawPath(path string) (string, bool) {
	raw := path
	if strings.HasPrefix(path, `"`) {
		var err error
		if raw, err = strconv.Unquote(path); err != nil {
			return "", false
		}
	}
	return raw, quotePath(raw) == path && cleanPath(raw)
}

// cleanPath tells a relative path whose components all name something.
func cleanPath(raw string) bool {
	if len(raw) > maxPath {
		return false
	}
	for part := range strings.SplitSeq(raw, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
			return false
		}
	}
	return true
}

// plain tells valid text of visible runes and spaces.
func plain(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return false
		}
	}
	return true
}

// badName says why an entry of this name is not committed, "" if it may be.
func badName(name string) string {
	if !utf8.ValidString(name) {
		return "a name that is not UTF-8 is never committed; rename it inside a session, or discard it"
	}
	if strings.ContainsFunc(name, unicode.IsControl) {
		return "a name with control characters is never committed; rename it inside a session, or discard it"
	}
	return ""
}

// Visible makes untrusted text safe for a terminal: control, invisible and
// direction-changing runes and invalid bytes appear as Go escapes. Tabs stay;
// so do newlines if lines is true.
func Visible(s string, lines bool) string {
	ok := func(r rune) bool { return r == '\t' || lines && r == '\n' || r != utf8.RuneError && strconv.IsPrint(r) }
	if strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if ok(r) {
			b.WriteString(s[i : i+n])
		} else {
			q := strconv.QuoteToASCII(s[i : i+n])
			b.WriteString(q[1 : len(q)-1])
		}
		i += n
	}
	return b.String()
}
