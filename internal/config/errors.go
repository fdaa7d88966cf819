package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport/internal/fault"
)

// ErrNotEnforced is matched (errors.Is) by the error for a key that is known
// and well typed but has no effect in this release. Use [NotEnforced] to ask
// whether that is all that is wrong.
var ErrNotEnforced = errors.New("not yet enforced")

// Position is a place in a file. Line and Column count from 1, Column in
// characters; zero means that the place is not known.
type Position struct {
	File         string
	Line, Column int
}

// String gives file:line:column, without the parts that are not known.
func (p Position) String() string {
	name := p.File
	if name == "" {
		name = "configuration"
	}
	if p.Line == 0 {
		return name
	}
	if p.Column == 0 {
		return fmt.Sprintf("%s:%d", name, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", name, p.Line, p.Column)
}

// Error is one thing that is wrong in a file. Its kind is fault.Config.
type Error struct {
	Pos     Position
	Source  string // the line with a mark under the column; "" when there is none
	Key     string // dotted path of the key, e.g. "security.allowed_file_paths"; may be ""
	Problem string // what is wrong
	Remedy  string // what to do

	later bool // known, well typed, but without effect in this release
}

// Error renders position, problem, marked line and remedy, on several lines.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Pos.String() + ": " + e.sentence())
	if e.Source != "" {
		b.WriteString("\n" + e.Source)
	}
	if e.Remedy != "" {
		b.WriteString("\n  remedy: " + e.Remedy)
	}
	return b.String()
}

func (e *Error) sentence() string {
	if e.Key == "" {
		return e.Problem
	}
	return e.Key + ": " + e.Problem
}

// Unwrap gives the error its kind and its public sentence.
func (e *Error) Unwrap() error {
	text := e.sentence()
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return fault.New("config", fault.Config, "%s", text)
}

// Is reports whether e stands for target, so that errors.Is(err, ErrNotEnforced) works.
func (e *Error) Is(target error) bool { return target == ErrNotEnforced && e.later }

// Errors are all the things wrong in one file, in the order of the file.
type Errors []*Error

// Error renders every error, separated by newlines.
func (es Errors) Error() string {
	parts := make([]string, len(es))
	for i, e := range es {
		parts[i] = e.Error()
	}
	return strings.Join(parts, "\n")
}

// Unwrap gives the single errors to errors.Is and errors.As.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// err sorts the errors by position and gives nil for none.
func (es Errors) err() error {
	if len(es) == 0 {
		return nil
	}
	slices.SortStableFunc(es, func(a, b *Error) int {
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Column - b.Pos.Column
	})
	return es
}

// NotEnforced reports whether err says nothing but that keys are not yet
// enforced: the file was read and every value has the right type.
func NotEnforced(err error) bool {
	if es, ok := errors.AsType[Errors](err); ok {
		return !slices.ContainsFunc(es, func(e *Error) bool { return !e.later })
	}
	return errors.Is(err, ErrNotEnforced)
}

// source is a file's text, kept to mark lines of it.
type source struct {
	name  string
	text  string
	lines []string
}

func newSource(name string, data []byte) *source {
	return &source{name: name, text: string(data), lines: strings.Split(string(data), "\n")}
}

// at makes an error for a place in the source.
func (s *source) at(line, col int, key, problem, remedy string) *Error {
	return &Error{
		Pos: Position{File: s.name, Line: line, Column: col}, Source: s.mark(line, col, secretPath(key)),
		Key: key, Problem: problem, Remedy: remedy,
	}
}

const markWidth = 100 // characters of a line that are shown around the mark

// secretKey finds a key whose value must not be repeated, secretWord a value
// that gives itself away.
var (
	secretKey  = regexp.MustCompile(`(?i)([a-z0-9_-]*(password|passwd|passphrase|secret|token|auth|api[_-]?key|credentials?))["']?\s*[:=]`)
	secretWord = regexp.MustCompile(`\b(sk|xai|AIza|ghp|gho|xox[a-z])[-_A-Za-z0-9]{12,}`)
)

// secretPath reports whether the value of a key, or a part of it, is a secret;
// it may then stand alone on its line.
func secretPath(key string) bool {
	head, _, _ := strings.Cut(key, "[")
	return key != "" && secretKey.MatchString(head+":")
}

// mark shows a line and, under it, a caret at the column; with hide nothing
// from the column on.
func (s *source) mark(line, col int, hide bool) string {
	if line < 1 || line > len(s.lines) {
		return ""
	}
	raw := []rune(s.lines[line-1])
	if hide && col > 0 && col <= len(raw) && !secretKey.MatchString(string(raw)) { // the key's own line is hidden below
		raw = append(raw[:col-1], '…')
	}
	text := []rune(hideSecrets(string(raw)))
	start := max(0, min(col-1, len(text))-markWidth/2)
	end := min(len(text), start+markWidth)
	shown := make([]rune, 0, end-start)
	for _, r := range text[start:end] {
		switch {
		case r == '\t':
			r = ' '
		case !unicode.IsPrint(r):
			r = '·' // a control character must not reach a terminal
		}
		shown = append(shown, r)
	}
	head := fmt.Sprintf("  %d | ", line)
	out := head + string(shown)
	if col > 0 {
		at := min(max(col-1-start, 0), len(shown))
		out += "\n" + strings.Repeat(" ", utf8.RuneCountInString(head)-2) + "| " + strings.Repeat(" ", at) + "^"
	}
	return out
}

func hideSecrets(line string) string {
	if loc := secretKey.FindStringIndex(line); loc != nil {
		line = line[:loc[1]] + " …"
	}
	return secretWord.ReplaceAllString(line, "…")
}
