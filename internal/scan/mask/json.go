package mask

import (
	"bytes"
	"encoding/json"
	"strings"
)

// document masks the strings, names and numbers of a document that is valid,
// and leaves every other byte as it is.
func (m *Masker) document(s string, depth int) string {
	var out strings.Builder
	key, hidden, copied := "", "", 0
	put := func(from, to int, text string) {
		out.WriteString(s[copied:from])
		out.WriteString(text)
		copied = to
	}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '"':
			end := stringEnd(s, i)
			text := unquote(s[i:end])
			name := isName(s, end)
			masked := ""
			if name {
				key, masked = text, m.text(text, depth+1)
				hidden = masked
			} else if masked = m.leaf(key, text, depth+1); hidden != key { // as masking again would see it
				masked = m.leaf(hidden, masked, depth+1)
			}
			if masked != text {
				put(i, end, quote(masked))
			}
			i = end
		case c == '-' || c-'0' < 10:
			end := i + 1
			for end < len(s) && (s[end]-'0' < 10 || strings.IndexByte("+-.eE", s[end]) >= 0) {
				end++
			}
			if m.number(s[i:end]) {
				put(i, end, "0")
			}
			i = end
		default:
			i++
		}
	}
	if copied == 0 && out.Len() == 0 {
		return s
	}
	out.WriteString(s[copied:])
	return out.String()
}

// stringEnd gives the byte behind a string of valid JSON.
func stringEnd(s string, at int) int {
	for at++; s[at] != '"'; at++ {
		if s[at] == '\\' {
			at++
		}
	}
	return at + 1
}

// isName reports that what ended is the name of a member.
func isName(s string, at int) bool {
	t := strings.TrimLeft(s[at:min(len(s), at+64)], " \t\r\n")
	return t != "" && t[0] == ':'
}

func unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s[1 : len(s)-1]
	}
	var out string
	if json.Unmarshal([]byte(s), &out) != nil { // it is valid, so this does not happen
		return s
	}
	return out
}

func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil { // a string always can be written
		return `"` + wholeMark + `"`
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// leaf masks a string that stands under a name. Names such as password tell of
// a value what it does not tell itself.
func (m *Masker) leaf(key, s string, depth int) string {
	if rule := m.named(key, s); rule != "" {
		return label(rule, s)
	}
	masked := m.text(s, depth)
	if rule := m.named(key, masked); rule != "" { // so that masking again changes nothing
		return label(rule, masked)
	}
	return masked
}

// maxNamed is the longest value that a name is asked about.
const maxNamed = 1 << 10

// named gives the rule that finds a secret in a value because of its name.
func (m *Masker) named(key, s string) string {
	if len(s) < 6 || len(s) > maxNamed || len(key) > 128 || !telling(key) || m.kinds[strings.Trim(s, "[]")] {
		return ""
	}
	head := key + ` = "`
	// What would end the value there is read as a letter.
	s = strings.NewReplacer(`"`, "x", `\`, "x", "\n", "x").Replace(s)
	for _, k := range m.marks([]byte(head+s+`"`), "secret") {
		if k.to > len(head) && k.from < len(head)+len(s) && k.rule != unreadMark {
			return k.rule
		}
	}
	return ""
}

// telling reports names that may belong to a secret.
func telling(key string) bool {
	key = strings.ToLower(key)
	for _, w := range []string{"pass", "pwd", "secret", "token", "key", "auth", "cred", "cookie", "session", "sign", "private", "bearer"} {
		if strings.Contains(key, w) {
			return true
		}
	}
	return false
}
