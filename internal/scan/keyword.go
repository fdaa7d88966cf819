package scan

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport/internal/fault"
)

// Mode says how a keyword is looked for.
type Mode uint8

// The modes. Auto takes Command for words that are commands of SQL or a shell,
// else Word.
const (
	Auto      Mode = iota
	Word           // whole words; a boundary is due only where the keyword's edge is a letter or a digit
	Substring      // anywhere
	Regex          // RE2, over the text as it stands, window by window
	Command        // only where it reads as a command: DROP TABLE users, rm -fr /
)

// Keyword is a text that the operator wants to hear of.
type Keyword struct {
	Text     string
	Mode     Mode
	List     string // the rule is keyword.<List>; empty: "listed"
	Severity int    // 0 means Medium
}

// keywordRule is a keyword in its normal form.
type keywordRule struct {
	rule  int32
	text  string // the operator's writing, for the finding
	words []string
	pivot int // the word that is the literal
	mode  Mode
}

// maxKeywords bounds a list.
const maxKeywords = 10000

func (e *Engine) addKeywords(b *builder, list []Keyword) error {
	if len(list) > maxKeywords {
		return fault.New("scan.compile", fault.Config, "%d keywords are listed; at most %d can be looked for", len(list), maxKeywords)
	}
	for _, k := range list {
		name := "keyword.listed"
		if k.List != "" {
			name = "keyword." + k.List
		}
		if k.Severity == 0 {
			k.Severity = Medium
		}
		rule := e.rule(Rule{name, "a keyword of the operator's", k.Severity, 0.9, true, "configuration"})
		if k.Mode == Regex {
			re, err := regexp.Compile("(?i:" + k.Text + ")")
			if err != nil {
				return fault.New("scan.compile", fault.Config, "the keyword expression %q does not compile: %v; write it in RE2 syntax", k.Text, err)
			}
			e.regexes = append(e.regexes, userRegex{re, rule})
			continue
		}
		words := strings.Fields(plainly(k.Text))
		if len(words) == 0 {
			return fault.New("scan.compile", fault.Config, "the keyword %q is empty once it is normalised; take it out of the list", k.Text)
		}
		kw := keywordRule{rule: rule, text: k.Text, words: words, mode: k.Mode}
		if kw.mode == Auto {
			if kw.mode = Word; isCommandWord(words) {
				kw.mode = Command
			}
		}
		for i, w := range words {
			if len(w) > len(words[kw.pivot]) {
				kw.pivot = i
			}
		}
		e.enterKeyword(b, kw)
	}
	return nil
}

func (e *Engine) enterKeyword(b *builder, k keywordRule) {
	o := owner{ownKeyword, int32(len(e.keywords))} //nolint:gosec // an index
	if k.mode == Command {
		k.pivot = 0
		k.words[0] = strings.TrimRight(k.words[0], "(;")
		if len(k.words[0]) < 3 { // rm: a space makes it a literal worth looking for
			b.add(k.words[0]+" ", true, o)
			b.add(k.words[0]+"\t", true, o)
			e.keywords = append(e.keywords, k)
			return
		}
	}
	b.add(k.words[k.pivot], true, o)
	e.keywords = append(e.keywords, k)
}

// keyword judges the text around a keyword's literal.
func (s *Scanner) keyword(v *view, k *keywordRule, at, end int) {
	text := v.text
	if k.mode == Command {
		end = at + len(k.words[0])
		if !s.spend(100) || !wordEdge(text, at, end) {
			return
		}
		if to := asCommand(text, at, end, k.words); to > 0 {
			s.emit(v, k.rule, at, to, k.text)
		}
		return
	}
	for i := k.pivot - 1; i >= 0; i-- {
		gone := at
		for at > 0 && blank(text[at-1]) {
			at--
		}
		w := literal{text: k.words[i], fold: true}
		if at == gone || !w.at(text, at-len(w.text)) {
			return
		}
		at -= len(w.text)
	}
	for _, word := range k.words[k.pivot+1:] {
		gone := end
		for end < len(text) && blank(text[end]) {
			end++
		}
		w := literal{text: word, fold: true}
		if end == gone || !w.at(text, end) {
			return
		}
		end += len(word)
	}
	if !s.spend(8) || k.mode == Word && !wordEdge(text, at, end) {
		return
	}
	s.emit(v, k.rule, at, end, k.text)
}

func blank(c byte) bool { return c == ' ' || c-'\t' < 5 }

// wordEdge reports that [at,end) is no part of a longer word.
func wordEdge(text []byte, at, end int) bool {
	first, _ := utf8.DecodeRune(text[at:end])
	last, _ := utf8.DecodeLastRune(text[at:end])
	if at > 0 && wordRune(first) && !escapedBefore(text, at) {
		if r, _ := utf8.DecodeLastRune(text[:at]); wordRune(r) {
			return false
		}
	}
	if end < len(text) && wordRune(last) {
		if r, _ := utf8.DecodeRune(text[end:]); wordRune(r) {
			return false
		}
	}
	return true
}

func wordRune(r rune) bool {
	return r == '_' || r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

// sqlWords and shellWords are the words whose default is Command.
var (
	sqlWords   = []string{"drop", "delete", "truncate", "alter", "create", "insert", "update", "select", "exec", "execute", "exec(", "grant", "revoke", "shutdown"}
	shellWords = []string{
		"rm", "kill", "killall", "pkill", "shutdown", "reboot", "halt", "poweroff", "format", "del", "rmdir", "mkfs", "dd", "chmod", "chown", "sudo", "su",
		"curl", "wget", "nc", "ncat", "ssh", "scp", "mv", "eval", "eval(", "bash", "sh", "powershell", "crontab", "iptables", "userdel", "passwd", "shred", "fdisk", "wipefs",
	}
)

func isCommandWord(words []string) bool {
	return slices.Contains(shellWords, words[0]) || len(words) == 1 && slices.Contains(sqlWords, words[0]) ||
		len(words) == 2 && slices.Contains(sqlWords, words[0]) && slices.Contains(sqlObjects, words[1])
}
