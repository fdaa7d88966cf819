package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Agent is one agent file, checked and with its templates expanded.
type Agent struct {
	Path        string // the file it came from
	Username    string // 1 to 32 of a-z, 0-9, _ and -; unique among the agents of a run
	Title       string
	ShellModel  string // a name for Config.ResolveModel
	WebModel    string // the same; "" in dialect 3
	AgentPrompt string
	TokenMax    int // tokens of one context, at least 1

	// DebugPauseSeconds is the wait at the debug prompt: nil waits for ever, 0
	// goes on at once. A dialect 1 file's 0 is nil here.
	DebugPauseSeconds *float64
	WakeOnMessage     bool
	SpendLimitDollars float64 // US dollars over all runs; 0 (dialect 3 only): no limit of its own
	CommandProtection string  // none, manual or auto
	MultipleAgents    *bool   // accepted, without effect
	Dialect           int     // Dialect2024 or DialectNow
	InitialCommands   []string

	Notices []string       // what the operator should know; nothing that prevents a start
	Raw     map[string]any // every key as it stands in the file
}

// agentBinding has the JSON names of the keys that go into an Agent.
type agentBinding struct {
	Dialect           int      `json:"dialect"`
	Username          string   `json:"username"`
	Title             string   `json:"title"`
	ShellModel        string   `json:"shellModel"`
	WebModel          string   `json:"webModel"`
	AgentPrompt       string   `json:"agentPrompt"`
	TokenMax          int      `json:"tokenMax"`
	DebugPauseSeconds *float64 `json:"debugPauseSeconds"`
	WakeOnMessage     bool     `json:"wakeOnMessage"`
	SpendLimitDollars float64  `json:"spendLimitDollars"`
	CommandProtection string   `json:"commandProtection"`
	MultipleAgents    *bool    `json:"multipleAgents"`
	InitialCommands   []string `json:"initialCommands"`
}

// LoadAgent reads one agent file; errors are of kind fault.Config.
func LoadAgent(path string, env Env) (*Agent, error) {
	data, mode, err := readFile(path)
	if err != nil {
		return nil, err
	}
	a, err := ParseAgent(path, data, env)
	if err != nil {
		return nil, err
	}
	a.writable(mode)
	return a, nil
}

// writable notes that others can change what the agent is told and may spend.
func (a *Agent) writable(mode fs.FileMode) {
	if mode.Perm()&0o022 != 0 {
		a.Notices = append(a.Notices, a.Path+" can be written by other users, who can so change the agent; chmod go-w it")
	}
}

// LoadAgents reads a file, or every agent file (*.yaml, *.yml) of a directory in
// the order of their names. sallyport.yaml, hidden files and YAML files with
// none of an agent's keys are not agent files. One bad file is one error and
// the others still load; a username used twice is an error for the second file.
func LoadAgents(fileOrDir string, env Env) ([]*Agent, []error) {
	st, err := os.Stat(fileOrDir)
	if err != nil || !st.IsDir() {
		a, err := LoadAgent(fileOrDir, env)
		if err != nil {
			return nil, []error{err}
		}
		return []*Agent{a}, nil
	}
	entries, err := os.ReadDir(fileOrDir)
	if err != nil {
		return nil, []error{&Error{Pos: Position{File: fileOrDir}, Problem: reason(err), Remedy: "make the directory readable for this user"}}
	}
	var agents []*Agent
	var errs []error
	owner := map[string]string{}
	for _, e := range entries {
		if !agentFileName(e) {
			continue
		}
		path := filepath.Join(fileOrDir, e.Name())
		a, err := loadOne(path, env)
		switch {
		case err != nil:
			errs = append(errs, err)
		case a == nil: // some other YAML file
		case owner[a.Username] != "":
			errs = append(errs, &Error{
				Pos: Position{File: path}, Key: "username",
				Problem: fmt.Sprintf("%q is already the agent of %s", a.Username, owner[a.Username]), Remedy: "choose another name",
			})
		default:
			owner[a.Username] = path
			agents = append(agents, a)
		}
	}
	if len(agents) == 0 && len(errs) == 0 {
		errs = append(errs, &Error{Pos: Position{File: fileOrDir}, Problem: "the directory has no agent file", Remedy: "put a .yaml file with username, shellModel and agentPrompt in it"})
	}
	return agents, errs
}

