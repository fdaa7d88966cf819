package scan

import (
	"slices"
	"strings"
)

// sqlObjects are what DROP, CREATE and ALTER act on.
var sqlObjects = []string{"table", "database", "schema", "index", "view", "user", "role", "column", "trigger", "procedure", "function", "sequence", "constraint", "tablespace", "materialized", "temporary", "login", "extension"}

// asCommand reports, by its end, that a word is used as a command of SQL or a
// shell and not in a sentence; 0 if not. words is the whole keyword.
func asCommand(text []byte, at, end int, words []string) int {
	rest := tokens(text, end)
	if to := sqlCommand(words, rest, text, end); to > 0 {
		return to
	}
	return shellCommand(text, at, end, words, rest)
}

// sqlToken is a word of a command, lower case.
type sqlToken struct {
	text string
	end  int
}

// tokens reads up to twelve words to the end of the statement.
func tokens(text []byte, at int) []sqlToken {
	out := make([]sqlToken, 0, 12)
	limit := min(len(text), at+400)
	for at < limit && len(out) < cap(out) {
		c := text[at]
		switch {
		case c == '\n' && len(out) > 0 && !isSQLMiddle(out):
			return out
		case blank(c):
			at++
		case isOneOf(c, ";,()=*|&`<>"):
			at++
			out = append(out, sqlToken{string(c), at})
			if c == ';' {
				return out
			}
		default:
			from := at
			for at < limit && !blank(text[at]) && !isOneOf(text[at], ";,()=*|&`<>") {
				at++
			}
			out = append(out, sqlToken{strings.ToLower(strings.Trim(string(text[from:at]), `"'[]`)), at})
		}
	}
	return out
}

// isSQLMiddle reports that a statement may go on in the next line.
func isSQLMiddle(ts []sqlToken) bool {
	return slices.Contains([]string{"from", "into", "table", "set", "where", ",", "("}, ts[len(ts)-1].text)
}

// name reports that a token can be an identifier of SQL.
func name(t string) bool {
	if t == "" {
		return false
	}
	for i := range len(t) {
		if c := t[i]; !isAlnum(c) && c != '_' && c != '.' && c != '$' && c != '"' && c != '#' && c < 0x80 {
			return false
		}
	}
	return !slices.Contains([]string{"me", "the", "a", "an", "it", "this", "that", "my", "your", "our", "to", "in", "on", "of", "for", "and", "or", "is", "with", "by"}, t)
}

// word gives the text of the token at a place, "" past the end.
func word(ts []sqlToken, i int) string {
	if i < len(ts) {
		return ts[i].text
	}
	return ""
}

// over reports that a statement ends at a place.
func over(ts []sqlToken, i int) bool { return i >= len(ts) || ts[i].text == ";" || ts[i].text == "--" }

func sqlCommand(words []string, ts []sqlToken, text []byte, end int) int { //nolint:gocognit // one row per command, none of them deep
	n := 0
	switch words[0] {
	case "drop", "create", "alter":
		n = sqlObject(ts)
	case "truncate":
		if word(ts, 0) == "table" && name(word(ts, 1)) {
			n = 2
		} else if name(word(ts, 0)) && word(ts, 1) == ";" {
			n = 2
		}
	case "delete":
		if word(ts, 0) == "from" && name(word(ts, 1)) && (over(ts, 2) || slices.Contains([]string{"where", "using", "returning", "limit"}, word(ts, 2))) {
			n = 2
		}
	case "insert":
		if word(ts, 0) == "into" && name(word(ts, 1)) && slices.Contains([]string{"(", "values", "select", "default"}, word(ts, 2)) {
			n = 3
		}
	case "update":
		if name(word(ts, 0)) && word(ts, 1) == "set" && name(word(ts, 2)) && word(ts, 3) == "=" {
			n = 4
		}
	case "select":
		n = sqlSelect(ts)
	case "grant", "revoke":
		if i := slices.IndexFunc(ts, func(t sqlToken) bool { return t.text == "on" }); i > 0 && i < 8 &&
			slices.Contains([]string{"all", "select", "insert", "update", "delete", "execute", "usage"}, word(ts, 0)) {
			n = i + 1
		}
	case "exec", "execute", "eval":
		if end < len(text) && text[end] == '(' || words[0] != "eval" && (strings.HasPrefix(word(ts, 0), "xp_") || strings.HasPrefix(word(ts, 0), "sp_") || word(ts, 0) == "immediate" || word(ts, 0) == "(") {
			return end + 1
		}
	case "shutdown":
		if word(ts, 0) == "with" && word(ts, 1) == "nowait" || word(ts, 0) == ";" {
			n = 1
		}
	}
	if n > 0 && len(words) > 1 && word(ts, 0) != words[1] {
		return 0
	}
	if n == 0 {
		return 0
	}
	return ts[min(n, len(ts))-1].end
}

