package command

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/internal/record"
)

// Matcher tells whether a script runs what a list blocks. It is immutable.
type Matcher struct{ entries []entry }

// entry is one blocked command: a program, with flags and operands or without.
type entry struct {
	text     string
	program  string // lower case
	letters  string // short flags that must all be set
	longs    []string
	operands []string // in this order among the arguments
}

// Reading is what a matcher saw in a script.
type Reading struct {
	Programs   []string // names, sorted, each once
	Blocked    []string // entries that match, in the list's order
	Unresolved bool
	Findings   []record.Finding
}

// maxEntries bounds the list.
const maxEntries = 1000

// Compile reads the entries: "mkfs", "rm -rf", "git push --force".
func Compile(entries []string) (*Matcher, error) {
	if len(entries) > maxEntries {
		return nil, fmt.Errorf("command: %d blocked commands; at most %d", len(entries), maxEntries)
	}
	m := &Matcher{}
	for _, text := range entries {
		words := strings.Fields(text)
		if len(words) == 0 {
			return nil, fmt.Errorf("command: an entry of blocked_commands is empty")
		}
		e := entry{text: text, program: strings.ToLower(base(words[0]))}
		for _, w := range words[1:] {
			switch {
			case strings.HasPrefix(w, "--") && len(w) > 2:
				e.longs = append(e.longs, w)
			case len(w) > 1 && w[0] == '-' && len(w) <= 4:
				e.letters += w[1:]
			case len(w) > 1 && w[0] == '-': // -delete: a word, no cluster
				e.longs = append(e.longs, w)
			default:
				e.operands = append(e.operands, w)
			}
		}
		m.entries = append(m.entries, e)
	}
	return m, nil
}

// Read parses a script and matches its programs.
func (m *Matcher) Read(script string) Reading {
	s := Parse(script)
	out := Reading{Unresolved: s.Unresolved, Findings: s.Findings}
	hit := make([]bool, len(m.entries))
	for _, p := range s.Programs {
		if !p.Dynamic && !slices.Contains(out.Programs, p.Name) {
			out.Programs = append(out.Programs, p.Name)
		}
		for i := range m.entries {
			switch e := &m.entries[i]; e.match(p) {
			case yes:
				hit[i] = true
				out.Findings = append(out.Findings, record.Finding{
					Rule: RuleBlocked, Start: p.start, End: p.end, Severity: 4, Confidence: 0.9,
					Detail: fmt.Sprintf("line %d: %s matches %q", p.Line, p.Name, e.text),
				})
			case maybe:
				out.Unresolved = true
				out.Findings = append(out.Findings, record.Finding{
					Rule: RuleUnresolved, Start: p.start, End: p.end, Severity: 2, Confidence: 0.5,
					Detail: fmt.Sprintf("line %d: whether %s is %q is known only when it runs", p.Line, p.Name, e.text),
				})
			case no:
			}
		}
	}
	for i, h := range hit {
		if h && !slices.Contains(out.Blocked, m.entries[i].text) {
			out.Blocked = append(out.Blocked, m.entries[i].text)
		}
	}
	slices.Sort(out.Programs)
	return out
}

type answer int

const (
	no answer = iota
	maybe
	yes
)

func (e *entry) match(p Program) answer {
	if p.Dynamic || !e.named(strings.ToLower(p.Name)) {
		return no
	}
	args := p.Args
	flags := args
	if i := slices.Index(args, "--"); i >= 0 {
		flags = args[:i]
	}
	for _, letter := range e.letters {
		if !hasLetter(e.program, flags, letter) {
			return e.missing(p)
		}
	}
	for _, l := range e.longs {
		if !hasLong(e.program, flags, l) {
			return e.missing(p)
		}
	}
	at := 0
	for _, o := range e.operands {
		i := slices.Index(args[at:], o)
		if i < 0 {
			return e.missing(p)
		}
		at += i + 1
	}
	return yes
}

// missing tells a no from a maybe: arguments that are not known yet may hold
// what was missing.
func (e *entry) missing(p Program) answer {
	if p.Open {
		return maybe
	}
	return no
}

// named compares names; mkfs stands for its whole family.
func (e *entry) named(name string) bool {
	return name == e.program || e.program == "mkfs" && strings.HasPrefix(name, "mkfs.")
}

// longNames gives the long forms of short flags, per program; all programs
// that delete or overwrite recursively use the same two.
var longNames = map[string]map[rune]string{
	"rm":    {'r': "--recursive", 'R': "--recursive", 'f': "--force", 'd': "--dir", 'i': "--interactive"},
	"chmod": {'R': "--recursive", 'f': "--silent"},
	"chown": {'R': "--recursive", 'f': "--silent"},
	"chgrp": {'R': "--recursive", 'f': "--silent"},
	"cp":    {'r': "--recursive", 'R': "--recursive", 'f': "--force", 'a': "--archive"},
	"mv":    {'f': "--force"},
	"ln":    {'f': "--force", 's': "--symbolic"},
	"git":   {'f': "--force"},
	"shred": {'f': "--force", 'u': "--remove"},
}

// twin pairs letters that mean the same.
func twin(program string, letter rune) rune {
	if program == "rm" || program == "cp" {
		switch letter {
		case 'r':
			return 'R'
		case 'R':
			return 'r'
		}
	}
	return letter
}

func hasLetter(program string, args []string, letter rune) bool {
	long := longNames[program][letter]
	for _, a := range args {
		switch {
		case len(a) < 2 || a[0] != '-':
		case a[1] != '-':
			if strings.ContainsRune(a[1:], letter) || strings.ContainsRune(a[1:], twin(program, letter)) {
				return true
			}
		case long != "" && len(a) > 2 && strings.HasPrefix(long, a): // GNU accepts abbreviations
			return true
		}
	}
	return false
}

func hasLong(program string, args []string, long string) bool {
	var letter rune
	for l, name := range longNames[program] {
		if name == long {
			letter = l
		}
	}
	for _, a := range args {
		name, _, _ := strings.Cut(a, "=")
		if name == long || len(name) > 3 && strings.HasPrefix(long, name) && strings.HasPrefix(name, "--") {
			return true
		}
		if letter != 0 && len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.ContainsRune(a[1:], letter) {
			return true
		}
	}
	return false
}
