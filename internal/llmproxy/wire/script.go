package wire

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// script reads a JavaScript program of tool calls. It knows a language so small
// that nothing in it can be computed: statements that declare a name, await
// calls of tools with literal arguments (also several with Promise.all) and
// print names. Every other program is not resolved; the calls with literal
// arguments that stand in it are found even so, as far as the text shows them.
type script struct {
	src   string
	at    int
	calls []literalCall
	names map[string]bool // declared

	broken bool // a comment has no end
}

type literalCall struct{ name, arguments string }

// The words that a program of this language cannot declare.
var reservedNames = map[string]bool{
	"tools": true, "text": true, "console": true, "JSON": true, "Promise": true, "await": true, "async": true,
	"const": true, "let": true, "var": true, "new": true, "this": true, "globalThis": true, "eval": true,
	"function": true, "class": true, "import": true, "return": true, "typeof": true, "undefined": true,
}

// read reports whether the whole program is understood.
func (s *script) read() bool {
	if !utf8.ValidString(s.src) {
		return false
	}
	s.names = map[string]bool{}
	for s.space(); s.at < len(s.src); s.space() {
		if s.eat(";") {
			continue
		}
		if !s.statement() || !s.end() {
			s.rest()
			return false
		}
	}
	return !s.broken
}

// rest finds literal calls in what is not understood.
func (s *script) rest() {
	s.at, s.calls = 0, nil
	for len(s.calls) < maxInner {
		i := strings.Index(s.src[s.at:], "tools")
		if i < 0 {
			return
		}
		from := s.at + i
		if s.at = from; !s.call() {
			// On from where it ended, not from its second byte: the work
			// stays linear, and what may be missed is not resolved anyway.
			s.at = max(s.at, from+len("tools"))
		}
	}
}

// space skips blanks and comments; it reports whether a line ended.
func (s *script) space() (newline bool) {
	for s.at < len(s.src) {
		rest := s.src[s.at:]
		switch {
		case rest[0] == '\n' || rest[0] == '\r':
			newline = true
			s.at++
		case rest[0] == ' ' || rest[0] == '\t':
			s.at++
		case strings.HasPrefix(rest, "//"):
			// The language ends a line at U+2028 and U+2029 too.
			i := strings.IndexAny(rest, "\n\r\u2028\u2029")
			if i < 0 {
				s.at = len(s.src)
				return true
			}
			if s.at += i; rest[i] >= utf8.RuneSelf {
				s.at += 3
				newline = true
			}
		case strings.HasPrefix(rest, "/*"):
			i := strings.Index(rest[2:], "*/")
			if i < 0 {
				s.broken, s.at = true, len(s.src)
				return newline
			}
			newline = newline || strings.ContainsAny(rest[:i+4], "\n\r\u2028\u2029")
			s.at += i + 4
		default:
			return newline
		}
	}
	return newline
}

// end reports that a statement ends here.
func (s *script) end() bool {
	return s.space() || s.at >= len(s.src) || s.src[s.at] == ';'
}