// sqlObject reads "table if exists users"; a sentence would go on with more
// than a name.
func sqlObject(ts []sqlToken) int {
	i := 0
	for slices.Contains([]string{"or", "replace", "unique", "temp", "temporary", "materialized", "if", "not", "exists"}, word(ts, i)) {
		i++
	}
	if !slices.Contains(sqlObjects, word(ts, i)) {
		return 0
	}
	i++
	for slices.Contains([]string{"if", "not", "exists"}, word(ts, i)) {
		i++
	}
	if !name(word(ts, i)) {
		return 0
	}
	return i + 1
}

// sqlSelect reads a list of columns and FROM with a name, and then what only
// SQL goes on with.
func sqlSelect(ts []sqlToken) int {
	i := slices.IndexFunc(ts, func(t sqlToken) bool { return t.text == "from" })
	if i < 1 || !name(word(ts, i+1)) {
		return 0
	}
	for k := range i {
		if t := ts[k].text; k%2 == 1 && t != "," && t != "(" && t != ")" && t != "as" && t != "*" {
			return 0
		}
	}
	if ts[0].text == "*" || i > 1 || over(ts, i+2) && i+2 < len(ts) || slices.Contains([]string{"where", "join", "order", "group", "limit", "having", "inner", "left", "union"}, word(ts, i+2)) {
		return i + 2
	}
	return 0
}

// shellCommand reports that a word stands where a command stands and is
// followed by what follows one.
func shellCommand(text []byte, at, end int, words []string, ts []sqlToken) int {
	if slices.Contains(sqlWords, words[0]) && !slices.Contains(shellWords, words[0]) {
		return 0
	}
	if len(words) > 1 {
		return flagged(words, ts, end)
	}
	first := word(ts, 0)
	to := end
	if len(ts) > 0 {
		to = ts[0].end
	}
	switch words[0] {
	case "format", "del", "rmdir":
		if len(first) >= 2 && (first[1] == ':' || first[0] == '/' && len(first) == 2) {
			return to
		}
	case "eval", "exec":
		if end < len(text) && text[end] == '(' {
			return end + 1
		}
	case "reboot", "halt", "poweroff":
		if begins(text, at) && over(ts, 0) {
			return end
		}
	}
	if len(first) > 1 && first[0] == '-' && first != "--" && first[1] != '-' || strings.HasPrefix(first, "--") && len(first) > 3 {
		return to
	}
	if !begins(text, at) || first == "" {
		return 0
	}
	if first[0] == '/' || first[0] == '~' || first[0] == '$' || strings.HasPrefix(first, "./") || strings.HasPrefix(first, "../") || first == "*" ||
		strings.Trim(first, "0123456789") == "" || strings.Contains(first, "://") || words[0] == "shutdown" && first == "now" && over(ts, 1) {
		return to
	}
	return 0
}

// begins reports that a command may begin at a place: a line, a prompt, a
// separator or a quote stands before.
func begins(text []byte, at int) bool {
	for at > 0 && (text[at-1] == ' ' || text[at-1] == '\t') {
		at--
	}
	if at == 0 || isOneOf(text[at-1], "\n\r;|&`($#>\"'{") || escapedBefore(text, at) {
		return true
	}
	before := string(text[max(0, at-6):at])
	return strings.HasSuffix(before, "sudo") || strings.HasSuffix(before, "exec") || strings.HasSuffix(before, "xargs")
}

// flagged reports that all flags and operands of a keyword follow, in any
// order and grouping: rm -rf, rm -fr, rm -r -f, rm --recursive --force.
func flagged(words []string, ts []sqlToken, end int) int {
	long := map[byte]string{'r': "--recursive", 'f': "--force", 'v': "--verbose", 'i': "--interactive", 'd': "--dir"}
	for _, w := range words[1:] {
		if len(w) < 2 || w[0] != '-' || w[1] == '-' {
			i := slices.IndexFunc(ts, func(t sqlToken) bool { return t.text == w })
			if i < 0 {
				return 0
			}
			end = max(end, ts[i].end)
			continue
		}
		for _, c := range []byte(w[1:]) {
			i := slices.IndexFunc(ts, func(t sqlToken) bool {
				return len(t.text) > 1 && t.text[0] == '-' && t.text[1] != '-' && strings.IndexByte(t.text, c) > 0 ||
					len(t.text) > 3 && long[c] != "" && strings.HasPrefix(long[c], t.text)
			})
			if i < 0 {
				return 0
			}
			end = max(end, ts[i].end)
		}
	}
	return end
}
