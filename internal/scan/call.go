package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// callRules are what parsing a tool's arguments shows. A deterministic rule
// still reads a text that may run otherwise, so none may block by itself.
var callRules = []Rule{
	{"call.unresolved", "a script whose programs are known only when it runs", Medium, 0.5, false, "shell grammar"},
	{"call.destructive", "a script that deletes or overwrites what nobody gets back", High, 0.9, false, "shell grammar"},
	{"call.decode-and-run", "a script that runs what it decodes, so that nobody can read it before", High, 0.8, false, "shell grammar"},
	{"call.fetch-and-run", "a script that runs what it fetches", High, 0.8, false, "shell grammar"},
	{"call.sends", "a script that sends a file or opens a raw connection", High, 0.7, false, "shell grammar"},
	{"call.disguised", "a script that hides a program's name, or that runs one whose name is not written in plain letters", High, 0.7, false, "shell grammar"},
	{"call.wallet-seed", "the seed phrase of a wallet among a call's arguments", Critical, 0.97, true, "BIP 39: word list and checksum"},
	{"exfil.address", "an address that gives data away in its host or path", High, 0.4, false, "shape"},
	{"exfil.inward", "an address that leads inside in disguise, or to a cloud's metadata", High, 0.8, false, "RFC 6943 3.1.1; the clouds' documents"},
	{"exfil.split", "an address over whose parts a secret is spread", High, 0.8, false, "the secret's own form"},
	{"exfil.encoded", "an address whose percent signs are encoded more than twice", High, 0.6, false, "RFC 3986 2.4"},
	{"call.sql-destructive", "a statement of SQL that drops, empties or changes whole tables", High, 0.9, false, "SQL grammar"},
}

// Leaf is one string of a tool's arguments and what it shows. Spans are those
// of the string after JSON's escapes.
type Leaf struct {
	Path   string // $.command, $.list[3]
	Text   string
	Result Result
}

// maxLeaves bounds how many strings of one call are read.
const maxLeaves = 4096

// Arguments reads the arguments of a tool call: every string and every name as
// text, those that are scripts, SQL or addresses by their grammar too, and
// known secrets across all strings. What is no JSON is read as text and marked unscanned.
func (e *Engine) Arguments(args []byte) (leaves []Leaf, across Result) {
	w := &walker{e: e, sc: e.NewScanner(), dec: json.NewDecoder(bytes.NewReader(args))}
	w.dec.UseNumber()
	err := w.value("$", "")
	if _, more := w.dec.Token(); err == nil && !errors.Is(more, io.EOF) {
		err = fmt.Errorf("more than one value")
	}
	if err != nil {
		r := e.Scan(args)
		r.Unscanned = append(r.Unscanned, Gap{0, len(args), "arguments that are no JSON: " + err.Error()})
		return append(w.leaves, Leaf{"$", string(args), r}), Result{}
	}
	values := make([]string, len(w.leaves))
	for i := range w.leaves {
		values[i] = w.leaves[i].Text
	}
	if len(e.secrets) > 0 && len(values) > 1 {
		all := e.Scan([]byte(strings.Join(values, "")))
		all.Findings = slices.DeleteFunc(all.Findings, func(f Finding) bool { return f.Rule != "secret.known" })
		across = all
	}
	return w.leaves, across
}

// walker goes through JSON in order, duplicates included.
type walker struct {
	e      *Engine
	sc     *Scanner
	dec    *json.Decoder
	leaves []Leaf
	depth  int
}

func (w *walker) value(path, key string) error {
	t, err := w.dec.Token()
	if err != nil {
		return err
	}
	switch t := t.(type) {
	case string:
		return w.leaf(path, key, t)
	case json.Number:
		return w.leaf(path, key, t.String())
	case json.Delim:
		if w.depth++; w.depth > 64 {
			return fmt.Errorf("nested deeper than 64")
		}
		defer func() { w.depth-- }()
		for i := 0; w.dec.More(); i++ {
			if t == '[' {
				err = w.value(fmt.Sprintf("%s[%d]", path, i), key)
			} else {
				err = w.member(path)
			}
			if err != nil {
				return err
			}
		}
		_, err = w.dec.Token()
		return err
	}
	return nil
}