func (s *script) eat(token string) bool {
	if strings.HasPrefix(s.src[s.at:], token) {
		s.at += len(token)
		return true
	}
	return false
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '$' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// word reads an ASCII name, "" if none stands here.
func (s *script) word() string {
	start := s.at
	for s.at < len(s.src) && (isLetter(s.src[s.at]) || s.at > start && isDigit(s.src[s.at])) {
		s.at++
	}
	return s.src[start:s.at]
}

// token skips blanks and then eats.
func (s *script) token(t string) bool {
	s.space()
	return s.eat(t)
}

func (s *script) statement() bool {
	start := s.at
	switch s.word() {
	case "const", "let", "var":
		s.space()
		if !s.declare() || !s.token("=") {
			return false
		}
		s.space()
		return s.expression()
	case "text":
		return s.token("(") && s.printed() && s.token(")")
	case "console":
		return s.eat(".log") && s.token("(") && s.printed() && s.token(")")
	case "await", "tools":
		s.at = start
		return s.expression()
	}
	return false
}

// declare reads a new name, or [a, b] for several.
func (s *script) declare() bool {
	if !s.eat("[") {
		return s.declareOne()
	}
	for {
		s.space()
		if !s.declareOne() {
			return false
		}
		if s.token("]") {
			return true
		}
		if !s.eat(",") {
			return false
		}
	}
}

func (s *script) declareOne() bool {
	name := s.word()
	if name == "" || reservedNames[name] || s.names[name] {
		return false
	}
	s.names[name] = true
	return true
}

// expression reads a call of a tool, of several, or a literal.
func (s *script) expression() bool {
	start := s.at
	word := s.word()
	if word == "await" {
		s.space()
		start = s.at
		word = s.word()
	}
	switch word {
	case "Promise":
		if !s.eat(".all") || !s.token("(") || !s.token("[") {
			return false
		}
		for {
			if s.token("]") {
				return s.token(")")
			}
			if !s.call() {
				return false
			}
			if s.space(); !s.eat(",") && !strings.HasPrefix(s.src[s.at:], "]") {
				return false
			}
		}
	case "tools":
		s.at = start
		return s.call()
	case "":
		_, ok := s.literal(0)
		return ok
	}
	return false
}

// printed reads what is shown: names, their properties, literals, and
// JSON.stringify of them. Results are data: reading them does nothing.
func (s *script) printed() bool {
	s.space()
	if s.eat("JSON.stringify") {
		if !s.token("(") || !s.shown() {
			return false
		}
		for s.token(",") {
			s.space()
			if _, ok := s.literal(0); !ok {
				return false
			}
		}
		return s.token(")")
	}
	return s.shown()
}

func (s *script) shown() bool {
	s.space()
	start := s.at
	if w := s.word(); s.names[w] {
		for s.eat(".") {
			if s.word() == "" {
				return false
			}
		}
		return true
	}
	s.at = start
	_, ok := s.literal(0)
	return ok
}

// call reads tools.NAME( LITERAL ) or tools["NAME"]( LITERAL ).
func (s *script) call() bool {
	if s.space(); s.word() != "tools" {
		return false
	}
	name := ""
	if s.space(); s.eat(".") {
		s.space()
		name = s.word()
	} else if s.eat("[") {
		s.space()
		raw, ok := s.quoted()
		if !ok || !s.token("]") {
			return false
		}
		name = raw
	}
	if name == "" || !s.token("(") {
		return false
	}
	s.space()
	arguments := []byte("{}")
	if !s.eat(")") {
		var ok bool
		if arguments, ok = s.literal(0); !ok {
			return false
		}
		s.token(",")
		if !s.token(")") {
			return false
		}
	}
	if len(s.calls) >= maxInner {
		return false
	}
	if arguments[0] == '"' { // as a custom tool takes it
		var plain string
		if json.Unmarshal(arguments, &plain) != nil {
			return false
		}
		arguments = []byte(plain)
	}
	s.calls = append(s.calls, literalCall{name, string(arguments)})
	return true
}

// literal reads a value that is written out and gives it as JSON.
func (s *script) literal(depth int) ([]byte, bool) {
	if depth > 32 || s.at >= len(s.src) {
		return nil, false
	}
	switch c := s.src[s.at]; {
	case c == '{':
		return s.objectLiteral(depth)
	case c == '[':
		return s.arrayLiteral(depth)
	case c == '"' || c == '\'' || c == '`':
		v, ok := s.quoted()
		return marshal(v), ok
	case c == '-' || isDigit(c):
		start := s.at
		for s.at < len(s.src) && (isDigit(s.src[s.at]) || strings.IndexByte("+-.eE", s.src[s.at]) >= 0) {
			s.at++
		}
		raw := []byte(s.src[start:s.at])
		return raw, json.Valid(raw) && (s.at >= len(s.src) || !isLetter(s.src[s.at]))
	}
	switch w := s.word(); w {
	case "true", "false", "null":
		return []byte(w), true
	}
	return nil, false
}

func (s *script) arrayLiteral(depth int) ([]byte, bool) {
	var b bytes.Buffer
	b.WriteByte('[')
	for s.at++; ; {
		if s.token("]") {
			b.WriteByte(']')
			return b.Bytes(), true
		}
		v, ok := s.literal(depth + 1)
		if !ok {
			return nil, false
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(v)
		if s.space(); !s.eat(",") && !strings.HasPrefix(s.src[s.at:], "]") {
			return nil, false
		}
	}
}

func (s *script) objectLiteral(depth int) ([]byte, bool) {
	var b bytes.Buffer
	seen := map[string]bool{}
	b.WriteByte('{')
	for s.at++; ; {
		if s.token("}") {
			b.WriteByte('}')
			return b.Bytes(), true
		}
		key := ""
		if c := s.at; c < len(s.src) && (s.src[c] == '"' || s.src[c] == '\'') {
			var ok bool
			if key, ok = s.quoted(); !ok {
				return nil, false
			}
		} else if key = s.word(); key == "" {
			return nil, false
		}
		// A key twice means its last value, __proto__ none at all.
		if seen[key] || key == "__proto__" || !s.token(":") {
			return nil, false
		}
		seen[key] = true
		s.space()
		v, ok := s.literal(depth + 1)
		if !ok {
			return nil, false
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(marshal(key))
		b.WriteByte(':')
		b.Write(v)
		if s.space(); !s.eat(",") && !strings.HasPrefix(s.src[s.at:], "}") {
			return nil, false
		}
	}
}

// quoted reads a string literal, or a template without anything put in.
func (s *script) quoted() (string, bool) {
	if s.at >= len(s.src) || strings.IndexByte("\"'`", s.src[s.at]) < 0 {
		return "", false
	}
	quote := s.src[s.at]
	var b strings.Builder
	for s.at++; s.at < len(s.src); {
		c := s.src[s.at]
		switch {
		case c == quote:
			s.at++
			return b.String(), true
		case c == '\r', c == '\n' && quote != '`':
			return "", false
		case quote == '`' && strings.HasPrefix(s.src[s.at:], "${"):
			return "", false
		case c == '\\':
			s.at++
			if !s.escape(&b) {
				return "", false
			}
		default:
			b.WriteByte(c)
			s.at++
		}
	}
	return "", false
}

// escape reads what follows a backslash. What JSON cannot say exactly (half a
// surrogate pair) and the old octal forms are not understood.
func (s *script) escape(b *strings.Builder) bool {
	if s.at >= len(s.src) {
		return false
	}
	c := s.src[s.at]
	s.at++
	switch c {
	case 'n', 't', 'r', 'b', 'f', 'v':
		b.WriteByte("\n\t\r\b\f\v"[strings.IndexByte("ntrbfv", c)])
	case '\n':
	case 'x':
		return s.code(b, 2)
	case 'u':
		if !s.eat("{") {
			return s.code(b, 4)
		}
		i := strings.IndexByte(s.src[s.at:], '}')
		if i < 1 || i > 6 || !s.code(b, i) {
			return false
		}
		s.at++
	case '\r':
		return false
	default:
		if isDigit(c) || c >= utf8.RuneSelf {
			return false
		}
		b.WriteByte(c)
	}
	return true
}

// code reads n hexadecimal digits as one character.
func (s *script) code(b *strings.Builder, n int) bool {
	if s.at+n > len(s.src) {
		return false
	}
	v, err := strconv.ParseUint(s.src[s.at:s.at+n], 16, 32)
	if err != nil || !utf8.ValidRune(rune(v)) { //nolint:gosec // G115: at most six digits
		return false
	}
	s.at += n
	b.WriteRune(rune(v)) //nolint:gosec // G115: at most six digits
	return true
}
