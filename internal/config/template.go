package config

import (
	"regexp"
	"strings"
)

// templateRE finds ${agent.x} and ${env.X}; anything else in ${…} is the
// shell's or the prompt's own and stays as it is.
var templateRE = regexp.MustCompile(`\$\{(agent|env)\.([^}\n]*)(\}?)`)

// secretName tells variables that must not be put into a prompt.
var secretName = regexp.MustCompile(`(?i)(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)$`)

// templateError says what is wrong with one template.
type templateError struct {
	token, problem, remedy string
	unset                  bool // a variable is not set, and nothing else is wrong
}

// expand replaces templates once; a value is never expanded again, so that a
// variable's text cannot pull in another variable. agent may be nil.
func expand(text string, agent func(name string) (string, bool), env *Env) (string, *templateError) {
	var b strings.Builder
	last := 0
	for _, m := range templateRE.FindAllStringSubmatchIndex(text, -1) {
		token, space, name, closed := text[m[0]:m[1]], text[m[2]:m[3]], text[m[4]:m[5]], m[6] != m[7]
		value, terr := "", (*templateError)(nil)
		switch {
		case !closed:
			terr = &templateError{problem: "a template is not closed", remedy: "end it with }"}
		case space == "env":
			value, terr = expandEnv(name, env)
		default:
			value, terr = expandAgent(name, agent)
		}
		if terr != nil {
			terr.token = token
			return "", terr
		}
		b.WriteString(text[last:m[0]])
		b.WriteString(value)
		last = m[1]
	}
	b.WriteString(text[last:])
	return b.String(), nil
}

func expandEnv(name string, env *Env) (string, *templateError) {
	if secretName.MatchString(name) {
		return "", &templateError{
			problem: "${env." + short(name) + "} would send a secret to a model",
			remedy:  "remove it; the program uses keys itself and never shows them to an agent",
		}
	}
	if name == "NAISYS_FOLDER" && env != nil {
		if folder := env.NAISYSFolder(env.stateDir); folder != "" {
			return folder, nil
		}
	}
	if v, ok := env.Lookup(name); ok {
		return v, nil
	}
	return "", &templateError{
		problem: "the variable " + short(name) + " is not set",
		remedy:  "set it in .env or the environment, or remove ${env." + short(name) + "}",
	}
}

func expandAgent(name string, agent func(string) (string, bool)) (string, *templateError) {
	if agent != nil {
		if v, ok := agent(name); ok {
			return v, nil
		}
	}
	return "", &templateError{
		problem: "${agent." + short(name) + "} names no key of this file",
		remedy:  "add the key " + short(name) + " to the file, or remove the template",
	}
}

// templateNames gives the x of every ${agent.x} in the texts of a tree.
func templateNames(n *node, into map[string]bool) {
	for _, m := range templateRE.FindAllStringSubmatch(n.text, -1) {
		if m[1] == "agent" {
			into[m[2]] = true
		}
	}
	for _, it := range n.items {
		templateNames(it, into)
	}
	for _, e := range n.entries {
		templateNames(e.val, into)
	}
}

// locate gives the place of a template inside the value at n, which may be a
// block of many lines.
func (s *source) locate(n *node, token string) (line, col int) {
	for l := n.line; l >= 1 && l <= len(s.lines); l++ {
		text, from := s.lines[l-1], 0
		if l == n.line {
			from = len(string([]rune(text)[:min(n.col-1, len([]rune(text)))]))
		}
		if at := strings.Index(text[from:], token); at >= 0 {
			return l, 1 + len([]rune(text[:from+at]))
		}
	}
	return n.line, n.col
}
