package command

import (
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// field is one word after expansion, as far as it can be known.
type field struct {
	text    string
	dynamic bool // part of it is known only when it runs; text has "…" there
	glob    bool // unquoted pattern characters: the file system decides
}

// unknown stands in a field's text for what is known only when it runs.
const unknown = "…"

// maxFields bounds how many words of one command are read.
const maxFields = 4096

// fields expands words as the shell would.
func (r *reader) fields(words []*syntax.Word) []field {
	var out []field
	for _, w := range words {
		if len(out) >= maxFields {
			return append(out, field{text: unknown, dynamic: true})
		}
		split := *w // SplitBraces changes the word in place, and Walk still visits it
		if syntax.SplitBraces(&split) {
			for _, parts := range braces(split.Parts) {
				out = append(out, r.expand(parts)...)
			}
			continue
		}
		out = append(out, r.expand(w.Parts)...)
	}
	return out
}

// maxBraces bounds what brace expansion makes of one word.
const maxBraces = 256

// braces gives the words that brace expansion makes of one.
func braces(parts []syntax.WordPart) [][]syntax.WordPart {
	out := [][]syntax.WordPart{nil}
	for _, p := range parts {
		choices := [][]syntax.WordPart{{p}}
		if b, ok := p.(*syntax.BraceExp); ok {
			choices = alternatives(b)
		}
		var next [][]syntax.WordPart
		for _, head := range out {
			for _, tail := range choices {
				next = append(next, slices.Concat(head, tail))
				if len(next) > maxBraces { // the rest is some value
					return append(next, []syntax.WordPart{&syntax.CmdSubst{}})
				}
			}
		}
		out = next
	}
	return out
}

// alternatives gives what one brace expression stands for; of a sequence of
// numbers or letters only that it is some value.
func alternatives(b *syntax.BraceExp) [][]syntax.WordPart {
	if b.Sequence {
		return [][]syntax.WordPart{{&syntax.CmdSubst{}}}
	}
	var out [][]syntax.WordPart
	for _, elem := range b.Elems {
		out = append(out, braces(elem.Parts)...)
	}
	return out
}

// expander collects the fields of one word.
type expander struct {
	r    *reader
	out  []field
	cur  field
	open bool // the current field exists, maybe empty
}

func (r *reader) expand(parts []syntax.WordPart) []field {
	x := &expander{r: r}
	for _, p := range parts {
		x.part(p)
	}
	x.flush()
	return x.out
}

func (x *expander) flush() {
	if x.open {
		x.out = append(x.out, x.cur)
	}
	x.cur, x.open = field{}, false
}

// maxText bounds one field; variables could double it at each use.
const maxText = 1 << 16

func (x *expander) add(text string) {
	x.open = true
	if len(x.cur.text)+len(text) > maxText {
		x.cur.dynamic = true
		return
	}
	x.cur.text += text
}

func (x *expander) unknown() {
	x.add(unknown)
	x.cur.dynamic = true
}

// split adds an unquoted expansion's value, which the shell splits in words.
func (x *expander) split(value string) {
	for i, w := range strings.FieldsFunc(value, isSpace) {
		if i > 0 || isSpace(rune(value[0])) {
			x.flush()
		}
		x.add(w)
		x.cur.glob = x.cur.glob || strings.ContainsAny(w, "*?[")
	}
	if n := len(value); n > 0 && isSpace(rune(value[n-1])) {
		x.flush()
	}
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\n' }

func (x *expander) part(p syntax.WordPart) {
	switch p := p.(type) {
	case *syntax.Lit:
		text, glob := unescape(p.Value)
		x.add(text)
		x.cur.glob = x.cur.glob || glob
	case *syntax.SglQuoted:
		if p.Dollar {
			x.add(ansiC(p.Value))
		} else {
			x.add(p.Value)
		}
	case *syntax.DblQuoted:
		x.open = true
		for _, inner := range p.Parts {
			x.quoted(inner)
		}
	case *syntax.ParamExp:
		if v, ok := x.r.param(p); ok {
			x.split(v)
		} else {
			x.unknown()
		}
	case *syntax.CmdSubst:
		if v, ok := x.r.output(p); ok {
			x.split(v)
		} else {
			x.unknown()
		}
	default:
		x.unknown()
	}
}

func (x *expander) quoted(p syntax.WordPart) {
	var v string
	ok := false
	switch p := p.(type) {
	case *syntax.Lit:
		x.add(unescapeQuoted(p.Value))
		return
	case *syntax.ParamExp:
		v, ok = x.r.param(p)
	case *syntax.CmdSubst:
		v, ok = x.r.output(p)
	}
	if ok {
		x.add(v)
	} else {
		x.unknown()
	}
}

// param gives the value of a plain expansion of a variable that the script
// sets once, to something static.
func (r *reader) param(p *syntax.ParamExp) (string, bool) {
	if p.Param == nil || p.Excl || p.Length || p.Width || p.IsSet || p.Index != nil || p.Slice != nil || p.Repl != nil || p.Names != 0 {
		return "", false
	}
	v, set := r.vars[p.Param.Value]
	switch {
	case set && v.static && (p.Exp == nil || p.Exp.Op == syntax.DefaultUnset || p.Exp.Op == syntax.DefaultUnsetOrNull):
		return v.value, true
	case set || p.Exp == nil:
		return ifs(p, set)
	case p.Exp.Op == syntax.DefaultUnset || p.Exp.Op == syntax.DefaultUnsetOrNull || p.Exp.Op == syntax.AssignUnset || p.Exp.Op == syntax.AssignUnsetOrNull:
		if p.Exp.Word == nil {
			return "", false
		}
		fs := r.expand(p.Exp.Word.Parts)
		return join(fs)
	}
	return "", false
}

// ifs knows the one variable that every shell sets: ${IFS} is white space.
func ifs(p *syntax.ParamExp, set bool) (string, bool) {
	if !set && p.Param.Value == "IFS" {
		return " ", true
	}
	return "", false
}

// output tells what a substitution prints when that is plain: echo, printf
// without format, which, command -v.
func (r *reader) output(c *syntax.CmdSubst) (string, bool) {
	if len(c.Stmts) != 1 || r.depth >= maxDepth {
		return "", false
	}
	call, ok := c.Stmts[0].Cmd.(*syntax.CallExpr)
	if !ok || len(call.Args) < 2 {
		return "", false
	}
	r.depth++
	defer func() { r.depth-- }()
	return printed(r.fields(call.Args))
}

// printed gives what a static echo, printf, which or command -v writes.
func printed(fs []field) (string, bool) {
	if len(fs) < 2 {
		return "", false
	}
	text, ok := join(fs[1:])
	if !ok {
		return "", false
	}
	switch base(fs[0].text) {
	case "echo":
		return echoed(text), true
	case "printf":
		return ansiC(text), !strings.Contains(text, "%")
	case "which":
		return text, true
	case "command", "type":
		rest, found := strings.CutPrefix(text, "-v ")
		return rest, found
	}
	return "", false
}

// echoed removes echo's options and reads the escapes that -e asks for.
func echoed(text string) string {
	escapes := false
	for {
		flag, rest, more := strings.Cut(text, " ")
		if len(flag) < 2 || flag[0] != '-' || strings.Trim(flag[1:], "neE") != "" || !more {
			break
		}
		if i := strings.LastIndexAny(flag, "eE"); i >= 0 {
			escapes = flag[i] == 'e'
		}
		text = rest
	}
	if escapes {
		return ansiC(text)
	}
	return text
}

func join(fs []field) (string, bool) {
	texts := make([]string, len(fs))
	for i, f := range fs {
		if f.dynamic {
			return "", false
		}
		texts[i] = f.text
	}
	return strings.Join(texts, " "), true
}

// unescape removes the backslashes of an unquoted literal and tells whether an
// unescaped pattern character remains.
func unescape(s string) (text string, glob bool) {
	if !strings.ContainsAny(s, "\\*?[~") {
		return s, false
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			if s[i] != '\n' {
				b.WriteByte(s[i])
			}
		default:
			glob = glob || c == '*' || c == '?' || c == '['
			b.WriteByte(c)
		}
	}
	return b.String(), glob
}

// unescapeQuoted does the same inside double quotes, where a backslash only
// escapes four characters and the newline.
func unescapeQuoted(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte("$`\"\\\n", s[i+1]) >= 0 {
			i++
			if s[i] == '\n' {
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

var ansiSimple = map[byte]byte{'a': 7, 'b': 8, 'e': 27, 'E': 27, 'f': 12, 'n': 10, 'r': 13, 't': 9, 'v': 11}

// ansiC decodes the escapes of $'…'.
func ansiC(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		c := s[i]
		if r, ok := ansiSimple[c]; ok {
			b.WriteByte(r)
			continue
		}
		digits, radix, from := 0, 16, i+1
		switch c {
		case 'x':
			digits = 2
		case 'u':
			digits = 4
		case 'U':
			digits = 8
		case '0', '1', '2', '3', '4', '5', '6', '7':
			digits, radix, from = 3, 8, i
		default:
			b.WriteByte(c)
			continue
		}
		to := from
		for to < len(s) && to-from < digits && strings.IndexByte("0123456789abcdefABCDEF"[:radixDigits(radix)], s[to]) >= 0 {
			to++
		}
		n, err := strconv.ParseUint(s[from:to], radix, 32)
		if err != nil {
			b.WriteByte('\\')
			b.WriteByte(c)
			continue
		}
		if c == 'u' || c == 'U' {
			b.WriteRune(rune(n & 0x1fffff))
		} else {
			b.WriteByte(byte(n & 0xff))
		}
		i = to - 1
	}
	return b.String()
}

func radixDigits(radix int) int {
	if radix == 8 {
		return 8
	}
	return 22
}

// base gives the last element of a program's path.
func base(s string) string {
	if i := strings.LastIndexByte(s, '/'); i >= 0 && i+1 < len(s) {
		return s[i+1:]
	}
	return s
}
