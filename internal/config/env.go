package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Env holds the variables agent files and keys are looked up in: the process
// environment over the .env files. It is never given to a sandbox.
type Env struct {
	// Notices are things the operator should know about the .env files.
	Notices []string

	vars     map[string]string
	stateDir string // what NAISYS_FOLDER means when it is not set
}

// NewEnv makes an Env from variables and the state directory.
func NewEnv(vars map[string]string, stateDir string) *Env {
	return &Env{vars: maps.Clone(vars), stateDir: stateDir}
}

// LoadEnv reads .env files (one that does not exist is skipped) and puts the
// process environment, a list of NAME=value, over them; of two files the first
// named wins. A malformed line, or a NAISYS_FOLDER that is not an absolute
// path, is an error of kind fault.Config. No value is ever repeated in an error.
func LoadEnv(dotenvPaths []string, environ []string) (*Env, error) {
	e := &Env{vars: map[string]string{}, stateDir: StateDir("", environ)}
	for _, path := range dotenvPaths {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		data, mode, err := readFile(path)
		if err != nil {
			return nil, err
		}
		vars, err := ParseDotenv(path, data)
		if err != nil {
			return nil, err
		}
		if mode.Perm()&0o077 != 0 {
			e.Notices = append(e.Notices, path+" holds keys and can be read or written by other users; chmod 600 it")
		}
		if _, ok := vars["SALLYPORT_HOME"]; ok {
			e.Notices = append(e.Notices, path+" sets SALLYPORT_HOME, which only the process environment can set; the line has no effect")
			delete(vars, "SALLYPORT_HOME")
		}
		for k, v := range vars {
			if _, set := e.vars[k]; !set {
				e.vars[k] = v
			}
		}
	}
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			e.vars[k] = v
		}
	}
	if f := e.vars["NAISYS_FOLDER"]; f != "" && !filepath.IsAbs(f) {
		return nil, &Error{
			Key: "NAISYS_FOLDER", Problem: "must be an absolute path",
			Remedy: "write the whole path, from /; or remove it to use the state directory",
		}
	}
	return e, nil
}

// WithStateDir gives a copy in which an unset NAISYS_FOLDER means dir.
func (e *Env) WithStateDir(dir string) *Env {
	c := *e
	c.stateDir = dir
	return &c
}

// Lookup gives a variable's value and whether it is set.
func (e *Env) Lookup(name string) (string, bool) {
	if e == nil {
		return "", false
	}
	v, ok := e.vars[name]
	return v, ok
}

// NAISYSFolder gives the folder of agent homes and reports: NAISYS_FOLDER when
// it is set and not empty, else defaultStateDir.
func (e *Env) NAISYSFolder(defaultStateDir string) string {
	if f, _ := e.Lookup("NAISYS_FOLDER"); f != "" {
		return filepath.Clean(f)
	}
	return defaultStateDir
}

// StateDir gives the state directory as an absolute path: explicit, else
// $SALLYPORT_HOME, else ~/.sallyport. It gives "" when none can be told, which
// the caller must refuse.
func StateDir(explicit string, environ []string) string {
	vars := map[string]string{}
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			vars[k] = v
		}
	}
	dir := explicit
	if dir == "" {
		dir = vars["SALLYPORT_HOME"]
	}
	if dir == "" {
		home := vars["HOME"]
		if home == "" {
			if u, err := user.Current(); err == nil {
				home = u.HomeDir
			}
		}
		if home == "" {
			return ""
		}
		dir = filepath.Join(home, ".sallyport")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	return abs
}

// ParseDotenv reads NAME=value lines: comments with #, an optional export,
// values bare, in 'single', "double" or `back` quotes (which may span lines);
// \n, \r, \" and \\ are escapes in double quotes. Nothing is substituted.
func ParseDotenv(name string, data []byte) (map[string]string, error) {
	p := &dotenv{name: name, text: strings.ReplaceAll(string(data), "\r\n", "\n"), line: 1}
	p.text = strings.TrimPrefix(p.text, "\ufeff")
	if len(data) > maxBytes {
		return nil, p.fail(0, "", fmt.Sprintf("the file has more than %d bytes", maxBytes), "name the right file")
	}
	vars, first := map[string]string{}, map[string]int{}
	for p.next() {
		line := p.line
		key, value, err := p.assignment()
		if err != nil {
			return nil, err
		}
		if n, dup := first[key]; dup {
			return nil, &Error{
				Pos: Position{File: name, Line: line, Column: 1}, Key: key,
				Problem: fmt.Sprintf("was already set in line %d", n), Remedy: "keep one of the two",
			}
		}
		first[key], vars[key] = line, value
	}
	return vars, nil
}