func agentFileName(e fs.DirEntry) bool {
	name := e.Name()
	ext := filepath.Ext(name)
	return !e.IsDir() && (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(name, ".") && !slices.Contains(fileNames, name)
}

// loadOne gives nil, nil for a well-formed file that is not an agent's.
func loadOne(path string, env Env) (*Agent, error) {
	data, mode, err := readFile(path)
	if err != nil {
		return nil, err
	}
	root, src, err := parseTree(path, data)
	if err != nil {
		return nil, err
	}
	if root.get("username") == nil && root.get("agentPrompt") == nil && root.get("shellModel") == nil {
		return nil, nil
	}
	a, err := buildAgent(root, src, &env)
	if err != nil {
		return nil, err
	}
	a.writable(mode)
	return a, nil
}

// ParseAgent reads an agent file from bytes. The error is an *Error or, with
// everything wrong in the file, an Errors.
func ParseAgent(name string, data []byte, env Env) (*Agent, error) {
	root, src, err := parseTree(name, data)
	if err != nil {
		return nil, err
	}
	return buildAgent(root, src, &env)
}

func buildAgent(root *node, src *source, env *Env) (*Agent, error) {
	if root.kind != nMap && root.kind != nNull {
		return nil, src.at(root.line, root.col, "", "an agent file must be a group of keys, not "+root.kind.String(), "write username: …, title: … and so on")
	}
	dialect := Dialect2024
	if d := root.get("dialect"); d != nil && d.val.kind == nInt && d.val.i == DialectNow {
		dialect = DialectNow
	}
	table := agentSpec(dialect)
	c := &checker{src: src, root: table}
	plain := c.agent(root, dialect, table)
	c.templates(root, plain, env)
	if err := c.errs.err(); err != nil {
		return nil, err
	}
	var b agentBinding
	if err := bind(plain, &b); err != nil {
		return nil, err
	}
	return finishAgent(&b, root, src.name, dialect), nil
}

// agent checks every key and says which required one is missing.
func (c *checker) agent(root *node, dialect int, table *spec) map[string]any {
	used := map[string]bool{}
	templateNames(root, used)
	plain := map[string]any{}
	for _, e := range root.entries {
		fs := table.field(e.key)
		if fs == nil {
			if problem, remedy, later := agentKey(e, dialect, used[e.key], table); problem != "" {
				err := c.src.at(e.line, e.col, e.key, problem, remedy)
				err.later = later
				c.errs = append(c.errs, err)
			}
			continue
		}
		if slices.Contains(table.required, e.key) && e.val.falsy() {
			c.add(e.line, e.col, e.key, "is required, and is not defined (0 and empty count as not defined)", "give it a value: "+fs.doc)
			continue
		}
		if v := c.value(e, e.key, fs, false); v != nil {
			plain[e.key] = v
		}
	}
	for _, key := range table.required {
		if root.get(key) == nil {
			c.errs = append(c.errs, &Error{
				Pos: Position{File: c.src.name, Line: 1, Column: 1}, Key: key,
				Problem: "is required, and is missing", Remedy: "add " + key + ": " + table.field(key).doc,
			})
		}
	}
	return plain
}

func (n *node) falsy() bool {
	switch n.kind {
	case nNull:
		return true
	case nInt, nFloat:
		return n.f == 0
	case nText:
		return n.text == ""
	default:
		return false
	}
}

// templates expands the texts that may hold templates, in place in plain.
func (c *checker) templates(root *node, plain map[string]any, env *Env) {
	lookup := func(name string) (string, bool) {
		e := root.get(name)
		if e == nil {
			return "", false
		}
		return e.val.scalarText()
	}
	one := func(n *node, key string) string {
		out, terr := expand(n.text, lookup, env)
		if terr != nil {
			line, col := c.src.locate(n, terr.token)
			c.add(line, col, key, terr.problem, terr.remedy)
		}
		return out
	}
	for _, key := range []string{"agentPrompt", "shellModel", "webModel"} {
		if e := root.get(key); e != nil && plain[key] != nil {
			plain[key] = one(e.val, key)
		}
	}
	if e := root.get("initialCommands"); e != nil && plain["initialCommands"] != nil {
		out := make([]any, 0, len(e.val.items))
		for i, it := range e.val.items {
			out = append(out, one(it, fmt.Sprintf("initialCommands[%d]", i)))
		}
		plain["initialCommands"] = out
	}
}

// scalarText renders a plain value as a prompt shows it.
func (n *node) scalarText() (string, bool) {
	switch n.kind {
	case nText:
		return n.text, true
	case nBool:
		return strconv.FormatBool(n.b), true
	case nInt:
		return strconv.FormatInt(n.i, 10), true
	case nFloat:
		return number(n.f), true
	default:
		return "", false
	}
}

func finishAgent(b *agentBinding, root *node, path string, dialect int) *Agent {
	raw, _ := root.plain().(map[string]any)
	a := &Agent{
		Path: path, Username: b.Username, Title: b.Title, ShellModel: b.ShellModel, WebModel: b.WebModel,
		AgentPrompt: b.AgentPrompt, TokenMax: b.TokenMax, DebugPauseSeconds: b.DebugPauseSeconds,
		WakeOnMessage: b.WakeOnMessage, SpendLimitDollars: b.SpendLimitDollars,
		CommandProtection: b.CommandProtection, MultipleAgents: b.MultipleAgents,
		Dialect: dialect, InitialCommands: b.InitialCommands, Raw: raw,
	}
	if a.CommandProtection == "" {
		a.CommandProtection = "none"
	}
	if p := a.DebugPauseSeconds; dialect == Dialect2024 && p != nil && *p == 0 {
		a.DebugPauseSeconds = nil
	}
	if a.MultipleAgents != nil {
		a.Notices = append(a.Notices, "multipleAgents has no effect: name a directory of agent files to start several agents")
	}
	return a
}
