package agent

import (
	"strings"
)

// pieceKind says which of the splitter's cases met.
type pieceKind uint8

const (
	pieceNone    pieceKind = iota // nothing left
	pieceCommand                  // run text, then go on with rest
	piecePrompt                   // the model wrote its prompt with the right directory: go on with rest
	pieceStray                    // the prompt names another directory: drop text, which is all that is left
)

// piece is one step of a reply.
type piece struct {
	kind pieceKind
	text string
	rest string
}

// split takes the next piece off a reply.
//
//  1. The reply begins with the agent's own prompt: if it names the directory
//     the shell is in, the prompt is dropped; otherwise the model has guessed
//     an output and the rest is dropped.
//  2. A quoted built-in, such as endsession, is taken to its closing quote, \" being no
//     end, over as many lines as it has.
//  3. An own prompt further on ends the piece; whether its directory is right
//     can be told only after the piece has run.
//  4. An unquoted comment, and every other built-in, is one line.
//  5. Everything else is one script.
func split(reply string, p prompts, cwd string, b builtins) piece {
	s := strings.TrimSpace(reply)
	if s == "" {
		return piece{}
	}
	if strings.HasPrefix(s, p.owner()) {
		dir, rest := p.parse(s)
		if dir != cwd {
			return piece{kind: pieceStray, text: s}
		}
		return piece{kind: piecePrompt, rest: strings.TrimSpace(rest)}
	}
	name, _ := word(s)
	if quoted, afterWords := b.quoted(name); quoted {
		if end, ok := quotedEnd(s, len(name), afterWords); ok {
			return piece{kind: pieceCommand, text: s[:end], rest: trimJoiner(s[end:])}
		}
	}
	head, rest := s, ""
	if i := p.find(s); i > 0 {
		head, rest = strings.TrimSpace(s[:i]), s[i:]
	}
	if name, _ := word(head); b.line(name) {
		if line, after, ok := strings.Cut(head, "\n"); ok {
			return piece{kind: pieceCommand, text: strings.TrimSpace(line), rest: after + "\n" + rest}
		}
	}
	return piece{kind: pieceCommand, text: head, rest: rest}
}

// quotedEnd gives the index after the closing quote of the argument that
// begins after the command's name, or after further words of the same line; ok
// is false if nothing there is quoted or the quote does not close.
func quotedEnd(s string, name int, afterWords bool) (end int, ok bool) {
	i := name
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	if afterWords {
		line, _, _ := strings.Cut(s[name:], "\n")
		i = name + max(0, openingQuote(line))
	}
	if i == name || i >= len(s) || s[i] != '"' {
		return 0, false
	}
	return closingQuote(s, i)
}

// closingQuote gives the index after the quote that closes the one at i.
func closingQuote(s string, i int) (end int, ok bool) {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1, true
		}
	}
	return 0, false
}

// trimJoiner drops the shell operators with which models tie a built-in to
// the command that follows it.
func trimJoiner(s string) string {
	s = strings.TrimSpace(s)
	for _, op := range []string{"&&", ";"} {
		s = strings.TrimSpace(strings.TrimPrefix(s, op))
	}
	return s
}

// word gives the first blank-separated word of s and what follows it, trimmed.
func word(s string) (first, rest string) {
	i := strings.IndexAny(s, " \t\n")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// unquote removes one pair of double quotes around an argument and the
// backslash before an escaped quote or backslash. Nothing else is special: no
// shell ever sees the text.
func unquote(arg string) string {
	if len(arg) < 2 || arg[0] != '"' || arg[len(arg)-1] != '"' {
		return arg
	}
	inner := arg[1 : len(arg)-1]
	var b strings.Builder
	for i := 0; i < len(inner); i++ {
		if inner[i] == '\\' && i+1 < len(inner) && (inner[i+1] == '"' || inner[i+1] == '\\') {
			i++
		}
		b.WriteByte(inner[i])
	}
	return b.String()
}