var (
	envName  = regexp.MustCompile(envRE)
	exportRE = regexp.MustCompile(`^[ \t]+[^ \t=]`)
)

// dotenv walks a .env file. Its errors show the name in a line, never the value.
type dotenv struct {
	name string
	text string // what is still to be read
	line int
}

func (p *dotenv) fail(col int, key, problem, remedy string) error {
	return &Error{Pos: Position{File: p.name, Line: p.line, Column: col}, Key: key, Problem: problem, Remedy: remedy}
}

// next skips blank and comment lines; it reports whether something is left.
func (p *dotenv) next() bool {
	for {
		p.text = strings.TrimLeft(p.text, " \t")
		switch {
		case p.text == "":
			return false
		case p.text[0] == '\n':
			p.text = p.text[1:]
			p.line++
		case p.text[0] == '#':
			p.restOfLine()
		default:
			return true
		}
	}
}

// restOfLine takes the text up to the next line break, which it leaves.
func (p *dotenv) restOfLine() string {
	rest, _, _ := strings.Cut(p.text, "\n")
	p.text = p.text[len(rest):]
	return rest
}

func (p *dotenv) assignment() (key, value string, err error) {
	head, _, _ := strings.Cut(p.text, "\n")
	// "export NAME=v" has the word before a name; "export = v" sets the name export.
	if rest, ok := strings.CutPrefix(head, "export"); ok && exportRE.MatchString(rest) {
		p.text = strings.TrimLeft(p.text[len("export"):], " \t")
		head, _, _ = strings.Cut(p.text, "\n")
	}
	name, _, ok := strings.Cut(head, "=")
	if !ok {
		return "", "", p.fail(1, "", "is not NAME=value", "write NAME=value, or # before a comment")
	}
	key = strings.TrimRight(name, " \t")
	if !envName.MatchString(key) {
		return "", "", p.fail(1, "", "what stands before = is not a variable's name", "use letters, digits and _, not starting with a digit")
	}
	p.text = strings.TrimLeft(p.text[len(name)+1:], " \t")
	if p.text != "" && strings.ContainsRune("\"'`", rune(p.text[0])) {
		value, err = p.quoted(key)
	} else {
		value = p.bare()
	}
	if err == nil && (!utf8.ValidString(value) || strings.ContainsRune(value, 0)) {
		err = p.fail(0, key, "the value is not valid UTF-8 or contains a zero byte", "write plain text")
	}
	return key, value, err
}

// bare takes an unquoted value: to the end of the line or to a # after a space.
func (p *dotenv) bare() string {
	v := p.restOfLine()
	for i := range len(v) {
		if v[i] == '#' && (i == 0 || v[i-1] == ' ' || v[i-1] == '\t') {
			v = v[:i]
			break
		}
	}
	return strings.TrimSpace(v)
}

func (p *dotenv) quoted(key string) (string, error) {
	quote, start := p.text[0], p.line
	var b strings.Builder
	i := 1
	for ; i < len(p.text) && p.text[i] != quote; i++ {
		c := p.text[i]
		if c == '\\' && quote == '"' && i+1 < len(p.text) {
			if esc, ok := map[byte]byte{'n': '\n', 'r': '\r', '"': '"', '\\': '\\'}[p.text[i+1]]; ok {
				c = esc
				i++
			}
		} else if c == '\n' {
			p.line++
		}
		b.WriteByte(c)
	}
	if i >= len(p.text) {
		p.line = start
		return "", p.fail(0, key, "the quote is not closed", "end the value with "+string(quote))
	}
	p.text = p.text[i+1:]
	if rest := strings.TrimSpace(p.restOfLine()); rest != "" && rest[0] != '#' {
		return "", p.fail(0, key, "something follows the closing quote", "remove it, or put # before a comment")
	}
	return b.String(), nil
}