func (w *walker) member(path string) error {
	k, err := w.dec.Token()
	if err != nil {
		return err
	}
	name, _ := k.(string)
	if r := w.sc.Scan([]byte(name)); len(r.Findings) > 0 {
		w.leaves = append(w.leaves, Leaf{path + ".(name)", name, copied(r)})
	}
	return w.value(path+"."+name, name)
}

func copied(r Result) Result {
	return Result{slices.Clone(r.Findings), slices.Clone(r.Unscanned), r.Bytes}
}

func (w *walker) leaf(path, key, text string) error {
	if len(w.leaves) >= maxLeaves {
		return fmt.Errorf("more than %d strings", maxLeaves)
	}
	r := copied(w.sc.Scan([]byte(text)))
	switch strings.ToLower(key) {
	case "command", "cmd", "script", "shell", "bash", "sh", "commands", "run":
		r.Findings = append(r.Findings, w.e.shell(text)...)
	}
	r.Findings = append(r.Findings, w.e.sql(text)...)
	r.Findings = append(r.Findings, w.e.address(w.sc, text)...)
	if start, end, ok := seedPhrase([]byte(text)); ok && w.e.on["secret"] {
		r.Findings = append(r.Findings, w.e.parsed("call.wallet-seed", start, end, ""))
	}
	r.sort()
	w.leaves = append(w.leaves, Leaf{path, text, r})
	return nil
}

// parsed makes a finding of a whole string.
func (e *Engine) parsed(id string, start, end int, detail string) Finding {
	r := &e.rules[e.fixed(id)]
	f := Finding{Block: r.Block}
	f.Rule, f.Start, f.End, f.Severity, f.Confidence, f.Detail = r.ID, start, end, r.Severity, r.Confidence, detail
	return f
}

// sql judges statements that stand by themselves in a string.
func (e *Engine) sql(text string) []Finding {
	var out []Finding
	at := 0
	for statement := range strings.SplitSeq(bare(text), ";") {
		words := strings.Fields(strings.ToLower(statement))
		end := min(len(text), at+len(statement))
		if sqlDestroys(words) && end > at {
			out = append(out, e.parsed("call.sql-destructive", at, end, words[0]))
		}
		at = end + 1
	}
	return out
}

func sqlDestroys(words []string) bool {
	if len(words) < 2 {
		return false
	}
	ts := make([]sqlToken, 0, len(words)-1)
	for _, w := range words[1:min(len(words), 12)] {
		ts = append(ts, sqlToken{text: strings.Trim(w, "\"`[](),")})
	}
	where := slices.Contains(words, "where") || slices.Contains(words, "limit")
	switch words[0] {
	case "drop":
		return sqlObject(ts) > 0
	case "truncate":
		return ts[0].text == "table" || len(words) == 2 && name(ts[0].text)
	case "delete":
		return ts[0].text == "from" && len(words) == 3 && !where
	case "update":
		return len(words) > 3 && words[2] == "set" && strings.Contains(strings.Join(words[3:], " "), "=") && !where
	}
	return false
}

// bare blanks out strings and comments of SQL, keeping every place.
func bare(text string) string {
	b := []byte(text)
	blankTo := func(i int, end string) int {
		n := strings.Index(text[i:], end)
		to := len(b)
		if n >= 0 {
			to = i + n + len(end)
		}
		for k := i; k < to; k++ {
			b[k] = ' '
		}
		return to
	}
	for i := 0; i < len(b); {
		switch {
		case b[i] == '\'':
			b[i] = 'x'
			i = blankTo(i+1, "'")
		case strings.HasPrefix(text[i:], "--"):
			i = blankTo(i, "\n")
		case strings.HasPrefix(text[i:], "/*"):
			b[i], b[i+1] = ' ', ' '
			i = blankTo(i+2, "*/")
		default:
			i++
		}
	}
	return string(b)
}
