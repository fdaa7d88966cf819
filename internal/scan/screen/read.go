package screen

import (
	"encoding/json"
	"slices"
	"strings"

	"sallyport/internal/record"
	"sallyport/internal/scan"
)

// Text judges one text.
func (s *Screen) Text(b []byte) Verdict {
	sc := s.scanners.Get().(*scan.Scanner) // the pool holds nothing else
	defer s.scanners.Put(sc)
	r := sc.Scan(b)
	var v Verdict
	s.judge(&v, &r)
	return v.done()
}

// judge adds what a result comes to.
func (s *Screen) judge(v *Verdict, r *scan.Result) {
	for i := range r.Findings {
		s.finding(v, &r.Findings[i])
	}
	s.gaps(v, r.Unscanned)
}

func (s *Screen) finding(v *Verdict, f *scan.Finding) { v.add(s.hitOf(f), &f.Finding) }

// hitOf gives a finding's reason: the operator's word as it was found, the name
// of a secret, else the detector's title. What the finding says of the text
// itself stays in the finding: it may be an attacker's.
func (s *Screen) hitOf(f *scan.Finding) Hit {
	h, ok := s.hits[f.Rule]
	if !ok { // a rule that Rules did not name: a defect, and no reason to let it pass
		return Hit{Source: SourceDetectors, Action: Ask, Rule: f.Rule}
	}
	if f.Detail != "" && (h.Source != SourceDetectors || f.Rule == knownSecret) {
		h.Detail = f.Detail
	}
	return h
}

func (s *Screen) gaps(v *Verdict, gaps []scan.Gap) {
	for _, g := range gaps {
		because, _, _ := strings.Cut(g.Because, ": ") // what follows may quote the text
		v.add(Hit{SourceUnscanned, s.unscanned, SourceUnscanned, because}, nil)
	}
}

// maxArgv bounds the list of words that is read as one command.
const maxArgv = 256

// Arguments judges the arguments of a tool call, in JSON: every string and
// every name as text; those under a name such as command as a script, and all
// as SQL; known secrets in pieces over several strings; lists of words
// under a name such as args as the command they make together. What is no JSON is read as text and counts as
// not read wholly. Spans are those of each string after JSON's escapes, and 0
// to the whole length where a finding lies across strings.
func (s *Screen) Arguments(b []byte) Verdict {
	var v Verdict
	leaves, across := s.engine.Arguments(b)
	for i := range leaves {
		s.judge(&v, &leaves[i].Result)
	}
	s.judge(&v, &across)
	for _, command := range commands(leaves) {
		s.together(&v, command)
	}
	return v.done()
}

// together reads the words of a command as one.
func (s *Screen) together(v *Verdict, command []byte) {
	known := func(f *scan.Finding) bool {
		return slices.ContainsFunc(v.Findings, func(g record.Finding) bool { return g.Rule == f.Rule && g.Detail == f.Detail })
	}
	leaves, _ := s.engine.Arguments(command)
	for i := range leaves {
		r := &leaves[i].Result
		for k := range r.Findings {
			if f := &r.Findings[k]; !known(f) {
				s.finding(v, f)
			}
		}
		s.gaps(v, r.Unscanned)
	}
}

// programNames and listNames are what tools call a program and its words.
var (
	programNames = []string{"command", "cmd", "program", "executable", "binary", "file"}
	listNames    = []string{"args", "argv", "arguments", "parameters", "command", "cmd", "commands", "run", "shell", "bash", "sh", "script", "exec"}
)

// commands gives each list of words that a program is started with as an object
// with one script, with the program beside the list before it if there is one.
func commands(leaves []scan.Leaf) [][]byte {
	var out [][]byte
	for i := 0; i < len(leaves); {
		list, ok := listOf(leaves[i].Path)
		k := i + 1
		for ; ok && k < len(leaves); k++ {
			if l, same := listOf(leaves[k].Path); !same || l != list {
				break
			}
		}
		dot := strings.LastIndexByte(list, '.')
		if ok && dot >= 0 && slices.Contains(listNames, strings.ToLower(list[dot+1:])) {
			words := slices.Clone(leaves[i:min(k, i+maxArgv)])
			if p := program(leaves, list[:dot]); p >= 0 {
				words = slices.Insert(words, 0, leaves[p])
			}
			if text, err := json.Marshal(map[string]string{"command": argv(words)}); err == nil && len(words) > 1 {
				out = append(out, text)
			}
		}
		i = k
	}
	return out
}

// program finds the string that names a program in an object, -1 if none does.
func program(leaves []scan.Leaf, object string) int {
	return slices.IndexFunc(leaves, func(l scan.Leaf) bool {
		name, ok := strings.CutPrefix(l.Path, object+".")
		return ok && slices.Contains(programNames, strings.ToLower(name))
	})
}

// listOf gives the path of the list that a string is an element of.
func listOf(path string) (list string, ok bool) {
	if !strings.HasSuffix(path, "]") {
		return "", false
	}
	i := strings.LastIndexByte(path, '[')
	return path[:max(i, 0)], i > 0
}

func argv(leaves []scan.Leaf) string {
	words := make([]string, len(leaves))
	for i, l := range leaves {
		words[i] = l.Text
		if strings.ContainsAny(l.Text, " \t\n;&|<>()'\"`$\\*?#~") {
			words[i] = "'" + strings.ReplaceAll(l.Text, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
